"""`maltriage explain --yara`: a YARA rule from explained files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maltriage.errors import MaltriageError, cannot_write

if TYPE_CHECKING:
    from maltriage.bundle import Bundle
    from maltriage.report.documents.record import Record
    from maltriage.rules.types import Rule
    from maltriage.source.archive.limits import Archives
    from maltriage.source.urls import Remote

STDOUT = Path("-")
SUFFIXES = (".yar", ".yara")
EPOCH = "SOURCE_DATE_EPOCH"

Yara = Annotated[
    Path | None,
    typer.Option(
        "--yara",
        help="Write a YARA rule that matches all the files, e.g. family.yar; - for stdout.",
    ),
]
Goodware = Annotated[
    Path | None,
    typer.Option(help="With --yara: a folder of clean files, none of which the rule may match."),
]
Labelled = Annotated[
    Path | None,
    typer.Option(
        help="With --yara: labelled files (a folder for each label, or labels.csv). The rule"
        " matches no benign one, and at most 5 % of any other family."
    ),
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

    One that is named is read here, too, not by workers alone, since their errors are those of a
    file. The one that ships is known by its digest (`maltriage models verify`).

    Raises:
        MaltriageError: it is no index.
    """
    from maltriage.bundle import models_dir
    from maltriage.probe.common import SHIPPED, check, load

    if named == NONE:
        return None
    path = models_dir() / SHIPPED if named is None else Path(named)
    if named is None and not path.exists():
        return None
    if named is None:
        check(path)
    else:
        load(path)
    return path.absolute()


def check_options(
    files: Sequence[str], yara: Path | None, goodware: Path | None, labelled: Path | None
) -> None:
    """Find wrong use before anything is explained.

    Raises:
        MaltriageError: a folder in place of a file, a rule that cannot be written or tried, or
            goodware or labelled files without a rule.
    """
    for file in files:
        if os.path.isdir(file):
            raise MaltriageError(f"{file}: a folder (scan takes folders, explain files)")
    if yara is None:
        for option, named in (("--goodware", goodware), ("--labelled", labelled)):
            if named is not None:
                raise MaltriageError(f"{option} goes with --yara")
        return
    from maltriage.rules.make import need_yara

    need_yara()
    if (
        yara != STDOUT and yara.suffix.lower() not in SUFFIXES
    ):  # a sample named by mistake is not written over
        raise MaltriageError(f"{yara}: the name of a rule ends in {' or '.join(SUFFIXES)}")
    if not yara.parent.is_dir():
        raise MaltriageError(f"cannot write {yara}: no folder {yara.parent}")
    if goodware is not None and not goodware.is_dir():
        raise MaltriageError(f"{goodware}: no folder of clean files")
    if labelled is not None and not labelled.is_dir():
        raise MaltriageError(f"{labelled}: no folder of labelled files")
    _date()


def alone(yara: Path | None, format: str | None, output: Path | None, *, quiet: bool) -> bool:
    """Whether the rule is all that is wanted: it goes to stdout, or nobody asked for more.

    Raises:
        MaltriageError: stdout is wanted for the rule and for the explanation.
    """
    if yara is None or output is not None:
        return False
    if yara == STDOUT and format is not None:
        raise MaltriageError("--yara - prints the rule: name a file for the explanation (-o)")
    return format is None and (quiet or yara == STDOUT)


def write_rule(
    path: Path,
    records: Sequence[Record],
    bundle: Bundle,
    goodware: Path | None,
    labelled: Path | None,
    common: Path | None,
    *,
    max_size: int,
    timeout: float,
    quiet: bool,
    archives: Archives | None = None,
    remote: Remote | None = None,
) -> None:
    """Make a rule of explained files and write it; print a line about it on stderr.

    Raises:
        MaltriageError: a file gave no result, or no rule could be made (see `make_rule`);
            nothing is written.
    """
    from maltriage.cli.bars import status
    from maltriage.cli.console import make_console
    from maltriage.files.atomic import write_file
    from maltriage.report.documents.record import Failed, Result, Skipped, path_of
    from maltriage.report.sanitize import clean
    from maltriage.rules.make import make_rule
    from maltriage.rules.text import warnings
    from maltriage.rules.types import RuleOptions
    from maltriage.work.cores import cores
    from maltriage.work.isolation import Isolation, memory_for
    from maltriage.work.workers import Workers

    for record in records:
        if isinstance(record, Failed | Skipped):
            raise MaltriageError(f"no rule: {clean(record.path)}: {clean(record.reason)}")
    results = {record.sha256: record for record in records if isinstance(record, Result)}
    folder = None if goodware is None else str(goodware)
    options = RuleOptions(_date(), folder, max_size, common, _labels(labelled), archives)
    console = make_console(stderr=True)
    shown = status(console, "making a rule", enabled=not quiet)
    isolation = Isolation(memory_for(max_size))
    with Workers(cores(), timeout, urls=remote, isolation=isolation) as workers, shown:
        rule = make_rule(list(results.values()), bundle, workers, options)
    if path == STDOUT:
        typer.echo(rule.text, nl=False)
    else:
        try:
            write_file(path, rule.text.encode("ascii"))
        except OSError as error:
            raise cannot_write(path, error) from error
    if not quiet:
        named = "the rule" if path == STDOUT else clean(str(path))
        typer.echo(f"{named}: {_summary(rule)}", err=True)
        for left in rule.facts.left_out:
            typer.echo(
                f"left out: {clean(path_of(results[left]))} shares too few strings with the others",
                err=True,
            )
        for warning in warnings(rule.facts):
            typer.echo(f"warning: {clean(warning)}", err=True)


def _labels(root: Path | None) -> dict[str, str]:
    """The labels of the files below a folder, by path."""
    if root is None:
        return {}
    from maltriage.corpus.datasets import open_dataset

    return {sample.path: sample.label for sample in open_dataset("vx-zoo", root, 1).samples}


def _summary(rule: Rule) -> str:
    facts = rule.facts
    wanted = " or ".join(f"{group.least} of {len(group.strings)}" for group in rule.groups)
    parts = [f"{rule.name}, {wanted} strings"]
    if len(rule.groups) > 1:
        parts.append(f"{len(rule.groups)} groups of files that share too few")
    if not rule.supported:
        parts.append("not all from hot ranges whose check is `supported`")
    if facts.clean is None:
        parts.append("tried on no goodware (--goodware)")
    else:
        parts.append(f"in none of {facts.clean:,} clean files")
    if facts.others:
        wrong = sum(label != facts.family for label, _ in facts.hits)
        parts.append(f"in {wrong:,} of {facts.others:,} of other families")
    if facts.recall is not None:
        parts.append(f"in {facts.recall[0]:,} of {facts.recall[1]:,} others of the family")
    if rule.unread:
        parts.append(f"{rule.unread:,} more could not be read")
    return "; ".join(parts)


def _date() -> str:
    """Today in UTC, or the day of SOURCE_DATE_EPOCH for reproducible rules."""
    epoch = os.environ.get(EPOCH)
    try:
        day = datetime.now(UTC) if not epoch else datetime.fromtimestamp(int(epoch), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise MaltriageError(f"{EPOCH} is not a time in seconds: {epoch!r}") from error
    return day.date().isoformat()
