"""Dataset `vx-zoo`: the layout of the paper's VX-Zoo set (arXiv 2503.02441).

Its files are not public; any folder of the same layout can be used.
"""

from __future__ import annotations

from pathlib import Path

from maltriage.corpus.datasets.base import Dataset, find_root
from maltriage.corpus.datasets.folder import LAYOUT, read_tree

NAME = "vx-zoo"


def read(root: Path | None, min_samples: int) -> Dataset:
    """The dataset in `root`, or in the first of the usual places that exists.

    Raises:
        MaltriageError: no such folder; the message lists the places searched.
    """
    return read_tree(NAME, find_root(NAME, root, LAYOUT), min_samples)
