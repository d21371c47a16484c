"""Draws the byteplot and its heat in half-block characters, two picture rows per line."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.style import Style
from rich.text import Text

from maltriage.report import aligned, numbers
from maltriage.report.aligned import INDENT
from maltriage.report.documents import facts
from maltriage.report.documents.evidence import Plane
from maltriage.report.draw import raster
from maltriage.report.draw.raster import Colour
from maltriage.report.sanitize import untrusted

MAX_COLUMNS = 64
MIN_COLUMNS = 32
MAX_ROWS = 96
LEGEND_WIDTH = 40

_DEPTHS = ("256", "truecolor")
_STEPS = 21


def drawing(
    plane: Plane, label: str, contribution: float | None, console: Console, width: int
) -> Iterator[Text]:
    """The picture with its legend beside or below it; nothing where it cannot be drawn: without
    colours or Unicode, on a narrow screen, or if the record's picture is none.

    Args:
        label: the explained label.
        contribution: contribution of the body view to the explained score.
    """
    columns = min(plane.width, MAX_COLUMNS, width - INDENT)
    if not _drawn(plane, console, columns):
        return
    picture = list(_picture(plane, columns))
    strongest = raster.strongest(plane)
    legend = _legend(label, strongest, contribution, plane)
    if width >= INDENT + columns + 3 + LEGEND_WIDTH:
        for index, line in enumerate(picture):
            note = legend[index] if index < len(legend) else Text()
            line = Text.assemble(" " * INDENT, line, "   ", note, no_wrap=True)
            line.rstrip()
            yield line
        return
    for line in picture:
        yield Text.assemble(" " * INDENT, line, no_wrap=True)
    for note in legend:
        yield from aligned.wrapped(note, console, width, INDENT)


def _drawn(plane: Plane, console: Console, columns: int) -> bool:
    if console.no_color or console.color_system not in _DEPTHS:
        return False
    if console.options.ascii_only or console.legacy_windows:
        return False
    return not raster.problem(plane) and columns >= min(plane.width, MIN_COLUMNS)


def _picture(plane: Plane, columns: int) -> Iterator[Text]:
    """Lines of `columns` half blocks, the upper row as foreground, the lower as background."""
    rows = max(2, min(round(plane.height * columns / plane.width), MAX_ROWS))
    rows += rows % 2
    strongest = raster.strongest(plane)
    pixels = raster.pixels(plane)
    colours = [
        [_cell(plane, pixels, row, column, rows, columns, strongest) for column in range(columns)]
        for row in range(rows)
    ]
    for upper, lower in zip(colours[::2], colours[1::2], strict=True):
        line = Text(no_wrap=True)
        for above, below in zip(upper, lower, strict=True):
            line.append(
                "▀", Style(color=raster.hexadecimal(above), bgcolor=raster.hexadecimal(below))
            )
        yield line


def _cell(
    plane: Plane, pixels: bytes, row: int, column: int, rows: int, columns: int, strongest: float
) -> Colour:
    """Colour of one picture cell: the mean of the pixels below it, and the heat at its centre.

    Heat is never smoothed: what looks fine-grained would be finer than what was measured.
    """
    top, bottom = _span(row, rows, plane.height)
    left, right = _span(column, columns, plane.width)
    block = [
        value
        for y in range(top, bottom)
        for value in pixels[y * plane.width + left : y * plane.width + right]
    ]
    grey = sum(block) / len(block) / 255
    y = (2 * row + 1) * plane.heat_height // (2 * rows)
    x = (2 * column + 1) * plane.heat_width // (2 * columns)
    heat = plane.heat[y * plane.heat_width + x]
    return raster.blend(grey, heat / strongest if strongest else 0.0)


def _span(index: int, parts: int, length: int) -> tuple[int, int]:
    """The source pixels of one of `parts` cells: at least one, never past the end."""
    start = index * length // parts
    return start, max(start + 1, (index + 1) * length // parts)


def _legend(label: str, strongest: float, contribution: float | None, plane: Plane) -> list[Text]:
    scale = Text()
    for colour in raster.scale(_STEPS):
        scale.append("█", raster.hexadecimal(colour))
    greys = Text()
    for step in range(_STEPS):
        greys.append("█", raster.hexadecimal(raster.blend(step / (_STEPS - 1), 0.0)))
    limit = numbers.signed(strongest)
    lines = [
        Text.assemble("bytes  00 ", greys, " ff"),
        Text.assemble(f"heat  {numbers.signed(-strongest)} ", scale, f" {limit}"),
        Text(f"per cell of a {plane.heat_width} x {plane.heat_height} map, in {facts.UNIT}", "dim"),
        Text.assemble(("orange", numbers.FOR), " speaks for ", untrusted(label, "", 24)),
        Text.assemble(("blue", numbers.AGAINST), " speaks against it"),
        Text("file runs left to right, top to bottom", style="dim"),
    ]
    if contribution is not None:
        lines.append(Text(f"sum of the heat: {numbers.signed(contribution)} (view body)"))
    return lines
