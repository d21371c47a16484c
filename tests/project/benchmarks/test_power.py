"""The simulated power of a study: no effect is found no more often than it should be."""

from __future__ import annotations

import numpy as np

from benchmarks.studies import power
from maltriage import metrics

SIZES, RIGHT = (40, 30, 20, 10, 100), (0.6, 0.7, 0.5, 0.4, 0.95)


def test_macro_f1_is_that_of_the_package() -> None:
    generator = np.random.default_rng(0)
    truth, guess = generator.integers(0, 5, (2, 200))
    matrix = metrics.confusion(truth, guess, 5).astype(float)
    assert np.isclose(power.macro_f1(matrix), metrics.macro_f1(truth, guess, 5))
    files = power.Files(SIZES, RIGHT, 0.4)
    guesses = files.guesses(files.chances(generator), generator)
    once, twice = files.scores(guesses, np.array([np.ones(200), np.full(200, 2.0)]))
    assert np.isclose(once, metrics.macro_f1(files.label, guesses, 5))
    assert once == twice


def test_power_by_fold_grows_with_the_effect() -> None:
    none, some, much = (power.by_fold(effect, 0.04, 10) for effect in (0.0, 0.02, 0.1))
    assert none < 0.06
    assert none < some < much
    assert much > 0.95


def test_power_by_file_grows_with_repeats() -> None:
    files = power.Files(SIZES, RIGHT, 0.4)
    assert power.by_file(files, 0.0, 2, 40) < 0.2
    few, many = (power.by_file(files, 0.05, repeats, 40) for repeats in (1, 8))
    assert few < many
