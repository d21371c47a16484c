"""The picture of an explanation, for a report, as a scene.

It has the byteplot with the heat, beside it the regions at the height of their bytes with their
contributions, and below it the scale. Colours are those of `raster`, and always backed by something
else: signs in the cells, signed numbers, the side to which a bar grows.

A `Scene` is a list of boxes, lines and words in units of a pixel; `png` paints it and `svg` writes
it, so that both show the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len

from maltriage.errors import MaltriageError
from maltriage.report import numbers
from maltriage.report.documents import facts
from maltriage.report.documents.evidence import Evidence, Plane, RegionHeat
from maltriage.report.documents.methods import known
from maltriage.report.documents.record import Result
from maltriage.report.draw import raster
from maltriage.report.draw.raster import Colour
from maltriage.report.sanitize import clean

WIDTH, HEIGHT = 1200, 850
MAX_REGIONS = 20
"""Most regions that are named; the rest is one line."""
MAX_NAME = 16
MAX_LABEL = 24
MAX_PATH = 160
MAX_MODEL = 48

INK, FAINT, PAPER, RULE = (28, 28, 30), (100, 102, 108), (255, 255, 255), (200, 202, 208)
FOR, AGAINST = (176, 70, 0), (20, 92, 180)
"""Orange and blue of `raster`, dark enough to be read on paper."""

_LEFT, _TOP, _SIDE = 32, 148, 560
_BAR = _LEFT + _SIDE + 10
_BAR_WIDTH = 26
_NAMES = _BAR + _BAR_WIDTH + 34
_AMOUNTS = _NAMES + 226
_AXIS = _AMOUNTS + 100
_REACH = 80
_CHECKS = _AXIS + _REACH + 14
_LINE = 22
"""Height of the line of a region."""
_STEPS = 61
_MARKED = 0.35
"""Share of the strongest heat from which a cell shows its sign."""
_MIN_CELL = 18

Anchor = Literal["start", "middle", "end"]


@dataclass(frozen=True)
class Box:
    x: float
    y: float
    width: float
    height: float
    fill: Colour | None
    edge: Colour | None = None


@dataclass(frozen=True)
class Stroke:
    """A line through points."""

    points: tuple[tuple[float, float], ...]
    colour: Colour
    width: float = 1.0


@dataclass(frozen=True)
class Words:
    """One line of clean text; `y` is its base line, `room` its greatest width. The painter cuts it
    to that, since fonts differ."""

    x: float
    y: float
    text: str
    size: int = 14
    colour: Colour = INK
    anchor: Anchor = "start"
    room: float = WIDTH

    def fitted(self, width: Callable[[str], float]) -> str:
        """The text, its middle cut to fit `room`; `width` measures a text."""
        text, cells = self.text, cell_len(self.text)
        while cells > 1 and width(text) > self.room:
            cells -= 1
            text = numbers.middle(self.text, cells)
        return text


@dataclass(frozen=True)
class Pixels:
    """A raster in a box, each pixel a rectangle with sharp edges."""

    x: float
    y: float
    width: float
    height: float
    columns: int
    rows: int
    rgb: bytes


Item = Box | Stroke | Words | Pixels


@dataclass(frozen=True)
class Scene:
    width: int
    height: int
    title: str
    items: list[Item]


def check(result: Result) -> None:
    """Raise MaltriageError if there is nothing to draw; the message says what to do."""
    evidence = result.evidence
    if evidence.plane is None:
        if evidence.occluded is not None:
            why = "the method occlusion has none; take another one with --method"
        elif all(view.name != "body" for view in evidence.views):
            why = "the model has no view of the whole file"
        else:
            why = (
                f"the record of {result.path} has no byteplot, which only `explain` makes; explain"
                " the file itself, or name it with --with"
            )
        raise MaltriageError(f"no picture: {why}")
    flaw = raster.problem(evidence.plane)
    if flaw is not None:
        raise MaltriageError(f"no picture: the byteplot in the record is damaged, {flaw}")


def scene(result: Result) -> Scene:
    """The scene of a result with a plane.

    Raises:
        MaltriageError: see `check`.
    """
    check(result)
    plane = result.evidence.plane
    assert plane is not None
    items: list[Item] = [Box(0, 0, WIDTH, HEIGHT, PAPER)]
    items += _heading(result)
    items += _byteplot(result.evidence, plane)
    items += _regions(result, plane)
    items += _scales(result.evidence, plane)
    title = f"{_label(result.verdict.label)}: {numbers.middle(clean(result.path), MAX_PATH)}"
    return Scene(WIDTH, HEIGHT, title, items)


def _heading(result: Result) -> Iterator[Item]:
    verdict = result.verdict
    line = _label(verdict.label)
    if verdict.closest:
        line += f"  closest: {_label(verdict.closest)}"
    line += f"  {numbers.probability(facts.shown_probability(verdict))}"
    if not verdict.calibrated:
        line += " (uncalibrated)"
    flags = {True: "flagged", False: "not flagged", None: "the model has no threshold"}
    yield Words(_LEFT, 52, line, 30, room=860)
    right = WIDTH - _LEFT
    colour = FOR if verdict.flagged else FAINT
    yield Words(right, 52, flags[verdict.flagged], 20, colour, "end")
    yield Words(_LEFT, 80, numbers.middle(clean(result.path), MAX_PATH), 15, room=980)
    yield Words(right, 80, f"{result.size:,} bytes", 15, FAINT, "end")
    model = f"{clean(result.model.name, MAX_MODEL)} {clean(result.model.weights_sha256[:12])}"
    yield Words(_LEFT, 102, f"sha256 {clean(result.sha256, 64)}", 15, FAINT, room=760)
    yield Words(right, 102, f"model {model}", 15, FAINT, "end", room=360)
    yield Stroke(((_LEFT, 114), (right, 114)), RULE)


def _byteplot(evidence: Evidence, plane: Plane) -> Iterator[Item]:
    width, height = _shape(plane)
    body = facts.of_body(evidence)
    title = "the file as a byteplot, with the heat of the view body"
    title += "" if body is None else f" ({numbers.signed(body)} in all)"
    yield Words(_LEFT, _TOP - 12, title, 14, FAINT)
    yield Pixels(_LEFT, _TOP, width, height, plane.width, plane.height, raster.rgb(plane))
    yield from _signs(plane, width, height)
    yield Box(_LEFT, _TOP, width, height, None, FAINT)


def _shape(plane: Plane) -> tuple[float, float]:
    """Width and height of the picture, in the proportions of the plane."""
    longer = max(plane.width, plane.height)
    return max(1.0, _SIDE * plane.width / longer), max(1.0, _SIDE * plane.height / longer)


def _signs(plane: Plane, across: float, down: float) -> Iterator[Item]:
    """A plus or a minus in the cells with the most heat, if there is room."""
    cell_width, cell_height = across / plane.heat_width, down / plane.heat_height
    strongest = raster.strongest(plane)
    if min(cell_width, cell_height) < _MIN_CELL or not strongest:
        return
    arm = 5.0
    for index, heat in enumerate(plane.heat):
        if abs(heat) < _MARKED * strongest:
            continue
        row, column = divmod(index, plane.heat_width)
        # In the corner, to keep the middle of the cell visible.
        x, y = _LEFT + column * cell_width + 3 + arm, _TOP + row * cell_height + 3 + arm
        for colour, reach, width in ((INK, arm + 1, 4.0), (PAPER, arm, 2.0)):
            yield Stroke(((x - reach, y), (x + reach, y)), colour, width)
            if heat > 0:
                yield Stroke(((x, y - reach), (x, y + reach)), colour, width)
        if heat > 0:  # the rim of the vertical stroke covers the horizontal one
            yield Stroke(((x - arm, y), (x + arm, y)), PAPER, 2.0)


def _regions(result: Result, plane: Plane) -> Iterator[Item]:
    """The bar of the regions, their names at the height of their bytes, and the sums below."""
    evidence = result.evidence
    length = plane.length if plane.length is not None else result.size
    row_bytes = max(1, plane.row_bytes or 1)  # a saved document is untrusted
    bytes_of_plot = max(1, -(-length // row_bytes)) * row_bytes
    height = _shape(plane)[1]
    # Regions of zeros at the end of the file are not plotted.
    plotted = [r for r in evidence.regions if 0 <= r.start < min(r.end, length)]
    strongest = max((abs(r.contribution) for r in evidence.regions), default=0.0)
    named = sorted(plotted, key=lambda r: -abs(r.contribution))[:MAX_REGIONS]
    named.sort(key=lambda r: (r.start, r.end))
    yield Words(_NAMES, _TOP - 12, "region", 14, FAINT)
    yield Words(
        _AMOUNTS,
        _TOP - 12,
        "added to the score" if evidence.additive else "contribution",
        14,
        FAINT,
        "end",
    )
    if evidence.checks is not None:
        yield Words(_CHECKS, _TOP - 12, "checked", 14, FAINT)

    def at(offset: int) -> float:
        return _TOP + height * min(offset, length) / bytes_of_plot

    for region in plotted:
        top, bottom = at(region.start), at(region.end)
        fill = _tint(region.contribution / strongest if strongest else 0.0)
        yield Box(_BAR, top, _BAR_WIDTH, bottom - top, fill, FAINT)
    wanted = [(at(r.start) + at(r.end)) / 2 for r in named]
    rows = _spread(wanted, _TOP + _LINE / 2, _TOP + _SIDE - _LINE / 2)
    if named:
        axis = ((_AXIS, rows[0] - _LINE / 2), (_AXIS, rows[-1] + _LINE / 2))
        yield Stroke(axis, RULE)
    for region, middle, y in zip(named, wanted, rows, strict=True):
        bar = _BAR + _BAR_WIDTH
        yield Stroke(((bar, middle), (bar + 12, middle), (_NAMES - 12, y), (_NAMES - 4, y)), FAINT)
        yield from _region(region, y, strongest, evidence)
    left = [r for r in evidence.regions if r not in named]
    yield from _sums(evidence, left, plane)


def _region(region: RegionHeat, y: float, strongest: float, evidence: Evidence) -> Iterator[Item]:
    value, base = region.contribution, y + 5
    colour = _sign_colour(value)
    name = clean(facts.region_name(region.name), MAX_NAME)
    yield Words(_NAMES, base, name, 15, room=_AMOUNTS - _NAMES - 84)
    yield Words(_AMOUNTS, base, numbers.signed(value), 15, colour, "end")
    reach = _REACH * abs(value) / strongest if strongest else 0.0
    fill = _tint(math.copysign(1.0, value))
    yield Box(_AXIS - (reach if value < 0 else 0.0), y - 6, reach, 12, fill)
    check = facts.checks_of(evidence, "regions").get((region.start, region.end))
    if check is not None:
        yield Words(_CHECKS, base, check.status, 14, FAINT)


def _sums(evidence: Evidence, left: Sequence[RegionHeat], plane: Plane) -> Iterator[Item]:
    """The sums below the regions, or the remark that they do not add up."""
    lines: list[tuple[str, float]] = []
    if left:
        lines.append((f"{numbers.count(len(left), 'more region')}", _sum(left)))
    lines.append(("padding", evidence.padding))
    if evidence.additive:
        lines.append(("baseline + bias", evidence.bias))
    y = _TOP + _SIDE + 22
    for name, value in lines:
        yield Words(_NAMES, y, name, 15, FAINT)
        yield Words(_AMOUNTS, y, numbers.signed(value), 15, _sign_colour(value), "end")
        y += _LINE
    yield Stroke(((_NAMES, y - 15), (_AMOUNTS, y - 15)), RULE)
    y += 4
    yield Words(_NAMES, y, "in all" if evidence.additive else "log odds", 15)
    yield Words(_AMOUNTS, y, numbers.signed(evidence.logit), 15, INK, "end")
    name = clean(facts.score_name(evidence), 64)
    yield Words(_NAMES, y + 20, name, 13, FAINT, room=WIDTH - _LEFT - _NAMES)
    remarks = []
    if not evidence.additive:
        remarks.append("Not additive: the heat says where, and does not add up.")
    if plane.length is None:
        remarks.append("An older record: where regions lie in the picture is approximate.")
    for index, remark in enumerate(remarks):
        yield Words(_NAMES, y + 38 + 17 * index, remark, 13, FAINT)


def _sum(regions: Sequence[RegionHeat]) -> float:
    return sum(region.contribution for region in regions)


def _scales(evidence: Evidence, plane: Plane) -> Iterator[Item]:
    """The scales of colours and greys."""
    strongest = raster.strongest(plane)
    left, top, width, height = _LEFT, _TOP + _SIDE + 36, 6 * _STEPS, 16
    against = "against it" if evidence.against is None else f"for {_label(evidence.against)}"
    room = width / 2 - 8
    yield Words(left, top - 8, f"-  {against}", 14, AGAINST, room=room)
    text = f"for {_label(facts.explained(evidence))}  +"
    yield Words(left + width, top - 8, text, 14, FOR, "end", room)
    for index, colour in enumerate(raster.scale(_STEPS)):
        yield Box(left + index * 6, top, 6, height, colour)
    yield Box(left, top, width, height, None, FAINT)
    ticks: tuple[tuple[float, Anchor], ...] = ((-1.0, "start"), (0.0, "middle"), (1.0, "end"))
    for part, anchor in ticks:
        x = left + width * (part + 1) / 2
        yield Stroke(((x, top + height), (x, top + height + 5)), FAINT)
        text = numbers.signed(part * strongest) if part else "0"
        yield Words(x, top + height + 20, text, 14, INK, anchor)
    unit = known(evidence.method).unit
    cells = f"cell of a {plane.heat_width} x {plane.heat_height} map"
    method = clean(facts.method_name(evidence), 48)
    yield Words(
        left, top + height + 42, f"heat ({method}) per {cells}, in {unit}", 13, FAINT, room=_SIDE
    )
    signs = f"+ and -: cells with {_MARKED:.0%} of the strongest heat or more"
    yield Words(left, top + height + 60, signs, 13, FAINT)
    right = _LEFT + _SIDE
    left = right - 2 * _STEPS
    yield Words(left, top - 8, "bytes", 14, FAINT)
    for index in range(_STEPS):
        yield Box(left + index * 2, top, 2, height, raster.blend(index / (_STEPS - 1), 0.0))
    yield Box(left, top, right - left, height, None, FAINT)
    yield Words(left, top + height + 20, "00", 14)
    yield Words(right, top + height + 20, "ff", 14, INK, "end")


def _spread(wanted: Sequence[float], low: float, high: float) -> list[float]:
    """Places of lines near the wanted ones, in the same order, at least a line apart."""
    places: list[float] = []
    for place in wanted:
        places.append(max(place, places[-1] + _LINE if places else low))
    limit = high
    for index in reversed(range(len(places))):
        places[index] = min(places[index], limit)
        limit = places[index] - _LINE
    return places


def _label(label: str) -> str:
    return clean(label, MAX_LABEL)


def _tint(strength: float) -> Colour:
    """A tint from white (0) to the full colour of heat (1 or -1)."""
    full = raster.blend(1.0, math.copysign(1.0, strength))
    part = min(abs(strength), 1.0) ** 0.7
    red, green, blue = (round(255 + (value - 255) * part) for value in full)
    return red, green, blue


def _sign_colour(value: float) -> Colour:
    if not float(f"{value:.3f}"):
        return FAINT
    return FOR if value > 0 else AGAINST
