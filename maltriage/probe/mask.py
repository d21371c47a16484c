"""Samples with some of their bytes masked, as a net sees them. Runs in worker processes.

What a map says of bytes is put to the test by taking the bytes away. Only bytes change: the
layout, its anchors, the length that is plotted and the places of all windows stay those of the
sample, and header fields that are zeroed before plotting stay zero. A variant in which nothing
is masked gives the very images of the sample.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from maltriage.probe.prepare import PrepareOptions
from maltriage.sample.byteplot import Bytes, disarmed_ranges, plot, plotted
from maltriage.sample.errors import SampleError
from maltriage.sample.views import ViewSpec
from maltriage.source.files import read_sample

Mask = Literal["zeros", "histogram", "shuffle"]
"""What stands in the place of masked bytes: zeros; bytes drawn from all that are plotted of the
file, as frequent as they are there; the bytes of the range itself in another order."""
MASKS: tuple[Mask, ...] = get_args(Mask)

_TABLE = 1 << 16
"""Bytes that others are drawn from, or are shuffled at once, where they are many: as many as a
cache holds, and as 16 bits tell apart."""
_BLOCK = 1 << 20
"""Bytes drawn at once."""
_LINE = 64
"""Bytes of what is shuffled as a whole first, where they are many: what a cache reads at once."""

Range = tuple[int, int]


@dataclass(frozen=True)
class Variant:
    """A sample with the bytes of `ranges` masked.

    `ranges` are [start, end) in the file; what lies past the plotted bytes (trailing zeros, and
    past the end) is left alone, since no view shows it. Each range is shuffled by itself. `seed`:
    of the random generator that draws, which is one of its own in each variant.
    """

    ranges: tuple[Range, ...]
    mask: Mask
    seed: int = 0


@dataclass(frozen=True)
class MaskedViews:
    """Images of V variants without those that are equal.

    Of each view `images` holds [U, *spec.shape], first the one of the sample as it is, and
    `rows`, shape (V,), says which of them is a variant's.
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
        SampleError: it gives no sample (see `read_sample`), or not the one that was prepared.
    """
    contents = read_sample(path, options)
    if hashlib.sha256(contents.data).hexdigest() != sha256:
        raise SampleError("changed", "it changed while it was explained", failed=True)
    return mask_views(contents.data, anchors, options.views, variants, contents.width)


def mask_views(
    data: bytes,
    anchors: dict[str, int],
    specs: tuple[ViewSpec, ...],
    variants: Sequence[Variant],
    width: int | None = None,
) -> MaskedViews:
    """The images of variants of a file; `data`, `anchors`, `specs`, `width` as in `make_views`.

    What a variant costs grows with its masked bytes and not with the file: only the rows of
    the body and the windows that show them are made again.
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
    """Mask `pieces` of `changed`, which is equal to `raw` so far."""
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
    """Put bytes into another order.

    Of many, lines of a few bytes are shuffled and then the bytes block by block: Fisher and Yates
    jump about in all of them, which is slow where they are more than a cache holds.
    """
    if len(part) > _TABLE:
        lines = part[: len(part) // _LINE * _LINE].reshape(-1, _LINE)
        lines[:] = lines[generator.permutation(len(lines))]
    for at in range(0, len(part), _TABLE):
        generator.shuffle(part[at : at + _TABLE])


def _draw(into: Bytes, raw: Bytes, generator: np.random.Generator) -> None:
    """Fill `into` with bytes from random places of `raw`, which are bytes of its histogram.

    Many are drawn from a table that was drawn like this: jumping about in a large file is slow.
    """
    if len(into) <= _TABLE:
        into[:] = raw[generator.integers(0, len(raw), len(into))]
        return
    table = raw[generator.integers(0, len(raw), _TABLE)]
    for at in range(0, len(into), _BLOCK):
        part = into[at : at + _BLOCK]
        part[:] = table[generator.integers(0, _TABLE, len(part), dtype=np.uint16)]
