from __future__ import annotations

import io
import random
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import py7zr
import pytest
from hostile.make import CASES, Pe

from maltriage.sample.layout import make_layout
from maltriage.sample.made_with import CARRIED_MIN_BYTES, carried, made_with
from maltriage.sample.notices import FEW_IMPORTS, SMALL_BYTES, observe
from maltriage.sample.pe import read_headers
from maltriage.sample.signature import is_as_signed
from maltriage.sample.types import KNOWN_GOOD

NOISE = random.Random(5).randbytes(CARRIED_MIN_BYTES)
DOCUMENT = Path(__file__).parents[2] / "docs" / "reference" / "notices.md"


def notices_of(data: bytes) -> dict[str, str]:
    headers = read_headers(data)
    layout, _ = make_layout(data, headers)
    inside = carried(data, layout) if headers else None
    tools = made_with(data, headers, inside) if headers else []
    as_signed = is_as_signed(data, headers) if headers else None
    found = observe(data, headers, layout, tools, inside, as_signed)
    assert len({notice.code for notice in found} - {"parser-warning"}) == len(
        [notice for notice in found if notice.code != "parser-warning"]
    )
    return {notice.code: notice.text for notice in found}


def put(data: bytes, at: int, value: int) -> bytes:
    """Two bytes of the headers, `at` bytes behind "PE"."""
    start = struct.unpack_from("<I", data, 60)[0] + at
    return data[:start] + struct.pack("<H", value) + data[start + 2 :]


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("console-x64.exe", set()),
        ("console-x86.exe", set()),
        ("debug-x86.exe", set()),
        ("gui-x86.exe", set()),
        ("library-x64.dll", set()),
        ("overlay-x86.exe", set()),
        ("truncated-x86.exe", set()),
        ("dotnet.exe", {".net", "small"}),
        ("driver-x64.sys", {"driver", "small", "mostly-zero"}),
        ("packed-x86.exe", {"packed?"}),
        ("signed-x64.exe", {"signed"}),
    ],
)
def test_real_programs(samples_dir: Path, name: str, codes: set[str]) -> None:
    data = (samples_dir / name).read_bytes()
    assert ("small" in codes) == (len(data) < SMALL_BYTES)
    assert set(notices_of(data)) == codes


def test_disarmed_as_public_corpora_do(samples_dir: Path) -> None:
    data = (samples_dir / "console-x86.exe").read_bytes()
    disarmed = put(put(data, 4, 0), 92, 0)
    assert set(notices_of(disarmed)) == {"disarmed"}


def test_an_efi_image(samples_dir: Path) -> None:
    data = (samples_dir / "console-x86.exe").read_bytes()
    assert set(notices_of(put(data, 92, 10))) == {"efi"}


def test_signed_and_changed_since(samples_dir: Path) -> None:
    data = (samples_dir / "signed-x64.exe").read_bytes()
    said = notices_of(data)["signed"]
    assert said.startswith("Has a signature that matches the file. Its certificates are not verif")
    changed = data[:0x500] + bytes([data[0x500] ^ 1]) + data[0x501:]
    found = notices_of(changed)
    assert set(found) == {"signature-mismatch"}
    assert found["signature-mismatch"].startswith("The signature in it does not match the file: ")
    disarmed = notices_of(put(put(data, 4, 0), 92, 0))
    assert set(disarmed) == {"disarmed", "signed"}
    assert disarmed["signed"].startswith("Has a signature, which is not verified: ")


def test_a_certificate_table_without_a_signature(samples_dir: Path) -> None:
    data = (samples_dir / "signed-x64.exe").read_bytes()
    headers = read_headers(data)
    assert headers is not None
    start = headers.directories["certificate"][0]
    broken = notices_of(data[:start] + NOISE[: len(data) - start])
    assert set(broken) == {"no-signature"}
    assert "no PKCS #7" in broken["no-signature"]


def test_an_overwritten_entry_point() -> None:
    pe = Pe()
    assert "entry-outside" in notices_of(pe.put("<I", pe.pe + 24 + 16, 0xCC00FFEE).bytes())


def second(pe: Pe) -> int:
    """Where the second section is mapped, of a program whose first is at 0x1000."""
    return int(struct.unpack_from("<I", pe.data, pe.section(1) + 12)[0])


def reversed_sections(pe: Pe) -> None:
    rows = [bytes(pe.data[pe.section(i) : pe.section(i + 1)]) for i in range(pe.count)]
    pe.data[pe.table : pe.section(pe.count)] = b"".join(reversed(rows))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (reversed_sections, "its sections are not in the order of their addresses"),
        (lambda pe: pe.put("<I", pe.section(0) + 8, 0x7F000000), ".text ends beyond its image"),
        (
            lambda pe: pe.put("<I", pe.section(0) + 8, second(pe) - 0xFFF),
            "and those before it overlap",
        ),
        (lambda pe: pe.put("<I", pe.pe + 24 + 56, 0x80000000), "an image of 2,147,483,648 bytes"),
        (lambda pe: pe.put("<I", pe.pe + 24 + 56, 0), ".text ends beyond its image of 0 bytes"),
        (
            lambda pe: pe.put("<I", pe.pe + 24 + 96 + 8, 0x7FFF0000),
            "import directory begins at 0x7fff0000, beyond its image of",
        ),
    ],
)
def test_a_program_that_windows_refuses(change: Callable[[Pe], object], why: str) -> None:
    pe = Pe()
    change(pe)
    assert why in notices_of(pe.bytes())["unloadable"]
    efi = put(pe.bytes(), 92, 10)  # read by firmware, which has rules of its own
    assert "unloadable" not in notices_of(efi)


def test_every_rule_that_says_packed_is_named(samples_dir: Path) -> None:
    data = (samples_dir / "packed-x86.exe").read_bytes()
    one = notices_of(data)["packed?"]
    assert "entropy 7.9" in one
    named = notices_of(data.replace(b".pack\0\0\0", b".aspack\0", 1))["packed?"]
    assert "section name .aspack; entropy 7.9" in named
    assert named.endswith("the program in it.")


def test_one_weak_sign_is_none(samples_dir: Path) -> None:
    """A program that starts in its last section, or imports next to nothing, may be a plain one."""
    data = (samples_dir / "driver-x64.sys").read_bytes()
    assert "packed?" not in notices_of(data)
    few = notices_of(put(data, 92, 3))  # a console program with the few imports of the driver
    assert "packed?" not in few
    headers = read_headers(data)
    assert headers is not None
    assert sum(len(library.entries) for library in headers.binary.imports) <= FEW_IMPORTS


def test_two_weak_signs(samples_dir: Path) -> None:
    """With few imports, and the entry point moved into the last section."""
    data = put((samples_dir / "driver-x64.sys").read_bytes(), 92, 3)
    headers = read_headers(data)
    assert headers is not None
    last = max((s for s in headers.sections if s.size), key=lambda section: section.start)
    at = struct.unpack_from("<I", data, 60)[0] + 24 + 16
    moved = data[:at] + struct.pack("<I", last.rva) + data[at + 4 :]
    text = notices_of(moved)["packed?"]
    assert "functions; starts in its last section" in text


def test_imports_beyond_the_end_of_a_file_are_unknown_and_no_sign(samples_dir: Path) -> None:
    data = (samples_dir / "packed-x86.exe").read_bytes()
    headers = read_headers(data)
    assert headers is not None
    rva, _ = headers.directories["import"]
    place = headers.offset_of(rva)
    assert place is not None
    cut = data[: place - place % 512]
    pe = Pe(cut)
    assert "imports" not in notices_of(cut)["packed?"]
    whole = pe.put("<II", pe.pe + 24 + 96 + 8, 0, 0).bytes()
    assert "imports 0 functions" in notices_of(whole)["packed?"]
    inside = data[:place] + bytes(len(data) - place)
    assert "imports 0 functions" in notices_of(inside)["packed?"]


def seven_zip(content: bytes) -> bytes:
    stream = io.BytesIO()
    with py7zr.SevenZipFile(stream, "w") as archive:
        archive.writestr(content, "setup.exe")
    return stream.getvalue()


def zipped(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("setup.exe", content)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("overlay", "name"),
    [
        (seven_zip(NOISE), "7-Zip archive"),
        (zipped(NOISE), "zip archive"),
        (b";!@Install@!UTF-8!;!@InstallEnd@!" + seven_zip(NOISE), "7-Zip archive"),
        (bytes(4) + b"\xef\xbe\xad\xdeNullsoftInst" + NOISE, "NSIS"),
        (NOISE + b"MEI\x0c\x0b\x0a\x0b\x0e" + bytes(80), "PyInstaller"),
    ],
)
def test_what_an_installer_carries(samples_dir: Path, overlay: bytes, name: str) -> None:
    stub = (samples_dir / "console-x86.exe").read_bytes()
    text = notices_of(stub + overlay)["installer"]
    assert name in text
    assert f"{len(overlay) / (len(stub) + len(overlay)):.0%} of the file" in text
    needs = name in ("RAR archive", "cabinet")
    assert text.endswith("looks into where libarchive is installed.") == needs
    assert ("which scan --carve looks into" in text) == (name != "PyInstaller")


def test_an_overlay_that_is_no_installer(samples_dir: Path) -> None:
    stub = (samples_dir / "console-x86.exe").read_bytes()
    assert "installer" not in notices_of(stub + NOISE)
    assert "installer" not in notices_of(stub + zipped(b"short"))  # a resource, or a mark


def test_native_code_of_a_dotnet_program_is_named(samples_dir: Path) -> None:
    made = Pe((samples_dir / "dotnet.exe").read_bytes())
    assert "its code is IL," in notices_of(made.bytes())[".net"]
    headers = read_headers(made.bytes())
    assert headers is not None
    clr = headers.offset_of(headers.directories["clr"][0])
    assert clr is not None
    for at, value in ((16, 0x10), (64, 0x2000)):  # not IL alone; compiled beforehand
        mixed = Pe(made.bytes()).put("<I", clr + at, value).bytes()
        assert "with native code beside its IL" in notices_of(mixed)[".net"]


def test_resources_of_a_dotnet_program_are_no_packer(samples_dir: Path) -> None:
    """They lie in its code section, and may be compressed."""
    made = Pe((samples_dir / "dotnet.exe").read_bytes())
    headers = read_headers(made.bytes())
    assert headers is not None
    clr = headers.offset_of(headers.directories["clr"][0])
    assert clr is not None
    offset, size = made.raw(0)
    added = bytes(np.random.default_rng(0).integers(0, 256, 1 << 16, dtype=np.uint8))
    rva = struct.unpack_from("<I", made.data, made.section(0) + 12)[0]
    # A section of its own place behind all others in the file, and in memory.
    last = len(made.data)
    whole = made.data[offset : offset + size] + added
    made.put("<IIII", made.section(0) + 8, len(whole), rva, len(whole), last)
    made.data += whole
    shifted = bytes(made.data)
    assert "packed?" in notices_of(shifted)
    clr += last - offset
    made.put("<II", clr + 24, rva + size, len(added))
    assert "packed?" not in notices_of(made.bytes())


def test_few_bytes_and_many_zeros(samples_dir: Path) -> None:
    data = (samples_dir / "console-x86.exe").read_bytes()
    padded = notices_of(data + bytes(9 * len(data)))
    assert "9" in padded["mostly-zero"]
    assert "mostly-zero" not in notices_of(data)
    assert set(notices_of(b"MZ" + b"x" * 100)) == {"small"}
    assert set(notices_of(b"")) == {"small"}


@pytest.mark.parametrize("case", sorted(CASES))
def test_hostile_files_are_looked_at(case: str) -> None:
    for text in notices_of(CASES[case]()).values():
        assert text


def test_all_codes_are_documented() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    package = Path(__file__).parents[2] / "maltriage"
    source = "".join(
        path.read_text(encoding="utf-8")
        for path in package.rglob("*.py")
        if path.relative_to(package).parts[0] != "corpus"  # notices of datasets, not of files
    )
    codes = {KNOWN_GOOD, *re.findall(r'Notice\(\s*"([^"]+)"', source)}
    assert codes >= {"packed?", "installer", "truncated", "unmapped", "in-index", "unchecked"}
    assert [code for code in sorted(codes) if f"`{code}`" not in text] == []
