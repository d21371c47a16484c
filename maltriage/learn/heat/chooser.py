"""A guided net as a module: which tokens it looks at, and the teachers that say so.

What a guide is, and how one is made from teachers, is told in `maltriage.learn.heat.guide`.
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
"""Steps that scores are rounded to, in the mean share of a token. Heat that is the same to the
last bits is then the same in PyTorch and ONNX Runtime, and the earlier token goes first:
neighbours share a cell of the teacher's, and what is no byte has no heat at all."""
_FLOOR = 0.05
"""Sum of |heat|, in units of a logit, that no choice should hang on: an empty file's is noise."""


class Chooser(nn.Module):
    """Scores of the tokens of each image by what its teachers see in it, int64 [B, tokens].

    No two tokens of an image have the same score.

    Frozen, and in eval mode whatever the net around it is in.

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
        """The teachers with their gradients written out: `predict` and the exporter know no
        autograd. Made at the first call, when the weights are those of the teachers; they
        share them, and are no modules of this one, whose weights would be there twice."""
        if self._graphs is None:
            with torch.inference_mode(False):
                self._graphs = [traced(explained) for explained in self.explained]  # type: ignore[arg-type]
        return self._graphs


@contextlib.contextmanager
def _plain(device: str) -> Iterator[None]:
    """Without gradients and in float32, whatever the net around is computed in."""
    with contextlib.ExitStack() as stack:
        # Not entered for nothing: the exporter would make a graph of its own of each.
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
    """A teacher's maps of images, signed, less those of an empty input.

    Args:
        explained: the teacher.
        ours: the views that the images are of, among them all of the teacher's.
        images: by view, uint8 [B, *spec.shape].
        target: label to explain against the mean of all, int64 [B]; -1: the teacher's own.
        cam: `hirescam` or `gradcam`.
        graph: the teacher as `cam.traced` gives it, to be run in its place.

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
        # Where a net is linear behind the mean over its cells both are the same map.
        maps[view.name] = found.get(f"gradcam_{view.name}", heat) if cam == "gradcam" else heat
    return maps


def guided(net: Net, guide: Guide, teachers: Sequence[Net] | None = None) -> Net:
    """A net that looks where its guide says.

    Args:
        net: a `camvit`; changed.
        guide: of the run.
        teachers: for `instance`; None: nets of their kind, whose weights are to be loaded.
    """
    if not isinstance(net, CamViT):
        raise MaltriageError("--guide goes with --net camvit")
    if guide.kind != "instance":
        net.restrict(_flat(guide, net))
        return net
    if teachers is None:
        labels = net.classifier.out_features
        teachers = [make_net(t.net, t.views, labels) for t in guide.teachers]
    net.choose_by(Chooser(teachers, net.views, net.grids, str(guide.cam)), guide.tokens)
    return net


def _flat(guide: Guide, net: CamViT) -> list[int]:
    """The tokens kept, numbered over all views in the net's order."""
    start, kept = 0, []
    for view, count in zip(net.views, net.counts, strict=True):
        kept += [start + number for number in guide.kept.get(view.name, ())]
        start += count
    return kept
