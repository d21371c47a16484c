"""Net `evidence`: additive by construction, so that its heat sums to the score.

It has a trunk for each view, the mean over its cells, and one linear layer over the concatenated
means. A logit is then a sum over cells plus a bias. Windows are read along the bytes: a cell is
32 bytes in a row and sees 121, centred on its own. Tables read words, where a cell is a word, the
bytes by entropy, where it is a piece of the file, and a header, in which the position of a byte
gives its meaning, where it is one byte.

Every view that is learned in steps is trained to classify by itself, and their logits are the mean
over the views. In training on their sum, the view that learns fastest leaves nothing to the
others, and the sum is worse than its parts. Tables are fitted before, and added. Beside those of
counted views trunks count for families only: what they say of whether a file is malware does not
hold on other collections.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from maltriage.learn.nets.base import Net
from maltriage.learn.nets.counted import CountedTrunk, WordsTrunk, bounded, fit_counted, trunk_for
from maltriage.learn.nets.header_table import VALUES, fit_table
from maltriage.sample.views import ViewSpec

FEATURES = 96
PALETTE = 8
DROPOUT = 0.3
TABLE_WEIGHT = 2.0
"""Weight of a header's table relative to a trunk in the mean."""

WINDOW_LAYERS = ((PALETTE, 32, 9, 4), (32, 64, 5, 4), (64, FEATURES, 3, 2), (FEATURES, 96, 3, 1))
"""(channels in, channels out, kernel, stride) along the bytes."""


class Layer(nn.Module):
    """Convolution, batch norm, ReLU. An `ahead` layer is padded at its far end only.

    With symmetric padding at every stride a cell's receptive field would be centred on its
    first byte; the `ahead` layer centres it on the middle of the cell, so that the map shows
    the right bytes.
    """

    def __init__(
        self,
        channels: tuple[int, int],
        kernel: tuple[int, int],
        stride: tuple[int, int] = (1, 1),
        *,
        ahead: bool = False,
    ) -> None:
        super().__init__()
        around = (kernel[0] // 2, kernel[1] // 2)
        self.ahead = (0, kernel[1] - stride[1], 0, kernel[0] - stride[0]) if ahead else None
        self.conv = nn.Conv2d(*channels, kernel, stride, 0 if ahead else around, bias=False)
        self.norm = nn.BatchNorm2d(channels[1])

    def forward(self, x: Tensor) -> Tensor:
        if self.ahead is not None:
            x = functional.pad(x, self.ahead)
        return functional.relu(self.norm(self.conv(x)))


class Residual(nn.Module):
    """Two 3x3 convolutions beside an identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = Layer((channels, channels), (3, 3))
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.norm(self.conv(self.first(x))))


class BodyTrunk(nn.Module):
    """The body view, uint8 [B, C, S, S], to [B, 96, S/8, S/8]. A cell sees 47 x 47."""

    def __init__(self, spec: ViewSpec) -> None:
        super().__init__()
        down = (2, 2)
        self.layers = nn.Sequential(
            Layer((spec.shape[0], 32), (3, 3), down),
            Layer((32, 64), (3, 3), down),
            Residual(64),
            Layer((64, FEATURES), (3, 3), down, ahead=True),
            Layer((FEATURES, FEATURES), (3, 3)),
        )

    def forward(self, body: Tensor) -> Tensor:
        out: Tensor = self.layers(body.float() / 255.0)
        return out


class WindowTrunk(nn.Module):
    """A window, uint8 [B, 2, N], to [B, 96, 1, N/32].

    Bytes go through a learned palette and are multiplied by their presence: a missing byte is
    zero in all channels, unlike a byte of value zero.
    """

    def __init__(self) -> None:
        super().__init__()
        self.palette = nn.Embedding(256, PALETTE)
        self.layers = nn.Sequential(
            *(
                Layer((before, after), (1, kernel), (1, stride), ahead=stride == 2)
                for before, after, kernel, stride in WINDOW_LAYERS
            )
        )

    def forward(self, window: Tensor) -> Tensor:
        colours = self.palette(window[:, 0].int()) * window[:, 1, :, None].float()
        out: Tensor = self.layers(colours.transpose(1, 2).unsqueeze(2))
        return out


class TableTrunk(nn.Module):
    """A fixed window, uint8 [B, 2, N], to the contribution of each byte, [B, K, 1, N].

    Not learned in steps: see `maltriage.learn.nets.header_table`.
    """

    def __init__(self, spec: ViewSpec, labels: int) -> None:
        super().__init__()
        shape = (spec.shape[-1] * VALUES, labels)
        self.table = nn.Parameter(torch.zeros(shape), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(labels), requires_grad=False)

    def forward(self, window: Tensor) -> Tensor:
        places = torch.arange(window.shape[2], device=window.device) * VALUES
        said = functional.embedding(window[:, 0].long() + places, self.table)
        return (said * window[:, 1, :, None].float()).transpose(1, 2).unsqueeze(2)


def window_field() -> int:
    """Receptive field of a cell of a window, in bytes in a row."""
    field, jump = 1, 1
    for _, _, kernel, stride in WINDOW_LAYERS:
        field += (kernel - 1) * jump
        jump *= stride
    return field


class Evidence(Net):
    """The net `evidence` for any choice of views; 1.6 M parameters for the default ones and 33
    labels."""

    additive = True
    target_layer = "trunks"

    def __init__(self, views: tuple[ViewSpec, ...], labels: int) -> None:
        super().__init__()
        self.views = views
        # A list, not a dict: the exporter cannot write the name `import` as code.
        self.trunks = nn.ModuleList(_trunk(view, labels) for view in views)
        self.learned = [i for i, view in enumerate(views) if not view.fixed]
        self.dropout = nn.Dropout(DROPOUT)
        self.heads = nn.Linear(FEATURES * len(self.learned), labels)
        self.bias = nn.Parameter(torch.zeros(labels), requires_grad=False)
        """Of the tables of counted views together."""
        self.word_bound: float | None = None
        """See `Net.bound_words`."""
        self.to(memory_format=torch.channels_last)  # 1.5 times as fast on a CPU

    def begin(self, views: dict[str, Tensor], labels: Tensor, weights: Tensor) -> None:
        back = _taken_back(labels, weights, self.heads.out_features, self.clean)
        for view, trunk in zip(self.views, self.trunks, strict=True):
            if isinstance(trunk, TableTrunk):
                count = self.heads.out_features
                table, bias = fit_table(views[view.name], labels, count, weights, self.joined)
                trunk.table.copy_(table)
                trunk.bias.copy_(bias + back)
        if counted := self._counted:
            trunks = [trunk for _, trunk in counted]
            seen = [views[view.name] for view, _ in counted]
            bound = self.word_bound
            bias = fit_counted(trunks, seen, labels, weights, self.clean, self.joined, bound)
            self.bias.copy_(bias + back)

    @property
    def _counted(self) -> list[tuple[ViewSpec, CountedTrunk]]:
        pairs = zip(self.views, self.trunks, strict=True)
        return [(view, trunk) for view, trunk in pairs if isinstance(trunk, CountedTrunk)]

    def bound_words(self, most: float | None) -> None:
        self.word_bound = most

    def activations(self, views: dict[str, Tensor]) -> dict[str, Tensor]:
        found = {
            view.name: trunk(views[view.name])
            for view, trunk in zip(self.views, self.trunks, strict=True)
        }
        if self.word_bound is not None and self.clean is not None:
            for view, trunk in self._counted:
                if isinstance(trunk, WordsTrunk):
                    said = found[view.name]
                    found[view.name] = bounded(said, self.clean, self.word_bound)
        return found

    def embed(self, activations: dict[str, Tensor]) -> Tensor:
        means = [activations[view.name].mean(dim=(2, 3)) for view in self.views]
        out: Tensor = self.dropout(torch.cat(means, dim=1))
        return out

    @property
    def classifier(self) -> nn.Linear:
        """The mean over the trunks' scores, plus what the tables say."""
        share = torch.ones_like(self.bias)
        if self._counted and self.clean is not None:
            share[self.clean] = 0.0
        trunks, blocks = max(1, len(self.learned)), []
        bias = share * self.heads.bias.detach() + self.bias
        learned = iter(self.heads.weight.detach().split(FEATURES, dim=1))
        for view, trunk in zip(self.views, self.trunks, strict=True):
            if isinstance(trunk, TableTrunk | CountedTrunk):
                weight = share * (TABLE_WEIGHT / trunks) if view.along else torch.ones_like(bias)
                cells = math.prod(view.shape[1:])  # turns the mean over cells into a sum
                blocks.append(torch.diag(weight * cells))
                if isinstance(trunk, TableTrunk):
                    bias += weight * trunk.bias
            else:
                blocks.append(share[:, None] * next(learned))
        merged = nn.Linear(sum(block.shape[1] for block in blocks), len(bias), device=bias.device)
        merged.weight.data, merged.bias.data = torch.cat(blocks, dim=1), bias
        return merged

    def votes(self, embedding: Tensor) -> Tensor:
        """Logits of each learned trunk by itself, whose mean is the trunks' joint logits."""
        wide = embedding.split([self._width(trunk) for trunk in self.trunks], dim=1)
        features = torch.stack([wide[i] for i in self.learned], dim=1)
        weights = torch.stack(self.heads.weight.split(FEATURES, dim=1))
        logits = torch.einsum("bvf,vkf->bvk", features, weights)
        return self.joined(logits * len(self.learned) + self.heads.bias)

    def _width(self, trunk: nn.Module) -> int:
        table = isinstance(trunk, TableTrunk | CountedTrunk)
        return self.heads.out_features if table else FEATURES

    def receptive_field_bytes(self) -> dict[str, int]:
        field = window_field()
        return {view.name: 1 if view.fixed else field for view in self.views if view.along}


def _taken_back(labels: Tensor, weights: Tensor, count: int, clean: int | None) -> Tensor:
    """What to add to the bias of each label, so that weights say how much an error costs, and not
    how frequent a label is (King and Zeng 2001, section 4.1)."""

    def of(labels: Tensor, count: int) -> Tensor:
        files = torch.bincount(labels, minlength=count)
        weight = torch.bincount(labels, weights, minlength=count)
        return torch.where(files > 0, files / weight.clamp(min=1e-9), 1.0).log()

    back = of(labels, count)
    if clean is not None:
        malware, benign = of((labels == clean).long(), 2)
        back[clean] = benign - malware
    return back


def _trunk(view: ViewSpec, labels: int) -> nn.Module:
    if view.counted:
        return trunk_for(view, labels)
    if not view.along:
        return BodyTrunk(view)
    return TableTrunk(view, labels) if view.fixed else WindowTrunk()
