"""A similarity digest of a program's code: two programs that share much of it share values.

Code is read in pieces of `PIECE` bytes from the start of each executable section. The digest is
the `VALUES` smallest hashes of them (bottom-k min-hash, Broder 1997, "On the resemblance and
containment of documents"): the share of equal values estimates the share of equal pieces.
"""

from __future__ import annotations

import hashlib
from itertools import islice

import numpy as np

from maltriage.sample.pe import Headers

PIECE = 1024
"""Bytes. Of 512 files of malware, two that share a tenth of such pieces are of one family."""
MIN_DISTINCT = 32
"""Different bytes of a piece, at least: less is padding or a table of small numbers."""
VALUES, VALUE_BYTES = 16, 4
MAX_BYTES = 1 << 19
"""Of each section: what is behind says little more, and large programs would take long."""
MAX_SECTIONS = 4


def code_digest(data: bytes, headers: Headers | None) -> str | None:
    """The values in ascending order, 8 hex digits each, without separators.

    None: the file has no headers that can be read, or no such piece of code.
    """
    if headers is None:
        return None
    places = dict[bytes, int]()
    code = [section for section in headers.sections if section.executable and section.size]
    for section in code[:MAX_SECTIONS]:
        end = min(section.start + min(section.size, MAX_BYTES), len(data))
        for start in range(section.start, end - PIECE + 1, PIECE):
            piece = data[start : start + PIECE]
            places[hashlib.blake2b(piece, digest_size=VALUE_BYTES).digest()] = start
    # Only the smallest are looked at, which takes far longer than a hash.
    ordered = ((value, places[value]) for value in sorted(places))
    rich = (value for value, start in ordered if _distinct(data, start) >= MIN_DISTINCT)
    return b"".join(islice(rich, VALUES)).hex() or None


def _distinct(data: bytes, start: int) -> int:
    """Different bytes of a piece. A set of them takes several times as long."""
    piece = np.frombuffer(data, np.uint8, PIECE, start)
    return int(np.count_nonzero(np.bincount(piece, minlength=256)))


def shared(one: str, other: str) -> float:
    """The estimated share of pieces that two digests have in common, 0 to 1."""
    size = 2 * VALUE_BYTES
    a, b = ({text[i : i + size] for i in range(0, len(text), size)} for text in (one, other))
    smallest = sorted(a | b)[: min(VALUES, max(len(a), len(b)))]
    return sum(value in a and value in b for value in smallest) / max(1, len(smallest))
