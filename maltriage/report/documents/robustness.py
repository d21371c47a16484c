"""The document of robustness: what changes that leave a program what it is do to verdicts."""

from __future__ import annotations

import msgspec

from maltriage.metrics import Interval
from maltriage.report.documents.evaluation import Target
from maltriage.report.documents.record import ModelRef


class TransformFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one transformation does to verdicts, over the files that it can be made of.

    `kept`: share of the files whose verdict says the same label. `unflagged`: of flagged malware
    the share that is flagged no more; `newly_flagged`: of benign files that were not flagged, the
    share that is. Both None where nothing can be flagged, or there are no such files.
    `top_kept`: share of the files in which the region with most heat is the one that it was;
    `top_now`: of the others, by kind, the region that it is now. Intervals are exact, at 95 %.
    """

    name: str
    text: str
    proxy: bool
    """Whether it only stands in for a change after which a program runs."""
    files: int
    not_applicable: dict[str, int]
    """Files that it cannot be made of, by why; no other figure is over them."""
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
    """Flagged malware with bytes behind it that were chosen by the net's own gradient.

    `share` of the file's bytes, `least` at least, changed in at most `steps` steps. `unflagged`:
    how much is flagged no more; `unflagged_random`: with as many random bytes, from which the
    steps begin. `margin`: the median as the files are, then with random and with chosen bytes.
    """

    share: float
    least: int
    steps: int
    seed: int
    files: int
    not_applicable: int
    """Flagged or not, files that end before their sections do."""
    unflagged_random: Interval
    unflagged: Interval
    margin: float
    margin_random: float
    margin_attacked: float


class Robustness(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a bundle's verdicts stand up to changes that leave a program what it is.

    `flagged` of `malware` and of `benign` files are those as they are. `transforms`: those that
    at least one file is there for. `skipped`: the others by name, with why.
    """

    model: ModelRef
    part: str
    """`all`, `test` of a split, or `out of fold`: each file by the net that had not seen it."""
    seen: bool
    """Whether the model was trained on these very files, as far as can be known."""
    files: int
    unreadable: int
    unknown_labels: dict[str, int]
    missing: int
    """Of a cross-validation, files that no fold held back, or that are not here any more."""
    donors: str
    """Where benign bytes are from."""
    seed: int
    threshold: str | None
    """What `flagged` goes by: `card`, or `clean files` where each net got its own; None: nothing
    can be flagged."""
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
    """None: it was not asked for."""
