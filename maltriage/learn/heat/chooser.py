"""A guided net as a module: the choice or weight of its tokens, and the teachers that make it.

`maltriage.learn.heat.guide` defines guides and makes them from teachers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

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

BY_LABEL = frozenset({"label", "label-random"})
"""Guides that have tokens for each label."""
INSIDE = frozenset({"instance", "weighted"}) | BY_LABEL
"""Guides whose teachers are part of the net."""
TAUGHT = frozenset({"early", "attention"})
"""Guides of the training alone: see `maltriage.learn.heat.tutor`. Their net is the plain one."""

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

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Chooser:
        self._graphs = None  # they have constants where these were, and do not move along
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def forward(self, views: dict[str, Tensor]) -> Tensor:
        heat = self.heat(views)
        count = heat.shape[1]
        ranks = (heat * (_STEPS * count)).round().long()
        return ranks * count - torch.arange(count, device=heat.device)

    def heat(self, views: dict[str, Tensor], *, positive: bool = False) -> Tensor:
        """Mean over the teachers of their heat on the tokens of each image, as shares of the
        image, [B, tokens].

        Args:
            positive: only heat that speaks for the teacher's own label.
        """
        first = next(iter(views.values()))
        scores = []
        with _plain(first.device.type):
            for answer in self._answers(views):
                found = shares(_maps(answer, self.cam), positive=positive, floor=_FLOOR)
                parts = [
                    regrid(found[name], grid).flatten(1)
                    if name in found
                    else first.new_zeros(first.shape[0], grid[0] * grid[1], dtype=torch.float32)
                    for name, grid in self.grids.items()
                ]
                scores.append(torch.cat(parts, dim=1))
        return torch.stack(scores).mean(dim=0)

    def _answers(self, views: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
        """What each teacher says of its own label."""
        first = next(iter(views.values()))
        unset = torch.full((first.shape[0],), -1, device=first.device)
        for explained, graph in zip(self.explained, self._as_graphs(), strict=True):
            assert isinstance(explained, ExplainedNet)
            yield _answer(explained, self.views, views, unset, graph)

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
) -> dict[str, Tensor]:
    """A teacher's signed maps of images, minus those of an empty input.

    Args:
        explained: the teacher.
        ours: the views of the images, which include the teacher's.
        images: by view, uint8 [B, *spec.shape].
        target: label to explain against the mean of all, int64 [B]; -1: the teacher's own.
        cam: `hirescam` or `gradcam`.

    Returns:
        By view of the teacher, [B, h, w].
    """
    return _maps(_answer(explained, ours, images, target, explained), cam)


def _maps(answer: dict[str, Tensor], cam: str) -> dict[str, Tensor]:
    """The maps in an answer, by view of the teacher, [B, h, w]."""
    heat = {n.removeprefix("heat_"): out for n, out in answer.items() if n.startswith("heat_")}
    if cam == "hirescam":
        return heat
    # Both maps are the same if the net is linear behind the mean over its cells.
    return {name: answer.get(f"gradcam_{name}", out) for name, out in heat.items()}


def _answer(
    explained: ExplainedNet,
    ours: tuple[ViewSpec, ...],
    images: dict[str, Tensor],
    target: Tensor,
    graph: nn.Module,
) -> dict[str, Tensor]:
    """All outputs of a teacher by name. Arguments as of `heat_of`.

    Args:
        graph: the teacher, or what `cam.traced` made of it.
    """
    inputs = []
    own = {spec.name: spec for spec in ours}
    for view in explained.net.views:
        image = images[view.name]
        if view != own[view.name]:
            image = image[:, own[view.name].picks(view)]
        inputs.append(image)
    threshold = torch.full_like(target, torch.inf, dtype=torch.float32)
    outputs = graph(*inputs, target, torch.full_like(target, -1), threshold)
    return dict(zip(explained.output_names, outputs, strict=True))


class LabelChooser(Chooser):
    """Scores the tokens of each image by the label that its teachers give it, int64 [B, tokens].

    Args:
        kept: the tokens of each label, the same number for all.
    """

    kept: Tensor

    def __init__(
        self,
        teachers: Sequence[Net],
        views: tuple[ViewSpec, ...],
        grids: dict[str, tuple[int, int]],
        kept: Sequence[Sequence[int]],
    ) -> None:
        super().__init__(teachers, views, grids, "hirescam")
        self.tokens = sum(rows * columns for rows, columns in grids.values())
        self.register_buffer("kept", torch.tensor(kept), persistent=False)

    def forward(self, views: dict[str, Tensor]) -> Tensor:
        with _plain(self.kept.device.type):
            said = [answer["logits"] for answer in self._answers(views)]
            kept = self.kept[torch.stack(said).sum(dim=0).argmax(dim=1)]
        scores = -torch.arange(self.tokens, device=kept.device).expand(kept.shape[0], -1)
        return scores.scatter(1, kept, self.tokens - kept)


def guided(net: Net, guide: Guide, teachers: Sequence[Net] | None = None) -> Net:
    """Let a guide choose or weigh the tokens of a net; `TAUGHT` ones leave it as it is.

    Args:
        net: a `camvit`; changed.
        guide: of the run.
        teachers: for a guide of `INSIDE`; None: fresh nets, whose weights are loaded later.

    Raises:
        MaltriageError: the guide is of another net.
    """
    if not isinstance(net, CamViT):
        raise MaltriageError("--guide goes with --net camvit")
    labels = net.classifier.out_features
    try:
        if guide.kind not in INSIDE | TAUGHT:
            net.restrict(_flat(guide, net))
        if not 0 < guide.tokens <= net.tokens:
            raise ValueError(f"{guide.tokens:,} tokens of {net.tokens:,}")
        if guide.kind in INSIDE and not guide.teachers:
            raise ValueError("no teachers")
        if guide.kind in BY_LABEL:
            _check_labels(guide, labels, net.tokens)
    except ValueError as error:
        raise MaltriageError(f"a guide that does not fit its net: {error}") from error
    if guide.kind not in INSIDE:
        return net
    if teachers is None:
        teachers = [make_net(t.net, t.views, labels, t.clean) for t in guide.teachers]
    if guide.kind in BY_LABEL:
        net.choose_by(LabelChooser(teachers, net.views, net.grids, guide.by_label), guide.tokens)
        return net
    chooser = Chooser(teachers, net.views, net.grids, str(guide.cam))
    if guide.kind == "weighted":
        net.weigh_by(chooser)
    else:
        net.choose_by(chooser, guide.tokens)
    return net


def _check_labels(guide: Guide, labels: int, tokens: int) -> None:
    """Raise ValueError unless there are `guide.tokens` different tokens for each label."""
    if len(guide.by_label) != labels:
        raise ValueError(f"tokens of {len(guide.by_label)} labels of {labels}")
    for kept in guide.by_label:
        within = all(0 <= token < tokens for token in kept)
        if not within or len({*kept}) != len(kept) or len(kept) != guide.tokens:
            raise ValueError("tokens of a label that cannot be")


def _flat(guide: Guide, net: CamViT) -> list[int]:
    """The kept tokens, numbered over all views in the net's order."""
    start, kept = 0, []
    for view, count in zip(net.views, net.counts, strict=True):
        kept += [start + number for number in guide.kept.get(view.name, ())]
        start += count
    return kept
