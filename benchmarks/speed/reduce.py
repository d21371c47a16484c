"""Reducing bytes to a byteplot: this package's sums against Pillow and OpenCV.

    python -m benchmarks.speed.reduce FOLDER [FOLDER ...] [--files 200] [--rounds 3]

All make the five channels of the body at 64 x 64 from the same bytes. Pillow (`BOX`) and OpenCV
(`INTER_AREA`) average a picture by area, so each channel is a picture first: the byte, its square,
and whether it is zero, printable, high. The pictures are made with numpy, and their making counts.
Time is CPU time of one thread, the least of the rounds; all libraries take turns. OpenCV
(opencv-python-headless) is needed by nothing else here and is left out where it is not installed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.speed.measure import machine
from benchmarks.speed.scan import manifest, readable
from maltriage.sample.byteplot import plotted
from maltriage.sample.geometry import width_for
from maltriage.sample.views import BodySpec
from maltriage.source.samples import read_sample
from maltriage.work.cores import cores

SIZE = 64
SPEC = BodySpec(SIZE)
Bytes = npt.NDArray[np.uint8]
Resize = Callable[[npt.NDArray[np.float32]], npt.NDArray[Any]]


def own(raw: Bytes) -> Bytes:
    return SPEC.plot(raw, {}).pixels


def by(resize: Resize) -> Callable[[Bytes], Bytes]:
    """The body by a library's area average, at full precision."""

    def reduce(raw: Bytes) -> Bytes:
        width = width_for(len(raw))
        rows = -(-len(raw) // width)
        padded = np.zeros(rows * width, dtype=np.uint8)
        padded[: len(raw)] = raw
        exists = np.arange(rows * width) < len(raw)
        values = padded.astype(np.float32)
        planes = [
            values,
            values * values,
            (padded == 0) & exists,
            (padded - np.uint8(0x20)) < 0x5F,
            padded >= 0x80,
        ]
        mean, square, *shares = (
            resize(plane.astype(np.float32).reshape(rows, width)).astype(np.float64)
            for plane in planes
        )
        spread = 2.0 * np.sqrt(np.maximum(square - mean * mean, 0.0))
        cells = np.stack([mean, spread, *(255.0 * share for share in shares)])
        return np.minimum(cells + 0.5 + 1e-9, 255.0).astype(np.uint8)

    return reduce


def pillow(plane: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    picture = Image.fromarray(plane).resize((SIZE, SIZE), Image.Resampling.BOX)
    return np.asarray(picture)


def methods() -> dict[str, Callable[[Bytes], Bytes]]:
    found = {"maltriage": own, "Pillow": by(pillow)}
    try:
        import cv2
    except ImportError:
        return found
    cv2.setNumThreads(1)
    found["OpenCV"] = by(lambda plane: cv2.resize(plane, (SIZE, SIZE), interpolation=3))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    paths = readable(options.folders, options.files)
    if not paths:
        sys.exit("no samples there")
    files = [plotted(read_sample(path).data) for path in paths]
    print(machine(cores()))
    print(manifest(paths))
    reducers = methods()
    least = dict.fromkeys(reducers, np.inf)
    for _ in range(options.rounds):
        for name, reduce in reducers.items():
            start = time.thread_time()
            for raw in files:
                reduce(raw)
            least[name] = min(least[name], (time.thread_time() - start) / len(files) * 1e3)
    print(f"\n{'':10s} {'CPU ms/file':>12s} {'pixels that differ':>19s} {'by at most':>11s}")
    wanted = [own(raw).astype(int) for raw in files]
    for name, reduce in reducers.items():
        off = [abs(reduce(raw) - pixels) for raw, pixels in zip(files, wanted, strict=True)]
        share = np.mean([each > 0 for each in off])
        print(f"{name:10s} {least[name]:12.2f} {share:18.3%} {max(map(np.max, off)):11d}")


if __name__ == "__main__":
    main()
