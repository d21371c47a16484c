"""Net `mcnn`: VGG-16 with its two wide fully connected layers.

Kalash, Rochan, Mohammed, Bruce, Wang and Iqbal 2018, "Malware classification with deep
convolutional neural networks", NTMS 2018 (M-CNN). VGG-16 is that of Simonyan and Zisserman
2015, arXiv 1409.1556, configuration D.

    layer      as published                          here at 64 x 64
    input      224 x 224, byteplot                   64 x 64, one channel
    block 1    2 conv 3 x 3, 64; max-pool 2          64 x 32 x 32
    block 2    2 conv 3 x 3, 128; max-pool 2         128 x 16 x 16
    block 3    3 conv 3 x 3, 256; max-pool 2         256 x 8 x 8
    block 4    3 conv 3 x 3, 512; max-pool 2         512 x 8 x 8, no pooling
    block 5    3 conv 3 x 3, 512; max-pool 2         512 x 8 x 8 (the map), then 4 x 4
    dense      4096, ReLU                            with dropout 0.5
    dense      4096, ReLU                            with dropout 0.5
    output     one per family, softmax
    optimiser  SGD on cross-entropy

Convolutions have biases and a ReLU each, no batch norm. The optimiser is known from secondary
sources only, its rate and schedule are unknown, and so is dropout (VGG's own 0.5 is used). The
target layer is block 5 before its pooling, where a map is 14 x 14 at 224 pixels.

What differs: below 128 pixels the fourth pooling is left out, so that the map has 8 x 8 cells.
In the last pooling equal values share the gradient (`SharingMaxPool`). The first convolution
takes as many channels as the body has. The optimiser is that of this package's loop (AdamW, one
cycle to 1e-4). From random weights the net learns slowly: it has no batch norm.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from maltriage.learn.nets.byteplot import Backbone, ByteplotNet, stride_for
from maltriage.sample.views import ViewSpec

DENSE = 4096
DROPOUT = 0.5
STRIDE = 16
"""Stride of block 5 before its pooling, as published."""
CHANNELS = 512
TIE = 1e-2
"""Values below a maximum by less than this share of the largest value share its gradient."""


class Vgg16(Backbone):
    """The convolutions of timm's VGG-16 without the last pooling, [B, 512, h, w].

    Args:
        channels: of the input.
        size: of the input; below 128 the fourth pooling is left out.
    """

    def __init__(self, channels: int, size: int) -> None:
        # The layers after the features (120 M parameters) are made small and discarded.
        super().__init__("vgg16", channels, mlp_ratio=1 / DENSE)
        self.model.pre_logits = self.model.head = nn.Identity()
        layers = self.model.features
        pools = [i for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
        layers[pools[4]] = nn.Identity()  # in place: the numbers are names of weights
        if stride_for(size, STRIDE) < STRIDE:
            layers[pools[3]] = nn.Identity()


class SharingMaxPool(nn.Module):
    """Max-pool 2 of non-negative values; equal values share the gradient.

    In runs of equal bytes, which are common in programs, all cells of a pooling are equal up to
    rounding. `nn.MaxPool2d` gives the whole gradient to one of them, chosen by rounding: the map
    would differ between runtimes. Here values within `TIE` of the maximum share the gradient, the
    nearer the more, without a step that rounding could cross.
    """

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = x.shape[2] // 2, x.shape[3] // 2
        four = x.reshape(x.shape[0], x.shape[1], rows, 2, columns, 2)
        with torch.no_grad():
            near = TIE * four.amax(dim=(1, 2, 3, 4, 5), keepdim=True).clamp(min=1e-30)
            behind = four.amax(dim=(3, 5), keepdim=True) - four
            share = (1.0 - behind / near).clamp(min=0.0)
            share = share / share.sum(dim=(3, 5), keepdim=True)
        return (four * share).sum(dim=(3, 5))


def dense_head(size: int, width: int) -> nn.Sequential:
    """VGG's last pooling and its two fully connected layers of `width`."""
    cells = (size // stride_for(size, STRIDE) // 2) ** 2
    return nn.Sequential(
        SharingMaxPool(),
        nn.Flatten(),
        nn.Linear(CHANNELS * cells, width),
        nn.ReLU(),
        nn.Dropout(DROPOUT),
        nn.Linear(width, width),
        nn.ReLU(),
    )


class Mcnn(ByteplotNet):
    """The net `mcnn`; 65 M parameters at 64 x 64 with 14 labels."""

    additive = False
    target_layer = "features"

    def __init__(self, views: tuple[ViewSpec, ...], labels: int) -> None:
        super().__init__(views, labels)
        size = self.spec.shape[-1]
        features = Vgg16(self.spec.shape[0], size)
        self.build(features, dense_head(size, DENSE), DENSE, dropout=DROPOUT)
