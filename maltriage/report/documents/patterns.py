"""The document of `maltriage patterns`: what a family looks like to a bundle, and to several."""

from __future__ import annotations

from typing import Literal

import msgspec

from maltriage.report.documents.record import ModelRef

SCHEMA_VERSION = "1.0"
"""Of this document. A field more raises the minor number."""

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
"""Where heat lies. `code` is the section that the first executable section or the entry point is
in, `resources` and `imports` those that the directory of that name is in, `data` every other
section. `range` is a part of a hex dump, `unparsed` a file without headers that could be read,
`padding` no byte of the file."""


class Mean(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Mean and standard deviation between samples; of one sample there is none."""

    mean: float
    sd: float | None


class Grid(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Mean map of the samples and its standard deviation between them, row-major.

    A value is a share: of each sample the signed heat of a cell over the sum of all |heat| of the
    sample, over the cells of all views, so that every sample counts the same.
    """

    width: int
    height: int
    mean: list[float]
    sd: list[float] | None


class KindShare(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of the heat that speaks for the family, the share that lies on one kind of bytes."""

    kind: PartKind
    share: Mean


class ViewPattern(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One view: the whole file (no `anchor`), or a window at an anchor.

    `present`: samples that have the window. `contribution` is in the unit of the score, `share`
    of the heat that speaks for the family. A sample without the window counts with zero.
    """

    name: str
    anchor: str | None
    present: int
    contribution: Mean
    share: Mean
    map: Grid


class RecurringRange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bytes that speak for the family again and again, `heat` in the unit of a `Grid`.

    From `start` to `end`, in bytes from the anchor of a window or as shares of the file (body).
    `fields` are those of the PE header that lie there, in the view `header`. `positive`: share of
    the samples in which these bytes speak for the family.
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
    """What speaks for a family, over its samples, whether the verdict on them is right or not.

    `right`: samples with the family as the likeliest label. `cold`: samples without any heat.
    `alike`: mean cosine of a sample's maps with the mean maps of the *other* samples, None of one
    sample. `plane`: the heat of all views where the byteplot shows their bytes, on the grid that
    all bundles have in common.
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

    `name` tells it from the others of the document. `part`: `all`, or `out of fold`, each file by
    the net that had not seen it; `seen`: the bundle was trained on these very files, as far as
    can be known. `unknown_labels`: files whose label it does not know; `missing`: files that no
    fold held back; `unreadable`: files that gave no sample.
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


class FamilyLikeness(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How alike a family looks to two bundles.

    `ssim`: structural similarity of both `plane`s. `body_ssim`: of what the view of the whole file
    alone says, on the same grid; None where one of the bundles has no such view or no heat in it.
    `cosine`: of both `plane`s. `shares`: mean share of each kind by the first bundle less that by
    the second; `distance`: half the sum of their sizes, 0 (the same kinds) to 1 (none in common).
    """

    family: str
    ssim: float
    body_ssim: float | None
    cosine: float
    shares: dict[PartKind, float]
    distance: float


class PairLikeness(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Two bundles, on the families that both have; the least alike first.

    `left_out`: families that only one of them has.
    """

    first: str
    second: str
    ssim: float | None
    """Mean over the families; None: they have none in common."""
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
