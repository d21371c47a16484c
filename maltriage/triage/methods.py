"""Methods of explanation: their evidence for a sample, and their agreement."""

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
from maltriage.report.documents.methods import ADDITIVE, DEFAULT, FROM_BUNDLE, Method, known
from maltriage.sample.byteplot import View
from maltriage.triage.evidence import Heat, Part, account, parts_of
from maltriage.triage.session import Outputs, Session
from maltriage.triage.verdict import Question
from maltriage.work.workers import Workers

HIRESCAM = DEFAULT

Maps = Mapping[str, npt.NDArray[np.float32]]
"""Map of one sample by view, [h, w] (windows: h = 1)."""
Mapper = Callable[[Mapping[str, View], int, int | None], Maps]
"""A method that needs more than the bundle: takes the views of a sample, the label to explain and
the one to explain it against (None: the mean of all), and returns its maps."""


def maps_of(outputs: Outputs, row: int, method: str) -> dict[str, npt.NDArray[np.float32]]:
    """The map of one sample by view.

    Args:
        row: of the sample in the batch.
        method: one of `ADDITIVE`. A view with a single map for both gives that one.
    """
    grids = outputs.heat if method == HIRESCAM else outputs.heat | outputs.gradcam
    return {name: grid[row] for name, grid in grids.items()}


def same_maps(outputs: Outputs, method: str) -> tuple[str, ...]:
    """The other methods that have the maps of `method` in every view, by construction."""
    if outputs.gradcam or method not in ADDITIVE:
        return ()
    return tuple(other for other in ADDITIVE if other != method)


@dataclass(frozen=True)
class Asked:
    """A sample to explain.

    Args:
        outputs: of the graph for it, in explanation of `question`.
        row: of the sample in `outputs`.
    """

    prepared: Prepared
    outputs: Outputs
    row: int
    question: Question


@dataclass(frozen=True)
class Explainer:
    """Makes the evidence of samples, by the chosen methods.

    Args:
        options: that workers prepare samples with.
        methods: accepted by `check_methods`; the first makes the evidence, the others are
            compared with it.
        mappers: methods that need more than the bundle, by name.
        seed: of the random bytes of masks.
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
        """The evidence of one sample, and its heat.

        Args:
            outputs: of the graph for it, in explanation of `question`.
            row: of the sample in `outputs`.

        Raises:
            SampleError: the file cannot be read again, or has changed.
            MaltriageError: the model returned a value that is not a number.
        """
        found: list[tuple[Evidence, list[Part]]] = []
        asked = Asked(prepared, outputs, row, question)
        for name in self.methods:
            if not any(name in other.same_as for other, _ in found):
                found.append(self._by(known(name), asked))
        evidence, parts = found[0]
        if len(self.methods) > 1:
            compared = compare([each for each, _ in found])
            evidence = msgspec.structs.replace(evidence, compared=compared)
        return evidence, parts

    def _by(self, method: Method, asked: Asked) -> tuple[Evidence, list[Part]]:
        mapper = self.mappers.get(method.name)
        if mapper is None:
            found: tuple[Evidence, list[Part]] = method.load()(self, asked, method)
            return found
        question = asked.question
        maps = mapper(asked.prepared.views, question.label, question.against)
        return self.account(asked, method, maps)

    def account(self, asked: Asked, method: Method, maps: Maps) -> tuple[Evidence, list[Part]]:
        """The evidence of maps, by view, and their parts.

        Raises:
            MaltriageError: the model returned a value that is not a number.
        """
        heat = Heat(
            maps=dict(maps),
            baseline=float(asked.outputs.baseline[asked.row]),
            score=float(asked.question.score(asked.outputs.logits[asked.row])),
            method=method.name,
            same_as=same_maps(asked.outputs, method.name),
            additive=self.session.card.additive and method.additive,
        )
        card = self.session.card
        evidence = account(asked.prepared, heat, asked.question, card, plane=self.plane)
        return evidence, parts_of(asked.prepared, maps)


def by_graph(explainer: Explainer, asked: Asked, method: Method) -> tuple[Evidence, list[Part]]:
    """The evidence from the graph's own maps."""
    return explainer.account(asked, method, maps_of(asked.outputs, asked.row, method.name))


def check_methods(
    methods: Sequence[str], mappers: Mapping[str, Mapper], there: Sequence[str] = FROM_BUNDLE
) -> None:
    """Raise MaltriageError if a method is unknown, named twice, or none is named.

    Args:
        there: the methods available, besides `mappers`.
    """
    there = (*there, *mappers)
    for name in methods:
        if name not in there:
            raise MaltriageError(f"no such method: {name} (there are {', '.join(there)})")
    if len(set(methods)) != len(methods) or not methods:
        raise MaltriageError("methods must be 1 or more, each named once")


def compare(found: Sequence[Evidence]) -> Compared:
    """The contributions of several methods to the regions of one sample, and their agreement.

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
