"""The file of an index of labelled files, beside the bundle whose embeddings it holds.

A NumPy archive (.npz) without pickles, of five arrays:

    header      uint8 [...]      JSON of `Header`
    centre      float32 [D]      mean embedding of the files that the index was built from
    embeddings  float16 [n, D]   less the centre, of unit length
    sha256      uint8 [n, 32]    of the program's bytes, as in records; each file once
    labels      int32 [n]        index into `Header.labels`

It is an input like any other: it may come from another person. It is read within limits, and
renderers sanitize its labels.
"""

from __future__ import annotations

import hashlib
import math
import os
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from maltriage.bundle import MAX_LABELS, Bundle, added, models_dir
from maltriage.errors import MaltriageError
from maltriage.files.atomic import replace_file
from maltriage.files.decoding import decoded
from maltriage.files.npz import Archive, BrokenArchiveError
from maltriage.files.regular import open_regular
from maltriage.similar.index import (
    COSINE,
    FORMAT_VERSION,
    MAX_LABEL,
    Header,
    Index,
    check_bundle,
    not_an_index,
)

SUFFIX = ".index.npz"
"""Replaces the bundle's `.onnx` in the name of the index beside it."""
MAX_INDEX_BYTES = 1024 * 1024 * 1024
"""Limit of the file and of all arrays in it: a million files of a bundle of 500 dimensions."""
MAX_FILES = 4_000_000
MAX_DIMENSIONS = 1 << 16
"""The nets that can be trained have up to 4,096."""
MAX_NUMBER = 1e6
"""Of the centre and of embeddings, as of a card's scores: squares of larger ones leave float32."""
MAX_HEADER_BYTES = 4 * 1024 * 1024
_DTYPES = {
    "header": "|u1",
    "centre": "<f4",
    "embeddings": "<f2",
    "sha256": "|u1",
    "labels": "<i4",
}


def beside(bundle: Bundle) -> Path | None:
    """Path of the index of a bundle, if it has one.

    It lies beside the bundle under its name, or ships with a model of the same weights, or was
    added to one: a copy of a bundle with another threshold has the same embeddings.
    """
    path = Path(bundle.path)
    own = path.with_name(path.stem + SUFFIX)
    if os.path.isfile(own):  # false where the name is too long, of which pathlib raises an error
        return own
    if not added.NAME.fullmatch(bundle.card.name):  # a card may have any name, a model has not
        return None
    mine = added.read(bundle.card.name)
    places = [models_dir() / (bundle.card.name + SUFFIX), None if mine is None else mine.index_path]
    for other in places:
        if other is not None and other.is_file():
            same = read_header(other).weights_sha256 == bundle.card.weights_sha256
            return other if same else None
    return None


def files_beside(bundle: Bundle) -> frozenset[str] | None:
    """SHA-256 of the files in the index of a bundle; None: it has none of its own.

    Raises:
        MaltriageError: see `read`.
    """
    path = beside(bundle)
    if path is None:
        return None
    index = read(path)
    own = index.header.weights_sha256 == bundle.card.weights_sha256
    return frozenset(index.sha256) if own else None


def write(index: Index, path: Path) -> None:
    """Write an index, whole or not at all.

    Raises:
        MaltriageError: it cannot be written, or is too large.
    """
    arrays: dict[str, Any] = {
        "header": np.frombuffer(msgspec.json.encode(index.header), np.uint8),
        "centre": index.centre.astype("<f4"),
        "embeddings": index.embeddings.astype("<f2"),
        "sha256": np.frombuffer(bytes.fromhex("".join(index.sha256)), np.uint8).reshape(-1, 32),
        "labels": index.labels.astype("<i4"),
    }
    if sum(array.nbytes for array in arrays.values()) > MAX_INDEX_BYTES:
        raise MaltriageError(f"{path}: an index above {MAX_INDEX_BYTES:,} bytes could not be read")
    try:
        with replace_file(path, sync=True) as stream:
            np.savez_compressed(stream, **arrays)
    except OSError as error:
        raise MaltriageError(f"cannot write {path}: {error.strerror}") from error


def read(path: Path | str, bundle: Bundle | None = None) -> Index:
    """Read an index, and check all of it.

    Args:
        bundle: see `parse`.

    Raises:
        MaltriageError: the file is missing, no index, damaged, or above the limits.
    """
    return parse(data_of(path), path, bundle)


def parse(data: bytes, path: Path | str, bundle: Bundle | None = None) -> Index:
    """An index from the bytes of its file, checked as by `read`; errors name it `path`.

    Args:
        bundle: that it must be of, which is told before any embedding is read.
    """
    archive = _opened(data, path)
    header = _header(archive, path)
    if bundle is not None:
        check_bundle(header, bundle, path)
    shapes = {
        "centre": (header.dimensions,),
        "embeddings": (header.files, header.dimensions),
        "sha256": (header.files, 32),
        "labels": (header.files,),
    }
    try:
        arrays = {n: archive.array(n, (_DTYPES[n],), shape) for n, shape in shapes.items()}
    except BrokenArchiveError as error:
        raise not_an_index(path, str(error)) from error
    labels, vectors = arrays["labels"], arrays["embeddings"]
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(header.labels):
        raise not_an_index(path, "a label without a name")
    # Of the embeddings, in half precision, none is larger; to look for it takes 20 ms.
    centre = np.abs(arrays["centre"]).max(initial=0)
    if not (np.isfinite(vectors).all() and centre <= MAX_NUMBER):  # nor where it is NaN
        raise not_an_index(path, f"an embedding that is not a number, or above {MAX_NUMBER:,.0f}")
    sha256 = tuple(bytes(row).hex() for row in arrays["sha256"])
    if len(set(sha256)) != len(sha256):
        raise not_an_index(path, "the same file twice")
    digest = hashlib.sha256(data).hexdigest()
    return Index(header, arrays["centre"], vectors, sha256, labels, digest, len(data))


def read_header(path: Path | str) -> Header:
    """The header of an index; its arrays are not read.

    Raises:
        MaltriageError: as for `read`.
    """
    return _header(_opened(data_of(path), path), path)


def data_of(path: Path | str) -> bytes:
    """The bytes of an index file, unchecked.

    Raises:
        MaltriageError: it cannot be read, or is above the limit.
    """
    try:
        with open_regular(path) as stream:
            # By its size, since Python makes room for as much as it is asked to read.
            data = stream.read(min(os.fstat(stream.fileno()).st_size, MAX_INDEX_BYTES) + 1)
    except OSError as error:
        raise MaltriageError(f"cannot read index {path}: {error.strerror}") from error
    if len(data) > MAX_INDEX_BYTES:
        raise not_an_index(path, f"larger than {MAX_INDEX_BYTES:,} bytes")
    added.check(Path(path), data)
    return data


def _opened(data: bytes, path: Path | str) -> Archive:
    try:
        archive = Archive(data, MAX_INDEX_BYTES)
    except BrokenArchiveError as error:
        raise not_an_index(path, str(error)) from error
    if archive.names != sorted(_DTYPES):
        raise not_an_index(path, "other arrays than those of an index")
    return archive


def _header(archive: Archive, path: Path | str) -> Header:
    if archive.size("header") > MAX_HEADER_BYTES:
        raise not_an_index(path, f"a header above {MAX_HEADER_BYTES:,} bytes")
    try:
        text = archive.array("header", (_DTYPES["header"],)).tobytes()
    except BrokenArchiveError as error:
        raise not_an_index(path, str(error)) from error
    try:
        header = decoded(text, msgspec.json.Decoder(Header))
    except msgspec.MsgspecError as error:
        raise not_an_index(path, f"its header: {error}") from error
    labels, limit = header.labels, header.limit
    problem = None
    if header.format_version != FORMAT_VERSION:
        problem = f"format {header.format_version}, this maltriage reads {FORMAT_VERSION}"
    elif header.distance != COSINE:
        problem = f"distance {header.distance[:40]!r}, this maltriage knows {COSINE}"
    elif not 0 <= header.files <= MAX_FILES or (header.files and header.dimensions < 1):
        problem = "files without dimensions, or too many"
    elif not 0 <= header.dimensions <= MAX_DIMENSIONS:
        problem = f"{header.dimensions:,} dimensions: 0 to {MAX_DIMENSIONS:,}"
    elif not 0 < len(labels) <= MAX_LABELS or len(set(labels)) != len(labels):
        problem = "labels must be 1 or more different names"
    elif not all(0 < len(label) <= MAX_LABEL for label in labels):
        problem = f"a label of no or more than {MAX_LABEL} characters"
    elif limit is not None and not (math.isfinite(limit.distance) and 0 <= limit.share <= 1):
        problem = "an invalid limit"
    if problem:
        raise not_an_index(path, problem)
    return header
