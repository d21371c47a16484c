"""The document of the open-set protocol."""

from __future__ import annotations

import msgspec

from maltriage.metrics import Interval
from maltriage.report.documents.evaluation import Spread


class StrangerFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How well a net separates strangers (files of no known label) from `known` held-back files.

    `auroc` has the area under the ROC curve of each score: how often a stranger scores higher than
    a known file. `called_known` is the share of strangers accepted when a stated share of the known
    files is, with its exact 95 % interval.
    """

    name: str
    files: int
    known: int
    auroc: dict[str, float]
    called_known: Interval


class OpenSetReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Figures of nets that were each trained without one family.

    `auroc` and `called_known` are spread over the families. `others` are strangers of other kinds,
    measured with every net: the mean over the nets.
    """

    net: str
    dataset: str
    epochs: int
    views: list[str]
    acceptance: float
    auroc: dict[str, Spread]
    called_known: Spread
    families: list[StrangerFigures]
    others: list[StrangerFigures]
