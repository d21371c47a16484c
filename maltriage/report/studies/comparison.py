"""The screen of `maltriage compare`, and its table in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from maltriage.report import numbers
from maltriage.report.documents.comparison import Agreement, Comparison, Row
from maltriage.report.documents.evaluation import Difference
from maltriage.report.sanitize import clean, untrusted
from maltriage.report.studies.folds import spread_text


@dataclass(frozen=True)
class _Column:
    title: str
    cell: Callable[[Row], str]
    net: bool = False
    """Whether it is left out if there is no net."""


def render(found: Comparison, console: Console) -> None:
    """Print a comparison."""
    console.print(untrusted(_head(found)), overflow="fold", no_wrap=False)
    console.print()
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    shown = _columns(found)
    for number, column in enumerate(shown):
        # Figures must not be broken; narrow screens break the titles instead.
        table.add_column(column.title, justify="right" if number else "left", min_width=5)
    for row in found.rows:
        table.add_row(*(untrusted(column.cell(row)) for column in shown))
    console.print(table)
    if any(row.difference for row in found.rows):
        reference = untrusted(found.reference)
        title = Text.assemble("\nless ", reference, ", paired by fold and seed, ", style="bold")
        console.print(title.append("corrected 95 % interval"))
    for row in found.rows:
        if row.difference is not None:
            console.print(
                Text.assemble(
                    untrusted(row.name),
                    f":  accuracy {numbers.difference(row.difference.accuracy)},"
                    f"  macro-F1 {numbers.difference(row.difference.macro_f1)}",
                )
            )
    for name in found.unfinished:
        console.print(Text.assemble(("not finished: ", "yellow"), untrusted(name)))


def markdown(found: Comparison) -> str:
    """The table and its legend as Markdown."""
    shown = [*_columns(found)]
    if any(row.difference for row in found.rows):
        shown.insert(
            5, _Column(f"macro-F1 less {found.reference}", lambda r: _difference(r.difference))
        )
    lines = [_plain(_head(found)), ""]
    lines += [_line([column.title for column in shown]), "|---" + "|---:" * (len(shown) - 1) + "|"]
    lines += [_line([column.cell(row) for column in shown]) for row in found.rows]
    if found.unfinished:
        lines += ["", f"Not finished: {_plain('; '.join(found.unfinished))}."]
    return "\n".join([*lines, "", *_legend(found)]) + "\n"


def _columns(found: Comparison) -> list[_Column]:
    columns = [
        _Column("net", lambda r: r.name),
        _Column("epochs", lambda r: _known(r.epochs), net=True),
        _Column("accuracy", lambda r: spread_text(r.accuracy, len(r.folds))),
        _Column("macro-F1", lambda r: spread_text(r.macro_f1, len(r.folds))),
        _Column("pooled macro-F1", lambda r: spread_text(r.pooled_macro_f1, len(r.seeds))),
        _Column("parameters", lambda r: _count(r.parameters), net=True),
        _Column("FLOPs", lambda r: _count(r.flops), net=True),
        _Column("ms an image", lambda r: "-" if r.timing is None else f"{r.timing.median:.2f}"),
        _Column("bundle", lambda r: _size(r.bundle_bytes), net=True),
        _Column("Grad-CAM", lambda r: _agreement(r.agreement), net=True),
        _Column("twins", lambda r: f"{r.duplicates} / {_known(r.near_twins)}"),
    ]
    if len({tuple(row.seeds) for row in found.rows}) > 1:
        columns.insert(2, _Column("seeds", lambda r: str(len(r.seeds))))
    looks = {(tuple(row.views), row.image_size) for row in found.rows if row.net}
    if len(looks) > 1:
        columns.insert(1, _Column("views", _views))
    return columns


def _head(found: Comparison) -> str:
    rows = found.rows
    seeds = max(len(row.seeds) for row in rows)
    how = f"{found.folds} {found.split} folds" if found.folds else f"one {found.split} split"
    looks = {(tuple(row.views), row.image_size): row for row in rows if row.net}
    views = f", views {_views(next(iter(looks.values())))}" if len(looks) == 1 else ""
    left = "".join(f", {count} left out ({why})" for why, count in found.left_out.items())
    return (
        f"{found.dataset}: {numbers.count(found.samples, 'sample')}, {len(found.labels)} labels;"
        f" {rows[0].samples:,} tested, {how}, {numbers.count(seeds, 'seed')}{views}{left}."
    )


def _legend(found: Comparison) -> Iterator[str]:
    """The meaning of the columns, as items of a list."""
    how = "folds of all seeds" if found.folds else "seeds"
    yield (
        f"- accuracy, macro-F1: mean and standard deviation over the {how}; pooled macro-F1: over"
        " the predictions of all folds of a seed at once, then over seeds. Every sample is scanned"
        " out of fold, with an exported bundle."
    )
    if any(row.difference for row in found.rows):
        yield (
            f"- less {_plain(found.reference)}: paired by fold and seed, with the corrected 95 %"
            " interval of Nadeau and Bengio (2003)."
        )
    yield (
        "- FLOPs: of one image without its explanation, a multiplication and an addition counting"
        " as two. ms: with its explanation, ONNX Runtime, one thread, one image at a time, nets"
        " in turn, median."
    )
    yield (
        "- Grad-CAM: correlation of its signed maps with HiResCAM's, mean over images; = 1 if both"
        " are one map by construction."
    )
    yield "- twins: test samples with a duplicate / a near duplicate or duplicate in training."
    if any(not row.net for row in found.rows):
        yield "- Rows without epochs: predictions made elsewhere."


def _views(row: Row) -> str:
    size = "" if row.image_size is None else f" at {row.image_size}"
    return ",".join(row.views) + size if row.net else "-"


def _difference(difference: Difference | None) -> str:
    return "-" if difference is None else numbers.difference(difference.macro_f1)


def _agreement(agreement: Agreement | None) -> str:
    if agreement is None or agreement.mean is None:
        return "-"
    return "= 1" if agreement.by_construction else f"{agreement.mean:.3f}"


def _known(value: int | None) -> str:
    return "-" if value is None else str(value)


def _size(value: int | None) -> str:
    return "-" if value is None else numbers.size(value)


def _count(value: int | None) -> str:
    """`35K`, `1.2M`, `15.3G`: powers of a thousand."""
    if value is None:
        return "-"
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "K")):
        if value >= unit:
            return (
                f"{value / unit:.1f}{name}" if value < 100 * unit else f"{value / unit:.0f}{name}"
            )
    return str(value)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_plain(cell) for cell in cells)} |"


def _plain(text: str) -> str:
    """Text with Markdown escaped: a name may come from an untrusted file."""
    shown = clean(text)
    for sign in "\\`*[]<>|":
        shown = shown.replace(sign, "\\" + sign)
    return shown
