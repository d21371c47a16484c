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

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one window, without the batch axis: (2, length), bytes and presence."""
        return (2, self.length)


ViewSpec = BodySpec | WindowSpec


WINDOWS = (
    WindowSpec("head", "head"),
    WindowSpec("code", "code"),
    WindowSpec("entry", "entry", before=512),
    WindowSpec("import", "import", before=1024),
    WindowSpec("resource", "resource"),
    WindowSpec("last_section", "last_section"),
    WindowSpec("tail", "tail"),
)
"""The windows that a net can be given."""

DISTRUSTED = frozenset({"entry"})
"""Windows that a net has only if it is asked for: a public source of labelled files overwrites
the entry point, so that the window is empty in its files and tells where a file came from."""


def known_views(size: int = 64) -> tuple[ViewSpec, ...]:
    """The body and every window."""
    return (BodySpec(size=size), *WINDOWS)


def default_views(size: int = 64) -> tuple[ViewSpec, ...]:
    """The body and six windows: what a net looks at unless it is told otherwise."""
    return tuple(view for view in known_views(size) if view.name not in DISTRUSTED)
