"""The screen of a calibration: the new values of the card and their figures."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from maltriage.metrics import Interval
from maltriage.report import numbers
from maltriage.report.documents.calibration import (
    IN_INDEX,
    Calibration,
    MalwareLike,
    ThresholdFigures,
)
from maltriage.report.documents.evaluation import NoveltyFigures
from maltriage.report.sanitize import untrusted
from maltriage.report.studies.prediction_sets import render_sets
from maltriage.report.tabular import figure_table

MAX_OTHERS = 10
"""Most clean files listed that are not flagged but nearest to a family."""


def render(found: Calibration, console: Console) -> None:
    """Print a calibration."""
    console.print(
        Text.assemble(untrusted(found.model.name, "bold"), f"  {found.model.weights_sha256[:16]}")
    )
    fitted = _temperature(found)
    for part in (fitted, _threshold(found)):
        for line in part:
            console.print(line, soft_wrap=isinstance(line, Text))
        if part is fitted and found.sets is not None:
            render_sets(found.sets, console)
        if part is fitted and found.novelty is not None:
            console.print(_novelty(found.novelty), soft_wrap=True)


def _temperature(found: Calibration) -> Iterator[Text | Table]:
    fitted = found.temperature
    if fitted is None:
        return
    before = "none" if fitted.before is None else f"{fitted.before:.3f}"
    yield Text.assemble(
        f"\ntemperature {fitted.temperature:.3f} (before: {before}), fitted to ",
        untrusted(fitted.on),
    )
    table = figure_table("", "ECE, 10 bins", "95 % interval", "log loss")
    for name, ece, loss in (
        ("the old card", fitted.ece_before, fitted.log_loss_before),
        ("fitted to the other folds", fitted.ece, fitted.log_loss),
    ):
        table.add_row(name, f"{ece.value:.3f}", f"{ece.low:.3f} to {ece.high:.3f}", f"{loss:.3f}")
    yield table
    if fitted.left_out:
        many = numbers.count(fitted.left_out, "labelled file")
        yield Text(f"{many} left out: among the samples of the predictions", "yellow")
    if fitted.in_index:
        many = numbers.count(fitted.in_index, "labelled file")
        yield Text(f"{many} left out: {IN_INDEX}", "yellow")
    if fitted.unreadable:
        yield Text(
            f"{numbers.count(fitted.unreadable, 'file')} gave no sample",
            "yellow",
        )
    for label, count in sorted(fitted.unknown_labels.items()):
        note = Text.assemble("the model does not know ", untrusted(label), style="yellow")
        yield note.append(f": {numbers.count(count, 'file')} left out")
    for warning in fitted.warnings:
        yield untrusted(warning, "yellow")


def _novelty(found: NoveltyFigures) -> str:
    return (
        f"\nfiles with a novelty above {found.limit:+.3f} are unknown: {found.above} of"
        f" {found.files}; {found.families_above} of them have a family as the likeliest label"
        f" ({found.families_above_right} right)"
    )


def _threshold(found: Calibration) -> Iterator[Text | Table]:
    limit = found.threshold
    if limit is None:
        return
    yield Text.assemble(
        f"\nflagged from margin {limit.margin:+.3f}, set for {numbers.rate(limit.fpr)} on ",
        untrusted(limit.goodware),
    )
    head = ("clean files", "files", "flagged", "rate", "95 % interval", "from margin")
    several = any(value.without for value in limit.values)
    table = figure_table(*head, *(["set without it"] if several else []))
    for row in limit.kinds:
        table.add_row(
            untrusted(row.kind or "none"),
            *_counts(row.files, row.flagged, row.rate),
            f"{row.margin:+.3f}" if row.own else "that of all",
        )
    for value in limit.values:
        table.add_row(
            untrusted(value.value),
            *_counts(value.files, value.flagged, value.rate),
            f"{value.margin:+.3f} needed",
            *([_share(value.without)] if several else []),
        )
    table.add_row("all", *_counts(limit.files, limit.flagged, limit.rate), f"{limit.margin:+.3f}")
    yield table
    if limit.packed:
        yield Text(
            f"packed clean files, which have no say: {limit.packed_flagged} of {limit.packed}"
            f" flagged ({limit.packed_flagged / limit.packed:.1%})"
        )
    if limit.points:
        yield from _points(limit)
    if limit.malware:
        each = "at this threshold"
        if not limit.values:
            each = "each fold's net at its own threshold for the same rate"
        yield Text(
            f"malware out of fold: {limit.malware_flagged} of {limit.malware} flagged"
            f" ({limit.malware_flagged / limit.malware:.1%}), {each}"
        )
    if limit.unreadable:
        yield Text(
            f"{numbers.count(limit.unreadable, 'file')} left out: no sample, or no headers",
            "yellow",
        )
    if limit.in_index:
        many = numbers.count(limit.in_index, "clean file")
        yield Text(f"{many} left out: {IN_INDEX}", "yellow")
    for warning in limit.warnings:
        yield untrusted(warning, "yellow")
    yield from _look_at(limit.malware_like)


def _share(rate: Interval | None) -> str:
    return "" if rate is None else f"{rate.value:.2%} ({rate.low:.2%} to {rate.high:.2%})"


def _points(limit: ThresholdFigures) -> Iterator[Text | Table]:
    yield Text("\nthresholds for other rates, which --fpr of a scan can choose")
    table = figure_table(
        *("rate", "from margin", "clean flagged", "a new source, at most", "packed clean"),
        "malware flagged",
    )
    for point in limit.points:
        table.add_row(
            numbers.rate(point.fpr),
            f"{point.margin:+.3f}",
            f"{point.flagged:,} ({point.flagged / limit.files:.1%})",
            "" if point.worst is None else f"{point.worst:.1%}",
            f"{point.packed_flagged:,} of {limit.packed:,}" if limit.packed else "",
            f"{point.malware_flagged:,} ({point.malware_flagged / max(1, limit.malware):.1%})",
        )
    yield table


def _look_at(files: list[MalwareLike]) -> Iterator[Text]:
    """The clean files that look like malware: all flagged ones, and the next."""
    if not files:
        return
    yield Text(
        "\nclean files that look like malware: if one is malware, remove it and calibrate again",
        "yellow",
    )
    others = [file for file in files if not file.flagged]
    for file in [file for file in files if file.flagged] + others[:MAX_OTHERS]:
        state = Text("flagged  " if file.flagged else "         ", "red")
        yield Text.assemble(
            f"{file.margin:+7.3f}  ", state, untrusted(file.label), "  ", untrusted(file.path)
        )
    if others[MAX_OTHERS:]:
        many = numbers.count(len(others) - MAX_OTHERS, "more file")
        yield Text(f"{many}, not flagged, nearest to a family (--format json lists them)")


def _counts(files: int, flagged: int, rate: Interval) -> tuple[str, str, str, str]:
    return str(files), str(flagged), f"{rate.value:.2%}", f"{rate.low:.2%} to {rate.high:.2%}"
