"""What is in the bytes of a hot range. Plain data: importing this costs nothing.

Strings are those of the sample, as they are: whoever shows them sanitizes them.
"""

from __future__ import annotations

from typing import Literal

import msgspec

ContentKind = Literal[
    "header",
    "code",
    "il",
    "metadata",
    "imports",
    "exports",
    "resource",
    "strings",
    "fill",
    "data",
]
"""What most of a range is. `fill`: one byte over and over; `data`: nothing that has a name."""
Architecture = Literal["x86", "x64", "arm64", "il"]
Synchronised = Literal["export", "exception", "entry", "call", "prologue", "method", "none"]
"""How it is known where a function starts, and so where its instructions do: the export table,
the exception directory (.pdata), the entry point, a direct call elsewhere in the section, bytes
that functions usually begin with, .NET metadata; `none`: it is not, and the first instructions
may be read askew."""


class Instruction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One instruction. `mnemonic` is `.byte` where the bytes are none."""

    offset: int
    rva: int | None
    hex: str
    mnemonic: str
    operands: str
    comment: str | None = None
    """What an operand points to: an imported or exported function, or a string in quotes."""


class Listing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Instructions of a range, from the one that its hottest bytes are in.

    `guessed`: Machine is zero, and the architecture was told by the optional header's magic.
    `function` and its file offset `start` are of the function that the first one lies in.
    """

    architecture: Architecture
    guessed: bool
    synchronised: Synchronised
    function: str | None
    start: int | None
    instructions: list[Instruction]


class FoundString(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A string that lies in a range or reaches into it. A `cut` one is longer than `text`."""

    offset: int
    encoding: Literal["ascii", "utf-16le"]
    text: str
    cut: bool = False


class ImportedNames(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Functions of one DLL whose import entries or names lie in a range; ordinals as `#12`."""

    dll: str
    functions: list[str]
    more: int = 0
    """How many functions are left out."""


class ResourceRef(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A resource that a range lies in. Numbered types by their name, numbered names as `#12`."""

    type: str
    name: str
    language: str
    start: int
    end: int


class HeaderField(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A field of the headers. `contribution` is there where a view reads it byte by byte."""

    offset: int
    size: int
    name: str
    value: str
    contribution: float | None = None


class HotContent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is in a hot range.

    `snapped`: by how many bytes its start and its end were moved outwards (negative: inwards)
    to the edge of the function, string, resource or field that they cut. `focus` is the offset of
    its hottest 128 bytes, where the listing begins. `notes` say what could not be read, and why.
    """

    kind: ContentKind
    rva: int | None
    va: int | None
    entropy: float
    snapped: tuple[int, int]
    focus: int
    code: Listing | None = None
    il: Listing | None = None
    metadata: str | None = None
    """The .NET metadata stream or table it lies in."""
    strings: list[FoundString] = []
    imports: list[ImportedNames] = []
    exports: list[str] = []
    resource: ResourceRef | None = None
    fields: list[HeaderField] = []
    notes: list[str] = []
