"""Archives of arrays that somebody else wrote: one kind of error, and little memory."""

from __future__ import annotations

import contextlib
import io
import struct
import zipfile
from typing import Any

import numpy as np
import pytest

from maltriage.files import npz
from maltriage.files.npz import Archive, BrokenArchiveError

LIMIT = 1 << 26
HEAD = b"\x93NUMPY\x01\x00v\x00"


def saved(compressed: bool = True, **arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(out, **arrays)
    return out.getvalue()


def head(text: str) -> bytes:
    return HEAD + text.encode().ljust(117) + b"\n"


def zipped(entry: bytes, method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr("a.npy", entry)
    return out.getvalue()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["<f4", "|u1", "<u2", "<i4"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0), (2, 3), (70, 80, 9)])
def test_what_numpy_writes_is_read(compressed: bool, dtype: str, shape: tuple[int, ...]) -> None:
    values = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    archive = Archive(saved(compressed, a=values, b=np.zeros(9)), LIMIT)
    assert archive.names == ["a", "b"]
    for wanted in (None, shape):
        found = archive.array("a", (dtype,), wanted)
        assert (found.dtype.str, found.shape) == (dtype, shape)
        np.testing.assert_array_equal(found, values)


def changed(place: bytes, at: int, value: int) -> bytes:
    data = bytearray(saved(a=np.arange(99)))
    data[data.index(place) + at] = value
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no NumPy archive"),
        (b"\x93NUMPY", "no NumPy archive"),
        (saved(a=np.arange(99))[:-9], "no NumPy archive"),
        (saved(a=np.zeros(3))[:-22] + b"PK\x01\x02" * 99, "more arrays"),
        (saved(a=np.zeros(LIMIT // 8)), "arrays above"),
        (saved(a=np.zeros(1 << 20)), "arrays above"),  # of zeros, 1,000 times its file
        (zipped(b"", zipfile.ZIP_BZIP2), "compressed in another way"),
        (zipped(b"", zipfile.ZIP_LZMA), "compressed in another way"),
        (changed(b"PK\x01\x02", 10, 99), "compressed in another way"),
        (changed(b"PK\x01\x02", 8, 1), "a is damaged"),  # as if it were encrypted
        (changed(b"PK\x03\x04", 60, 0xFF), "a is damaged"),
        (saved(b=np.zeros(3)), "no array a"),
        (saved(a=np.array([None])), "a is damaged"),
        (saved(a=np.asfortranarray(np.ones((3, 4)))), "another type or size"),
        (saved(a=np.ones(3, np.uint8)), "another type or size"),
        (saved(a=np.ones((4, 3))), r"a has the shape \(4, 3\) instead of \(3,\)"),
        (zipped(b""), "a is damaged"),
        (zipped(HEAD), "a is damaged"),
        (zipped(b"\x93NUMPY\x02\x00" + bytes(130)), "a is damaged"),
        (
            zipped(head("{'descr': '<f8', 'fortran_order': False, 'shape': (9000000000000,), }")),
            "size",
        ),
        (zipped(head("{'descr': '<f8', 'fortran_order': False, 'shape': (-3,), }")), "damaged"),
        (zipped(head("{'descr': '<f8', 'fortran_order': False, 'shape': " + "(" * 60)), "damaged"),
        (zipped(head("{'descr': '<z9', 'fortran_order': False, 'shape': (3,), }")), "another type"),
        (
            zipped(
                head("{'descr': '<f8', 'fortran_order': False, 'shape': (999999999999999999, 0), }")
            ),
            "shape",
        ),
    ],
)
def test_anything_else_is_one_kind_of_error(data: bytes, message: str) -> None:
    with pytest.raises(BrokenArchiveError, match=message):
        Archive(data, LIMIT).array("a", ("<f8",), (3,))


def test_a_shape_that_numpy_cannot_have() -> None:
    data = zipped(
        head("{'descr': '<f8', 'fortran_order': False, 'shape': (%s, %s, 0), }" % (("9" * 18,) * 2))
    )
    with pytest.raises(BrokenArchiveError, match="a is damaged"):
        Archive(data, LIMIT).array("a", ("<f8",))


def test_an_array_that_says_more_than_it_has() -> None:
    """The list of the archive lies about the size: only what is there is read."""
    data = bytearray(saved(a=np.arange(99.0)))
    at = data.index(b"PK\x01\x02")
    struct.pack_into("<I", data, at + 24, 128 + 8 * 1000)
    with pytest.raises(BrokenArchiveError, match="another type or size"):
        Archive(bytes(data), LIMIT).array("a", ("<f8",))


def test_no_byte_of_an_archive_gives_another_error() -> None:
    whole = saved(a=np.arange(30.0))
    rng = np.random.default_rng(0)
    for _ in range(3000):
        data: Any = np.frombuffer(whole, np.uint8).copy()
        data[rng.integers(len(data), size=rng.integers(1, 4))] = rng.integers(256)
        with contextlib.suppress(BrokenArchiveError):
            Archive(data.tobytes(), npz.MIN_ALLOWED).array("a", ("<f8",), (30,))
