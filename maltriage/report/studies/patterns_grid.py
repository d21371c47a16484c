"""The picture of `maltriage patterns`: a row per family, a column per bundle.

It holds mean heat and no byte of any sample. A panel has the heat of all views on the byteplot, and
a strip for each window, from its first byte to its last. Every map is scaled to its own largest
|heat|; the figure beside a strip is the window's share of the heat for the family.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from maltriage.errors import MaltriageError, cannot_write
from maltriage.report.documents.patterns import (
    BundlePatterns,
    FamilyPattern,
    Grid,
    Patterns,
    ViewPattern,
)
from maltriage.report.draw.raster import Colour, blend
from maltriage.report.sanitize import clean
from maltriage.sample.regrid import regrid

MAX_PIXELS = 1 << 25
"""Enough for some 250 families by one bundle of six views."""
CELL = 7
"""Pixels of a cell of the plane, each way."""
STRIP_WIDTH, STRIP_HEIGHT = 256, 10
TEXT = 11
GAP = 8
LABELS = 96
"""Pixels for the names of the families."""
NAME = 14
"""Characters shown of a family's name."""
LINE = STRIP_HEIGHT + TEXT + 6
"""Pixels from one strip to the next, its label included."""
BACKGROUND, INK, FAINT = (16, 16, 18), (230, 230, 230), (150, 150, 150)

Floats = npt.NDArray[np.float64]
Pixels = list[list[Colour]]
"""Rows of colours."""


def write_grid(found: Patterns, path: Path) -> None:
    """Write the picture as PNG.

    Raises:
        MaltriageError: the picture is too large, or cannot be written.
    """
    picture = draw_grid(found)
    try:
        picture.save(path, format="PNG", optimize=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def draw_grid(found: Patterns) -> Image.Image:
    """Draw the picture.

    Raises:
        MaltriageError: it has more than `MAX_PIXELS`.
    """
    families = list(dict.fromkeys(f.family for b in found.bundles for f in b.families))
    side = CELL * max((f.plane.width for b in found.bundles for f in b.families), default=0)
    strips = max((_windows(b) for b in found.bundles), default=0)
    height = max(side, strips * LINE) + GAP
    widths = [side + GAP + (STRIP_WIDTH + GAP if _windows(b) else 0) for b in found.bundles]
    top, bottom = TEXT + 2 * GAP, TEXT + 2 * GAP
    size = (LABELS + max(sum(widths), 3 * STRIP_WIDTH), top + height * len(families) + bottom)
    if size[0] * size[1] > MAX_PIXELS:
        raise MaltriageError(
            f"the picture is too large for {len(families)} families by"
            f" {len(found.bundles)} bundles: choose with --family"
        )
    picture = Image.new("RGB", size, BACKGROUND)
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(size=TEXT)
    for row, label in enumerate(families):
        pen.text((GAP, top + row * height), clean(label, NAME), INK, font)
    left = LABELS
    for bundle, width in zip(found.bundles, widths, strict=True):
        pen.text((left, GAP), clean(bundle.name, width // 7), INK, font)
        known = {family.family: family for family in bundle.families}
        for row, label in enumerate(families):
            if label in known:
                _panel(known[label], (left, top + row * height), picture, pen, font)
        left += width
    _legend((LABELS, size[1] - bottom + GAP), picture, pen, font)
    return picture


def _windows(bundle: BundlePatterns) -> int:
    return sum(view.anchor is not None for view in bundle.families[0].views)


def _panel(
    family: FamilyPattern,
    at: tuple[int, int],
    picture: Image.Image,
    pen: ImageDraw.ImageDraw,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
) -> None:
    size = (family.plane.width * CELL, family.plane.height * CELL)
    picture.paste(_image(plane_picture(family), size), at)
    x, y = at[0] + size[0] + GAP, at[1]
    for view in family.views:
        if view.anchor is None:
            continue
        label = f"{clean(view.name, NAME)} {view.share.mean:.0%}"
        pen.text((x, y), label, FAINT, font)
        picture.paste(_image(strip(view), (STRIP_WIDTH, STRIP_HEIGHT)), (x, y + TEXT + 3))
        y += LINE


def _legend(
    at: tuple[int, int],
    picture: Image.Image,
    pen: ImageDraw.ImageDraw,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
) -> None:
    ramp = coloured(np.linspace(-1.0, 1.0, STRIP_WIDTH // 2)[None])
    picture.paste(_image(ramp, (STRIP_WIDTH // 2, STRIP_HEIGHT)), at)
    text = "blue: against the family, orange: for it; each map to its own largest |heat|"
    pen.text((at[0] + STRIP_WIDTH // 2 + GAP, at[1] - 1), text, FAINT, font)


def plane_picture(family: FamilyPattern) -> Pixels:
    """The heat of all views on the byteplot, one pixel per cell."""
    return coloured(_values(family.plane))


def strip(view: ViewPattern) -> Pixels:
    """The heat of a window from its first byte to its last, `STRIP_WIDTH` pixels."""
    return coloured(regrid(_values(view.map), (1, STRIP_WIDTH)))


def coloured(heat: Floats | Sequence[Sequence[float]]) -> Pixels:
    """A map in the colours of heat, scaled to its largest |heat|.

    It has no bytes below, so strong heat is bright and zero is dark.
    """
    values = np.asarray(heat, dtype=np.float64)
    rows = (values / (float(np.abs(values).max()) or 1.0)).tolist()
    return [[blend(abs(value), value) for value in row] for row in rows]


def _values(grid: Grid) -> Floats:
    return np.array(grid.mean).reshape(grid.height, grid.width)


def _image(pixels: Pixels, size: tuple[int, int]) -> Image.Image:
    """Enlarge a map, each cell a rectangle: heat is never smoothed."""
    array = np.array(pixels, dtype=np.uint8)
    return Image.fromarray(array).resize(size, Image.Resampling.NEAREST)
