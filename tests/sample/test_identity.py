from __future__ import annotations

import hashlib
from pathlib import Path

import pefile
import pytest
from hostile.make import CASES

from maltriage.sample import pe as pe_module
from maltriage.sample.identity import identify
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


def test_both_parsers_say_the_same(samples_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = sorted(samples_dir.glob("*.exe"))
    by_lief = [identity(path) for path in paths]
    monkeypatch.setattr(pe_module, "_by_lief", lambda data, pe: None)
    for path, lief in zip(paths, by_lief, strict=True):
        other = identity(path)
        for field in ("imphash", "rich_hash", "compile_time", "pdb_path", "version"):
            assert getattr(other, field) == getattr(lief, field), (path, field)


@pytest.mark.parametrize("case", sorted(CASES))
def test_hostile_files_have_an_identity(case: str) -> None:
    data = CASES[case]()
    assert identify(data, read_headers(data)).sha256 == hashlib.sha256(data).hexdigest()
