"""A scene as PNG."""

from __future__ import annotations

import io

from PIL import Image, ImageDraw, ImageFont

from maltriage.report.draw.scene import Box, Item, Pixels, Scene, Stroke, Words

SCALE = 2
"""Pixels of the PNG per unit of the scene, so that it is sharp in print."""
_ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}


def png(scene: Scene) -> bytes:
    """The scene as a PNG, the same bytes each time.

    Letters outside ASCII are shown as escapes: Pillow's own font lacks them.
    """
    image = Image.new("RGB", (scene.width * SCALE, scene.height * SCALE), "white")
    draw = ImageDraw.Draw(image)
    for item in scene.items:
        _paint(item, image, draw)
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _paint(item: Item, image: Image.Image, draw: ImageDraw.ImageDraw) -> None:
    match item:
        case Box():
            left, top = _at(item.x), _at(item.y)
            right, bottom = _at(item.x + item.width), _at(item.y + item.height)
            if item.fill is not None and right > left and bottom > top:
                draw.rectangle((left, top, right - 1, bottom - 1), item.fill)
            if item.edge is not None:
                draw.rectangle((left, top, right, max(top, bottom)), outline=item.edge)
        case Stroke():
            points = [(_at(x), _at(y)) for x, y in item.points]
            draw.line(points, item.colour, round(item.width * SCALE), joint="curve")
        case Words():
            font = ImageFont.load_default(item.size * SCALE)
            place = (_at(item.x), _at(item.y))
            text = item.fitted(lambda text: font.getlength(_shown(text)) / SCALE)
            draw.text(place, _shown(text), item.colour, font, anchor=_ANCHORS[item.anchor])
        case Pixels():
            picture = Image.frombytes("RGB", (item.columns, item.rows), item.rgb)
            size = (max(1, _at(item.width)), max(1, _at(item.height)))
            image.paste(picture.resize(size, Image.Resampling.NEAREST), (_at(item.x), _at(item.y)))


def _at(value: float) -> int:
    return round(value * SCALE)


def _shown(text: str) -> str:
    return "".join(c if c in "…·" else _ascii(c) for c in text)


def _ascii(character: str) -> str:
    return character.encode("ascii", "backslashreplace").decode()
