"""Columns of the tables beside a dataset's files, such as the source of each file.

Every column of `manifest.csv` and `labels.csv` is kept as text; `labels.csv` comes second and
replaces a column of the same name. A row is found by its `path` below the folder, or by a
digest in the file's name. A folder without a column `source` is one source of its own name; of
several folders of one name, the ends of their paths that differ: `p/files` and `q/files`.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from maltriage.corpus.datasets.base import LabelledSample
from maltriage.corpus.datasets.labels import KEYS, LABELS_FILE, keys_of
from maltriage.errors import MaltriageError

MANIFEST_FILE = "manifest.csv"
SOURCE = "source"
"""The column of the collection that a file is from."""
CODE_GROUP = "code_group"
"""The column of files with equal code, which are near duplicates."""
PACKER = "packer"
"""The column of the packer's name, empty for a file that is not packed."""

Row = dict[str, str]


def source_names(roots: Sequence[Path]) -> tuple[str, ...]:
    """The names of folders as sources: the shortest ends of their paths that differ."""
    whole = [root.resolve() for root in roots]
    return tuple(_end(path, [other for other in whole if other != path]) for path in whole)


def _end(path: Path, others: Sequence[Path]) -> str:
    ends = (path.parts[-length:] for length in range(1, len(path.parts)))
    end = next((e for e in ends if all(o.parts[-len(e) :] != e for o in others)), path.parts)
    return Path(*end).as_posix().encode("utf-8", "backslashreplace").decode()


def add_columns(
    samples: Iterable[LabelledSample], root: Path, source: str
) -> tuple[LabelledSample, ...]:
    """The samples of a folder with the columns of its tables.

    Args:
        samples: of the folder.
        root: the folder.
        source: its name as a source, if its tables have none.

    Raises:
        MaltriageError: a table cannot be read.
    """
    tables = [_read(root / name) for name in (MANIFEST_FILE, LABELS_FILE)]
    named = any(SOURCE in row for rows, _ in tables for row in rows.values())
    found = []
    for sample in samples:
        columns: Row = {} if named else {SOURCE: source}
        for rows, by_path in tables:
            for key in keys_of(sample.path, root, by_path):
                columns |= rows.get(key, {})
        found.append(replace(sample, columns=columns))
    return tuple(found)


def column_names(samples: Iterable[LabelledSample]) -> tuple[str, ...]:
    """The names of all columns, sorted."""
    return tuple(sorted({name for sample in samples for name in sample.columns}))


def _read(table: Path) -> tuple[Mapping[str, Row], bool]:
    """The rows of a table by path or digest, and whether by path; none without such a table."""
    rows = dict[str, Row]()
    if not table.is_file():
        return rows, False
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            column = next((c for c in KEYS if c in (reader.fieldnames or ())), None)
            for line in reader if column is not None else ():
                key = (line[column] or "").strip()
                key = os.path.normpath(key) if column == "path" else key.lower()
                # A row longer than the first line has fields without a name.
                rows[key] = {
                    name: (line[name] or "").strip()
                    for name in line
                    if name is not None and name not in KEYS
                }
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MaltriageError(f"cannot read {table}: {error}") from error
    return rows, column == "path"
