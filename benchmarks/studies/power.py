"""How large an effect a study of guidance can show, from what came of the first one.

    python -m benchmarks.studies.power [--counts benchmarks/studies/guidance-views-vx-mini.json]

Two ways to say that one recipe is better than another by its macro-F1, each simulated for an effect
that is known, over repeats of a grouped five-fold cross-validation:

- by fold: the interval of Nadeau and Bengio (2003) over the differences of all folds. Their spread
  is that of the first study, scaled to the files of the second. Folds correlate by a fifth, as the
  training sets of five folds let them.
- by file: an interval by bootstrap over files, with the predictions of all repeats of a file drawn
  together. Each file has a chance of its own to be named right: Beta-distributed about that of its
  family in the first study, as spread out as makes repeats differ by as much as seeds did there.
  The better recipe has larger odds by one factor, chosen to give the effect.

Power is the share of simulations whose 95 % interval lies above 0. A study of a recipe that is as
good as the other finds a difference in about 2.5 % (row "0").
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Files by label of vx-mini and wide together: families of 12 files and more, _other, benign.
SECOND = (
    *(113, 77, 59, 47, 36, 30, 25, 24, 24, 24, 18, 18, 17),
    *(42, 41, 37, 32, 30, 24, 24, 21, 20, 19, 17, 15, 14, 13, 13, 12, 12, 12),
    *(157, 1822),
)
FOLDS = 5
SIMULATIONS, DRAWS = 300, 300


def macro_f1(matrix: Floats) -> Floats:
    """Of confusion matrices [..., K, K], over the labels that occur."""
    hits = np.diagonal(matrix, axis1=-2, axis2=-1)
    truth, guess = matrix.sum(axis=-1), matrix.sum(axis=-2)
    scores = 2.0 * hits / np.maximum(truth + guess, 1e-12)
    found: Floats = (scores * (truth > 0)).sum(axis=-1) / (truth > 0).sum(axis=-1)
    return found


def cells(counts: dict[str, Any], recipe: str) -> Floats:
    """Confusion matrices [seed, fold, K, K] of a recipe."""
    seeds = sorted({int(key.split("/")[1]) for key in counts if key.split("/")[0] == recipe})
    return np.array(
        [[counts[f"{recipe}/{seed}/{fold}"] for fold in range(FOLDS)] for seed in seeds], float
    )


def by_fold(effect: float, spread: float, repeats: int, seed: int = 0) -> float:
    """Power of the corrected interval over the folds of all repeats."""
    from scipy.stats import t

    generator = np.random.default_rng(seed)
    count, share = FOLDS * repeats, 1.0 / FOLDS
    common = generator.normal(0.0, np.sqrt(share), (20 * SIMULATIONS, 1))
    own = generator.normal(0.0, np.sqrt(1.0 - share), (20 * SIMULATIONS, count))
    found = effect + spread * (common + own)
    error = np.sqrt((1.0 / count + share / (1.0 - share)) * found.var(axis=1, ddof=1))
    return float((found.mean(axis=1) > t.ppf(0.975, count - 1) * error).mean())


class Files:
    """Files of labels, each with a chance to be named right, and what a wrong one is called."""

    def __init__(self, sizes: Sequence[int], right: Sequence[float], together: float) -> None:
        """`together`: sum of the parameters of the Beta distribution; small: most files are
        always right or always wrong."""
        self.label = np.repeat(np.arange(len(sizes)), sizes)
        self._mean = np.clip(np.asarray(right, float), 0.02, 0.98)[self.label]
        self._together, self._labels = together, len(sizes)
        self._called = np.asarray(sizes, float) / sum(sizes)

    def chances(self, generator: np.random.Generator) -> Floats:
        mean = self._mean
        found: Floats = generator.beta(self._together * mean, self._together * (1.0 - mean))
        return np.clip(found, 1e-6, 1.0 - 1e-6)

    def guesses(self, chances: Floats, generator: np.random.Generator) -> NDArray[np.int64]:
        wrong = generator.choice(self._labels, len(self.label), p=self._called)
        right = generator.random(len(self.label)) < chances
        return np.where(right, self.label, wrong)

    def scores(self, guesses: NDArray[np.int64], weights: Floats) -> Floats:
        """Macro-F1 [B] of guesses, each file counted as often as `weights` [B, N] say."""
        truth = np.eye(self._labels)[self.label]
        guess = np.eye(self._labels)[guesses]
        hits = weights @ (truth * guess)
        total = weights @ truth
        values = 2.0 * hits / np.maximum(total + weights @ guess, 1e-12)
        found: Floats = (values * (total > 0)).sum(axis=1) / (total > 0).sum(axis=1)
        return found


def better(chances: Floats, factor: float) -> Floats:
    """Chances whose odds are larger by a factor."""
    odds = factor * chances / (1.0 - chances)
    found: Floats = odds / (1.0 + odds)
    return found


def factor_for(files: Files, effect: float) -> float:
    """The factor of odds that gains so much macro-F1 on average."""
    if not effect:
        return 1.0
    generator, one = np.random.default_rng(1), np.ones((1, len(files.label)))
    low, high = 1.0, 8.0
    for _ in range(12):
        middle = (low + high) / 2.0
        gains = []
        for _ in range(20):
            chances = files.chances(generator)
            plain = files.scores(files.guesses(chances, generator), one)[0]
            gains.append(
                files.scores(files.guesses(better(chances, middle), generator), one)[0] - plain
            )
        low, high = (middle, high) if np.mean(gains) < effect else (low, middle)
    return (low + high) / 2.0


def by_file(files: Files, effect: float, repeats: int, simulations: int, seed: int = 0) -> float:
    """Power of the bootstrap over files, the repeats of each drawn together."""
    factor, generator = factor_for(files, effect), np.random.default_rng(seed)
    count, found = len(files.label), 0.0
    for _ in range(simulations):
        chances = files.chances(generator)
        weights = generator.multinomial(count, np.full(count, 1.0 / count), DRAWS).astype(float)
        gain = np.zeros(DRAWS)
        for _ in range(repeats):
            gain += files.scores(files.guesses(better(chances, factor), generator), weights)
            gain -= files.scores(files.guesses(chances, generator), weights)
        found += float(np.quantile(gain, 0.025) > 0)
    return found / simulations


def together_for(sizes: Sequence[int], right: Sequence[float], deviation: float) -> float:
    """The parameter of `Files` by which macro-F1 differs from repeat to repeat by `deviation`."""
    best, generator = (np.inf, 1.0), np.random.default_rng(2)
    for together in (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2):
        files = Files(sizes, right, together)
        one = np.ones((1, len(files.label)))
        found = []
        for _ in range(20):
            chances = files.chances(generator)
            repeats = [files.scores(files.guesses(chances, generator), one)[0] for _ in range(6)]
            found.append(np.var(repeats, ddof=1))
        best = min(best, (abs(float(np.sqrt(np.mean(found))) - deviation), together))
    return best[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    counts = Path(__file__).with_name("guidance-views-vx-mini.json")
    parser.add_argument("--counts", type=Path, default=counts, help="of the first study")
    parser.add_argument("--guided", default="instance-0.25-evidence")
    parser.add_argument("--repeats", type=int, nargs="+", default=[3, 10])
    parser.add_argument("--effects", type=float, nargs="+", default=[0.0, 0.01, 0.02, 0.03, 0.05])
    parser.add_argument("--simulations", type=int, default=SIMULATIONS, help="by file")
    options = parser.parse_args()
    state = json.loads(options.counts.read_text("utf-8"))
    plain, guided = cells(state["cells"], "none"), cells(state["cells"], options.guided)
    seeds = min(len(plain), len(guided))
    difference = macro_f1(guided[:seeds]) - macro_f1(plain[:seeds])
    sizes = plain[0].sum(axis=(0, 2)).astype(int)
    whole = plain.sum(axis=(0, 1))
    right = np.diag(whole) / whole.sum(axis=1)
    deviation = float(macro_f1(plain.sum(axis=1)).std(ddof=1))
    # Families of the second study are as hard as those of the first, which come again in turn.
    malware = [p for size, p in sorted(zip(sizes[1:], right[1:], strict=True), reverse=True)]
    chances = [malware[i % len(malware)] for i in range(len(SECOND) - 1)] + [right[0]]
    together = together_for(list(sizes), list(right), deviation)
    scale = np.sqrt(sizes[1:].sum() / sum(SECOND[:-2]))
    spread = float(difference.std(ddof=1))
    said = f"difference by fold {difference.mean():+.3f} ± {spread:.3f}"
    print(f"first study: {sizes.sum()} files, {said}, macro-F1 over seeds ± {deviation:.3f}")
    said = f"spread by fold {spread * scale:.3f}"
    print(f"second study: {sum(SECOND)} files of {len(SECOND)} labels, {said}")
    print(f"chances of a file: Beta, parameters of sum {together:g}\n")
    head = [f"by fold, {n} repeats" for n in options.repeats]
    head += [f"by file, {n} repeats" for n in options.repeats]
    print(f"| points of macro-F1 | {' | '.join(head)} |")
    print("|---" * (len(head) + 1) + "|")
    files = Files(SECOND, chances, together)
    for effect in options.effects:
        row = [by_fold(effect, spread * scale, n) for n in options.repeats]
        row += [by_file(files, effect, n, options.simulations) for n in options.repeats]
        print(f"| {100 * effect:g} | {' | '.join(f'{power:.0%}' for power in row)} |", flush=True)


if __name__ == "__main__":
    main()
