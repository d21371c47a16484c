"""Operations on heat maps for guidance: resampling and normalisation to shares."""

from __future__ import annotations

import torch
from torch import Tensor

from maltriage.sample.regrid import overlap


def regrid(maps: Tensor, shape: tuple[int, int]) -> Tensor:
    """Resample maps to another grid over the same view, [..., h, w] to [..., H, W].

    The sum stays. Heat is spread evenly over a cell, and a new cell takes the heat within its
    area. Both grids divide one rectangle evenly (for a window: its bytes in a row), so this
    matches the bytes, whatever the file's size.
    """
    rows = torch.from_numpy(overlap(maps.shape[-2], shape[0])).to(maps)
    columns = torch.from_numpy(overlap(maps.shape[-1], shape[1])).to(maps)
    return rows @ maps @ columns.T


def shares(
    maps: dict[str, Tensor], *, positive: bool = True, floor: float = 1e-12
) -> dict[str, Tensor]:
    """The maps of each image, divided by the sum of |heat| over all its views.

    So every image counts the same, and heat can be compared between views.

    Args:
        maps: signed, by view, [B, h, w].
        positive: take only positive heat, like ReLU in other tools.
        floor: added to the sum, so that an image without heat has shares of 0.
    """
    kept = {name: heat.relu() if positive else heat for name, heat in maps.items()}
    total = torch.stack([heat.abs().sum(dim=(1, 2)) for heat in kept.values()]).sum(dim=0)
    scale = (total + floor)[:, None, None]
    return {name: heat / scale for name, heat in kept.items()}
