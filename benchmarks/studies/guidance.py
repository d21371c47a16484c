"""Whether heat maps of other nets make a vision transformer better: guided, unguided, controls.

    python -m benchmarks.studies.guidance ROOT --out STUDY  # train what is missing, print
    python -m benchmarks.studies.guidance ROOT --out STUDY --table  # print what is there
    python -m benchmarks.studies.guidance ROOT --out STUDY --counts FILE  # keep what came of it
    python -m benchmarks.studies.guidance ROOT --out STUDY \\
        --views body,header,code,import,resource \\
        --teachers evidence --keep 0.25

Trains the teachers and then the students `none`, `cumulative`, `instance`, `random` and
`inverse` over grouped folds and seeds, every teacher on the folds and with the seed of its
students. A cell that is finished is not trained again, one that was stopped goes on; a folder
can hold several teachers and shares, but one set of views, size and epochs.

What came of every cell is kept in `STUDY/counts.json`, or the FILE of `--counts`: its confusion
matrix, and the cost of each recipe. The table is made of nothing else, and what is in it is not
trained again, so a study can go on, with more seeds or guides, where its folder is gone.
`guidance-vx-mini.json` and `guidance-views-vx-mini.json` beside this script are those of
docs/studies/guidance.md.

The table, in Markdown: macro-F1 over all out-of-fold predictions of a seed (mean and deviation
over seeds), by fold (over all folds), the difference from the unguided net and from the random
mask, paired by fold and seed with the corrected 95 % interval of Nadeau and Bengio (2003) over the
folds, and the same of accuracy; operations of a forward pass, and milliseconds an image takes with
its explanation in ONNX Runtime on one thread, in batches of 16. Needs the extra `train`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from maltriage import bundle as bundles
from maltriage.assess.verdicts.folds import assess_folds
from maltriage.corpus.predictions import (
    PREDICTIONS_FILE,
    Predictions,
    fold_folder,
    load_predictions,
)
from maltriage.errors import MaltriageError
from maltriage.files.atomic import write_file
from maltriage.learn.nets import entry
from maltriage.metrics import Interval, confusion
from maltriage.report.documents.evaluation import Spread
from maltriage.report.numbers import difference

GUIDES = ("none", "cumulative", "instance", "random", "inverse")
UNTAUGHT = ("none", "random")
SETTINGS = (
    *("dataset", "views", "image_size", "epochs", "teacher_epochs", "learning_rate"),
    *("batch_size", "folds", "precision"),
)
"""What all cells of a folder have in common."""
COUNTS_FILE = "counts.json"
MAX_JOBS = 2
BATCH, ROUNDS = 16, 15


@dataclass(frozen=True)
class Cell:
    """One run: a recipe under one seed with one fold held back."""

    recipe: str
    net: str
    guide: str
    seed: int
    fold: int

    def folder(self, out: Path) -> Path:
        """Of the cross-validation that it is part of."""
        return out / self.recipe / f"seed-{self.seed}"

    def done(self, out: Path) -> bool:
        place = fold_folder(self.folder(out), self.fold)
        return (place / PREDICTIONS_FILE).exists() and (place / f"{self.recipe}.onnx").exists()

    @property
    def key(self) -> str:
        """In the file of counts."""
        return f"{self.recipe}/{self.seed}/{self.fold}"


def teacher(net: str) -> str:
    """Name of a teacher's recipe."""
    return f"teacher-{net}"


def recipe(guide: str, options: argparse.Namespace) -> str:
    """Name of a student's recipe: all that tells it from others in a study."""
    if guide == "none":
        return "none"
    name = f"{guide}-{options.keep:g}"
    if guide == "random":
        return name
    name += "-" + "-".join(options.teachers)
    return name if options.cam == "hirescam" else f"{name}-{options.cam}"


def cells(options: argparse.Namespace) -> tuple[list[Cell], list[Cell]]:
    """Teachers and students; all folds of a seed before the next seed."""
    at = [(seed, fold) for seed in range(options.seeds) for fold in range(options.folds)]
    asked = any(guide not in UNTAUGHT for guide in options.guides)
    teachers = [
        Cell(teacher(net), net, "none", seed, fold)
        for seed, fold in at
        for net in options.teachers
        if asked
    ]
    students = [
        Cell(recipe(guide, options), "camvit", guide, seed, fold)
        for seed, fold in at
        for guide in options.guides
    ]
    return teachers, students


def train_cell(cell: Cell, options: argparse.Namespace) -> float:
    """Train one cell to its end, in a process of its own; seconds of processor time."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from maltriage.corpus.datasets import open_dataset
    from maltriage.corpus.load import load_corpus
    from maltriage.learn.fit.recipe import FitOptions
    from maltriage.learn.heat.guide import GuideOptions
    from maltriage.learn.runs.crossval import train_fold
    from maltriage.learn.runs.options import RunOptions, views_for

    student = cell.net == "camvit"
    fit = FitOptions(
        net=cell.net,
        image_size=options.image_size,
        views=tuple(options.views.split(",")),
        epochs=options.epochs if student else options.teacher_epochs or options.epochs,
        batch_size=options.batch_size if student else entry(cell.net).batch_size,
        seed=cell.seed,
        learning_rate=options.learning_rate if student else entry(cell.net).learning_rate,
        precision=options.precision,
        threads=1,
    )
    guide = None
    if cell.guide != "none":
        paths = [Cell(teacher(net), net, "none", cell.seed, 0) for net in options.teachers]
        taught = () if cell.guide == "random" else paths
        guide = GuideOptions(
            cell.guide,  # type: ignore[arg-type]
            options.keep,
            options.cam,
            tuple(one.folder(options.out).absolute() for one in taught),
        )
    run = RunOptions(cell.folder(options.out), cell.recipe, fit, folds=options.folds, guide=guide)
    corpus = load_corpus(open_dataset(options.dataset, options.root), views_for(fit), jobs=1)
    began = time.process_time()
    train_fold(corpus, run, cell.fold)
    return time.process_time() - began


def train_all(todo: list[Cell], options: argparse.Namespace, counts: Counts) -> None:
    """Train what is missing of `todo`, and take in each cell when it is finished."""
    for cell in todo:
        if cell not in counts and cell.done(options.out):
            counts.add(cell, options.out)
    todo = [cell for cell in todo if not cell.done(options.out)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, context, max_tasks_per_child=1) as pool:
        waiting = {pool.submit(train_cell, cell, options): cell for cell in todo}
        try:
            for number, future in enumerate(as_completed(waiting), 1):
                cell = waiting[future]
                print(
                    f"{number}/{len(todo)}  {cell.recipe}, seed {cell.seed}, fold {cell.fold}:"
                    f" {future.result():.0f} s of processor time",
                    flush=True,
                )
                if cell not in counts:  # teachers may be trained again, for students to come
                    counts.add(cell, options.out)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def same_study(options: argparse.Namespace) -> None:
    """Raise MaltriageError where the folder holds cells of other settings."""
    place = options.out / "study.json"
    settings = {name: str(getattr(options, name)) for name in SETTINGS}
    if place.exists():
        stored = json.loads(place.read_text(encoding="utf-8"))
        other = [name for name in SETTINGS if stored.get(name) != settings[name]]
        if other:
            raise MaltriageError(f"{options.out} holds a study with other {', '.join(other)}")
    elif not options.table:
        options.out.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


class Counts:
    """What came of the cells of a study, in a file of its own.

    Raises:
        MaltriageError: it holds a study of other settings.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.path: Path = options.counts or options.out / COUNTS_FILE
        settings = {name: str(getattr(options, name)) for name in SETTINGS}
        self.state: dict[str, Any] = {"settings": settings, "labels": [], "cost": {}, "cells": {}}
        if self.path.exists():
            self.state = json.loads(self.path.read_text(encoding="utf-8"))
            stored = self.state["settings"]
            other = [name for name in SETTINGS if stored.get(name) != settings[name]]
            if other:
                raise MaltriageError(f"{self.path} holds a study with other {', '.join(other)}")

    def __contains__(self, cell: Cell) -> bool:
        return cell.key in self.state["cells"]

    def write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        cells = (f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in self.state["cells"].items())
        head = json.dumps({k: v for k, v in self.state.items() if k != "cells"}, indent=1)
        text = head[:-2] + ',\n "cells": {\n' + ",\n".join(cells) + "\n }\n}\n"
        write_file(self.path, text.encode())

    def add(self, cell: Cell, out: Path) -> None:
        """Take in a finished cell, and what its recipe costs if that is not known yet."""
        place = fold_folder(cell.folder(out), cell.fold)
        found = load_predictions(place / PREDICTIONS_FILE)
        if self.state["labels"] not in ([], list(found.labels)):
            raise MaltriageError(f"{place}: other labels than in {self.path}")
        self.state["labels"] = list(found.labels)
        matrix = confusion(found.truth, found.logits.argmax(axis=1), len(found.labels))
        self.state["cells"][cell.key] = matrix.tolist()
        if cell.recipe not in self.state["cost"]:
            bundle = bundles.load(place / f"{cell.recipe}.onnx")
            self.state["cost"][cell.recipe] = {
                "flops": bundle.card.metrics["flops"],
                "milliseconds": milliseconds(bundle.model, bundle.card.views),
            }
        self.write()

    def runs(self, name: str, options: argparse.Namespace) -> Iterator[Predictions]:
        """A recipe's answers over all folds, for each seed whose folds are all there.

        A confusion matrix says all of them but which sample was which: samples of a fold go by
        their label, so that those of two recipes are the same ones if their counts are.
        """
        labels = tuple(self.state["labels"])
        for seed in range(options.seeds):
            parts = [Cell(name, "", "", seed, fold) for fold in range(options.folds)]
            if not all(cell in self for cell in parts):
                continue
            matrices = [np.array(self.state["cells"][cell.key]) for cell in parts]
            pairs = np.indices((len(labels), len(labels))).reshape(2, -1)
            truth, guess = np.hstack([pairs.repeat(m.ravel(), axis=1) for m in matrices])
            fold = np.repeat(np.arange(options.folds), [m.sum() for m in matrices])
            yield Predictions(
                recipe=name,
                seed=seed,
                labels=labels,
                sha256=tuple(
                    f"{f} {t} {i}" for i, (f, t) in enumerate(zip(fold, truth, strict=True))
                ),
                truth=truth,
                fold=fold,
                added=np.zeros(len(truth), dtype=bool),
                logits=np.eye(len(labels))[guess],
            )


def milliseconds(model: bytes, views: Any) -> float:
    """Median time of an image in ONNX Runtime, with its explanation, on one thread."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(0)
    feed: dict[str, Any] = {}
    for view in views:
        feed[view.name] = generator.integers(0, 256, (BATCH, *view.shape), dtype=np.uint8)
        if len(view.shape) == 2:
            feed[view.name][:, 1] = 1  # every byte of a window exists
    feed["target"] = feed["against"] = np.full(BATCH, -1)
    feed["threshold"] = np.zeros(BATCH, dtype=np.float32)
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        session.run(None, feed)
        times.append((time.perf_counter() - began) / BATCH)
    return 1000 * float(np.median(times))


def spread(value: Spread) -> str:
    return f"{value.mean:.3f} ± {value.sd:.3f}"


def interval(value: Interval | None) -> str:
    return "" if value is None else difference(value)


def table(counts: Counts, options: argparse.Namespace) -> str:
    """What is there of the study, as Markdown."""
    guides = {guide: recipe(guide, options) for guide in options.guides}
    names = [teacher(net) for net in options.teachers] + list(guides.values())
    runs = {name: found for name in names if (found := list(counts.runs(name, options)))}
    header = (
        *("recipe", "seeds", "pooled macro-F1", "macro-F1 by fold", "less none", "less random"),
        *("accuracy", "less none", "less random"),
        *("million operations", "ms an image"),
    )
    lines = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    for name, own in runs.items():
        others = [guides.get(guide) for guide in ("none", "random")]
        against = [runs[other] for other in others if other in runs and other != name]
        report = assess_folds([*own, *(run for found in against for run in found)])
        less = {d.second: (d.macro_f1, d.accuracy) for d in report.differences}
        none, random = (less.get(str(other), (None, None)) for other in others)
        figures, cost = report.recipes[0], counts.state["cost"][name]
        row = (
            *(name, str(len(figures.seeds))),
            *(spread(figures.pooled_macro_f1), spread(figures.macro_f1)),
            *(interval(none[0]), interval(random[0])),
            *(spread(figures.accuracy), interval(none[1]), interval(random[1])),
            f"{cost['flops'] / 1e6:.0f}",
            f"{cost['milliseconds']:.2f}",
        )
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--dataset", default="vx-zoo")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--counts", type=Path, help="what came of the cells; default: in STUDY")
    parser.add_argument("--guides", nargs="+", choices=GUIDES, default=list(GUIDES))
    parser.add_argument("--teachers", nargs="+", default=["gibert", "evidence"])
    parser.add_argument("--keep", type=float, default=0.5)
    parser.add_argument("--cam", default="hirescam")
    parser.add_argument("--views", default="byteplot")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--teacher-epochs", type=int, default=0, help="0: as --epochs")
    usual = entry("camvit")
    parser.add_argument(
        "--learning-rate", type=float, default=usual.learning_rate, help="of the students"
    )
    parser.add_argument("--batch-size", type=int, default=usual.batch_size, help="of the students")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--jobs", type=int, choices=range(1, MAX_JOBS + 1), default=MAX_JOBS)
    parser.add_argument("--table", action="store_true", help="train nothing")
    options = parser.parse_args()
    try:
        same_study(options)
        counts = Counts(options)
        teachers, students = cells(options)
        if not options.table:
            students = [cell for cell in students if cell not in counts]
            wanted = {(cell.seed, cell.fold) for cell in students if cell.guide not in UNTAUGHT}
            teachers = [
                cell for cell in teachers if cell not in counts or (cell.seed, cell.fold) in wanted
            ]
            for todo in (teachers, students):
                train_all(todo, options, counts)
        print(table(counts, options))
    except MaltriageError as error:
        print(f"guidance: {error}")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
