"""What is done to heat maps before a net is guided by them: shares, another grid."""

from __future__ import annotations

import torch
from torch import Tensor

from maltriage.sample.regrid import overlap


def regrid(maps: Tensor, shape: tuple[int, int]) -> Tensor:
    """Maps on another grid over the same view, [..., h, w] to [..., H, W]; the sum stays.

    Heat is spread evenly over a cell, and a new cell takes what lies within its area. Both
    grids divide one rectangle evenly (for a window: its bytes in a row), so this is the
    geometry of the bytes, whatever the file's size.
    """
    rows = torch.from_numpy(overlap(maps.shape[-2], shape[0])).to(maps)
    columns = torch.from_numpy(overlap(maps.shape[-1], shape[1])).to(maps)
    return rows @ maps @ columns.T


def shares(
    maps: dict[str, Tensor], *, positive: bool = True, floor: float = 1e-12
) -> dict[str, Tensor]:
    """The maps of each image over all its views, divided by the sum of their |heat|.

    So every image counts the same, and heat in one view can be held against heat in another.

    Args:
        maps: signed, by view, [B, h, w].
        positive: take what speaks for the label alone, as ReLU does in other tools.
        floor: added to the sum, so that an image without heat has no shares.
    """
    kept = {name: heat.relu() if positive else heat for name, heat in maps.items()}
    total = torch.stack([heat.abs().sum(dim=(1, 2)) for heat in kept.values()]).sum(dim=0)
    scale = (total + floor)[:, None, None]
    return {name: heat / scale for name, heat in kept.items()}
