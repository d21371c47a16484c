"""The registry of nets: one file and one line each.

It does not import torch; a net's own file is imported when the net is made.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from maltriage.errors import MaltriageError
from maltriage.version import install_extra

if TYPE_CHECKING:
    from maltriage.learn.nets.base import Net
    from maltriage.sample.views import ViewSpec


@dataclass(frozen=True)
class Entry:
    """The properties of a net before it is made."""

    name: str
    """Name of the class, in the file named after the net."""
    views: tuple[str, ...] | None = None
    """Default views; None: `views.DEFAULT`."""
    body: bool = False
    """True if the net needs a body view."""
    fixed: bool = True
    """True if the net can read fixed windows."""
    counted: bool = False
    """True if the net can read counted views."""
    two_questions: bool = False
    """True if the net asks two questions where there are clean files: whether a file is malware,
    and of which family."""
    learning_rate: float = 2e-3
    """Default peak of the schedule."""
    batch_size: int = 64
    """Default samples in one step."""


def _cnn(name: str, learning_rate: float) -> Entry:
    """A CNN on the published byteplot: see `maltriage.learn.nets.byteplot`."""
    plain = ("byteplot",)
    return Entry(name, views=plain, body=True, fixed=False, learning_rate=learning_rate)


NETS: dict[str, Entry] = {
    "camvit": Entry("CamViT", views=("byteplot",), learning_rate=2.5e-4, batch_size=16),
    "evidence": Entry("Evidence", counted=True, two_questions=True),
    "gibert": _cnn("Gibert", 1e-3),
    "mcnn": _cnn("Mcnn", 1e-4),
    "imcfn": _cnn("Imcfn", 1e-4),
    "mcft": _cnn("Mcft", 1e-3),
    "densenet": _cnn("DenseNet", 1e-3),
    "xception": _cnn("Xception", 1e-3),
}


def entry(name: str) -> Entry:
    """The registry's entry of a net by its name.

    Raises:
        MaltriageError: there is no such net.
    """
    if name not in NETS:
        raise MaltriageError(f"no such net: {name} (known: {', '.join(sorted(NETS))})")
    return NETS[name]


def make_net(name: str, views: tuple[ViewSpec, ...], labels: int, clean: int | None = None) -> Net:
    """A fresh net by name, for images of these views and this many labels.

    Args:
        clean: the label of clean files, if the net is to ask two questions.

    Raises:
        MaltriageError: there is no such net, or a package that it needs is not installed.
    """
    found = entry(name)
    try:
        module = importlib.import_module(f"maltriage.learn.nets.{name}")
        net: Net = getattr(module, found.name)(views, labels)
    except ModuleNotFoundError as error:
        raise MaltriageError(
            f"net {name} needs {error.name}, which is not installed: {install_extra('train')}"
        ) from error
    net.clean = clean
    return net
