"""Occlusion: which bytes matter, by masking them window by window (Zeiler and Fergus 2014).

It asks nothing of a bundle but its logits. A window's effect is what the explained score loses
when its bytes are masked. Effects are not additive: bytes that say the same thing twice lose
nothing when one of them is masked, so effects do not sum to the score.
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
"""Strides that a file is divided into, about."""
OVERLAP = 2
"""Strides that a window is long: so many windows cover each byte."""
ALIGNED = 64
"""Bytes that a stride is a multiple of."""


@dataclass(frozen=True)
class Windows:
    """Windows that slide over the pieces of a file, and never across the edge of a piece.

    The first and the last of a piece reach past its ends, where they are cut off. Each byte lies
    in `OVERLAP` of them. `pieces` are byte ranges that cover the file, ascending.
    """

    pieces: tuple[Range, ...]
    stride: int

    @classmethod
    def over(cls, layout: Layout) -> Windows:
        """About `STEPS` strides over a file, whose pieces are its regions.

        A region is what an account is given of; what masking half of it and half of the next
        one takes could not be told apart. A file of very many regions is one piece.
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
        """The bytes of each window of a piece, [start, end), ascending."""
        start, end = piece
        starts = range(start + self.stride - self.length, end, self.stride)
        return [(max(start, at), min(at + self.length, end)) for at in starts]

    @property
    def ranges(self) -> list[Range]:
        """The bytes of each window of the file, piece by piece."""
        return [part for piece in self.pieces for part in self.within(piece)]


@dataclass(frozen=True)
class RangeGeometry:
    """Heat that is spread evenly over byte ranges which follow each other from the file's start.

    `edges` are the ends of the ranges with a 0 before them, shape (n + 1,), ascending.
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

    def integrate_steps(self, heat: Floats, step: int, count: int, others: list[int]) -> Floats:
        """The same for the offsets k * step, k = 0 to `count`, and then for each of `others`."""
        return self.integrate(heat, np.array([*range(0, (count + 1) * step, step), *others]))

    def bytewise(self, heat: Floats) -> None:
        """Nowhere has a byte a value to itself."""


def spread(windows: Windows, effects: Floats) -> Part:
    """The effects of windows as heat on bytes.

    An effect is spread evenly over the bytes of its window; a byte has the mean over the
    windows that cover it. So all heat is the sum of the effects over `OVERLAP`.

    Args:
        effects: shape (n,), as `windows.ranges`.
    """
    edges, heat, done = [], [], 0
    share = np.full(OVERLAP, 1 / OVERLAP)
    for start, end in windows.pieces:
        lengths = np.array([stop - first for first, stop in windows.within((start, end))])
        # A stride is covered by the windows that begin with it and up to OVERLAP - 1 before it.
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
    """What the explained score loses where a window is masked, shape (n,).

    Raises:
        SampleError: the file cannot be read again, or it changed.
    """
    variants = [Variant((), mask)]
    variants += [Variant((part,), mask, seed + i) for i, part in enumerate(windows.ranges)]
    scores = question.score(run_masked(session, workers, prepared, variants, options))
    return np.asarray(scores[0] - scores[1:])


def explain(explainer: Explainer, asked: Asked, method: Method) -> tuple[Evidence, list[Part]]:
    """Occlusion as a method of `maltriage.report.documents.methods`."""
    evidence, _ = explainer.account(asked, method, maps_of(asked.outputs, asked.row, HIRESCAM))
    return occlude(
        explainer.session,
        explainer.workers,
        asked.prepared,
        asked.question,
        evidence,
        explainer.options,
        seed=explainer.seed,
    )


def occlude(
    session: Session,
    workers: Workers,
    prepared: Prepared,
    question: Question,
    evidence: Evidence,
    options: PrepareOptions,
    *,
    mask: Mask = "histogram",
    seed: int = 0,
) -> tuple[Evidence, list[Part]]:
    """The evidence of occlusion, and the heat that it was made of.

    Args:
        prepared: the sample; it must still be the same file.
        evidence: for the same question, by whichever maps: what is said of heat is replaced.
        options: with which the sample was prepared.
        mask: what stands in the place of masked bytes.
        seed: of the bytes that are drawn; window i draws with seed + i.

    Raises:
        SampleError: the file cannot be read again, or it changed.
        MaltriageError: the model gave what is no number.
    """
    windows = Windows.over(prepared.layout)
    found = effects(session, workers, prepared, question, options, windows, mask, seed)
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
        occluded=Occluded(windows.length, windows.stride, len(found), mask, seed),
    )
    return evidence, parts
