"""Figures by the values of a column, such as by source: what holds for files from elsewhere.

With the predictions of a split by that column, each file is answered for by a net that has seen
nothing of its value; the threshold and the temperature of that net are from its own validation
part. A second threshold is from the clean files of the other folds, each by the net that held
it back: what a threshold for a new source can be set on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from maltriage import metrics
from maltriage.assess.held_back import Held
from maltriage.assess.verdicts import grouped
from maltriage.assess.verdicts.column_answers import (
    Answers,
    Limits,
    Tuned,
    answers_of,
    elsewhere_limits,
    even_limits,
    given_limits,
    tuned_of,
    validated_limits,
)
from maltriage.assess.verdicts.column_files import Files
from maltriage.assess.verdicts.value_means import mean_areas, mean_rates
from maltriage.bundle import BENIGN, OTHER
from maltriage.corpus.predictions import Predictions, load_predictions
from maltriage.errors import MaltriageError
from maltriage.metrics import Floats, Ints
from maltriage.report.documents.by_column import (
    Against,
    AtThreshold,
    CleanBy,
    ColumnFigures,
    ColumnReport,
    KindFigures,
    ReadFirst,
    ValueFigures,
)
from maltriage.report.documents.record import Result, path_fields
from maltriage.triage.options import Progress, ScanOptions
from maltriage.triage.pipeline import scan

FPR = 0.005
"""Stated false-positive rate of thresholds that are set here."""
MALWARE_SHARE, FIRST = 0.1, (0.05, 0.1, 0.2, 0.3)
"""Of how much malware among a collection's files `ReadFirst` tells, and of which first files."""


def of_predictions(
    files: Files, paths: Sequence[Path], fpr: float = FPR, margin: float | None = None
) -> ColumnReport:
    """Figures of out-of-fold predictions, a CSV for each seed or recipe.

    Args:
        files: that the predictions are of, at least.
        paths: of the CSV files. In the folder of its run, each finds the validation parts.
        fpr: false-positive rate of the thresholds.
        margin: a threshold to count at as well, such as that of a model which ships.

    Raises:
        MaltriageError: predictions without a benign label, or of other samples.
    """
    runs = [_of_run(files, load_predictions(path), path.parent, fpr, margin) for path in paths]
    return _report(files, fpr, runs)


def of_model(
    files: Files,
    held: Held,
    options: ScanOptions,
    *,
    changed: Callable[[Progress], None] = lambda progress: None,
) -> ColumnReport:
    """Figures of a model's verdicts, scanned the way that users scan.

    Malware of families that the model does not know counts as malware.

    Args:
        files: that the scanned ones are among.
        held: files of one bundle.

    Raises:
        MaltriageError: the model has no benign label, or no file could be read.
    """
    (group,) = held.groups
    card = group.bundle.card
    if card.benign is None:
        raise MaltriageError(f"{group.bundle.path}: no benign label, so nothing can be flagged")
    place = {path_fields(path)[0]: i for i, path in enumerate(files.paths)}
    found = list[tuple[int, Result]]()
    for record in scan([path for path, _ in group.samples], group.bundle, options, changed=changed):
        if isinstance(record, Result) and record.path in place:
            found.append((place[record.path], record))
    if not found:
        raise MaltriageError("none of the files could be read")
    at = np.array([i for i, _ in found], dtype=np.int64)
    verdicts = [record.verdict for _, record in found]
    named = [v.label if v.flagged and v.label in card.labels else "" for v in verdicts]
    benign = [next(r.probability for r in v.ranked if r.label == BENIGN) for v in verdicts]
    in_set = [files.label[i] in (v.set or ()) for i, v in zip(at, verdicts, strict=True)]
    answers = Answers(
        at,
        np.array([v.margin for v in verdicts], dtype=np.float64),
        np.array(["" if name in (BENIGN, OTHER) else name for name in named]),
        None if card.temperature is None else 1.0 - np.array(benign),
        None if any(v.set is None for v in verdicts) else np.array(in_set),
        np.zeros(len(at), dtype=np.int64),
        np.isin(files.label[at], sorted({*card.labels} - {OTHER})),
    )
    limits = list[Limits]()
    if (threshold := card.threshold) is not None:
        margins = np.array([v.threshold for v in verdicts], dtype=np.float64)
        flagged = np.array([bool(v.flagged) for v in verdicts])
        limits.append(Limits("card", margins, np.full(len(at), threshold.files), flagged))
    limits += even_limits(answers)
    values = [_value(files, value, answers, limits, {}) for value in files.values]
    run = ColumnFigures(name=card.name, seed=None, held_back=False, values=_there(values))
    return _report(files, None if threshold is None else threshold.fpr, [run])


def _report(files: Files, fpr: float | None, runs: list[ColumnFigures]) -> ColumnReport:
    without = int((files.value == "").sum())
    return ColumnReport(
        column=files.column,
        fpr=fpr,
        without=without,
        runs=runs,
        rates=mean_rates(runs),
        areas=mean_areas(runs),
    )


def _there(values: list[ValueFigures | None]) -> list[ValueFigures]:
    return [value for value in values if value is not None]


def _of_run(
    files: Files, found: Predictions, run: Path, fpr: float, margin: float | None
) -> ColumnFigures:
    tuned = tuned_of(files, found, run)
    answers, held_back = answers_of(files, found, tuned)
    limits = [elsewhere_limits(files, answers, fpr)]
    if tuned is not None:
        limits.insert(0, validated_limits(answers, tuned, fpr))
    if margin is not None:
        limits.append(given_limits(answers, margin))
    limits += even_limits(answers)
    values = [
        _value(files, value, answers, limits, tuned or {} if held_back else {})
        for value in files.values
    ]
    return ColumnFigures(
        name=found.recipe, seed=found.seed, held_back=held_back, values=_there(values)
    )


def _value(
    files: Files,
    value: str,
    answers: Answers,
    limits: Sequence[Limits],
    tuned: dict[int, Tuned],
) -> ValueFigures | None:
    """The figures of one value; None without answers for its files."""
    own = np.flatnonzero(files.value[answers.at] == value)
    if not len(own):
        return None
    at = answers.at[own]
    group, malware = files.group[at], files.malware[at]
    ece = None
    if answers.malware is not None:
        said = answers.malware[own]
        ece = grouped.over_groups(
            lambda rows: metrics.calibration_error(said[rows], malware[rows]), group, upward=True
        )
    learned = answers.learned[own]
    held = None if answers.held is None else answers.held[own][learned]
    return ValueFigures(
        value=value,
        files=len(own),
        groups=len(np.unique(group)),
        malware=int(malware.sum()),
        clean=int((~malware).sum()),
        unlearned=int((malware & ~learned).sum()),
        ece=ece,
        in_set=None if held is None else grouped.counted(held, group[learned]),
        thresholds=[_at(files, answers, limit, own) for limit in limits],
        against=[*_against(files, answers, own), *_trained(files, answers, own, tuned)],
        read_first=_read_first(files, answers, own),
    )


def _at(files: Files, answers: Answers, limits: Limits, own: Ints) -> AtThreshold:
    at, flagged, family = answers.at[own], limits.flagged[own], answers.family[own]
    malware, label, group = files.malware[at], files.label[at], files.group[at]
    named = flagged & (family != "")
    asked = malware & (limits.margin is not None)  # names are given to flagged files alone
    rows = list[KindFigures]()
    for kind, mask in files.kinds.items():
        clean, bad = mask[at] & ~malware, mask[at] & malware
        sure = bad & asked & named & (label != OTHER)
        if clean.any() or bad.any():
            rows.append(
                KindFigures(
                    kind,
                    grouped.counted(flagged[clean], group[clean]),
                    grouped.counted(flagged[bad], group[bad]),
                    grouped.counted(named[bad & asked], group[bad & asked]),
                    grouped.counted((family == label)[sure], group[sure]),
                )
            )
    margin, count = _only(limits.margin, own), _only(limits.files, own)
    return AtThreshold(limits.set_on, margin, None if count is None else int(count), rows)


def _only(values: Floats | Ints | None, own: Ints) -> float | None:
    """The value that all of the files have; None: they differ, or there is none."""
    found = [] if values is None else np.unique(values[own]).tolist()
    return found[0] if len(found) == 1 else None


def _against(files: Files, answers: Answers, own: Ints) -> list[Against]:
    """Malware of some answers against the clean files of each value."""
    clean = ~files.malware[answers.at]
    ours = answers.at[own], answers.margin[own]
    rows = list[Against]()
    for value in files.values:
        of = np.flatnonzero(clean & (files.value[answers.at] == value))
        theirs = answers.at[of], answers.margin[of]
        same = np.isin(answers.fold[of], answers.fold[own]).all()
        rows += _areas(files, ours, theirs, value, "same" if same else "other")
    return rows


def _trained(files: Files, answers: Answers, own: Ints, tuned: dict[int, Tuned]) -> list[Against]:
    """Malware of some answers of one net against the clean files of its validation part."""
    part = tuned.get(int(answers.fold[own[0]]))
    if part is None:
        return []
    rows = list[Against]()
    for value in files.values:
        of = np.flatnonzero(part.clean & (files.value[part.at] == value))
        ours, theirs = (answers.at[own], answers.margin[own]), (part.at[of], part.margin[of])
        rows += _areas(files, ours, theirs, value, "trained")
    return rows


def _read_first(files: Files, answers: Answers, own: Ints) -> ReadFirst | None:
    """How soon the malware of some answers is read, among clean files of the same net if it has
    any, or else of all nets."""
    malware = files.malware[answers.at]
    bad = own[malware[own]]
    clean = np.flatnonzero(~malware)
    same = clean[np.isin(answers.fold[clean], answers.fold[own])]
    good = same if len(same) else clean
    if not (len(bad) and len(good)):
        return None
    group = files.group[answers.at]
    found = grouped.found_first(
        answers.margin[bad],
        group[bad],
        answers.margin[good],
        group[good],
        share=MALWARE_SHARE,
        first=FIRST,
    )
    by: CleanBy = "same" if len(same) else "other"
    return ReadFirst(MALWARE_SHARE, by, len(bad), len(good), FIRST, found)


def _areas(
    files: Files,
    ours: tuple[Ints, Floats],
    clean: tuple[Ints, Floats],
    value: str,
    clean_by: CleanBy,
) -> list[Against]:
    """Areas by kind, of malware among `ours` against clean files; each as places and margins."""
    rows = list[Against]()
    for kind, mask in files.kinds.items():
        bad = mask[ours[0]] & files.malware[ours[0]]
        good = mask[clean[0]]
        if bad.any() and good.any():
            auc = grouped.auc(
                ours[1][bad],
                files.group[ours[0][bad]],
                clean[1][good],
                files.group[clean[0][good]],
            )
            rows.append(Against(kind, value, clean_by, int(bad.sum()), int(good.sum()), auc))
    return rows
