"""What one image costs a net."""

from __future__ import annotations

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from maltriage.learn.heat.cam import empty_views
from maltriage.learn.nets.base import Net


def count_flops(net: Net) -> int:
    """Floating-point operations of a forward pass of one image, without its explanation.

    Of matrix products and convolutions alone, a multiplication and an addition counting as
    two, as `torch.utils.flop_counter` has them. A teacher within the net counts too.
    """
    device = next(net.parameters()).device
    views = {name: image.to(device) for name, image in empty_views(net.views).items()}
    net.eval()
    with torch.no_grad():
        net(views)  # what a net makes at its first call is no part of the cost
    # Attention as plain products: the fused kernel of a processor is not counted.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        net(views)
    return int(counter.get_total_flops())
