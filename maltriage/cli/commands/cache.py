"""`maltriage cache`: the kept results of scans, and how `scan` opens them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maltriage.cli import options as opt
from maltriage.cli.documents import Format, write_document
from maltriage.errors import MaltriageError

if TYPE_CHECKING:
    from maltriage.bundle import Bundle
    from maltriage.results.policy import Policy
    from maltriage.triage.options import ScanOptions

SECONDS_A_DAY = 24 * 3600

app = typer.Typer(
    name="cache",
    help="Show or remove the kept results of scans.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def folder_of(named: Path | None) -> Path:
    """The folder of kept results."""
    from maltriage.files.places import cache_dir

    return named or cache_dir() / "results"


def nothing_kept(named: Path | None) -> bool:
    """Whether there is no store yet, so that all files must be read."""
    from maltriage.results.sqlite_file import FILE_NAME

    return not os.path.exists(folder_of(named) / FILE_NAME)  # which asks no folder for leave


@contextmanager
def policy_of(
    bundle: Bundle,
    roots: Sequence[str],
    options: ScanOptions,
    folder: Path | None,
    *,
    no_cache: bool,
    refresh: bool,
    resume: bool,
    quiet: bool,
) -> Iterator[Policy]:
    """The store policy of a scan; an empty one if the store cannot be used.

    Raises:
        MaltriageError: options contradict each other, the index cannot be read, or --resume is
            given and the store cannot be used.
    """
    from maltriage.results.policy import Policy, scan_id, settings_of
    from maltriage.results.store import Store
    from maltriage.similar.search import digest_of_index

    if no_cache:
        if folder is not None or refresh:
            raise MaltriageError("--no-cache does not go with --cache or --refresh")
        if resume:
            raise MaltriageError("--resume needs kept results: leave out --no-cache")
        yield Policy()
        return
    store = Store.open(folder_of(folder), lambda text: _tell(text, quiet))
    if store is None:
        if resume:
            raise MaltriageError("nothing to resume from: the kept results cannot be used")
        yield Policy()
        return
    with store:
        settings = settings_of(bundle, options, digest_of_index(bundle, options.index))
        scan = scan_id(settings, roots, options)
        policy = Policy(store, settings, refresh=refresh, scan=scan, resume=resume)
        begun = policy.begin()
        if resume:
            _tell(f"scan {scan.hex()[:12]}: {_since(begun)}", quiet)
        yield policy


def _since(begun: int | None) -> str:
    from datetime import datetime

    if begun is None:
        return "begins, since no stopped scan of this command is known"
    return f"goes on; it began on {datetime.fromtimestamp(begun):%Y-%m-%d at %H:%M}"


def _tell(text: str, quiet: bool) -> None:
    from maltriage.report.sanitize import clean

    if not quiet:
        typer.echo(f"maltriage: {clean(text)}", err=True)


@app.command()
def info(
    cache: opt.Cache = None,
    format: Annotated[
        Format, typer.Option("--format", "-f", help="Format of the result.")
    ] = "table",
    output: opt.Output = None,
    color: opt.ColorOption = "auto",
) -> None:
    """Show the number of kept results, their models and their size on disk."""
    from maltriage.report.status.cache import render
    from maltriage.results import upkeep

    with upkeep.opened(_kept_in(cache), _tell_all) as store:
        found = upkeep.info(store)
    write_document(found, render, format, output, color)


@app.command()
def prune(
    cache: opt.Cache = None,
    older_than: Annotated[
        int | None,
        typer.Option(min=0, help="Remove results that were not used for this many days, e.g. 90."),
    ] = None,
    max_size: Annotated[
        int | None,
        typer.Option(min=0, help="Keep at most this many MiB, the last used first, e.g. 500."),
    ] = None,
) -> None:
    """Remove kept results by the time of their last use, or down to a size."""
    from maltriage.results import upkeep

    if older_than is None and max_size is None:
        raise MaltriageError("nothing to remove: give --older-than DAYS, --max-size MIB, or both")
    with upkeep.opened(_kept_in(cache), _tell_all) as store:
        gone = upkeep.prune(
            store,
            None if older_than is None else older_than * SECONDS_A_DAY,
            None if max_size is None else max_size * opt.MIB,
        )
    _gone(gone)


@app.command()
def clear(cache: opt.Cache = None) -> None:
    """Remove all kept results. Running scans keep new ones."""
    from maltriage.results import upkeep

    with upkeep.opened(_kept_in(cache), _tell_all) as store:
        gone = upkeep.clear(store)
    _gone(gone)


def _gone(gone: int) -> None:
    from maltriage.report.numbers import count

    typer.echo(f"{count(gone, 'result')} removed")


def _kept_in(cache: Path | None) -> Path:
    """The folder of kept results. One that is named is not made, unlike by a scan.

    Raises:
        MaltriageError: a folder is named that has none.
    """
    if cache is not None and nothing_kept(cache):
        raise MaltriageError(f"{cache}: no results are kept there")
    return folder_of(cache)


def _tell_all(text: str) -> None:
    _tell(text, quiet=False)
