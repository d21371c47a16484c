"""What a dataset is: files with labels, in an order that does not depend on the machine."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from maltriage.bundle import BENIGN
from maltriage.errors import MaltriageError
from maltriage.sample.source import PNG_MAGIC, Found, WalkOptions, walk
from maltriage.sample.types import Notice

MIN_SAMPLES = 3
"""Families with fewer files are left out: one file each to train, tune and test on."""


@dataclass(frozen=True)
class LabelledSample:
    """A file, and the family that somebody says it belongs to."""

    path: str
    label: str
    first_seen: datetime | None = None
    """When somebody first saw the file, in UTC without a time zone; None: nobody says."""


@dataclass(frozen=True)
class Dataset:
    """Labelled files, sorted by path; `labels` in the order in which a net counts them."""

    name: str
    root: Path
    samples: tuple[LabelledSample, ...]
    labels: tuple[str, ...]
    notices: tuple[Notice, ...] = ()
    goodware: Path | None = None
    """Folder whose files are among the samples as `benign`, after the others."""
    goodware_samples: int = 0
    """How many of the samples, the last ones, come from it."""
    min_samples: int = MIN_SAMPLES
    """Families with fewer files were left out."""


def sort_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Different labels in the order of a bundle: `benign` first, then by name."""
    return tuple(sorted(set(labels), key=lambda label: (label != BENIGN, label)))


def count_notice(code: str, what: str, names: list[str]) -> Notice:
    """One notice for many files: how many, what about them, and the first by name."""
    plural = "file" if len(names) == 1 else "files"
    return Notice(code, f"{len(names)} {plural} left out: {what} (such as {min(names)})")


def files_below(folder: Path) -> tuple[list[str], list[Notice]]:
    """Paths below a folder that begin like a PE file or a PNG, and notices on the rest."""
    paths, strange, rejected = [], [], dict[str, tuple[str, list[str]]]()
    for entry in walk([str(folder)], WalkOptions()):
        if not isinstance(entry, Found):
            rejected.setdefault(entry.code, (entry.reason, []))[1].append(entry.path)
        elif _begins_like_sample(entry.path):
            paths.append(entry.path)
        else:
            strange.append(entry.path)
    notices = [count_notice(code, reason, names) for code, (reason, names) in rejected.items()]
    if strange:
        notices.append(count_notice("not-a-sample", "neither PE nor byteplot PNG", strange))
    return paths, notices


def _begins_like_sample(path: str) -> bool:
    """Whether the first bytes are those of a PE or PNG file. An unreadable file passes:
    reading it as a sample then says what is wrong with it."""
    try:
        with open(path, "rb") as file:
            head = file.read(len(PNG_MAGIC))
    except OSError:
        return True
    return head[:2] == b"MZ" or head == PNG_MAGIC


def assemble(
    name: str,
    root: Path,
    samples: Iterable[LabelledSample],
    notices: Iterable[Notice],
    min_samples: int,
) -> Dataset:
    """A dataset of the families that are large enough; the others become a notice.

    Raises:
        MaltriageError: fewer than two families are left.
    """
    samples, notices = list(samples), list(notices)
    counts = Counter(sample.label for sample in samples)
    small = sorted(label for label, count in counts.items() if count < min_samples)
    if small:
        listed = ", ".join(f"{label} ({counts[label]})" for label in small)
        notices.append(
            Notice("small-family", f"left out, fewer than {min_samples} samples: {listed}")
        )
    kept = [sample for sample in samples if counts[sample.label] >= min_samples]
    labels = sort_labels(sample.label for sample in kept)
    if len(labels) < 2:
        raise MaltriageError(
            f"{root}: a dataset needs two families of {min_samples} samples or more, "
            f"found {len(labels)}"
        )
    kept.sort(key=lambda sample: os.fsencode(sample.path))
    return Dataset(name, root, tuple(kept), labels, tuple(notices), min_samples=min_samples)


def with_goodware(dataset: Dataset, folder: Path) -> Dataset:
    """The dataset with all samples below a folder as `benign` besides.

    They come after the dataset's own, by their place in the folder, so that the order, and
    with it a split, does not depend on where the two folders lie.

    Raises:
        MaltriageError: the folder is missing, or holds no samples.
    """
    if not folder.is_dir():
        raise MaltriageError(f"goodware: no folder {folder}")
    paths, notices = files_below(folder)
    if not paths:
        raise MaltriageError(f"goodware: no samples in {folder}")
    paths.sort(key=lambda path: os.fsencode(os.path.relpath(path, folder)))
    return replace(
        dataset,
        samples=(*dataset.samples, *(LabelledSample(path, BENIGN) for path in paths)),
        labels=sort_labels((*dataset.labels, BENIGN)),
        notices=(*dataset.notices, *notices),
        goodware=folder,
        goodware_samples=len(paths),
    )
