"""Files of a corpus by the value of a column, with their kinds and groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maltriage.bundle import BENIGN
from maltriage.corpus.corpus import Corpus
from maltriage.corpus.datasets.columns import PACKER
from maltriage.corpus.splits import folds_by, values_of
from maltriage.corpus.twins import near_twins
from maltriage.errors import MaltriageError
from maltriage.metrics import Bools, Ints

Words = npt.NDArray[np.str_]

ALL, PACKED = "all", "packed"


@dataclass(frozen=True)
class Files:
    """The files of a corpus: their values in a column, labels, kinds and groups, [n] each."""

    column: str
    values: tuple[str, ...]
    """All values, sorted."""
    value: Words
    label: Words
    group: Ints
    kinds: dict[str, Bools]
    """By name; a file may be of several."""
    sha256: tuple[str, ...]
    paths: tuple[str, ...]

    @property
    def malware(self) -> Bools:
        return np.asarray(self.label != BENIGN)


def files_of(corpus: Corpus, column: str) -> Files:
    """The files of a corpus for figures by a column.

    Raises:
        MaltriageError: there is no such column, or no file has a value.
    """
    values = values_of(corpus, column)
    if not values:
        raise MaltriageError(f"no file has a value in the column {column}")
    return Files(
        column,
        values,
        np.array(folds_by(corpus, column)),
        np.array([corpus.labels[label] for label in corpus.label]),
        near_twins(corpus.signs),
        kinds_of(corpus),
        corpus.sha256,
        corpus.paths,
    )


def kinds_of(corpus: Corpus) -> dict[str, Bools]:
    """Which samples are of which kind, [n] by name.

    A packed one has a packer in the column `packer`, or looks packed. A plain one is native, and
    neither packed nor an installer.
    """
    kind = np.array(corpus.kinds)
    packer = corpus.columns.get(PACKER, ("",) * len(corpus))
    marks = corpus.marks or (frozenset[str](),) * len(corpus)
    packed = np.array(
        [bool(name) or "packed?" in of for name, of in zip(packer, marks, strict=True)]
    )
    installer = np.array(["installer" in of for of in marks])
    native = (kind == "pe32") | (kind == "pe32+")
    return {
        ALL: np.ones(len(corpus), dtype=np.bool_),
        "32-bit": kind == "pe32",
        "64-bit": kind == "pe32+",
        ".NET": kind == ".net",
        PACKED: packed,
        "installer": installer,
        "plain": native & ~packed & ~installer,
    }
