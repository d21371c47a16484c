"""Figures from logits: accuracy, macro-F1, temperature."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of the samples whose top label is theirs; nan without samples."""
    return float((logits.argmax(dim=1) == labels).double().mean())


def macro_f1(logits: Tensor, labels: Tensor) -> float:
    """Mean F1 over the labels that occur among the samples; nan without samples."""
    from sklearn.metrics import f1_score

    if not len(labels):
        return float("nan")
    truth, guess = labels.numpy(), logits.argmax(dim=1).numpy()
    present = np.unique(truth)
    return float(f1_score(truth, guess, labels=present, average="macro", zero_division=0))


def mean_loss(logits: Tensor, labels: Tensor) -> float:
    """Mean negative log likelihood; nan without samples."""
    return float(functional.cross_entropy(logits, labels)) if len(labels) else float("nan")


def fit_temperature(logits: Tensor, labels: Tensor) -> float | None:
    """The temperature that makes the logits likeliest (Guo et al. 2017), None without samples.

    The loss is convex in 1/T, so halving the interval by its slope finds the best.
    """
    if not len(labels):
        return None
    logits = logits.double()
    own = logits.gather(1, labels[:, None]).squeeze(1)
    low, high = 1.0 / MAX_TEMPERATURE, 1.0 / MIN_TEMPERATURE
    for _ in range(60):
        scale = (low + high) / 2
        expected = (torch.softmax(logits * scale, dim=1) * logits).sum(dim=1)
        if float((expected - own).mean()) > 0:
            high = scale
        else:
            low = scale
    return 2.0 / (low + high)
