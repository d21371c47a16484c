"""Trains the missing cells of a study, beside other processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from maltriage.corpus.corpus import Corpus
from maltriage.corpus.splits import check_folds
from maltriage.corpus.study import Cell
from maltriage.files.lock import locked
from maltriage.learn.fit.checkpoint import LAST, load_checkpoint, save_checkpoint
from maltriage.learn.fit.loop import Tick
from maltriage.learn.fit.recipe import FitOptions
from maltriage.learn.runs.crossval import WAIT, train_fold
from maltriage.learn.runs.options import RunOptions
from maltriage.learn.runs.train import export_checkpoint, train


def run_options(
    cell: Cell, out: Path, fit: FitOptions, *, folds: int, split: str, split_seed: int
) -> RunOptions:
    """The options of a cell's run; with folds, of its cross-validation."""
    return RunOptions(
        folder=cell.study(out),
        name=cell.net,
        fit=replace(fit, net=cell.net, seed=cell.seed),
        split=split,
        split_seed=split_seed,
        folds=folds,
    )


def train_missing(
    runs: Mapping[Cell, RunOptions],
    out: Path,
    corpora: Mapping[str, Corpus],
    *,
    progress: Callable[[Cell, Tick], None] = lambda cell, tick: None,
    waiting: Callable[[int], None] = lambda count: None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Cell]:
    """Train unfinished cells in order, and yield each cell when it is finished.

    Finished cells come first. A cell stays locked while it is trained, and until the next one
    is requested. Cells locked by another process are waited for at the end, and trained here
    if that process dies.

    Args:
        runs: options of each cell.
        out: folder of the study.
        corpora: samples by net, with the net's views.
        progress: called after each step.
        waiting: called with the number of cells locked by others when nothing else is left.
        stop: called after each step and between cells; once true, the current run is saved and
            all ends.

    Raises:
        MaltriageError: see `train`; also, before any training, if a fold would take every
            sample of a label.
    """
    left = dict(runs)
    for cell in [cell for cell in left if cell.bundle(out).exists()]:
        with locked(cell.lock(out)) as held:
            if held:
                yield cell
                del left[cell]
        if stop():
            return
    if left:
        cell, options = next(iter(left.items()))
        if options.folds:  # the same of all cells
            check_folds(corpora[cell.net], options.split, options.split_seed, options.folds)
    while left:
        taken = 0
        for cell, options in list(left.items()):
            if stop():
                return
            with locked(cell.lock(out)) as held:
                if not held:
                    continue
                taken += 1
                if not _train(cell, options, out, corpora[cell.net], progress, stop):
                    return
                yield cell
            del left[cell]
        if left and not taken:
            waiting(len(left))
            time.sleep(WAIT)


def _train(
    cell: Cell,
    options: RunOptions,
    out: Path,
    corpus: Corpus,
    progress: Callable[[Cell, Tick], None],
    stop: Callable[[], bool],
) -> bool:
    """Train one cell; true if it was finished."""
    if cell.bundle(out).exists():
        return True  # another process has finished it in the meantime
    last = cell.folder(out) / LAST
    if last.exists() and _slimmed(last):  # finished, but its bundle is gone
        export_checkpoint(last, cell.bundle(out))
        return True

    def show(tick: Tick) -> None:
        progress(cell, tick)

    if cell.fold is None:
        outcome = train(corpus, options, progress=show, stop=stop)
    else:
        outcome = train_fold(
            corpus, options, cell.fold, progress=lambda now: show(now.tick), stop=stop
        )
    if outcome.bundle is None:
        return False
    _slim(last)
    return True


def _slim(path: Path) -> None:
    """Reduce the checkpoint of a finished run to its averaged weights.

    The rest, three times as much, serves only to resume, and a study has many cells.
    """
    tensors, state = load_checkpoint(path)
    save_checkpoint(path, {k: t for k, t in tensors.items() if k.startswith("ema.")}, state)


def _slimmed(path: Path) -> bool:
    tensors, state = load_checkpoint(path)
    return state.finished is not None and all(name.startswith("ema.") for name in tensors)
