"""The table of nets over a study that goes on anywhere: what came of every cell is one file.

    python -m benchmarks.studies.nets VX-MINI WIDE --work FOLDER --keep FILE [--nets evidence ...]
        [--seeds 1] [--first-seed 0] [--folds 0]  # fold 0 alone is what maps.py takes
    python -m benchmarks.studies.nets --keep FILE --table              # print what is there
    python -m benchmarks.studies.nets --keep FILE --take PEER.csv ...  # of another classifier
    python -m benchmarks.studies.nets VX-MINI WIDE --work OTHER --keep OTHER.json --split random

FILE is `nets-wide.json` here. A cell is a net under one seed with one of five grouped folds held
back. A cell that is in FILE is not trained again, wherever its folder is. FILE has, for each cell,
the guess and the margin (log odds of malware before calibration) of each file that was held back,
in the order of the hashes, and each file's label and fold once. Ctrl-C ends at the cell under way,
whose run goes on later.
Several processes may train for one FILE at the same time, each with nets of its own.

With all folds of a seed in FOLDER, `out-of-fold.csv` beside them is what studies/peer.py trains
its peers on.

The table: accuracy and macro-F1 over all folds of a seed (mean and deviation over seeds), macro-F1
by fold, and malware flagged where 0.5 % of the clean files are (by the margins of all folds).
Macro-F1 is over families: `benign` and `_other` are no families. Needs the extra `train`.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from maltriage.assess.studies.cell import save_out_of_fold
from maltriage.bundle import BENIGN, OTHER
from maltriage.corpus.predictions import PREDICTIONS_FILE, Predictions, load_predictions
from maltriage.corpus.study import Cell as StudyCell
from maltriage.files.atomic import write_file
from maltriage.files.lock import locked

FOLDS, FPR, MIN_SAMPLES, KEEP = 5, 0.005, 12, 0.25
MAX_LABELS = 256
TRUNKS = "body,code,import,resource,second_section"
"""The views of the default net without its tables of words and entropy."""
TEACHER = "evidence-trunks"
WHOLE = ("weighted", "attention")
"""Guides that leave no token out."""


@dataclass(frozen=True)
class Recipe:
    """How the net of a row is trained; what is not said here is as `maltriage train` has it."""

    net: str
    epochs: int = 30
    """Of nets that do not have 30: what two cores can do."""
    batch: int | None = None
    views: str | None = None
    guide: str | None = None
    """Of a transformer that sees a quarter of its tokens, or all by `WHOLE`; the teacher is
    `evidence-trunks`."""


RECIPES = {
    "gibert": Recipe("gibert"),
    "evidence": Recipe("evidence"),
    "camvit": Recipe("camvit", 40),
    "densenet": Recipe("densenet", 5),
    "xception": Recipe("xception", 5, 16),
    "mcft": Recipe("mcft", 5, 16),
    "imcfn": Recipe("imcfn", 5, 16),
    "mcnn": Recipe("mcnn", 6, 16),
    TEACHER: Recipe("evidence", views=TRUNKS),
    "none": Recipe("camvit", 20, views=TRUNKS),
    **{
        guide: Recipe("camvit", 20, views=TRUNKS, guide=guide)
        for guide in (
            *("instance", "cumulative", "random", "inverse"),
            *("label", "weighted", "early", "attention", "label-random"),
        )
    },
}
NETS = ("gibert", "evidence", "camvit", "densenet", "xception", "mcft", "imcfn", "mcnn")


@dataclass(frozen=True)
class Cell:
    net: str
    seed: int
    fold: int

    @property
    def key(self) -> str:
        return f"{self.net}/{self.seed}/{self.fold}"

    def run(self, work: Path) -> Path:
        """The folder of the cross-validation that it is part of."""
        return work / self.net / f"seed-{self.seed}"


class Answers(NamedTuple):
    """Of a net for all files of a seed, each by the net of the fold that held it back."""

    truth: NDArray[Any]
    guess: NDArray[Any]
    margin: NDArray[Any]
    fold: NDArray[Any]
    sha256: list[str]
    """The first 16 digits."""


def packed(values: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()


def unpacked(text: str, kind: type) -> NDArray[Any]:
    return np.frombuffer(base64.b64decode(text), dtype=kind)


class Kept:
    """What came of the cells of a study.

    Args:
        path: of the file.
        repeats: each seed has folds of its own; a file that exists says that itself.
    """

    def __init__(self, path: Path, repeats: bool = False) -> None:
        self.path, self.repeats = path, repeats
        self.state: dict[str, Any] = {"labels": [], "folds": {}, "cells": {}}
        self._read()

    def _read(self) -> None:
        if self.path.exists():
            self.state = json.loads(self.path.read_text("utf-8"))
        if self.state["folds"]:
            self.repeats = "/" in next(iter(self.state["folds"]))

    def __contains__(self, cell: Cell) -> bool:
        return cell.key in self.state["cells"]

    @property
    def folds(self) -> int:
        """Of each seed: `FOLDS`, or as many as the predictions of a split by source have."""
        return int(self.state.get("folds_of_seed", FOLDS))

    def take(self, found: Predictions) -> None:
        """Take in the predictions of a cell, or of all folds of a seed, beside what other
        processes have taken in.

        Raises:
            SystemExit: they are of other labels, files or folds, or of too many labels.
        """
        with locked(self.path.with_suffix(".lock"), lambda: None):
            self._read()
            self._add(found)
            self._write()

    def _add(self, found: Predictions) -> None:
        own = ~found.added
        labels = list(found.labels)
        if len(labels) > MAX_LABELS:
            raise SystemExit(
                f"{found.recipe}: {len(labels)} labels; a guess has a byte in the file"
            )
        if self.state["labels"] not in ([], labels):
            raise SystemExit(f"{found.recipe}: other labels than in {self.path}")
        self.state["labels"] = labels
        hashes = np.array(found.sha256)[own]
        truth, fold, logits = found.truth[own], found.fold[own], found.logits[own]
        benign = labels.index(BENIGN)
        others = np.delete(logits, benign, axis=1)
        top = others.max(axis=1)
        margin = top + np.log(np.exp(others - top[:, None]).sum(axis=1)) - logits[:, benign]
        numbers = np.unique(fold)
        if len(numbers) > 1:
            self.state["folds_of_seed"] = len(numbers)
        for number in numbers:
            at = np.flatnonzero(fold == number)
            at = at[np.argsort(hashes[at])]
            cell = Cell(found.recipe, found.seed, int(number))
            self._know(cell, list(hashes[at]), truth[at])
            self.state["cells"][cell.key] = {
                "guess": packed(logits[at].argmax(axis=1).astype(np.uint8)),
                "margin": packed(margin[at].astype(np.float16)),
            }

    def _know(self, cell: Cell, hashes: list[str], truth: NDArray[Any]) -> None:
        """The files of a fold, which must be the same for all nets."""
        files = {"sha256": [name[:16] for name in hashes], "truth": truth.tolist()}
        known = self.state["folds"].setdefault(self._part(cell), files)
        if known != files:
            raise SystemExit(f"{cell.key}: other files in this fold than in {self.path}")

    def _part(self, cell: Cell) -> str:
        """The name of a fold in the file."""
        return f"{cell.seed}/{cell.fold}" if self.repeats else str(cell.fold)

    def _write(self) -> None:
        lines = json.dumps(self.state, separators=(",", ":")).replace('},"', '},\n"')
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_file(self.path, lines.encode() + b"\n")

    def know(self, name: str, value: Any) -> None:
        """Keep something that is true of the whole study."""
        with locked(self.path.with_suffix(".lock"), lambda: None):
            self._read()
            self.state[name] = value
            self._write()

    def by_seed(self, net: str) -> Iterator[tuple[int, Answers]]:
        """The answers of each seed of a net whose folds are all there."""
        keys = [key.split("/") for key in self.state["cells"]]
        for seed in sorted({int(number) for name, number, _ in keys if name == net}):
            cells = [Cell(net, seed, fold) for fold in range(self.folds)]
            if not all(cell in self for cell in cells):
                continue
            found = [self.state["cells"][cell.key] for cell in cells]
            parts = [self.state["folds"][self._part(cell)] for cell in cells]
            truth = [np.array(part["truth"]) for part in parts]
            guess = [unpacked(cell["guess"], np.uint8).astype(int) for cell in found]
            margin = [unpacked(cell["margin"], np.float16).astype(float) for cell in found]
            yield (
                seed,
                Answers(
                    np.concatenate(truth),
                    np.concatenate(guess),
                    np.concatenate(margin),
                    np.repeat(np.arange(self.folds), [len(part) for part in truth]),
                    [name for part in parts for name in part["sha256"]],
                ),
            )


def family_f1(truth: NDArray[Any], guess: NDArray[Any], families: list[int]) -> float:
    """Macro-F1 over the families that occur."""
    scores = []
    for label in families:
        hits = int(((truth == label) & (guess == label)).sum())
        total = int((truth == label).sum() + (guess == label).sum())
        if (truth == label).any():
            scores.append(2.0 * hits / total)
    return float(np.mean(scores))


def flagged_at(truth: NDArray[Any], margin: NDArray[Any], benign: int, fpr: float) -> float:
    """The share of malware above the margin that `fpr` of the clean files are above."""
    clean = np.sort(margin[truth == benign])[::-1]
    threshold = clean[int(fpr * len(clean))]
    return float((margin[truth != benign] > threshold).mean())


def table(kept: Kept) -> str:
    labels = kept.state["labels"]
    families = [i for i, name in enumerate(labels) if name not in (BENIGN, OTHER)]
    benign = labels.index(BENIGN)
    head = ("net", "seeds", "accuracy", "macro-F1", "macro-F1 by fold", "malware flagged at 0.5 %")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for net in dict.fromkeys(key.split("/")[0] for key in kept.state["cells"]):
        runs = [found for _, found in kept.by_seed(net)]
        if not runs:
            continue
        accuracy = [float((truth == guess).mean()) for truth, guess, *_ in runs]
        pooled = [family_f1(truth, guess, families) for truth, guess, *_ in runs]
        by_fold = [
            family_f1(truth[fold == i], guess[fold == i], families)
            for truth, guess, _, fold, _ in runs
            for i in range(FOLDS)
        ]
        flags = [flagged_at(truth, margin, benign, FPR) for truth, _, margin, *_ in runs]
        figures = [_spread(values) for values in (accuracy, pooled, by_fold, flags)]
        lines.append(f"| {net} | {len(runs)} | {' | '.join(figures)} |")
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    deviation = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{deviation}"


def train(cell: Cell, options: argparse.Namespace) -> Predictions | None:
    """Train a cell to its end, or go on with it; None if it was stopped."""
    recipe, run = RECIPES[cell.net], cell.run(options.work)
    fold = run / f"fold-{cell.fold}"
    if not (fold / PREDICTIONS_FILE).exists():
        said = (
            f"--net {recipe.net} --name {cell.net} --epochs {recipe.epochs} --image-size 64"
            f" --seed {cell.seed} --folds {FOLDS} --fold {cell.fold} --split {options.split}"
            f" --min-samples {MIN_SAMPLES} --precision {options.precision}"
            f" --threads {options.threads}"
            " --jobs 1"
        )
        if recipe.views:
            said += f" --views {recipe.views}"
        if recipe.batch:
            said += f" --batch-size {recipe.batch}"
        if options.repeats:
            said += f" --split-seed {cell.seed}"
        command = [sys.executable, "-P", "-m", "maltriage", "train", "--dataset", "vx-zoo", "-q"]
        command += [part for root in options.roots for part in ("--root", str(root))]
        command += [*said.split(), "--out", str(run)]
        if recipe.guide:
            command += ["--guide", recipe.guide]
            command += [] if recipe.guide in WHOLE else ["--keep", str(KEEP)]
        if recipe.guide not in (None, "random"):
            command += ["--teacher", str(Cell(TEACHER, cell.seed, 0).run(options.work))]
        if run.exists():
            command.append("--resume")
        alone = os.environ | {"OMP_NUM_THREADS": "1"}
        if subprocess.run(command, check=False, env=alone).returncode:
            return None
    return load_predictions(fold / PREDICTIONS_FILE)


def _join(net: str, seed: int, work: Path) -> None:
    """Write the predictions of all folds of a seed to one file."""
    cells = [StudyCell(net, seed, fold) for fold in range(FOLDS)]
    if all((cell.folder(work) / PREDICTIONS_FILE).exists() for cell in cells):
        save_out_of_fold(cells, work)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("roots", type=Path, nargs="*")
    parser.add_argument("--work", type=Path, help="folder of the runs")
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--nets", nargs="+", choices=RECIPES, default=list(NETS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--repeats", action="store_true", help="folds of its own for each seed")
    parser.add_argument("--folds", type=int, nargs="+", default=range(FOLDS), help="to train")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--precision",
        choices=("bfloat16", "float32"),
        default="bfloat16",
        help="float32 is faster on a processor without bfloat16 instructions",
    )
    parser.add_argument("--split", choices=("grouped", "random"), default="grouped")
    parser.add_argument("--take", type=Path, nargs="+", default=[])
    parser.add_argument("--table", action="store_true", help="train nothing")
    options = parser.parse_args()
    kept = Kept(options.keep, options.repeats)
    for path in options.take:
        kept.take(load_predictions(path))
    if not (options.table or options.take):
        if not options.roots or options.work is None:
            parser.error("name the folders of the files, and --work")
        for seed in range(options.first_seed, options.seeds):
            for net in options.nets:
                for fold in options.folds:
                    cell = Cell(net, seed, fold)
                    if cell in kept:
                        continue
                    found = train(cell, options)
                    if found is None:
                        raise SystemExit(f"{cell.key}: stopped; the same command goes on")
                    kept.take(found)
                    print(f"{cell.key} is kept", flush=True)
                _join(net, seed, options.work)
    if kept.state["cells"] and kept.folds == FOLDS:
        print(table(kept))


if __name__ == "__main__":
    main()
