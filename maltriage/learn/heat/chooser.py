"""A guided net as a module: the choice of its tokens, and the teachers that make it.

`maltriage.learn.heat.guide` defines guides and makes them from teachers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from maltriage.errors import MaltriageError
from maltriage.learn.fit.checkpoint import Guide
from maltriage.learn.heat.cam import ExplainedNet, traced
from maltriage.learn.heat.heatmaps import regrid, shares
from maltriage.learn.nets import make_net
from maltriage.learn.nets.base import Net
from maltriage.learn.nets.camvit import CamViT
from maltriage.sample.views import ViewSpec

_STEPS = 100
"""Scores are rounded to one in so many of a token's mean share. Heat that differs in the last bits
is then equal in PyTorch and ONNX Runtime, and the earlier token goes first. Ties are common:
neighbours share a cell of the teacher, and missing bytes have no heat."""
_FLOOR = 0.05
"""Sum of |heat|, in units of a logit, below which heat is noise (that of an empty file)."""


class Chooser(nn.Module):
    """Scores the tokens of each image by its teachers' heat, int64 [B, tokens].

    No two tokens of an image have the same score. The module is frozen, and in eval mode
    whatever the mode of the net around it.

    Args:
        teachers: nets whose views are all among the student's; put into eval mode.
        views: of the student.
        grids: of the student's tokens, by view, in the order of its tokens.
        cam: `hirescam` or `gradcam`.
    """

    def __init__(
        self,
        teachers: Sequence[Net],
        views: tuple[ViewSpec, ...],
        grids: dict[str, tuple[int, int]],
        cam: str,
    ) -> None:
        super().__init__()
        self.views, self.grids, self.cam = views, grids, cam
        self.explained = nn.ModuleList(ExplainedNet(net, None) for net in teachers)
        self._graphs: list[nn.Module] | None = None
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Chooser:
        return super().train(False)

    def forward(self, views: dict[str, Tensor]) -> Tensor:
        first = next(iter(views.values()))
        unset = torch.full((first.shape[0],), -1, device=first.device)
        scores = []
        with _plain(first.device.type):
            for explained, graph in zip(self.explained, self._as_graphs(), strict=True):
                assert isinstance(explained, ExplainedNet)
                heat = heat_of(explained, self.views, views, unset, self.cam, graph)
                found = shares(heat, positive=False, floor=_FLOOR)
                parts = [
                    regrid(found[name], grid).flatten(1)
                    if name in found
                    else unset.new_zeros(first.shape[0], grid[0] * grid[1], dtype=torch.float32)
                    for name, grid in self.grids.items()
                ]
                scores.append(torch.cat(parts, dim=1))
        total = torch.stack(scores).sum(dim=0)
        count = total.shape[1]
        ranks = (total * (_STEPS * count / len(scores))).round().long()
        return ranks * count - torch.arange(count, device=first.device)

    def _as_graphs(self) -> list[nn.Module]:
        """The teachers with gradients as operators: `predict` and the exporter have no autograd.
        Made at the first call, when the weights are loaded. They share the teachers' weights and
        are not submodules, which would store the weights twice."""
        if self._graphs is None:
            with torch.inference_mode(False):
                self._graphs = [traced(explained) for explained in self.explained]  # type: ignore[arg-type]
        return self._graphs


@contextlib.contextmanager
def _plain(device: str) -> Iterator[None]:
    """Without gradients and in float32, whatever the precision of the net around."""
    with contextlib.ExitStack() as stack:
        # Entered only if needed: the exporter would make a subgraph of each.
        if torch.is_grad_enabled():
            stack.enter_context(torch.no_grad())
        if torch.is_autocast_enabled(device):
            stack.enter_context(torch.autocast(device, enabled=False))
        yield


def heat_of(
    explained: ExplainedNet,
    ours: tuple[ViewSpec, ...],
    images: dict[str, Tensor],
    target: Tensor,
    cam: str,
    graph: nn.Module | None = None,
) -> dict[str, Tensor]:
    """A teacher's signed maps of images, minus those of an empty input.

    Args:
        explained: the teacher.
        ours: the views of the images, which include the teacher's.
        images: by view, uint8 [B, *spec.shape].
        target: label to explain against the mean of all, int64 [B]; -1: the teacher's own.
        cam: `hirescam` or `gradcam`.
        graph: the teacher from `cam.traced`, run in its place.

    Returns:
        By view of the teacher, [B, h, w].
    """
    inputs = []
    own = {spec.name: spec for spec in ours}
    for view in explained.net.views:
        image = images[view.name]
        if view != own[view.name]:
            image = image[:, own[view.name].picks(view)]
        inputs.append(image)
    threshold = torch.full_like(target, torch.inf, dtype=torch.float32)
    outputs = (graph or explained)(*inputs, target, torch.full_like(target, -1), threshold)
    found = dict(zip(explained.output_names, outputs, strict=True))
    maps = {}
    for view in explained.net.views:
        heat = found[f"heat_{view.name}"]
        # Both maps are the same if the net is linear behind the mean over its cells.
        maps[view.name] = found.get(f"gradcam_{view.name}", heat) if cam == "gradcam" else heat
    return maps


def guided(net: Net, guide: Guide, teachers: Sequence[Net] | None = None) -> Net:
    """Restrict a net to the tokens of its guide.

    Args:
        net: a `camvit`; changed.
        guide: of the run.
        teachers: for `instance`; None: fresh nets, whose weights are loaded later.

    Raises:
        MaltriageError: the guide is of another net.
    """
    if not isinstance(net, CamViT):
        raise MaltriageError("--guide goes with --net camvit")
    try:
        if guide.kind != "instance":
            net.restrict(_flat(guide, net))
            return net
        if not 0 < guide.tokens <= net.tokens:
            raise ValueError(f"{guide.tokens:,} tokens of {net.tokens:,}")
    except ValueError as error:
        raise MaltriageError(f"a guide that does not fit its net: {error}") from error
    if teachers is None:
        labels = net.classifier.out_features
        teachers = [make_net(t.net, t.views, labels, t.clean) for t in guide.teachers]
    net.choose_by(Chooser(teachers, net.views, net.grids, str(guide.cam)), guide.tokens)
    return net


def _flat(guide: Guide, net: CamViT) -> list[int]:
    """The kept tokens, numbered over all views in the net's order."""
    start, kept = 0, []
    for view, count in zip(net.views, net.counts, strict=True):
        kept += [start + number for number in guide.kept.get(view.name, ())]
        start += count
    return kept
