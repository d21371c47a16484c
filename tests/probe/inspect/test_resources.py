from __future__ import annotations

import struct
import time

import pefile
import pytest
from hostile.make import CASES, Pe, sample
from hypothesis import given
from hypothesis import strategies as st

from maltriage.probe.inspect import resources
from maltriage.probe.inspect.image import Image


@pytest.mark.parametrize("name", ["gui-x86.exe", "dotnet.exe"])
def test_leaves_are_those_that_pefile_reads(name: str) -> None:
    data = sample(name)
    pe = pefile.PE(data=data)
    theirs = set()
    for kind in pe.DIRECTORY_ENTRY_RESOURCE.entries:
        for item in kind.directory.entries:
            for leaf in item.directory.entries:
                place = leaf.data.struct
                start = pe.get_offset_from_rva(place.OffsetToData)
                theirs.add((kind.id, item.id, leaf.id, start, start + place.Size))
    ours = set()
    for leaf in resources.leaves(Image(data)):
        kind = pefile.RESOURCE_TYPE[f"RT_{leaf.type}"]
        language = int(leaf.language[leaf.language.index("0x") :].rstrip(")"), 16)
        ours.add((kind, int(leaf.name[1:]), language, leaf.start, leaf.end))
    assert ours == theirs
    assert ours


def test_languages_have_names() -> None:
    found = {leaf.type: leaf.language for leaf in resources.leaves(Image(sample("gui-x86.exe")))}
    assert found["DIALOG"] == "english us (0x409)"
    assert resources.leaves(Image(sample("dotnet.exe")))[0].language == "neutral (0x0)"


def tree(*words: int) -> bytes:
    """gui-x86.exe with a resource tree of these double words."""
    pe = Pe(sample("gui-x86.exe"))
    place = Image(pe.bytes()).directory("resource")
    assert place is not None
    raw = struct.pack(f"<{len(words)}I", *words)
    pe.data[place[0] : place[0] + len(raw)] = raw
    return pe.bytes()


def test_names_of_the_sample_and_a_leaf_outside() -> None:
    place = Image(sample("gui-x86.exe")).directory("resource")
    rva = Image(sample("gui-x86.exe")).headers.directories["resource"][0]  # type: ignore[union-attr]
    assert place is not None
    name = "a\u202eb\x1b"
    head = (0, 0, 0, 1, 0x8000_0000 | 64, 48, 0, 0, 0, 0, 0, 0)
    leaf = (rva + 4, 12, 0, 0)
    data = bytearray(tree(*head, *leaf))
    raw = struct.pack("<H", len(name)) + name.encode("utf-16le")
    data[place[0] + 64 : place[0] + 64 + len(raw)] = raw
    (found,) = resources.leaves(Image(bytes(data)))
    assert (found.type, found.name, found.language) == (name, "", "")
    assert (found.start, found.end) == (place[0] + 4, place[0] + 16)
    assert resources.leaves(Image(tree(*head[:5], 48, *head[6:], 0xFFFF_0000, 12, 0, 0))) == []
    long = resources.MAX_NAME + 1
    raw = struct.pack("<H", long) + ("b" * long).encode("utf-16le")
    data[place[0] + 64 : place[0] + 64 + len(raw)] = raw
    (found,) = resources.leaves(Image(bytes(data)))
    assert found.type == "b" * resources.MAX_NAME + "…"


def test_loops_and_wide_trees_end() -> None:
    resources.leaves(Image(CASES["resource_loop"]()))
    loop = tree(0, 0, 0, 0xFFFF_0000, *[10, 0x8000_0000] * 100)
    start = time.process_time()
    resources.leaves(Image(loop))
    assert time.process_time() - start < 2.0


@given(st.binary(min_size=64, max_size=2048))
def test_any_bytes_are_read(junk: bytes) -> None:
    data = tree(*struct.unpack(f"<{len(junk) // 4}I", junk[: len(junk) // 4 * 4]))
    for leaf in resources.leaves(Image(data)):
        assert 0 <= leaf.start < leaf.end <= len(data)
        assert len(leaf.type) <= 8 * resources.MAX_NAME


@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from([0, 16, 24, 40])), max_size=40))
def test_any_small_tree_is_read(entries: list[tuple[int, int]]) -> None:
    """Directories that share and contain each other, which random bytes hardly ever are."""
    words = [0, 0, 0, len(entries) << 16]
    for key, target in entries:
        words += [key, 0x8000_0000 | target if key % 3 else target]
    leaves = resources.leaves(Image(tree(*words)))
    assert len(leaves) <= resources.MAX_ENTRIES


@pytest.mark.parametrize(
    ("language", "called"),
    [
        (0x409, "english us (0x409)"),
        (0x407, "german (0x407)"),
        (0x411, "japanese (0x411)"),
        (0x415, "polish (0x415)"),
        (0x40D, "hebrew (0x40d)"),
        (0x4009, "english (0x4009)"),
        (0x400C, "french (0x400c)"),
        (0x9, "english (0x9)"),
        (0, "neutral (0x0)"),
        (0x3FF, "0x3ff"),
    ],
)
def test_languages_are_not_those_of_another(language: int, called: str) -> None:
    assert resources._key(b"", 0, language, 2) == called
