"""Notices on a file beside its verdict: packed, installer, driver, signed, nearly empty, ...

Each rule reads the file alone, not the model's answer. A notice is one sentence: what was seen
and what it means for the verdict; docs/reference/notices.md lists all codes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from maltriage.sample.byteplot import pe_offset
from maltriage.sample.layout import entropy
from maltriage.sample.made_with import BY_LIBARCHIVE, OPENED, PACKER_OF, UNPACKED, Carried
from maltriage.sample.pe import EFI, NATIVE, PAGE, Headers, Section
from maltriage.sample.signature import has_signature
from maltriage.sample.types import Layout, Notice, Region, Tool

PACKED_ENTROPY = 7.2
"""Bits per byte above which the code that runs first counts as compressed or encrypted."""
PACKED_MIN_BYTES = 1024
FEW_IMPORTS = 4
"""Functions enough for a loader stub: two to find others by name, two for its memory."""
SMALL_BYTES = 4096
EMPTY_SHARE = 0.75
_MAX_COUNTED = 1 << 26
"""Largest region of which the entropy without its resources is worked out."""
_CLR_BYTES, _CLR_FLAGS, _CLR_RESOURCES, _CLR_NATIVE = 72, 16, 24, 64
"""Bytes of a CLR header, and where in it are its flags, the place of the resources and that of
native code."""
MAX_IMAGE = 1 << 31
"""Bytes of an image that no Windows maps."""


def observe(
    data: bytes,
    headers: Headers | None,
    layout: Layout,
    tools: Sequence[Tool] = (),
    inside: Carried | None = None,
    as_signed: bool | None = None,
) -> list[Notice]:
    """Notices of a PE file, the most important for the verdict first.

    Args:
        data: the whole file.
        headers: from `read_headers`; None: only size and zeros are checked.
        layout: of the same file.
        tools: what it was made with, from `made_with`.
        inside: what it carries, from `carried`.
        as_signed: whether its signature matches it, from `is_as_signed`.
    """
    found: list[Notice] = []
    if headers is not None:
        found.extend(_of_headers(data, headers, layout))
        rules = list(_packed(data, headers, layout))
        packers = [tool for tool in tools if tool.kind in ("packer", "protector")]
        if rules or packers:
            how = f" with {', '.join(tool.text for tool in packers)}" if packers else ""
            why = f" ({'; '.join(rules)})" if rules else ""
            means = "the model may judge the packer, and not the program in it"
            empty = any(s.size == 0 for s in headers.sections)  # a dump of its memory has none
            if empty and any(tool.name in UNPACKED for tool in packers):
                means += "; scan --carve unpacks it"
            text = f"Looks packed{how}{why}: {means}."
            found.append(Notice("packed?", text))
        carrying = _installer(layout, tools, inside)
        if carrying:
            found.append(Notice("installer", carrying))
        if any(region.kind == "certificate" for region in layout.regions):
            found.append(_signed(data, headers, as_signed))
    found.extend(_of_bytes(data))
    if headers is not None:
        found.extend(Notice("parser-warning", text) for text in headers.warnings)
    return found


def _of_headers(data: bytes, headers: Headers, layout: Layout) -> Iterator[Notice]:
    if headers.disarmed:
        yield Notice(
            "disarmed",
            "Machine and Subsystem are zero: it cannot run as it lies here, and its hashes are not"
            " those of the program that ran; the model never sees these fields.",
        )
    if (why := _refused(data, headers)) is not None:
        yield Notice("unloadable", f"Windows does not load it: {why}.")
    if headers.entry_rva and "entry" not in layout.anchors:
        yield Notice("entry-outside", "The entry point lies in no byte of the file (overwritten?).")
    if layout.dotnet:
        what = (
            " with native code beside its IL" if _has_native(data, headers) else ": its code is IL"
        )
        yield Notice(".net", f"A .NET assembly{what}, which native families do not show.")
    if headers.subsystem == NATIVE:
        yield Notice(
            "driver", "A driver or native program: families of user programs say little of it."
        )
    if headers.subsystem in EFI:
        yield Notice("efi", "An EFI image: families of Windows programs say little of it.")


def _refused(data: bytes, headers: Headers) -> str | None:
    """Why no Windows maps and starts a program; None: nothing is seen that it would refuse.

    Sections closer than a page are mapped as one, wherever their rows say. Firmware reads EFI
    images by its own rules.
    """
    pe = pe_offset(data)
    if pe is None or len(data) < pe + 84 or headers.subsystem in EFI:
        return None
    (alignment,) = struct.unpack_from("<I", data, pe + 56)
    (size,) = struct.unpack_from("<I", data, pe + 80)
    if size >= MAX_IMAGE:
        return f"it asks for an image of {size:,} bytes"
    image, last, end = -(-size // PAGE) * PAGE, 0, 0
    for section in headers.sections if alignment >= PAGE else ():
        length = section.virtual_size or section.size
        if not length:
            continue
        if section.rva < last:
            return "its sections are not in the order of their addresses"
        if section.rva < end:
            return f"{_name(section)} and those before it overlap in memory"
        last, end = section.rva, section.rva + length
        if end > image:
            return f"{_name(section)} ends beyond its image of {size:,} bytes"
    for name in ("import", "tls"):  # read before it starts
        rva, length = headers.directories.get(name, (0, 0))
        if length and rva >= max(image, end):
            return f"its {name} directory begins at {rva:#x}, beyond its image of {size:,} bytes"
    return None


def _signed(data: bytes, headers: Headers, as_signed: bool | None) -> Notice:
    """What its certificate table holds."""
    if not has_signature(data, headers):
        text = "Its certificate table holds no signature: what lies there is no PKCS #7 in DER."
        return Notice("no-signature", text)
    if as_signed is False:
        text = (
            "The signature in it does not match the file: the file was changed since it was signed,"
            " or the signature is another file's."
        )
        return Notice("signature-mismatch", text)
    matching = " that matches the file. Its certificates are" if as_signed else ", which is"
    text = f"Has a signature{matching} not verified: no reason to trust it, nor to doubt."
    return Notice("signed", text)


def _of_bytes(data: bytes) -> Iterator[Notice]:
    if len(data) < SMALL_BYTES:
        yield Notice(
            "small", f"It has {len(data):,} bytes: most of what the model looks at is empty."
        )
    if len(data):
        zeros = 1 - np.count_nonzero(np.frombuffer(data, dtype=np.uint8)) / len(data)
        if zeros >= EMPTY_SHARE:
            text = f"{zeros:.0%} of its bytes are zero: the verdict rests on the few that are not."
            yield Notice("mostly-zero", text)


def _packed(data: bytes, headers: Headers, layout: Layout) -> Iterator[str]:
    """The rules that report a packer, in words.

    A packer's name or code of high entropy is enough. The weaker signs, which plain programs
    have too, count if there are two, or one beside a section of high entropy. Resources of a .NET
    program lie in its code section, and are left out of what counts as code.
    """
    named = next((s.name for s in headers.sections if s.name.lower() in PACKER_OF), None)
    if named is not None:
        yield f"section name {named}"
    entry = layout.anchors.get("entry")
    bodies = [r for r in layout.regions if r.kind == "section"]
    resources = _managed_resources(data, headers) if layout.dotnet else None
    code = [
        _without(data, r, resources) if resources and r.start <= resources[0] < r.end else r
        for r in bodies
        if r.name != ".rsrc"
    ]
    there = (r for r in code if entry is not None and r.start <= entry < r.end)
    region = next(there, layout.region_at(entry) if entry is not None else None)
    dense = [r for r in code if r.entropy >= PACKED_ENTROPY and r.size >= PACKED_MIN_BYTES]
    if region in dense and region is not None:
        yield f"entropy {region.entropy:.2f} in {_name(region)}, where it starts"
    elif dense and 2 * sum(r.size for r in dense) > sum(r.size for r in code):
        yield f"entropy {dense[0].entropy:.2f} in {_name(dense[0])}, most of the sections' bytes"
    weak = list(_weak(headers, region, bodies, len(data)))
    if len(weak) > 1 or named is not None or dense:
        yield from weak


def _has_native(data: bytes, headers: Headers) -> bool:
    """Whether the CLR header says that not all code is IL, or names code that was compiled
    beforehand."""
    start = headers.offset_of(headers.directories.get("clr", (0, 0))[0])
    if start is None or len(data) < start + _CLR_BYTES:
        return False
    (flags,) = struct.unpack_from("<I", data, start + _CLR_FLAGS)
    (native,) = struct.unpack_from("<I", data, start + _CLR_NATIVE)
    return not flags & 1 or bool(native)


def _managed_resources(data: bytes, headers: Headers) -> tuple[int, int] | None:
    """File range of the resources that the CLR header names."""
    rva, _ = headers.directories.get("clr", (0, 0))
    start = headers.offset_of(rva)
    if start is None or len(data) < start + _CLR_BYTES:
        return None
    rva, size = struct.unpack_from("<II", data, start + _CLR_RESOURCES)
    begin = headers.offset_of(rva) if rva else None
    return None if begin is None else (begin, min(begin + size, len(data)))


def _without(data: bytes, region: Region, part: tuple[int, int]) -> Region:
    """A region with the entropy of its bytes without a part of them."""
    start, end = part[0], min(part[1], region.end)
    if region.entropy < PACKED_ENTROPY or region.size > _MAX_COUNTED:
        return region
    rest = data[region.start : start] + data[end : region.end]
    return msgspec.structs.replace(
        region, end=region.end - (end - start), entropy=entropy(memoryview(rest))
    )


def _weak(headers: Headers, start: Region | None, bodies: list[Region], size: int) -> Iterator[str]:
    if start is None or "clr" in headers.directories or headers.subsystem in (NATIVE, *EFI):
        return
    functions = _imported(headers, size)
    if functions is not None and functions <= FEW_IMPORTS:
        yield f"imports {functions} functions"
    if len(bodies) > 1 and start == bodies[-1]:
        yield f"starts in its last section, {_name(start)}"
    hollow = next(
        (s for s in headers.sections if s.executable and not s.size and s.virtual_size), None
    )
    if hollow is not None:
        yield f"{_name(hollow)} is code without bytes in the file"


def _name(part: Region | Section) -> str:
    return part.name or "a section without a name"


def _imported(headers: Headers, size: int) -> int | None:
    """Number of functions it imports; None where the parser fails, or may not read them, or they
    lie beyond the end of a file of `size` bytes, which was cut."""
    if "import" not in headers.directories:
        return 0
    if "import" in headers.unread:
        return None
    functions = _counted_imports(headers)
    return None if functions == 0 and _cut(headers, size) else functions


def _cut(headers: Headers, size: int) -> bool:
    """Whether the file ends before the section does that has the import directory."""
    rva, _ = headers.directories["import"]
    return any(
        s.rva <= rva < s.rva + max(s.size, s.virtual_size) and s.start + s.size > size
        for s in headers.sections
    )


def _counted_imports(headers: Headers) -> int | None:
    """Number of functions that the parser finds; None where it fails."""
    try:
        if headers.parser == "lief":
            return sum(len(library.entries) for library in headers.binary.imports)
        headers.binary.parse_data_directories(directories=[1])
        return sum(len(e.imports) for e in getattr(headers.binary, "DIRECTORY_ENTRY_IMPORT", ()))
    except Exception:  # a hostile table makes either parser raise anything
        return None


def _installer(layout: Layout, tools: Sequence[Tool], inside: Carried | None) -> str | None:
    """Text of the notice on an installer."""
    if inside is not None:
        share = inside.size / sum(region.size for region in layout.regions)
        way = ", which scan --carve looks into" if inside.name in OPENED else ""
        way += " where libarchive is installed" if inside.name in BY_LIBARCHIVE else ""
        return (
            f"An installer or self-extractor: {inside.name} in its {inside.place}, {share:.0%} of"
            f" the file; the verdict is on the shell, not on what it carries{way}."
        )
    named = next((tool.text for tool in tools if tool.kind == "installer"), None)
    if named is None:
        return None
    return (
        f"An installer or self-extractor made with {named}: the verdict is on the shell, not on"
        " what it carries."
    )
