"""The file of a split: the part of each sample by its sha256, and what the split is of."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from maltriage.corpus.corpus import Corpus
from maltriage.errors import MaltriageError
from maltriage.files.atomic import write_file
from maltriage.files.decoding import decoded

Parts = npt.NDArray[np.str_]

PARTS = ("train", "val", "test")
LEFT_OUT = {
    "undated": "without a date",
    "unseen": "of families without a training sample",
    "later": "newer than the test samples",
    "twin": "with a near duplicate in the test part",
}
"""Unused parts of a split by time or by a column, with their descriptions."""
SPLIT_FILE = "split.json"
"""In the folder of a run: the split of its samples."""


def manifest_sha256(corpus: Corpus) -> str:
    """Digest over the sorted lines `sha256 label`: identifies the samples and their labels."""
    labels = (corpus.labels[label] for label in corpus.label)
    return manifest_of(zip(corpus.sha256, labels, strict=True))


def manifest_of(samples: Iterable[tuple[str, str]]) -> str:
    """The digest of `manifest_sha256` for pairs of sha256 and label."""
    lines = sorted(f"{sha256} {label}\n" for sha256, label in samples)
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


class SplitFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A stored split: parts by sha256, in the order of the corpus."""

    kind: str
    """One of `splits.KINDS`, or a column."""
    seed: int
    fractions: tuple[float, float, float]
    folds: int = 0
    """Number of folds; 0: three parts."""
    fold: int | None = None
    """The fold that is the test part; None: every sample is for training."""
    value: str | None = None
    """The value of the column that the fold is of; None: no split by a column."""
    manifest_sha256: str
    leaks: int
    """Test samples with a near duplicate in training, exact duplicates included."""
    duplicates: int = 0
    """Test samples with an exact duplicate in training."""
    samples: tuple[tuple[str, str], ...]
    """(sha256, part); duplicates are listed more than once."""

    @property
    def parts(self) -> Parts:
        """Part of each sample, [n]: one of `PARTS`, or of `LEFT_OUT`."""
        return np.array([part for _, part in self.samples], dtype=np.str_)

    @property
    def left_out(self) -> dict[str, int]:
        """Number of samples in no part, by key of `LEFT_OUT`."""
        counts = Counter(part for _, part in self.samples)
        return {part: counts[part] for part in LEFT_OUT if counts[part]}

    @property
    def sha256(self) -> str:
        """Digest over the sorted lines `sha256 part`: identifies the parts."""
        lines = sorted(f"{sha256} {part}\n" for sha256, part in self.samples)
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def save_split(stored: SplitFile, path: Path) -> None:
    """Write a split as JSON, atomically."""
    write_file(path, msgspec.json.format(msgspec.json.encode(stored), indent=1))


def load_split(path: Path, sha256: Sequence[str]) -> Parts:
    """Parts of the samples with these digests, in their order, from a stored split.

    Raises:
        MaltriageError: the file is no split, or a split of other samples.
    """
    return in_order(load(path), path, sha256)


def load(path: Path) -> SplitFile:
    """A stored split, whatever it is of.

    Raises:
        MaltriageError: the file is no split.
    """
    try:
        stored = decoded(path.read_bytes(), msgspec.json.Decoder(SplitFile))
    except OSError as error:
        raise MaltriageError(f"cannot read split {path}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise MaltriageError(f"{path}: not a split: {error}") from error
    strange = {part for _, part in stored.samples} - {*PARTS, *LEFT_OUT}
    if strange:
        raise MaltriageError(f"{path}: not a split: no such part: {min(strange)}")
    return stored


def in_order(stored: SplitFile, path: Path, sha256: Sequence[str]) -> Parts:
    """Parts of the samples with these digests, in their order; see `load_split`."""
    known = dict[str, list[str]]()
    for digest, part in reversed(stored.samples):
        known.setdefault(digest, []).append(part)
    parts = [known[digest].pop() if known.get(digest) else "" for digest in sha256]
    if "" in parts or len(parts) != len(stored.samples):
        raise MaltriageError(
            f"{path}: a split of other samples ({len(stored.samples)} samples; "
            f"{parts.count('')} of the {len(parts)} here are not among them)"
        )
    return np.array(parts, dtype=np.str_)
