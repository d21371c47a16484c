"""Formats numbers, and draws bars of text."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

if TYPE_CHECKING:
    from maltriage.metrics import Interval

FOR = "#e66100"
AGAINST = "#4c9be8"
"""Orange speaks for the explained label, blue against: apart for colour-blind eyes too."""

LONG_UNITS = (" bytes", " KiB", " MiB", " GiB", " TiB")
_EIGHTHS = ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")


def signed(value: float, digits: int = 3) -> str:
    """`+1.234`, `-1.234`; a value that rounds to zero has no sign."""
    if not math.isfinite(value) or abs(value) >= 1e6:
        return f"{value:+.3g}"
    text = f"{value:+.{digits}f}"
    return text if float(text) else text[1:]


def difference(value: Interval) -> str:
    """`+0.012 (-0.003 to +0.027)`: a difference of two figures, with its interval."""
    return f"{value.value:+.3f} ({value.low:+.3f} to {value.high:+.3f})"


def between(low: float, high: float) -> str:
    """`0.847 to 0.912`."""
    return f"{low:.3f} to {high:.3f}"


def bounded(value: Interval) -> str:
    """`0.881 (0.847 to 0.912)`: a figure with its interval."""
    return f"{value.value:.3f} ({between(value.low, value.high)})"


def with_interval(value: Interval) -> tuple[str, str]:
    """`0.881` and `95 % interval 0.847 to 0.912`, for two columns."""
    return f"{value.value:.3f}", f"95 % interval {between(value.low, value.high)}"


def probability(value: float) -> str:
    """`97.3%`; never `100.0%` or `0.0%`, since a saturated softmax is not certainty."""
    if value >= 0.9995:
        return ">99.9%"
    return "<0.1%" if value < 0.0005 else f"{value:.1%}"


def score(value: float | None) -> str:
    """A score from 0 to 100, rounded down: what is not flagged is never `50`. None: `-`."""
    return "-" if value is None else str(math.floor(value))


def share(value: float) -> str:
    """A signed part of a whole: `62.0%`, `-3.1%`."""
    text = f"{value:.1%}"
    return "0.0%" if text == "-0.0%" else text


def rate(value: float) -> str:
    """A stated rate with its own digits: `1%`, `0.1%`."""
    return f"{value * 100:g}%"


def size(value: int, units: tuple[str, ...] = ("B", "K", "M", "G", "T")) -> str:
    """A size in bytes in powers of 1,024, three digits at most: `948K`, `1.2M`."""
    scaled, index = float(value), 0
    while scaled >= 999.5 and index < len(units) - 1:
        scaled, index = scaled / 1024, index + 1
    digits = 1 if index and scaled < 9.95 else 0
    return f"{scaled:.{digits}f}{units[index]}"


def count(number: int, noun: str) -> str:
    """`1 file`, `2,000 files`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def duration(seconds: float) -> str:
    """A time in two digits: `40 s`, `12 min`, `3.2 h`, `2.5 days`."""
    for unit, most, size in (("s", 100, 1), ("min", 100, 60), ("h", 48, 3600)):
        if seconds / size < most:
            value = seconds / size
            return f"{value:.1f} {unit}" if unit == "h" and value < 10 else f"{value:.0f} {unit}"
    return f"{seconds / 86400:.1f} days"


def middle(text: str, width: int) -> str:
    """`text` in at most `width` cells, its middle cut; the file name of a path stays."""
    if cell_len(text) <= width:
        return text
    if width < 8:
        return _head(text, width - 1) + "…"
    slash = max(text.rfind("/"), text.rfind("\\"))
    name = text[max(slash, 0) :]
    room = width - 1 - cell_len(name)
    if room >= 0:
        return _cut(text, width, min(room, (width - 1) // 3))
    if slash > 0:  # even the name does not fit: leave the folders out
        return "…" + _cut(name, width - 1, (width - 2) // 2)
    return _cut(text, width, (width - 1) // 2)


def _cut(text: str, width: int, head: int) -> str:
    """The first `head` cells of `text`, and its end up to `width`."""
    return _head(text, head) + "…" + _head(text[::-1], width - 1 - head)[::-1]


def _head(text: str, width: int) -> str:
    """As many leading characters as fit in `width` cells."""
    used = 0
    for index, character in enumerate(text):
        used += cell_len(character)
        if used > width:
            return text[:index]
    return text


def bar(part: float, width: int, style: str = "") -> Text:
    """A bar over the share `part` (0 to 1) of `width` cells, in eighths of a cell."""
    eighths = round(min(max(part, 0.0), 1.0) * width * 8) if math.isfinite(part) else 0
    full, rest = divmod(eighths, 8)
    return Text("█" * full + _EIGHTHS[rest], style=style)


@dataclass(frozen=True)
class Axis:
    """Room for signed bars of one scale: `left` and `right` cells around a centre line.

    The cells are divided by the largest negative and positive values.
    """

    left: int
    right: int
    per_cell: float

    @classmethod
    def over(cls, values: Iterable[float], width: int) -> Axis:
        """An axis for `values` in `width` cells; with less than 2 cells it draws nothing."""
        values = [value for value in values if math.isfinite(value)]
        low, high = max(0.0, -min(values, default=0.0)), max(0.0, *values, 0.0)
        if width < 2 or not 0 < low + high < math.inf:
            return cls(0, 0, 0.0)
        left = math.ceil(low / (low + high) * (width - 1))
        left = min(left, width - 2) if high else left
        right = width - 1 - left
        return cls(left, right, max(low / left if left else 0.0, high / right if right else 0.0))

    def bar(self, value: float) -> Text:
        """A bar to the right of the line if `value` is positive, else to the left."""
        if not self.per_cell or not math.isfinite(value):
            return Text()
        side = self.right if value > 0 else self.left
        full, rest = divmod(round(min(abs(value) / self.per_cell * 2, side * 2)), 2)
        if value > 0:
            stroke = ("█" * full + "▌" * rest, FOR)
            return Text.assemble(" " * self.left, ("│", "dim"), stroke)
        stroke = (("▐" * rest + "█" * full).rjust(self.left), AGAINST)
        return Text.assemble(stroke, ("│", "dim"))


def heat_style(value: float) -> str:
    """Colour of a printed contribution."""
    if not float(f"{value:.3f}"):
        return "dim"
    return FOR if value > 0 else AGAINST


def heat(value: float) -> Text:
    """A contribution in its colour."""
    return Text(signed(value), style=heat_style(value))
