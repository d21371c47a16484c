"""Changes a sample in ways that do not affect what it is. Runs in worker processes.

A map that moves when bytes are appended, or when padding is no longer zero, did not depend on the
sample's code and data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from maltriage.probe.mask import Range, Variant, masked_bytes
from maltriage.probe.prepare import PrepareOptions
from maltriage.sample.byteplot import View, make_views, plot, trimmed_length
from maltriage.sample.types import Layout
from maltriage.source.samples import read_again

APPENDED = 0.01
"""Share of a file's bytes that are appended."""
MIN_PADDING = 16
"""Least run of zero bytes at the end of a region that counts as padding."""


@dataclass(frozen=True)
class Perturbed:
    """Views of a sample after each change; `padded` is None where it has no padding."""

    appended: dict[str, View]
    padded: dict[str, View] | None


def perturbed(
    path: str, sha256: str, layout: Layout, options: PrepareOptions, seed: int
) -> Perturbed:
    """The views of a file with bytes appended, and with its padding overwritten.

    The new bytes are drawn from the file's own. Nothing else changes: regions and anchors are those
    of the file, and appended bytes lie past the last of them, in its overlay.

    Args:
        path: of the file.
        sha256: of its bytes when it was prepared.
        layout: of the file then.
        options: with which it was prepared.
        seed: of the drawn bytes.

    Raises:
        SampleError: it cannot be read again, or has other bytes (`changed`).
    """
    contents = read_again(path, options, sha256)
    data = contents.data
    raw = np.frombuffer(data, dtype=np.uint8)
    generator = np.random.default_rng(seed)
    count = max(1, round(len(raw) * APPENDED))
    more = raw[generator.integers(0, len(raw), count)].tobytes()
    anchors = {"overlay": len(data), **layout.anchors}
    appended = make_views(data[:] + more, anchors, options.views, contents.width)
    padding = padding_ranges(data, layout)
    if not padding:
        return Perturbed(appended, None)
    changed = masked_bytes(data, Variant(padding, "histogram", seed))
    return Perturbed(appended, plot(changed, layout.anchors, options.views, contents.width))


def padding_ranges(data: bytes, layout: Layout) -> tuple[Range, ...]:
    """The zero bytes at the end of each region, [start, end), if there are enough of them.

    Zero bytes at the end of the file do not count: they are cut before plotting.
    """
    raw = np.frombuffer(data, dtype=np.uint8)
    length = trimmed_length(raw)
    found = []
    for region in layout.regions:
        end = min(region.end, length)
        start = region.start + trimmed_length(raw[region.start : end])
        if end - start >= MIN_PADDING:
            found.append((start, end))
    return tuple(found)
