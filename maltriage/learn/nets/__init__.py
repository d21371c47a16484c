"""Registry of nets: one file and one line each.

Importing this imports no torch; a net's own file is imported when the net is made.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from maltriage.errors import MaltriageError

if TYPE_CHECKING:
    from maltriage.learn.nets.base import Net
    from maltriage.sample.views import ViewSpec


@dataclass(frozen=True)
class Entry:
    """What is known of a net before it is made."""

    name: str
    """Of the class, in the file that is called as the net."""
    views: tuple[str, ...] | None = None
    """What it looks at unless it is told otherwise; None: `views.DEFAULT`."""
    body: bool = False
    """Whether it must be given a body."""
    fixed: bool = True
    """Whether it can be given fixed windows."""
    learning_rate: float = 2e-3
    """At the top of the schedule, unless another is named."""
    batch_size: int = 64
    """Samples in one step, unless another number is named."""


def _cnn(name: str, learning_rate: float) -> Entry:
    """A CNN on the published byteplot: see `maltriage.learn.nets.byteplot`."""
    plain = ("byteplot",)
    return Entry(name, views=plain, body=True, fixed=False, learning_rate=learning_rate)


NETS: dict[str, Entry] = {
    "camvit": Entry("CamViT", views=("byteplot",), learning_rate=2.5e-4, batch_size=16),
    "evidence": Entry("Evidence"),
    "gibert": _cnn("Gibert", 1e-3),
    "mcnn": _cnn("Mcnn", 1e-4),
    "imcfn": _cnn("Imcfn", 1e-4),
    "mcft": _cnn("Mcft", 1e-3),
    "densenet": _cnn("DenseNet", 1e-3),
    "xception": _cnn("Xception", 1e-3),
}


def entry(name: str) -> Entry:
    """What is known of a net by its name.

    Raises:
        MaltriageError: there is no such net.
    """
    if name not in NETS:
        raise MaltriageError(f"no such net: {name} (known: {', '.join(sorted(NETS))})")
    return NETS[name]


def make_net(name: str, views: tuple[ViewSpec, ...], labels: int) -> Net:
    """A fresh net by name, for images of these views and this many labels.

    Raises:
        MaltriageError: there is no such net, or it needs what is not installed.
    """
    found = entry(name)
    try:
        module = importlib.import_module(f"maltriage.learn.nets.{name}")
        net: Net = getattr(module, found.name)(views, labels)
    except ModuleNotFoundError as error:
        raise MaltriageError(
            f"net {name} needs more than is installed (no {error.name}): "
            "pip install 'maltriage[train]'"
        ) from error
    return net
