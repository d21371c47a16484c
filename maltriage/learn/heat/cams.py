"""Methods of pytorch-grad-cam on a trained net, view by view: maps that a bundle does not have.

They need the net itself, and so a checkpoint. The maps are taken before the library clips and
stretches them for display, so sign and scale are kept.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from maltriage.bundle import Bundle
from maltriage.learn.fit.restore import net_of
from maltriage.learn.nets.base import Net
from maltriage.report.documents.methods import known
from maltriage.sample.byteplot import View
from maltriage.sample.views import ViewSpec

Maps = dict[str, npt.NDArray[np.float32]]


def open_maps(
    checkpoint: Path, bundle: Bundle, methods: Sequence[str]
) -> dict[str, CheckpointMaps]:
    """The methods by name, ready to explain the verdicts of a bundle.

    Args:
        checkpoint: the origin of the bundle, a file or the folder of a run (its last
            checkpoint).
        methods: of `FROM_CHECKPOINT` in `maltriage.report.documents.methods`.

    Raises:
        MaltriageError: no checkpoint, or a checkpoint of another net.
    """
    net = net_of(checkpoint, bundle)
    return {name: known(name).load()(net) for name in methods}


class CheckpointMaps:
    """Maps of one method.

    Args:
        net: in eval mode.
        method: name of its class in pytorch-grad-cam.
        signed: the maps have a sign. A singular vector has none: its largest entry is taken as
            positive.
    """

    def __init__(self, net: Net, method: str, *, signed: bool = True) -> None:
        self.net, self.method, self.signed = net, method, signed

    def __call__(self, views: Mapping[str, View], label: int, against: int | None) -> Maps:
        """The map of a sample by view, [h, w] (windows: h = 1).

        Args:
            views: of the sample.
            label: the label to explain.
            against: the label to explain it against; None: the mean of all.
        """
        images = {
            name: torch.from_numpy(np.ascontiguousarray(view.pixels))[None]
            for name, view in views.items()
        }
        return {
            view.name: self._map(_Cut(self.net, view, images), label, against)
            for view in self.net.views
        }

    def _map(self, cut: _Cut, label: int, against: int | None) -> npt.NDArray[np.float32]:
        import pytorch_grad_cam

        clean = self.net.clean

        def score(scores: Tensor) -> Tensor:
            if clean is not None and clean in (label, against):  # see `Net.joined`
                return scores[clean] if label == clean else -scores[clean]
            families = torch.arange(len(scores)) != (-1 if clean is None else clean)
            return scores[label] - (scores[families].mean() if against is None else scores[against])

        made = getattr(pytorch_grad_cam, self.method)
        with made(model=cut, target_layers=[cut.activation]) as cam:
            image = cut.image.requires_grad_()
            with torch.enable_grad():
                logits = cam.activations_and_grads(image)
                if cam.uses_gradients:
                    score(logits[0]).backward()
            seen = cam.activations_and_grads
            activation = seen.activations[0].numpy()
            gradient = seen.gradients[0].numpy() if seen.gradients else np.zeros_like(activation)
            with contextlib.redirect_stderr(io.StringIO()):  # a progress bar for each view
                found = cam.get_cam_image(
                    image.detach(), cut.activation, [score], activation, gradient, False
                )
        grid = np.asarray(found[0], dtype=np.float32)
        flipped = not self.signed and -grid.min() > grid.max()
        return -grid if flipped else grid


gradcam_plus_plus = partial(CheckpointMaps, method="GradCAMPlusPlus")
layercam = partial(CheckpointMaps, method="LayerCAM")
eigencam = partial(CheckpointMaps, method="EigenCAM", signed=False)
scorecam = partial(CheckpointMaps, method="ScoreCAM")


class _Cut(nn.Module):
    """A net as a function of one view's image, with a layer whose output is the activation.

    Args:
        images: of one sample by view, uint8 [1, *spec.shape].

    The image is float: the body itself, [n, C, S, S], or the presence of a window's bytes,
    [n, 1, 1, N]. So a method that fades parts of the image makes bytes of a window fade; half of
    a byte's value would be another byte.
    """

    def __init__(self, net: Net, view: ViewSpec, images: dict[str, Tensor]) -> None:
        super().__init__()
        self.net, self.view, self.images = net, view, images
        self.activation = nn.Identity()

    @property
    def image(self) -> Tensor:
        """The image of the sample, n = 1."""
        own = self.images[self.view.name].float()
        return own[:, None, 1:] if self.view.along else own

    def forward(self, image: Tensor) -> Any:
        count, name = len(image), self.view.name
        views = {
            other: pixels.expand(count, *pixels.shape[1:]) for other, pixels in self.images.items()
        }
        if self.view.along:
            views[name] = torch.stack([views[name][:, 0].float(), image[:, 0, 0]], dim=1)
        else:
            views[name] = image
        found = dict(self.net.activations(views))
        found[name] = self.activation(found[name])
        return self.net.classifier(self.net.embed(found))
