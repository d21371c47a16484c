"""Net `xception`: Xception, additive.

Lo, Yang and Wang 2019, "An Xception convolutional neural network for malware classification with
transfer learning", NTMS 2019. Xception is that of Chollet 2017, arXiv 1610.02357.

    layer         as published                                here at 64 x 64
    input         299 x 299, byteplot                         64 x 64, one channel
    stem          conv 3 x 3 by 2, 32; conv 3 x 3, 64         64 x 64 x 64, no stride, padded
    entry flow    3 blocks of 2 separable conv by 2           728 x 8 x 8
    middle flow   8 blocks of 3 separable conv                728 x 8 x 8
    exit flow     block of 2 separable conv by 2, 1024        1024 x 8 x 8, no stride
                  separable conv, 1536; 2048                  2048 x 8 x 8 (the map)
    pooling       mean over the cells
    output        one per family, softmax
    training      from ImageNet weights

Known from the abstract: Xception, transfer learning, byteplots of MalImg and BIG2015. The
abstract leaves open: the optimiser, and which layers were frozen (none is here). The paper's
ensemble over `.asm` files is not implemented.

It ends in the mean over cells and one linear layer, so logits are a sum over cells and heat sums
to the score. A cell sees far more than its own pixels, so the sum is exact, the location is not.

What differs: the first two convolutions are padded, so that the cells of the map divide the whole
picture; the published ones cut its edge off. Below 256 pixels the stride of the exit flow is left
out, below 128 that of the stem, so that the map has 8 x 8 cells. The optimiser is that of this
package's loop (AdamW, one cycle to 1e-3). Without `--pretrained` the training starts from random
weights.
"""

from __future__ import annotations

from torch import nn

from maltriage.learn.nets.byteplot import Backbone, ByteplotNet, Pooled, stride_for
from maltriage.sample.views import ViewSpec

STRIDE = 32


class Xception(ByteplotNet):
    """The net `xception`; 21 M parameters with 14 labels."""

    additive = True
    target_layer = "features"

    def __init__(self, views: tuple[ViewSpec, ...], labels: int) -> None:
        super().__init__(views, labels)
        features = Backbone("legacy_xception", self.spec.shape[0])
        model = features.model
        model.conv1.padding = model.conv2.padding = (1, 1)
        stride = stride_for(self.spec.shape[-1], STRIDE)
        if stride < 32:
            model.block12.skip.stride = (1, 1)
            model.block12.rep[-1] = nn.Identity()  # the pooling that goes with the stride
        if stride < 16:
            model.conv1.stride = (1, 1)
        self.build(features, Pooled(), model.num_features)
