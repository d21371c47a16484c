"""Compares nets: figures on the same folds, cost, and agreement of their maps."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from maltriage.assess.studies.cell import Measured, differing, images, scanned
from maltriage.assess.verdicts.folds import assess_folds
from maltriage.bundle import load
from maltriage.corpus.corpus import Corpus
from maltriage.corpus.predictions import Predictions, join
from maltriage.corpus.study import Cell
from maltriage.errors import MaltriageError
from maltriage.metrics import Interval
from maltriage.report.documents.comparison import Agreement, Comparison, Row, Timing
from maltriage.report.documents.evaluation import Difference, RecipeFigures
from maltriage.sample.views import called
from maltriage.triage.session import Session
from maltriage.version import __version__

ROUNDS, WARM_UP = 25, 3
TIMED_IMAGES = 8
"""Samples of the dataset that nets are timed on, one by one."""

Found = Mapping[Cell, Measured]


def compare(
    found: Found,
    nets: Sequence[str],
    out: Path,
    corpora: Mapping[str, Corpus],
    *,
    seeds: int,
    folds: int,
    reference: str | None = None,
    others: Sequence[Predictions] = (),
) -> Comparison:
    """Tabulate a study.

    Args:
        found: the measured cells of the folder. Seeds that lack a fold do not count.
        nets: the names of the rows, in order.
        out: the folder.
        corpora: samples by net, with the net's views.
        seeds: number of requested seeds, from 0.
        folds: number of folds of a seed; 0: one split, whose cells have the fold None.
        reference: name of the row that others are compared with; None: the first.
        others: predictions of other models on the same folds.

    Raises:
        MaltriageError: no seed is finished, or cells or predictions differ in data or recipe.
    """
    runs = dict[str, list[Predictions]]()
    for net in nets:
        if whole := _whole(found, net, folds):
            runs[net] = [join([scanned(cell, out) for cell in cells]) for cells in whole]
    if not runs:
        raise MaltriageError(f"{out}: no net has a seed that is finished")
    _one_study(found)
    labels = next(iter(runs.values()))[0].labels
    for run in others:
        if run.recipe in nets:
            raise MaltriageError(f"predictions of {run.recipe}: there is a net of that name")
        if set(run.labels) != set(labels):
            raise MaltriageError(f"predictions of {run.recipe}: other labels than the nets have")
        runs.setdefault(run.recipe, []).append(run)
    base = reference or next(iter(runs))
    if base not in runs:
        raise MaltriageError(f"{base}: no row to compare with (known: {', '.join(runs)})")
    unfinished = _unfinished(found, nets, seeds, folds)
    own = {run.seed for run in runs[base]}
    for name in [name for name in runs if not own & {run.seed for run in runs[name]}]:
        del runs[name]
        unfinished.append(f"{name} (no seed in common with {base})")
    figures, differences = _figures(runs, base, found)
    first = next(iter(found.values()))
    timings = time_nets(
        {net: _first(found, net).bundle(out) for net in runs if net in nets}, corpora
    )
    rows = [
        _net_row(figures[name], found, differences.get(name), timings[name], folds)
        if name in nets
        else _row(figures[name], differences.get(name))
        for name in runs
    ]
    return Comparison(
        maltriage_version=__version__,
        dataset=first.card.training.dataset,
        manifest_sha256=first.card.training.manifest_sha256,
        samples=first.card.training.samples,
        goodware_samples=first.card.training.goodware_samples,
        labels=list(labels),
        split=first.card.training.split,
        split_seed=first.card.training.split_seed,
        folds=folds,
        reference=base,
        left_out={
            why: max(cell.left_out.get(why, 0) for cell in found.values()) for why in first.left_out
        },
        unfinished=unfinished,
        rows=rows,
    )


def _one_study(found: Found) -> None:
    """Raise MaltriageError if cells differ in more than net, seed and fold."""
    recipes = dict[str, tuple[Cell, dict[str, Any]]]()
    (one, first), *rest = found.items()
    for cell, measured in found.items():
        recipe = {k: v for k, v in measured.card.training.recipe.items() if k != "seed"}
        other, stored = recipes.setdefault(cell.net, (cell, recipe))
        if differs := differing(stored, recipe):
            raise MaltriageError(f"{other} and {cell} are of different recipes: {differs}")
    for cell, measured in rest:
        ours, theirs = measured.card.training, first.card.training
        for name in ("manifest_sha256", "split", "split_seed", "folds"):
            if getattr(ours, name) != getattr(theirs, name):
                raise MaltriageError(f"{one} and {cell} have another {name.replace('_', ' ')}")


def _whole(found: Found, net: str, folds: int) -> list[list[Cell]]:
    """The cells of each complete seed."""
    numbers = range(folds) if folds else (None,)
    seeds = sorted({cell.seed for cell in found if cell.net == net})
    studies = [[Cell(net, seed, fold) for fold in numbers] for seed in seeds]
    return [cells for cells in studies if all(cell in found for cell in cells)]


def _unfinished(found: Found, nets: Sequence[str], seeds: int, folds: int) -> list[str]:
    """Seeds that do not count because of unfinished folds."""
    lacking = list[str]()
    for net in nets:
        whole = {cells[0].seed for cells in _whole(found, net, folds)}
        for seed in sorted(set(range(seeds)) - whole):
            there = sum((cell.net, cell.seed) == (net, seed) for cell in found)
            lacking.append(
                f"{net}, seed {seed}" + (f" ({there} of {folds} folds)" if folds else "")
            )
    return lacking


def _first(found: Found, net: str) -> Cell:
    """The first cell of a net, for properties that all its cells share."""
    return min((cell for cell in found if cell.net == net), key=lambda c: (c.seed, c.fold or 0))


def _figures(
    runs: dict[str, list[Predictions]], base: str, found: Found
) -> tuple[dict[str, RecipeFigures], dict[str, Difference]]:
    """Figures by name, and differences from the reference for all others."""
    order = [base, *(name for name in runs if name != base)]
    share = float(np.mean([cell.tested / max(1, cell.trained) for cell in found.values()]))
    report = assess_folds([run for name in order for run in runs[name]], test_share=share)
    figures = {recipe.recipe: recipe for recipe in report.recipes}
    return figures, {found.second: _turned(found) for found in report.differences}


def _turned(difference: Difference) -> Difference:
    """The second minus the first."""

    def turn(value: Interval) -> Interval:
        return Interval(0.0 - value.value, 0.0 - value.high, 0.0 - value.low)  # no -0.0

    return Difference(
        first=difference.second,
        second=difference.first,
        seeds=difference.seeds,
        accuracy=turn(difference.accuracy),
        macro_f1=turn(difference.macro_f1),
    )


def _row(figures: RecipeFigures, difference: Difference | None) -> Row:
    return Row(
        name=figures.recipe,
        net=False,
        seeds=figures.seeds,
        samples=figures.samples,
        accuracy=figures.accuracy,
        macro_f1=figures.macro_f1,
        pooled_macro_f1=figures.pooled_macro_f1,
        folds=figures.folds,
        duplicates=figures.duplicates,
        difference=difference,
    )


def _net_row(
    figures: RecipeFigures,
    found: Found,
    difference: Difference | None,
    timing: Timing,
    folds: int,
) -> Row:
    net = figures.recipe
    first = found[_first(found, net)]
    card, seed = first.card, figures.seeds[0]
    own = [found[cells] for whole in _whole(found, net, folds) for cells in whole]
    of_a_seed = [m for cell, m in found.items() if (cell.net, cell.seed) == (net, seed)]
    flops = card.metrics.get("flops")
    return msgspec.structs.replace(
        _row(figures, difference),
        net=True,
        duplicates=_sum(of_a_seed, "test_duplicates"),
        near_twins=_sum(of_a_seed, "test_near_twins"),
        epochs=card.training.epochs,
        views=[called(view) for view in card.views],
        image_size=next((v.shape[-1] for v in card.views if v.picture), None),
        parameters=card.parameters,
        flops=None if flops is None else int(flops),
        bundle_bytes=first.bundle_bytes,
        timing=timing,
        agreement=_agreement(own),
        scan_difference=max(cell.scan_difference for cell in own),
    )


def _sum(cells: Sequence[Measured], figure: str) -> int:
    return int(sum(cell.card.metrics.get(figure, 0.0) for cell in cells))


def _agreement(cells: Sequence[Measured]) -> Agreement:
    values = [value for cell in cells for value in cell.correlations]
    undefined = sum(cell.undefined for cell in cells)
    if all(cell.same_maps for cell in cells):
        return Agreement(1.0, 0.0, 0, 0, by_construction=True)
    mean = float(np.mean(values)) if values else None
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return Agreement(mean, sd, len(values) + undefined, undefined, by_construction=False)


def time_nets(bundles: Mapping[str, Path], corpora: Mapping[str, Corpus]) -> dict[str, Timing]:
    """Time of an image with its explanation, in ONNX Runtime on one CPU thread.

    Images run one at a time and nets alternate, so that other load on the machine affects all
    nets alike. The first rounds do not count.
    """
    sessions = {net: Session(load(path), "cpu", threads=1) for net, path in bundles.items()}
    feeds = dict[str, list[Any]]()
    for net in sessions:
        rows = np.linspace(0, len(corpora[net]) - 1, TIMED_IMAGES).round().astype(np.int64)
        feeds[net] = [images(corpora[net], rows[i : i + 1]) for i in range(len(rows))]
    times: dict[str, list[float]] = {net: [] for net in sessions}
    for number in range(WARM_UP + ROUNDS):
        for net, session in sessions.items():
            began = time.perf_counter()
            session.answer(feeds[net][number % TIMED_IMAGES], [math.inf])
            if number >= WARM_UP:
                times[net].append(1e3 * (time.perf_counter() - began))
    timings = dict[str, Timing]()
    for net, values in times.items():
        low, median, high = (float(q) for q in np.quantile(values, (0.25, 0.5, 0.75)))
        timings[net] = Timing(median, low, high, ROUNDS)
    return timings
