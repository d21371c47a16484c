"""Which bytes of a program are filled in by the linker: they differ from build to build.

These are distances of calls and jumps, addresses relative to the instruction, and addresses in the
image, in code as in tables. They are found by their values, without decoding instructions: a
number that happens to be an address of its own image is rare.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from maltriage.sample.pe import read_headers

LEAST_BASE = 0x10000
"""An image that begins below has addresses that are small numbers, as lengths are."""
REACH = 8
"""Bytes before an operand that say that it is one."""
_OPERAND = 4

Bytes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]


def addresses_of(data: bytes) -> range:
    """The addresses that a program's image has in memory; none of what is no program."""
    headers = read_headers(data, bare=True)
    if headers is None or not headers.sections or headers.image_base < LEAST_BASE:
        return range(0)
    end = max(s.rva + max(s.virtual_size, s.size) for s in headers.sections)
    first = min(s.rva for s in headers.sections)
    return range(headers.image_base + first, headers.image_base + end)


def filled_in(raw: Bytes, start: int, total: int, addresses: range) -> Flags:
    """Which bytes of a part of a file are operands that the linker fills in.

    Args:
        raw: the bytes of the file from `start` on, of `total` in all.
        addresses: of the image, from `addresses_of`.
    """
    found = np.zeros(len(raw), dtype=np.bool_)
    if len(raw) < _OPERAND:
        return found
    count = len(raw) - _OPERAND + 1
    values = np.zeros(count, dtype=np.uint32)
    for i in range(_OPERAND):
        values |= raw[i : i + count].astype(np.uint32) << np.uint32(8 * i)
    _mark(found, _absolute(values, addresses))
    at = np.flatnonzero(_relative(raw, count))
    target = start + at + _OPERAND + values[at].view(np.int32)
    _mark(found, at[(target >= 0) & (target < max(total, len(addresses)))])
    return found


def _absolute(values: npt.NDArray[np.uint32], addresses: range) -> npt.NDArray[np.int64]:
    """The places of addresses; of 64 bits their lower half, which is what varies."""
    if not addresses:
        return np.zeros(0, dtype=np.int64)
    low, high = addresses.start & 0xFFFFFFFF, addresses.stop & 0xFFFFFFFF
    inside = (values >= np.uint32(low)) & (values < np.uint32(high))
    at = np.flatnonzero(inside)
    if addresses.stop >> 32:
        after = np.minimum(at + _OPERAND, len(values) - 1)
        at = at[values[after] == np.uint32(addresses.start >> 32 & 0xFFFFFFFF)]
    return at


def _relative(raw: Bytes, count: int) -> Flags:
    """Where an operand of a call or jump may be, or an address relative to the instruction."""
    found = np.zeros(count, dtype=np.bool_)
    before = raw[: count - 1]
    found[1:] = (before & 0xFE == 0xE8) | (before & 0xC7 == 0x05)
    conditional = (raw[:-1] == 0x0F) & (raw[1:] & 0xF0 == 0x80)
    found[2:] |= conditional[: max(0, count - 2)]
    return found


def _mark(found: Flags, at: npt.NDArray[np.int64]) -> None:
    for i in range(_OPERAND):
        found[at + i] = True
