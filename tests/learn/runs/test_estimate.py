"""What a training will take, said before it begins."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("torch", reason="needs the extra `train`")

from maltriage.corpus.corpus import Corpus
from maltriage.learn.runs.estimate import (
    MOST_SECONDS,
    NET_SECONDS,
    Estimate,
    estimate,
    training_sizes,
)
from maltriage.learn.runs.options import RunOptions
from maltriage.learn.runs.train import divide


def test_steps_are_those_that_a_run_does(corpus: Corpus, run_options: RunOptions) -> None:
    found = estimate(corpus, run_options)
    assert (found.samples, found.labels) == (len(corpus), len(corpus.labels))
    assert (found.epochs, found.runs) == (run_options.fit.epochs, 1)
    parts = divide(corpus, run_options).parts
    assert abs((parts == "train").sum() - training_sizes(len(corpus), run_options)[0]) <= 4
    assert found.steps % found.epochs == 0
    assert 0 < found.step_seconds < MOST_SECONDS
    assert found.seconds == found.steps * found.step_seconds + NET_SECONDS


def test_each_net_takes_time_besides_its_steps() -> None:
    """Seven folds of a small dataset, and the net on all: mostly that."""
    found = Estimate(samples=60, labels=3, epochs=2, runs=8, steps=16, step_seconds=0.5)
    assert found.seconds == 8.0 + 8 * NET_SECONDS


def test_nets_of_a_cross_validation(run_options: RunOptions) -> None:
    folds = replace(run_options, folds=4)
    assert training_sizes(100, folds) == [75, 75, 75, 75, 100]
    assert training_sizes(100, replace(folds, fold=2)) == [75]
    # By a column a tenth of the other values is for validation.
    assert training_sizes(100, replace(folds, split="source")) == [68, 68, 68, 68, 100]


def test_twice_the_epochs_take_twice_as_long(corpus: Corpus, run_options: RunOptions) -> None:
    more = replace(run_options, fit=replace(run_options.fit, epochs=2 * run_options.fit.epochs))
    assert estimate(corpus, more).steps == 2 * estimate(corpus, run_options).steps
