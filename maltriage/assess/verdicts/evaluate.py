"""Evaluates a bundle on labelled files, through the path that users run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import msgspec
import numpy as np

from maltriage import metrics
from maltriage.assess.held_back import Held
from maltriage.assess.verdicts.quality import detection, f1_interval, label_figures, reliability
from maltriage.bundle import Card
from maltriage.corpus.split_file import manifest_of
from maltriage.errors import MaltriageError
from maltriage.metrics import Bools
from maltriage.report.documents.evaluation import Evaluation, FlagCounts
from maltriage.report.documents.record import Failed, ModelRef, Result, Skipped, path_fields
from maltriage.similar.index_file import files_beside
from maltriage.triage.options import Progress, ScanOptions
from maltriage.triage.pipeline import scan


def evaluate(
    held: Held,
    options: ScanOptions,
    *,
    changed: Callable[[Progress], None] = lambda progress: None,
) -> Evaluation:
    """Scan labelled files and compare verdicts with labels.

    Args:
        held: files of one bundle.

    Raises:
        MaltriageError: no sample has a label that the bundle knows, or none could be read; or the
            bundle's index cannot be read.
    """
    (group,) = held.groups
    card = group.bundle.card
    index = {label: i for i, label in enumerate(card.labels)}
    truth_by_path = {path_fields(path)[0]: index[label] for path, label in group.known}
    if not truth_by_path:
        raise MaltriageError("none of the samples has a label that the model knows")
    indexed, in_index = files_beside(group.bundle), 0
    truth, logs, margins, flags = [], [], [], []
    scanned = list[tuple[str, str]]()
    unread = list[Failed | Skipped]()
    for record in scan([path for path, _ in group.known], group.bundle, options, changed=changed):
        if isinstance(record, Result):
            truth.append(truth_by_path[record.path])
            logs.append(log_probabilities(record, card))
            margins.append(record.verdict.margin)
            flags.append(bool(record.verdict.flagged))
            in_index += indexed is not None and record.sha256 in indexed
            scanned.append((record.sha256, card.labels[truth[-1]]))
        elif isinstance(record, Failed | Skipped):
            unread.append(record)
    if not truth:
        first = f"{unread[0].path}: {unread[0].reason}" if unread else "there are none"
        raise MaltriageError(f"none of the samples could be read, the first: {first}")
    seen = manifest_of(scanned) == card.training.manifest_sha256
    return _figures(
        replace(held, seen=held.seen or seen),
        len(unread),
        None if indexed is None else in_index,
        np.array(truth),
        np.array(logs),
        np.array(flags),
        None if margins[0] is None else np.array(margins, dtype=np.float64),
    )


def _figures(
    held: Held,
    unreadable: int,
    in_index: int | None,
    truth: metrics.Ints,
    logs: metrics.Floats,
    flags: Bools,
    margins: metrics.Floats | None,
) -> Evaluation:
    card, count, predicted = held.model.card, len(truth), logs.argmax(axis=1)
    matrix = metrics.confusion(truth, predicted, len(card.labels))
    labels = label_figures(matrix, card.labels)
    judged = reliability(logs[None], truth[None])
    return Evaluation(
        model=ModelRef(card.name, card.weights_sha256),
        part=held.part,
        samples=count,
        unreadable=unreadable,
        unknown_labels=dict(held.unknown),
        accuracy=metrics.bootstrap(lambda at: metrics.accuracy(truth[at], predicted[at]), count),
        macro_f1=metrics.bootstrap(
            lambda at: metrics.macro_f1(truth[at], predicted[at], len(card.labels)), count
        ),
        ece=judged.ece.value,
        labels=[
            msgspec.structs.replace(row, f1_interval=f1_interval(truth[None], predicted[None], i))
            for i, row in enumerate(labels)
        ],
        confusion=matrix.tolist(),
        flags=None if card.threshold is None else _flags(truth == card.benign, flags),
        duplicates=held.duplicates,
        near_twins=held.near_twins,
        in_index=in_index,
        seen=held.seen,
        left_out=held.left_out,
        calibrated=card.temperature is not None,
        reliability=judged,
        detection_curves=(
            None if margins is None else detection(margins[None], (truth != card.benign)[None])
        ),
    )


def _flags(benign: Bools, flagged: Bools) -> FlagCounts:
    return FlagCounts(
        malware=int((~benign).sum()),
        malware_flagged=int(flagged[~benign].sum()),
        benign=int(benign.sum()),
        benign_flagged=int(flagged[benign].sum()),
    )


def log_probabilities(record: Result, card: Card) -> list[float]:
    """Logarithms of the probabilities of a record, in the order of the card's labels."""
    tiny = np.finfo(np.float64).tiny
    shares = {entry.label: max(entry.probability, tiny) for entry in record.verdict.ranked}
    return [float(np.log(shares[label])) for label in card.labels]
