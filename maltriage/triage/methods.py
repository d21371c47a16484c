"""Methods of explanation: what each says of a sample, and how far they agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import msgspec
import numpy as np
import numpy.typing as npt

from maltriage.errors import MaltriageError
from maltriage.metrics import rank_correlation
from maltriage.probe.prepare import Prepared, PrepareOptions
from maltriage.report.documents.evidence import Agreement, Compared, Evidence, MethodHeat
from maltriage.sample.byteplot import View
from maltriage.triage.evidence import Heat, Part, account, parts_of
from maltriage.triage.occlusion import OCCLUSION, occlude
from maltriage.triage.session import Outputs, Session
from maltriage.triage.verdict import Question
from maltriage.work.workers import Workers

HIRESCAM, GRADCAM = "hirescam", "gradcam"
GRAPH_METHODS = (HIRESCAM, GRADCAM)
"""Both come from the pass that gives the logits."""
METHODS = (*GRAPH_METHODS, OCCLUSION)
"""What any bundle can be explained by."""

Maps = Mapping[str, npt.NDArray[np.float32]]
"""Map of one sample by view, [h, w] (windows: h = 1)."""
Mapper = Callable[[Mapping[str, View], int, int | None], Maps]
"""A method that needs more than the bundle: from the views of a sample, the label to explain and
the one to explain it against (None: the mean of all) to its maps."""


def maps_of(outputs: Outputs, row: int, method: str) -> dict[str, npt.NDArray[np.float32]]:
    """The map of one sample by view.

    Args:
        row: of the sample in the batch.
        method: one of `GRAPH_METHODS`. Of a view where both are one map, that one.
    """
    grids = outputs.heat if method == HIRESCAM else outputs.heat | outputs.gradcam
    return {name: grid[row] for name, grid in grids.items()}


def same_maps(outputs: Outputs, method: str) -> tuple[str, ...]:
    """The other methods whose maps are those of `method` in every view, by construction."""
    if outputs.gradcam or method not in GRAPH_METHODS:
        return ()
    return tuple(other for other in GRAPH_METHODS if other != method)


@dataclass(frozen=True)
class Explainer:
    """Makes the evidence of samples, by the methods that were asked for.

    Args:
        options: with which workers prepare samples.
        methods: that `check_methods` passes; the first is the evidence's own, the others are
            compared with it.
        mappers: methods besides `METHODS`, by name.
        seed: of what is drawn at random to mask bytes with.
        plane: see `account`.
    """

    session: Session
    workers: Workers
    options: PrepareOptions
    methods: tuple[str, ...] = (HIRESCAM,)
    mappers: Mapping[str, Mapper] = field(default_factory=dict)
    seed: int = 0
    plane: bool = False

    def evidence(
        self, prepared: Prepared, outputs: Outputs, row: int, question: Question
    ) -> tuple[Evidence, list[Part]]:
        """The evidence of one sample, and the heat that it was made of.

        Args:
            outputs: what the graph said of it, in explanation of `question`.
            row: of the sample in `outputs`.

        Raises:
            SampleError: the file cannot be read again, or it changed.
            MaltriageError: the model gave what is no number.
        """
        found: list[tuple[Evidence, list[Part]]] = []
        for method in self.methods:
            if not any(method in known.same_as for known, _ in found):
                found.append(self._by(method, prepared, outputs, row, question))
        evidence, parts = found[0]
        if len(self.methods) > 1:
            compared = compare([each for each, _ in found])
            evidence = msgspec.structs.replace(evidence, compared=compared)
        return evidence, parts

    def _by(
        self, method: str, prepared: Prepared, outputs: Outputs, row: int, question: Question
    ) -> tuple[Evidence, list[Part]]:
        mapper = self.mappers.get(method)
        if mapper is not None:
            maps = mapper(prepared.views, question.label, question.against)
        else:
            maps = maps_of(outputs, row, GRADCAM if method == GRADCAM else HIRESCAM)
        heat = Heat(
            maps=dict(maps),
            baseline=float(outputs.baseline[row]),
            score=float(question.score(outputs.logits[row])),
            method=method,
            same_as=same_maps(outputs, method),
            additive=self.session.card.additive and method in GRAPH_METHODS,
        )
        evidence = account(prepared, heat, question, self.session.card, plane=self.plane)
        if method != OCCLUSION:
            return evidence, parts_of(prepared, maps)
        return occlude(
            self.session,
            self.workers,
            prepared,
            question,
            evidence,
            self.options,
            seed=self.seed,
        )


def check_methods(methods: Sequence[str], mappers: Mapping[str, Mapper]) -> None:
    """Raise MaltriageError where a method is unknown or named twice, or none is."""
    known = (*METHODS, *mappers)
    for method in methods:
        if method not in known:
            raise MaltriageError(f"no such method: {method} (there are {', '.join(known)})")
    if len(set(methods)) != len(methods) or not methods:
        raise MaltriageError("methods must be 1 or more, each named once")


def compare(found: Sequence[Evidence]) -> Compared:
    """What several methods say of the regions of one sample, and the ranks they agree on.

    Args:
        found: evidence by different methods, for one question.
    """
    heats = [
        MethodHeat(
            method=evidence.method,
            same_as=evidence.same_as,
            total=evidence.total,
            padding=evidence.padding,
            regions=[region.contribution for region in evidence.regions],
        )
        for evidence in found
    ]
    real = [region.start < region.end for region in found[0].regions]
    pairs = [
        Agreement(
            first.method,
            second.method,
            rank_correlation(
                np.array(first.regions)[real],
                np.array(second.regions)[real],
            ),
        )
        for first, second in combinations(heats, 2)
    ]
    return Compared(heats, pairs)
