"""The document of `maltriage patterns`: the evidence for families, by one bundle or several."""

from __future__ import annotations

from typing import Literal

import msgspec

from maltriage.report.documents.record import ModelRef

SCHEMA_VERSION = "1.0"
"""Version of this document. A new field raises the minor number."""

PartKind = Literal[
    "header",
    "code",
    "imports",
    "resources",
    "data",
    "gap",
    "certificate",
    "overlay",
    "range",
    "unparsed",
    "padding",
]
"""Kinds of bytes. `code` is the first executable section or that of the entry point, `resources`
and `imports` are the sections with the directories of these names, `data` is every other section.
`range` is a part of a hex dump, `unparsed` a file without readable headers, `padding` no byte of
the file."""


class Mean(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Mean and standard deviation over samples; `sd` is None for one sample."""

    mean: float
    sd: float | None


class Grid(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Mean map of the samples and its standard deviation, row-major.

    The value of a cell is a share: its signed heat over the sum of the sample's |heat| in the cells
    of all views, so that every sample counts the same.
    """

    width: int
    height: int
    mean: list[float]
    sd: list[float] | None


class KindShare(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The share of the heat for the family on one kind of bytes."""

    kind: PartKind
    share: Mean


class ViewPattern(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One view: the whole file (no `anchor`), or a window at an anchor.

    `present`: samples with the window. `contribution` is in the unit of the score, `share` is of
    the heat for the family. A sample without the window counts as zero.
    """

    name: str
    anchor: str | None
    present: int
    contribution: Mean
    share: Mean
    map: Grid


class RecurringRange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A range with heat for the family in many samples, `heat` in the unit of a `Grid`.

    `start` and `end` are bytes from the anchor of a window, or shares of the file (body). `fields`
    are fields of the PE header in it, in the view `header`. `positive`: share of the samples with
    heat for the family in the range.
    """

    view: str
    unit: Literal["bytes", "share"]
    start: float
    end: float
    fields: list[str]
    heat: Mean
    positive: float


class Exemplar(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A sample, and the cosine of its maps (all views) with the family's mean maps."""

    sha256: str
    path: str
    likeness: float
    path_b64: str | None = None


class FamilyPattern(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The evidence for a family, over its samples, with right verdicts or wrong ones.

    `right`: samples with the family as the likeliest label. `cold`: samples without any heat.
    `alike`: mean cosine of a sample's maps with the mean maps of the *other* samples, None for one
    sample. `plane`: the heat of all views, placed on the byteplot, on a grid common to all bundles.
    """

    family: str
    samples: int
    right: int
    cold: int
    alike: float | None
    kinds: list[KindShare]
    views: list[ViewPattern]
    plane: Grid
    ranges: list[RecurringRange]
    exemplars: list[Exemplar]


class BundlePatterns(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The patterns of all families by one bundle.

    `name` is unique in the document. `part`: `all` or `out of fold`; `seen`: the bundle was trained
    on these files, as far as is known. `unknown_labels`: files with a label that it does not know;
    `missing`: files that no fold held back; `unreadable`: files that gave no sample. `in_index`:
    files in the model's own index, which is usually of its training files; None: not known.
    """

    name: str
    model: ModelRef
    net: str
    additive: bool
    part: str
    seen: bool
    unknown_labels: dict[str, int]
    missing: int
    unreadable: int
    families: list[FamilyPattern]
    in_index: int | None = None


class FamilyLikeness(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The likeness of two bundles' evidence for a family.

    `ssim`: structural similarity of both `plane`s. `body_ssim`: that of the view of the whole file
    alone, on the same grid; None: a bundle has no such view, or no heat in it. `cosine`: of both
    `plane`s. `shares`: mean share of each kind by the first bundle minus that by the second;
    `distance`: half the sum of their absolute values, 0 (the same kinds) to 1 (none in common).
    """

    family: str
    ssim: float
    body_ssim: float | None
    cosine: float
    shares: dict[PartKind, float]
    distance: float


class PairLikeness(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Two bundles compared on their common families, the least alike first.

    `left_out`: families of only one of them.
    """

    first: str
    second: str
    ssim: float | None
    """Mean over the families; None: no common families."""
    families: list[FamilyLikeness]
    left_out: list[str]


class Patterns(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The document of a study of families."""

    schema_version: str = SCHEMA_VERSION
    maltriage_version: str
    dataset: str
    method: str
    seconds: float
    bundles: list[BundlePatterns]
    pairs: list[PairLikeness]
