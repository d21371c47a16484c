"""Whether one recipe of a study is better than another, file by file.

    python -m benchmarks.studies.gain VX-MINI WIDE --keep FILE  # once: groups
    python -m benchmarks.studies.gain --keep FILE [--against none] [--nets instance ...] [--seed 1]
    python -m benchmarks.studies.gain --keep RANDOM --other FILE  # each net less itself in FILE

FILE is that of studies/nets.py; with its `--repeats` each seed has folds of its own. Two
recipes are compared over the seeds that both have whole, in three ways. The plan
(docs/studies/guidance-plan.md) lets the first one decide:

- **by file**: 95 % interval of the mean gain over the seeds, by bootstrap over groups of near
  duplicates (2,000 draws); all answers of a file are drawn together;
- **by fold**: the interval of Nadeau and Bengio (2003) over the differences of all folds, those
  of seeds on the same folds averaged first; none where the two have folds of their own, as with
  `--other`, of another split;
- **McNemar**: exact test of the first seed, of files that one of the two has right (accuracy).

Macro-F1 is over families, of the answers of all folds of a seed.
"""

from __future__ import annotations

import argparse
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.studies.nets import FOLDS, MIN_SAMPLES, Answers, Kept, family_f1
from maltriage.bundle import BENIGN, OTHER
from maltriage.corpus.datasets import open_dataset
from maltriage.corpus.load import load_corpus
from maltriage.corpus.twins import near_twins
from maltriage.metrics import Interval, paired_difference
from maltriage.report.numbers import difference

DRAWS = 2000

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def groups_of(roots: list[Path]) -> dict[str, int]:
    """The group of near duplicates of each file, by the first 16 digits of its SHA-256."""
    corpus = load_corpus(open_dataset("vx-zoo", roots, MIN_SAMPLES), ())
    groups = near_twins(corpus.signs).tolist()
    return {name[:16]: group for name, group in zip(corpus.sha256, groups, strict=True)}


def draws(groups: Ints, count: int = DRAWS, seed: int = 0) -> NDArray[np.float32]:
    """How often each file is drawn, [draws, files]: groups are drawn whole. The first row is all
    files once."""
    names, group = np.unique(groups, return_inverse=True)
    even = np.full(len(names), 1.0 / len(names))
    drawn = np.random.default_rng(seed).multinomial(len(names), even, count)
    return np.concatenate((np.ones((1, len(groups))), drawn[:, group])).astype(np.float32)


def macro_f1(truth: Ints, guess: Ints, families: list[int], weights: NDArray[np.float32]) -> Floats:
    """Macro-F1 of each draw, [draws], over the families in it."""
    is_true = np.stack([truth == label for label in families], axis=1)
    guessed = np.stack([guess == label for label in families], axis=1)
    true = weights @ is_true.astype(np.float32)
    hits = weights @ (is_true & guessed).astype(np.float32)
    scores = 2.0 * hits / np.maximum(true + weights @ guessed.astype(np.float32), 1e-9)
    found: Floats = (scores * (true > 0)).sum(axis=1) / (true > 0).sum(axis=1)
    return found


def accuracy(truth: Ints, guess: Ints, weights: NDArray[np.float32]) -> Floats:
    found: Floats = weights @ (truth == guess).astype(np.float32) / weights.sum(axis=1)
    return found


def interval(found: Floats) -> Interval:
    """Of a figure of all files and of each draw."""
    low, high = np.quantile(found[1:], [0.025, 0.975])
    return Interval(float(found[0]), float(low), float(high))


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Chance of so uneven a count of files that one of two has right, if they are equally good."""
    one, other = int((first & ~second).sum()), int((second & ~first).sum())
    count, fewer = one + other, min(one, other)
    tail = sum(comb(count, k) for k in range(fewer + 1))
    return min(1.0, 2 * tail / (1 << count))


class Gain:
    """A recipe less another, over the seeds that both have.

    Args:
        ours: answers of a seed each, in the same order of seeds as `theirs`, on the same files.
        groups: of near duplicates, by file.
        families: the labels that count.
    """

    def __init__(
        self,
        ours: list[Answers],
        theirs: list[Answers],
        groups: dict[str, int],
        families: list[int],
    ) -> None:
        names = sorted(ours[0].sha256)
        weights = draws(np.array([groups[name] for name in names]))
        f1, right = [], []
        exact, same_guess = list[float](), list[float]()
        folds: dict[tuple[str, ...], list[list[list[float]]]] = {}
        for a, b in zip(ours, theirs, strict=True):
            orders = [np.argsort(answer.sha256) for answer in (a, b)]
            if sorted(b.sha256) != sorted(a.sha256):
                raise SystemExit("two recipes of other files")
            truth = a.truth[orders[0]]
            answers = [x.guess[order] for x, order in zip((a, b), orders, strict=True)]
            one, other = (macro_f1(truth, guess, families, weights) for guess in answers)
            f1.append(one - other)
            one, other = (accuracy(truth, guess, weights) for guess in answers)
            right.append(one - other)
            exact.append(mcnemar(truth == answers[0], truth == answers[1]))
            same_guess.append(float((answers[0] == answers[1]).mean()))
            if a.sha256 != b.sha256:
                continue
            same = tuple(f"{fold} {name}" for fold, name in zip(a.fold, a.sha256, strict=True))
            folds.setdefault(same, []).append(
                [
                    [family_f1(x.truth[at], x.guess[at], families) for x in (a, b)]
                    for at in (a.fold == fold for fold in range(FOLDS))
                ]
            )
        self.f1 = interval(np.mean(f1, axis=0))
        self.accuracy = interval(np.mean(right, axis=0))
        self.by_fold: Interval | None = None
        if folds:
            by_fold = np.concatenate([np.mean(seeds, axis=0) for seeds in folds.values()])
            self.by_fold = paired_difference(by_fold[:, 0], by_fold[:, 1], 1.0 / (FOLDS - 1))
        self.mcnemar = exact[0]
        self.same = float(np.mean(same_guess))
        """Share of the files that both call the same."""


def table(
    kept: Kept, nets: list[str], against: str, other: Kept | None = None, seed: int | None = None
) -> str:
    """The table.

    Args:
        against: the net that all are compared with; not where there is `other`.
        other: has the same nets, each of which is compared with itself there.
        seed: the one that counts; None: all.
    """
    labels: list[str] = kept.state["labels"]
    families = [i for i, name in enumerate(labels) if name not in (BENIGN, OTHER)]
    groups: dict[str, int] = (other or kept).state["groups"]
    head = (
        *("recipe", "seeds", "macro-F1", f"less {against}, by file", "by fold", "accuracy"),
        *(f"less {against}, by file", "McNemar", "same guess"),
    )
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for net in dict.fromkeys(nets if other else (against, *nets)):
        own = dict(kept.by_seed(net))
        base = dict(other.by_seed(net) if other else kept.by_seed(against))
        common = sorted(own.keys() & base.keys() & ({seed} if seed is not None else own.keys()))
        if not common:
            continue
        runs = [own[seed] for seed in common]
        f1 = np.mean([family_f1(run.truth, run.guess, families) for run in runs])
        right = np.mean([(run.truth == run.guess).mean() for run in runs])
        row: list[Any] = [net, len(common), f"{f1:.3f}"]
        if other is None and net == against:
            row += ["", "", f"{right:.3f}", "", "", ""]
        else:
            gain = Gain(runs, [base[seed] for seed in common], groups, families)
            row += [
                difference(gain.f1),
                difference(gain.by_fold) if gain.by_fold else "",
                f"{right:.3f}",
                difference(gain.accuracy),
            ]
            row += [f"p = {gain.mcnemar:.2g}", f"{gain.same:.1%}"]
        lines.append(f"| {' | '.join(map(str, row))} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("roots", type=Path, nargs="*", help="the folders of the files")
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--against", default="none")
    parser.add_argument("--other", type=Path, help="compare each net with itself in this FILE")
    parser.add_argument("--nets", nargs="+", help="default: all")
    parser.add_argument("--seed", type=int, help="this one alone; default: all")
    options = parser.parse_args()
    kept = Kept(options.keep)
    if options.roots:
        kept.know("groups", groups_of(options.roots))
    other = Kept(options.other) if options.other else None
    if "groups" not in (other or kept).state:
        parser.error("name the folders of the files once, to find near duplicates")
    nets = options.nets or [key.split("/")[0] for key in kept.state["cells"]]
    print(table(kept, nets, str(options.other or options.against), other, options.seed))


if __name__ == "__main__":
    main()
