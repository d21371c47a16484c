"""The nearest files are those that comparing with every one gives, and what is said of them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maltriage import bundle as bundles
from maltriage.bundle import Bundle
from maltriage.errors import MaltriageError
from maltriage.report.documents.index import Limit
from maltriage.report.documents.record import Result, Similar
from maltriage.similar import index as indexes
from maltriage.similar import index_file
from maltriage.similar.search import (
    NO_INDEX,
    Searcher,
    digest_of_index,
    notices_on,
    open_index,
)
from maltriage.triage.embed import embed
from maltriage.triage.options import ScanOptions
from maltriage.triage.pipeline import scan

DIMENSIONS = 8
LIMIT = Limit(distance=0.3, share=0.95, files=100, measured_on="files of a test")


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return bundles.load(bundles.resolve(None))


def make_index(bundle: Bundle, vectors: np.ndarray, limit: Limit | None = None) -> indexes.Index:
    """An index of files 0, 1, ...: even ones are of gbot, odd ones of a label of the user's."""
    names = [f"{i:064x}" for i in range(len(vectors))]
    labels = ["own" if i % 2 else "gbot" for i in range(len(vectors))]
    return indexes.grown(indexes.empty(bundle, limit), names, labels, vectors).index


@given(seed=st.integers(0, 1000), count=st.integers(1, 40), copies=st.booleans())
def test_the_nearest_are_the_nearest(bundle: Bundle, seed: int, count: int, copies: bool) -> None:
    generator = np.random.default_rng(seed)
    vectors = generator.normal(size=(count, DIMENSIONS)).astype(np.float32)
    if copies:  # equally near ones are told apart by their sha256
        vectors[count // 2 :] = vectors[0]
    index = make_index(bundle, vectors)
    asked = generator.normal(size=(3, DIMENSIONS)).astype(np.float32)
    found = Searcher(index).search(asked, ["f" * 64] * 3)
    kept = index.embeddings.astype(np.float64)
    for similar, query in zip(found, asked.astype(np.float64), strict=True):
        query = query - index.centre
        lengths = np.linalg.norm(kept, axis=1) * np.linalg.norm(query)
        ranked = sorted((1 - kept @ query / np.where(lengths, lengths, 1)).tolist())[:3]
        assert [n.distance for n in similar.nearest] == pytest.approx(ranked, abs=1.1e-5)
        order = [(n.distance, n.sha256) for n in similar.nearest]
        assert order == sorted(order)
        assert all(n.distance == round(n.distance, 5) for n in similar.nearest)
        assert len(set(order)) == min(3, count)
        assert (similar.files, similar.known_as, similar.distance) == (
            count,
            None,
            "centred-cosine",
        )


def test_the_nearest_by_distances_that_are_there(bundle: Bundle) -> None:
    searcher = Searcher(make_index(bundle, np.eye(6, dtype=np.float32)))
    row = np.array([0.5, np.inf, 0.25, 0.5, np.nan, 0.125])
    ranked = [(5, 0.125), (2, 0.25), (0, 0.5), (3, 0.5)]
    for count in range(1, 7):
        assert searcher.nearest(row, count) == ranked[:count]


def test_a_sample_is_known_and_never_its_own_neighbour(bundle: Bundle) -> None:
    vectors = np.concatenate((np.eye(DIMENSIONS), -np.eye(DIMENSIONS))).astype(np.float32)
    searcher = Searcher(make_index(bundle, vectors))
    alone, known = searcher.search(vectors[[1, 1]] * 9, ["f" * 64, f"{1:064x}"])
    assert alone.nearest[0].distance == 0.0
    assert (alone.nearest[0].sha256, alone.nearest[0].label) == (f"{1:064x}", "own")
    assert known.known_as == "own"
    assert [n.distance for n in known.nearest] == [1.0, 1.0, 1.0]
    assert f"{1:064x}" not in [n.sha256 for n in known.nearest]


def test_the_place_in_a_batch_does_not_show(bundle: Bundle) -> None:
    generator = np.random.default_rng(3)
    searcher = Searcher(make_index(bundle, generator.normal(size=(500, 494)).astype(np.float32)))
    asked = generator.normal(size=(33, 494)).astype(np.float32)
    together = searcher.search(asked, ["f" * 64] * 33)
    alone = [searcher.search(asked[i : i + 1], ["f" * 64])[0] for i in range(33)]
    assert together == alone


def test_odd_embeddings_have_no_neighbours_or_far_ones(bundle: Bundle) -> None:
    vectors = np.concatenate((np.eye(DIMENSIONS), -np.eye(DIMENSIONS))).astype(np.float32)
    searcher = Searcher(make_index(bundle, vectors))
    odd = np.zeros((2, DIMENSIONS), np.float32)
    odd[1] = np.nan
    zero, nothing = searcher.search(odd, ["f" * 64] * 2)
    assert [n.distance for n in zero.nearest] == [1.0, 1.0, 1.0]
    assert nothing.nearest == []
    with pytest.raises(MaltriageError, match="8 dimensions and a model of 9"):
        searcher.search(np.zeros((1, 9), np.float32), ["f" * 64])


def test_an_empty_index(bundle: Bundle) -> None:
    (similar,) = Searcher(indexes.empty(bundle)).search(np.zeros((1, 494)), ["f" * 64])
    assert (similar.files, similar.nearest, similar.known_as) == (0, [], None)
    assert notices_on(similar, indexes.empty(bundle, LIMIT)) == []


def codes(bundle: Bundle, cosine: float, limit: Limit | None, sha256: str = "f" * 64) -> list[str]:
    """Of a file whose nearest has this cosine with it."""
    index = make_index(bundle, np.array([[1, 0], [-1, 0]], np.float32), limit)
    asked = np.array([[cosine, np.sqrt(1 - cosine**2)]], np.float32)
    (similar,) = Searcher(index).search(asked, [sha256])
    return [notice.code for notice in notices_on(similar, index)]


def test_notices(bundle: Bundle) -> None:
    assert codes(bundle, 0.71, LIMIT) == []
    assert codes(bundle, 0.69, LIMIT) == ["unlike-index"]
    assert codes(bundle, 0.69, None) == []
    assert codes(bundle, 0.69, LIMIT, f"{0:064x}") == ["in-index"]  # though all others are far
    index = make_index(bundle, np.array([[1, 0], [-1, 0]], np.float32), LIMIT)
    (far,) = Searcher(index).search(np.array([[0, 1]], np.float32), ["f" * 64])
    (notice,) = notices_on(msgspec.structs.replace(far, files=4583), index)
    assert "the nearest of its 4,583 files" in notice.text


def test_which_index_is_opened(bundle: Bundle, tmp_path: Path) -> None:
    assert open_index(bundle, NO_INDEX) is None
    shipped = open_index(bundle, None)
    assert shipped is not None
    assert len(shipped.index) == bundle.card.training.samples
    calibrated = msgspec.structs.replace(bundle, path=str(tmp_path / "mine.onnx"))
    assert open_index(calibrated, None) is not None  # another file, the same weights
    camvit = bundles.load(bundles.resolve("maltriage-camvit"))
    assert open_index(camvit, None) is None
    with pytest.raises(MaltriageError, match="distances would mean nothing"):
        open_index(camvit, str(bundles.models_dir() / "maltriage-evidence.index.npz"))
    with pytest.raises(MaltriageError, match="cannot read index"):
        open_index(bundle, str(tmp_path / "gone.npz"))


def test_the_digest_of_an_index_is_that_of_its_file(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(b"any bytes")
    assert digest_of_index(bundle, str(path)) == hashlib.sha256(b"any bytes").hexdigest()
    assert digest_of_index(bundle, NO_INDEX) is None
    with pytest.raises(MaltriageError, match="cannot read index"):
        digest_of_index(bundle, str(tmp_path / "gone.npz"))


def test_a_scan_says_what_files_resemble(bundle: Bundle, tmp_path: Path, samples_dir: Path) -> None:
    names = ["console-x86.exe", "gui-x86.exe", "console-x64.exe"]
    paths = [str(samples_dir / name) for name in names]
    options = ScanOptions(device="cpu", jobs=1, threads=1, batch_size=2)
    embedded = embed(dict.fromkeys(paths[:2], "ours"), bundle, options)
    made = indexes.grown(
        indexes.empty(bundle), embedded.sha256, embedded.labels, embedded.embeddings
    )
    index_file.write(made.index, tmp_path / "a.npz")
    digest = index_file.read(tmp_path / "a.npz").digest
    options = ScanOptions(
        device="cpu", jobs=1, threads=1, batch_size=2, index=str(tmp_path / "a.npz")
    )
    *results, _ = scan(paths, bundle, options)
    found: list[Similar] = []
    for result in results:
        assert isinstance(result, Result)
        assert result.similar is not None
        found.append(result.similar)
    assert [s.known_as for s in found] == ["ours", "ours", None]
    assert [len(s.nearest) for s in found] == [1, 1, 2]
    there, back = (s.nearest[0].distance for s in found[:2])
    assert there == pytest.approx(back, abs=1e-4)  # one of each two is kept in float16
    assert {s.index for s in found} == {digest}
    last = results[-1]
    assert isinstance(last, Result)
    assert "in-index" not in [notice.code for notice in last.notices]
    plain = next(iter(scan(paths[:1], bundle, ScanOptions(device="cpu", jobs=1, threads=1))))
    assert isinstance(plain, Result)
    assert plain.similar is None
