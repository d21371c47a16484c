"""The check for the extra `train`."""

from __future__ import annotations

from maltriage.errors import need

NEEDED = ("torch", "onnxscript", "safetensors", "matplotlib")
"""Modules of the extra `train` that every training needs."""


def need_torch(what: str = "training", *more: str) -> None:
    """Raise MaltriageError if the extra `train` is not installed.

    Args:
        what: the thing that needs it, for the message.
        more: modules of the extra besides the usual ones.
    """
    need("train", f"{what} needs more than the base install (no {{}})", *NEEDED, *more)
