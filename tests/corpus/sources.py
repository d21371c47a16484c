"""A dataset of two sources, for tests: what is learned in one does not hold in the other."""

from __future__ import annotations

from pathlib import Path

from corpus.synthetic import program, write_png

FILES = 12
"""Files of each label and source."""
BYTES = {("a", "benign"): 0, ("a", "zeus"): 3, ("b", "benign"): 4, ("b", "zeus"): 1}
"""Families of `program`, the higher the higher its bytes."""


def write_sources(root: Path, files: int = FILES) -> Path:
    """Byteplots of `benign` and `zeus` from the sources `a` and `b`, and their manifest.

    In each source the labels are easily told apart, by bytes of which the like mean the other label
    in the other source. Files 0 and 1 of each label and source have equal code.
    """
    rows = ["path,family,source,code_group,packer"]
    for source in "ab":
        for family in ("benign", "zeus"):
            for i in range(files):
                path = f"{family}/{source}{i:02d}.png"
                write_png(root / path, program(BYTES[source, family], i))
                code = f"{source}{family}" if i < 2 else ""
                rows.append(f"{path},{family},{source},{code},{'UPX' if i == 3 else ''}")
    (root / "manifest.csv").write_text("\n".join(rows) + "\n")
    return root
