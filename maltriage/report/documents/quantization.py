"""The document of a quantisation: what fewer bits gain and what they cost."""

from __future__ import annotations

from typing import Literal

import msgspec

from maltriage.report.documents.evaluation import FoldReport
from maltriage.report.documents.record import ModelRef


class PrecisionCost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A bundle's size, and the processor time that its forward pass takes for a sample.

    Time is that of one thread in batches of 16, the least of several rounds; the two bundles take
    turns, so their ratio holds better than the figures.
    """

    precision: Literal["float32", "int8", "fp16"]
    bytes: int
    cpu_ms: float


class HeatAgreement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of a view, the correlation of the maps of both bundles in the files that have heat there."""

    view: str
    files: int
    median: float
    least: float


class PrecisionFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A bundle of fewer bits beside the one that it was made from.

    `compared`: files that the ranges of activations were not taken from. `stray`: the most heat on
    a view that a file lacks, in shares of the file's |heat|. `unaccounted`: the most of a score
    that heat and baseline leave; None where the net is not additive. `folds`: both recipes out of
    fold; None: not asked for.
    """

    model: ModelRef
    source: ModelRef
    costs: list[PrecisionCost]
    calibrated: int
    compared: int
    same_label: int
    logit_change: float
    """The largest."""
    heat: list[HeatAgreement]
    stray: float
    unaccounted: float | None
    folds: FoldReport | None = None
    without: str | None = None
    """Why the card has no temperature and no prediction sets, though folds were asked for."""

    @property
    def speedup(self) -> float:
        """Of the forward pass."""
        return self.costs[0].cpu_ms / self.costs[1].cpu_ms
