"""The screens of `maltriage datasets` and of `datasets check`."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from maltriage.report import numbers
from maltriage.report.documents.datasets import DatasetCheck, DatasetList, Group
from maltriage.report.sanitize import untrusted
from maltriage.report.tabular import figure_table

MAX_NAMED = 10
"""Most groups, and files, that are listed by name."""


def render_list(found: DatasetList, console: Console) -> None:
    """Print the known datasets."""
    for number, dataset in enumerate(found.datasets):
        if number:
            console.print()
        console.print(untrusted(dataset.name, "bold"))
        if not dataset.places:
            console.print("  any folder, named with --root")
        for place in dataset.places:
            state = Text("found    ", "green") if place.found else Text("not found", "dim")
            console.print(
                Text.assemble("  ", state, "  ", untrusted(place.folder), f"  ({place.source})"),
                overflow="fold",
            )
        for cached in dataset.cached:
            goodware = f" and {cached.goodware}" if cached.goodware else ""
            views = ", ".join(cached.views) or "no views, for splits alone"
            files = numbers.count(cached.files, "file")
            line = Text.assemble(
                f"  cached     {numbers.size(cached.size)}  {files} of ",
                untrusted(cached.root + goodware),
                f"  ({views})  used {cached.used[:10]}",
            )
            console.print(line, overflow="fold")
    console.print()
    console.print(Text.assemble("cache: ", untrusted(found.cache)), overflow="fold")


def render_check(found: DatasetCheck, console: Console) -> None:
    """Print the check of a dataset."""
    console.print(
        Text.assemble(
            untrusted(found.dataset, "bold"),
            f"  {numbers.count(found.samples, 'sample')}, {len(found.classes)} labels  ",
            untrusted(found.root),
        ),
        overflow="fold",
    )
    console.print()
    console.print(_classes(found))
    for title, groups in (
        ("the same bytes under different labels", found.conflicts),
        ("the same bytes more than once", found.duplicates),
        ("near duplicates (duplicates included)", found.near_twins),
    ):
        _print_groups(console, title, groups)
    if found.random_test:
        console.print(
            f"\nA random split would test on {numbers.count(found.random_test, 'sample')}, of which"
            f" {found.random_leaks} have a near duplicate or duplicate in training."
        )
    _print_doubtful(console, found)
    if found.unreadable:
        console.print(
            Text(f"\n{numbers.count(len(found.unreadable), 'file')} gave no sample", "bold")
        )
    for file in found.unreadable[:MAX_NAMED]:
        style = "red" if file.failed else "yellow"
        line = Text.assemble(untrusted(file.path), "  ", untrusted(file.reason, style))
        console.print(line, overflow="fold")
    _print_rest(console, len(found.unreadable), "file")
    if found.notices:
        console.print()
    for notice in found.notices:
        console.print(Text("note: ", "yellow").append_text(untrusted(notice.text)), overflow="fold")


def _classes(found: DatasetCheck) -> Table:
    titles = ["samples", "smallest", "median", "largest", "duplicates", "near duplicates"]
    dated = any(row.dated for row in found.classes)
    if dated:
        titles += ["dated", "first seen", "last"]
    table = figure_table("label", *titles)
    for row in found.classes:
        cells = (
            *(str(row.samples), numbers.size(row.smallest), numbers.size(row.median)),
            *(numbers.size(row.largest), str(row.duplicates), str(row.near_twins)),
        )
        dates = (str(row.dated), (row.first_seen or "-")[:10], (row.last_seen or "-")[:10])
        table.add_row(untrusted(row.label), *cells, *(dates if dated else ()))
    return table


def _print_groups(console: Console, title: str, groups: tuple[Group, ...]) -> None:
    if not groups:
        console.print(f"\n{title}: none")
        return
    samples = sum(len(group.paths) for group in groups)
    largest = max(len(group.paths) for group in groups)
    console.print(
        Text.assemble(
            (f"\n{title}", "bold"),
            f": {numbers.count(samples, 'sample')} in {numbers.count(len(groups), 'group')},"
            f" {largest} in the largest",
        )
    )
    for group in sorted(groups, key=lambda group: -len(group.paths))[:MAX_NAMED]:
        labels = ", ".join(sorted(set(group.labels)))
        line = Text.assemble(f"{len(group.paths):4d}  ", untrusted(labels), "  ")
        console.print(line.append_text(untrusted(group.paths[0])), overflow="fold")
    _print_rest(console, len(groups), "group")


def _print_doubtful(console: Console, found: DatasetCheck) -> None:
    if not found.predicted:
        return
    head = Text("\nlabels that are probably wrong", "bold")
    if not found.doubtful:
        console.print(head.append(f": none of {found.predicted}", "default"))
        return
    head.append(f": {len(found.doubtful)} of {found.predicted}, the surest first", "not bold")
    console.print(head)
    for file in found.doubtful[:MAX_NAMED]:
        line = Text.assemble(
            untrusted(file.label),
            f" {file.probability:.0%}, rather ",
            untrusted(file.likelier, "yellow"),
            f" {file.likelier_probability:.0%}  ",
            untrusted(file.path),
        )
        console.print(line, overflow="fold")
    _print_rest(console, len(found.doubtful), "file")


def _print_rest(console: Console, count: int, noun: str) -> None:
    if count > MAX_NAMED:
        console.print(f"      and {numbers.count(count - MAX_NAMED, f'more {noun}')}")
