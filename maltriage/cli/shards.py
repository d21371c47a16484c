"""`scan --engine ray --shards DIR`: what goes with it, and what does not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from maltriage.errors import MaltriageError

if TYPE_CHECKING:
    from maltriage.cluster.shards import Shards
    from maltriage.report.formats import RenderOptions


def shards_at(
    folder: Path,
    format: str | None,
    render: RenderOptions,
    *,
    resume: bool,
    refused: Mapping[str, object],
) -> Shards:
    """A result in parts.

    Args:
        format: that the user named; None: NDJSON.
        refused: options, by name, that mean nothing here, and whether they were given.

    Raises:
        MaltriageError: one was, or parts are not written in that format, or not there.
    """
    from io import BytesIO

    from rich.console import Console

    from maltriage.cli.files import refuse_url
    from maltriage.cluster.shards import FORMATS, Shards
    from maltriage.report.formats import find, open_renderer

    refuse_url(folder)
    given = [name for name, value in refused.items() if value]
    if given:
        raise MaltriageError(f"--shards and {given[0]}: one or the other")
    if format is not None and format not in FORMATS:
        raise MaltriageError(f"--shards writes {' or '.join(FORMATS)}, and not {format}")
    shards = Shards(str(folder.absolute()), format or FORMATS[0], render, resume)
    # Opened once here: a library that is missing is said before a cluster is asked for anything.
    open_renderer(find(shards.format), BytesIO(), render, Console(quiet=True))
    return shards
