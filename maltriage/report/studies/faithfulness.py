"""The screen of `maltriage faithfulness`: each method's figures and targets."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from maltriage.metrics import Interval
from maltriage.report import numbers
from maltriage.report.documents.evaluation import (
    CurveFigures,
    Faithfulness,
    MethodFaithfulness,
    Target,
)
from maltriage.report.sanitize import untrusted
from maltriage.report.studies import measured_files
from maltriage.report.tabular import fact_table, figure_table


def render(found: Faithfulness, console: Console) -> None:
    """Print the figures of a bundle's explanations."""
    console.print(
        Text.assemble(
            untrusted(found.model.name, "bold"),
            f"  {found.model.weights_sha256[:16]}  part {found.part}: {found.right} of"
            f" {numbers.count(found.files, 'file')} with the right verdict"
            f"  (mask {found.mask}, seed {found.seed})",
        )
    )
    for line in measured_files.remarks(found, found.files):
        console.print(untrusted(line, "yellow"))
    for method in found.methods:
        console.print()
        _method(method, found, console)
    console.print()
    for target in found.targets:
        console.print(_target(target, found.methods[0]))


def _method(method: MethodFaithfulness, found: Faithfulness, console: Console) -> None:
    name = " = ".join((method.method, *method.same_as))
    titles = ("own order", "random ranges", "by region size", "better than random")
    curves = figure_table(untrusted(name), *titles)
    curves.add_row("deletion, area of probability", *_areas(method.deletion))
    curves.add_row("insertion, area of probability", *_areas(method.insertion))
    curves.add_row("deletion, area of score", *_areas(method.deletion_score))
    curves.add_row("insertion, area of score", *_areas(method.insertion_score))
    console.print(curves)
    console.print()
    others = fact_table()
    largest = "" if found.largest_region is None else f"{found.largest_region.value:.3f}"
    rows = (
        ("top region right", method.top_region, f"always the largest region: {largest}"),
        ("claimed and measured, regions", method.rank_correlation, "median rank correlation"),
        ("map of randomised nets", method.random_nets, "median |rank correlation|: low is good"),
        ("map with 1 % of bytes appended", method.appended, "median rank correlation"),
        ("map with other padding", method.padded, "median rank correlation"),
    )
    for title, value, remark in rows:
        others.add_row(title, *_interval(value), Text(remark, style="dim"))
    console.print(others)


def _areas(found: CurveFigures) -> tuple[str, str, str, str]:
    better = found.better
    gain = f"{better.value:+.1%} ({better.low:+.1%} to {better.high:+.1%})"
    own, random, by_size = (f"{v.value:.3f}" for v in (found.own, found.random, found.by_size))
    return own, random, by_size, gain


def _interval(value: Interval | None) -> tuple[str, str]:
    return ("-", "") if value is None else numbers.with_interval(value)


def _target(target: Target, method: MethodFaithfulness) -> Text:
    limit = (
        f"at least {target.at_least:g}"
        if target.at_least is not None
        else f"at most {target.at_most:g}"
    )
    state = ("met", "green") if target.met else ("missed", "red")
    return Text.assemble(
        f"target for {method.method}, {target.name}: {target.value:.3f}, {limit}: ", state
    )
