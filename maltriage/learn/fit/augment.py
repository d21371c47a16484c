"""Changes to training images that keep the family."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from maltriage.sample.views import ViewSpec

MAX_ROLL = 3
"""Most rows that the body is rolled by, up or down."""
NOISE = 0.02
"""Standard deviation of the noise on the body, as a share of the full range."""
BYTE_NOISE = 0.03
"""Share of a window's bytes replaced at random."""


def augment(
    images: dict[str, Tensor], views: tuple[ViewSpec, ...], generator: Generator
) -> dict[str, Tensor]:
    """Changed copies of a batch, uint8 of the same shapes; all randomness from `generator`."""
    # Fixed views are not changed: their table is not learned in steps.
    return {
        view.name: images[view.name]
        if view.fixed
        else (_window if view.along else _body)(images[view.name], generator)
        for view in views
    }


def _body(body: Tensor, generator: Generator) -> Tensor:
    """Roll the body along the file and add noise, [B, C, S, S]."""
    count, channels, rows, columns = body.shape
    shift = torch.randint(-MAX_ROLL, MAX_ROLL + 1, (count, 1), generator=generator)
    row = (torch.arange(rows) - shift) % rows
    rolled = body.gather(2, row[:, None, :, None].expand(count, channels, rows, columns))
    noise = torch.randn(body.shape, generator=generator) * (255.0 * NOISE)
    return (rolled.float() + noise).round_().clamp_(0, 255).to(torch.uint8)


def _window(window: Tensor, generator: Generator) -> Tensor:
    """Replace some of the existing bytes at random, [B, 2, N]."""
    values, exists = window[:, 0], window[:, 1]
    hit = (torch.rand(values.shape, generator=generator) < BYTE_NOISE) & (exists > 0)
    strange = torch.randint(0, 256, values.shape, dtype=torch.uint8, generator=generator)
    return torch.stack([torch.where(hit, strange, values), exists], dim=1)
