"""The file of an index: what is written comes back, and nothing else is taken for one."""

from __future__ import annotations

import io
import os
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from similar.conftest import LIMIT

from maltriage.bundle import Bundle
from maltriage.errors import MaltriageError
from maltriage.similar import index as indexes
from maltriage.similar import index_file
from maltriage.similar.index import Index


def test_what_is_written_comes_back(index: Index, tmp_path: Path, bundle: Bundle) -> None:
    path = tmp_path / "a.index.npz"
    index_file.write(index, path)
    found = index_file.read(path)
    assert found.header == index.header == index_file.read_header(path)
    assert found.header.limit == LIMIT
    assert found.sha256 == index.sha256
    assert found.labels.tolist() == index.labels.tolist()
    assert np.array_equal(found.embeddings, index.embeddings)
    assert found.centre.tolist() == [1, 1, 1]
    assert np.allclose(found.embeddings[0], np.array([0, -1, -1]) / np.sqrt(2), atol=1e-3)
    assert np.allclose(np.linalg.norm(found.embeddings.astype(float), axis=1), 1.0, atol=1e-3)
    assert found.counts() == {"benign": 1, "gbot": 2, "own": 1}
    found.check(msgspec.structs.replace(bundle, model=b""), path)  # whose embeddings are wider
    told = indexes.info(found, bundle, str(path))
    assert (told.own_labels, told.size) == (("own",), path.stat().st_size)
    assert [p.name for p in tmp_path.iterdir()] == ["a.index.npz"]  # nothing half is left


def test_an_index_of_nothing(bundle: Bundle, tmp_path: Path) -> None:
    index_file.write(indexes.empty(bundle), tmp_path / "a.npz")
    assert len(index_file.read(tmp_path / "a.npz")) == 0


def test_cannot_be_written_over_a_folder(index: Index, tmp_path: Path) -> None:
    (tmp_path / "a.npz").mkdir()
    (tmp_path / "a.npz" / "x").touch()
    with pytest.raises(MaltriageError, match="cannot write"):
        index_file.write(index, tmp_path / "a.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def test_found_beside_its_bundle(index: Index, tmp_path: Path, bundle: Bundle) -> None:
    copy = tmp_path / "mine.onnx"
    copy.write_bytes(Path(bundle.path).read_bytes())
    here = msgspec.structs.replace(bundle, path=str(copy))
    own = tmp_path / "mine.index.npz"
    assert index_file.beside(here) != own
    index_file.write(index, own)
    assert index_file.beside(here) == own


# --- What is no index -----------------------------------------------------------------------


def arrays(index: Index) -> dict[str, np.ndarray]:
    buffer = np.frombuffer(bytes.fromhex("".join(index.sha256)), np.uint8)
    return {
        "header": np.frombuffer(msgspec.json.encode(index.header), np.uint8),
        "centre": index.centre,
        "embeddings": index.embeddings,
        "sha256": buffer.reshape(-1, 32),
        "labels": index.labels,
    }


def packed(parts: dict[str, np.ndarray]) -> bytes:
    out = io.BytesIO()
    np.savez(out, **parts)
    return out.getvalue()


def with_header(**values: object) -> Callable[[Index], bytes]:
    def make(index: Index) -> bytes:
        header = {**msgspec.to_builtins(index.header), **values}
        text = np.frombuffer(msgspec.json.encode(header), np.uint8)
        return packed({**arrays(index), "header": text})

    return make


def with_array(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Index], bytes]:
    return lambda index: packed({**arrays(index), name: change(arrays(index)[name])})


def cut(index: Index) -> bytes:
    data = packed(arrays(index))
    return data[: len(data) // 2]


def flipped(index: Index) -> bytes:
    """A byte of an embedding changed: the checksum of the archive tells."""
    data = bytearray(packed(arrays(index)))
    at = data.index(index.embeddings.tobytes())
    data[at] ^= 0xFF
    return bytes(data)


def claims_much(index: Index) -> bytes:
    """An array whose header claims 2^50 rows: reading it must not make room for them."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, values in arrays(index).items():
            buffer = io.BytesIO()
            shape = (1 << 50, 3) if name == "embeddings" else values.shape
            np.lib.format.write_array_header_1_0(
                buffer,
                {
                    "descr": np.lib.format.dtype_to_descr(values.dtype),
                    "fortran_order": False,
                    "shape": shape,
                },
            )
            archive.writestr(f"{name}.npy", buffer.getvalue() + values.tobytes())
    return out.getvalue()


def claims_nothing(index: Index) -> bytes:
    """An array of no values, with a shape that NumPy cannot have."""
    text = b"{'descr': '<i4', 'fortran_order': False, 'shape': (99999999999999999999, 0), }"
    out = io.BytesIO(packed({n: a for n, a in arrays(index).items() if n != "labels"}))
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("labels.npy", b"\x93NUMPY\x01\x00v\x00" + text.ljust(117) + b"\n")
    return out.getvalue()


def pickled(index: Index) -> bytes:
    return packed({**arrays(index), "labels": np.array([{"a": 1}] * 4, dtype=object)})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda index: b"", "no NumPy archive"),
        (lambda index: b"PK\x03\x04" + bytes(99), "no NumPy archive"),
        (cut, "no NumPy archive"),
        (flipped, "embeddings is damaged"),
        (lambda index: packed({"x": np.zeros(3)}), "other arrays"),
        (lambda index: packed({**arrays(index), "x": np.zeros(3)}), "other arrays"),
        (claims_much, "another type or size"),
        (pickled, "labels"),
        (with_header(format_version=2), "format 2"),
        (with_header(distance="manhattan"), "distance 'manhattan'"),
        (with_header(labels=[]), "labels must be"),
        (with_header(labels=["a", "a"]), "labels must be"),
        (with_header(labels=["a" * 300]), "a label of no"),
        (with_header(labels=["one"]), "a label without a name"),
        (with_header(files=5), r"shape \(4, 3\) instead of \(5, 3\)"),
        (with_header(dimensions=-3), "without dimensions"),
        (with_header(files=1 << 40), "or too many"),
        (with_header(files=0, dimensions=1 << 17), "131,072 dimensions: 0 to 65,536"),
        (with_header(files=0, dimensions=-7), "-7 dimensions"),
        (with_header(extra=1), "its header"),
        (
            with_array(
                "header",
                lambda a: np.frombuffer(b'{"format_version":1,"created":"\xff"}', np.uint8),
            ),
            "UTF-8",
        ),
        (with_header(limit={"distance": 0.1, "share": 7, "files": 1, "measured_on": ""}), "limit"),
        (with_array("header", lambda a: a[:-1]), "its header"),
        (with_array("labels", lambda a: a - 99), "a label without a name"),
        (with_array("labels", lambda a: a.astype(np.int64)), "another type"),
        (with_array("labels", lambda a: a[:3]), "shape"),
        (with_array("sha256", lambda a: a[[0, 1, 1, 3]]), "the same file twice"),
        (with_array("sha256", np.asfortranarray), "another type"),
        (with_array("centre", lambda a: a[:2]), "shape"),
        (with_array("centre", lambda a: a * np.nan), "not a number"),
        (with_array("embeddings", lambda a: np.full_like(a, np.inf)), "not a number"),
        (with_array("centre", lambda a: np.full_like(a, 3.4e38)), "above 1,000,000"),
        (with_array("centre", lambda a: np.full_like(a, -1.1e6)), "above 1,000,000"),
        (claims_nothing, "labels is damaged"),
    ],
)
def test_no_index(
    index: Index, tmp_path: Path, make: Callable[[Index], bytes], message: str
) -> None:
    path = tmp_path / "bad.npz"
    path.write_bytes(make(index))
    with pytest.raises(MaltriageError, match=message) as caught:
        index_file.read(path)
    assert str(caught.value).startswith(f"{path}: not an index of maltriage: ")


def test_limits(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.npz"
    index_file.write(index, path)
    monkeypatch.setattr(index_file, "MAX_INDEX_BYTES", path.stat().st_size - 1)
    with pytest.raises(MaltriageError, match="larger than"):
        index_file.read(path)
    monkeypatch.setattr(index_file, "MAX_INDEX_BYTES", 100)
    with pytest.raises(MaltriageError, match="could not be read"):
        index_file.write(index, tmp_path / "b.npz")


def test_a_bomb_is_not_unpacked(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = {**arrays(index), "embeddings": np.zeros((4, 1 << 16), np.float16)}
    out = io.BytesIO()
    np.savez_compressed(out, **parts)
    (tmp_path / "a.npz").write_bytes(out.getvalue())
    monkeypatch.setattr(index_file, "MAX_INDEX_BYTES", 1 << 16)
    with pytest.raises(MaltriageError, match="arrays above"):
        index_file.read(tmp_path / "a.npz")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_DEFLATED])
def test_arrays_of_other_dimensions_than_the_bundle_are_not_unpacked(
    index: Index, bundle: Bundle, tmp_path: Path, method: int
) -> None:
    """A few kilobytes that would take seconds and gigabytes, with the right digest."""
    width = 60_000
    header = msgspec.structs.replace(index.header, files=200, dimensions=width)
    parts = {
        "header": np.frombuffer(msgspec.json.encode(header), np.uint8),
        "centre": np.zeros(width, np.float32),
        "embeddings": np.zeros((200, width), np.float16),
        "sha256": np.arange(200 * 32, dtype=np.uint8).reshape(200, 32),
        "labels": np.zeros(200, np.int32),
    }
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, values in parts.items():
            buffer = io.BytesIO()
            np.save(buffer, values)
            archive.writestr(f"{name}.npy", buffer.getvalue())
    for own in (bundle, None):
        tracemalloc.start()
        with pytest.raises(MaltriageError, match=r"a\.npz: not an index of maltriage"):
            index_file.read(path, own)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert most < 4 << 20


def test_refused_by_dimensions(index: Index, bundle: Bundle, tmp_path: Path) -> None:
    index_file.write(index, tmp_path / "a.npz")
    message = f"3 dimensions, and {bundle.card.name} has {bundle.embedding_width}"
    assert bundle.embedding_width is not None
    with pytest.raises(MaltriageError, match=message):
        index_file.read(tmp_path / "a.npz", bundle)


@pytest.mark.parametrize("name", ["x" * 300, "../a", "a\0b", ""])
def test_a_card_of_any_name_has_no_index_by_it(bundle: Bundle, tmp_path: Path, name: str) -> None:
    card = msgspec.structs.replace(bundle.card, name=name)
    named = msgspec.structs.replace(bundle, card=card, path=str(tmp_path / ("y" * 250 + ".onnx")))
    assert index_file.beside(named) is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.npz")
    with pytest.raises(MaltriageError, match=r"a\.npz: no regular file"):
        index_file.read(tmp_path / "a.npz")


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(MaltriageError, match="cannot read index"):
        index_file.read(tmp_path / "gone.npz")
