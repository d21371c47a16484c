"""`scan --watch`: the records of files as they appear in folders, until the user ends it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import typer

from maltriage.cli.outputs import Target
from maltriage.errors import MaltriageError
from maltriage.files.decoding import decoded
from maltriage.report.documents.record import Record
from maltriage.report.formats import by_ending, find
from maltriage.report.numbers import count
from maltriage.report.sanitize import clean
from maltriage.report.saved.recognise import HEAD_BYTES, is_report
from maltriage.report.scan.shape import ECS, written_with
from maltriage.results.policy import Policy
from maltriage.source.appearing import appearing, need_watch
from maltriage.source.walked import Walked
from maltriage.triage.options import Progress
from maltriage.triage.pipeline import Engine, summary
from maltriage.triage.request import ScanRequest

_BEGINS = {None: b'{"type":"', ECS: b'{"@timestamp":"'}
"""How a record of a shape begins."""
_anything = msgspec.json.Decoder()
FORMAT = "ndjson"
"""The one format that is written record by record, and can be appended to."""


def check_options(paths: Sequence[str], **others: object) -> None:
    """Raise MaltriageError if `--watch` is missing its library or meets what it cannot go with.

    Args:
        others: the options that it does not go with, by name with underscores.
    """
    need_watch()
    if not paths:
        raise MaltriageError("--watch needs a folder, e.g. maltriage scan DIR --watch")
    wrong = [f"--{name.replace('_', '-')}" for name, value in others.items() if value]
    if wrong:
        raise MaltriageError(f"--watch does not go with {', '.join(wrong)}")


def format_of(named: str | None, outputs: Sequence[Path]) -> str:
    """The format of all outputs: the one that was named, or that of the ending of a file.

    Raises:
        MaltriageError: a file has the ending of a format that `--watch` does not write, or of none.
    """
    for path in outputs if named is None else ():
        check_formats([Target(None, by_ending(path.name) or find(FORMAT))], None)
    return named or FORMAT


def check_formats(targets: Sequence[Target], shape: str | None) -> None:
    """Raise MaltriageError if an output cannot be written record by record, or be appended to.

    Args:
        shape: the option that narrows the records (`--fields`, `--ecs`); None: neither.
    """
    for target in targets:
        if target.format.name != FORMAT:
            raise MaltriageError(
                f"--watch writes {FORMAT}, record by record, and no {target.format.name}"
            )
        if target.path is not None:
            _check_appendable(target.path, shape)


def _check_appendable(path: Path, shape: str | None) -> None:
    """Raise MaltriageError if a file holds something else than records of this shape."""
    if not path.is_file() or not path.stat().st_size:
        return
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if len(head) < HEAD_BYTES and _is_cut_off(head, shape):
        return  # and is removed
    other = written_with(head, len(head) == HEAD_BYTES)
    if other != shape or not (other or is_report(str(path))):
        what = "no records of a scan" if not other and shape is None else "records of another shape"
        raise MaltriageError(f"{path}: {what}, so none are appended to it")


def _is_cut_off(data: bytes, shape: str | None) -> bool:
    """Whether a file is the beginning of one record and no more, which a kill left."""
    begin = _BEGINS.get(shape, b"")
    if not begin or b"\n" in data or data[: len(begin)] != begin[: len(data)]:
        return False
    try:
        decoded(data, _anything)
    except msgspec.MsgspecError:
        return True
    return False


@dataclass(frozen=True)
class Watching:
    """Records of the files that appear in the folders of a request. They are not kept, and files
    that are there already have none."""

    request: ScanRequest
    quiet: bool = False

    def records(
        self, progress: Progress, stop: Callable[[], bool] = lambda: False
    ) -> Iterator[Record]:
        """See `RecordSource.records`. Its summary comes once `stop` returns true, and says that the
        scan ended well: so a watch ends."""
        asked, policy = self.request, Policy()
        options, began = asked.options, time.monotonic()
        folders = list(dict.fromkeys(os.fspath(path) for path in asked.paths))
        unsettled: list[str] = []
        with policy, Engine(asked.bundle, options) as engine:
            engine.begin()
            for paths in appearing(folders, options.walk, stop, unsettled):
                if not (paths or self.quiet):
                    told = f"watching {', '.join(folders)}; Ctrl-C ends it"
                    typer.echo(f"maltriage: {clean(told)}", err=True)
                found = Walked(paths, options.walk, stop=stop)
                yield from engine.records(found, policy=policy, progress=progress, stop=stop)
        if unsettled:
            many = count(len(unsettled), "file")
            note = f"{many} had changed within the last second: not read, the first {unsettled[0]}"
            progress.notes.append(note)
        yield summary(progress, asked.bundle, time.monotonic() - began, interrupted=False)
