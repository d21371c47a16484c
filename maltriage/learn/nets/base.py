"""The interface of a net to training, explanation and export."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from maltriage.sample.views import ViewSpec


class Net(nn.Module):
    """A net from the images of a sample to logits, cut at the layer that is explained.

    `forward(views) = joined(classifier(embed(activations(views))))`. Views are uint8 images by
    name, [B, *spec.shape]; the net scales them.
    """

    views: tuple[ViewSpec, ...]
    additive: bool
    """True if `embed` concatenates the mean over the cells of each view, so that the logits
    are a sum over cells."""
    target_layer: str
    """Name of the layer whose activations are explained."""
    clean: int | None = None
    """The label of clean files, in a net that asks two questions: whether a file is malware, and
    of which family. None: it asks one."""

    @property
    def classifier(self) -> nn.Linear:
        """The last layer, from the embedding [B, D] to scores [B, K], see `joined`."""
        raise NotImplementedError

    @property
    def backbone(self) -> nn.Module | None:
        """The part with published weights, a model of timm; None: there is none."""
        return None

    def begin(self, views: dict[str, Tensor], labels: Tensor, weights: Tensor) -> None:
        """Fit the parts that are not learned in steps, from all training samples at once.

        Args:
            views: images of the views that are `fixed`, by name.
            labels: int64 [n].
            weights: of the samples, [n].
        """

    def bound_words(self, most: float | None) -> None:
        """Bound what the words of a file say for it being clean, in a net that reads words.

        Args:
            most: log odds, all such words together; None: there is no bound.
        """

    def votes(self, embedding: Tensor) -> Tensor:
        """Logits that each enter the training loss, [B, V, K]; one vote by default."""
        return torch.as_tensor(self.classifier(embedding)).unsqueeze(1)

    def joined(self, scores: Tensor) -> Tensor:
        """Logits from the scores of the classifier, [..., K].

        With two questions the score of clean files is their log odds against malware, and those
        of the families are compared with each other only. Their logits are such that softmax gives
        the product of both answers: the logarithm of the sum of the exponentials of all others,
        less that of clean files, is the log odds of malware.
        """
        if self.clean is None:
            return scores
        families = torch.cat((scores[..., : self.clean], scores[..., self.clean + 1 :]), dim=-1)
        malware = torch.logsumexp(families, dim=-1, keepdim=True)
        parts = (
            scores[..., : self.clean],
            malware + scores[..., self.clean : self.clean + 1],
            scores[..., self.clean + 1 :],
        )
        return torch.cat(parts, dim=-1)

    @property
    def unpooled(self) -> tuple[str, ...]:
        """Views in which `embed` does not begin with the mean over the cells.

        In these the gradient differs from cell to cell, and Grad-CAM differs from HiResCAM.
        """
        return () if self.additive else tuple(view.name for view in self.views)

    def activations(self, views: dict[str, Tensor]) -> dict[str, Tensor]:
        """Activations of the target layer by view, [B, C, h, w] (windows: h = 1).

        Other inputs of `embed` (a skip connection, say) may be added under names that are no
        views; they are not explained.
        """
        raise NotImplementedError

    def seen(self, activations: dict[str, Tensor]) -> dict[str, Tensor]:
        """The cells used in each image by view, 1 or 0, [B, h, w], if they differ by image.

        Unused cells have no heat, whatever an empty input has there.
        """
        return {}

    def embed(self, activations: dict[str, Tensor]) -> Tensor:
        """Features of the whole sample, [B, D]; in training, with dropout.

        A net that is not additive is explained by the gradient of this function.
        """
        raise NotImplementedError

    def receptive_field_bytes(self) -> dict[str, int]:
        """Receptive field of a window's cell in bytes, by window."""
        raise NotImplementedError

    def forward(self, views: dict[str, Tensor]) -> Tensor:
        return self.joined(self.classifier(self.embed(self.activations(views))))
