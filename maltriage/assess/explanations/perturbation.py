"""Tests the maps of one file: their claims on bytes against the effect of masking the bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from maltriage.assess.explanations.curves import FRACTIONS, Blocks
from maltriage.assess.explanations.randomised import randomised
from maltriage.bundle import Bundle
from maltriage.metrics import Floats, Ints, rank_correlation
from maltriage.probe.mask import MASKS, Mask, Range, Variant
from maltriage.probe.perturb import Perturbed, perturbed
from maltriage.probe.prepare import Prepared, PrepareOptions, prepare
from maltriage.report.documents.methods import ADDITIVE
from maltriage.sample.byteplot import View
from maltriage.triage.evidence import Part, divide
from maltriage.triage.masking import run_masked
from maltriage.triage.methods import HIRESCAM, maps_of, same_maps
from maltriage.triage.occlusion import Windows, effects, spread
from maltriage.triage.session import CHOOSE, Device, Outputs, Session
from maltriage.triage.verdict import Question, decide, probabilities
from maltriage.work.workers import Workers

MEASURED = (*ADDITIVE, "occlusion")
"""Methods that are tested here."""
MAX_REGIONS = 32
"""Most regions of a file to mask one by one, the largest first; few files have more."""


@dataclass(frozen=True)
class Terms:
    """Options of the tests.

    `orders`: number of random block orders to compare with; `nets`: number of nets with
    randomised weights to compare with; `seed`: of all random choices; `mask`: replacement of
    bytes along a curve. Regions are masked by each of `MASKS`, as in `explain`.
    """

    methods: tuple[str, ...] = (HIRESCAM,)
    mask: Mask = "histogram"
    seed: int = 0
    orders: int = 2
    nets: int = 2


@dataclass(frozen=True)
class Curves:
    """The explained score and the probability of its label along deletion and insertion.

    Each of shape (2, F): score and probability over `FRACTIONS`, the share of masked bytes for
    deletion and of unmasked bytes for insertion.
    """

    deletion: Floats
    insertion: Floats


@dataclass(frozen=True)
class MethodTrial:
    """The results of one method on one file.

    `random`: the mean curves of its order shifted in the file. `top`: true if the region with
    most heat is the one whose masking lowers the score most (median over the masks). `regions`:
    rank correlation of claimed and measured contribution of regions. `nets`, `appended`,
    `padded`: rank correlation of the heat of blocks with that of a net with randomised weights,
    with bytes appended, with other padding. None: undefined.
    """

    method: str
    same_as: tuple[str, ...]
    curves: Curves
    random: Curves
    top: bool | None
    regions: float | None
    nets: tuple[float | None, ...]
    appended: float | None
    padded: float | None


@dataclass(frozen=True)
class FileTrial:
    """The results of one file. `by_size`, `largest`: those of regions in order of their size."""

    label: str
    by_size: Curves
    largest: bool | None
    methods: tuple[MethodTrial, ...]


class Bench:
    """A bundle with the tools to test its maps.

    Args:
        workers: worker processes that read files; several threads may use them at once.
        options: how the workers prepare files.
    """

    def __init__(
        self,
        bundle: Bundle,
        workers: Workers,
        options: PrepareOptions,
        terms: Terms,
        device: Device = "auto",
        threads: int = 0,
    ) -> None:
        self.session = Session(bundle, device, threads)
        self.workers, self.options, self.terms = workers, options, terms
        self.nets = [
            Session(randomised(bundle, terms.seed + i), device, threads) for i in range(terms.nets)
        ]

    def run(self, path: str, label: str) -> FileTrial | None:
        """Test the maps of one file; None if its verdict is wrong.

        Args:
            label: of the file.

        Raises:
            SampleError: the file gives no sample, or has changed meanwhile.
        """
        prepared = self.workers.call(prepare, path, self.options)
        kind = prepared.layout.kind
        logits = self.session.run([prepared.views], kinds=[kind]).logits[0]
        verdict, question = decide(logits, self.session.card, kind)
        if verdict.ranked[0].label != label:
            return None
        moved = self.workers.call(
            perturbed,
            path,
            prepared.identity.sha256,
            prepared.layout,
            self.options,
            self.terms.seed,
        )
        return _File(self, prepared, question, moved).trial(label)


@dataclass(frozen=True)
class _File:
    """A file of the bench, with the label to explain and to explain it against."""

    bench: Bench
    prepared: Prepared
    question: Question
    moved: Perturbed

    def trial(self, label: str) -> FileTrial:
        terms, layout = self.bench.terms, self.prepared.layout
        blocks = Blocks.of(self.prepared.identity.size)
        outputs = self._answer(self.bench.session, self.prepared.views)
        claims = self._claims(outputs, blocks)
        plan = _Plan(self, blocks)
        by_size = plan.curves(blocks.by_region(layout))
        own = {method: plan.curves(blocks.by_heat(heat)) for method, (_, heat) in claims.items()}
        generator = np.random.default_rng(terms.seed)
        shifts = generator.integers(1, max(2, len(blocks.sizes)), terms.orders)
        moved = {
            method: [plan.curves(blocks.moved(blocks.by_heat(heat), int(by))) for by in shifts]
            for method, (_, heat) in claims.items()
        }
        regions = sorted((r for r in layout.regions if r.size), key=lambda r: -r.size)
        regions = regions[:MAX_REGIONS]
        masked = [
            [plan.masked(((region.start, region.end),), mask) for region in regions]
            for mask in MASKS
        ]
        values = plan.run()
        lost = values[0, plan.masked(())] - np.median(values[0, masked], axis=0)
        at = [layout.regions.index(region) for region in regions]
        return FileTrial(
            label=label,
            by_size=by_size(values),
            largest=None if len(at) < 2 else bool(lost.argmax() == 0),
            methods=tuple(
                MethodTrial(
                    method=method,
                    same_as=same_maps(outputs, method),
                    curves=own[method](values),
                    random=_mean([curves(values) for curves in moved[method]]),
                    top=None if len(at) < 2 else bool(contributions[at].argmax() == lost.argmax()),
                    regions=rank_correlation(contributions[at], lost),
                    **self._likeness(method, heat, blocks),
                )
                for method, (contributions, heat) in claims.items()
            ),
        )

    def _claims(self, outputs: Outputs, blocks: Blocks) -> dict[str, tuple[Floats, Floats]]:
        """Contributions of all regions and heat of all blocks, by method."""
        found = dict[str, tuple[Floats, Floats]]()
        for method in self.bench.terms.methods:
            if any(method in same_maps(outputs, known) for known in found):
                continue
            parts = self._parts(method, self.bench.session, outputs, self.prepared.views)
            regions = divide(self.prepared, parts).regions
            contributions = np.array([region.contribution for region in regions])
            found[method] = contributions, blocks.heat(parts)
        return found

    def _likeness(self, method: str, heat: Floats, blocks: Blocks) -> dict[str, Any]:
        """Rank correlation of a map with maps that should differ, and that should be alike."""
        session, views = self.bench.session, self.prepared.views
        nets = []
        for net in self.bench.nets:
            outputs = self._answer(net, views) if method in ADDITIVE else None
            other = blocks.heat(self._parts(method, net, outputs, views, random=True))
            nets.append(rank_correlation(heat, other))
        found: dict[str, Any] = {"nets": tuple(nets), "appended": None, "padded": None}
        changes = {"appended": self.moved.appended, "padded": self.moved.padded}
        for name, changed in changes.items():
            if changed is None or method not in ADDITIVE:
                continue
            parts = self._parts(method, session, self._answer(session, changed), changed)
            found[name] = rank_correlation(heat, blocks.heat(parts))
        return found

    def _parts(
        self,
        method: str,
        session: Session,
        outputs: Outputs | None,
        views: Mapping[str, View],
        random: bool = False,
    ) -> list[Part]:
        """The map of a method with its positions in the file.

        Args:
            outputs: of `session` for `views`, if the graph has the map.
            random: the weights of `session` are randomised: the graph then subtracts the wrong
                heat of an empty input, which is corrected here.
        """
        if outputs is None or method not in ADDITIVE:
            terms, prepared = self.bench.terms, self.prepared
            windows = Windows.over(prepared.layout)
            found = effects(
                session,
                self.bench.workers,
                prepared,
                self.question,
                self.bench.options,
                windows,
                terms.mask,
                terms.seed,
            )
            return [spread(windows, found)]
        maps = maps_of(outputs, 0, method)
        if random:
            nothing = {
                name: View(np.zeros_like(view.pixels), view.geometry)
                for name, view in views.items()
            }
            empty = maps_of(self._answer(session, nothing), 0, method)
            maps = {name: grid - empty[name] for name, grid in maps.items()}
        return [
            (views[name].geometry, np.asarray(grid, dtype=np.float64))
            for name, grid in maps.items()
        ]

    def _answer(self, session: Session, views: Mapping[str, View]) -> Outputs:
        against = CHOOSE if self.question.against is None else self.question.against
        return session.run([dict(views)], self.question.label, against)


class _Plan:
    """Variants of a file to run, each once, and curves over them."""

    def __init__(self, file: _File, blocks: Blocks) -> None:
        self._file, self._blocks = file, blocks
        self._rows: dict[Variant, int] = {}

    def masked(self, ranges: tuple[Range, ...], mask: Mask | None = None) -> int:
        """Number of the variant with `ranges` masked; mask None: that of the terms."""
        terms = self._file.bench.terms
        variant = Variant(ranges, mask or terms.mask, terms.seed)
        return self._rows.setdefault(variant, len(self._rows))

    def curves(self, order: Ints) -> Callable[[Floats], Curves]:
        """Curves of deletion and insertion in an order of blocks, from the values of `run`."""
        pairs = [self._blocks.divided(order, fraction) for fraction in FRACTIONS]
        deletion = [self.masked(first) for first, _ in pairs]
        insertion = [self.masked(rest) for _, rest in pairs]
        return lambda values: Curves(values[:, deletion], values[:, insertion])

    def run(self) -> Floats:
        """Score and probability of each variant, shape (2, V)."""
        file, bench = self._file, self._file.bench
        session = bench.session
        logits = run_masked(session, bench.workers, file.prepared, list(self._rows), bench.options)
        shares = probabilities(logits, session.card)[:, file.question.label]
        return np.stack([file.question.score(logits), shares])


def _mean(curves: list[Curves]) -> Curves:
    return Curves(
        np.mean([found.deletion for found in curves], axis=0),
        np.mean([found.insertion for found in curves], axis=0),
    )
