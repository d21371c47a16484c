"""Net `mcft`: ResNet-50 with a fully connected layer.

Sudhakar and Kumar 2021, "MCFT-CNN: Malware classification with fine-tune convolution neural
networks using traditional and transfer learning in Internet of Things", Future Generation
Computer Systems 125. ResNet-50 is that of He et al. 2016, arXiv 1512.03385.

    layer      as published                            here at 64 x 64
    input      224 x 224, byteplot                     64 x 64, one channel
    stem       conv 7 x 7 by 2, max-pool 3 by 2        64 x 16 x 16
    stage 1    3 bottlenecks, 256                      256 x 16 x 16
    stage 2    4 bottlenecks by 2, 512                 512 x 8 x 8
    stage 3    6 bottlenecks by 2, 1024                1024 x 8 x 8, dilated by 2
    stage 4    3 bottlenecks by 2, 2048                2048 x 8 x 8 (the map), dilated by 4
    pooling    mean over the cells
    dense      1024, ReLU
    output     one per family, softmax
    training   from ImageNet weights

Known from the abstract: ResNet-50 from ImageNet, its last layer replaced by a dense layer before
the softmax. The abstract leaves open: the optimiser, dropout (none is used). The pooling comes
first, so the gradient is the same in all cells and HiResCAM equals Grad-CAM. Because of the dense
layer's ReLU the net is not additive.

What differs: below 256 pixels the strides of stages 4 and 3 become dilations (timm's
`output_stride`), so that the map has 8 x 8 cells. Without `--pretrained` the training starts from
random weights. The optimiser is that of this package's loop (AdamW, one cycle to 1e-3).
"""

from __future__ import annotations

from torch import nn

from maltriage.learn.nets.byteplot import Backbone, ByteplotNet, Pooled, stride_for
from maltriage.sample.views import ViewSpec

DENSE = 1024
STRIDE = 32


class Mcft(ByteplotNet):
    """The net `mcft`; 26 M parameters with 14 labels."""

    additive = False
    target_layer = "features"

    def __init__(self, views: tuple[ViewSpec, ...], labels: int) -> None:
        super().__init__(views, labels)
        stride = stride_for(self.spec.shape[-1], STRIDE)
        features = Backbone("resnet50", self.spec.shape[0], output_stride=stride)
        dense = nn.Linear(features.model.num_features, DENSE)
        self.build(features, Pooled(nn.Sequential(dense, nn.ReLU())), DENSE)
