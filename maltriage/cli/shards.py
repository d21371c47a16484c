"""`scan --engine ray --shards DIR`: checks the options, and says where the shards are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from maltriage.errors import MaltriageError

if TYPE_CHECKING:
    from maltriage.cluster.shards import Shards
    from maltriage.report.formats import RenderOptions
    from maltriage.triage.request import RecordSource


def shards_at(
    folder: Path,
    format: str | None,
    render: RenderOptions,
    *,
    resume: bool,
    refused: Mapping[str, object],
) -> Shards:
    """A result in shards.

    Args:
        format: named by the user; None: NDJSON.
        refused: options that do not go with shards, by name; a true value: given.

    Raises:
        MaltriageError: one was given; shards are not written in that format; or `folder` is a
            URL.
    """
    from io import BytesIO

    from rich.console import Console

    from maltriage.cli.files import refuse_url
    from maltriage.cluster.shards import FORMATS, Shards
    from maltriage.report.formats import find, open_renderer

    refuse_url(folder)
    given = [name for name, value in refused.items() if value]
    if given:
        raise MaltriageError(f"--shards or {given[0]}, not both")
    if format is not None and format not in FORMATS:
        raise MaltriageError(f"--shards writes {' or '.join(FORMATS)}, not {format}")
    shards = Shards(str(folder.absolute()), format or FORMATS[0], render, resume)
    # Opened once here, so that a missing library is reported before a cluster is used.
    open_renderer(find(shards.format), BytesIO(), render, Console(quiet=True))
    return shards


def tell_shards(source: RecordSource) -> None:
    """Say on stderr where the shards of a scan are, if all are finished."""
    import typer

    from maltriage.cluster.engine import ShardedScan
    from maltriage.report.sanitize import clean

    if isinstance(source, ShardedScan) and source.wrote is not None:
        typer.echo(f"wrote {clean(source.wrote)}", err=True)
