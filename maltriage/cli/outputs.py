"""The outputs of a scan: files, each in a format of its own, and the screen."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from rich.text import Text

from maltriage.cli.console import Color, Pipe, make_console, quiet_broken_pipe
from maltriage.cli.files import Output, ResultFile
from maltriage.cli.stop.overdue import unhurried
from maltriage.errors import MaltriageError, OverdueError, cannot_write
from maltriage.report.formats import (
    SCAN,
    Format,
    RenderOptions,
    by_ending,
    find,
    listed,
    open_renderer,
)
from maltriage.report.numbers import LONG_UNITS, count, size
from maltriage.report.sanitize import clean

if TYPE_CHECKING:
    from maltriage.report.documents.record import FileRecord, Summary
    from maltriage.report.formats import Renderer
    from maltriage.report.scan.fields import Fields

STDOUT = Path("-")


@dataclass(frozen=True)
class Target:
    """An output and its format. A `path` of None is stdout."""

    path: Path | None
    format: Format


@dataclass(frozen=True)
class Written:
    """A file that a scan wrote. A `size` of None: a device or a pipe."""

    target: Target
    records: int
    """Of files that are flagged, where the format holds no others."""
    size: int | None

    def __str__(self) -> str:
        """`out.ndjson (ndjson, 1,402 records, 3.1 MiB)`, not cleaned."""
        said = [self.target.format.name]
        if not self.target.format.screen:  # which lists some of them
            what = "file" if self.target.format.flagged else "record"
            said.append(count(self.records, what))
        if self.size is not None:
            said.append(size(self.size, LONG_UNITS))
        return f"{self.target.path} ({', '.join(said)})"


def targets(
    outputs: Sequence[Path], format: str | None, formats: Mapping[str, Format] = SCAN
) -> list[Target]:
    """The outputs that the user named, each with its format.

    Args:
        outputs: files, `-` for stdout; none: stdout alone.
        format: named by the user, for stdout, for a single file, and for files with an unknown
            ending; None: the first of `formats`.
        formats: those of the command.

    Raises:
        MaltriageError: a file is named twice, or has an unknown ending and no format is named, or
            is the only one and has the ending of another format than is named.
    """
    seen = set()
    for path in outputs:
        if path.resolve() in seen:
            raise MaltriageError(f"{path}: named twice as an output")
        seen.add(path.resolve())
    named = find(format, formats) if format else None
    usual = named or next(iter(formats.values()))
    found = []
    for path in outputs or [STDOUT]:
        meant = by_ending(path.name, formats, unknown=named)
        if named and len(outputs) == 1:
            _check_ending(path, meant, named)
            meant = named
        found.append(Target(None if path == STDOUT else path, meant or usual))
    return found


JSON = frozenset(("ndjson", "stix", "misp"))
"""Formats whose files may end in .json as well."""


def _check_ending(path: Path, ending: Format | None, named: Format) -> None:
    """Raise MaltriageError if a file would have another format than its ending says. That of a
    screen, .txt, is for any text, and .json for whatever is JSON."""
    if ending is None or ending is named or ending.screen:
        return
    if ending.name == "json" and named.name in JSON:
        return
    fitting = path.with_suffix(named.endings[0]).name
    raise MaltriageError(
        f"{path}: {ending.title} by its ending, not {named.title}: name it {fitting}, or leave out"
        " the format"
    )


def chosen_fields(names: str | None, targets: Sequence[Target]) -> Fields | None:
    """The fields of `--fields`; None if it was not given.

    Raises:
        MaltriageError: a field does not exist, or no output can be narrowed.
    """
    if names is None:
        return None
    if not any(target.format.selective for target in targets):
        fit = listed(format for format in SCAN.values() if format.selective)
        raise MaltriageError(f"--fields goes with {fit}: see --format and -o")
    from maltriage.report.scan.fields import choose

    return choose(names)


def check_ecs(ecs: bool, fields: str | None, targets: Sequence[Target]) -> None:
    """Raise MaltriageError if `--ecs` was given and has no effect."""
    if ecs and fields is not None:
        raise MaltriageError("--ecs or --fields, not both: events of ECS are whole")
    if ecs and not any(target.format.ecs for target in targets):
        fit = listed(format for format in SCAN.values() if format.ecs)
        raise MaltriageError(f"--ecs goes with {fit}: see --format and -o")


class _Sink:
    def __init__(self, target: Target, options: RenderOptions, color: Color, append: bool) -> None:
        self.target = target
        self.file = None
        if target.path is not None:
            self.file = ResultFile(target.path, partial=target.format.partial, append=append)
        out = self.file.output if self.file else Output(sys.stdout.buffer, sys.stdout)
        self.console = make_console(color, file=out.text)
        self.remarks = target.format.screen
        try:
            self.renderer: Renderer = open_renderer(
                target.format, out.binary, options, self.console
            )
        except MaltriageError:
            if self.file is not None:
                self.file.abandon()
            raise
        self.gone: Pipe | None = None
        """The end of an output whose reader went away, or does not read."""

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Name the file in errors. A reader of stdout may go away without one."""
        if self.target.path is None:
            # Nobody holds up what is written to a file, of whatever size it is.
            with (
                unhurried() if _on_disk(sys.stdout) else nullcontext(),
                quiet_broken_pipe() as pipe,
            ):
                yield
            self.gone = pipe if pipe.broken else None
            return
        try:
            with unhurried() if self.file and self.file.part else nullcontext():
                yield
        except OSError as error:
            raise cannot_write(self.target.path, error) from error
        except OverdueError:  # a named pipe
            self.gone = Pipe(broken=True, overdue=True)


class Sinks:
    """The renderers of one scan; each gets every record. Made by `opened_all`."""

    def __init__(self, sinks: list[_Sink]) -> None:
        self._sinks = sinks
        self.shown = any(sink.remarks for sink in sinks)
        """Whether one is a screen, which lists what could not be read."""
        self._records = 0
        self._anew = False
        self.written: list[Written] = []
        """The files that are complete."""
        self.gone: Pipe | None = None
        """Set once nobody is left to write for: the readers of all outputs went away."""

    def begin_anew(self) -> None:
        """Begin the files of a watch anew under their names with the next record; from any signal
        handler."""
        self._anew = True

    def write(self, record: FileRecord) -> None:
        if self._anew:
            self._anew, self._records = False, 0
            for sink in self._sinks:
                if sink.file is not None:
                    sink.file.begin_anew()
        self._records += 1
        for sink in self._sinks:
            with sink.writing():
                sink.renderer.write(record)
        self._drop()

    def finish(self, summary: Summary, how_far: str | None = None) -> None:
        """Finish every output.

        Args:
            how_far: how many files are done, of a scan that was stopped; for screens.
        """
        for sink in self._sinks:
            with sink.writing():
                sink.renderer.finish(summary)
                if how_far is not None and sink.remarks:
                    sink.console.print(Text(f"Stopped: {how_far}.", style="yellow"))
                if sink.file is not None:
                    size = sink.file.commit()
                    some = summary.flagged + summary.known_malware
                    records = some if sink.target.format.flagged else self._records
                    self.written.append(Written(sink.target, records, size))
        self._drop()

    def _drop(self) -> None:
        """Drop outputs whose reader went away, such as a closed stdout."""
        gone = [sink.gone for sink in self._sinks if sink.gone]
        if gone:
            self._sinks[:] = [sink for sink in self._sinks if not sink.gone]
            if not self._sinks:
                self.gone = Pipe(broken=True, overdue=any(pipe.overdue for pipe in gone))


def _on_disk(stream: TextIO) -> bool:
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):  # closed, or a test's buffer
        return False


@contextmanager
def opened_all(
    targets: Sequence[Target],
    options: RenderOptions,
    color: Color = "auto",
    *,
    append: bool = False,
) -> Iterator[Sinks]:
    """Open every output for a scan; the block ends with `Sinks.finish`.

    With `append` lines are added to files that are there, under their own names.

    After an error or a second Ctrl-C, partial files stay under their temporary names if their
    format can be read in part.

    Raises:
        MaltriageError: a file cannot be written, or the disk is full; or the error of the block,
            with the names of partial files.
    """
    sinks: list[_Sink] = []
    try:
        # Stdout last: files are complete before a reader of stdout can go away.
        for target in sorted(targets, key=lambda target: target.path is None):
            sinks.append(_Sink(target, options, color, append))
        yield Sinks(sinks)
    except (MaltriageError, KeyboardInterrupt) as error:
        left = [part for sink in sinks if sink.file and (part := sink.file.abandon())]
        if not left:
            raise
        said = f"records so far are in {', '.join(map(str, left))}"
        if isinstance(error, MaltriageError):
            whole = MaltriageError(f"{error}; {said}")
            whole.at_once = error.at_once
            raise whole from error
        sys.stderr.write(f"maltriage: stopped; {clean(said)}\n")
        raise
    finally:
        for sink in sinks:
            if sink.file is not None:
                sink.file.abandon()
