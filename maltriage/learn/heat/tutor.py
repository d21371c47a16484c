"""What teaches a transformer in training alone: nothing of it is in the net that comes of it.

`maltriage.learn.heat.guide` defines these guides, `early` and `attention`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from maltriage.errors import MaltriageError
from maltriage.learn.fit.checkpoint import Guide
from maltriage.learn.heat.chooser import TAUGHT, Chooser
from maltriage.learn.nets.base import Net
from maltriage.learn.nets.camvit import CamViT

EARLY = 0.5
"""Share of the training that `early` guides."""
PULL = 1.0
"""Weight of the teachers' maps in the loss, beside that of the labels."""


class Tutor:
    """The teachers of a net whose guide is one of `chooser.TAUGHT`.

    Args:
        guide: of the run.
        net: that is trained.
        teachers: as in `chooser.Chooser`; None: they are gone.
        device: of the net.
    """

    def __init__(
        self, guide: Guide, net: CamViT, teachers: Sequence[Net] | None, device: torch.device
    ) -> None:
        self.guide, self.net = guide, net
        self.chooser = None
        if teachers is not None:
            self.chooser = Chooser(teachers, net.views, net.grids, str(guide.cam)).to(device)

    def begin(self, done: float) -> None:
        """Begin a step, with this share of the training done.

        Raises:
            MaltriageError: the teachers are gone. The checkpoints of such a run have none.
        """
        kind = self.guide.kind
        if self.chooser is None and (kind != "early" or done < EARLY):
            were = ", ".join(teacher.path for teacher in self.guide.teachers)
            raise MaltriageError(
                f"--guide {kind} needs its teachers to go on: name them with --teacher, which was"
                f" {were}"
            )
        if kind == "early":
            self.net.lend(self.chooser if done < EARLY else None, self.guide.tokens)

    def pull(self, activations: dict[str, Tensor], views: dict[str, Tensor]) -> Tensor | None:
        """How far the net's last attention is from the teachers' maps, the mean over the images of
        a batch, weighted; None: that is not asked.

        It is the divergence of Kullback and Leibler, in nats. The shares of a map sum to less than
        1, where an image has little heat to much less: it counts for less, and the divergence may
        be below 0.
        """
        if self.guide.kind != "attention" or self.chooser is None:
            return None
        wanted = self.chooser.heat(views, positive=True)
        given = self.net.attention(activations).float().clamp(min=1e-9)
        apart = wanted * (wanted.clamp(min=1e-9).log() - given.log())
        return PULL * apart.sum(dim=1).mean()


def tutor_of(
    guide: Guide | None, net: Net, teachers: Sequence[Net] | None, device: torch.device
) -> Tutor | None:
    """The tutor of a run; None: its guide asks for none."""
    if guide is None or guide.kind not in TAUGHT:
        return None
    assert isinstance(net, CamViT)
    return Tutor(guide, net, teachers, device)
