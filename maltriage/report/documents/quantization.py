"""The document of a quantisation: the gain and the cost of fewer bits."""

from __future__ import annotations

from typing import Literal

import msgspec

from maltriage.report.documents.evaluation import FoldReport
from maltriage.report.documents.record import ModelRef


class PrecisionCost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A bundle's size, and the processor time of its forward pass for a sample.

    The time is that of one thread in batches of 16, the least of several rounds. Rounds alternate
    between the two bundles, so their ratio is more exact than the figures.
    """

    precision: Literal["float32", "int8", "fp16"]
    bytes: int
    cpu_ms: float


class HeatAgreement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The correlation of both bundles' maps of a view, over the files with heat there."""

    view: str
    files: int
    median: float
    least: float


class PrecisionFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A bundle of fewer bits, compared with the one that it was made from.

    `compared`: files other than those of the ranges of activations. `stray`: the largest heat on a
    view that a file lacks, as a share of the file's |heat|. `unaccounted`: the largest difference
    of a score from heat plus baseline; None: the net is not additive. `folds`: both recipes out of
    fold; None: not requested.
    """

    model: ModelRef
    source: ModelRef
    costs: list[PrecisionCost]
    calibrated: int
    compared: int
    same_label: int
    logit_change: float
    """The largest change of a logit."""
    heat: list[HeatAgreement]
    stray: float
    unaccounted: float | None
    folds: FoldReport | None = None
    without: str | None = None
    """Why the card has no temperature and no prediction sets, though folds were requested."""

    @property
    def speedup(self) -> float:
        """Speedup of the forward pass."""
        return self.costs[0].cpu_ms / self.costs[1].cpu_ms
