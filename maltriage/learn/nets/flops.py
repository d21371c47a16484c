"""The computational cost of a net."""

from __future__ import annotations

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from maltriage.learn.heat.cam import empty_views
from maltriage.learn.nets.base import Net


def count_flops(net: Net) -> int:
    """Floating-point operations of a forward pass of one image, without its explanation.

    Only matrix products and convolutions count, a multiplication and an addition as two, as in
    `torch.utils.flop_counter`. A teacher within the net counts too.
    """
    device = next(net.parameters()).device
    views = {name: image.to(device) for name, image in empty_views(net.views).items()}
    net.eval()
    with torch.no_grad():
        net(views)  # set-up at the first call does not count
    # Attention as plain products: fused CPU kernels are not counted.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        net(views)
    return int(counter.get_total_flops())
