"""What the fields of PE headers hold, by family: is a pattern the family's, or its compiler's?

    python -m benchmarks.quality.header_values ROOT "COFF TimeDateStamp"
        "Optional MajorLinkerVersion"

For each field the commonest values of each family of a folder tree, with the share of its 32-bit
files that have them. Field names are those that `maltriage patterns` prints. Headers are read by
the workers, as for training.
"""

from __future__ import annotations

import argparse
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from maltriage.corpus.datasets import open_dataset
from maltriage.corpus.load import load_corpus
from maltriage.sample.header_fields import PE32_FIELDS
from maltriage.sample.views import WINDOWS

COMMONEST = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("fields", nargs="+", choices=[field.name for field in PE32_FIELDS])
    arguments = parser.parse_args()
    header = tuple(window for window in WINDOWS if window.name == "header")
    corpus = load_corpus(open_dataset("folder", arguments.root), header)
    pixels = corpus.pixels("header", np.arange(len(corpus)))
    for name in arguments.fields:
        (field,) = (each for each in PE32_FIELDS if each.name == name)
        print(name)
        for number, label in enumerate(corpus.labels):
            own = pixels[(corpus.label == number) & (pixels[:, 1, 0] == 1)]
            values = Counter(
                int.from_bytes(row[0, field.start : field.end].tobytes(), "little") for row in own
            )
            if not values:
                continue
            shown = ", ".join(
                f"{said(name, value)} {count / len(own):.0%}"
                for value, count in values.most_common(COMMONEST)
            )
            print(f"  {label:12}{len(own):5} files, {len(values):4} values: {shown}")


def said(name: str, value: int) -> str:
    if name.endswith("TimeDateStamp") and value:
        return datetime.fromtimestamp(value, UTC).date().isoformat()
    return f"{value:#x}"


if __name__ == "__main__":
    main()
