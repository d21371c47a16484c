"""A scene as SVG: lines and words as elements, the byteplot as an embedded PNG.

The file has no external references and no script. All text is already clean, and escaped here for
XML.
"""

from __future__ import annotations

import base64
import io
from functools import cache
from xml.sax.saxutils import escape, quoteattr

from PIL import Image, ImageFont
from rich.cells import cell_len

from maltriage.report.draw.raster import hexadecimal
from maltriage.report.draw.scene import Box, Item, Pixels, Scene, Stroke, Words

SHARP = 2
"""Pixels of the byteplot's PNG per unit of the scene."""
SPARE = 1.1
"""Factor by which text may be wider in the reader's font than in Pillow's, which cuts it."""
_SIZE = 100
FONTS = "Aileron, Helvetica, Arial, sans-serif"


def svg(scene: Scene) -> bytes:
    """The scene as an SVG document, the same bytes each time."""
    size = f'width="{scene.width}" height="{scene.height}"'
    box = f'viewBox="0 0 {scene.width} {scene.height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {box} font-family={quoteattr(FONTS)}>',
        f"<title>{escape(scene.title)}</title>",
        *map(_element, scene.items),
        "</svg>",
    ]
    return "\n".join(lines).encode() + b"\n"


def _element(item: Item) -> str:
    match item:
        case Box():
            fill = "none" if item.fill is None else hexadecimal(item.fill)
            edge = "" if item.edge is None else f' stroke="{hexadecimal(item.edge)}"'
            crisp = 'shape-rendering="crispEdges"'
            return f'<rect {_place(item)} {crisp} fill="{fill}"{edge}/>'
        case Stroke():
            points = " ".join(f"{_number(x)},{_number(y)}" for x, y in item.points)
            pen = f'stroke="{hexadecimal(item.colour)}" stroke-width="{_number(item.width)}"'
            return f'<polyline points="{points}" fill="none" {pen}/>'
        case Words():
            place = f'x="{_number(item.x)}" y="{_number(item.y)}" font-size="{item.size}"'
            anchor = "" if item.anchor == "start" else f' text-anchor="{item.anchor}"'
            fill = f'fill="{hexadecimal(item.colour)}"'
            text = item.fitted(lambda text: _width(text) * item.size)
            return f"<text {place} {fill}{anchor}>{escape(text)}</text>"
        case Pixels():
            stream = io.BytesIO()
            # Enlarged, since a viewer may smooth it, and heat must not look finer than it is.
            times = max(1, round(SHARP * item.width / item.columns))
            picture = Image.frombytes("RGB", (item.columns, item.rows), item.rgb)
            picture = picture.resize((item.columns * times, item.rows * times), 0)
            picture.save(stream, "PNG", optimize=True)
            url = "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
            style = 'preserveAspectRatio="none" style="image-rendering:pixelated"'
            return f'<image {_place(item)} {style} href="{url}"/>'


def _width(text: str) -> float:
    """An upper estimate of the width of a text, per unit of its size."""
    plain = "".join(character for character in text if character.isascii())
    others = cell_len(text) - len(plain)
    return SPARE * _font().getlength(plain) / _SIZE + 0.6 * others


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(_SIZE)


def _place(item: Box | Pixels) -> str:
    x, y = _number(item.x), _number(item.y)
    return f'x="{x}" y="{y}" width="{_number(item.width)}" height="{_number(item.height)}"'


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
