"""Occlusion: finds the bytes that matter by masking them window by window (Zeiler and Fergus 2014).

It needs only a bundle's logits. A window's effect is the loss of the explained score when its bytes
are masked. Effects are not additive: of bytes with the same information masking one loses nothing,
so effects do not sum to the score.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from maltriage.probe.mask import Mask, Range, Variant
from maltriage.probe.prepare import Prepared, PrepareOptions
from maltriage.report.documents.evidence import Evidence, Occluded
from maltriage.report.documents.methods import Method
from maltriage.report.documents.record import finite
from maltriage.sample.geometry import Floats, Offsets
from maltriage.sample.types import Layout
from maltriage.triage.evidence import Part, divide
from maltriage.triage.masking import run_masked
from maltriage.triage.methods import HIRESCAM, Asked, Explainer, maps_of
from maltriage.triage.session import Session
from maltriage.triage.verdict import Question
from maltriage.work.workers import Workers

STEPS = 64
"""Approximate number of strides in a file."""
OVERLAP = 2
"""Length of a window in strides: the number of windows that cover each byte."""
ALIGNED = 64
"""A stride is a multiple of so many bytes."""
MASK: Mask = "histogram"


@dataclass(frozen=True)
class Windows:
    """Windows that slide over the regions of a file, and never across the edge of one.

    The first and the last of a region are cut off at its ends. Each byte lies in `OVERLAP` of
    them. `pieces` are the byte ranges of the regions, which cover the file, ascending.
    """

    pieces: tuple[Range, ...]
    stride: int

    @classmethod
    def over(cls, layout: Layout) -> Windows:
        """Windows of about `STEPS` strides over the regions of a file.

        Accounts are given by region, and a window over two regions could not be assigned to one.
        A file of very many regions is taken as one.
        """
        size = layout.regions[-1].end
        pieces = tuple((region.start, region.end) for region in layout.regions if region.size)
        if len(pieces) > STEPS:
            pieces = ((0, size),)
        return cls(pieces, max(1, -(-size // (STEPS * ALIGNED))) * ALIGNED)

    @property
    def length(self) -> int:
        return OVERLAP * self.stride

    def within(self, piece: Range) -> list[Range]:
        """The bytes of each window of a region, [start, end), ascending."""
        start, end = piece
        starts = range(start + self.stride - self.length, end, self.stride)
        return [(max(start, at), min(at + self.length, end)) for at in starts]

    @property
    def ranges(self) -> list[Range]:
        """The bytes of each window of the file, region by region."""
        return [part for piece in self.pieces for part in self.within(piece)]


@dataclass(frozen=True)
class RangeGeometry:
    """Heat spread evenly over consecutive byte ranges from the file's start.

    `edges` are 0 and the ends of the ranges, shape (n + 1,), ascending.
    """

    edges: Offsets

    def integrate(self, heat: Floats, offsets: Offsets) -> Floats:
        """Heat on the bytes [0, offset) of the file.

        Args:
            heat: of each range, shape (n,).
            offsets: file offsets, shape (m,).
        """
        prefix = np.concatenate(([0.0], np.cumsum(heat, dtype=np.float64)))
        return np.interp(offsets, self.edges, prefix)

    def integrate_steps(self, heat: Floats, step: int, count: int, others: Offsets) -> Floats:
        """The same for the offsets k * step, k = 0 to `count`, and then for each of `others`."""
        return self.integrate(heat, np.array([*range(0, (count + 1) * step, step), *others]))

    def bytewise(self, heat: Floats) -> None:
        """None: no byte has a value of its own."""


def spread(windows: Windows, effects: Floats) -> Part:
    """The effects of windows as heat on bytes.

    An effect is spread evenly over the bytes of its window; a byte has the mean over the windows
    that cover it. So the sum of all heat is that of the effects divided by `OVERLAP`.

    Args:
        effects: shape (n,), as `windows.ranges`.
    """
    edges, heat, done = [], [], 0
    share = np.full(OVERLAP, 1 / OVERLAP)
    for start, end in windows.pieces:
        lengths = np.array([stop - first for first, stop in windows.within((start, end))])
        # A stride is covered by the window that begins with it and OVERLAP - 1 before it.
        density = np.convolve(effects[done : done + len(lengths)] / lengths, share, mode="valid")
        done += len(lengths)
        cuts = np.append(np.arange(start, end, windows.stride), end)
        heat.append(density * np.diff(cuts))
        edges.append(cuts[:-1])
    return RangeGeometry(np.concatenate((*edges, [windows.pieces[-1][1]]))), np.concatenate(heat)


def effects(
    session: Session,
    workers: Workers,
    prepared: Prepared,
    question: Question,
    options: PrepareOptions,
    windows: Windows,
    mask: Mask,
    seed: int,
) -> npt.NDArray[np.float64]:
    """Loss of the explained score for each masked window, shape (n,).

    Raises:
        SampleError: the file cannot be read again, or has changed.
    """
    variants = [Variant((), mask)]
    variants += [Variant((part,), mask, seed + i) for i, part in enumerate(windows.ranges)]
    scores = question.score(run_masked(session, workers, prepared, variants, options))
    return np.asarray(scores[0] - scores[1:])


def explain(explainer: Explainer, asked: Asked, method: Method) -> tuple[Evidence, list[Part]]:
    """Occlusion as a method of `maltriage.report.documents.methods`.

    Window i is masked with random bytes of the seed of `explainer` + i.
    """
    prepared, seed = asked.prepared, explainer.seed
    # By any maps: their heat is replaced.
    evidence, _ = explainer.account(asked, method, maps_of(asked.outputs, asked.row, HIRESCAM))
    windows = Windows.over(prepared.layout)
    found = effects(
        explainer.session,
        explainer.workers,
        prepared,
        asked.question,
        explainer.options,
        windows,
        MASK,
        seed,
    )
    parts = [spread(windows, found)]
    division = divide(prepared, parts)
    evidence = msgspec.structs.replace(
        evidence,
        total=finite(division.total),
        regions=division.regions,
        padding=division.padding,
        hot=division.hot,
        views=[],
        plane=None,
        occluded=Occluded(windows.length, windows.stride, len(found), MASK, seed),
    )
    return evidence, parts
