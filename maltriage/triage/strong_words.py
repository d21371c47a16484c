"""The words that say most for the explained label, or against it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from maltriage.report.documents.evidence import Word
from maltriage.sample.scattered import ScatteredGeometry
from maltriage.sample.types import Layout
from maltriage.triage.evidence import Part

MAX_WORDS = 16

Spell = Callable[[list[tuple[int, int]]], list[str]]
"""Reads the letters in byte ranges of the file, in a worker."""


def strongest(layout: Layout, parts: Sequence[Part], spell: Spell) -> list[Word]:
    """The words with most |heat|, the strongest first; none if no view of the model reads words."""
    chosen = [
        (float(grid.ravel()[cell]), places)
        for geometry, grid in parts
        if isinstance(geometry, ScatteredGeometry)
        for cell in np.argsort(-np.abs(grid.ravel()), kind="stable")[:MAX_WORDS]
        if grid.ravel()[cell] and (places := geometry.cell_ranges((0, int(cell)), (1, grid.size)))
    ]
    if not chosen:
        return []
    texts = spell([places[0] for _, places in chosen])
    words = []
    for (value, places), text in zip(chosen, texts, strict=True):
        start = places[0][0]
        region = layout.region_at(start)
        name = "" if region is None else region.name
        words.append(Word(text, value, len(places), start, name))
    return words
