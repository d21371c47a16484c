"""Programs as they were before UPX packed them: real ones, tampered ones, hostile ones."""

from __future__ import annotations

import hashlib
import random
import shutil
import struct
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from source.upx.repack import PROGRAMS, headers_in, image_of, lists_in, repacked

from maltriage.sample.errors import SampleError
from maltriage.source.archive.limits import Archives
from maltriage.source.upx import unpack as unpacking
from maltriage.source.upx.packed import packed_by_upx
from maltriage.source.upx.unpack import take_unpacked, unpack

SAMPLES = Path(__file__).parents[3] / "samples"
MOST = 1 << 20
BY_UPX = {
    "console-x86.nrv2b.exe": "0f63f27261c59d8c708e29b6fbe52684170945291af6be1962c52bb9eff1d460",
    "gui-x86.nrv2e.exe": "b92db21c00a2e59fbdd6e077248521fd7d4d2d0fdac6bb1e38d627942b489cf5",
    "library-x64.nrv2d.dll": "bb94389b701ba3f84d35742a344705fecaa8a2dc49fb0c7c62288f147450acb0",
    "signed-x64.lzma.exe": "3d213eca36efa6179cc5c98094c772faeea0f8f730ca8b5481045a9fb8a91c25",
}
"""Programs of samples/ that UPX 4.2.4 packed (`upx -f --nrv2b` and so on), and the SHA-256 of what
`upx -d` makes of each. UPX's licence lets anyone share its loader in a program that it packed."""


def program(name: str) -> bytes:
    return (PROGRAMS / name).read_bytes()


def parsed(data: bytes) -> Any:
    import lief

    return lief.PE.parse(list(data))


def unpacked(data: bytes, most: int = MOST) -> bytes:
    found = packed_by_upx(data)
    assert found is not None
    return unpack(data, found, most)


@pytest.mark.parametrize("name", BY_UPX)
def test_as_upx_itself(name: str) -> None:
    assert hashlib.sha256(unpacked(program(name))).hexdigest() == BY_UPX[name]


@pytest.mark.parametrize("name", BY_UPX)
def test_as_it_was(name: str) -> None:
    """Sections are those of the sample, but for tables that UPX lays out anew."""
    stem, _, ending = name.split(".")
    before = parsed((SAMPLES / f"{stem}.{ending}").read_bytes())
    after = parsed(unpacked(program(name)))
    assert [s.name for s in after.sections] == [s.name for s in before.sections]
    for old, new in zip(before.sections, after.sections, strict=True):
        if old.name not in (".rsrc", ".idata", ".reloc", ".rdata"):
            assert bytes(new.content) == bytes(old.content)
    assert tables_of(after) == tables_of(before)
    assert after.has_resources == before.has_resources


def tables_of(pe: Any) -> tuple[list[object], list[object], list[object]]:
    """Imports (UPX writes `KERNEL32.DLL` in capitals), exports, and addresses of relocations."""
    exported = pe.get_export().entries if pe.has_exports else []
    return (
        [(lib.name.lower(), [f.name or f.ordinal for f in lib.entries]) for lib in pe.imports],
        [(f.name, f.address) for f in exported],
        [entry.address for block in pe.relocations for entry in block.entries],
    )


@pytest.mark.skipif(shutil.which("upx") is None, reason="no UPX")
@pytest.mark.parametrize("way", ["--nrv2b", "--nrv2d", "--nrv2e", "--lzma"])
def test_every_sample(way: str, tmp_path: Path) -> None:
    for sample in sorted([*SAMPLES.glob("*-x*.exe"), *SAMPLES.glob("*.dll")]):
        packed, wanted = tmp_path / f"{sample.name}.packed", tmp_path / f"{sample.name}.out"
        line = ["upx", "-qqf", way, "-o", packed, sample]
        if sample.stem.startswith(("damaged", "truncated")):
            continue
        subprocess.run(line, check=True)
        subprocess.run(["upx", "-qqd", "-o", wanted, packed], check=True)
        assert unpacked(packed.read_bytes()) == wanted.read_bytes(), sample


def test_what_is_behind_it_stays() -> None:
    name = "console-x86.nrv2b.exe"
    assert unpacked(program(name) + b"behind it") == unpacked(program(name)) + b"behind it"


def test_repacked_is_the_same() -> None:
    for name in BY_UPX:
        data = program(name)
        assert unpacked(repacked(data, image_of(data))) == unpacked(data)


def test_nothing_of_upx() -> None:
    for data in (
        b"",
        b"MZ",
        b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0",
        (SAMPLES / "console-x86.exe").read_bytes(),
        program("console-x86.nrv2b.exe").replace(b"UPX!", b"XPU!"),
        program("console-x86.nrv2b.exe")[:1100],
    ):
        assert packed_by_upx(data) is None
    with pytest.raises(SampleError, match="nothing packed by UPX at 0x400"):
        take_unpacked((SAMPLES / "console-x86.exe").read_bytes(), 0x400, MOST, Archives())


def test_other_bytes_are_damage() -> None:
    data = program("signed-x64.lzma.exe")
    found = packed_by_upx(data)
    assert found is not None
    for at in range(found.at, found.at + found.packed_size, 97):
        wrong = bytearray(data)
        wrong[at] ^= 0x10
        with pytest.raises(SampleError) as raised:
            unpack(bytes(wrong), found, MOST)
        assert (raised.value.code, raised.value.failed) == ("damaged-archive", True)


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    data = program("console-x86.nrv2b.exe")
    with pytest.raises(
        SampleError, match="UPX packed 42403 bytes, above the limit of 20000"
    ) as raised:
        unpacked(data, 20_000)
    assert (raised.value.code, raised.value.failed) == ("too-large", False)
    found = packed_by_upx(data)
    assert found is not None
    with pytest.raises(SampleError, match="--max-unpacked") as raised:
        unpack(data, found, MOST, Archives(unpacked=42_402))
    assert (raised.value.code, raised.value.failed) == ("archive-size", False)
    monkeypatch.setattr(unpacking, "MAX_PACKED_BY_NRV", 1000)
    with pytest.raises(SampleError, match="by NRV, of which at most 1000 are read"):
        unpacked(data)
    unpacked(program("signed-x64.lzma.exe"))


def test_a_section_at_the_end_of_the_world() -> None:
    data = program("console-x86.nrv2b.exe")
    image = bytearray(image_of(data))
    at = headers_in(image) + 24 + 224 + 20
    struct.pack_into("<I", image, at, 0xFFFFFE00)
    with pytest.raises(SampleError, match="larger than what is read"):
        unpacked(repacked(data, bytes(image)))


def test_a_table_that_was_broken_hides_nothing_else() -> None:
    """Malware changes the lists that UPX reads; the program does not need them to run."""
    data = program("gui-x86.nrv2e.exe")
    image = bytearray(image_of(data))
    struct.pack_into("<I", image, lists_in(image), 0xFFFFFF00)
    whole, found = unpacked(data), unpacked(repacked(data, bytes(image)))
    assert len(found) == len(whole)
    before, after = (parsed(made) for made in (whole, found))
    assert bytes(after.get_section(".text").content) == bytes(before.get_section(".text").content)
    assert after.has_resources


@pytest.mark.parametrize("what", ["imports", "relocations", "branches", "names"])
def test_lists_without_end(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a few bytes make endless is left out, and soon."""
    data = program("console-x86.nrv2b.exe")
    image = bytearray(image_of(data))
    head, lists = headers_in(image), lists_in(image)
    many = 6 << 20
    start = len(image)
    if what == "imports":
        filled = struct.pack("<II", 1, 0) + b"\1\0" * (many // 2)
        struct.pack_into("<I", image, lists, start)
    elif what == "names":
        filled = (struct.pack("<II", 1, 0) + b"\1" + b"x" * 4000) * (many // 4009)
        struct.pack_into("<I", image, lists, start)
    elif what == "relocations":
        filled = b"\1" * many
        struct.pack_into("<I", image, lists + 8, start)
        struct.pack_into("<II", image, head + 120 + 40, 0x1000, 100)
    else:
        filled = b"\xe8" * many
        struct.pack_into("<I", image, head + 28, start + many)
        monkeypatch.setattr("maltriage.source.upx.filters.MAX_BRANCHES", 1 << 16)
    began = time.monotonic()
    made = unpacked(repacked(data, bytes(image) + filled + bytes(8) + image[-4:]), 1 << 24)
    assert len(made) == len(unpacked(data))
    assert time.monotonic() - began < 30


def test_resources_that_point_at_each_other() -> None:
    data = bytearray(program("gui-x86.nrv2e.exe"))
    pe = parsed(bytes(data))
    tree = pe.sections[-1].pointerto_raw_data
    struct.pack_into("<I", data, tree + 16 + 4, 1 << 31)  # the first folder is its own
    assert unpacked(bytes(data))[:2] == b"MZ"


@settings(max_examples=150)
@given(st.randoms(use_true_random=False), st.sampled_from(sorted(BY_UPX)), st.booleans())
def test_any_damage(chance: random.Random, name: str, inside: bool) -> None:
    """Of headers and tables that are packed, and of those of the file: an answer, or one error."""
    data = program(name)
    raw = bytearray(image_of(data) if inside else data)
    begin = headers_in(bytes(raw)) if inside else 0
    for _ in range(chance.choice((1, 2, 8))):
        at = chance.randrange(chance.choice((0, begin)), len(raw))
        raw[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    changed = repacked(data, bytes(raw)) if inside else bytes(raw)
    found = packed_by_upx(changed)
    if found is None:
        return
    with suppress(SampleError):
        assert len(unpack(changed, found, MOST)) <= MOST
