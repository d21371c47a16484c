"""The check for the extra `train`."""

from __future__ import annotations

import importlib.util

from maltriage.errors import MaltriageError
from maltriage.version import install_extra

NEEDED = ("torch", "onnxscript", "safetensors", "matplotlib")
"""Modules of the extra `train` that every training needs."""


def need_torch(what: str = "training", *more: str) -> None:
    """Raise MaltriageError if the extra `train` is not installed.

    Args:
        what: the thing that needs it, for the message.
        more: modules of the extra besides the usual ones.
    """
    missing = [name for name in (*NEEDED, *more) if importlib.util.find_spec(name) is None]
    if missing:
        raise MaltriageError(
            f"{what} needs more than the base install (no {', '.join(missing)}): "
            f"{install_extra('train')}"
        )
