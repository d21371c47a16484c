"""A table of weights for each value of each byte of a header: multinomial logistic regression.

The position of a header's byte gives its meaning, which a convolution followed by a mean loses.
One weight for each (position, value, label) keeps it. The loss is convex: L-BFGS finds its
minimum within seconds, while steps on batches, beside trunks that learn faster, never come near.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

VALUES = 256
PENALTY = 1 / 3
"""Weight of half the sum of squares beside the sum of losses over the samples."""
STEPS = 60


def fit_table(
    window: Tensor,
    labels: Tensor,
    count: int,
    weights: Tensor,
    joined: Callable[[Tensor], Tensor] = lambda scores: scores,
) -> tuple[Tensor, Tensor]:
    """Fit the table to samples.

    Args:
        window: bytes and presence, uint8 [n, 2, L].
        labels: [n], int64.
        count: of labels, K.
        weights: of the samples, [n].
        joined: logits from scores, see `Net.joined`.

    Returns:
        The table, [L * 256, K], row 256 * position + value, and the bias, [K]. Values that no
        sample has are zero.
    """
    length = window.shape[2]
    exists = window[:, 1].bool()
    places = torch.arange(length) * VALUES
    cells = (window[:, 0].long() + places)[exists]
    used, column = torch.unique(cells, return_inverse=True)
    starts = functional.pad(exists.sum(dim=1).cumsum(0), (1, 0))[:-1]
    table = torch.zeros(max(1, len(used)), count, requires_grad=True)
    bias = torch.zeros(count, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [table, bias], max_iter=STEPS, history_size=10, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        said = functional.embedding_bag(column, table, starts, mode="sum")
        losses = functional.cross_entropy(joined(said + bias), labels, reduction="none")
        value = (losses @ weights + PENALTY / 2 * table.square().sum()) / weights.sum()
        value.backward()
        return value

    optimizer.step(loss)
    out = torch.zeros(length * VALUES, count)
    out[used] = table.detach()[: len(used)]
    return out, bias.detach()
