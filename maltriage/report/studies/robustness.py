"""The screen of `maltriage robustness`: verdicts after changes to a program."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from maltriage.metrics import Interval
from maltriage.report import numbers
from maltriage.report.documents.evaluation import Target
from maltriage.report.documents.robustness import AttackFigures, Robustness
from maltriage.report.sanitize import untrusted
from maltriage.report.studies import measured_files


def render(found: Robustness, console: Console) -> None:
    """Print the effect of each transformation on verdicts."""
    accuracy = found.accuracy
    console.print(
        Text.assemble(
            untrusted(found.model.name, "bold"),
            f"  {found.model.weights_sha256[:16]}  part {found.part}:"
            f" {numbers.count(found.files, 'file')}, {accuracy.value:.3f} with the right label"
            f" ({accuracy.low:.3f} to {accuracy.high:.3f})  (seed {found.seed})",
        )
    )
    for line in _remarks(found):
        console.print(line)
    console.print()
    console.print(_table(found))
    for text in _notes(found):
        console.print(text)
    if found.attack is not None:
        console.print()
        console.print(_attack(found.attack))
    if found.targets:
        console.print()
    for target in found.targets:
        console.print(_target(target))


def _remarks(found: Robustness) -> Iterator[Text]:
    if found.threshold is None:
        yield Text("the model has no threshold: nothing is flagged", "yellow")
    else:
        yield Text(
            f"flagged before: {found.malware_flagged} of {found.malware} malware,"
            f" {found.benign_flagged} of {found.benign} benign (threshold: {found.threshold})"
        )
    if found.donors:
        yield Text.assemble("benign bytes: ", untrusted(found.donors))
    files = found.files + found.unreadable
    yield from (untrusted(line, "yellow") for line in measured_files.remarks(found, files))


def _table(found: Robustness) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    table.add_column("transformation", no_wrap=True)
    for title in ("files", "accuracy", "kept", "malware unflagged", "benign flagged", "top kept"):
        table.add_column(title, justify="right")
    table.add_column("top is now")
    for made in found.transforms:
        unflagged = "-"
        if made.unflagged is not None:
            limits = made.unflagged.low * 100, made.unflagged.high * 100
            unflagged = _of(made.unflagged, made.flagged) + " ({:.1f} to {:.1f})".format(*limits)
        table.add_row(
            made.name + (" *" if made.proxy else ""),
            str(made.files),
            f"{made.accuracy_before:.3f} → {made.accuracy_after:.3f}",
            numbers.share(made.kept.value),
            unflagged,
            "-" if made.newly_flagged is None else _of(made.newly_flagged, made.clean),
            numbers.share(made.top_kept.value),
            ", ".join(f"{kind} {count}" for kind, count in made.top_now.items()),
        )
    return table


def _of(rate: Interval, count: int) -> str:
    """`12/480 2.5%`."""
    return f"{round(rate.value * count)}/{count} {numbers.share(rate.value)}"


def _notes(found: Robustness) -> Iterator[Text]:
    if any(made.proxy for made in found.transforms):
        yield Text("* may break the program: a stand-in for a change that does not", "dim")
    reasons: dict[tuple[str, int], list[str]] = {}
    for made in found.transforms:
        for why, count in made.not_applicable.items():
            reasons.setdefault((why, count), []).append(made.name)
    for (why, count), names in reasons.items():
        files = numbers.count(count, "file")
        yield Text(f"not applicable to {files}, {why}: {', '.join(names)}", "dim")
    for name, why in found.skipped.items():
        yield Text(f"not applicable to any file, {why}: {name}", "yellow")


def _attack(found: AttackFigures) -> Text:
    chosen, random = found.unflagged, found.unflagged_random
    return Text.assemble(
        ("bytes chosen by the net's own gradient", "bold"),
        f" appended to the file ({found.share * 100:g} % of it, at least {found.least:,}, in up to"
        f" {numbers.count(found.steps, 'step')}): {_of(chosen, found.files)} of flagged malware"
        f" unflagged ({chosen.low * 100:.1f} to {chosen.high * 100:.1f}); as many random bytes:"
        f" {_of(random, found.files)}. Median margin {numbers.signed(found.margin)}, random"
        f" {numbers.signed(found.margin_random)}, chosen {numbers.signed(found.margin_attacked)}."
        f" Not applicable to {numbers.count(found.not_applicable, 'file')}.",
    )


def _target(target: Target) -> Text:
    state = ("met", "green") if target.met else ("missed", "red")
    limit = 0.0 if target.at_most is None else target.at_most
    text = f"target, {target.name}: {target.value:.1%}, at most {limit:.0%}: "
    return Text.assemble(text, state)
