"""Net `densenet`: DenseNet-121, additive.

Hemalatha, Roseline, Geetha, Kadry and Damasevicius 2021, "An efficient DenseNet-based deep
learning model for malware detection", Entropy 23(3):344. DenseNet is that of Huang et al. 2017,
arXiv 1608.06993.

    layer         as published                              here at 64 x 64
    input         byteplot                                  64 x 64, one channel
    stem          conv 7 x 7 by 2, max-pool 3 by 2          64 x 16 x 16
    block 1       6 layers; transition, mean-pool 2         256, then 128 x 8 x 8
    block 2       12 layers; transition, mean-pool 2        512, then 256 x 8 x 8, no pooling
    block 3       24 layers; transition, mean-pool 2        1024, then 512 x 8 x 8, no pooling
    block 4       16 layers; batch norm, ReLU               1024 x 8 x 8 (the map)
    pooling       mean over the cells
    output        one per family, softmax
    loss          cross-entropy, reweighted for the balance of classes

Known from the abstract: DenseNet, pretrained, with a class-balanced loss in the last layer. The
abstract leaves open: which DenseNet (121 is used), the weights of the classes, the optimiser.

It ends in the mean over cells and one linear layer, so logits are a sum over cells and heat sums
to the score. A cell sees far more than its own pixels, so the sum is exact, the location is not.

What differs: below 256 pixels the poolings of transitions 3 and 2 are left out, so that the map
has 8 x 8 cells. The loss is that of this package's loop: weights of one over the square root of
a class's count, and AdamW, one cycle to 1e-3. Without `--pretrained` the training starts from
random weights.
"""

from __future__ import annotations

from torch import nn

from maltriage.learn.nets.byteplot import Backbone, ByteplotNet, Pooled, stride_for
from maltriage.sample.views import ViewSpec

STRIDE = 32


class DenseNet(ByteplotNet):
    """The net `densenet`; 7.0 M parameters with 14 labels."""

    additive = True
    target_layer = "features"

    def __init__(self, views: tuple[ViewSpec, ...], labels: int) -> None:
        super().__init__(views, labels)
        features = Backbone("densenet121", self.spec.shape[0])
        layers = features.model.features
        stride = stride_for(self.spec.shape[-1], STRIDE)
        if stride < 32:
            layers.transition3.pool = nn.Identity()
        if stride < 16:
            layers.transition2.pool = nn.Identity()
        self.build(features, Pooled(), features.model.num_features)
