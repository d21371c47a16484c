"""Training on changed copies of samples: the choice of copies for a step and their weights.

The copies are files after transformations that keep a program's function, prepared like any file
(`maltriage.corpus.variants`). So the net learns from files, not from pictures. A sample and its
copies together have the weight of the sample.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from maltriage.learn.fit.data import Images

SHARE = 0.5
"""Probability that a changed copy replaces a sample that has copies, and the weight of all its
copies together."""


def choose_copies(copies: Tensor, generator: Generator) -> Tensor:
    """Choose a copy of each sample, or the sample itself, at random.

    Args:
        copies: rows of the copies, [n, V], -1 for none.

    Returns:
        The number of a copy, [n], or -1: the sample itself.
    """
    drawn = torch.rand(copies.shape, generator=generator) * (copies >= 0) - 1.0 * (copies < 0)
    own = torch.rand(len(copies), generator=generator) >= SHARE
    own |= (copies < 0).all(dim=1)
    return torch.where(own, -1, drawn.argmax(dim=1))


def differing_copies(images: Images, index: Tensor) -> Tensor:
    """Rows of the copies whose fixed windows differ from the sample's, [n, V], otherwise -1."""
    if images.variants is None:
        return torch.full((len(index), 0), -1)
    copies, own = images.variants[index].clone(), images.batch(index, fixed=True)
    for number in range(copies.shape[1]):
        changed = images.batch(index, fixed=True, variant=torch.full((len(index),), number))
        same = torch.stack([(changed[name] == own[name]).flatten(1).all(1) for name in own])
        copies[same.all(dim=0), number] = -1
    return copies


def all_copies(copies: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Every sample and every copy.

    Args:
        copies: as in `choose_copies`.

    Returns:
        Three arrays [m], the samples themselves first: the row in `copies`, the number of the
        copy or -1, and the share of the sample's weight.
    """
    row, number = (copies >= 0).nonzero(as_tuple=True)
    count = (copies >= 0).sum(dim=1)
    own = torch.where(count > 0, 1.0 - SHARE, 1.0)
    at = torch.cat((torch.arange(len(copies)), row))
    variant = torch.cat((torch.full((len(copies),), -1), number))
    return at, variant, torch.cat((own, SHARE / count[row]))
