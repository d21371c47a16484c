"""What is in a store, and taking it away."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from maltriage.errors import MaltriageError
from maltriage.results import upkeep
from maltriage.results.sqlite_file import FILE_NAME
from maltriage.results.store import Batch, Settings, Store

DAY = 24 * 3600


def settings(digest: bytes, model: str = "net") -> Settings:
    return Settings(digest * 32, model, model * 8, "1.4", "0.1.0")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Ten results of one model, used 0 to 9 days ago, and one of another."""
    made = Store.open(tmp_path / "results", pytest.fail)
    assert made is not None
    contents = [b"%d" % number * 32 for number in range(10)]
    results = [(content, 7, os.urandom(10_000)) for content in contents]
    files = [(content[:2], b"t", content) for content in contents]
    made.write(Batch(results, files), settings(b"a"))
    for number, content in enumerate(contents):
        made.connection.execute(
            "UPDATE results SET used = used - ? WHERE content = ?", (number * DAY, content)
        )
    made.write(Batch([(contents[0], 7, b"x" * 500)], []), settings(b"b", "other"))
    made.write(Batch([(contents[0], 7, b"x" * 500)], []), settings(b"c", "other"))
    return made


def test_info(store: Store) -> None:
    found = upkeep.info(store)
    assert (found.results, found.files) == (12, 10)
    assert found.path == str(store.path)
    assert found.size > 100_000
    kept = {entry.model.name: entry for entry in found.models}
    assert (kept["net"].results, kept["net"].settings, kept["net"].bytes) == (10, 1, 100_000)
    assert (kept["other"].results, kept["other"].settings, kept["other"].bytes) == (2, 2, 1000)


def test_prune_by_age_and_by_size(store: Store) -> None:
    before = upkeep.info(store).size
    assert upkeep.prune(store, 5 * DAY, None) == 5
    found = upkeep.info(store)
    assert (found.results, found.files) == (7, 5)
    assert found.size < before
    # The two small ones were used last, and then the youngest of the large ones.
    assert upkeep.prune(store, None, 21_500) == 3
    left = store.connection.execute("SELECT length(record) FROM results ORDER BY used").fetchall()
    assert sorted(left) == [(500,), (500,), (10_000,), (10_000,)]
    assert upkeep.prune(store, 100 * DAY, 1 << 40) == 0
    assert upkeep.prune(store, None, 0) == 4
    found = upkeep.info(store)
    assert (found.results, found.files, found.models) == (0, 0, [])


def test_clear(store: Store) -> None:
    assert upkeep.clear(store) == 12
    assert upkeep.info(store).results == 0
    assert upkeep.clear(store) == 0
    store.write(Batch([(b"n" * 32, 7, b"new")], []), settings(b"a"))
    assert upkeep.info(store).results == 1


def test_a_store_that_cannot_be_had_is_an_error(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    said: list[str] = []
    with (
        pytest.raises(MaltriageError, match=r"the kept results in .* cannot be used"),
        upkeep.opened(tmp_path, said.append),
    ):
        pass
    assert len(said) == 1
