"""Types of a file under triage. Plain data: importing this costs nothing."""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

RegionKind = Literal["header", "section", "gap", "certificate", "overlay", "range", "unparsed"]
Format = Literal["pe", "png", "bytes", "picture"]
"""A PE file; a byteplot PNG, whose pixels are the bytes of a PE file; a hex dump; a grayscale PNG
whose pixels are no bytes of a PE file (a resized byteplot, say)."""
FORMATS: tuple[Format, ...] = get_args(Format)
MAX_VIEWS = 64
"""Of a card, and so of a sample."""
BENIGN = "benign"
"""The label of clean programs."""
OTHER = "_other"
"""The label of malware of no family: it is malware, and names nothing."""
KNOWN_GOOD = "known-good"
"""Code of the skip, or notice, of a file in a list of known good files."""


class Notice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A remark beside the verdict; it never replaces it.

    `code` is stable and meant for machines; `text` is one sentence for people. Both may
    quote a hostile sample, so renderers sanitize them.
    """

    code: str
    text: str


class Region(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A byte range [start, end) of the file; `rva` is where it is mapped, if it is."""

    name: str
    kind: RegionKind
    start: int
    end: int
    rva: int | None = None
    entropy: float = 0.0
    """Shannon entropy of the bytes, in bits per byte, 0 to 8."""

    @property
    def size(self) -> int:
        return self.end - self.start


class VersionInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Strings of the version resource. Claims of the file about itself."""

    company: str | None = None
    product: str | None = None
    original_name: str | None = None
    file_version: str | None = None
    description: str | None = None


ToolKind = Literal[
    "packer", "protector", "installer", "compiler", "language", "library", "linker", "tool"
]
TOOL_KINDS: tuple[ToolKind, ...] = get_args(ToolKind)
"""Kinds of tools, those that say most of a file first."""


class Tool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tool that the file was made with, as its bytes say; they can be copied from another file.

    `by` is where the name comes from: `headers` (our own rules), or `die` (Detect It Easy).
    """

    kind: ToolKind
    name: str
    version: str | None = None
    by: Literal["headers", "die"] = "headers"

    @property
    def text(self) -> str:
        """The name, with the version if it is known."""
        return f"{self.name} {self.version}" if self.version else self.name


class Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Names by which the same or a related file can be found again.

    For a PNG the hashes and the size are those of the pixels, for a hex dump those of the
    decoded bytes: of the program, not of its container.
    """

    sha256: str
    size: int
    md5: str | None = None
    sha1: str | None = None
    tlsh: str | None = None
    imphash: str | None = None
    rich_hash: str | None = None
    """MD5 of the decoded Rich header, as VirusTotal and pefile compute it."""
    compile_time: str | None = None
    """COFF TimeDateStamp as ISO 8601 UTC; a claim, and sometimes a hash of the build. None where
    the debug directory says that it is one. 1992-06-19T22:22:17Z is what Delphi writes into any
    program."""
    pdb_path: str | None = None
    version: VersionInfo | None = None
    signer: str | None = None
    """Subject of the signing certificate. Never verified here: not a reason to trust."""
    as_signed: bool | None = None
    """Whether its signature matches the file: the digest in it is that of the file's bytes, and is
    signed by the signature's own certificate, which nobody verified. Null: not known, which is no
    sign of an intact file. Of 1.10 and later."""
    made_with: list[Tool] = []
    """Compilers, packers, installers and so on that it was made with: docs/how-to/made-with.md."""
    code_digest: str | None = None
    """Similarity digest of its code, see `code_digest`; of 1.6 and later."""


class Layout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The regions of a file, which cover every byte exactly once, and its anchors.

    `anchors` maps a name (`entry`, `import`, `resource`, `last_section`, ...) to a file
    offset. An anchor that the file does not have is absent. `head` and `tail` need no
    entry: they are ends of the plotted bytes.
    """

    parser: Literal["lief", "pefile", "none"]
    machine: str | None
    bits: int | None
    """32 for PE32, 64 for PE32+, None where no optional header could be read."""
    dotnet: bool
    image_base: int | None
    regions: list[Region]
    anchors: dict[str, int]
    unmapped: int = 0
    """Number of bytes that a hex dump does not know (`??`)."""
    efi: bool = False
    """Whether Subsystem names an EFI image; False for a file whose field was zeroed."""

    @property
    def kind(self) -> str | None:
        """`efi`, `.net`, `pe32` or `pe32+` by the optional header, None without a readable one."""
        if self.efi:
            return "efi"
        if self.dotnet:
            return ".net"
        return {32: "pe32", 64: "pe32+"}.get(self.bits or 0)

    def region_at(self, offset: int) -> Region | None:
        """The region that holds a file offset, or None past the end."""
        return next((r for r in self.regions if r.start <= offset < r.end), None)
