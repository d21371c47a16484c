"""Notices on a file beside its verdict: packed, installer, driver, signed, nearly empty, ...

Each rule reads the file alone, not the model's answer. A notice is one sentence: what was seen
and what it means for the verdict; docs/notices.md lists all codes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from maltriage.sample.pe import EFI, NATIVE, Headers, Section
from maltriage.sample.types import Layout, Notice, Region

PACKED_ENTROPY = 7.2
"""Bits per byte above which the code that runs first counts as compressed or encrypted."""
PACKED_MIN_BYTES = 1024
FEW_IMPORTS = 4
"""Functions enough for a loader stub: two to find others by name, two for its memory."""
SMALL_BYTES = 4096
EMPTY_SHARE = 0.75
INSTALLER_MIN_BYTES = 4096
"""Least size of an installer's overlay."""
SIGNATURE_WITHIN = 65536
"""Bytes from the start of the overlay that are searched for a signature."""
PACKER_SECTIONS = frozenset(
    name.lower()
    for name in (
        "UPX0 UPX1 UPX2 .aspack .adata ASPack .MPRESS1 .MPRESS2 .petite .nsp0 .nsp1 nsp0 nsp1"
        " .vmp0 .vmp1 .vmp2 .themida .winlice .enigma1 .enigma2 FSG! PEC2 PECompact2 .packed"
        " MEW kkrunchy .yP .y0da pebundle RLPack .rlpack .spack .svkp .taz WinLicen"
    ).split()
)
SIGNATURES = (
    ("NSIS", b"\xef\xbe\xad\xdeNullsoftInst"),
    ("Inno Setup", b"zlb\x1a"),
    ("Inno Setup", b"rDlPtS"),
    ("AutoIt script", b"\xa3\x48\x4b\xbe\x98\x6c\x4a\xa9\x99\x4c\x53\x0a\x86\xd6\x48\x7d"),
    ("7-Zip archive", b"7z\xbc\xaf\x27\x1c"),
    ("RAR archive", b"Rar!\x1a\x07"),
    ("cabinet", b"MSCF\0\0\0\0"),
    ("MSI package", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
    ("zip archive", b"PK\x03\x04"),
)
"""Signatures in the overlay of an installer or self-extractor, the most specific first."""
PYINSTALLER = b"MEI\x0c\x0b\x0a\x0b\x0e"
"""The cookie at the end of a PyInstaller archive, which has no signature at its start."""


def observe(data: bytes, headers: Headers | None, layout: Layout) -> list[Notice]:
    """Notices of a PE file, the most important for the verdict first.

    Args:
        data: the whole file.
        headers: from `read_headers`; None: only size and zeros are checked.
        layout: of the same file.
    """
    found: list[Notice] = []
    if headers is not None:
        found.extend(_of_headers(headers, layout))
        rules = list(_packed(headers, layout))
        if rules:
            text = f"Looks packed ({'; '.join(rules)}): what is seen is the packer as much as it."
            found.append(Notice("packed?", text))
        carried = _carried(data, layout)
        if carried:
            found.append(Notice("installer", carried))
        if any(region.kind == "certificate" for region in layout.regions):
            text = "Has a signature, which is not verified: no reason to trust it, nor to doubt."
            found.append(Notice("signed", text))
    found.extend(_of_bytes(data))
    if headers is not None:
        found.extend(Notice("parser-warning", text) for text in headers.warnings)
    return found


def _of_headers(headers: Headers, layout: Layout) -> Iterator[Notice]:
    if headers.machine == 0 and headers.subsystem == 0:
        yield Notice(
            "disarmed",
            "Machine and Subsystem are zero: it cannot run as it lies here; the model never sees"
            " these fields.",
        )
    if headers.entry_rva and "entry" not in layout.anchors:
        yield Notice("entry-outside", "The entry point lies in no byte of the file (overwritten?).")
    if layout.dotnet:
        yield Notice(".net", "A .NET assembly: its code is IL, which native families do not show.")
    if headers.subsystem == NATIVE:
        yield Notice(
            "driver", "A driver or native program: families of user programs say little of it."
        )
    if headers.subsystem in EFI:
        yield Notice("efi", "An EFI image: families of Windows programs say little of it.")


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


def _packed(headers: Headers, layout: Layout) -> Iterator[str]:
    """The rules that report a packer, in words.

    A packer's name or code of high entropy is enough. The weaker signs, which plain programs
    have too, count if there are two, or one beside a section of high entropy.
    """
    named = next((s.name for s in headers.sections if s.name.lower() in PACKER_SECTIONS), None)
    if named is not None:
        yield f"section name {named}"
    entry = layout.anchors.get("entry")
    region = layout.region_at(entry) if entry is not None else None
    bodies = [r for r in layout.regions if r.kind == "section"]
    code = [r for r in bodies if r.name != ".rsrc"]
    dense = [r for r in code if r.entropy >= PACKED_ENTROPY and r.size >= PACKED_MIN_BYTES]
    if region in dense and region is not None:
        yield f"entropy {region.entropy:.2f} in {_name(region)}, where it starts"
    elif dense and 2 * sum(r.size for r in dense) > sum(r.size for r in code):
        yield f"entropy {dense[0].entropy:.2f} in {_name(dense[0])}, most of the sections' bytes"
    weak = list(_weak(headers, region, bodies))
    if len(weak) > 1 or named is not None or dense:
        yield from weak


def _weak(headers: Headers, start: Region | None, bodies: list[Region]) -> Iterator[str]:
    if start is None or "clr" in headers.directories or headers.subsystem in (NATIVE, *EFI):
        return
    functions = _imported(headers)
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


def _imported(headers: Headers) -> int | None:
    """Number of functions it imports; None where the parser fails, or may not read them."""
    if "import" not in headers.directories:
        return 0
    if "import" in headers.unread:
        return None
    try:
        if headers.parser == "lief":
            return sum(len(library.entries) for library in headers.binary.imports)
        headers.binary.parse_data_directories(directories=[1])
        return sum(len(e.imports) for e in getattr(headers.binary, "DIRECTORY_ENTRY_IMPORT", ()))
    except Exception:  # a hostile table makes either parser raise anything
        return None


def _carried(data: bytes, layout: Layout) -> str | None:
    """Text of the notice on an installer's overlay."""
    overlay = next((r for r in layout.regions if r.kind == "overlay"), None)
    if overlay is None or overlay.size < INSTALLER_MIN_BYTES:
        return None
    head = data[overlay.start : min(overlay.end, overlay.start + SIGNATURE_WITHIN)]
    name = next((name for name, mark in SIGNATURES if mark in head), None)
    if name is None and PYINSTALLER in data[max(overlay.start, overlay.end - 4096) : overlay.end]:
        name = "PyInstaller"
    if name is None:
        return None
    share = overlay.size / len(data)
    return (
        f"An installer or self-extractor: {name} in its overlay, {share:.0%} of the file; the"
        " verdict is on the shell, not on what it carries."
    )
