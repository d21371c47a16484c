"""Which views a bundle looks at: the part of byteplots that travels in a card.

Importing this costs nothing; the pixels are made in `maltriage.sample.byteplot`.
"""

from __future__ import annotations

import msgspec

BODY_CHANNELS = ("mean", "spread", "zero", "printable", "high")
"""Channels of the body view, in order; `mean` alone is the published byteplot."""


class BodySpec(
    msgspec.Struct, frozen=True, tag="body", tag_field="kind", forbid_unknown_fields=True
):
    """The whole file, row-major at the width its size sets, reduced by area to size x size."""

    size: int = 64
    channels: tuple[str, ...] = BODY_CHANNELS
    name: str = "body"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image of this view, without the batch axis: (C, S, S)."""
        return (len(self.channels), self.size, self.size)


class WindowSpec(
    msgspec.Struct, frozen=True, tag="window", tag_field="kind", forbid_unknown_fields=True
):
    """`length` raw bytes that start `before` bytes ahead of an anchor of the layout."""

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


ViewSpec = BodySpec | WindowSpec


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
"""The windows that a net can be given."""

DEFAULT = ("body", "header", "code", "import", "resource", "second_section")
"""What a net looks at unless it is told otherwise. The others made it no better (see the
model's document), or tell where a file came from: a public source of labelled files overwrites
the entry point, so that `entry` is empty in its files."""


BYTEPLOT = "byteplot"
"""What a command calls the body with one channel, the picture that papers are about."""


def byteplot(size: int = 64) -> BodySpec:
    """The published byteplot: the body's mean alone."""
    return BodySpec(size=size, channels=BODY_CHANNELS[:1])


def known_views(size: int = 64) -> tuple[ViewSpec, ...]:
    """The body and every window."""
    return (BodySpec(size=size), *WINDOWS)


def default_views(size: int = 64) -> tuple[ViewSpec, ...]:
    """The views of `DEFAULT`, the body with a side of `size`."""
    return tuple(view for view in known_views(size) if view.name in DEFAULT)
