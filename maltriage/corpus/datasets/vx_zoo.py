"""Dataset `vx-zoo`: the layout of the paper's VX-Zoo set (arXiv 2503.02441).

Its files are not public; any folder of the same layout stands in for it.
"""

from __future__ import annotations

from pathlib import Path

from maltriage.corpus.datasets.base import MIN_SAMPLES, Dataset
from maltriage.corpus.datasets.folder import LAYOUT, read_tree
from maltriage.corpus.places import config_file, data_places
from maltriage.errors import MaltriageError

NAME = "vx-zoo"


def open_vx_zoo(root: Path | None, min_samples: int = MIN_SAMPLES) -> Dataset:
    """The dataset in `root`, or in the first of the usual places that exists.

    Raises:
        MaltriageError: it is nowhere; the message says where it was looked for.
    """
    if root is not None:
        return read_tree(NAME, root, min_samples)
    places = data_places(NAME)
    for folder, _ in places:
        if folder.is_dir():
            return read_tree(NAME, folder, min_samples)
    looked = ", ".join(f"{folder} (from {source})" for folder, source in places)
    raise MaltriageError(
        f"dataset {NAME}: nothing found in {looked}. Expected {LAYOUT}. Name the folder with "
        f"--root, or set MALTRIAGE_DATA (or `data` in {config_file()}) to the folder that "
        f"holds {NAME}"
    )
