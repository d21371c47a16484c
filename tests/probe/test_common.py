"""Pieces and texts, the index of them, and what it says of bytes."""

from __future__ import annotations

import io
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hostile.make import Pe
from hypothesis import given, settings
from hypothesis import strategies as st

from maltriage.errors import MaltriageError
from maltriage.probe import common
from maltriage.probe.common import (
    COUNT_BITS,
    FORMAT,
    PIECE,
    STEPS,
    About,
    Prevalence,
    check,
    load,
    pieces,
    runs_of,
    save,
    text_keys,
    texts,
)

IMAGE_BASE = 24 + 28
"""Offset of the field from the signature on, of a 32-bit program."""


def noise(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def index_of(*programs: bytes, count: int = 3, packages: int = 9) -> Prevalence:
    """An index in which all pieces and texts of programs are in `count` packages."""
    keys = np.unique(np.concatenate([pieces(data)[1] for data in programs]))
    told = {text for data in programs for text in texts(data)}
    hashes = np.unique(text_keys(told))
    about = About(FORMAT, packages, len(programs), 2, 2)
    return Prevalence(about, keys | np.uint64(count), hashes | np.uint64(count))


def test_a_copy_gives_the_same_pieces_wherever_it_lies() -> None:
    shared = noise(4000)
    first, second = noise(1001, 1) + shared + noise(50, 2), noise(33, 3) + shared
    (at, keys), (there, others) = pieces(first), pieces(second)
    inside = (at >= 1001) & (at + PIECE <= 5001)
    again = (there >= 33) & (there + PIECE <= 4033)
    assert inside.sum() > 200  # one of sixteen
    np.testing.assert_array_equal(keys[inside], others[again])
    np.testing.assert_array_equal(at[inside] - 1001, there[again] - 33)


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=300), st.integers(8, 64))
def test_reading_in_parts_changes_nothing(data: bytes, step: int) -> None:
    whole = pieces(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(common, "_AT_ONCE", step)
        parts = pieces(data)
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (np.diff(whole[0]) > 0).all()


def test_another_address_of_the_same_function_changes_no_piece() -> None:
    """Calls and addresses in the image are left out, so a piece goes over them."""
    body = noise(600)

    def built(base: int, at: int) -> bytes:
        program = Pe()
        program.put("<I", program.pe + IMAGE_BASE, base)
        place, size = program.raw(0)
        code = body[:300] + b"\x68" + (base + 0x1000 + at).to_bytes(4, "little") + body[300:]
        code += b"\xe8" + at.to_bytes(4, "little") + noise(40, 1)
        program.data[place : place + size] = code.ljust(size, b"\0")
        return program.bytes()[: place + size]

    ours = Pe().raw(0)[0]
    first, second = (
        [(at, key) for at, key in zip(*pieces(data), strict=True) if at >= ours]
        for data in (built(0x400000, 16), built(0x10000000, 80))
    )
    assert first == second
    assert len(first) > 25


def test_padding_has_no_pieces() -> None:
    assert not len(pieces(bytes(5000) + b"\xcc" * 5000 + b"\x90\x00" * 2000)[0])


def test_texts_are_the_same_in_both_encodings() -> None:
    said = b"a text of some words"
    assert (
        texts(b"\0" + said + b"\0")
        == texts(b"\xff\xff" + said.decode().encode("utf-16le"))
        == {said}
    )
    assert texts(b"short\0") == set()
    assert texts(b"x" * 500) == {b"x" * 96}


def test_counts_of_what_is_there_and_not() -> None:
    data = noise(4000)
    index = index_of(data + b"\0a text of some words\0", count=77)
    assert set(index.count_pieces(pieces(data)[1]).tolist()) == {77}
    assert not index.count_pieces(pieces(noise(4000, 5))[1]).any()
    assert index.count_texts([b"a text of some words", b"another text"]).tolist() == [77, 0]
    nothing = Prevalence(index.about, index.pieces[:0], index.texts[:0])
    assert not nothing.count_pieces(pieces(data)[1]).any()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(20, 400)), max_size=6))
def test_runs_lie_apart_and_within(parts: list[tuple[int, int]]) -> None:
    shared = noise(400) + b"\0the text of a runtime\0"
    index = index_of(shared)
    data = b"".join(
        shared[:size] if kind == 0 else noise(size, size) if kind == 1 else bytes(size)
        for kind, size in parts
    )
    runs = runs_of(data, index)
    flat = runs.ranges.ravel()
    assert (np.diff(flat) >= 0).all()
    assert not len(flat) or 0 <= flat[0] <= flat[-1] <= len(data)
    assert (runs.ranges[:, 1] > runs.ranges[:, 0]).all()
    assert len(runs.counts) == len(runs.texts) == len(runs.ranges)
    for (low, high), text in zip(runs.ranges.tolist(), runs.texts.tolist(), strict=True):
        assert not text or data[low:high] == b"the text of a runtime"


def test_runs_are_where_the_copy_is() -> None:
    shared = noise(3000)
    runs = runs_of(noise(2000, 7) + shared + noise(2000, 8), index_of(shared, count=5))
    assert 2000 <= runs.ranges.min() < 2150
    assert 4850 < runs.ranges.max() <= 5000
    assert (runs.ranges[:, 1] - runs.ranges[:, 0]).sum() > 2500
    assert (set(runs.counts.tolist()), runs.packages) == ({5}, 9)
    text = b"\xff" * 40 + b"the text of a runtime" + b"\xff" * 40
    assert runs_of(text, index_of(text)).ranges.tolist() == [[40, 61]]


def test_a_text_is_one_where_pieces_around_it_are_known_too() -> None:
    block = noise(500) + b"\0the text of a runtime\0" + noise(500, 3)
    runs = runs_of(block, index_of(block))
    place = runs.ranges.tolist().index([501, 522])
    assert runs.texts[place]
    assert 0 < place < len(runs.ranges) - 1
    assert not runs.texts.all()
    assert (runs.ranges[1:, 0] >= runs.ranges[:-1, 1]).all()


def test_an_index_is_read_as_it_was_written(tmp_path: Path) -> None:
    index = index_of(noise(4000) + b"\0a text of some words\0")
    save(index, tmp_path / "a.npz")
    found = load(tmp_path / "a.npz")
    assert found.about == index.about
    np.testing.assert_array_equal(found.pieces, index.pieces)
    np.testing.assert_array_equal(found.texts, index.texts)


@pytest.mark.parametrize("read", [load, check])
@pytest.mark.parametrize("what", ["missing", "other", "cut", "version", "more"])
def test_what_is_no_index_is_refused(tmp_path: Path, what: str, read: Any) -> None:
    path = tmp_path / f"{what}.npz"
    index = index_of(noise(4000))
    if what == "other":
        path.write_bytes(b"MZ and no index")
    elif what == "version":
        save(Prevalence(About(FORMAT + 1, 9, 1, 2, 2), index.pieces, index.texts), path)
    elif what == "more":
        about = msgspec.json.encode({**msgspec.to_builtins(index.about), "more": 1})
        np.savez_compressed(path, about=np.frombuffer(about, np.uint8))
    elif what == "cut":
        save(index, path)
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(MaltriageError, match=re.escape(str(path))):
        read(path)


@pytest.mark.parametrize("packages", [-3, 0, 2])
def test_more_packages_than_there_are_is_refused(tmp_path: Path, packages: int) -> None:
    save(index_of(noise(4000), packages=packages), tmp_path / "a.npz")
    with pytest.raises(MaltriageError, match=r"a\.npz: no index of clean programs"):
        load(tmp_path / "a.npz")


def hostile(tmp_path: Path, case: str) -> Path:
    """An index in another form than `save` gives it."""
    path, index = tmp_path / "index.npz", index_of(noise(4000) + b"\0a text of some words\0")
    save(index, path)
    data = bytearray(path.read_bytes())
    with np.load(path) as archive:
        arrays = dict(archive)
    at = data.index(b"about.npy") + 60
    if case == "plain":
        with path.open("wb") as file:
            np.save(file, np.zeros(4))
    elif case == "zeros":
        np.savez_compressed(path, **{**arrays, "pieces_high": np.zeros(1 << 22, np.uint8)})
    elif case == "ones":
        arrays["pieces_high"] = np.full(1 << 19, 255, np.uint8)
        np.savez_compressed(path, **arrays)
    elif case == "bzip2":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
            for name, values in arrays.items():
                buffer = io.BytesIO()
                np.save(buffer, values)
                archive.writestr(f"{name}.npy", buffer.getvalue())
    elif case == "pipe":
        path.unlink()
        if not hasattr(os, "mkfifo"):
            pytest.skip("this system has no FIFOs")
        os.mkfifo(path)
    else:
        places = {"encrypted": 8, "method": 10}
        if case in places:
            at = data.index(b"PK\x01\x02") + places[case]
        if case == "pieces":
            at = data.index(b"pieces_high.npy") + 60
        data[at : at + 1] = b"\x63"
        path.write_bytes(data)
    return path


CASES = ("plain", "bzip2", "zeros", "pipe", "encrypted", "method", "about")


@pytest.mark.parametrize("read", [load, check])
@pytest.mark.parametrize("case", CASES)
def test_a_hostile_index_is_one_line(tmp_path: Path, case: str, read: Any) -> None:
    load.cache_clear()
    with pytest.raises(MaltriageError, match=r"index\.npz: no "):
        read(hostile(tmp_path, case))


@pytest.mark.parametrize("case", ["pieces", "ones"])
def test_damage_in_the_entries_is_found_as_they_are_read(tmp_path: Path, case: str) -> None:
    load.cache_clear()
    path = hostile(tmp_path, case)
    check(path)
    with pytest.raises(MaltriageError, match=r"index\.npz: no index of clean programs"):
        load(path)


def test_a_check_takes_an_index_and_no_entries_of_it(tmp_path: Path) -> None:
    path = tmp_path / "index.npz"
    save(index_of(noise(4000)), path)
    check(path)
    with np.load(path) as archive:
        about = archive["about"]
    np.savez_compressed(path, about=about)
    check(path)
    with pytest.raises(MaltriageError, match="no index of clean programs"):
        load(path)


def test_an_index_of_the_format_before_is_read(tmp_path: Path) -> None:
    """Steps from hash to hash: what `prevalence build` of earlier versions wrote."""
    index, path = index_of(noise(4000) + b"\0a text of some words\0"), tmp_path / "old.npz"
    arrays = {}
    for name, entries in (("pieces", index.pieces), ("texts", index.texts)):
        steps = np.diff(entries >> np.uint64(COUNT_BITS), prepend=np.uint64(0))
        arrays[f"{name}_low"] = steps.astype(np.uint32)
        arrays[f"{name}_high"] = (steps >> np.uint64(32)).astype(np.uint8)
        arrays[f"{name}_counts"] = (entries & np.uint64(4095)).astype(np.uint16)
    about = msgspec.json.encode(msgspec.structs.replace(index.about, format=STEPS))
    np.savez_compressed(path, about=np.frombuffer(about, np.uint8), **arrays)
    found = load(path)
    assert found.about == index.about
    np.testing.assert_array_equal(found.pieces, index.pieces)
    np.testing.assert_array_equal(found.texts, index.texts)
    arrays["pieces_low"][1] = arrays["pieces_high"][1] = 0
    np.savez_compressed(path, about=np.frombuffer(about, np.uint8), **arrays)
    load.cache_clear()
    with pytest.raises(MaltriageError, match="not in order"):
        load(path)


@pytest.mark.parametrize("format", [STEPS, FORMAT])
@pytest.mark.parametrize("case", ["kind", "shape"])
def test_arrays_of_other_kinds_and_shapes_are_refused(
    tmp_path: Path, format: int, case: str
) -> None:
    index, path = index_of(noise(4000)), tmp_path / "index.npz"
    if format == FORMAT:
        save(index, path)
        with np.load(path) as archive:
            arrays = dict(archive)
    else:
        about = msgspec.json.encode(msgspec.structs.replace(index.about, format=STEPS))
        arrays = {"about": np.frombuffer(about, np.uint8)}
        for name in ("pieces", "texts"):
            arrays[f"{name}_low"] = np.array([5, 6], dtype=np.uint32)
            arrays[f"{name}_high"] = np.zeros(2, dtype=np.uint8)
            arrays[f"{name}_counts"] = np.ones(2, dtype=np.uint16)
    np.savez_compressed(path, **arrays)
    load(path)
    counts = arrays["texts_counts"]
    wrong = counts.astype(np.uint32) if case == "kind" else np.concatenate((counts, counts))
    np.savez_compressed(path, **{**arrays, "texts_counts": wrong})
    load.cache_clear()
    with pytest.raises(MaltriageError, match="no index of clean programs: other arrays"):
        load(path)


def test_a_count_fits_its_bits() -> None:
    assert (
        int(
            index_of(noise(400), count=(1 << COUNT_BITS) - 1)
            .count_pieces(pieces(noise(400))[1])
            .min()
        )
        == 4095
    )


def test_hashes_are_those_of_the_indexes_that_are_there() -> None:
    at, keys = pieces(bytes(range(256)))
    assert (at[:3].tolist(), [hex(key) for key in keys[:3].tolist()]) == (
        [79, 89, 130],
        ["0x4a85f0665000", "0x3835659d75000", "0xea09afe42f000"],
    )
    assert hex(text_keys([b"a text of some words"])[0]) == "0x82469b76b7000"
