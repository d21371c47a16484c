"""Registry of nets: one file and one line each."""

from __future__ import annotations

from collections.abc import Callable

from maltriage.errors import MaltriageError
from maltriage.learn.nets.base import Net
from maltriage.learn.nets.camvit import CamViT
from maltriage.learn.nets.evidence import Evidence
from maltriage.sample.views import ViewSpec

NETS: dict[str, Callable[[tuple[ViewSpec, ...], int], Net]] = {
    "camvit": CamViT,
    "evidence": Evidence,
}

__all__ = ["NETS", "Net", "make_net"]


def make_net(name: str, views: tuple[ViewSpec, ...], labels: int) -> Net:
    """A fresh net by name, for images of these views and this many labels."""
    if name not in NETS:
        raise MaltriageError(f"no such net: {name} (known: {', '.join(sorted(NETS))})")
    return NETS[name](views, labels)
