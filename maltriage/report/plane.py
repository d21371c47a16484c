"""The byteplot with the heat on it, in half-block characters: two picture rows a line."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator

from rich.console import Console
from rich.style import Style
from rich.text import Text

from maltriage.report import figures, grid
from maltriage.report.document import Plane
from maltriage.report.sanitize import untrusted

MAX_COLUMNS = 64
MIN_COLUMNS = 32
MAX_ROWS = 96
MAX_PIXELS = 1 << 20
"""A saved document may say anything; a larger picture is left out."""
LEGEND_WIDTH = 40

_DEPTHS = ("256", "truecolor")
_WARM = (255, 110, 0)
_COLD = (45, 140, 255)
_STEPS = 21

Colour = tuple[int, int, int]


def drawing(
    plane: Plane, label: str, contribution: float | None, console: Console, width: int, indent: int
) -> Iterator[Text]:
    """The picture with its legend, beside or below it, or one line that says why not.

    Args:
        label: the explained label.
        contribution: of the body view to the explained score.
    """
    columns = min(plane.width, MAX_COLUMNS, width - indent)
    obstacle = _obstacle(plane, console, columns)
    if obstacle:
        yield Text(" " * indent + f"Picture left out: {obstacle}.", style="dim")
        return
    picture = list(_picture(plane, columns))
    strongest = max((abs(value) for value in plane.heat), default=0.0)
    legend = _legend(label, strongest, contribution, plane)
    if width >= indent + columns + 3 + LEGEND_WIDTH:
        for index, line in enumerate(picture):
            note = legend[index] if index < len(legend) else Text()
            line = Text.assemble(" " * indent, line, "   ", note, no_wrap=True)
            line.rstrip()
            yield line
        return
    for line in picture:
        yield Text.assemble(" " * indent, line, no_wrap=True)
    for note in legend:
        yield from grid.wrapped(note, console, width, indent)


def _obstacle(plane: Plane, console: Console, columns: int) -> str | None:
    if console.no_color or console.color_system not in _DEPTHS:
        return "it needs 256 colours or more"
    if console.options.ascii_only or console.legacy_windows:
        return "it needs Unicode block characters"
    if not 0 < plane.width * plane.height <= MAX_PIXELS or plane.width < 1:
        return "its size makes no picture"
    cells = plane.heat_width * plane.heat_height
    if not 0 < cells == len(plane.heat) or plane.heat_width < 1:
        return "its heat does not have the size that it states"
    if len(_pixels(plane)) != plane.width * plane.height:
        return "its pixels do not have the size that it states"
    if columns < min(plane.width, MIN_COLUMNS):
        return f"the screen is narrower than {MIN_COLUMNS} columns"
    return None


def _pixels(plane: Plane) -> bytes:
    try:
        return base64.b64decode(plane.pixels, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _picture(plane: Plane, columns: int) -> Iterator[Text]:
    """Lines of `columns` half blocks, the upper row as foreground, the lower as background."""
    rows = max(2, min(round(plane.height * columns / plane.width), MAX_ROWS))
    rows += rows % 2
    strongest = max((abs(value) for value in plane.heat), default=0.0)
    pixels = _pixels(plane)
    colours = [
        [_cell(plane, pixels, row, column, rows, columns, strongest) for column in range(columns)]
        for row in range(rows)
    ]
    for upper, lower in zip(colours[::2], colours[1::2], strict=True):
        line = Text(no_wrap=True)
        for above, below in zip(upper, lower, strict=True):
            line.append("▀", Style(color=_hex(above), bgcolor=_hex(below)))
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
    return _blend(grey, heat / strongest if strongest else 0.0)


def _span(index: int, parts: int, length: int) -> tuple[int, int]:
    """The source pixels of one of `parts` cells: at least one, never past the end."""
    start = index * length // parts
    return start, max(start + 1, (index + 1) * length // parts)


def _blend(grey: float, heat: float) -> Colour:
    """Grey of a byte (0 to 1) under heat (-1 to 1); bright bytes stay brighter than dark ones."""
    base = 18 + 200 * grey
    strength = min(abs(heat), 1.0) ** 0.7 * 0.92
    tint = _WARM if heat > 0 else _COLD
    light = 0.45 + 0.55 * grey
    red, green, blue = (round(base * (1 - strength) + t * light * strength) for t in tint)
    return red, green, blue


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _legend(label: str, strongest: float, contribution: float | None, plane: Plane) -> list[Text]:
    scale = Text()
    for step in range(_STEPS):
        scale.append("█", _hex(_blend(0.45, 2 * step / (_STEPS - 1) - 1)))
    greys = Text()
    for step in range(_STEPS):
        greys.append("█", _hex(_blend(step / (_STEPS - 1), 0.0)))
    limit = figures.signed(strongest)
    lines = [
        Text.assemble("bytes  00 ", greys, " ff"),
        Text.assemble(f"heat  {figures.signed(-strongest)} ", scale, f" {limit}"),
        Text(f"per cell of a {plane.heat_width} x {plane.heat_height} map, in logit units", "dim"),
        Text.assemble(("orange", figures.FOR), " speaks for ", untrusted(label, "", 24)),
        Text.assemble(("blue", figures.AGAINST), " speaks against it"),
        Text("file runs left to right, top to bottom", style="dim"),
    ]
    if contribution is not None:
        lines.append(Text(f"sum of the heat: {figures.signed(contribution)} (view body)"))
    return lines
