"""The version of maltriage, and of packages. Imports nothing, so that every module may name it."""

from __future__ import annotations

__version__ = "0.3.7"


def version_of(package: str) -> str | None:
    """The version of an installed package; None: it is not installed."""
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
