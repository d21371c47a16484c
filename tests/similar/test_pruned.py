"""Passing over most of a large index finds what comparing with all of it finds."""

from __future__ import annotations

import numpy as np
import pytest

from maltriage import bundle as bundles
from maltriage.bundle import Bundle
from maltriage.report.documents.record import Similar
from maltriage.similar import index as indexes
from maltriage.similar import search
from maltriage.similar.pruned import Pruned
from maltriage.similar.search import Searcher

FILES, DIMENSIONS = 3000, 96


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return bundles.load(bundles.resolve(None))


def in_few_directions(count: int, seed: int) -> np.ndarray:
    """Vectors as embeddings are: most of their length in some of the directions."""
    generator = np.random.default_rng(seed)
    width = np.exp(-np.arange(DIMENSIONS) / 8)
    turned, _ = np.linalg.qr(np.random.default_rng(99).normal(size=(DIMENSIONS, DIMENSIONS)))
    return ((generator.normal(size=(count, DIMENSIONS)) * width) @ turned).astype(np.float32)


def filling_all(count: int, seed: int) -> np.ndarray:
    """Vectors of which the bound tells nothing."""
    return np.random.default_rng(seed).normal(size=(count, DIMENSIONS)).astype(np.float32)


def copies(count: int, seed: int) -> np.ndarray:
    return np.repeat(in_few_directions(2, seed), (count + 1) // 2, axis=0)[:count]


def searchers(
    bundle: Bundle, vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> tuple[Searcher, Searcher]:
    """One that compares with all, and one that does not."""
    names = [f"{i * 7919 % FILES:064x}" for i in range(len(vectors))]
    index = indexes.grown(indexes.empty(bundle), names, ["gbot"] * len(names), vectors).index
    plain = Searcher(index)
    monkeypatch.setattr(search, "PRUNED_FROM", 1)
    return plain, Searcher(index)


def distances(similar: Similar) -> list[float]:
    return [near.distance for near in similar.nearest]


def narrow(count: int, seed: int) -> np.ndarray:
    """Of fewer dimensions than are looked at."""
    return filling_all(count, seed)[:, :8].copy()


@pytest.mark.parametrize("made", [in_few_directions, filling_all, copies, narrow])
def test_it_finds_the_same(bundle: Bundle, made: object, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = made(FILES, 0)  # type: ignore[operator]
    plain, pruned = searchers(bundle, vectors, monkeypatch)
    asked = np.concatenate((made(20, 1), vectors[:20], vectors[-20:]))  # type: ignore[operator]
    known = [*plain.index.sha256[:10], *plain.index.sha256[-10:]]
    names = ["f" * 64] * 20 + known[:10] + ["f" * 64] * 20 + known[10:]
    for one, other in zip(plain.search(asked, names), pruned.search(asked, names), strict=True):
        assert distances(other) == pytest.approx(distances(one), abs=1.1e-5)
        order = [(near.distance, near.sha256) for near in other.nearest]
        assert order == sorted(order)
        assert other.known_as == one.known_as
        if made is not copies:  # of those the last digit decides between thousands
            assert [n.sha256 for n in other.nearest] == [n.sha256 for n in one.nearest]


def test_no_file_is_its_own_neighbour(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = in_few_directions(FILES, 2)
    _, pruned = searchers(bundle, vectors, monkeypatch)
    names = list(pruned.index.sha256[:32])
    for name, similar in zip(names, pruned.search(vectors[:32], names), strict=True):
        assert similar.known_as == "gbot"
        assert name not in [near.sha256 for near in similar.nearest]


def test_the_place_in_a_batch_does_not_show(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, pruned = searchers(bundle, in_few_directions(FILES, 3), monkeypatch)
    asked = in_few_directions(33, 4)
    together = pruned.search(asked, ["f" * 64] * 33)
    assert together == [pruned.search(asked[i : i + 1], ["f" * 64])[0] for i in range(33)]


def test_odd_embeddings(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = in_few_directions(FILES, 5)
    vectors[::3] = vectors.mean(axis=0)  # no direction at all, or none to speak of
    plain, pruned = searchers(bundle, vectors, monkeypatch)
    odd = np.stack([plain.index.centre, np.full(DIMENSIONS, np.nan, np.float32), vectors[1]])
    centre, nothing, ordinary = pruned.search(odd, ["f" * 64] * 3)
    assert distances(centre) == [1.0, 1.0, 1.0]
    assert nothing.nearest == []
    assert distances(ordinary)[0] == pytest.approx(0, abs=1e-5)


def test_few_rows_are_left() -> None:
    vectors = indexes.directions(in_few_directions(FILES, 6), 0.0)
    queries = indexes.directions(in_few_directions(16, 7), 0.0)
    left = [len(rows) for rows in Pruned(vectors).rows(queries, 3, [None] * 16)]
    assert max(left) < FILES / 10
