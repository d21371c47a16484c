"""Net `gibert`: three convolutions and one fully connected layer.

Gibert, Mateu, Planes and Vicens 2019, "Using convolutional neural networks for classification
of malware represented as images", Journal of Computer Virology and Hacking Techniques 15.

    layer      as published (and in the authors' code)          at 64 x 64
    input      128 x 128, one channel                           64 x 64
    conv 1     50 of 5 x 5, ReLU; max-pool 2; normalisation     50 x 32 x 32
    conv 2     70 of 3 x 3, ReLU; max-pool 2; normalisation     70 x 16 x 16
    conv 3     70 of 3 x 3, ReLU; max-pool 2; normalisation     70 x 8 x 8
    dropout    0.5 on the flattened maps
    dense      256, ReLU; dropout 0.5
    output     one per family, softmax
    optimiser  Adam, 1e-3, batches of 256, 15 epochs; cross-entropy

The paper leaves the kind of normalisation open; the authors' code has local response
normalisation over 9 channels (alpha 1e-3 / 9 each, beta 0.75), which is used here. The target
layer is the third pooling, so the map has a cell for 8 x 8 pixels and a cell sees 24 x 24.

What differs: the size of the input is free. Pixels are scaled by a mean and deviation. The
optimiser is that of this package's loop (AdamW, one cycle, label smoothing, mixup, weights for
rare families). Initial biases are zero (theirs: normal, deviation 1).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from maltriage.learn.nets.byteplot import ByteplotNet
from maltriage.sample.views import ViewSpec

DENSE = 256
DROPOUT = 0.5


RADIUS, ALPHA = 4, 1e-3 / 9
"""Of `ResponseNorm`."""


class ResponseNorm(nn.Module):
    """Local response normalisation (Krizhevsky et al. 2012) as a product with a band matrix.

    `nn.LocalResponseNorm` gives the same by a pooling whose gradient ONNX lacks.
    """

    band: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        at = torch.arange(channels)
        band = ((at[:, None] - at).abs() <= RADIUS).float() * ALPHA
        self.register_buffer("band", band, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        power = torch.matmul(self.band, x.square().flatten(2)).reshape(x.shape)
        return x * (1.0 + power).pow(-0.75)


def _initialise(layer: nn.Conv2d | nn.Linear) -> None:
    nn.init.xavier_uniform_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)


class Gibert(ByteplotNet):
    """The net `gibert`; 1.2 M parameters at 64 x 64 with 14 labels."""

    additive = False
    target_layer = "features.pool3"

    def __init__(self, views: tuple[ViewSpec, ...], labels: int) -> None:
        super().__init__(views, labels)
        features, before = nn.Sequential(), self.spec.shape[0]
        for number, (channels, kernel) in enumerate(((50, 5), (70, 3), (70, 3)), start=1):
            if number > 1:
                features.add_module(f"norm{number - 1}", ResponseNorm(before))
            conv = nn.Conv2d(before, channels, kernel, padding=kernel // 2)
            _initialise(conv)
            features.add_module(f"conv{number}", conv)
            features.add_module(f"relu{number}", nn.ReLU())
            features.add_module(f"pool{number}", nn.MaxPool2d(2))
            before = channels
        dense = nn.Linear(before * (self.spec.shape[-1] // 8) ** 2, DENSE)
        _initialise(dense)
        head = nn.Sequential(
            ResponseNorm(before), nn.Flatten(), nn.Dropout(DROPOUT), dense, nn.ReLU()
        )
        self.build(features, head, DENSE, dropout=DROPOUT)
