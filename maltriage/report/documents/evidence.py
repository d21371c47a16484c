"""The evidence of a result: where its score comes from, byte by byte, and what was checked."""

from __future__ import annotations

from typing import Literal

import msgspec

from maltriage.sample.findings import HotContent
from maltriage.sample.types import RegionKind


class RegionHeat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The part of the explained score that lies on a region's bytes.

    `share` is contribution / sum of |contribution| over all regions and padding.
    """

    name: str
    kind: RegionKind
    start: int
    end: int
    entropy: float
    contribution: float
    share: float


class HotRange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A run of bytes with much heat for the explained label. `hex` is its first bytes."""

    start: int
    end: int
    region: str
    rva: int | None
    contribution: float
    hex: str | None = None
    content: HotContent | None = None
    """What is in it, where that was asked for and the bytes are those of a program."""


class ViewHeat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the explained score divides over the views of the bundle."""

    name: str
    contribution: float
    start: int | None
    """File offset of a window; None for the body, which shows the whole file, and for a
    window at an anchor that the file does not have."""
    end: int | None


class Plane(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body view as a picture: reduced means of the bytes and the heat over them.

    `pixels` is base64 of height x width bytes, `heat` row-major with its own size. The picture
    shows the first `length` bytes of the file, without the zeros at its end, in rows of
    `row_bytes`: the byte at `offset` is in row `offset // row_bytes` of as many as `length` needs.
    Both are None in records of a schema before 1.3.
    """

    width: int
    height: int
    pixels: str
    heat_width: int
    heat_height: int
    heat: list[float]
    length: int | None = None
    row_bytes: int | None = None


Status = Literal["supported", "weak", "contradicted", "negligible"]


class MaskEffect(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one mask over a range took away: before minus after, positive where the bytes spoke
    for the label. `logit` is that of the explained score, `probability` that of the label."""

    mask: str
    logit: float
    probability: float


class Controls(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The same masks over other ranges of the same length, for which little is claimed.

    `effects` has the change of each, the median over the masks, in the order of their places in
    the file; `limit` is the quantile of |effects| that a change must exceed to tell anything.
    """

    starts: list[int]
    effects: list[float]
    limit: float


class Check(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether what is claimed for a range stands when its bytes are masked.

    `claimed` is its contribution; `measured` the median over the masks of what the explained
    score loses without its bytes, and `probability` that of the label's probability. Without
    `controls` there was no room for them. See docs/explanations.md for the rule of `status`.
    """

    start: int
    end: int
    claimed: float
    measured: float
    probability: float
    status: Status
    effects: list[MaskEffect]
    controls: Controls | None = None


class Checks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The account put to the test: ranges are masked, and the net is asked again.

    `rank_correlation` is Spearman's, of claimed and measured over `regions`; None under three
    of them. Of regions and hot ranges those with most |contribution| are checked, and how many
    are not is in `regions_left`, `hot_left`. Claims and changes below `negligible` count as none.
    """

    seed: int
    rank_correlation: float | None
    negligible: float
    regions: list[Check]
    hot: list[Check]
    regions_left: int = 0
    hot_left: int = 0


class Occluded(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How bytes were masked for the method occlusion.

    Windows of `window` bytes, one every `stride` bytes of each region, cut off where the region
    ends (of a file with very many regions, where the file does). `mask` says what stood in their
    place, `seed` which bytes were drawn.
    """

    window: int
    stride: int
    windows: int
    mask: str
    seed: int


class MethodHeat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one method says: contributions in the order of `Evidence.regions`, see there."""

    method: str
    same_as: list[str]
    total: float
    padding: float
    regions: list[float]


class Agreement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Spearman's rank correlation of two methods over the regions that have bytes.

    None where it says nothing: under three regions, or one method says the same of all.
    """

    first: str
    second: str
    rank_correlation: float | None


class Compared(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Several methods side by side, the evidence's own first, and how far they agree."""

    methods: list[MethodHeat]
    agreement: list[Agreement]


class Evidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An account of the explained score, byte by byte.

    `logit` is the score that is explained: the centred logit of `label`, minus that of
    `against` where it names a label. `total` is the heat on regions plus `padding`; where
    `additive`, total + bias = logit. `same_as` are other methods that give the very same heat for
    this model, by construction. With the method `occlusion` a contribution is what the score
    loses where bytes are masked, and `occluded` says how; there are no views then.
    """

    method: str
    label: str
    against: str | None
    additive: bool
    total: float
    bias: float
    logit: float
    regions: list[RegionHeat]
    padding: float
    hot: list[HotRange]
    views: list[ViewHeat]
    plane: Plane | None = None
    same_as: list[str] = []
    occluded: Occluded | None = None
    compared: Compared | None = None
    checks: Checks | None = None
