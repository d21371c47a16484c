"""Sections and headers as LIEF, pefile and objdump read them: each difference has a rule.

The rules are those of docs/reference/layout.md, by number.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hostile.corpus import corpus

from maltriage.sample import pe as module
from maltriage.sample.byteplot import pe_offset
from maltriage.sample.pe import MAX_SECTIONS, Headers, Section

FIELDS = ("machine", "subsystem", "bits", "timestamp", "image_base", "entry_rva", "header_size")
PROGRAMS = {name: data for name, data in corpus().items() if pe_offset(data) is not None}


def word(data: bytes, at: int, size: int = 2) -> int:
    return int.from_bytes(data[at : at + size], "little")


def of_no_kind(data: bytes, pe: int) -> bool:
    """Rule 3: neither a 32-bit nor a 64-bit optional header."""
    return word(data, pe + 24) not in (0x10B, 0x20B)


def two_billion_directories(data: bytes, pe: int) -> bool:
    """Rule 4."""
    place = 24 + (108 if word(data, pe + 24) == 0x20B else 92)
    return word(data, pe + place, 4) >= 0x7FFF_FFFF


def unnamed(sections: tuple[Section, ...]) -> Counter[Section]:
    return Counter(replace(section, name="") for section in sections)


def both(data: bytes) -> tuple[Headers | None, Headers | None, int]:
    pe = pe_offset(data)
    assert pe is not None
    return module._by_lief(data, pe), module._by_pefile(data, pe), pe


def test_lief_and_pefile() -> None:
    compared, fewer = 0, []
    for name, data in PROGRAMS.items():
        lief, pefile, pe = both(data)
        assert (lief is None) == (pefile is None), name
        if lief is None or pefile is None or of_no_kind(data, pe):
            continue
        compared += 1
        for field in FIELDS:
            assert getattr(lief, field) == getattr(pefile, field), (name, field)
        if not two_billion_directories(data, pe):
            assert lief.directories == pefile.directories, name
        # Rule 1: pefile sorts them by address. Rule 2: it stops at a row that it cannot believe,
        # and LIEF at a thousand rows.
        ours, theirs = unnamed(lief.sections), unnamed(pefile.sections)
        assert ours >= theirs or len(lief.sections) == MAX_SECTIONS, name
        if ours != theirs:
            fewer.append(name)
    assert compared > 1000
    assert len(fewer) < 60  # most of the corpus is read alike


@pytest.mark.skipif(shutil.which("objdump") is None, reason="needs binutils")
@pytest.mark.slow
def test_objdump(tmp_path: Path) -> None:
    compared = 0
    for name, data in PROGRAMS.items():
        lief, _, pe = both(data)
        if lief is None or of_no_kind(data, pe):
            continue
        path = tmp_path / "x.exe"
        path.write_bytes(data)
        found = subprocess.run(
            ["objdump", "-h", str(path)], capture_output=True, timeout=60, check=False
        )
        if found.returncode:
            continue  # Rule 7: it knows fewer machines and flags than a loader takes.
        rows = [
            line.split()
            for line in found.stdout.decode("latin-1").splitlines()
            if re.match(r"\s*\d+ ", line)
        ]
        theirs = Counter((int(row[-2], 16), int(row[-5], 16)) for row in rows)
        ours: Counter[tuple[int, int]] = Counter()
        for section in lief.sections:
            if section.size:  # Rule 5: of a section without bytes it gives the size in memory,
                # and of others the smaller one.
                size = min(section.size, section.virtual_size) or section.size
                ours[section.start, size] += 1
        if len(lief.sections) == MAX_SECTIONS or not rows:
            continue
        compared += 1
        missing = ours - theirs
        # Rule 6: the loader rounds offsets down to 512 bytes, objdump does not.
        rounded: Counter[tuple[int, int]] = Counter()
        for (at, size), count in theirs.items():
            rounded[at & ~0x1FF, size] += count
        assert not missing - rounded, (name, missing)
    assert compared > 900
