"""The byteplot of a result as colours, the source of every picture of it.

Orange is heat for the label, blue against it: two hues that stay distinct under all common colour
deficiencies. Heat is never smoothed, so that it does not look finer than it was measured.
"""

from __future__ import annotations

import base64
import binascii

from maltriage.report.documents.evidence import Plane

MAX_PIXELS = 1 << 20
"""Most pixels of a picture; a saved document is untrusted, and a larger one is left out."""

Colour = tuple[int, int, int]

_WARM = (255, 110, 0)
_COLD = (45, 140, 255)


def problem(plane: Plane) -> str | None:
    """Why the plane of a foreign or edited document cannot be drawn; None if it can."""
    if not 0 < plane.width * plane.height <= MAX_PIXELS or plane.width < 1:
        return "its size is not that of a picture"
    cells = plane.heat_width * plane.heat_height
    if not 0 < cells == len(plane.heat) or plane.heat_width < 1:
        return "its heat does not have the size that it states"
    if len(pixels(plane)) != plane.width * plane.height:
        return "its pixels do not have the size that it states"
    return None


def pixels(plane: Plane) -> bytes:
    """Means of the bytes, row-major; empty if they are not base64."""
    try:
        return base64.b64decode(plane.pixels, validate=True)
    except (binascii.Error, ValueError):
        return b""


def strongest(plane: Plane) -> float:
    """The largest |heat| of a cell, the end of the colour scale."""
    return max((abs(value) for value in plane.heat), default=0.0)


def blend(grey: float, heat: float) -> Colour:
    """Grey of a byte (0 to 1) under heat (-1 to 1); bright bytes stay brighter than dark ones."""
    base = 18 + 200 * grey
    strength = min(abs(heat), 1.0) ** 0.7 * 0.92
    tint = _WARM if heat > 0 else _COLD
    light = 0.45 + 0.55 * grey
    red, green, blue = (round(base * (1 - strength) + t * light * strength) for t in tint)
    return red, green, blue


def rgb(plane: Plane, *, heat: bool = True) -> bytes:
    """The picture at the size of the plane: red, green, blue of each pixel, row-major.

    A pixel has the heat of its cell. The plane must have no `problem`.

    Args:
        heat: draw the heat; otherwise the bytes alone, in the same greys.
    """
    greys, end = pixels(plane), strongest(plane) if heat else 0.0
    columns = [x * plane.heat_width // plane.width for x in range(plane.width)]
    colours = bytearray()
    for y in range(plane.height):
        row = y * plane.heat_height // plane.height * plane.heat_width
        for x in range(plane.width):
            value = plane.heat[row + columns[x]] / end if end else 0.0
            colours += bytes(blend(greys[y * plane.width + x] / 255, value))
    return bytes(colours)


def scale(steps: int) -> list[Colour]:
    """Colours of heat from fully against the label to fully for it, over a medium grey."""
    return [blend(0.45, 2 * step / (steps - 1) - 1) for step in range(steps)]


def hexadecimal(colour: Colour) -> str:
    """A colour as #rrggbb, for CSS, SVG and Rich."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
