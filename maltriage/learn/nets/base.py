"""What training, explanation and export ask of a net."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from maltriage.sample.views import ViewSpec


class Net(nn.Module):
    """A net from the images of a sample to logits, cut at the layer that is explained.

    `forward(views) = classifier(embed(activations(views)))`. Views are uint8 images by
    name, [B, *spec.shape]; scaling them is the net's business.
    """

    views: tuple[ViewSpec, ...]
    additive: bool
    """Whether `embed` is the mean over the cells of each view, one after the other, so
    that the logits are a sum over cells."""
    target_layer: str
    """Name of the layer whose activations are explained."""

    @property
    def classifier(self) -> nn.Linear:
        """The last layer, from the embedding [B, D] to logits [B, K]."""
        raise NotImplementedError

    @property
    def backbone(self) -> nn.Module | None:
        """The part that has published weights, a model of timm; None: there is none."""
        return None

    def begin(self, views: dict[str, Tensor], labels: Tensor, weights: Tensor) -> None:
        """Set what is not learned in steps, from all training samples at once.

        Args:
            views: images of fixed windows by name.
            labels: int64 [n].
            weights: of the samples, [n].
        """

    def votes(self, embedding: Tensor) -> Tensor:
        """Logits that are each to be right in training, [B, V, K]; one vote by default."""
        return torch.as_tensor(self.classifier(embedding)).unsqueeze(1)

    @property
    def unpooled(self) -> tuple[str, ...]:
        """Views with whose cells `embed` does more than take their mean first.

        There the gradient differs from cell to cell, and Grad-CAM is another map than
        HiResCAM.
        """
        return () if self.additive else tuple(view.name for view in self.views)

    def activations(self, views: dict[str, Tensor]) -> dict[str, Tensor]:
        """Activations of the target layer by view, [B, C, h, w] (windows: h = 1).

        What else `embed` needs of a sample (beside the layer, say) may be in it under
        names that are no views; it is not explained.
        """
        raise NotImplementedError

    def seen(self, activations: dict[str, Tensor]) -> dict[str, Tensor]:
        """Of a net that looks at other cells of each image, by view: 1 on those, [B, h, w].

        The others have no heat, whatever an empty input has there.
        """
        return {}

    def embed(self, activations: dict[str, Tensor]) -> Tensor:
        """Features of the whole sample, [B, D]; in training, with dropout.

        The explanation of a net that is not additive is the gradient of this.
        """
        raise NotImplementedError

    def receptive_field_bytes(self) -> dict[str, int]:
        """How many bytes in a row one cell of a window sees, by window."""
        raise NotImplementedError

    def forward(self, views: dict[str, Tensor]) -> Tensor:
        logits: Tensor = self.classifier(self.embed(self.activations(views)))
        return logits
