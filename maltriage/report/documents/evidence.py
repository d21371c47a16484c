"""The evidence of a result: its score by regions and bytes, and the checks by masking."""

from __future__ import annotations

from typing import Literal

import msgspec

from maltriage.sample.findings import HotContent
from maltriage.sample.types import RegionKind

HOT_BLOCK = 256
"""Bytes of a block, over which heat is summed to find hot ranges."""
MIN_RANKED = 8
"""Regions of a rank correlation of claimed and measured: of fewer any order is likely."""


class Common(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bytes that clean programs have, as an index of them says: docs/how-to/prevalence.md.

    `share` is their part of the bytes, `packages` how many of the `of` packages of clean programs
    have them (the median over the bytes; 0: there are none). `contribution` is the part of the
    explained score that lies on them, and `texts` the part of that on texts, a manifest's lines for
    example; the rest of it is on code and other data.
    """

    share: float
    packages: int
    of: int
    contribution: float
    texts: float = 0.0


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
    common: Common | None = None
    """What of it clean programs have; None: not looked up."""


class HotRange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A run of bytes with high heat for the explained label. `hex` is its first bytes."""

    start: int
    end: int
    region: str
    rva: int | None
    contribution: float
    hex: str | None = None
    content: HotContent | None = None
    """Content of the range, if that was requested and the file is a program."""
    common: Common | None = None
    """What of it clean programs have; None: not looked up."""


class Word(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A word of the file and the part of the explained score that it adds.

    It counts once, whatever its case and encoding and however often it is there; `places` says at
    how many places (of the first words of the file: docs/reference/evidence.md), `start`
    where first.
    """

    text: str
    contribution: float
    places: int
    start: int
    region: str


class ViewHeat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The part of the explained score from one view of the bundle."""

    name: str
    contribution: float
    start: int | None
    """File offset of a window, or 0 for a view that ends where the program does; None for a view
    of the whole file, and for a window at an anchor that the file does not have."""
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


Status = Literal["supported", "understated", "weak", "contradicted", "negligible"]


class MaskEffect(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The effect of one mask over a range: before minus after, positive if the bytes count for the
    label. `logit` is that of the explained score, `probability` that of the label."""

    mask: str
    logit: float
    probability: float


class Controls(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The same masks over other ranges of the same length, with little claimed contribution.

    `effects` has the change of each, the median over the masks, in file order. `limit` is the
    quantile of |effects| that a meaningful change must exceed.
    """

    starts: list[int]
    effects: list[float]
    limit: float


class Check(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The check of a range's contribution by masking its bytes.

    `claimed` is its contribution, `measured` the loss of the explained score when its bytes are
    masked (median over the masks), `probability` that of the label's probability. Without
    `controls` there was no room for them. `status` follows from the sign and the size of claim and
    measured effect: supported, at least half of the claim was measured, and more than of the
    controls; understated, three times the claim or more was; contradicted, the effect has the other
    sign; negligible, next to nothing was claimed, and little was measured, or no more than of the
    controls; weak, any other claim. docs/reference/evidence.md has the exact rule.
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
    """The checks of the evidence: ranges are masked, and the net is run again.

    `rank_correlation` is Spearman's, of claimed and measured over `regions`, both to 1e-4; None for
    fewer than eight. Regions and hot ranges with the largest |contribution| are checked;
    `regions_left` and `hot_left` count the others. A hot range that is a whole region has the same
    check in both lists, and is one claim. A claim below `negligible` counts as none, and so does a
    change of the other sign.
    """

    seed: int
    rank_correlation: float | None
    negligible: float
    regions: list[Check]
    hot: list[Check]
    regions_left: int = 0
    hot_left: int = 0


class Occluded(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The masking of the method occlusion.

    Windows have `window` bytes, one every `stride` bytes of each region, cut off at the end of the
    region (in a file with very many regions: of the file). `mask` names the fill, `seed` is that of
    the drawn bytes.
    """

    window: int
    stride: int
    windows: int
    mask: str
    seed: int


class MethodHeat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Contributions by one method, in the order of `Evidence.regions`; see there."""

    method: str
    same_as: list[str]
    total: float
    padding: float
    regions: list[float]


class Agreement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Spearman's rank correlation of two methods over the regions that have bytes.

    None: undefined for fewer than three regions, or if a method gives all regions the same value.
    """

    first: str
    second: str
    rank_correlation: float | None


class Compared(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Several methods side by side, the evidence's own first, and how far they agree."""

    methods: list[MethodHeat]
    agreement: list[Agreement]


class Evidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The account of the explained score, byte by byte.

    `logit` is the explained score: the centred logit of `label`, minus that of `against` if that
    is a label. With `log_odds` it is the log odds, before calibration, of malware of whatever
    family if `against` is `benign`, and of a clean file otherwise. `total` is the heat on regions
    plus `padding`; if `additive`, total + bias = logit.
    `same_as` are other methods with the same heat for this model, by construction. With the method
    `occlusion` a contribution is the loss of score when bytes are masked, `occluded` has the
    masking, and there are no views.
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
    words: list[Word] = []
    """The words that add most to the score or take most from it; empty: the model reads no words,
    or the file was not looked into."""
    checks: Checks | None = None
    log_odds: bool = False
    common: Common | None = None
    """What of the whole file clean programs have, headers too; None: not looked up."""
