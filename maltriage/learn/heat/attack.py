"""Chooses appended bytes that a net takes for benign, by its gradient for each byte.

After Kreuk et al. 2018 ("Deceiving end-to-end deep learning malware detectors using adversarial
examples") and Suciu et al. 2019: bytes have no gradient, but their features have. In the body these
are the channels, each a mean over a cell or made of means; in a window, the palette's colours of
the bytes. To first order the effect of a byte's value is a sum over the views that show it, so the
best of 256 values needs no search. `maltriage.assess.verdicts.attack` measures the real effect on
the bytes, plotted anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from threading import Lock

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maltriage.bundle import Bundle
from maltriage.errors import MaltriageError
from maltriage.learn.fit.restore import net_of
from maltriage.learn.nets.base import Net
from maltriage.learn.nets.evidence import WindowTrunk
from maltriage.sample.byteplot import View
from maltriage.sample.geometry import BodyGeometry
from maltriage.sample.views import BODY_CHANNELS, BodySpec

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

_VALUE = np.arange(256, dtype=np.float64)
_FLAGS = {
    "zero": (_VALUE == 0) * 255.0,
    "printable": ((_VALUE >= 0x20) & (_VALUE < 0x7F)) * 255.0,
    "high": (_VALUE >= 0x80) * 255.0,
}
"""Contribution of each byte value to a channel that is a share, times the bytes of the cell."""
LEAST_DEVIATION = 1.0
"""Least standard deviation of a cell, which bounds the slope of its spread."""


def open_gradients(checkpoint: Path, bundle: Bundle) -> Gradients:
    """The gradients of a bundle's net.

    Args:
        checkpoint: the origin of the bundle, a file or the folder of a run (its last
            checkpoint).

    Raises:
        MaltriageError: no checkpoint, a checkpoint of another net, or the bundle has no benign
            label.
    """
    benign = bundle.card.benign
    if benign is None:
        raise MaltriageError(f"{bundle.path}: no benign label, so nothing can be flagged")
    return Gradients(net_of(checkpoint, bundle), benign)


class Gradients:
    """The effect of each value of each byte on a net's margin.

    Args:
        net: in eval mode.
        benign: index of the benign label.
    """

    def __init__(self, net: Net, benign: int) -> None:
        self.net, self.benign = net.requires_grad_(False), benign
        self._lock = Lock()  # hooks see every forward pass of the net

    def __call__(self, views: Mapping[str, View], start: int, end: int) -> tuple[Bytes, Floats]:
        """The values that lower the margin most, to first order.

        Args:
            views: of the sample.
            start, end: file offsets of the bytes that may change, [start, end); all are plotted.

        Returns:
            The best value of each byte, uint8 [end - start], and how much further it lowers the
            margin than the mean of all values, [end - start]. Windows without a palette are
            ignored.
        """
        with self._lock:
            bodies, colours = self._backward(views)
        offsets = np.arange(start, end)
        table, cells = np.zeros((1, 256)), np.zeros(end - start, dtype=np.int64)
        for spec in self.net.views:
            if isinstance(spec, BodySpec):
                table, cells = _body(spec, views[spec.name], bodies[spec.name], offsets)
        values, worth = _best(table)
        best, gain = values[cells], worth[cells]
        # Few bytes are in a window; those have its gradient besides that of their cell.
        at = np.zeros(end - start, dtype=np.bool_)
        spans = []
        for name, gradient in colours.items():
            window = views[name].geometry
            first = window.start
            begin, stop = max(first, start), min(first + window.present, end)
            if begin < stop:
                at[begin - start : stop - start] = True
                spans.append((begin - start, gradient[begin - first : stop - first]))
        inside = np.flatnonzero(at)
        added = table[cells[inside]]
        for begin, rows in spans:
            place = int(inside.searchsorted(begin))
            added[place : place + len(rows)] += rows
        best[inside], gain[inside] = _best(added)
        return best, gain

    def _backward(self, views: Mapping[str, View]) -> tuple[dict[str, Floats], dict[str, Floats]]:
        """Gradient of the margin for pixels of bodies, [C, S, S], and for each byte value in
        windows, [N, 256]."""
        images: dict[str, Tensor] = {}
        seen: dict[str, Tensor] = {}
        hooks = []
        for spec, trunk in zip(self.net.views, _trunks(self.net), strict=True):
            pixels = torch.from_numpy(np.ascontiguousarray(views[spec.name].pixels))[None]
            if spec.picture:
                pixels = pixels.float().requires_grad_()
            images[spec.name] = pixels
            if isinstance(trunk, WindowTrunk):

                def keep(_: object, __: object, out: Tensor, name: str = spec.name) -> Tensor:
                    seen[name] = out.detach().requires_grad_()
                    return seen[name]

                hooks.append(trunk.palette.register_forward_hook(keep))
        try:
            with torch.enable_grad():
                logits = self.net(images)[0]
                others = torch.cat((logits[: self.benign], logits[self.benign + 1 :]))
                (torch.logsumexp(others, 0) - logits[self.benign]).backward()
        finally:
            for hook in hooks:
                hook.remove()
        bodies = {
            name: image.grad[0].double().numpy()
            for name, image in images.items()
            if image.grad is not None
        }
        colours = {}
        for spec, trunk in zip(self.net.views, _trunks(self.net), strict=True):
            grad = seen[spec.name].grad if spec.name in seen else None
            if grad is not None and isinstance(trunk, WindowTrunk):
                palette = trunk.palette.weight.detach()
                colours[spec.name] = (grad[0] @ palette.T).double().numpy()
        return bodies, colours


def _trunks(net: Net) -> list[object]:
    """The trunk of a net for each view, None if it has none of its own."""
    trunks = getattr(net, "trunks", None)
    return [None] * len(net.views) if trunks is None else list(trunks)


def _best(table: Floats) -> tuple[Bytes, Floats]:
    """The value of least contribution to the margin in each row of [n, 256], and its distance
    below the mean of all values: both [n]."""
    best = table.argmin(axis=1)
    return best.astype(np.uint8), table.mean(axis=1) - table[np.arange(len(best)), best]


def _body(
    spec: BodySpec, view: View, gradient: Floats, offsets: npt.NDArray[np.int64]
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Contribution of each byte value to the margin through the body, by cell, [S * S, 256], and
    the cell of each offset. A byte belongs to the cell that holds its first part and counts as
    one of the cell's bytes.
    """
    geometry = view.geometry
    assert isinstance(geometry, BodyGeometry)
    size, planes = spec.size, dict(zip(spec.channels, gradient, strict=True))
    none = np.zeros((size, size))
    pixels = dict(zip(spec.channels, view.pixels.astype(np.float64), strict=True))
    mean = pixels.get("mean", none)
    deviation = np.maximum(pixels.get("spread", none) / 2.0, LEAST_DEVIATION)
    slope = planes.get("spread", none) / deviation
    # spread = 2 sqrt(E[x^2] - E[x]^2), so a value moves it by (x^2 - 2 E[x] x) / deviation.
    linear = planes.get("mean", none) - 2.0 * mean * slope
    table = linear[:, :, None] * _VALUE + slope[:, :, None] * np.square(_VALUE)
    for name in BODY_CHANNELS[2:]:
        if name in planes:
            table += planes[name][:, :, None] * _FLAGS[name]
    row, column = np.divmod(offsets, geometry.width)
    cells = row * size // geometry.rows * size + column * size // geometry.width
    return table.reshape(-1, 256) * (size * size / geometry.plotted), cells
