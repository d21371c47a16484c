"""Trunks for counted views, and the fit of their tables: multinomial logistic regression.

What is in a file, wherever it lies, is told by a sum over its words, and by a sum of a function of
each share of its bytes. The loss is convex: L-BFGS finds its minimum, as for the table of a header.
A penalty holds each weight back by how little it is worth (`docs/studies/sources.md`, "What
travels").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from maltriage.sample.views import EntropySpec, WordsSpec
from maltriage.sample.views.counted import LEVELS, NIBBLES
from maltriage.sample.views.view_kind import ViewKind

BUCKETS = 1 << 15
"""Words of the vocabulary, at most: a word's name gives its bucket, and each has one word."""
RARE = 3
"""Training files that a word of the vocabulary must be in."""
FEW = 4
"""Words of a file count as so many at least, so that two words alone do not say everything."""
WORD_SPREAD, SHARE_SPREAD = (30.0, 1.0), (0.05, 0.015)
"""Variances of the weights of a word and of a piece of a share, beyond which a penalty matters: for
each family, and for clean files against malware. The second is small, because what tells malware
from clean files in a few collections is more often chance than what tells families."""
PIECES = 3
"""Pieces of the function of a share, each as long as the others by rank in training."""
STEPS = 200


class CountedTrunk(nn.Module):
    """A counted view, uint8 [B, C, N], to the contribution of each thing, [B, K, 1, N]."""

    table: nn.Parameter
    spread: tuple[float, float]
    """See `WORD_SPREAD`."""

    def study(self, images: Tensor) -> Callable[[Tensor], Tensor]:
        """Set what the table is read by, from all training images.

        Returns:
            The sums of the contributions to these images, [n, K], as a function of the table.
        """
        raise NotImplementedError


class WordsTrunk(CountedTrunk):
    """Each word of the vocabulary has a weight for each label.

    A file's sum is divided by the square root of its number of words, so that a large program
    is no surer than a small one.
    """

    tags: Tensor
    spread = WORD_SPREAD

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(BUCKETS, labels), requires_grad=False)
        self.register_buffer("tags", torch.zeros(BUCKETS, dtype=torch.uint8))

    def study(self, images: Tensor) -> Callable[[Tensor], Tensor]:
        bucket, rest = _named(images)
        names = (bucket << 8 | rest)[rest > 0]
        often = torch.bincount(names, minlength=BUCKETS << 8).reshape(BUCKETS, 256)
        files, tag = often.max(dim=1)
        self.tags.copy_(torch.where(files >= RARE, tag, 0).to(torch.uint8))
        bucket, known = self._read(images)
        at = known > 0
        words, many = bucket[at], _many(known)
        starts = functional.pad(at.sum(dim=1).cumsum(0), (1, 0))[:-1]
        return lambda table: functional.embedding_bag(words, table, starts, mode="sum") / many

    def forward(self, images: Tensor) -> Tensor:
        bucket, known = self._read(images)
        weight = known / _many(known)
        said = functional.embedding(bucket, self.table) * weight[:, :, None]
        return said.transpose(1, 2).unsqueeze(2)

    def _read(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Bucket of each word, and 1 where it is in the vocabulary, both [B, N]."""
        bucket, rest = _named(images)
        return bucket, ((self.tags[bucket].long() == rest) & (rest > 0)).float()


def bounded(said: Tensor, clean: int, most: float) -> Tensor:
    """What words contribute, with a bound on what they say for a file being clean.

    Whoever adds words of clean programs to malware makes it look clean, and more so the more
    there are. Beyond the bound each such word counts for less, by the same factor, so that
    contributions still add up.

    Args:
        said: contributions of the words, [B, K, 1, N].
        clean: the label of clean files, whose score is log odds against malware.
        most: that all such words say together, at most.
    """
    column = said[:, clean : clean + 1]
    total = column.clamp(min=0.0).sum(dim=3, keepdim=True)
    less = column * (most / total.clamp(min=most))
    column = torch.where(column > 0.0, less, column)
    return torch.cat((said[:, :clean], column, said[:, clean + 1 :]), dim=1)


def _named(images: Tensor) -> tuple[Tensor, Tensor]:
    """Bucket and tag of each word, int64 [B, N]; the tag is 0 where there is no word."""
    low, middle, high = (images[:, i].long() for i in range(3))
    return (low | middle << 8) & (BUCKETS - 1), high


def _many(known: Tensor) -> Tensor:
    return known.sum(dim=1, keepdim=True).clamp(min=FEW).sqrt()


class EntropyTrunk(CountedTrunk):
    """Each share of the bytes, by level of entropy and upper four bits, has a function a label.

    It is piecewise linear and zero at zero; what it gives is divided over the pieces of the file
    by their part in that share.
    """

    knots: Tensor
    spread = SHARE_SPREAD

    def __init__(self, labels: int) -> None:
        super().__init__()
        shares = LEVELS * NIBBLES
        self.table = nn.Parameter(torch.zeros(PIECES, shares, labels), requires_grad=False)
        self.register_buffer("knots", torch.zeros(PIECES + 1, shares))

    def study(self, images: Tensor) -> Callable[[Tensor], Tensor]:
        shares = torch.cat([_normed(_parts(part).sum(dim=1)) for part in images.split(256)])
        at = torch.linspace(0.0, 1.0, PIECES + 1)
        self.knots.copy_(torch.quantile(shares, at, dim=0))
        ramps = self._ramps(shares).flatten(1)
        return lambda table: ramps @ table.flatten(0, 1)

    def forward(self, images: Tensor) -> Tensor:
        parts = _parts(images)
        total = parts.sum(dim=1)
        # Not a product of matrices, whose last digits would depend on the batch.
        worth = (self._ramps(_normed(total))[..., None] * self.table).sum(dim=1)
        each = worth / total.clamp(min=1e-6)[:, :, None]
        return (parts @ each).transpose(1, 2).unsqueeze(2)

    def _ramps(self, shares: Tensor) -> Tensor:
        """How far a share is through each piece, 0 to 1, [B, P, S]."""
        low, high = self.knots[:-1], self.knots[1:]
        return ((shares[:, None] - low) / (high - low).clamp(min=1e-6)).clamp(0.0, 1.0)


def _parts(images: Tensor) -> Tensor:
    """Shares of the bytes of each piece by level and upper four bits, [B, N, S]."""
    levels = torch.arange(1, LEVELS + 1, device=images.device)
    is_level = (images[:, 0, :, None].long() == levels).float()
    nibbles = images[:, 1:].float().transpose(1, 2)
    return (is_level[:, :, :, None] * nibbles[:, :, None, :]).flatten(2)


def _normed(total: Tensor) -> Tensor:
    return total / total.sum(dim=1, keepdim=True).clamp(min=1e-6)


TRUNKS: dict[type[ViewKind], type[WordsTrunk | EntropyTrunk]] = {
    WordsSpec: WordsTrunk,
    EntropySpec: EntropyTrunk,
}
"""Of each kind of counted view."""


def trunk_for(view: ViewKind, labels: int) -> CountedTrunk:
    """The trunk of a counted view.

    Raises:
        TypeError: there is none for views of its kind.
    """
    trunk = TRUNKS.get(type(view))
    if trunk is None:
        raise TypeError(f"{type(view).__name__}: no trunk in TRUNKS for views of this kind")
    return trunk(labels)


def fit_counted(
    trunks: Sequence[CountedTrunk],
    images: Sequence[Tensor],
    labels: Tensor,
    weights: Tensor,
    clean: int | None,
    joined: Callable[[Tensor], Tensor],
    word_bound: float | None = None,
) -> Tensor:
    """Fit the tables of counted views together; returns the bias, [K].

    With a bound on words the loss is not convex: the fit without one is where it begins.

    Args:
        images: of all training samples, for each trunk.
        labels: [n], int64.
        weights: of the samples, [n].
        clean: see `Net.clean`.
        joined: logits from scores, see `Net.joined`.
        word_bound: see `Net.bound_words`.
    """
    sums = [trunk.study(seen) for trunk, seen in zip(trunks, images, strict=True)]
    tables = [torch.zeros_like(trunk.table, requires_grad=True) for trunk in trunks]
    count = tables[0].shape[-1]
    own = torch.arange(count) == (-1 if clean is None else clean)
    spreads = [torch.where(own, trunk.spread[1], trunk.spread[0]) for trunk in trunks]
    bias = torch.zeros(count, requires_grad=True)
    words = next((i for i, trunk in enumerate(trunks) if isinstance(trunk, WordsTrunk)), None)

    def scores(most: float | None) -> Tensor:
        said = bias + sum(of(table) for of, table in zip(sums, tables, strict=True))
        if words is None or clean is None or most is None:
            return said
        for_clean = sums[words](tables[words][:, clean : clean + 1].clamp(min=0.0))
        return said - own * (for_clean - most).clamp(min=0.0)

    def loss(optimizer: torch.optim.Optimizer, most: float | None) -> Tensor:
        optimizer.zero_grad()
        logits = joined(scores(most))
        losses = functional.cross_entropy(logits, labels, reduction="none")
        penalty = sum(
            (table.square() / spread).sum() for table, spread in zip(tables, spreads, strict=True)
        )
        value = torch.as_tensor((losses @ weights + penalty / 2) / weights.sum())
        value.backward()
        return value

    for most in (None, *([] if word_bound is None else [word_bound])):
        optimizer = torch.optim.LBFGS(
            [*tables, bias], max_iter=STEPS, history_size=10, line_search_fn="strong_wolfe"
        )
        optimizer.step(partial(loss, optimizer, most))
    for trunk, table in zip(trunks, tables, strict=True):
        trunk.table.copy_(table.detach())
    return bias.detach()
