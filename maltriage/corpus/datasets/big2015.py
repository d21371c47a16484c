"""Dataset `big2015`: the Microsoft Malware Classification Challenge (arXiv 1802.10135).

Only its training part is read: hex dumps `<Id>.bytes` without the PE header, and
`trainLabels.csv` with the class of each Id. The `.asm` files are ignored.
"""

from __future__ import annotations

import csv
from pathlib import Path

from maltriage.corpus.datasets.base import (
    Dataset,
    LabelledSample,
    all_below,
    as_published,
    assemble,
    count_notice,
    find_root,
    is_dump,
)
from maltriage.errors import MaltriageError

NAME = "big2015"
LABELS_FILE = "trainLabels.csv"
FAMILIES = (
    "Ramnit",
    "Lollipop",
    "Kelihos_ver3",
    "Vundo",
    "Simda",
    "Tracur",
    "Kelihos_ver1",
    "Obfuscator.ACY",
    "Gatak",
)
"""Family names by class, from 1."""
PUBLISHED = dict(zip(FAMILIES, (1541, 2478, 2942, 475, 42, 751, 398, 1228, 1013), strict=True))
"""Files by family of the training part: 10,868."""
LAYOUT = f"<root>/{LABELS_FILE} (Id, Class) and <Id>.bytes in <root> or any folder below it"


def read(root: Path | None, min_samples: int) -> Dataset:
    """The dataset in `root`, or in the first of the usual places that exists.

    Raises:
        MaltriageError: no such folder, or the table of labels is damaged.
    """
    root = find_root(NAME, root, LAYOUT)
    labels = _read_labels(root / LABELS_FILE)
    below, notices = all_below(root)
    paths, again = dict[str, str](), list[str]()
    for path in filter(is_dump, below):
        if paths.setdefault(Path(path).stem, path) != path:
            again.append(path)
    missing = [number for number in labels if number not in paths]
    unlabelled = [path for number, path in paths.items() if number not in labels]
    for code, what, names in (
        ("missing", f"in {LABELS_FILE}, but not there", missing),
        ("unlabelled", f"not in {LABELS_FILE}", unlabelled),
        ("twice", "another file has the same Id", again),
    ):
        if names:
            notices.append(count_notice(code, what, names))
    samples = [
        LabelledSample(path, labels[number]) for number, path in paths.items() if number in labels
    ]
    if not samples:
        raise MaltriageError(f"dataset {NAME}: no samples in {root}; expected {LAYOUT}")
    notices += as_published(samples, PUBLISHED)
    return assemble(NAME, root, samples, notices, min_samples)


def _read_labels(table: Path) -> dict[str, str]:
    """Family by Id."""
    labels = dict[str, str]()
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if not {"Id", "Class"} <= set(reader.fieldnames or ()):
                raise MaltriageError(f"{table}: the first line must name `Id` and `Class`")
            for row in reader:
                number, label = (row["Id"] or "").strip(), (row["Class"] or "").strip()
                known = {str(i): family for i, family in enumerate(FAMILIES, 1)}
                if not number or label not in known:
                    wrong = f"class {label!r} of {number!r}, not 1 to {len(FAMILIES)}"
                    raise MaltriageError(f"{table}: line {reader.line_num}: {wrong}")
                if labels.setdefault(number, known[label]) != known[label]:
                    raise MaltriageError(
                        f"{table}: line {reader.line_num}: {number} has two classes"
                    )
    except FileNotFoundError:
        raise MaltriageError(f"dataset {NAME}: no {table}; expected {LAYOUT}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MaltriageError(f"cannot read {table}: {error}") from error
    return labels
