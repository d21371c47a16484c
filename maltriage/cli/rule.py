"""`maltriage explain --yara`: a YARA rule from explained files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maltriage.errors import MaltriageError

if TYPE_CHECKING:
    from maltriage.bundle import Bundle
    from maltriage.report.documents.record import Record
    from maltriage.rules.make import Rule
    from maltriage.source.urls import Remote

SUFFIXES = (".yar", ".yara")
EPOCH = "SOURCE_DATE_EPOCH"

Yara = Annotated[
    Path | None,
    typer.Option("--yara", help="Write a YARA rule that matches all the files, e.g. family.yar."),
]
Goodware = Annotated[
    Path | None,
    typer.Option(help="With --yara: a folder of clean files, none of which the rule may match."),
]


Prevalence = Annotated[
    str | None,
    typer.Option(
        "--prevalence",
        metavar="FILE",
        help="Index of clean programs (`maltriage prevalence build`); `none`: use none; by default"
        " the one that ships.",
    ),
]
NONE = "none"


def prevalence_of(named: str | None) -> Path | None:
    """The index of clean programs that is asked for, checked; None: none.

    Raises:
        MaltriageError: it is no index.
    """
    from maltriage.bundle import models_dir
    from maltriage.probe.common import SHIPPED, load

    if named == NONE:
        return None
    path = models_dir() / SHIPPED if named is None else Path(named)
    if named is None and not path.exists():
        return None
    load(path)
    return path.absolute()


def check_options(files: Sequence[str], yara: Path | None, goodware: Path | None) -> None:
    """Find wrong use before anything is explained.

    Raises:
        MaltriageError: several files without a rule, a rule that cannot be written or tried, or
            goodware without a rule.
    """
    for file in files:
        if os.path.isdir(file):
            raise MaltriageError(f"{file}: a folder (scan takes folders, explain files)")
    if yara is None:
        if len(files) > 1:
            raise MaltriageError("several files need --yara RULE.yar; without it explain takes one")
        if goodware is not None:
            raise MaltriageError("--goodware goes with --yara")
        return
    from maltriage.rules.make import need_yara

    need_yara()
    if yara.suffix.lower() not in SUFFIXES:  # a sample named by mistake is not written over
        raise MaltriageError(f"{yara}: the name of a rule ends in {' or '.join(SUFFIXES)}")
    if not yara.parent.is_dir():
        raise MaltriageError(f"cannot write {yara}: no folder {yara.parent}")
    if goodware is not None and not goodware.is_dir():
        raise MaltriageError(f"{goodware}: no folder of clean files")
    _date()


def write_rule(
    path: Path,
    records: Sequence[Record],
    bundle: Bundle,
    goodware: Path | None,
    common: Path | None,
    *,
    max_size: int,
    timeout: float,
    quiet: bool,
    remote: Remote | None = None,
) -> None:
    """Make a rule of explained files and write it; print a line about it on stderr.

    Raises:
        MaltriageError: a file gave no result, or no rule could be made (see `make_rule`);
            nothing is written.
    """
    from maltriage.cli.console import make_console
    from maltriage.cli.extras import status
    from maltriage.cli.files import cannot_write
    from maltriage.files.atomic import write_file
    from maltriage.report.documents.record import Failed, Result, Skipped
    from maltriage.report.sanitize import clean
    from maltriage.rules.make import RuleOptions, make_rule
    from maltriage.work.cores import cores
    from maltriage.work.isolation import Isolation, memory_for
    from maltriage.work.workers import Workers

    for record in records:
        if isinstance(record, Failed | Skipped):
            raise MaltriageError(f"no rule: {clean(record.path)}: {clean(record.reason)}")
    results = {record.sha256: record for record in records if isinstance(record, Result)}
    folder = None if goodware is None else str(goodware)
    options = RuleOptions(_date(), folder, max_size, common)
    console = make_console(stderr=True)
    shown = status(console, "making a rule", enabled=not quiet)
    isolation = Isolation(memory_for(max_size))
    with Workers(cores(), timeout, urls=remote, isolation=isolation) as workers, shown:
        rule = make_rule(list(results.values()), bundle, workers, options)
    try:
        write_file(path, rule.text.encode("ascii"))
    except OSError as error:
        raise cannot_write(path, error) from error
    if not quiet:
        typer.echo(f"{clean(str(path))}: {_summary(rule)}", err=True)


def _summary(rule: Rule) -> str:
    wanted = " or ".join(f"{group.least} of {len(group.strings)}" for group in rule.groups)
    parts = [f"{rule.name}, {wanted} strings"]
    if len(rule.groups) > 1:
        parts.append(f"{len(rule.groups)} groups of files that share too few")
    if rule.statuses != ("supported",):
        parts.append("not all from ranges whose check is `supported`")
    if rule.tried is None:
        parts.append("tried on no goodware (--goodware)")
    else:
        parts.append(f"in none of {rule.tried:,} clean files")
    if rule.unread:
        parts.append(f"{rule.unread} more could not be read")
    return "; ".join(parts)


def _date() -> str:
    """Today in UTC, or the day of SOURCE_DATE_EPOCH for reproducible rules."""
    epoch = os.environ.get(EPOCH)
    try:
        day = datetime.now(UTC) if not epoch else datetime.fromtimestamp(int(epoch), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise MaltriageError(f"{EPOCH} is not a time in seconds: {epoch!r}") from error
    return day.date().isoformat()
