"""Training on changed copies of samples: which of them a step sees, and what each counts for.

The copies are files after transformations that leave a program what it is, prepared as any file is
(`maltriage.corpus.variants`), so what is learnt from them holds of files and not of pictures. A
sample and its copies together count for what the sample did.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from maltriage.learn.fit.data import Images

SHARE = 0.5
"""How often a changed copy stands in the place of a sample that has any, and what its copies
count for together."""


def choose_copies(copies: Tensor, generator: Generator) -> Tensor:
    """Of each sample a copy, or itself, at random.

    Args:
        copies: where they are, [n, V], -1 where there is none.

    Returns:
        The number of a copy, [n], or -1: the sample itself.
    """
    drawn = torch.rand(copies.shape, generator=generator) * (copies >= 0) - 1.0 * (copies < 0)
    own = torch.rand(len(copies), generator=generator) >= SHARE
    own |= (copies < 0).all(dim=1)
    return torch.where(own, -1, drawn.argmax(dim=1))


def differing_copies(images: Images, index: Tensor) -> Tensor:
    """Where the copies of samples are that show in fixed windows: [n, V], -1 for the others."""
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
        The row of `copies` that each is of, the number of the copy or -1, and its share of what
        the sample counts for; [m] each, the samples themselves first.
    """
    row, number = (copies >= 0).nonzero(as_tuple=True)
    count = (copies >= 0).sum(dim=1)
    own = torch.where(count > 0, 1.0 - SHARE, 1.0)
    at = torch.cat((torch.arange(len(copies)), row))
    variant = torch.cat((torch.full((len(copies),), -1), number))
    return at, variant, torch.cat((own, SHARE / count[row]))
