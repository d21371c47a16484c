"""Specs of the views that a bundle's nets read, as a card stores them.

Importing this costs nothing; the pixels are made in `maltriage.sample.byteplot`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from maltriage.sample.views.view_kind import ViewKind

if TYPE_CHECKING:
    from maltriage.sample.byteplot import Bytes, View

BODY_CHANNELS = ("mean", "spread", "zero", "printable", "high")
"""Channels of the body view, in order; `mean` alone is the published byteplot."""
MAX_BEFORE = 1 << 24
"""Bytes ahead of its anchor that a window may begin with."""
MAX_COUNTED = 1 << 16
"""Things that a counted view shows; their places have 16 bits."""


class BodySpec(ViewKind, frozen=True, tag="body"):
    """The whole file, row-major at the width its size sets, reduced by area to size x size."""

    size: int = 64
    channels: tuple[str, ...] = BODY_CHANNELS
    name: str = "body"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image of this view, without the batch axis: (C, S, S)."""
        return (len(self.channels), self.size, self.size)

    @property
    def fits(self) -> bool:
        return self.size > 0 and 0 < len({*self.channels} & {*BODY_CHANNELS}) == len(self.channels)

    @property
    def planes(self) -> list[int]:
        """Indices of its channels in `BODY_CHANNELS`."""
        return [BODY_CHANNELS.index(channel) for channel in self.channels]

    def plot(self, raw: Bytes, anchors: Mapping[str, int], width: int | None = None) -> View:
        from maltriage.sample.byteplot import View, body_bands, body_geometry

        geometry = body_geometry(raw, width)
        return View(body_bands(raw, self.size, self.planes, geometry), geometry)

    def replotted(
        self,
        raw: Bytes,
        ranges: Sequence[tuple[int, int]],
        view: View,
        anchors: Mapping[str, int],
        width: int | None = None,
    ) -> Bytes:
        """As for any view; only rows of the image that show a range are made again."""
        from maltriage.sample.byteplot import body_bands, body_geometry

        geometry, pixels = body_geometry(raw, width), view.pixels
        for first, end in geometry.bands(ranges, self.size):
            pixels = view.pixels.copy() if pixels is view.pixels else pixels
            pixels[:, first:end] = body_bands(raw, self.size, self.planes, geometry, (first, end))
        return pixels

    def picks(self, other: ViewKind) -> list[int] | None:
        """Channels of `other`, where it is the same picture with a subset of the channels."""
        if not isinstance(other, BodySpec) or other.size != self.size:
            return None
        if not set(other.channels) <= set(self.channels):
            return None
        return [self.channels.index(channel) for channel in other.channels]


class WindowSpec(ViewKind, frozen=True, tag="window"):
    """`length` raw bytes that start `before` bytes ahead of an anchor of the layout."""

    along: ClassVar[bool] = True

    name: str
    anchor: str
    before: int = 0
    length: int = 4096
    fixed: bool = False
    """Whether the place of a byte in the window tells its meaning, as in a header."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one window, without the batch axis: (2, length), bytes and presence."""
        return (2, self.length)

    @property
    def fits(self) -> bool:
        return self.length > 0 and 0 <= self.before <= MAX_BEFORE

    def plot(self, raw: Bytes, anchors: Mapping[str, int], width: int | None = None) -> View:
        from maltriage.sample.byteplot import window

        return window(raw, anchors, self.anchor, self.before, self.length)


def program_end(anchors: Mapping[str, int], length: int) -> int:
    """Where the program in a file of `length` bytes ends: its overlay and certificate lie behind.

    Anybody can append to a program, which does the same then. A file without sections has no end
    before its own.
    """
    last = anchors.get("last_section", length)
    behind = (anchors.get(name, length) for name in ("overlay", "certificate"))
    return min((at for at in behind if at > last), default=length)


def _program(raw: Bytes, anchors: Mapping[str, int]) -> Bytes:
    """The program's bytes without trailing zeros, as those of a file are cut.

    So what is appended changes nothing of what is counted, not by the padding before it either.
    """
    from maltriage.sample.byteplot import trimmed_length

    program = raw[: program_end(anchors, len(raw))]
    return program if len(program) == len(raw) else program[: trimmed_length(program)]


def _shown(
    raw: Bytes, ranges: Sequence[tuple[int, int]], view: View
) -> tuple[Bytes, list[tuple[int, int]]]:
    """The bytes that a counted view shows, and what of the ranges lies in them."""
    end = view.geometry.present
    return raw[:end], [(start, min(stop, end)) for start, stop in ranges if start < end]


class WordsSpec(ViewKind, frozen=True, tag="words"):
    """The different words of the file, at most `slots`: names of functions, texts, paths."""

    counted: ClassVar[bool] = True

    slots: int = 2048
    name: str = "words"
    program: bool = False
    """Whether only words of the program count, and none behind it (`program_end`)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image, without the batch axis: (3, slots), 24 bits of each word's name."""
        return (3, self.slots)

    @property
    def fits(self) -> bool:
        return 0 < self.slots <= MAX_COUNTED

    def plot(self, raw: Bytes, anchors: Mapping[str, int], width: int | None = None) -> View:
        from maltriage.sample.views.counted import plot_words

        return plot_words(_program(raw, anchors) if self.program else raw, self.slots)

    def replotted(
        self,
        raw: Bytes,
        ranges: Sequence[tuple[int, int]],
        view: View,
        anchors: Mapping[str, int],
        width: int | None = None,
    ) -> Bytes:
        """As for any view; only words near a range are found again."""
        from maltriage.sample.views.counted import replot_words

        return replot_words(*_shown(raw, ranges, view), view)


class EntropySpec(ViewKind, frozen=True, tag="entropy"):
    """The bytes of the file by the entropy of what they lie in, in at most `cells` pieces."""

    counted: ClassVar[bool] = True

    cells: int = 256
    name: str = "entropy"
    program: bool = False
    """Whether only the program is cut in pieces, and nothing behind it (`program_end`)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image, without the batch axis: (17, cells), level of entropy and shares of
        the values of the upper four bits."""
        return (17, self.cells)

    @property
    def fits(self) -> bool:
        return 0 < self.cells <= MAX_COUNTED

    def plot(self, raw: Bytes, anchors: Mapping[str, int], width: int | None = None) -> View:
        from maltriage.sample.views.counted import plot_entropy

        return plot_entropy(_program(raw, anchors) if self.program else raw, self.cells)

    def replotted(
        self,
        raw: Bytes,
        ranges: Sequence[tuple[int, int]],
        view: View,
        anchors: Mapping[str, int],
        width: int | None = None,
    ) -> Bytes:
        """As for any view; only pieces that a range touches are measured again."""
        from maltriage.sample.views.counted import replot_entropy

        return replot_entropy(*_shown(raw, ranges, view), view)


ViewSpec = BodySpec | WindowSpec | WordsSpec | EntropySpec
"""Views of every kind, as cards hold them."""


WINDOWS = (
    # PE signature, COFF header and optional header of a 32-bit program, to the last directory.
    WindowSpec("header", "pe32", length=248, fixed=True),
    WindowSpec("head", "head"),
    WindowSpec("code", "code"),
    WindowSpec("entry", "entry", before=512),
    WindowSpec("import", "import", before=1024),
    WindowSpec("resource", "resource"),
    WindowSpec("second_section", "second_section"),
    WindowSpec("last_section", "last_section"),
    WindowSpec("tail", "tail"),
)
"""The windows that a net can read."""

DEFAULT = ("words", "entropy", "body", "code", "import", "resource", "second_section")
"""Views of the net `evidence`. The others made it no better, or tell collections apart and not
malware: what a header says does not hold on a collection that was not trained on
(docs/studies/sources.md), and a public source of labelled files overwrites the entry point, so that
`entry` is empty in its files. What is counted is the program alone: what lies behind it is easily
appended."""


BYTEPLOT = "byteplot"
"""A command's name for the body with one channel, the byteplot of the literature."""


def byteplot(size: int = 64) -> BodySpec:
    """The published byteplot: the body's mean alone."""
    return BodySpec(size=size, channels=BODY_CHANNELS[:1])


def called(view: ViewSpec) -> str:
    """A command's name for a view."""
    return BYTEPLOT if view == byteplot(view.shape[-1]) else view.name


def known_views(size: int = 64) -> tuple[ViewSpec, ...]:
    """Every view."""
    counted = WordsSpec(program=True), EntropySpec(program=True)
    return (*counted, BodySpec(size=size), *WINDOWS)
