"""What is done to heat maps before a net is guided by them: shares, another grid, likeness."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

COMMON = (16, 16)
"""Grid that the body maps of different nets are compared on."""
_WINDOW = 7
_K1, _K2 = 0.01, 0.03


def regrid(maps: Tensor, shape: tuple[int, int]) -> Tensor:
    """Maps on another grid over the same view, [..., h, w] to [..., H, W]; the sum stays.

    Heat is spread evenly over a cell, and a new cell takes what lies within its area. Both
    grids divide one rectangle evenly (for a window: its bytes in a row), so this is the
    geometry of the bytes, whatever the file's size.
    """
    rows = _overlap(maps.shape[-2], shape[0]).to(maps)
    columns = _overlap(maps.shape[-1], shape[1]).to(maps)
    return rows @ maps @ columns.T


def _overlap(before: int, after: int) -> Tensor:
    """Share of each old cell that lies in each new one, [after, before], in one direction."""
    old = torch.arange(before + 1, dtype=torch.float64) * after
    new = torch.arange(after + 1, dtype=torch.float64) * before
    low = torch.maximum(new[:-1, None], old[None, :-1])
    high = torch.minimum(new[1:, None], old[None, 1:])
    return (high - low).clamp(min=0) / after


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


def ssim(a: Tensor, b: Tensor) -> float:
    """Structural similarity of two maps of one shape [h, w], each scaled to a largest value of 1.

    Wang et al. 2004 ("Image quality assessment: from error visibility to structural
    similarity"), with a uniform window of 7 x 7 and the means over whole windows alone.
    """
    x, y = (m.double() / m.abs().max().clamp(min=1e-12) for m in (a, b))

    def mean(values: Tensor) -> Tensor:
        return functional.avg_pool2d(values[None, None], _WINDOW, 1)[0, 0]

    count = _WINDOW * _WINDOW
    unbiased = count / (count - 1)
    mx, my = mean(x), mean(y)
    vx, vy = unbiased * (mean(x * x) - mx * mx), unbiased * (mean(y * y) - my * my)
    both = unbiased * (mean(x * y) - mx * my)
    c1, c2 = _K1**2, _K2**2
    top = (2 * mx * my + c1) * (2 * both + c2)
    bottom = (mx * mx + my * my + c1) * (vx + vy + c2)
    return float((top / bottom).mean())
