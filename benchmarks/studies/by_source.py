"""How well nets tell malware from clean files of sources that they were not trained on.

    maltriage compare --root VX-MINI --root WIDE --split "source=A+B,C+D" --seeds 1 --out STUDY
    python -m benchmarks.studies.nets --keep FILE --take STUDY/NET/seed-0/out-of-fold.csv ...
    python -m benchmarks.studies.by_source VX-MINI WIDE --keep FILE     # once: sources and groups
    python -m benchmarks.studies.by_source --keep FILE [--against evidence]

FILE is `nets-by-source.json` here, of the form of studies/nets.py; a fold of it holds back the
sources that the split names together. The table has, for each net,

- **AUROC** of each source of malware against each source of clean files in its fold, so by a net
  that has seen neither;
- **flagged**: malware above the margin that 1.5 % of the clean files of the worst source are above,
  one margin for the nets of all folds. Packed clean files (`clean-packed`) have no say in it, and
  are counted beside.

95 % intervals by bootstrap over groups of near duplicates (2,000 draws), of the differences, too.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.studies.gain import draws, groups_of, interval
from benchmarks.studies.nets import MIN_SAMPLES, Answers, Kept
from maltriage.bundle import BENIGN
from maltriage.corpus.datasets import open_dataset
from maltriage.corpus.load import load_corpus
from maltriage.metrics import Interval
from maltriage.report.numbers import between, difference

FPR, PACKED = 0.015, "clean-packed"

Floats = NDArray[np.float64]
Weights = NDArray[np.float32]


def sources_of(roots: list[Path]) -> dict[str, str]:
    """The source of each file, by the first 16 digits of its SHA-256."""
    corpus = load_corpus(open_dataset("vx-zoo", roots, MIN_SAMPLES), ())
    names = (name[:16] for name in corpus.sha256)
    return dict(zip(names, corpus.columns["source"], strict=True))


def auroc(malware: Floats, clean: Floats, first: Weights, second: Weights) -> Floats:
    """Of each draw, [draws]: how often malware is above a clean file, ties as a half.

    Args:
        malware: margins, [m].
        clean: margins, [n].
        first: how often each file of malware is drawn, [draws, m].
        second: likewise of the clean files, [draws, n].
    """
    above = (malware[:, None] > clean) + 0.5 * (malware[:, None] == clean)
    won = ((first @ above.astype(np.float32)) * second).sum(axis=1)
    found: Floats = won / np.maximum(first.sum(axis=1) * second.sum(axis=1), 1e-9)
    return found


def limits(clean: Floats, weights: Weights, fpr: float = FPR) -> Floats:
    """The margin of each draw, [draws], that at most the share `fpr` of clean files are above."""
    order = np.argsort(-clean, kind="stable")
    reached = np.cumsum(weights[:, order], axis=1)
    # The first file with which more would be above the margin is the highest that must not be.
    place = (reached > fpr * reached[:, -1:]).argmax(axis=1)
    return np.asarray(clean[order][place])


@dataclass(frozen=True)
class Found:
    """Of one net; each figure for all files and for each draw, [draws + 1]."""

    auroc: dict[tuple[str, str], Floats]
    flagged: dict[str, Floats]
    """By source of malware, of all of them (`all`), and of packed clean files."""


def found_of(
    answers: Answers, sources: dict[str, str], groups: dict[str, int], clean: int
) -> Found:
    """The figures of a net.

    Args:
        answers: of all files, each by the net that had its source held back.
        clean: index of the label benign.
    """
    order = np.argsort(answers.sha256)
    names = np.array(answers.sha256)[order]
    margin, malware = answers.margin[order], answers.truth[order] != clean
    fold, source = answers.fold[order], np.array([sources[name] for name in names])
    weights = draws(np.array([groups[name] for name in names]))
    of = {name: np.flatnonzero(source == name) for name in np.unique(source).tolist()}
    bad = [name for name, at in of.items() if malware[at].all()]
    good = [name for name in of if name not in bad]
    areas = {
        (one, other): auroc(
            margin[of[one]], margin[of[other]], weights[:, of[one]], weights[:, of[other]]
        )
        for one in bad
        for other in good
        if fold[of[one][0]] == fold[of[other][0]]
    }
    limit = np.max(
        [limits(margin[of[name]], weights[:, of[name]]) for name in good if name != PACKED], axis=0
    )

    def above(at: NDArray[Any]) -> Floats:
        drawn = weights[:, at]
        share: Floats = (drawn * (margin[at] > limit[:, None])).sum(axis=1) / drawn.sum(axis=1)
        return share

    flagged = {name: above(of[name]) for name in (*bad, PACKED) if name in of}
    return Found(areas, {"all": above(np.flatnonzero(malware)), **flagged})


def _said(value: Interval, percent: bool) -> str:
    if percent:
        return f"{value.value:.1%} ({value.low:.1%} to {value.high:.1%})".replace("%", " %")
    return f"{value.value:.3f} ({between(value.low, value.high)})"


def table(kept: Kept, against: str | None) -> str:
    """A row for each net and figure; less the net `against`, in pairs, where it is named."""
    clean = kept.state["labels"].index(BENIGN)
    nets = list(dict.fromkeys(key.split("/")[0] for key in kept.state["cells"]))
    found = {
        net: found_of(answers, kept.state["sources"], kept.state["groups"], clean)
        for net in nets
        for seed, answers in kept.by_seed(net)
        if seed == 0
    }
    first = next(iter(found.values()))
    head = ["net", *(f"AUROC {a}, {b}" for a, b in first.auroc)]
    head += [f"flagged: {name}" for name in first.flagged]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for net, figures in found.items():
        row = [net]
        for values, base, percent in _columns(figures, found.get(against or "")):
            if base is None or net == against:
                row.append(_said(interval(values), percent))
            else:
                row.append(difference(interval(values - base)))
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def _columns(figures: Found, base: Found | None) -> list[tuple[Floats, Floats | None, bool]]:
    """Figures of a net, those of the one it is compared with, and whether they are shares."""
    return [
        *((v, base.auroc[k] if base else None, False) for k, v in figures.auroc.items()),
        *((v, base.flagged[k] if base else None, True) for k, v in figures.flagged.items()),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("roots", type=Path, nargs="*", help="the folders of the files")
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--against", help="give each net less this one")
    options = parser.parse_args()
    kept = Kept(options.keep)
    if options.roots:
        kept.know("sources", sources_of(options.roots))
        kept.know("groups", groups_of(options.roots))
    if "sources" not in kept.state:
        parser.error("name the folders of the files once, for their sources")
    print(table(kept, options.against))


if __name__ == "__main__":
    main()
