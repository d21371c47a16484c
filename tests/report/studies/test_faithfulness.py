"""The screen of how good explanations are."""

from __future__ import annotations

import io
from typing import Any

import msgspec
from rich.console import Console

from maltriage.metrics import Interval
from maltriage.report.documents.evaluation import (
    CurveFigures,
    Faithfulness,
    MeanCurves,
    MethodFaithfulness,
    Target,
)
from maltriage.report.documents.record import ModelRef
from maltriage.report.studies.faithfulness import render

HOSTILE = "a[/x]\x1b]52;c;!\x07"
VALUE = Interval(0.5, 0.4, 0.6)
CURVE = CurveFigures(VALUE, Interval(0.8, 0.7, 0.9), VALUE, Interval(0.375, 0.3, 0.4))


def document(**changes: Any) -> Faithfulness:
    method = MethodFaithfulness(
        method="hirescam",
        same_as=["gradcam"],
        deletion=CURVE,
        insertion=CURVE,
        deletion_score=CURVE,
        insertion_score=CURVE,
        top_region=None,
        rank_correlation=VALUE,
        random_nets=VALUE,
        appended=VALUE,
        padded=None,
        curves=MeanCurves([0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]),
    )
    found = Faithfulness(
        model=ModelRef(HOSTILE, "ab" * 32),
        part="out of fold",
        seen=False,
        files=10,
        right=8,
        told=0,
        unreadable=1,
        unknown_labels={HOSTILE: 2},
        missing=3,
        mask="zeros",
        seed=4,
        orders=3,
        nets=2,
        seconds=1.0,
        largest_region=None,
        methods=[method],
        targets=[
            Target("deletion", 0.375, 0.25, None, True),
            Target("randomised", 0.6, None, 0.5, False),
        ],
    )
    return msgspec.structs.replace(found, **changes)


def shown(found: Faithfulness) -> str:
    stream = io.StringIO()
    render(found, Console(file=stream, width=140, color_system=None, markup=False))
    return stream.getvalue()


def test_the_screen() -> None:
    text = shown(document())
    assert "\x1b" not in text
    assert "8 of 10 files with the right verdict  (mask zeros, seed 4)" in text
    assert "hirescam = gradcam" in text
    assert "+37.5% (+30.0% to +40.0%)" in text
    assert "1 file could not be measured" in text
    assert "3 files in no fold" in text
    assert "2 files left out" in text
    assert "0.375, at least 0.25: met" in text
    assert "0.600, at most 0.5: missed" in text
    assert "trained on" not in text
    lines = {line.split("  ")[0]: line for line in text.splitlines()}
    assert "0.500" in lines["claimed and measured, regions"]
    assert "-" in lines["top region right"].split()
    assert "-" in lines["map with other padding"].split()


def test_it_says_that_the_model_has_seen_the_files() -> None:
    assert "the model was trained on these files" in shown(document(seen=True))
    unknown = shown(document(part="all"))
    assert "the overlap with the training files is not known" in unknown
