"""Measures a cell of a study: its bundle scans the samples that its run held back.

The run's folder gets `scanned.csv`, the bundle's probabilities on the path that users take, and
`measured.json`, so that nothing is measured twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from maltriage import metrics
from maltriage.bundle import Bundle, Card, Training, load
from maltriage.corpus.corpus import Corpus
from maltriage.corpus.predictions import (
    OUT_OF_FOLD_FILE,
    PREDICTIONS_FILE,
    Predictions,
    join,
    load_predictions,
    save_predictions,
)
from maltriage.corpus.split_file import LEFT_OUT, SPLIT_FILE, load_split, manifest_sha256
from maltriage.corpus.study import Cell
from maltriage.errors import MaltriageError, cannot_write
from maltriage.files.atomic import write_file
from maltriage.files.decoding import decoded
from maltriage.report.documents.record import Result, Summary, encode, path_fields
from maltriage.triage.options import Progress, ScanOptions
from maltriage.triage.pipeline import scan
from maltriage.triage.session import Session

SCANNED_FILE, MEASURED_FILE = "scanned.csv", "measured.json"
TOLERANCE = 1e-2
"""Tolerance of a probability between scan and training run, times a sample's largest logit over
the temperature. On a CPU the difference is below 1e-4; GPUs round convolutions more coarsely."""
COMPARED_IMAGES = 64
"""Images of a cell whose Grad-CAM and HiResCAM maps are correlated."""
BATCH = 8
SMALLEST = 1e-30
"""Least probability, so that an underflow has a logarithm."""


class Measured(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The measurements of a cell besides its predictions."""

    card: Card
    bundle_bytes: int
    trained: int
    """Training samples without added clean files."""
    tested: int
    """Test samples without added clean files."""
    left_out: dict[str, int]
    """Samples in no part, by key of `LEFT_OUT`."""
    scan_difference: float
    """Largest difference of a probability between scan and training run."""
    same_maps: bool
    """True if Grad-CAM equals HiResCAM by construction."""
    correlations: list[float] = []
    """Correlation of both maps by image."""
    undefined: int = 0
    """Images with a constant map."""


def known(cell: Cell, out: Path) -> Measured | None:
    """Earlier measurements of a cell; None: there are none, or they are of another bundle."""
    folder, bundle = cell.folder(out), cell.bundle(out)
    path = folder / MEASURED_FILE
    try:
        if path.stat().st_mtime_ns < bundle.stat().st_mtime_ns:
            return None
        found = decoded(path.read_bytes(), msgspec.json.Decoder(Measured))
    except (OSError, msgspec.MsgspecError):
        return None  # missing or of another version: measured anew
    return found if (folder / SCANNED_FILE).exists() else None


def scanned(cell: Cell, out: Path) -> Predictions:
    """The bundle's predictions on the held-back samples of a measured cell."""
    return load_predictions(cell.folder(out) / SCANNED_FILE)


def check(cell: Cell, training: Training, corpus: Corpus, wanted: Mapping[str, Any] | None) -> None:
    """Raise MaltriageError if a cell is of other data or another recipe than requested.

    Args:
        training: of the cell's card.
        corpus: the samples.
        wanted: recipe, `split`, `split_seed` and `folds`, as in a card; None: any.
    """
    if training.manifest_sha256 != manifest_sha256(corpus):
        raise MaltriageError(
            f"{cell}: was trained on other samples than those of {corpus.root}; name another --out"
        )
    stored = {"split": training.split, "split_seed": training.split_seed, "folds": training.folds}
    differs = "" if wanted is None else differing(stored | training.recipe, wanted)
    if differs:
        raise MaltriageError(f"{cell}: exists with {differs}; name another --out")


def differing(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """The differences of two recipes, in words; empty if there are none."""
    names = [name for name in {**stored, **wanted} if stored.get(name) != wanted.get(name)]
    return ", ".join(f"{name} {stored.get(name)} instead of {wanted.get(name)}" for name in names)


def save_out_of_fold(cells: Sequence[Cell], out: Path) -> None:
    """Write the out-of-fold predictions of each seed, for comparison with other models.

    Raises:
        MaltriageError: a file cannot be written.
    """
    path = cells[0].study(out) / OUT_OF_FOLD_FILE
    if path.exists():
        return
    parts = [load_predictions(cell.folder(out) / PREDICTIONS_FILE) for cell in cells]
    try:
        save_predictions(join(parts), path)
    except OSError as error:
        raise cannot_write(path, error) from error


def measure(
    cell: Cell,
    out: Path,
    corpus: Corpus,
    options: ScanOptions,
    *,
    wanted: Mapping[str, Any] | None = None,
    changed: Callable[[Progress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
) -> Measured | None:
    """Scan the held-back samples of a finished cell, and correlate its maps.

    Args:
        corpus: of the cell, with the views of its bundle.
        wanted: see `check`.
        changed, stop: see `scan`.

    Returns:
        The measurements; None if stopped, when nothing is stored.

    Raises:
        MaltriageError: the cell is of other data, or the scan's probabilities differ from the
            training run's.
    """
    bundle, folder = load(cell.bundle(out)), cell.folder(out)
    check(cell, bundle.card.training, corpus, wanted)
    if bundle.card.views != corpus.views:
        raise MaltriageError(f"{folder}: {cell} has other views")
    said = load_predictions(folder / PREDICTIONS_FILE)
    parts = load_split(folder / SPLIT_FILE, corpus.sha256)
    test = np.flatnonzero(parts == "test")
    if tuple(corpus.sha256[i] for i in test) != said.sha256 or said.labels != bundle.card.labels:
        raise MaltriageError(f"{folder / PREDICTIONS_FILE}: not of the samples of {SPLIT_FILE}")
    shares = _scan(bundle, [corpus.paths[i] for i in test], options, changed, stop)
    if shares is None:
        return None
    found = replace(said, logits=np.log(np.maximum(shares, SMALLEST)))
    maps = _correlations(bundle, corpus, test, options)
    own = np.arange(len(corpus)) < len(corpus) - corpus.goodware_samples
    measured = Measured(
        card=bundle.card,
        bundle_bytes=len(bundle.model),
        trained=int((own & (parts == "train")).sum()),
        tested=int((own & (parts == "test")).sum()),
        left_out={why: n for why in LEFT_OUT if (n := int((parts == why).sum()))},
        scan_difference=_difference(cell, shares, said, bundle.card),
        same_maps=maps is None,
        correlations=[value for value in maps or [] if not math.isnan(value)],
        undefined=sum(map(math.isnan, maps or [])),
    )
    try:
        save_predictions(found, folder / SCANNED_FILE)
        write_file(folder / MEASURED_FILE, encode(measured))
    except OSError as error:
        raise cannot_write(folder, error) from error
    return measured


def _scan(
    bundle: Bundle,
    paths: list[str],
    options: ScanOptions,
    changed: Callable[[Progress], None],
    stop: Callable[[], bool],
) -> metrics.Floats | None:
    """Probabilities by sample and label, [n, K], in the order of the paths; None if stopped."""
    place = {label: i for i, label in enumerate(bundle.card.labels)}
    shares = np.zeros((len(paths), len(place)))
    row = 0
    for record in scan(paths, bundle, options, changed=changed, stop=stop):
        if isinstance(record, Summary):
            if record.interrupted:
                return None
            break
        if row == len(paths) or record.path != path_fields(paths[row])[0]:
            raise MaltriageError(f"{record.path}: scanned out of order")
        if not isinstance(record, Result):
            raise MaltriageError(f"{record.path} is a sample of the dataset, but: {record.reason}")
        for ranked in record.verdict.ranked:
            shares[row, place[ranked.label]] = ranked.probability
        row += 1
    if row < len(paths):
        raise MaltriageError(f"{paths[row]} is a sample of the dataset, but was not scanned")
    return shares


def _difference(cell: Cell, shares: metrics.Floats, said: Predictions, card: Card) -> float:
    """Largest difference of a probability between scan and run.

    Raises:
        MaltriageError: the difference is larger than rounding explains.
    """
    scaled = said.logits / (card.temperature or 1.0)
    scaled -= scaled.mean(axis=1, keepdims=True)
    wanted = np.exp(metrics.log_softmax(scaled))
    difference = np.abs(shares - wanted).max(axis=1, initial=0.0)
    wrong = difference > TOLERANCE * np.abs(scaled).max(axis=1, initial=0.0) + 1e-6
    if wrong.any():
        raise MaltriageError(
            f"{cell}: {int(wrong.sum())} of {len(said)} samples have another probability when"
            f" scanned than in training, by up to {difference.max():.3g}"
        )
    return float(difference.max(initial=0.0))


def images(corpus: Corpus, rows: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.uint8]]:
    """Images of some samples by view, as inputs of a bundle."""
    return {view.name: corpus.pixels(view.name, rows) for view in corpus.views}


def _correlations(
    bundle: Bundle, corpus: Corpus, test: npt.NDArray[np.int64], options: ScanOptions
) -> list[float] | None:
    """Correlation of Grad-CAM with HiResCAM by image; nan: undefined. None: both are one map.

    It covers the cells of all views in which the maps may differ.
    """
    session = Session(bundle, options.device, options.threads)
    at = np.unique(np.linspace(0, len(test) - 1, COMPARED_IMAGES).round().astype(np.int64))
    found = list[float]()
    for rows in np.array_split(test[at], math.ceil(len(at) / BATCH)):
        outputs = session.answer(images(corpus, rows), [math.inf] * len(rows))
        if not outputs.gradcam:
            return None
        for i in range(len(rows)):
            grad = np.concatenate([grid[i].ravel() for grid in outputs.gradcam.values()])
            heat = np.concatenate([outputs.heat[name][i].ravel() for name in outputs.gradcam])
            found.append(correlation(grad.astype(np.float64), heat.astype(np.float64)))
    return found


def correlation(a: metrics.Floats, b: metrics.Floats) -> float:
    """Pearson's correlation of two maps as vectors; nan if one of them is constant."""
    a, b = a - a.mean(), b - b.mean()
    size = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / size if size > 0 else math.nan
