"""Answers of nets for files by the value of a column, and thresholds set on other files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maltriage import metrics
from maltriage.assess.verdicts.calibrate import limit_at
from maltriage.assess.verdicts.column_files import PACKED, Files, Words
from maltriage.assess.verdicts.fitted import said_of
from maltriage.bundle import BENIGN, OTHER
from maltriage.corpus.predictions import (
    VALIDATION_FILE,
    Predictions,
    fold_folder,
    load_predictions,
)
from maltriage.errors import MaltriageError
from maltriage.metrics import Bools, Floats, Ints
from maltriage.report.documents.by_column import SetOn
from maltriage.triage.verdict import EVEN


@dataclass(frozen=True)
class Answers:
    """A net's answers for some files, `at` in the order of `Files`; arrays are [m]."""

    at: Ints
    margin: Floats
    family: Words
    """The family that a flagged file is given; empty: none."""
    malware: Floats | None
    """P(malware); None: uncalibrated."""
    held: Bools | None
    """Whether the file's label is in its prediction set; None: there are no sets."""
    fold: Ints
    """The fold that held the file back; 0 for a model."""
    learned: Bools
    """Whether the net has training files of the file's family."""


@dataclass(frozen=True)
class Limits:
    """Thresholds of the answers, [m]: where they are set, on how many clean files.

    An even chance is one of P(malware), set on no files: `margin` and `files` are None. So is
    `files` of a margin that was given.
    """

    set_on: SetOn
    margin: Floats | None
    files: Ints | None
    flagged: Bools


@dataclass(frozen=True)
class Tuned:
    """The validation part of a fold: its predictions, their files and margins."""

    said: Predictions
    at: Ints
    margin: Floats

    @property
    def clean(self) -> Bools:
        return np.asarray(self.said.truth == self.said.labels.index(BENIGN))


def tuned_of(files: Files, found: Predictions, run: Path) -> dict[int, Tuned] | None:
    """The validation part of each fold in the folder of a run; None where one is missing."""
    tuned = dict[int, Tuned]()
    place = {sha256: i for i, sha256 in reversed(list(enumerate(files.sha256)))}
    for fold in np.unique(found.fold).tolist():
        path = fold_folder(run, fold) / VALIDATION_FILE
        if not path.is_file():
            return None
        said = load_predictions(path)
        if (said.recipe, said.seed) != (found.recipe, found.seed):
            return None  # predictions of another model, beside this run
        if said.labels != found.labels or any(sha256 not in place for sha256 in said.sha256):
            raise MaltriageError(f"{path}: of other samples or labels")
        margin = metrics.margins(said.logits, said.labels.index(BENIGN))
        tuned[fold] = Tuned(said, np.array([place[s] for s in said.sha256]), margin)
        if not tuned[fold].clean.any():
            raise MaltriageError(f"{path}: no clean files to set a threshold on")
    return tuned


def answers_of(
    files: Files, found: Predictions, tuned: dict[int, Tuned] | None
) -> tuple[Answers, bool]:
    """Out-of-fold answers, and whether each value is in one fold.

    Temperature, prediction sets and novelty of each fold are fitted to its validation part, or
    else to the other folds.
    """
    if BENIGN not in found.labels:
        raise MaltriageError(f"{found.recipe}: predictions without a label {BENIGN}")
    benign = found.labels.index(BENIGN)
    at = _places(files, found)
    value = files.value[at]
    held_back = all(len(np.unique(found.fold[value == name])) == 1 for name in np.unique(value))
    names = np.array(found.labels)
    learned, nameable, held = (np.ones(len(at), dtype=np.bool_) for _ in range(3))
    malware = np.zeros(len(at))
    for fold in np.unique(found.fold).tolist():
        own = found.fold == fold
        others = found.take(~own)
        said = said_of(found.logits[own], others if tuned is None else tuned[fold].said)
        malware[own] = 1.0 - said.shares[:, benign]
        nameable[own] = said.nameable
        held[own] = said.members[np.arange(int(own.sum())), found.truth[own]]
        learned[own] = np.isin(found.truth[own], others.truth)
    learned &= names[found.truth] != OTHER
    guess = names[found.logits.argmax(axis=1)]
    nameable &= (guess != BENIGN) & (guess != OTHER)
    answers = Answers(
        at,
        metrics.margins(found.logits, benign),
        np.where(nameable, guess, ""),
        malware,
        held,
        found.fold,
        learned if held_back else np.asarray(names[found.truth] != OTHER),
    )
    return answers, held_back


def _places(files: Files, found: Predictions) -> Ints:
    """The file of each prediction; equal files are told apart by the other values of its fold."""
    places = dict[str, list[int]]()
    for i, sha256 in enumerate(files.sha256):
        places.setdefault(sha256, []).append(i)
    rows = list(enumerate(zip(found.sha256, found.fold.tolist(), strict=True)))
    at, values = np.zeros(len(found), dtype=np.int64), set[tuple[int, str]]()
    for row, (sha256, fold) in sorted(rows, key=lambda of: len(places.get(of[1][0], []))):
        of = places.get(sha256)
        if not of:
            raise MaltriageError(
                f"{found.recipe}, seed {found.seed}: {sha256[:16]} is no file of this dataset"
            )
        best = next((i for i in of if (fold, str(files.value[i])) in values), of[0])
        at[row] = best
        values.add((fold, str(files.value[best])))
        if len(of) > 1:
            of.remove(best)
    return at


def validated_limits(answers: Answers, tuned: dict[int, Tuned], fpr: float) -> Limits:
    clean = {fold: part.margin[part.clean] for fold, part in tuned.items()}
    return _limits("validation", answers, clean, fpr)


def even_limits(answers: Answers) -> list[Limits]:
    """At least as likely malware as not: what a verdict flags or calls unknown; none if
    probabilities are uncalibrated."""
    if answers.malware is None:
        return []
    return [Limits("even", None, None, answers.malware >= EVEN)]


def given_limits(answers: Answers, margin: float) -> Limits:
    return Limits("given", np.full(len(answers.at), margin), None, answers.margin >= margin)


def plain_or_all(files: Files, answers: Answers) -> Bools:
    """Clean files that a threshold is set on: those that are not packed, or all if all are."""
    clean = ~files.malware[answers.at]
    plain = clean & ~files.kinds[PACKED][answers.at]
    return plain if plain.any() else clean


def elsewhere_limits(files: Files, answers: Answers, fpr: float) -> Limits:
    clean = plain_or_all(files, answers)
    margins = {
        fold: answers.margin[clean & (answers.fold != fold)]
        for fold in np.unique(answers.fold).tolist()
    }
    if not all(map(len, margins.values())):
        raise MaltriageError("only one fold has clean files: no threshold from elsewhere")
    return _limits("elsewhere", answers, margins, fpr)


def _limits(set_on: SetOn, answers: Answers, clean: dict[int, Floats], fpr: float) -> Limits:
    """Thresholds from the margins of clean files, by fold."""
    limits, count = np.zeros(len(answers.at)), np.zeros(len(answers.at), dtype=np.int64)
    for fold, margins in clean.items():
        limits[answers.fold == fold] = limit_at(margins.tolist(), fpr)
        count[answers.fold == fold] = len(margins)
    return Limits(set_on, limits, count, answers.margin >= limits)
