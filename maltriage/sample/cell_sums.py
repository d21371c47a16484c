"""Sums over the cells of a byteplot: all channels in one pass over the bytes.

Importing this costs numpy. Exact: sums are whole numbers until a cell's edge cuts a byte's row.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from maltriage.sample import native

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Offsets = npt.NDArray[np.int64]

_BLOCK = 1 << 19
"""Bytes summed at once: enough to outweigh the calls, few enough to stay in a cache."""
_LINE = 1 << 14
"""Bytes of one line of a block, over all its bands."""
_DEEP = 255
"""Lines summed at once: that many flags fit a byte, that many bytes fit 16 bits."""

_EXACT = 256
"""Sums below 2**16 that float32 adds up without an error: whole numbers below 2**24 are exact."""


class _Scratch(threading.local):
    """Arrays reused from file to file, a megabyte or two in all.

    Fresh memory costs a page fault every 4 KiB, which takes longer than the sums.
    """

    def __init__(self) -> None:
        self._kept: dict[str, npt.NDArray[Any]] = {}

    def __call__(self, name: str, shape: tuple[int, ...], dtype: type) -> npt.NDArray[Any]:
        """An uninitialised array, valid until `name` is asked for again."""
        size = math.prod(shape)
        kept = self._kept.get(name)
        if kept is None or kept.size < size:
            kept = self._kept[name] = np.empty(size, dtype=dtype)
        return kept[:size].reshape(shape)


_scratch = _Scratch()


def cell_sums(
    raw: Bytes, rows: int, width: int, size: int, bands: tuple[int, int] | None = None
) -> Floats:
    """Sums over each cell of a size x size map: (5, size, size), valid until the next call.

    The planes are value, square, zero, printable and high of each byte. A cell's edge may
    cut a row of bytes. Band i of rows is P(edge i + 1) - P(edge i), where P(e) is the sum
    of the whole rows above e plus the cut share of the row that e lies in.

    Args:
        bands: compute only these rows of the map, [first, end): (5, end - first, size), equal bit
            by bit to those rows of the whole map.
    """
    begin, end = bands or (0, size)
    whole = len(raw) // width
    plot = raw[: whole * width].reshape(whole, width)
    at = np.arange(size + 1) * rows
    row, cut = np.minimum(at // size, whole), (at % size) / size
    cells = _scratch("planes", (5, end - begin, size), np.float64)
    cut *= row < whole
    if native.kernel is not None and _any_order(width, size):
        native.kernel.cell_sums(plot, width, size, row, cut, begin, end, cells)
    else:
        _sum_cells(cells, plot, row, cut, begin)
    if whole < rows:  # the unfinished last row: only the bytes that exist count
        rest = raw[whole * width :]
        sums = np.zeros((5, width))
        sums[0, : len(rest)] = rest
        sums[1] = np.square(sums[0])
        sums[2, : len(rest)] = rest == 0
        sums[3, : len(rest)] = (rest - np.uint8(0x20)) < 0x5F
        sums[4, : len(rest)] = rest >> 7
        first = max(whole * size // rows, begin)
        if first < end:
            top, bottom = at[first:end] / size, at[first + 1 : end + 1] / size
            overlap = np.minimum(bottom, rows) - np.maximum(top, whole)
            cells[:, first - begin :] += overlap[:, None] * _columns(sums, size)[:, None]
    return cells


def _sum_cells(cells: Floats, plot: Bytes, row: Offsets, cut: Floats, begin: int) -> None:
    """Fill `cells`, rows of the map from `begin` on, with the sums of whole rows of bytes.

    Args:
        row: the row of bytes that each edge between rows of the map lies in, (size + 1,).
        cut: the share of it above the edge; 0 where there is none.
    """
    size = cells.shape[2]
    end = begin + cells.shape[1]
    count = np.diff(row)
    common = int(count.min())  # rows that every band has; a band has at most one more
    _sum_bands(cells, plot, row[begin:end], common)
    if (count > common).any() or cut.any():
        # Row by row: the one more, and those that an edge between two bands cuts.
        low, high = max(begin, 1), min(end, size - 1) + 1
        lines = _scratch("edges", (5, end - begin + high - low, size), np.float64)
        _sum_bands(lines, plot, np.concatenate((row[begin:end] + common, row[low:high])), 1)
        besides, edges = lines[:, : end - begin], lines[:, end - begin :]
        besides *= (count[begin:end] > common)[:, None]
        cells += besides
        edges *= cut[low:high, None]
        above = low - begin  # 1 where the map's upper edge, which cuts nothing, is included
        cells[:, : high - 1 - begin] += edges[:, 1 - above :]
        cells[:, above:] -= edges[:, : end - low]


def _sum_bands(cells: Floats, plot: Bytes, starts: Offsets, depth: int) -> None:
    """Fill `cells` with the sums of rows [start, start + depth) of `plot`, band by band.

    Args:
        cells: shape (5, n, size).
        plot: shape (rows, width).
        starts: shape (n,); those past the end count as the last row.
    """
    width, size = plot.shape[1], cells.shape[2]
    cells.fill(0.0)
    if not depth:
        return
    turn = depth == 1 and width % size == 0 and width // size <= _DEEP
    deep = min(depth, _DEEP, _BLOCK // width)
    most = min(_BLOCK // (deep * width), _LINE // (size if turn else width))
    for first in range(0, len(starts), most):
        part, into = starts[first : first + most], cells[:, first : first + most]
        for step in range(0, depth, deep):
            index = part + np.arange(step, min(step + deep, depth))[:, None]
            # (lines, bands, width): the next line of all bands is added to the one before,
            # which is one long addition for numpy instead of a short one for each band.
            block = _scratch("block", (*index.shape, width), np.uint8)
            plot.take(index, axis=0, out=block, mode="clip")  # other modes would copy twice
            if turn:  # one row a band: add up its bytes in each cell, not the rows
                lines = _scratch("turned", (width // size, len(part) * size), np.uint8)
                np.copyto(lines, block.reshape(-1, width // size).T)
            else:
                lines = block.reshape(len(index), -1)
            sums = _columns(_sums(lines).reshape(6 * len(part), -1), size)
            sums = sums.reshape(6, len(part), size)
            sums[1] *= 256.0
            into += sums[:5]
            into[1] += sums[5]


def _any_order(width: int, size: int) -> bool:
    """Whether sums over columns are exact, and so the same in any order."""
    if width % size == 0:
        return width // size <= _EXACT
    return size % width == 0 and (size // width).bit_count() == 1


def _sums(lines: Bytes) -> npt.NDArray[np.float32]:
    """Sums of the planes over at most `_DEEP` lines: (lines, n) to (6, n).

    The square's sum is 256 times plane 1 plus plane 5, each of which is below 2**16. The narrowest
    integers possible and one plane at a time make this fast.
    """
    add = np.add.reduce
    sums = _scratch("sums", (6, lines.shape[1]), np.float32)
    wide = _scratch("wide", lines.shape, np.uint16)
    np.copyto(wide, lines)
    sums[0] = add(wide, axis=0, dtype=np.uint16)
    np.multiply(wide, wide, out=wide)
    low = add(wide, axis=0, dtype=np.uint16)  # bits above 16 are lost here
    np.right_shift(wide, np.uint16(8), out=wide)
    high = add(wide, axis=0, dtype=np.uint16)
    sums[1] = high
    low -= high << np.uint16(8)
    sums[5] = low
    flags = _scratch("flags", lines.shape, np.uint8)
    truth = flags.view(np.bool_)
    np.equal(lines, np.uint8(0), out=truth)
    sums[2] = add(flags, axis=0, dtype=np.uint8)
    np.subtract(lines, np.uint8(0x20), out=flags)
    np.less(flags, np.uint8(0x5F), out=truth)
    sums[3] = add(flags, axis=0, dtype=np.uint8)
    np.right_shift(lines, np.uint8(7), out=flags)
    sums[4] = add(flags, axis=0, dtype=np.uint8)
    return sums


def _columns(values: npt.NDArray[np.floating], size: int) -> Floats:
    """Sums over `size` equal groups of columns: (n, width) to (n, size), in float64.

    The result is valid until the next call.
    """
    count, width = values.shape
    cells = _scratch("cells", (count, size), np.float64)
    if width == size:
        cells[:] = values
    elif width % size == 0:
        each = width // size
        if each > _EXACT:
            values = values.astype(np.float64)
        sums = _scratch(f"sums-{values.dtype}", (count, size), values.dtype.type)
        # Many small products: one large one would start threads, in every worker process.
        groups = values.reshape(count, size, each)
        cells[:] = np.matmul(groups, np.ones(each, dtype=values.dtype), out=sums)
    elif size % width == 0:
        each = size // width
        cells.reshape(count, width, each)[:] = values[:, :, None]
        cells /= each
    else:
        prefix = np.zeros((count, width + 1))
        np.cumsum(values, axis=1, out=prefix[:, 1:])
        at = np.arange(size + 1) * width
        column = np.minimum(at // size, width - 1)
        cut = at / size - column
        cells[:] = np.diff(prefix[:, column] * (1 - cut) + prefix[:, column + 1] * cut, axis=1)
    return cells
