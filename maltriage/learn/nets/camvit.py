"""Net `camvit`: a small vision transformer over patches of all views, optionally guided.

The blocks of a timm `VisionTransformer` (Dosovitskiy et al. 2021, arXiv 2010.11929) of 128
features, 6 blocks and 4 heads, without a class token: the mean over the tokens, a layer norm and
one linear layer. A token is a patch of the body, 8 x 8 cells, or 128 bytes in a row of a window
(8 of a header) through a palette; it has an embedding of its view and one of its position.
Trained from scratch.

The paper behind maltriage (Brosolo et al. 2025, arXiv 2503.02441) masks the images that a vision
transformer sees by cumulative heat maps of CNNs. Here tokens are left out instead of blackened:
`restrict` leaves out the same tokens of every image, `choose_by` different ones of each. They are
not computed and have no heat. `weigh_by` keeps all, and makes those louder that speak for a label.
See `maltriage.learn.heat.guide` for the choice.

The target layer is the input of the last attention, `blocks[-1].norm1`. Attention is not
additive: heat does not sum to the score, and a cell has seen every byte kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor, nn

from maltriage.errors import MaltriageError
from maltriage.learn.nets.base import Net
from maltriage.sample.views import ViewSpec
from maltriage.version import install_extra

EMBED, DEPTH, HEADS = 128, 6, 4
PALETTE = 8
DROPOUT = 0.1
BODY_PATCH = 8
WINDOW_PATCH, HEADER_PATCH = 128, 8
BESIDE, KEPT = "beside", "kept"
"""Further names in `CamViT.activations`: the residual stream that the target layer is added to,
[B, k, D], and, if tokens are chosen for each image, their numbers, [B, k]."""


def grid_of(view: ViewSpec) -> tuple[int, int]:
    """Number of tokens of a view in rows and columns (windows: one row)."""
    rows = 1 if view.along else view.shape[-2] // BODY_PATCH
    return rows, view.shape[-1] // _step(view)


def _step(view: ViewSpec) -> int:
    if not view.along:
        return BODY_PATCH
    return HEADER_PATCH if view.fixed else WINDOW_PATCH


class BodyPatches(nn.Module):
    """The body, uint8 [B, C, S, S], to embedded patches, [B, n, 128]."""

    def __init__(self, spec: ViewSpec) -> None:
        super().__init__()
        self.embed = nn.Linear(spec.shape[0] * BODY_PATCH**2, EMBED)

    def forward(self, body: Tensor, kept: Tensor | None) -> Tensor:
        count, channels, size, _ = body.shape
        side = size // BODY_PATCH
        cut = body.reshape(count, channels, side, BODY_PATCH, side, BODY_PATCH)
        cut = cut.permute(0, 2, 4, 1, 3, 5).reshape(count, side * side, -1)
        if kept is not None:
            cut = cut[:, kept]
        return torch.as_tensor(self.embed(cut.float() / 127.5 - 1.0))


class WindowPatches(nn.Module):
    """A window, uint8 [B, 2, N], to embedded patches, [B, n, 128].

    Bytes go through a learned palette and are multiplied by their presence.
    """

    def __init__(self, spec: ViewSpec) -> None:
        super().__init__()
        self.step = _step(spec)
        self.palette = nn.Embedding(256, PALETTE)
        self.embed = nn.Linear(self.step * PALETTE, EMBED)

    def forward(self, window: Tensor, kept: Tensor | None) -> Tensor:
        cut = window.reshape(window.shape[0], 2, -1, self.step)
        if kept is not None:
            cut = cut[:, :, kept]
        colours = self.palette(cut[:, 0].int()) * cut[:, 1, ..., None].float()
        return torch.as_tensor(self.embed(colours.flatten(2)))


class CamViT(Net):
    """The net `camvit` for any choice of views; 1.3 M parameters for the default ones."""

    additive = False
    target_layer = f"blocks.{DEPTH - 1}.norm1"
    kept: Tensor

    def __init__(self, views: tuple[ViewSpec, ...], labels: int) -> None:
        super().__init__()
        self.views = views
        for view in views:
            step = _step(view)
            if view.shape[-1] % step:
                raise MaltriageError(f"camvit cuts {view.name} into patches of {step}")
        self.grids = {view.name: grid_of(view) for view in views}
        self.counts = [math.prod(grid) for grid in self.grids.values()]
        self.tokens = sum(self.counts)
        made = _transformer()
        self.blocks, self.norm = made.blocks, made.fc_norm
        # Without the fused kernel, whose gradient no ONNX operator gives.
        self.blocks[-1].attn.fused_attn = False
        self.patches = nn.ModuleList(
            WindowPatches(view) if view.along else BodyPatches(view) for view in views
        )
        self.view_embedding = nn.Parameter(torch.zeros(len(views), EMBED))
        self.place_embedding = nn.Parameter(torch.zeros(self.tokens, EMBED))
        self.dropout = nn.Dropout(DROPOUT)
        self.head = nn.Linear(EMBED, labels)
        for parameter in (self.view_embedding, self.place_embedding, self.head.weight):
            nn.init.trunc_normal_(parameter, std=0.02)
        nn.init.zeros_(self.head.bias)
        self.chooser: nn.Module | None = None
        self.weighs = False
        self.choice = self.tokens
        self._lent: tuple[nn.Module, int] | None = None
        self.fixed: list[int] | None = None

    def restrict(self, kept: Sequence[int]) -> None:
        """Use only these tokens of every image: numbers over all views in order."""
        if not kept or len(set(kept)) != len(kept) or not 0 <= min(kept) <= max(kept) < self.tokens:
            raise ValueError("tokens to keep must exist, each once")
        self.register_buffer("kept", torch.tensor(sorted(kept)))
        edges = pairwise([0, *accumulate(self.counts)])
        self.fixed = [sum(low <= token < high for token in kept) for low, high in edges]

    def choose_by(self, chooser: nn.Module, count: int) -> None:
        """Use the `count` tokens of each image with the highest scores, [B, tokens], which
        `chooser` computes from the images by view."""
        self.chooser, self.choice = chooser, count

    def weigh_by(self, chooser: nn.Module) -> None:
        """Multiply the tokens of each image by weights from 0 to 2, 1 for one without heat.

        Args:
            chooser: its `heat(views)` is that of the tokens as signed shares, [B, tokens].
        """
        self.chooser, self.weighs = chooser, True

    def lend(self, chooser: nn.Module | None, count: int = 0) -> None:
        """Choose tokens as by `choose_by` until the next call, with a module that is no part of
        this net; None: use all."""
        self._lent = None if chooser is None else (chooser, count)

    def attention(self, activations: dict[str, Tensor]) -> Tensor:
        """The part of the last attention that each token gets, [B, tokens]: the mean over the
        heads and over the tokens that attend. Of a net that uses all tokens."""
        normed = self._normed(activations)
        attend = self.blocks[-1].attn
        count, tokens, _ = normed.shape
        parts = attend.qkv(normed).reshape(count, tokens, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        query, key = attend.q_norm(parts[0]), attend.k_norm(parts[1])
        weights = (query * attend.scale @ key.transpose(-2, -1)).softmax(dim=-1)
        return torch.as_tensor(weights.mean(dim=(1, 2)))

    @property
    def classifier(self) -> nn.Linear:
        return self.head

    def activations(self, views: dict[str, Tensor]) -> dict[str, Tensor]:
        x, chosen = self._look(views)
        # In bfloat16 a CPU takes a third longer for PyTorch's fused attention than for its parts.
        slow = x.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        for block in self.blocks[:-1]:
            block.attn.fused_attn = not slow
            x = block(x)
        normed = self.blocks[-1].norm1(x)
        index = chosen
        if self.fixed is not None:
            index = self.kept.expand(x.shape[0], -1)
        if index is not None:
            whole = normed.new_zeros(normed.shape[0], self.tokens, EMBED)
            normed = whole.scatter(1, _wide(index), normed)
        parts = normed.transpose(1, 2).split(self.counts, dim=2)
        found = {
            name: part.reshape(part.shape[0], EMBED, *grid)
            for (name, grid), part in zip(self.grids.items(), parts, strict=True)
        }
        found[BESIDE] = x
        if chosen is not None:
            found[KEPT] = chosen
        return found

    def _look(self, views: dict[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """The computed tokens, [B, k, D], and the numbers of those chosen by image, [B, k]."""
        places = self.place_embedding.split(self.counts)
        if self.fixed is not None:
            kept, start, parts = self.kept.split(self.fixed), 0, []
            for number, view in enumerate(self.views):
                if self.fixed[number]:
                    at = kept[number] - start
                    part = self.patches[number](views[view.name], at)
                    parts.append(part + self.view_embedding[number] + places[number][at])
                start += self.counts[number]
            return torch.cat(parts, dim=1), None
        tokens = torch.cat(
            [
                patches(views[view.name], None) + self.view_embedding[number] + places[number]
                for number, (view, patches) in enumerate(zip(self.views, self.patches, strict=True))
            ],
            dim=1,
        )
        if self.weighs:
            heat = self.chooser.heat(views)  # type: ignore[union-attr, operator]
            return tokens * (2.0 * (heat * self.tokens).sigmoid()).unsqueeze(2), None
        chooser, choice = self._lent or (self.chooser, self.choice)
        if chooser is None:
            return tokens, None
        chosen = chooser(views).topk(choice, dim=1).indices
        return tokens.gather(1, _wide(chosen)), chosen

    def embed(self, activations: dict[str, Tensor]) -> Tensor:
        normed = self._normed(activations)
        x = activations[BESIDE]
        if self.fixed is not None:
            normed = normed.gather(1, _wide(self.kept.expand(x.shape[0], -1)))
        elif KEPT in activations:
            normed = normed.gather(1, _wide(activations[KEPT]))
        last = self.blocks[-1]
        x = x + last.attn(normed)
        x = x + last.mlp(last.norm2(x))
        out: Tensor = self.dropout(self.norm(x.mean(dim=1)))
        return out

    def _normed(self, activations: dict[str, Tensor]) -> Tensor:
        """The input of the last attention, [B, tokens, D]."""
        parts = [activations[view.name].flatten(2) for view in self.views]
        return torch.cat(parts, dim=2).transpose(1, 2)

    def seen(self, activations: dict[str, Tensor]) -> dict[str, Tensor]:
        if KEPT not in activations:  # tokens never kept are zero on an empty input too
            return {}
        kept = activations[KEPT]
        seen = activations[BESIDE].new_zeros(kept.shape[0], self.tokens).scatter(1, kept, 1.0)
        return {
            name: part.reshape(-1, *grid)
            for (name, grid), part in zip(
                self.grids.items(), seen.split(self.counts, dim=1), strict=True
            )
        }

    def receptive_field_bytes(self) -> dict[str, int]:
        """Attention: every cell has seen the whole window (and the other views)."""
        return {view.name: view.shape[-1] for view in self.views if view.along}


def _wide(index: Tensor) -> Tensor:
    """Expand token numbers, [B, k], to all features: [B, k, D]."""
    return index.unsqueeze(2).expand(-1, -1, EMBED)


def _transformer() -> Any:
    try:
        from timm.models.vision_transformer import VisionTransformer
    except ImportError as error:
        raise MaltriageError(f"the net camvit needs timm: {install_extra('train')}") from error
    return VisionTransformer(
        img_size=BODY_PATCH,
        patch_size=BODY_PATCH,
        in_chans=1,
        num_classes=0,
        global_pool="avg",
        embed_dim=EMBED,
        depth=DEPTH,
        num_heads=HEADS,
        class_token=False,
        pos_embed="none",
    )
