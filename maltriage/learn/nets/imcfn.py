"""Net `imcfn`: VGG-16 on byteplots in colour, with narrower fully connected layers.

Vasan, Alazab, Wassan, Naeem, Safaei and Zheng 2020, "IMCFN: Image-based malware classification
using fine-tuned convolutional neural network architecture", Computer Networks 171.

    layer      as published                            here at 64 x 64
    input      byteplot, through a colour map to RGB   64 x 64, one channel, jet in the graph
    blocks     those of VGG-16 (see `mcnn`)            512 x 8 x 8 (the map), then 4 x 4
    dense      fewer than VGG's                        2048, ReLU; dropout 0.5
    dense                                              2048, ReLU; dropout 0.5
    output     one per family, softmax
    training   from ImageNet weights, fine-tuned, with augmentation of the images

Known from the abstract: the colour map, VGG-16 as the start, fine-tuning, augmentation. The
abstract leaves open: which colour map (jet is used), the width of the dense layers (half of VGG's
is used), the optimiser. Colour is a fixed lookup of the byte's value. The body's first channel is
the mean of a cell's bytes, so the mean is coloured; the paper colours bytes before resizing.
Further channels of a body join the three colours.

What differs: without `--pretrained` the training starts from random weights. Below 128 pixels the
fourth pooling is left out, so that the map has 8 x 8 cells. Optimiser as for `mcnn`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from maltriage.learn.nets.byteplot import ByteplotNet
from maltriage.learn.nets.mcnn import DROPOUT, Vgg16, dense_head
from maltriage.sample.views import ViewSpec

DENSE = 2048
COLOUR_MEAN, COLOUR_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's mean and deviation by colour."""


def jet() -> Tensor:
    """The colour map jet, [256, 3] in red, green, blue from 0 to 1.

    Each colour is a trapezoid over the value: red around 0.75, green 0.5, blue 0.25 (as in
    MATLAB; matplotlib's knots differ slightly).
    """
    value = torch.linspace(0, 1, 256)[:, None]
    centres = torch.tensor([0.75, 0.5, 0.25])
    return (1.5 - 4.0 * (value - centres).abs()).clamp(0, 1)


class Imcfn(ByteplotNet):
    """The net `imcfn`; 36 M parameters at 64 x 64 with 14 labels."""

    additive = False
    target_layer = "features"
    colours: Tensor

    def __init__(self, views: tuple[ViewSpec, ...], labels: int) -> None:
        super().__init__(views, labels)
        scaled = (jet() - torch.tensor(COLOUR_MEAN)) / torch.tensor(COLOUR_STD)
        self.register_buffer("colours", scaled, persistent=False)
        size = self.spec.shape[-1]
        features = Vgg16(self.spec.shape[0] + 2, size)
        self.build(features, dense_head(size, DENSE), DENSE, dropout=DROPOUT)

    def scale(self, body: Tensor) -> Tensor:
        colours = functional.embedding(body[:, 0].int(), self.colours).permute(0, 3, 1, 2)
        return torch.cat([colours, super().scale(body[:, 1:])], dim=1)
