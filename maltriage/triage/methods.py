"""Methods of explanation that the graph itself answers, and what each is for this bundle."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from maltriage.triage.session import Outputs

HIRESCAM, GRADCAM = "hirescam", "gradcam"
GRAPH_METHODS = (HIRESCAM, GRADCAM)
"""Both come from the pass that gives the logits."""


def maps_of(outputs: Outputs, row: int, method: str) -> dict[str, npt.NDArray[np.float32]]:
    """The map of one sample by view.

    Args:
        row: of the sample in the batch.
        method: one of `GRAPH_METHODS`. Of a view where both are one map, that one.
    """
    grids = outputs.heat if method == HIRESCAM else outputs.heat | outputs.gradcam
    return {name: grid[row] for name, grid in grids.items()}


def same_maps(outputs: Outputs, method: str) -> tuple[str, ...]:
    """The other methods whose maps are those of `method` in every view, by construction."""
    if outputs.gradcam or method not in GRAPH_METHODS:
        return ()
    return tuple(other for other in GRAPH_METHODS if other != method)
