"""Findings in the bytes of a hot range. Plain data: importing this costs nothing.

Strings are the sample's own, not sanitized: renderers do that.
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
"""Kind of a range. `fill`: one byte repeated; `data`: none of the others."""
Architecture = Literal["x86", "x64", "arm64", "il"]
Synchronised = Literal["export", "exception", "entry", "call", "prologue", "method", "none"]
"""Evidence for the start of a function, and so of its instructions: the export table, the
exception directory (.pdata), the entry point, a direct call elsewhere in the section, a usual
function prologue, .NET metadata; `none`: no evidence, and the first instructions may be
misaligned."""


class Instruction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One instruction. `mnemonic` is `.byte` where the bytes do not decode."""

    offset: int
    rva: int | None
    hex: str
    mnemonic: str
    operands: str
    comment: str | None = None
    """Target of an operand: an imported or exported function, or a string in quotes."""


class Listing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Instructions of a range, from the one with its hottest bytes.

    `guessed`: Machine is zero, and the architecture comes from the optional header's magic.
    `function` and its file offset `start` are of the function that holds the first instruction.
    """

    architecture: Architecture
    guessed: bool
    synchronised: Synchronised
    """How the start of the function is known: docs/reference/evidence.md."""
    function: str | None
    start: int | None
    instructions: list[Instruction]
    left: int = 0
    """Bytes of the range behind the last instruction."""


class LibraryFunction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A function of a library, by its FLIRT signature. `offset` is its start in the file."""

    offset: int
    name: str
    library: str


class FoundString(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A string in a range, or partly in it. A `cut` one is longer than `text`."""

    offset: int
    encoding: Literal["ascii", "utf-16le"]
    text: str
    cut: bool = False


class ImportedNames(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Functions of one DLL whose import entries or names lie in a range; ordinals as `#12`."""

    dll: str
    functions: list[str]
    more: int = 0
    """Number of functions left out."""


class ResourceRef(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A resource in a range. Numbered types by their name, numbered names as `#12`."""

    type: str
    name: str
    language: str
    start: int
    end: int


class HeaderField(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A field of the headers. `contribution` is set where a view reads it byte by byte."""

    offset: int
    size: int
    name: str
    value: str
    contribution: float | None = None


class HotContent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The findings in a hot range.

    `snapped`: bytes by which its start and its end were moved outwards (negative: inwards) to the
    edge of the function, string, resource or field that they cut. `focus` is the offset of its
    hottest 128 bytes, where the listing begins. `notes` say what could not be read, and why, how
    many DLLs and exports are not listed, and which resources the range holds besides `resource`.
    """

    kind: ContentKind
    """Of the hottest bytes, or else of most of them. `fill`: one byte repeated; `data`: none of the
    others."""
    rva: int | None
    va: int | None
    entropy: float
    snapped: tuple[int, int]
    focus: int
    code: Listing | None = None
    il: Listing | None = None
    metadata: str | None = None
    """The .NET metadata stream or table that holds the range."""
    strings: list[FoundString] = []
    imports: list[ImportedNames] = []
    exports: list[str] = []
    resource: ResourceRef | None = None
    fields: list[HeaderField] = []
    notes: list[str] = []
    library: list[LibraryFunction] = []
    """Functions of libraries that the range holds, or a part of; empty without signatures."""
