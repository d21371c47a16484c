"""Splits of a corpus into training, validation and test, and into folds.

A cross-validation holds each fold back once. The net that ships is then trained on every
sample, and its figures are those of the fold nets.

* `grouped` keeps near duplicates (see `twins`) in one part;
* `random` does not, to show the effect of a leak;
* `time` trains on the oldest samples and tests on the newest, as Pendlebury et al. ask for
  ("TESSERACT", USENIX Security 2019, section 4: no training sample is younger than a test
  sample). Samples of one date are in one part. Samples without a date are in no part, nor
  are validation and test samples of families without a training sample.

`grouped` and `random` are stratified and depend only on the samples, their labels and a seed;
`time` depends only on the dates. Folds of `time` chain forward: the samples are divided into
k + 1 spans of about equal size, and fold i trains on spans 0 to i and tests on the next. So
the oldest span is never tested, and the others once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from maltriage.bundle import BENIGN
from maltriage.corpus.corpus import Corpus
from maltriage.corpus.split_file import (
    PARTS,
    Parts,
    SplitFile,
    in_order,
    load,
    manifest_sha256,
)
from maltriage.corpus.twins import near_twins
from maltriage.corpus.value_folds import column_of, fold_names
from maltriage.errors import MaltriageError

Integers = npt.NDArray[np.int64]
Dates = npt.NDArray[np.datetime64]

KINDS = ("grouped", "random", "time")
"""Kinds of splits besides those by a column."""
FRACTIONS = (0.7, 0.1, 0.2)
"""Shares of training, validation and test."""
COLUMN_FRACTIONS = (0.9, 0.1, 0.0)
"""Shares of training and validation among the samples that a fold of a column trains on."""


def groups_of(corpus: Corpus, kind: str) -> Integers:
    """The groups that a kind of split keeps together: near duplicates, or single samples."""
    _check_kind(corpus, kind)
    alone = kind in ("random", "time")
    return np.arange(len(corpus)) if alone else near_twins(corpus.signs)


def values_of(corpus: Corpus, column: str) -> tuple[str, ...]:
    """The values of a column, sorted, without the empty one: the folds of its split.

    Raises:
        MaltriageError: there is no such column, or no such value to join.
    """
    return tuple(sorted(set(folds_by(corpus, column)) - {""}))


def folds_by(corpus: Corpus, column: str) -> tuple[str, ...]:
    """The fold of each sample in a split by a column, by name; empty: none.

    Raises:
        MaltriageError: see `values_of`.
    """
    _check_kind(corpus, column)
    return fold_names(column, corpus.columns[column_of(column)])


def split(
    groups: Integers,
    labels: Integers,
    fractions: tuple[float, float, float] = FRACTIONS,
    seed: int = 0,
) -> Parts:
    """Part of each sample: an array of 'train', 'val' and 'test', shape [n].

    Args:
        groups: number of the group of each sample, [n]; a group is never divided.
        labels: number of the label of each sample, [n].
        fractions: shares of the three parts; they add up to 1.
        seed: of the order in which groups are assigned.
    """
    if min(fractions) < 0 or abs(sum(fractions) - 1.0) > 1e-9:
        raise ValueError(f"fractions must be positive and add up to 1: {fractions}")
    return np.array(PARTS)[_deal(groups, labels, np.array(fractions), seed)]


def folds(groups: Integers, labels: Integers, k: int, seed: int = 0) -> Integers:
    """Fold of each sample, 0 to k - 1, shape [n], of about equal size and mix of labels."""
    if k < 2:
        raise ValueError(f"at least two folds, not {k}")
    return _deal(groups, labels, np.full(k, 1.0 / k), seed)


def _deal(
    groups: Integers, labels: Integers, shares: npt.NDArray[np.float64], seed: int
) -> Integers:
    """Assign whole groups in a random order, each to the part where it fits best.

    With `have` samples of a label in a part and `want` = share x all of that label, a group
    goes where the sum of have^2 / want grows least, each label weighted by its rarity. That
    fills all parts evenly, and puts a large group into a part with room for it.
    """
    if len(groups) != len(labels):
        raise ValueError("one group and one label for each sample")
    names, place = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(names), int(labels.max(initial=-1)) + 1))
    np.add.at(counts, (place, labels), 1.0)
    want = np.maximum(shares[:, None] * counts.sum(axis=0), 1e-9)
    have = np.zeros_like(want)
    rarity = 1.0 / np.maximum(counts.sum(axis=0), 1.0)
    part = np.zeros(len(names), dtype=np.int64)
    for group in np.random.default_rng(seed).permutation(len(names)):
        count = counts[group]
        cost = ((count * (2.0 * have + count) / want) * rarity).sum(axis=1)
        part[group] = int(np.argmin(cost))
        have[part[group]] += count
    return np.asarray(part[place])


def by_time(dates: Dates, shares: Sequence[float]) -> Integers:
    """The span of time of each sample, [n]; spans have about these shares of the samples.

    Args:
        dates: of the samples, [n], all known. Samples of one date are never divided.
        shares: of the spans, the oldest first; they add up to 1.

    Raises:
        MaltriageError: fewer dates than spans.
    """
    days, place, counts = np.unique(dates, return_inverse=True, return_counts=True)
    if len(days) < len(shares):
        raise MaltriageError(
            f"a split by time into {len(shares)} spans needs as many dates (first_seen in"
            f" labels.csv), found {len(days)}"
        )
    reached = np.cumsum(counts) / max(1, len(dates))
    ends = list[int]()  # the last day of each span but the last one
    for share in np.cumsum(shares)[:-1]:
        first = ends[-1] + 1 if ends else 0
        last = len(days) - (len(shares) - 1 - len(ends))  # a day is left for each later span
        ends.append(first + int(np.argmin(np.abs(reached[first:last] - share))))
    return np.searchsorted(np.array(ends, dtype=np.int64), place).astype(np.int64)


def _time_parts(corpus: Corpus, shares: Sequence[float], names: Sequence[str]) -> Parts:
    """The part of each sample by its span of time; unused samples get a key of `LEFT_OUT`."""
    dated = ~np.isnat(corpus.first_seen)
    parts = np.full(len(corpus), "undated", dtype="U8")
    parts[dated] = np.array(names)[by_time(corpus.first_seen[dated], shares)]
    trained = np.unique(corpus.label[parts == "train"])
    held_back = (parts == "val") | (parts == "test")
    parts[held_back & ~np.isin(corpus.label, trained)] = "unseen"
    if len(trained) < 2 or not (parts == "test").any():
        raise MaltriageError(
            "a split by time needs two families or more in the oldest samples, and at least one"
            " of them in the newest"
        )
    return parts


def _column_parts(corpus: Corpus, column: str, value: str, seed: int) -> Parts:
    """The part of each sample in the fold of one value; unused samples get a key of `LEFT_OUT`."""
    groups = groups_of(corpus, column)
    test = np.array(folds_by(corpus, column)) == value
    parts = np.where(test, "test", np.where(np.isin(groups, groups[test]), "twin", "train"))
    rest = np.flatnonzero(parts == "train")
    parts[rest] = split(groups[rest], corpus.label[rest], COLUMN_FRACTIONS, seed)
    trained = {corpus.labels[label] for label in np.unique(corpus.label[parts == "train"])}
    if len(trained) < 2 or (BENIGN in corpus.labels and BENIGN not in trained):
        left = "nothing"
        if trained:
            left = f"nothing but {trained.pop() if len(trained) == 1 else 'malware'}"
        raise MaltriageError(f"without {column} {value}, {left} would be left to train on")
    return parts


def leaks(groups: Integers, parts: Parts, part: str = "test") -> int:
    """Number of samples of a part with a member of their group in the training part."""
    seen = set(groups[parts == "train"].tolist())
    return sum(group in seen for group in groups[parts == part].tolist())


def twins_in_training(corpus: Corpus, parts: Parts, part: str = "test") -> tuple[int, int]:
    """Number of samples of a part with an exact duplicate in the training part, and number
    with a near duplicate (the former included)."""
    same = np.unique(np.array(corpus.sha256), return_inverse=True)[1]
    return leaks(same, parts, part), leaks(near_twins(corpus.signs), parts, part)


def make_split(corpus: Corpus, kind: str = "grouped", seed: int = 0) -> SplitFile:
    """Split a corpus by one of `KINDS` into `FRACTIONS`.

    Raises:
        MaltriageError: no such kind, or the dates allow no split by time.
    """
    _check_kind(corpus, kind)
    if kind not in KINDS:
        raise MaltriageError(f"a split by {kind} has a fold for each of its values: name --folds")
    if kind == "time":
        parts = _time_parts(corpus, FRACTIONS, PARTS)
    else:
        parts = split(groups_of(corpus, kind), corpus.label, FRACTIONS, seed)
    return _stored(corpus, parts, kind=kind, seed=seed, fractions=FRACTIONS)


def make_fold(corpus: Corpus, kind: str, seed: int, count: int, held_back: int | None) -> SplitFile:
    """The split of a cross-validation that holds back one of `count` folds, or none.

    Raises:
        MaltriageError: no such fold, the fold takes no sample or all of a label, the dates allow no
            split by time, or a column has other values or leaves nothing to train on.
    """
    values = () if kind in KINDS else values_of(corpus, kind)
    if values and count != len(values):
        raise MaltriageError(f"a split by {kind} has {len(values)} folds here, not {count}")
    if count < 2:
        raise MaltriageError(f"at least two folds, not {count}")
    if held_back is not None and not 0 <= held_back < count:
        raise MaltriageError(f"no fold {held_back} of {count}: they are counted from 0")
    value = values[held_back] if values and held_back is not None else None
    if held_back is None:
        parts = np.full(len(corpus), "train")
    elif value is not None:
        parts = _column_parts(corpus, kind, value, seed)
    elif kind == "time":
        names = ("train",) * (held_back + 1) + ("test",) + ("later",) * (count - held_back - 1)
        parts = _time_parts(corpus, np.full(count + 1, 1.0 / (count + 1)).tolist(), names)
    else:
        dealt = folds(groups_of(corpus, kind), corpus.label, count, seed)
        parts = np.where(dealt == held_back, "test", "train")
        _refuse_uneven(corpus, parts, held_back, count)
    tested, tuned = (float((parts == part).mean()) for part in ("test", "val"))
    return _stored(
        corpus,
        parts,
        kind=kind,
        seed=seed,
        fractions=(1.0 - tested - tuned, tuned, tested),
        folds=count,
        fold=held_back,
        value=value,
    )


def check_folds(corpus: Corpus, kind: str, seed: int, count: int) -> None:
    """Raise the MaltriageError that `make_fold` would raise for any of the folds."""
    if kind not in ("grouped", "random"):
        for fold in range(count):
            make_fold(corpus, kind, seed, count, fold)
        return
    dealt = folds(groups_of(corpus, kind), corpus.label, count, seed)
    for fold in range(count):
        _refuse_uneven(corpus, np.where(dealt == fold, "test", "train"), fold, count)


def _check_kind(corpus: Corpus, kind: str) -> None:
    if kind not in KINDS and column_of(kind) not in corpus.columns:
        known = f"known: {', '.join(KINDS)}; columns here: {', '.join(corpus.columns) or 'none'}"
        raise MaltriageError(f"no such split: {kind} ({known})")


def _refuse_uneven(corpus: Corpus, parts: Parts, held_back: int, count: int) -> None:
    """Raise MaltriageError if a fold is empty, or takes all samples of a label."""
    if not (parts == "test").any():
        raise MaltriageError(
            f"fold {held_back} of {count} would be empty: near duplicates are kept together, and"
            " there are too few groups of them; make fewer folds"
        )
    left = np.bincount(corpus.label[parts == "train"], minlength=len(corpus.labels))
    if not left.all():
        names = [label for label, n in zip(corpus.labels, left, strict=True) if not n]
        raise MaltriageError(
            f"fold {held_back} of {count} would take every sample of {', '.join(names)}: near"
            " duplicates are kept together, and there are too few groups of them"
        )


def _stored(corpus: Corpus, parts: Parts, **how: Any) -> SplitFile:
    duplicates, near = twins_in_training(corpus, parts)
    return SplitFile(
        **how,
        manifest_sha256=manifest_sha256(corpus),
        leaks=near,
        duplicates=duplicates,
        samples=tuple(zip(corpus.sha256, parts.tolist(), strict=True)),
    )


def read_split(path: Path, corpus: Corpus) -> SplitFile:
    """A stored split of the samples of a corpus, in their order, with its counts made anew.

    Raises:
        MaltriageError: see `load_split`.
    """
    stored = load(path)
    return _stored(
        corpus,
        in_order(stored, path, corpus.sha256),
        kind=stored.kind,
        seed=stored.seed,
        fractions=stored.fractions,
        folds=stored.folds,
        fold=stored.fold,
        value=stored.value,
    )
