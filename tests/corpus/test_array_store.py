"""Folders of arrays: what is kept, what goes, and two that build the same."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maltriage.corpus import array_store

COLUMNS: array_store.Columns = {"name": ("U4", ()), "pixels": ("u1", (2, 3))}


def manifest(files: int, dataset: str = "folder") -> array_store.Manifest:
    return array_store.Manifest(
        dataset=dataset, root="/data", goodware=None, views=("body",), files=files, rejects=()
    )


def build(place: Path | None, rows: int, dataset: str = "folder") -> array_store.Arrays:
    with array_store.Builder(place, COLUMNS, rows) as builder:
        for i in range(rows):
            builder.append({"name": f"n{i}", "pixels": np.full((2, 3), i % 256)})
        return builder.commit(manifest(rows, dataset))


def key(number: int) -> str:
    return f"{number:064x}"


@given(rows=st.integers(0, 300))
def test_memory_holds_what_a_folder_holds(
    tmp_path_factory: pytest.TempPathFactory, rows: int
) -> None:
    """The number of rows is known only at the end: the header has room for it."""
    place = tmp_path_factory.mktemp("store") / key(0)
    written, held = build(place, rows), build(None, rows)
    stored = array_store.read(place, COLUMNS)
    assert stored is not None
    assert stored[0] == manifest(rows)
    for name, array in held.items():
        assert array.shape[0] == rows
        np.testing.assert_array_equal(written[name], array)
        np.testing.assert_array_equal(np.load(place / f"{name}.npy"), array)


def test_a_row_of_another_shape(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="a row of shape"),
        array_store.Builder(tmp_path / key(0), COLUMNS, 1) as builder,
    ):
        builder.append({"name": "a", "pixels": np.zeros((3, 2))})
    assert list(tmp_path.iterdir()) == []


def test_two_that_build_the_same(tmp_path: Path) -> None:
    """The first one to end is kept, and both read it."""
    place = tmp_path / key(0)
    with array_store.Builder(place, COLUMNS, 1) as slow:
        slow.append({"name": "s", "pixels": np.zeros((2, 3))})
        build(place, 1)
        arrays = slow.commit(manifest(1))
    assert arrays["name"].tolist() == ["n0"]
    assert list(tmp_path.iterdir()) == [place]


def test_other_columns_are_another_cache(tmp_path: Path) -> None:
    build(tmp_path / key(0), 2)
    assert array_store.read(tmp_path / key(0), COLUMNS) is not None
    for columns in (
        {**COLUMNS, "more": ("u1", ())},
        {**COLUMNS, "pixels": ("u1", (3, 2))},
        {**COLUMNS, "name": ("U8", ())},
    ):
        assert array_store.read(tmp_path / key(0), columns) is None


@pytest.mark.parametrize("name", ["pixels.npy", "name.npy", "manifest.json"])
@pytest.mark.parametrize("damage", [b"", b"no array", b"half", None])
def test_a_damaged_cache_is_none(tmp_path: Path, name: str, damage: bytes | None) -> None:
    build(tmp_path / key(0), 3)
    stored = tmp_path / key(0) / name
    whole = stored.read_bytes()
    stored.unlink()
    if damage is not None:
        stored.write_bytes(whole[: len(whole) // 2] if damage == b"half" else damage)
    assert array_store.read(tmp_path / key(0), COLUMNS) is None
    assert build(tmp_path / key(0), 3)["name"].tolist() == ["n0", "n1", "n2"]
    assert stored.read_bytes() == whole


def test_the_ones_used_longest_ago_go(tmp_path: Path) -> None:
    for i in range(array_store.KEPT_CACHES):
        build(tmp_path / key(i), 1)
        os.utime(tmp_path / key(i) / array_store.MANIFEST, (i, i))
    assert array_store.read(tmp_path / key(0), COLUMNS) is not None  # used just now
    for i in (100, 101):
        build(tmp_path / key(i), 1)
    kept = {cached.folder.name for cached in array_store.caches(tmp_path)}
    assert kept == {key(i) for i in (0, *range(3, array_store.KEPT_CACHES), 100, 101)}


def test_a_new_cache_stays_where_the_clock_went_back(tmp_path: Path) -> None:
    for i in range(array_store.KEPT_CACHES):
        build(tmp_path / key(i), 1)
        later = time.time() + 3600 + i
        os.utime(tmp_path / key(i) / array_store.MANIFEST, (later, later))
    build(tmp_path / key(100), 1)
    kept = {cached.folder.name for cached in array_store.caches(tmp_path)}
    assert kept == {key(i) for i in (*range(1, array_store.KEPT_CACHES), 100)}


def test_nothing_but_its_own_is_touched(tmp_path: Path) -> None:
    """The folder of the cache may be one that holds more."""
    for name in ("mine", "mine.part", key(1) + ".part", "data.npz"):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (0, 0))
    (tmp_path / f"{key(2)}.npz").touch()  # of an earlier version
    build(tmp_path / key(0), 1)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"mine", "mine.part", key(1) + ".part", "data.npz", key(0)}


def test_what_is_cached(tmp_path: Path) -> None:
    assert array_store.caches(tmp_path / "nowhere") == []
    build(tmp_path / key(0), 3, "vx-zoo")
    (tmp_path / key(1)).mkdir()  # damaged
    (found,) = array_store.caches(tmp_path)
    assert found.manifest.dataset == "vx-zoo"
    assert found.size == sum(path.stat().st_size for path in (tmp_path / key(0)).iterdir())
