"""The screen of an evaluation: figures with intervals, labels, and confusions."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from maltriage.report import numbers
from maltriage.report.documents.evaluation import Evaluation, RecipeFigures
from maltriage.report.sanitize import untrusted
from maltriage.report.studies.measured_files import overlap
from maltriage.report.tabular import fact_table, figure_table

MAX_CONFUSIONS = 10
"""Most pairs of confused labels that are listed."""


def render(found: Evaluation, console: Console) -> None:
    """Print an evaluation."""
    head = Text.assemble(
        untrusted(found.model.name, "bold"),
        f"  {found.model.weights_sha256[:16]}  on part {found.part}, ",
        numbers.count(found.samples, "file"),
    )
    console.print(head)
    for line in remarks(found):
        console.print(line)
    console.print()
    summary = fact_table()
    for row in of_bundle(found):
        summary.add_row(*row)
    console.print(summary)
    console.print()
    table = figure_table("label", "files", "precision", "recall", "F1", "95 % interval")
    for label in found.labels:
        values = (label.precision, label.recall, label.f1)
        table.add_row(
            untrusted(label.label),
            str(label.support),
            *(f"{v:.3f}" for v in values),
            "" if label.f1_interval is None else numbers.between(*label.f1_interval),
        )
    console.print(table)
    for line in _confusions(found):
        console.print(line)


def of_bundle(found: Evaluation) -> Iterator[tuple[str, str, str]]:
    """Name, figure and interval of what is measured of a bundle."""
    yield "accuracy", *numbers.with_interval(found.accuracy)
    yield "macro-F1", *numbers.with_interval(found.macro_f1)
    yield from quality(found)
    if (flags := found.flags) is not None:
        yield "malware flagged", f"{flags.malware_flagged} of {flags.malware}", ""
        yield "benign flagged", f"{flags.benign_flagged} of {flags.benign}", ""


def quality(found: Evaluation | RecipeFigures) -> Iterator[tuple[str, str, str]]:
    """The same of its probabilities, and of telling malware from benign."""
    yield "ECE, 10 bins", *numbers.with_interval(found.reliability.ece)
    yield "Brier score", *numbers.with_interval(found.reliability.brier)
    if (curves := found.detection_curves) is None:
        return
    yield "malware or benign: AUC", *numbers.with_interval(curves.auc)
    yield "average precision", *numbers.with_interval(curves.average_precision)
    for point in curves.at:
        name = f"malware found at {numbers.rate(point.fpr)} false positives"
        if point.tpr is None:
            yield name, "-", point.why or ""
        else:
            yield name, *numbers.with_interval(point.tpr)


def remarks(found: Evaluation) -> Iterator[Text]:
    """Remarks above the figures."""
    if not found.calibrated:
        yield Text("the model has no temperature: its probabilities are uncalibrated", "yellow")
    yield from _remarks(found)


def _remarks(found: Evaluation) -> Iterator[Text]:
    yield _twins(found)
    for why, count in found.left_out.items():
        yield Text(f"{numbers.count(count, 'file')} in no part of the split: {why}", "yellow")
    if found.unreadable:
        yield Text(f"{numbers.count(found.unreadable, 'file')} gave no sample", "yellow")
    for label, count in sorted(found.unknown_labels.items()):
        note = Text.assemble("the model does not know ", untrusted(label), style="yellow")
        yield note.append(f": {numbers.count(count, 'file')} left out")


def _twins(found: Evaluation) -> Text:
    """The overlap of the part with the training files."""
    if found.part == "train" or found.seen:
        return Text("the model was trained on these files", "yellow")
    if found.duplicates is None or found.near_twins is None:
        return Text(overlap(found.in_index, found.samples), "yellow")
    return Text(
        f"{found.duplicates} have a duplicate in training,"
        f" {found.near_twins} a near duplicate or duplicate",
        "yellow" if found.near_twins else "",
    )


def _confusions(found: Evaluation) -> Iterator[Text]:
    pairs = sorted(
        (
            (count, found.labels[i].label, found.labels[j].label)
            for i, row in enumerate(found.confusion)
            for j, count in enumerate(row)
            if i != j and count
        ),
        reverse=True,
    )
    if pairs:
        yield Text("\nmost frequent confusions", "bold")
    for count, truth, predicted in pairs[:MAX_CONFUSIONS]:
        yield Text.assemble(f"{count:4d}  ", untrusted(truth), " as ", untrusted(predicted))
