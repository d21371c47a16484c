"""Loggers of the package: one for each room, silent unless somebody listens.

Library code logs what explains a slow or strange run: what was started, what died, what took long.
Records at INFO are few, those at DEBUG one or more for each file. Nothing of a sample's content is
logged but its path, and whoever shows a record cleans it (`cli.logs`).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

ROOT = "maltriage"


def logger(module: str) -> logging.Logger:
    """The logger of the room that a module is in: that of `maltriage.work.workers` is
    `maltriage.work`."""
    root = logging.getLogger(ROOT)
    if not root.handlers:
        root.addHandler(logging.NullHandler())
    return logging.getLogger(".".join(module.split(".")[:2]))


@contextmanager
def silenced() -> Iterator[None]:
    """A block in which nothing is logged, nor warned of: libraries advise authors of models."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
