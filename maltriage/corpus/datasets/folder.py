"""Dataset `folder`: a folder per family, or any files with a table of labels."""

from __future__ import annotations

from pathlib import Path

from maltriage.corpus.datasets.base import (
    Dataset,
    LabelledSample,
    assemble,
    files_below,
)
from maltriage.corpus.datasets.labels import TABLES, find_table, label_files
from maltriage.errors import MaltriageError
from maltriage.sample.types import Notice

LAYOUT = (
    "<root>/<family>/<file> with PE files, byteplot PNGs or hex dumps, or any of them below <root>"
    f" with a table of labels in it: {TABLES}"
)


def read(root: Path | None, min_samples: int) -> Dataset:
    """The dataset in a folder that the user names."""
    if root is None:
        raise MaltriageError(f"dataset folder: name its folder with --root ({LAYOUT})")
    return read_tree("folder", root, min_samples)


def read_tree(name: str, root: Path, min_samples: int) -> Dataset:
    """A dataset from a folder of the expected layout.

    A table of labels, if there is one, alone decides which files are samples. Otherwise
    every folder is a family with all files below it; files directly in `root` (a manifest,
    a README) are no samples.

    Raises:
        MaltriageError: the folder is missing, or holds fewer than two families.
    """
    samples, notices = labelled_files(name, root)
    return assemble(name, root, samples, notices, min_samples)


def labelled_files(name: str, root: Path) -> tuple[list[LabelledSample], list[Notice]]:
    """The samples of any number of families, and notices on the files left out.

    Raises:
        MaltriageError: the folder is missing, or holds no samples.
    """
    if not root.is_dir():
        raise MaltriageError(f"dataset {name}: no folder {root}; expected {LAYOUT}")
    table = find_table(root)
    if table is not None:
        samples, notices = _from_table(root, table)
    else:
        samples, notices = _from_folders(root)
    if not samples and table is not None:
        why = "; ".join(notice.text for notice in notices) or "it has no rows"
        raise MaltriageError(f"dataset {name}: no sample has a family in {table}: {why}")
    if not samples:
        raise MaltriageError(f"dataset {name}: no samples in {root}; expected {LAYOUT}")
    return samples, notices


def _from_folders(root: Path) -> tuple[list[LabelledSample], list[Notice]]:
    samples, notices = list[LabelledSample](), list[Notice]()
    for folder in sorted(root.iterdir()):
        if not folder.is_dir() or folder.name.startswith("."):
            continue
        paths, found = files_below(folder)
        notices += found
        samples += [LabelledSample(path, folder.name) for path in paths]
        if not paths:
            notices.append(Notice("empty-family", f"left out, no samples in it: {folder.name}"))
    return samples, notices


def _from_table(root: Path, table: Path) -> tuple[list[LabelledSample], list[Notice]]:
    paths, notices = files_below(root)
    samples, said = label_files(root, table, paths)
    # The table itself is among the strange files.
    return samples, [*(notice for notice in notices if notice.code != "not-a-sample"), *said]
