"""Tables of labels beside the files: `labels.csv` or the output of AVClass.

AVClass (Sebastian et al., "AVclass: A Tool for Massive Malware Labeling", RAID 2016, and
"AVClass2", ACSAC 2020) writes a line for each sample, separated by tabs:

    hash  family [more columns]              SINGLETON:<hash> or `-` if it found none
    hash  number of engines  tags [more]     with -t; tags as CATEGORY:...:name|votes, by votes

The family is the first tag of the category FAM or UNK, as in AVClass itself. So tags need
their category (avclass -t -p).
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from maltriage.corpus.datasets.base import LabelledSample, count_notice
from maltriage.errors import MaltriageError
from maltriage.sample.types import Notice

LABELS_FILE = "labels.csv"
AVCLASS_FILES = ("avclass.txt", "avclass.tsv", "*.labels")
TABLES = f"{LABELS_FILE} (`sha256,family` or `path,family`, and `first_seen`) or AVClass's output"
KEYS = ("path", "sha256")
SINGLETON = "SINGLETON:"
FAMILY_CATEGORIES = ("FAM", "UNK")
_DIGEST = re.compile(
    r"(?<![0-9a-f])([0-9a-f]{64}|[0-9a-f]{40}|[0-9a-f]{32})(?![0-9a-f])", re.IGNORECASE
)


@dataclass(frozen=True)
class _Row:
    key: str
    """Path below the root, or a digest in lower case."""
    family: str
    """Empty if there is none."""
    first_seen: datetime | None = None


@dataclass(frozen=True)
class _Table:
    by_path: bool
    rows: list[_Row]
    bad_dates: list[str]
    """Keys with an unreadable date."""


def find_table(root: Path) -> Path | None:
    """The table of labels in a folder: labels.csv, otherwise the output of AVClass.

    Raises:
        MaltriageError: several files look like output of AVClass.
    """
    if (root / LABELS_FILE).is_file():
        return root / LABELS_FILE
    found = {path for glob in AVCLASS_FILES for path in root.glob(glob) if path.is_file()}
    if len(found) > 1:
        names = ", ".join(sorted(path.name for path in found))
        raise MaltriageError(f"{root}: several tables of labels, keep one of them: {names}")
    return next(iter(found), None)


def label_files(
    root: Path, table: Path, paths: list[str]
) -> tuple[list[LabelledSample], list[Notice]]:
    """The samples in a table, and notices on the other rows and files.

    A digest in the table (MD5, SHA-1 or SHA-256) stands for the files that have it in their
    name: `<digest>`, `<digest>.exe`, `VirusShare_<digest>`.

    Args:
        root: the folder that paths in the table are relative to.
        table: see `find_table`.
        paths: the samples below `root`.

    Raises:
        MaltriageError: the table cannot be read, or has another form.
    """
    read = _read_csv(table) if table.name == LABELS_FILE else _read_avclass(table)
    files = dict[str, list[str]]()
    for path in paths:
        for key in keys_of(path, root, read.by_path):
            files.setdefault(key, []).append(path)
    rows = dict[str, _Row]()
    families = dict[str, set[str]]()
    for row in read.rows:
        families.setdefault(row.key, set()).update({row.family} - {""})
        # The file was first seen at the earliest date of its rows.
        known = rows.get(row.key)
        if known is None or (row.first_seen or datetime.max) < (known.first_seen or datetime.max):
            rows[row.key] = row
    labelled = dict[str, LabelledSample]()
    without = {key for key, names in families.items() if not names}
    conflicts = {key for key, names in families.items() if len(names) > 1}
    for key, row in rows.items():
        if key not in without and key not in conflicts:
            (family,) = families[key]  # another row of the file may name none
            for path in files.get(key, ()):
                labelled[path] = LabelledSample(path, family, row.first_seen)
    spoken_of = {path for key in rows for path in files.get(key, ())}
    lists = (
        (
            "missing",
            f"in {table.name}, but not there, or no sample",
            [k for k in rows if k not in files],
        ),
        ("no-family", f"no family in {table.name}", without & files.keys()),
        ("label-conflict", f"under several families in {table.name}", conflicts & files.keys()),
        ("unlabelled", f"not in {table.name}", [p for p in paths if p not in spoken_of]),
    )
    notices = [count_notice(code, what, list(names)) for code, what, names in lists if names]
    if read.bad_dates:
        count, first = len(read.bad_dates), min(read.bad_dates)
        text = f"{count:,} without a date: first_seen cannot be read (such as {first})"
        notices.append(Notice("bad-date", text))
    return list(labelled.values()), notices


def keys_of(path: str, root: Path, by_path: bool) -> Iterable[str]:
    """The keys of a file in a table: its path below the root, or the digests in its name."""
    if by_path:
        return (os.path.normpath(os.path.relpath(path, root)),)
    return {found.lower() for found in _DIGEST.findall(os.path.basename(path))}


def _read_csv(table: Path) -> _Table:
    rows, bad = list[_Row](), list[str]()
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            column = next((c for c in KEYS if c in columns), None)
            if column is None or "family" not in columns:
                raise MaltriageError(
                    f"{table}: the first line must name `path` or `sha256`, and `family`"
                )
            for line in reader:
                key = (line[column] or "").strip()
                if not key:
                    continue
                key = os.path.normpath(key) if column == "path" else key.lower()
                date = (line.get("first_seen") or "").strip()
                try:
                    first_seen = _date(date) if date else None
                except ValueError:
                    first_seen = None
                    bad.append(key)
                rows.append(_Row(key, (line["family"] or "").strip(), first_seen))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MaltriageError(f"cannot read {table}: {error}") from error
    return _Table(column == "path", rows, bad)


def _date(text: str) -> datetime:
    """Parse an ISO 8601 date, with or without time and zone (also `UTC` in words).

    Raises:
        ValueError: the text is no such date.
    """
    date = datetime.fromisoformat(text.removesuffix("UTC").strip())
    if date.tzinfo is not None:
        try:
            date = date.astimezone(UTC).replace(tzinfo=None)
        except OverflowError as error:
            raise ValueError(text) from error
    return date.replace(microsecond=0)


def _read_avclass(table: Path) -> _Table:
    try:
        with table.open(encoding="utf-8-sig") as file:
            return _Table(False, list(_avclass_rows(table, file)), [])
    except (OSError, UnicodeDecodeError) as error:
        raise MaltriageError(f"cannot read {table}: {error}") from error


def _avclass_rows(table: Path, lines: Iterable[str]) -> Iterator[_Row]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        fields = [field.strip() for field in line.rstrip("\r\n").split("\t")]
        if len(fields) < 2 or not _DIGEST.fullmatch(fields[0]):
            raise MaltriageError(
                f"{table}: line {number}: not what AVClass writes (a hash, a tab, a family)"
            )
        if fields[1].isdigit():
            try:
                family = _family_of_tags(fields[2] if len(fields) > 2 else "")
            except ValueError as error:
                raise MaltriageError(f"{table}: line {number}: {error}") from error
        else:
            family = fields[1]
        none = family == "-" or family.startswith(SINGLETON)
        yield _Row(fields[0].lower(), "" if none else family)


def _family_of_tags(tags: str) -> str:
    """The family in tags such as `FAM:zbot|12,CLASS:backdoor|5`, empty if there is none.

    Raises:
        ValueError: a tag has no category, so a family looks like a class.
    """
    for tag in filter(None, tags.split(",")):
        category, *path = tag.split("|")[0].split(":")
        if not path:
            raise ValueError(f"tag {tag} has no category; write them with avclass -t -p")
        if category in FAMILY_CATEGORIES:
            return path[-1]
    return ""
