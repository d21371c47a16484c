"""Does more than a temperature make probabilities better?

    python -m benchmarks.quality.scaling PREDICTIONS.csv [PREDICTIONS.csv ...]

Fits to the out-of-fold predictions of all folds but one, and measures on that one: no scaling, a
temperature (one number) and vector scaling (a factor and an offset for each label; Guo et al.,
"On calibration of modern neural networks", ICML 2017, section 4.2), fitted by L-BFGS, with and
without a pull towards the temperature. Prints a table in Markdown: log loss with the bootstrap
interval of its difference from the temperature's, Brier score, calibration error, and accuracy,
which a temperature leaves alone. Needs the extra `train` (SciPy comes with it).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from maltriage import metrics
from maltriage.assess.verdicts.quality import reliability
from maltriage.corpus.predictions import load_predictions
from maltriage.metrics import Floats, Ints

Fit = Callable[[Floats, Ints], Callable[[Floats], Floats]]
PULLS = (0.0, 0.01, 0.1)


def unscaled(logits: Floats, truth: Ints) -> Callable[[Floats], Floats]:
    return lambda held: held


def temperature(logits: Floats, truth: Ints) -> Callable[[Floats], Floats]:
    scale = metrics.temperature(logits, truth) or 1.0
    return lambda held: held / scale


def vector(logits: Floats, truth: Ints, pull: float) -> Callable[[Floats], Floats]:
    """A factor and an offset for each label, `pull` times their squared distance from the best
    temperature being added to the mean log loss.
    """
    count = logits.shape[1]
    start = np.append(
        np.full(count, 1.0 / (metrics.temperature(logits, truth) or 1.0)), [0.0] * count
    )
    hot = np.eye(count)[truth]

    def loss(found: Floats) -> tuple[float, Floats]:
        scaled = logits * found[:count] + found[count:]
        logs = metrics.log_softmax(scaled)
        off = (np.exp(logs) - hot) / len(truth)
        away = found - start
        slope = np.append((off * logits).sum(axis=0), off.sum(axis=0)) + 2 * pull * away
        return float(-(hot * logs).sum() / len(truth) + pull * (away**2).sum()), slope

    best = minimize(loss, start, jac=True, method="L-BFGS-B").x
    return lambda held: held * best[:count] + best[count:]


def crossed(logits: Floats, truth: Ints, fold: Ints, fit: Fit) -> Floats:
    """Logits, each scaled by what was fitted to the other folds."""
    scaled = np.zeros_like(logits)
    for number in np.unique(fold):
        at = fold == number
        scaled[at] = fit(logits[~at], truth[~at])(logits[at])
    return scaled


def _mean(values: Floats, at: Ints) -> float:
    return float(values[at].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("predictions", nargs="+", type=Path)
    args = parser.parse_args()
    ways: dict[str, Fit] = {"none": unscaled, "temperature": temperature}
    ways |= {f"vector, pull {pull:g}": partial(vector, pull=pull) for pull in PULLS}
    for path in args.predictions:
        found = load_predictions(path)
        truth, rows = found.truth, np.arange(len(found))
        print(
            f"| {found.recipe}, seed {found.seed}, {len(found)} samples | log loss | minus that of"
            " the temperature | Brier score | ECE | accuracy |\n|---|---|---|---|---|---|"
        )
        base = crossed(found.logits, truth, found.fold, temperature)
        for name, fit in ways.items():
            scaled = crossed(found.logits, truth, found.fold, fit)
            more = metrics.log_softmax(base)[rows, truth] - metrics.log_softmax(scaled)[rows, truth]
            gap = metrics.bootstrap(partial(_mean, more), len(found))
            judged = reliability(scaled[None], truth[None])
            ece, brier = judged.ece, judged.brier.value
            print(
                f"| {name} | {metrics.log_loss(scaled, truth):.4f} |"
                f" {gap.value:+.4f} ({gap.low:+.4f} to {gap.high:+.4f}) | {brier:.4f} |"
                f" {ece.value:.3f} ({ece.low:.3f} to {ece.high:.3f}) |"
                f" {metrics.accuracy(truth, scaled.argmax(axis=1)):.3f} |"
            )
        print()


if __name__ == "__main__":
    main()
