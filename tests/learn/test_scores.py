"""Figures from logits, against their definitions."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from torch.nn import functional  # noqa: E402

from maltriage.learn.scores import accuracy, fit_temperature, macro_f1, mean_loss  # noqa: E402


def test_accuracy_and_macro_f1() -> None:
    guess = torch.tensor([0, 0, 1, 1, 3])
    logits = functional.one_hot(guess, 4).float()
    labels = torch.tensor([0, 1, 1, 1, 1])
    assert accuracy(logits, labels) == pytest.approx(3 / 5)
    # Label 0: precision 1/2, recall 1. Label 1: precision 1, recall 1/2. 2 and 3 do not occur.
    assert macro_f1(logits, labels) == pytest.approx((2 / 3 + 2 / 3) / 2)


def test_without_samples() -> None:
    none, labels = torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)
    assert math.isnan(accuracy(none, labels))
    assert math.isnan(macro_f1(none, labels))
    assert math.isnan(mean_loss(none, labels))
    assert fit_temperature(none, labels) is None


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_temperature_is_found_again(temperature: float) -> None:
    torch.manual_seed(0)
    logits = torch.randn(4000, 5) * 2
    labels = torch.distributions.Categorical(logits=logits).sample()
    assert fit_temperature(logits * temperature, labels) == pytest.approx(temperature, rel=0.06)


def test_temperature_is_the_best() -> None:
    torch.manual_seed(1)
    logits, labels = torch.randn(50, 4), torch.randint(0, 4, (50,))
    logits[torch.arange(50), labels] += 2.0
    found = fit_temperature(logits, labels)
    assert found is not None
    for other in (0.9 * found, 1.1 * found):
        assert mean_loss(logits / found, labels) < mean_loss(logits / other, labels)


def test_temperature_has_limits() -> None:
    """All right would ask for zero, all wrong for infinity: neither can be divided by."""
    logits, labels = torch.eye(3) * 5, torch.arange(3)
    assert fit_temperature(logits, labels) == pytest.approx(0.05)
    assert fit_temperature(-logits, labels) == pytest.approx(20.0)
