"""Measures the faithfulness of a bundle's explanations over files with the right verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from maltriage.assess.each import each
from maltriage.assess.explanations.curves import FRACTIONS, area
from maltriage.assess.explanations.perturbation import (
    MEASURED,
    Bench,
    Curves,
    FileTrial,
    MethodTrial,
    Terms,
)
from maltriage.assess.held_back import Held
from maltriage.bundle import Bundle
from maltriage.errors import MaltriageError
from maltriage.metrics import Floats, Interval, bootstrap
from maltriage.report.documents.evaluation import (
    CurveFigures,
    Faithfulness,
    MeanCurves,
    MethodFaithfulness,
    Target,
)
from maltriage.report.documents.record import ModelRef
from maltriage.triage.methods import check_methods
from maltriage.triage.options import Progress, ScanOptions, work_of
from maltriage.work.cores import cores
from maltriage.work.workers import Workers

DELETION_BETTER, TOP_REGION, RANKS = 0.25, 0.7, 0.7
"""Targets of the default method; see `_targets`."""
SAME_MAP = 0.5
"""Rank correlation with maps of randomised weights from which on a map is taken to explain the
file and not the net."""
SCORE, PROBABILITY = 0, 1


def assess_faithfulness(
    held: Held,
    options: ScanOptions,
    terms: Terms,
    *,
    changed: Callable[[Progress], None] = lambda progress: None,
) -> Faithfulness:
    """Test the explanations of labelled files.

    Raises:
        MaltriageError: no such method, or no readable file has the right verdict.
    """
    check_methods(terms.methods, {}, MEASURED)
    began = time.monotonic()
    progress, found, unknown = Progress(), list[FileTrial](), held.unknown
    files = len(held) - unknown.total()
    for group in held.groups:
        for trial in _trials(group.bundle, group.known, options, terms, progress):
            if trial is not None:
                found.append(trial)
            changed(progress)
    if not found:
        raise MaltriageError(f"no readable file of {files} has the right verdict")
    told = [trial for trial in found if trial.largest is not None]
    methods = [
        _method([trial.methods[i] for trial in found], found) for i in range(len(found[0].methods))
    ]
    return Faithfulness(
        model=ModelRef(held.model.card.name, held.model.card.weights_sha256),
        part=held.part,
        seen=held.seen,
        files=files,
        right=len(found),
        told=len(told),
        unreadable=progress.failed,
        unknown_labels=dict(unknown),
        missing=held.missing,
        in_index=held.in_index,
        mask=terms.mask,
        seed=terms.seed,
        orders=terms.orders,
        nets=terms.nets,
        seconds=time.monotonic() - began,
        largest_region=_mean([float(bool(trial.largest)) for trial in told]),
        methods=methods,
        targets=_targets(methods[0]),
    )


def _trials(
    bundle: Bundle,
    samples: Sequence[tuple[str, str]],
    options: ScanOptions,
    terms: Terms,
    progress: Progress,
) -> Iterator[FileTrial | None]:
    """The trial of each file, in order; None if the verdict is wrong or missing."""
    if not samples:
        return
    jobs = options.jobs or cores()
    with Workers(jobs, options.timeout) as workers:
        bench = Bench(
            bundle, workers, work_of(bundle, options), terms, options.device, options.threads
        )
        for trial in each(bench.run, samples, jobs + 1):
            if isinstance(trial, Exception):
                progress.failed += 1
                yield None
            else:
                progress.files += 1
                yield trial


def _method(trials: Sequence[MethodTrial], files: Sequence[FileTrial]) -> MethodFaithfulness:
    """The figures of one method; `files` are those of `trials`, in the same order."""
    own, random = [t.curves for t in trials], [t.random for t in trials]
    by_size = [file.by_size for file in files]

    def figures(kind: str, unit: int) -> CurveFigures:
        return _curve_figures(own, random, by_size, kind, unit)

    def mean(curves: Sequence[Curves], kind: str) -> list[float]:
        values = np.mean([getattr(c, kind)[PROBABILITY] for c in curves], axis=0)
        return [float(value) for value in values]

    return MethodFaithfulness(
        method=trials[0].method,
        same_as=list(trials[0].same_as),
        deletion=figures("deletion", PROBABILITY),
        insertion=figures("insertion", PROBABILITY),
        deletion_score=figures("deletion", SCORE),
        insertion_score=figures("insertion", SCORE),
        top_region=_mean([float(t.top) for t in trials if t.top is not None]),
        rank_correlation=_median([t.regions for t in trials]),
        random_nets=_median([_strength(t.nets) for t in trials]),
        appended=_median([t.appended for t in trials]),
        padded=_median([t.padded for t in trials]),
        curves=MeanCurves(
            list(FRACTIONS),
            mean(own, "deletion"),
            mean(random, "deletion"),
            mean(own, "insertion"),
            mean(random, "insertion"),
        ),
    )


def _curve_figures(
    own: Sequence[Curves],
    random: Sequence[Curves],
    by_size: Sequence[Curves],
    kind: str,
    unit: int,
) -> CurveFigures:
    """Areas under curves, mean over files.

    For scores, the mean area above the score of the fully masked file is divided by the mean
    difference of full and masked score, so a file with little difference has little weight.
    """
    ends = np.array([curves.deletion[unit][[0, -1]] for curves in own])
    floor, scale = (
        (np.zeros(len(own)), np.ones(len(own)))
        if unit == PROBABILITY
        else (ends[:, 1], ends[:, 0] - ends[:, 1])
    )

    def areas(curves: Sequence[Curves]) -> Floats:
        found: Floats = np.array([area(getattr(c, kind)[unit]) for c in curves]) - floor
        return found

    def ratio(top: Floats, bottom: Floats) -> Interval:
        return bootstrap(lambda at: float(top[at].sum() / bottom[at].sum()), len(top))

    ours, theirs = areas(own), areas(random)
    gain = theirs - ours if kind == "deletion" else ours - theirs
    return CurveFigures(
        own=ratio(ours, scale),
        random=ratio(theirs, scale),
        by_size=ratio(areas(by_size), scale),
        better=ratio(gain, theirs),
    )


def _strength(correlations: Sequence[float | None]) -> float | None:
    """Mean absolute correlation, without missing ones."""
    known = [abs(value) for value in correlations if value is not None]
    return float(np.mean(known)) if known else None


def _mean(values: Sequence[float]) -> Interval | None:
    if not values:
        return None
    array = np.array(values)
    return bootstrap(lambda at: float(array[at].mean()), len(array))


def _median(values: Sequence[float | None]) -> Interval | None:
    array = np.array([value for value in values if value is not None])
    if not len(array):
        return None
    return bootstrap(lambda at: float(np.median(array[at])), len(array))


def _targets(method: MethodFaithfulness) -> list[Target]:
    def least(name: str, found: Interval | None, wanted: float) -> Target | None:
        if found is None:
            return None
        return Target(name, found.value, wanted, None, found.value >= wanted)

    found = [
        least("deletion better than random ranges", method.deletion.better, DELETION_BETTER),
        least("top region right", method.top_region, TOP_REGION),
        least("rank correlation over regions", method.rank_correlation, RANKS),
    ]
    nets = method.random_nets
    if nets is not None:
        name = "likeness to maps of randomised nets"
        found.append(Target(name, nets.value, None, SAME_MAP, nets.value <= SAME_MAP))
    return [target for target in found if target is not None]
