"""The document of `maltriage robustness`: verdicts after changes to a program."""

from __future__ import annotations

import msgspec

from maltriage.metrics import Interval
from maltriage.report.documents.evaluation import Target
from maltriage.report.documents.record import ModelRef


class TransformFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The effect of one transformation on verdicts, over the files that it applies to.

    `kept`: share of the files that keep their label. `unflagged`: share of the flagged malware that
    is no longer flagged; `newly_flagged`: share of the unflagged benign files that is now flagged.
    Both are None without a threshold or without such files. `top_kept`: share of the files in which
    the region with most heat stays the same; `top_now`: the new region of the others, by kind.
    Intervals are exact, at 95 %.
    """

    name: str
    text: str
    proxy: bool
    """Whether it may break the program, and stands in for a change that does not."""
    files: int
    not_applicable: dict[str, int]
    """Files that it does not apply to, by reason; they are in no other figure."""
    accuracy_before: float
    accuracy_after: float
    kept: Interval
    flagged: int
    unflagged: Interval | None
    clean: int
    newly_flagged: Interval | None
    top_kept: Interval
    top_now: dict[str, int]


class AttackFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Flagged malware with appended bytes that the net's own gradient chose.

    `share`: appended bytes as a share of the file, at least `least`, chosen in at most `steps`
    steps. `unflagged`: share that is no longer flagged; `unflagged_random`: the same with as many
    random bytes, from which the steps begin. `margin`: the median of the unchanged files, then with
    random and with chosen bytes.
    """

    share: float
    least: int
    steps: int
    seed: int
    files: int
    not_applicable: int
    """Files, flagged or not, that end before their sections do."""
    unflagged_random: Interval
    unflagged: Interval
    margin: float
    margin_random: float
    margin_attacked: float


class Robustness(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A bundle's verdicts after changes that keep a program's behaviour.

    `malware_flagged` and `benign_flagged` count the unchanged files. `transforms`: those that apply
    to at least one file. `skipped`: the others by name, with the reason.
    """

    model: ModelRef
    part: str
    """`all`, `test` of a split, or `out of fold`."""
    seen: bool
    """Whether the model was trained on these files, as far as is known."""
    files: int
    unreadable: int
    unknown_labels: dict[str, int]
    missing: int
    """Files that no fold of a cross-validation held back, or that are missing now."""
    in_index: int | None = None
    """Files in the model's own index, which is usually of its training files; None: not known."""
    donors: str
    """Source of the benign bytes."""
    seed: int
    threshold: str | None
    """Threshold of `flagged`: `card`, or `clean files` if each net has its own; None: there is
    none."""
    accuracy: Interval
    malware: int
    malware_flagged: int
    benign: int
    benign_flagged: int
    seconds: float
    transforms: list[TransformFigures]
    skipped: dict[str, str]
    targets: list[Target]
    attack: AttackFigures | None = None
    """None: not requested."""
