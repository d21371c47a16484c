"""Dataset `folder`: any tree of families, or flat files with a table of labels."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from maltriage.corpus.datasets.base import (
    MIN_SAMPLES,
    Dataset,
    LabelledSample,
    assemble,
    count_notice,
    files_below,
)
from maltriage.errors import MaltriageError
from maltriage.sample.types import Notice

LABELS_FILE = "labels.csv"
LAYOUT = (
    "<root>/<family>/<file> with PE files, byteplot PNGs or hex dumps, or <root>/<file> with a "
    f"<root>/{LABELS_FILE} of two columns: `path,family` or `sha256,family`"
)


def open_folder(root: Path | None, min_samples: int = MIN_SAMPLES) -> Dataset:
    """The dataset in a folder that the user names."""
    if root is None:
        raise MaltriageError(f"dataset folder: name its folder with --root ({LAYOUT})")
    return read_tree("folder", root, min_samples)


def read_tree(name: str, root: Path, min_samples: int) -> Dataset:
    """A dataset from a folder of the expected layout.

    With a `labels.csv` in it, the table alone says what belongs to the dataset. Otherwise
    every folder is a family, with all files below it; files that lie directly in `root`
    (a manifest, a README) are no samples.

    Raises:
        MaltriageError: the folder is missing, or holds fewer than two families.
    """
    if not root.is_dir():
        raise MaltriageError(f"dataset {name}: no folder {root}; expected {LAYOUT}")
    if (root / LABELS_FILE).is_file():
        samples, notices = _from_table(root)
    else:
        samples, notices = _from_folders(root)
    if not samples:
        raise MaltriageError(f"dataset {name}: no samples in {root}; expected {LAYOUT}")
    return assemble(name, root, samples, notices, min_samples)


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


def _from_table(root: Path) -> tuple[list[LabelledSample], list[Notice]]:
    """Samples of `labels.csv`. A sha256 names the file of that name, with any suffix."""
    column, rows = _read_table(root / LABELS_FILE)
    paths, notices = files_below(root)
    if column == "sha256":
        known = {Path(path).name.split(".")[0].lower(): path for path in paths}
        wanted = [(known.get(key.lower()), key, family) for key, family in rows]
    else:
        known = {os.path.normpath(os.path.relpath(path, root)): path for path in paths}
        wanted = [(known.get(os.path.normpath(key)), key, family) for key, family in rows]
    labelled = {path: family for path, _, family in wanted if path is not None}
    missing = [key for path, key, _ in wanted if path is None]
    # The table itself is among the strange files; what is not in the table is no news.
    notices = [notice for notice in notices if notice.code != "not-a-sample"]
    if missing:
        notices.append(count_notice("missing", f"in {LABELS_FILE}, but not there", missing))
    return [LabelledSample(path, family) for path, family in labelled.items()], notices


def _read_table(table: Path) -> tuple[str, list[tuple[str, str]]]:
    """Name of the key column (`path` or `sha256`) and the rows (key, family)."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            column = next((c for c in ("path", "sha256") if c in columns), None)
            if column is None or "family" not in columns:
                raise MaltriageError(
                    f"{table}: the first line must name `path` or `sha256`, and `family`"
                )
            rows = [((row[column] or "").strip(), (row["family"] or "").strip()) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MaltriageError(f"cannot read {table}: {error}") from error
    return column, [(key, family) for key, family in rows if key and family]
