"""The common base of the published byteplot CNNs: a picture of the file to logits.

The body view goes through the paper's CNN. Windows are optional: each goes through the
one-dimensional trunk of net `evidence` and the mean over its cells, and joins the CNN's features
before the last layer (late fusion, not part of any paper). Fixed windows (`header`) are read by
`evidence` only.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from maltriage.errors import MaltriageError
from maltriage.learn.nets.base import Net
from maltriage.learn.nets.evidence import FEATURES, WindowTrunk, window_field
from maltriage.sample.views import ViewSpec

MEAN, STD = 0.449, 0.226
"""Scaling by ImageNet's grey values, which published weights expect."""
CELLS = 8
"""Least number of cells along a side of a heat map."""


class ByteplotNet(Net):
    """A CNN on the body, with late fusion of windows.

    A subclass calls `build` once, with its layers.
    """

    def __init__(self, views: tuple[ViewSpec, ...], labels: int) -> None:
        super().__init__()
        self.views = views
        self.labels = labels
        pictures = [view for view in views if view.picture]
        if len(pictures) != 1 or any(view.fixed for view in views):
            raise MaltriageError("a byteplot CNN reads the body, and windows that are not fixed")
        self.spec = pictures[0]

    def build(
        self, features: nn.Module, head: nn.Module, width: int, *, dropout: float = 0.0
    ) -> None:
        """Set the layers.

        Args:
            features: scaled body [B, C, S, S] to the target layer's activation [B, F, h, w].
            head: that activation to [B, width].
            width: number of the CNN's features before the last layer.
            dropout: on all features before the last layer.
        """
        self.features, self.head = features, head
        self.windows = nn.ModuleList(WindowTrunk() for view in self.views if view.along)
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(width + FEATURES * len(self.windows), self.labels)
        self.to(memory_format=torch.channels_last)  # faster convolutions on a CPU

    @property
    def classifier(self) -> nn.Linear:
        return self.last

    @property
    def backbone(self) -> nn.Module | None:
        return self.features.model if isinstance(self.features, Backbone) else None

    @property
    def unpooled(self) -> tuple[str, ...]:
        """The body, unless the head begins with the mean; windows always do."""
        return () if isinstance(self.head, Pooled) else (self.spec.name,)

    def scale(self, body: Tensor) -> Tensor:
        """Scale bytes, uint8 [B, C, S, S], to the CNN's input."""
        return (body.float() / 255.0 - MEAN) / STD

    def activations(self, views: dict[str, Tensor]) -> dict[str, Tensor]:
        found, trunks = {}, iter(self.windows)
        for view in self.views:
            image = views[view.name]
            if view.along:
                found[view.name] = next(trunks)(image)
            else:
                found[view.name] = self.features(self.scale(image))
        return found

    def embed(self, activations: dict[str, Tensor]) -> Tensor:
        parts = [
            activations[view.name].mean(dim=(2, 3))
            if view.along
            else self.head(activations[view.name])
            for view in self.views
        ]
        out: Tensor = self.dropout(torch.cat(parts, dim=1))
        return out

    def receptive_field_bytes(self) -> dict[str, int]:
        field = window_field()
        return {view.name: field for view in self.views if view.along}


class Pooled(nn.Module):
    """The mean over the cells and layers on it: [B, C, h, w] to [B, D]."""

    def __init__(self, layers: nn.Module | None = None) -> None:
        super().__init__()
        self.layers = layers or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x.mean(dim=(2, 3)))
        return out


class Backbone(nn.Module):
    """A model of timm without its classifier: scaled body to its last feature map."""

    model: Any  # its attributes have no types

    def __init__(self, name: str, channels: int, **options: Any) -> None:
        super().__init__()
        import timm  # takes seconds, not needed by nets without a backbone

        self.model = timm.create_model(
            name, pretrained=False, in_chans=channels, num_classes=0, **options
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.model.forward_features(x)
        return out


def stride_for(size: int, published: int) -> int:
    """Width of a map's cell in pixels: the published number, or less, down to 8, so that
    `CELLS` cells fit along a body of `size`."""
    stride = published
    while stride > 8 and size < CELLS * stride:
        stride //= 2
    return stride
