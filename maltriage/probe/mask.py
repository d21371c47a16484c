"""Masks bytes of samples for a net. Runs in worker processes.

Masking tests what a map claims of bytes. Only bytes change: the layout, its anchors, the plotted
length and the places of all windows stay those of the sample, and header fields that are zeroed
before plotting stay zero. A variant without masked bytes has exactly the images of the sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from maltriage.probe.prepare import PrepareOptions
from maltriage.sample.byteplot import Bytes, disarmed_ranges, plot, plotted
from maltriage.sample.views import ViewSpec
from maltriage.source.samples import read_again

Mask = Literal["zeros", "histogram", "shuffle"]
"""Replacement of masked bytes: zeros; bytes drawn from the plotted bytes of the file, with their
frequencies there; or the bytes of the range itself in another order."""
MASKS: tuple[Mask, ...] = get_args(Mask)

_TABLE = 1 << 16
"""Size of the table for drawing, or of the blocks for shuffling, many bytes: fits a cache, and
16 bits index it."""
_BLOCK = 1 << 20
"""Bytes drawn at once."""
_LINE = 64
"""Bytes shuffled as a unit first, when there are many: a cache line."""

Range = tuple[int, int]


@dataclass(frozen=True)
class Variant:
    """A sample with the bytes of `ranges` masked.

    `ranges` are [start, end) in the file; bytes past the plotted ones (trailing zeros, and past
    the end) are left alone, since no view shows them. Each range is shuffled by itself. `seed`:
    of the variant's own random generator.
    """

    ranges: tuple[Range, ...]
    mask: Mask
    seed: int = 0


@dataclass(frozen=True)
class MaskedViews:
    """Images of V variants without duplicates.

    For each view `images` holds [U, *spec.shape], the unmasked sample first, and `rows`, shape
    (V,), the index of each variant's image.
    """

    images: dict[str, Bytes]
    rows: dict[str, npt.NDArray[np.int64]]

    def __len__(self) -> int:
        return len(next(iter(self.rows.values())))

    def batch(self, start: int, end: int) -> dict[str, Bytes]:
        """Images of the variants [start, end) by view: [end - start, *spec.shape]."""
        return {name: images[self.rows[name][start:end]] for name, images in self.images.items()}


def masked(
    path: str,
    sha256: str,
    anchors: dict[str, int],
    options: PrepareOptions,
    variants: Sequence[Variant],
) -> MaskedViews:
    """The images of variants of one file, which is read once.

    Args:
        path: of the file.
        sha256: of its bytes when it was prepared.
        anchors: of its layout.
        options: with which it was prepared.

    Raises:
        SampleError: it cannot be read again, or has other bytes (`changed`).
    """
    contents = read_again(path, options, sha256)
    return mask_views(contents.data, anchors, options.views, variants, contents.width)


def mask_views(
    data: bytes,
    anchors: dict[str, int],
    specs: tuple[ViewSpec, ...],
    variants: Sequence[Variant],
    width: int | None = None,
) -> MaskedViews:
    """The images of variants of a file; `data`, `anchors`, `specs`, `width` as in `make_views`.

    The cost of a variant grows with its masked bytes, not with the file: only the rows of the
    body and the windows that show them are made again.
    """
    raw = plotted(data)
    fixed = disarmed_ranges(data)
    views = plot(raw, anchors, specs, width)
    images = {spec.name: [views[spec.name].pixels] for spec in specs}
    rows = {spec.name: np.zeros(len(variants), dtype=np.int64) for spec in specs}
    changed = raw.copy()
    for index, variant in enumerate(variants):
        pieces = list(_pieces(variant.ranges, fixed, len(raw)))
        _apply(changed, raw, pieces, variant)
        for spec in specs:
            plain = views[spec.name]
            pixels = spec.replotted(changed, pieces, plain, anchors, width)
            if pixels is not plain.pixels and not np.array_equal(pixels, plain.pixels):
                rows[spec.name][index] = len(images[spec.name])
                images[spec.name].append(pixels)
        for start, end in pieces:
            changed[start:end] = raw[start:end]
    return MaskedViews({name: np.stack(parts) for name, parts in images.items()}, rows)


def masked_bytes(data: bytes, variant: Variant) -> Bytes:
    """The plotted bytes of a file after a mask."""
    raw = plotted(data)
    changed = raw.copy()
    _apply(changed, raw, list(_pieces(variant.ranges, disarmed_ranges(data), len(raw))), variant)
    return changed


def _pieces(ranges: Sequence[Range], fixed: list[Range], length: int) -> Iterator[Range]:
    """The plotted bytes of ranges, without the fields that are zero in every image."""
    for start, end in ranges:
        at, last = max(start, 0), min(end, length)
        for low, high in fixed:
            if at < high and low < last:
                if at < low:
                    yield at, low
                at = high
        if at < last:
            yield at, last


def _apply(changed: Bytes, raw: Bytes, pieces: list[Range], variant: Variant) -> None:
    """Mask `pieces` of `changed`, which equals `raw` so far."""
    if variant.mask == "zeros":
        for start, end in pieces:
            changed[start:end] = 0
        return
    generator = np.random.default_rng(variant.seed)
    for start, end in pieces:
        if variant.mask == "shuffle":
            _shuffle(changed[start:end], generator)
        else:
            _draw(changed[start:end], raw, generator)


def _shuffle(part: Bytes, generator: np.random.Generator) -> None:
    """Shuffle bytes in place.

    If there are many, short lines are shuffled first and then the bytes block by block: the random
    access of Fisher-Yates is slow beyond the size of a cache.
    """
    if len(part) > _TABLE:
        lines = part[: len(part) // _LINE * _LINE].reshape(-1, _LINE)
        lines[:] = lines[generator.permutation(len(lines))]
    for at in range(0, len(part), _TABLE):
        generator.shuffle(part[at : at + _TABLE])


def _draw(into: Bytes, raw: Bytes, generator: np.random.Generator) -> None:
    """Fill `into` with bytes from random places of `raw`, i.e. by its histogram.

    Many bytes are drawn from a table drawn like this: random access to a large file is slow.
    """
    if len(into) <= _TABLE:
        into[:] = raw[generator.integers(0, len(raw), len(into))]
        return
    table = raw[generator.integers(0, len(raw), _TABLE)]
    for at in range(0, len(into), _BLOCK):
        part = into[at : at + _BLOCK]
        part[:] = table[generator.integers(0, _TABLE, len(part), dtype=np.uint16)]
