"""Predictions as a file that anybody may write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from maltriage.corpus.predictions import (
    COLUMNS,
    Predictions,
    join,
    load_predictions,
    save_predictions,
)
from maltriage.errors import MaltriageError

FOUND = Predictions(
    recipe="net, with a comma",
    seed=3,
    labels=("benign", "zeus\udcff"),
    sha256=("a" * 64, "b" * 64, "c" * 64),
    truth=np.array([0, 1, 0]),
    fold=np.array([0, 1, 1]),
    added=np.array([False, False, True]),
    logits=np.array([[1.5, -1.5], [-0.25, 0.25], [1e-7, -1e-7]]),
)


def same(a: Predictions, b: Predictions) -> bool:
    return (
        (a.recipe, a.seed, a.labels, a.sha256) == (b.recipe, b.seed, b.labels, b.sha256)
        and all(
            np.array_equal(getattr(a, name), getattr(b, name))
            for name in ("truth", "fold", "added")
        )
        and np.allclose(a.logits, b.logits, rtol=1e-6)
    )


def test_round_trip(tmp_path: Path) -> None:
    save_predictions(FOUND, tmp_path / "found.csv")
    assert same(load_predictions(tmp_path / "found.csv"), FOUND)
    assert [path.name for path in tmp_path.iterdir()] == ["found.csv"]


def test_folds_are_taken_apart_and_joined() -> None:
    assert FOUND.folds == 2
    parts = [FOUND.take(FOUND.fold == fold) for fold in (0, 1)]
    assert [len(part) for part in parts] == [1, 2]
    assert same(join(parts), FOUND)


A, B = "a" * 64, "b" * 64
HEADER = "recipe,seed,sha256,label,fold,added,benign,zeus\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not predictions"),
        ("a,b\n1,2\n", "not predictions"),
        ("recipe,seed,sha256,label,fold,added,benign,benign\n", "two labels"),
        (HEADER, "no predictions"),
        (HEADER + f"net,0,{A},benign,0,0,1.0\n", "line 2: 7 fields instead of 8"),
        (HEADER + f"net,0,{A},benign,0,0,1.0,nan\n", "line 2: a logit is not a number"),
        (HEADER + f"net,0,{A},benign,0,0,1e308,0\n", "line 2: a logit is not a number, or too"),
        (",".join([*COLUMNS, *map(str, range(10_001))]) + "\nx\n", "more than 10,000 labels"),
        (HEADER + f"net,0,{A},agent,0,0,1.0,2.0\n", "line 2: no such label"),
        (HEADER + "net,0,sample-0,zeus,0,0,1.0,2.0\n", "line 2: the sha256 is not 64"),
        (HEADER + f"net,0,{A},zeus,-1,0,1.0,2.0\n", "line 2: fold -1, not 0 to"),
        (HEADER + f"net,0,{A},zeus,100000,0,1.0,2.0\n", "line 2: fold 100000, not 0 to"),
        (HEADER + f"net,0,{A},zeus,{10**30},0,1.0,2.0\n", "line 2: fold 1000"),
        (HEADER + f"net,x,{A},zeus,0,0,1.0,2.0\n", "line 2: invalid literal"),
        (
            HEADER + f"net,0,{A},zeus,0,0,0.25,0.75\nnet,0,{B},zeus,0,0,1,0\n",
            "probabilities, not logits: give their logarithms",
        ),
        (
            HEADER + f"net,0,{A},zeus,0,0,1.0,2.0\nnet,1,{B},zeus,0,0,1.0,2.0\n",
            "line 3: recipe or seed differs",
        ),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(MaltriageError, match=message):
        load_predictions(path)


def test_a_mark_of_the_byte_order_and_capitals_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "found.csv"
    path.write_text(HEADER + f"net,0,{A.upper()},zeus,0,0,1.0,2.0\n", encoding="utf-8-sig")
    assert load_predictions(path).sha256 == (A,)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(MaltriageError, match="cannot read predictions"):
        load_predictions(tmp_path / "none.csv")
