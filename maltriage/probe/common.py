"""How common bytes and texts are among clean programs: an index of hashes, and what it says.

Two kinds of things are looked up. A *piece* is eight bytes in a row, wherever they lie: code of a
runtime, a table, a line of a manifest. Operands that the linker fills in differ from build to build
and are left out: the bytes before and after one are in a row. One piece of sixteen is looked at,
chosen by its content (local fingerprints, Schleimer, Wilkerson and Aiken 2003, "Winnowing"), so
that a copy of the same bytes gives the same pieces whatever is around it. A *text* is a whole
string, the same in ASCII and in UTF-16.

The index counts the packages of clean programs that a thing is in, and holds what is in several.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt

from maltriage.errors import MaltriageError
from maltriage.files.decoding import decoded
from maltriage.files.npz import Archive
from maltriage.files.regular import open_regular
from maltriage.probe import sorted_hashes
from maltriage.probe.operands import REACH, addresses_of, filled_in

Keys = npt.NDArray[np.uint64]
Counts = npt.NDArray[np.int64]

PIECE = 8
CHOSEN_BITS = 4
"""One of sixteen pieces is looked at."""
MIN_DISTINCT = 5
"""Different bytes of a piece, at least: less is padding or a table of small numbers."""
MIN_TEXT, MAX_TEXT = 6, 96
"""Characters of a text: shorter ones are chance, and of longer ones so many are looked at."""
COUNT_BITS, HASH_BITS = 12, 40
"""Bits of an entry: its packages, at most 4,095, below its hash. Of a million other hashes two are
in an index of two million."""
MAX_BYTES = 64 * 1024 * 1024
"""Of an index, and of its arrays: those of the largest that is built take 35 MB, or 52 MB in the
format before."""
MAX_ABOUT_BYTES = 1024 * 1024
_KINDS = ("|u1", "<u2", "<u4")
"""Dtypes of the arrays of an index."""
FORMAT, STEPS = 3, 2
"""The format of an index, and the one before, which holds steps from hash to hash and is read."""
SHIPPED = "clean-programs.npz"
"""Name of the index that comes with the models."""
NEAR, MIN_RUN = 128, 3
"""Most bytes from one known piece to the next of a run, and its pieces at least."""
_AT_ONCE = 1 << 20
_BEYOND = 256
"""Bytes behind those that are read at once, where a piece may end: operands lie in it."""
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_ASCII = re.compile(rb"[\x20-\x7e]{%d,}" % MIN_TEXT)
_WIDE = re.compile(rb"(?:[\x20-\x7e]\x00){%d,}" % MIN_TEXT)
_COUNT = np.uint64((1 << COUNT_BITS) - 1)


class About(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an index was made of."""

    format: int
    packages: Annotated[int, msgspec.Meta(ge=0)]
    files: Annotated[int, msgspec.Meta(ge=0)]
    pieces_from: Annotated[int, msgspec.Meta(ge=1)]
    """Packages that a piece of the index is in, at least."""
    texts_from: Annotated[int, msgspec.Meta(ge=1)]
    """Packages that a text of it is in, at least."""
    makers: dict[str, Annotated[int, msgspec.Meta(ge=0)]] = {}
    """How many of the packages hold a program of each compiler or installer."""


_about = msgspec.json.Decoder(About)


@dataclass(frozen=True)
class Prevalence:
    """An index. Entries are sorted; each is a hash and, in its low bits, a count."""

    about: About
    pieces: Keys
    texts: Keys

    def count_pieces(self, keys: Keys) -> Counts:
        """The packages that each piece is in; 0: fewer than `about.pieces_from`."""
        return _counts(self.pieces, keys)

    def count_texts(self, texts: Iterable[bytes]) -> Counts:
        """The packages that each text (in ASCII) is in; 0: fewer than `about.texts_from`."""
        return _counts(self.texts, text_keys(texts))


def pieces(data: bytes) -> tuple[npt.NDArray[np.int64], Keys]:
    """The pieces of a file that are looked at: their offsets, and their hashes."""
    raw, addresses = np.frombuffer(data, dtype=np.uint8), addresses_of(data)
    found = [_pieces(raw, start, addresses) for start in range(0, len(raw), _AT_ONCE)]
    if not found:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint64)
    return np.concatenate([at for at, _ in found]), np.concatenate([keys for _, keys in found])


def _pieces(
    raw: npt.NDArray[np.uint8], start: int, addresses: range
) -> tuple[npt.NDArray[np.int64], Keys]:
    first = max(0, start - REACH)
    part = raw[first : start + _AT_ONCE + _BEYOND]
    kept = np.flatnonzero(~filled_in(part, first, len(raw), addresses))
    part, places = part[kept], first + kept
    count = max(0, len(part) - PIECE + 1)
    mixed = np.zeros(count, dtype=np.uint64)
    for i in range(PIECE):
        mixed |= part[i : i + count].astype(np.uint64) << np.uint64(8 * i)
    mixed *= _SPREAD  # modulo 2^64
    mixed ^= mixed >> np.uint64(32)
    mixed *= _SPREAD
    at = np.flatnonzero(mixed >> np.uint64(64 - CHOSEN_BITS) == 0)
    at = at[(places[at] >= start) & (places[at] < start + _AT_ONCE)]
    ordered = np.sort(np.stack([part[at + i] for i in range(PIECE)], axis=1), axis=1)
    at = at[(ordered[:, 1:] != ordered[:, :-1]).sum(axis=1) + 1 >= MIN_DISTINCT]
    return places[at], _key(mixed[at] << np.uint64(CHOSEN_BITS))


@dataclass(frozen=True)
class Runs:
    """Bytes of a file that clean programs have: ranges [start, end) in order, [n, 2], the packages
    that the pieces of each are in (median), [n], whether each is a text, [n], and the packages of
    the index."""

    ranges: npt.NDArray[np.int64]
    counts: Counts
    texts: npt.NDArray[np.bool_]
    packages: int


def runs_of(data: bytes, index: Prevalence) -> Runs:
    """The runs of bytes that are in an index: known texts, and known pieces near each other.

    One piece alone is chance more often than a copy.
    """
    at, keys = pieces(data)
    counts = index.count_pieces(keys)
    at, counts = at[counts > 0], counts[counts > 0]
    new = np.flatnonzero(np.diff(at, prepend=-NEAR - 1) > NEAR)
    ends = np.append(new, len(at))[1:]
    packages = np.zeros(len(data), dtype=np.int16)
    is_text = np.zeros(len(data), dtype=np.bool_)
    for i, j in zip(new.tolist(), ends.tolist(), strict=True):
        if j - i >= MIN_RUN:
            packages[at[i] : at[j - 1] + PIECE] = np.median(counts[i:j])
    for form, unit in ((_ASCII, 1), (_WIDE, 2)):
        places = [match.span() for match in form.finditer(data)]
        texts = [data[low:high:unit][:MAX_TEXT] for low, high in places]
        for (low, high), often in zip(places, index.count_texts(texts).tolist(), strict=True):
            if often:  # also where pieces of the same bytes are known
                packages[low:high], is_text[low:high] = often, True
    change = (np.diff(packages) != 0) | (is_text[1:] != is_text[:-1])
    edges = np.concatenate(([0], np.flatnonzero(change) + 1, [len(data)]))
    known = packages[edges[:-1]] > 0 if len(data) else np.zeros(1, dtype=np.bool_)
    ranges = np.stack((edges[:-1], edges[1:]), axis=1)[known].astype(np.int64)
    first = ranges[:, 0]
    return Runs(ranges, packages[first].astype(np.int64), is_text[first], index.about.packages)


def text_keys(texts: Iterable[bytes]) -> Keys:
    """The hash of each text, in ASCII."""
    hashed = (hashlib.blake2b(text[:MAX_TEXT], digest_size=8).digest() for text in texts)
    return _key(np.frombuffer(b"".join(hashed), dtype="<u8"))


def texts(data: bytes) -> set[bytes]:
    """The texts of a file, in ASCII."""
    found = {match.group()[:MAX_TEXT] for match in _ASCII.finditer(data)}
    return found | {match.group()[::2][:MAX_TEXT] for match in _WIDE.finditer(data)}


def _key(mixed: Keys) -> Keys:
    """The first `HASH_BITS` of 64 bits, above those of a count."""
    return hashes(mixed >> np.uint64(64 - HASH_BITS - COUNT_BITS))


def hashes(entries: Keys) -> Keys:
    """The hashes of entries, or keys without the bits that are a count's."""
    return np.asarray(entries & ~_COUNT)


def counts_in(entries: Keys) -> Counts:
    """The packages of each entry."""
    return (entries & _COUNT).astype(np.int64)


def _counts(entries: Keys, keys: Keys) -> Counts:
    if not len(entries):
        return np.zeros(len(keys), dtype=np.int64)
    at = np.searchsorted(entries, keys)  # an entry is its hash and a count above zero
    found = entries[np.minimum(at, len(entries) - 1)]
    same = (at < len(entries)) & (hashes(found) == keys)
    return np.where(same, counts_in(found), 0)


def save(index: Prevalence, path: Path) -> None:
    """Write an index, atomically.

    Raises:
        OSError: it cannot be written.
    """
    from maltriage.files.atomic import replace_file

    with replace_file(path) as file:
        about = np.frombuffer(msgspec.json.encode(index.about), dtype=np.uint8)
        packed = _packed("pieces", index.pieces) | _packed("texts", index.texts)
        np.savez_compressed(file, allow_pickle=False, about=about, **packed)


def _packed(name: str, entries: Keys) -> dict[str, npt.NDArray[Any]]:
    """Hashes by `sorted_hashes`, and counts as two rows: their low bytes and their high ones."""
    parts = sorted_hashes.packed(hashes(entries) >> np.uint64(COUNT_BITS), HASH_BITS)
    counts = counts_in(entries).astype("<u2").view(np.uint8).reshape(-1, 2)
    parts["counts"] = np.ascontiguousarray(counts.T)  # rows that are alike compress better
    return {f"{name}_{part}": array for part, array in parts.items()}


def _unpacked(archive: Archive, name: str, about: About) -> Keys:
    """Raises ValueError if they are no entries in order."""

    def array(part: str) -> npt.NDArray[Any]:
        return archive.array(f"{name}_{part}", _KINDS)

    if about.format == STEPS:
        found, counts = _of_steps(array("low"), array("high"), array("counts"))
    else:
        counts = array("counts")
        if counts.dtype != np.uint8 or counts.ndim != 2 or len(counts) != 2:
            raise ValueError("other arrays")
        counts = counts[0].astype(np.uint16) | counts[1].astype(np.uint16) << np.uint16(8)
        parts = {part: array(part) for part in sorted_hashes.PARTS}
        found = sorted_hashes.unpacked(parts, len(counts), HASH_BITS)
    most = min(about.packages, int(_COUNT))
    if len(counts) and not 0 < counts.min() <= counts.max() <= most:
        raise ValueError("a count that none can have")
    return np.asarray(found << np.uint64(COUNT_BITS) | counts.astype(np.uint64))


def _of_steps(
    low: npt.NDArray[Any], high: npt.NDArray[Any], counts: npt.NDArray[Any]
) -> tuple[Keys, npt.NDArray[Any]]:
    """Hashes and counts of the format before. Raises ValueError if the hashes are not in order."""
    kinds = [array.dtype for array in (low, high, counts)]
    if kinds != [np.uint32, np.uint8, np.uint16] or {low.shape, high.shape, counts.shape} != {
        (len(low),)
    }:
        raise ValueError("other arrays")
    steps = low.astype(np.uint64) | high.astype(np.uint64) << np.uint64(32)
    found = np.cumsum(steps, dtype=np.uint64)
    if (steps[1:] == 0).any() or (len(found) and found[-1] >> np.uint64(HASH_BITS)):
        raise ValueError("its entries are not in order")
    return found, counts


@lru_cache(maxsize=4)
def load(path: Path) -> Prevalence:
    """Read an index.

    Raises:
        MaltriageError: it cannot be read, or is none.
    """
    with _opened(path) as (archive, about):
        pieces, texts = (_unpacked(archive, n, about) for n in ("pieces", "texts"))
        return Prevalence(msgspec.structs.replace(about, format=FORMAT), pieces, texts)


def check(path: Path) -> None:
    """Refuse what is no index, without reading its entries, which takes a tenth of a second.

    Raises:
        MaltriageError: it cannot be read, or is none.
    """
    with _opened(path):
        pass


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Archive, About]]:
    """The arrays of an index, and what it was made of; see `load` for what is raised."""
    try:
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size > MAX_BYTES:
                raise ValueError("too large")
            archive = Archive(file.read(), MAX_BYTES)
        if archive.size("about") > MAX_ABOUT_BYTES:
            raise ValueError("too large")
        about = decoded(archive.array("about", _KINDS[:1]).tobytes(), _about)
        if about.format not in (FORMAT, STEPS):
            raise MaltriageError(f"{path}: made by another version: build it again")
        yield archive, about
    except OSError as error:
        raise MaltriageError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, msgspec.MsgspecError) as error:
        raise MaltriageError(f"{path}: no index of clean programs: {error}") from error
