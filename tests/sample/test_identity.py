from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import pefile
import pytest
from hostile.make import CASES, Pe, sample
from hypothesis import given
from hypothesis import strategies as st

from maltriage.sample import pe as pe_module
from maltriage.sample.identity import identify, rich_hash
from maltriage.sample.pe import read_headers
from maltriage.sample.types import Identity


def identity(path: Path, *, hashes: bool = False) -> Identity:
    data = path.read_bytes()
    return identify(data, read_headers(data), hashes=hashes)


def test_hashes(samples_dir: Path) -> None:
    path = samples_dir / "console-x86.exe"
    data = path.read_bytes()
    found = identity(path, hashes=True)
    assert found.sha256 == hashlib.sha256(data).hexdigest()
    assert found.md5 == hashlib.md5(data).hexdigest()
    assert found.sha1 == hashlib.sha1(data).hexdigest()
    assert found.size == len(data)
    plain = identity(path)
    assert (plain.md5, plain.sha1, plain.tlsh) == (None, None, None)


def test_tlsh(samples_dir: Path) -> None:
    tlsh = pytest.importorskip("tlsh", reason="the extra `tlsh` is not installed")
    path = samples_dir / "console-x86.exe"
    assert identity(path, hashes=True).tlsh == tlsh.hash(path.read_bytes())


def test_names_in_the_file(samples_dir: Path) -> None:
    gui = identity(samples_dir / "gui-x86.exe")
    assert gui.version is not None
    assert gui.version.original_name == "gui-x86.exe"
    assert gui.version.company
    assert gui.imphash == pefile.PE(str(samples_dir / "gui-x86.exe")).get_imphash()
    assert identity(samples_dir / "debug-x86.exe").pdb_path.endswith(".pdb")
    assert "maltriage sample" in identity(samples_dir / "signed-x64.exe").signer


def test_the_rich_header_is_hashed_as_pefile_does() -> None:
    key, words = 0x5A17C0DE, (0x536E6144, 0, 0, 0, 0x1057EC1, 3)
    pe = Pe()
    head = struct.pack("<6I", *(word ^ key for word in words)) + struct.pack("<4sI", b"Rich", key)
    stub = bytes(pe.data[:64]).ljust(0x80, b"\0") + head.ljust(0x80, b"\0")
    moved = bytearray(stub) + pe.data[pe.pe :]
    struct.pack_into("<I", moved, 60, len(stub))
    data = bytes(moved)
    assert rich_hash(data) == hashlib.md5(struct.pack("<6I", *words)).hexdigest()
    assert rich_hash(data) == pefile.PE(data=data).get_rich_header_hash("md5")
    assert identify(data, read_headers(data)).rich_hash == rich_hash(data)
    assert rich_hash(Pe().bytes()) is None


@given(st.binary(max_size=200))
def test_no_rich_header_stops_it(junk: bytes) -> None:
    head = bytes(60) + struct.pack("<I", 0x80 + len(junk) + 8)
    rich_hash(b"MZ" + head[2:] + bytes(64) + junk + b"Rich" + junk[:4] + b"PE\0\0")


def test_a_hash_is_no_time() -> None:
    """Where the debug directory says that the build is reproducible."""
    pe = Pe(sample("debug-x86.exe"))
    data = pe.put("<I", pe.pe + 8, 1_000_000_000).bytes()
    assert identify(data, read_headers(data)).compile_time is not None
    headers = read_headers(data)
    assert headers is not None
    rva, _ = headers.directories["debug"]
    at = headers.offset_of(rva)
    assert at is not None
    data = pe.put("<I", at + 12, 16).bytes()
    assert identify(data, read_headers(data)).compile_time is None


def test_both_parsers_say_the_same(samples_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = sorted(samples_dir.glob("*.exe"))
    by_lief = [identity(path) for path in paths]
    monkeypatch.setattr(pe_module, "_by_lief", lambda data, pe: None)
    for path, lief in zip(paths, by_lief, strict=True):
        other = identity(path)
        for field in ("imphash", "rich_hash", "compile_time", "pdb_path", "version"):
            assert getattr(other, field) == getattr(lief, field), (path, field)


@pytest.mark.parametrize("parser", ["lief", "pefile"])
def test_blanks_are_no_version(
    samples_dir: Path, monkeypatch: pytest.MonkeyPatch, parser: str
) -> None:
    """Installers pad the fields that their script leaves empty, and the others too."""
    data = (samples_dir / "gui-x86.exe").read_bytes()
    for said, padded in (
        ("maltriage authors", " " * 17),
        ("maltriage samples", " samples".ljust(17)),
    ):
        data = data.replace(said.encode("utf-16le"), padded.encode("utf-16le"))
    if parser == "pefile":
        monkeypatch.setattr(pe_module, "_by_lief", lambda data, pe: None)
    version = identify(data, read_headers(data)).version
    assert version is not None
    assert (version.company, version.product) == (None, "samples")


@pytest.mark.parametrize("case", sorted(CASES))
def test_hostile_files_have_an_identity(case: str) -> None:
    data = CASES[case]()
    assert identify(data, read_headers(data)).sha256 == hashlib.sha256(data).hexdigest()
