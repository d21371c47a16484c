"""Patterns of families to render: two bundles, one of whose names tries to break out."""

from __future__ import annotations

from report.pages import BREAKOUT

from maltriage.report.documents.patterns import (
    BundlePatterns,
    Exemplar,
    FamilyLikeness,
    FamilyPattern,
    Grid,
    KindShare,
    Mean,
    PairLikeness,
    Patterns,
    RecurringRange,
    ViewPattern,
)
from maltriage.report.documents.record import ModelRef

HOSTILE = f"\x1b]52;c;x\x07[red]{BREAKOUT}"


def grid(width: int, height: int, hot: int) -> Grid:
    """A map with one cell for the family and the next one half as much against it."""
    values = [0.0] * (width * height)
    values[hot], values[hot + 1] = 0.2, -0.1
    return Grid(width, height, values, None)


def family(name: str) -> FamilyPattern:
    mean = Mean(0.5, 0.25)
    return FamilyPattern(
        family=name,
        samples=1200,
        right=1100,
        cold=2,
        alike=None,
        kinds=[
            KindShare("header", Mean(0.6, 0.1)),
            KindShare("gap", Mean(0.1, 0.1)),
            KindShare("code", Mean(0.3, None)),
        ],
        views=[
            ViewPattern("body", None, 1200, mean, mean, grid(8, 8, 3)),
            ViewPattern(HOSTILE, "code", 900, Mean(-1.5, None), mean, grid(128, 1, 64)),
        ],
        plane=grid(16, 16, 20),
        ranges=[
            RecurringRange(HOSTILE, "bytes", -64, -32, [], Mean(0.031, 0.01), 0.875),
            RecurringRange("header", "bytes", 8, 12, ["COFF TimeDateStamp"], Mean(0.02, None), 1.0),
            RecurringRange("header", "bytes", 0, 8, ["PE signature", "COFF X"], Mean(0.01, 0.0), 1),
            RecurringRange("body", "share", 0.125, 0.25, [], Mean(0.01, 0.0), 0.5),
        ],
        exemplars=[Exemplar("ab" * 32, HOSTILE, 0.987)],
    )


def bundle(name: str, *families: str) -> BundlePatterns:
    return BundlePatterns(
        name=name,
        model=ModelRef(name, "0" * 64),
        net="gibert",
        additive=False,
        part="all",
        seen=False,
        unknown_labels={HOSTILE: 3},
        missing=0,
        unreadable=1,
        families=[family(label) for label in families],
    )


def document(*bundles: BundlePatterns, pairs: list[PairLikeness] | None = None) -> Patterns:
    return Patterns(
        maltriage_version="0",
        dataset="vx-zoo",
        method="hirescam",
        seconds=1.0,
        bundles=list(bundles),
        pairs=pairs or [],
    )


def two() -> Patterns:
    likeness = FamilyLikeness(
        "zeus", 0.25, None, 0.5, {"header": 0.5, "code": -0.4, "gap": -0.1}, 0.5
    )
    pair = PairLikeness("net", HOSTILE, 0.25, [likeness], [HOSTILE])
    other = PairLikeness("net", "third", None, [], [])
    return document(bundle("net", "zeus", HOSTILE), bundle(HOSTILE, "zeus"), pairs=[pair, other])
