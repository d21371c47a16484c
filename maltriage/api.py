"""The public Python interface, as `import maltriage` offers it.

Everything else in the package is private by convention and changes without notice.
"""

from __future__ import annotations

import io
import math
import os
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import msgspec

from maltriage import bundle as bundles
from maltriage.bundle import Bundle, Card
from maltriage.errors import MaltriageError
from maltriage.report.documents.evidence import Evidence, RegionHeat
from maltriage.report.documents.record import (
    Failed,
    Record,
    Result,
    Skipped,
    Summary,
    Verdict,
    encode,
)
from maltriage.report.sanitize import json_safe
from maltriage.report.saved import reader
from maltriage.similar.groups import grouped
from maltriage.similar.search import NO_INDEX
from maltriage.source.archive.limits import Archives
from maltriage.source.files import WalkOptions
from maltriage.source.reading import MAX_FILE_BYTES
from maltriage.source.stdin import STDIN, read_stdin
from maltriage.triage.options import ScanOptions
from maltriage.triage.pipeline import scan as scan_paths
from maltriage.work.supervisor import DYING

__all__ = [
    "Archives",
    "Card",
    "Evidence",
    "Failed",
    "MaltriageError",
    "Model",
    "Record",
    "RegionHeat",
    "Result",
    "Skipped",
    "Summary",
    "Verdict",
    "explain",
    "load_model",
    "read_report",
    "scan",
    "to_json",
]

Model = Bundle
PathLike = str | os.PathLike[str]
Buffer = bytes | bytearray | memoryview

MAX_WORKERS, MIN_TIMEOUT, MAX_SIZE = 1024, 0.1, 1 << 40
"""Limits of the arguments, as on the command line."""
MODEL = "a model, or its name or path"
OWN_INDEX = "default"
"""Given as an index: that of the model, if it has one."""

IN_PYTHON = {
    "(--max-size ": "(max_size ",
    "(--max-members ": "(Archives.members ",
    "(--max-unpacked ": "(Archives.unpacked ",
    "(--max-ratio ": "(Archives.ratio ",
    "(--max-nesting ": "(Archives.nesting ",
    "(--max-time ": "(Archives.seconds ",
    "(--max-carved ": "(Archives.carve ",
    "(--password ": "(Archives.passwords ",
    "(--index none)": "(index=None)",
}
"""What a message names: the option of the command line, and the argument here."""


def load_model(model: PathLike | None = None) -> Model:
    """Read and verify a model.

    Args:
        model: path of a bundle, or the name of one that ships; None: the default.

    Returns:
        The model; `model.card` has its labels and its threshold.

    Raises:
        MaltriageError: there is no such model, or it is damaged.
    """
    return bundles.load(bundles.resolve(None if model is None else _path("model", model, MODEL)))


def scan(
    paths: PathLike | Iterable[PathLike],
    *,
    model: Model | PathLike | None = None,
    workers: int = 0,
    timeout: float = 60.0,
    max_size: int = MAX_FILE_BYTES,
    archives: Archives | bool = True,
    index: PathLike | None = None,
    fpr: float | None = None,
    hashes: bool = False,
    groups: bool = True,
    stop: Callable[[], bool] = lambda: False,
) -> Generator[Record, None, None]:
    """Scan files and folders: a record for each file, in the order of the walk, then the summary.

    Files are read in worker processes, so the module that calls this needs the usual
    `if __name__ == "__main__":`. Nothing is kept between calls, and nothing is written. Workers
    begin with the first record, and end with the last one, or with `close`.

    Args:
        paths: files and folders; programs in archives are samples of their own.
        model: as for `load_model`, or one that was loaded.
        workers: worker processes, 1,024 at most; 0: one for each core.
        timeout: seconds for each file, 0.1 or more.
        max_size: bytes of the largest file that is read.
        archives: whether archives are opened, or with which passwords and limits.
        index: index of labelled files to compare with, which also knows malware by its hash;
            `default`: that of the model, if it has one, as on the command line; None: none.
        fpr: false-positive rate to flag at, one that the model has a threshold for
            (`model.card.threshold`); None: its own.
        hashes: whether records also hold md5, sha1 and TLSH.
        groups: whether similar files are grouped.
        stop: called between files; once it returns true, no file is begun and the summary is
            marked as interrupted. Files under way, up to 64, still have records.

    Yields:
        `Result`, `Skipped` or `Failed` for each file, then a `Summary`.

    Raises:
        MaltriageError: an argument is wrong, which the call itself says; or the model cannot be
            used, or workers cannot start, which the first record does.
    """
    _check(timeout, max_size, workers, archives, fpr)
    named = _paths(paths)
    known = _known(model)
    options = ScanOptions(
        walk=WalkOptions(max_size=max_size),
        archives=_archives(archives),
        members="each",
        index=_index(index),
        jobs=workers,
        timeout=timeout,
        fpr=fpr,
        hashes=hashes,
    )
    return _records(named, known, options, groups, stop)


def _records(
    paths: list[str],
    model: Model | str | None,
    options: ScanOptions,
    groups: bool,
    stop: Callable[[], bool],
) -> Generator[Record, None, None]:
    """The records of `scan`."""
    with _guard_named():
        records = scan_paths(paths, _model(model), options, stop=stop)
        for record in grouped(records) if groups else records:
            yield _in_words_of_python(record)


def explain(
    sample: PathLike | Buffer,
    *,
    model: Model | PathLike | None = None,
    label: str | None = None,
    against: str | None = None,
    method: str = "hirescam",
    verify: bool = True,
    timeout: float = 60.0,
    max_size: int = MAX_FILE_BYTES,
    archives: Archives | bool = True,
    index: PathLike | None = None,
    fpr: float | None = None,
) -> Result:
    """Explain one sample: its verdict, the regions and bytes behind it, and their content.

    Args:
        sample: path of a file, or the bytes of one (`bytes`, `bytearray`, `memoryview`), which are
            never written.
        model: as for `load_model`, or one that was loaded.
        label: label to explain; None: that of the verdict.
        against: label whose score is subtracted from that of `label`.
        method: method of explanation: `hirescam`, `gradcam` or `occlusion`.
        verify: whether the evidence is checked by masking bytes.
        timeout: seconds for the file, 0.1 or more.
        max_size: bytes of the largest file that is read.
        archives: as for `scan`.
        index: as for `scan`.
        fpr: as for `scan`.

    Raises:
        MaltriageError: an argument is wrong; the file cannot be read or is no sample, with the
            reason, or is a folder; or the model cannot be used, or does not know the label.
    """
    _check(timeout, max_size, archives=archives, fpr=fpr)
    known = _known(model)
    with ExitStack() as resources:
        stdin, path = None, STDIN
        if isinstance(sample, Buffer):
            stdin = resources.enter_context(read_stdin(io.BytesIO(bytes(sample)), max_size))
        else:
            path = _path("sample", sample, "a path, or bytes")
            path = str(Path(path).absolute()) if path == STDIN else path
            if os.path.isdir(path):
                raise MaltriageError(f"{path}: a folder (scan takes folders, explain files)")
        options = ScanOptions(
            walk=WalkOptions(max_size=max_size, stdin=stdin),
            archives=_archives(archives),
            members="first",
            index=_index(index),
            jobs=1,
            batch_size=1,
            timeout=timeout,
            fpr=fpr,
            label=label,
            against=against,
            methods=(method,),
            checks=0 if verify else None,
            close=True,
        )
        with _guard_named():
            record, *_ = scan_paths([path], _model(known), options)
    record = _in_words_of_python(record)
    if isinstance(record, Result):
        return record
    if isinstance(record, Skipped | Failed):
        raise MaltriageError(f"{'bytes' if stdin else record.path}: {record.reason}")
    raise MaltriageError(f"{path}: a folder without a file in it")


def read_report(path: PathLike) -> Generator[Record, None, None]:
    """Read the records of a saved report: JSON or NDJSON of `scan` or `explain`.

    Args:
        path: of the report. One that is cut off has the whole records; where it is of a scan, no
            `Summary` is the last of them.

    Raises:
        MaltriageError: the path is none, which the call itself says; or the file cannot be read,
            is no report, or is of an unknown schema.
    """
    return _reported(_path("path", path, "a path"))


def _reported(path: str) -> Generator[Record, None, None]:
    """The records of `read_report`."""
    for record in reader.read(path):
        if not isinstance(record, reader.Cut):
            yield record


def to_json(record: Record) -> bytes:
    """A record as one line of JSON without a line feed, as in `maltriage scan --format ndjson`.

    It is UTF-8 whatever names a sample has, and safe to print: hidden characters are escaped.
    """
    return json_safe(encode(record))


def _model(model: Model | str | None) -> Model:
    return model if isinstance(model, Bundle) else load_model(model)


def _archives(archives: Archives | bool) -> Archives | None:
    if isinstance(archives, Archives):
        return archives
    return Archives() if archives else None


def _index(index: PathLike | None) -> str | None:
    """An index, as `open_index` takes it."""
    if index is None:
        return NO_INDEX
    path = _path("index", index, f"a path, {OWN_INDEX!r} or None")
    return None if path == OWN_INDEX else str(Path(path).absolute())


def _known(model: Any) -> Model | str | None:
    """A model or its name, as an argument; raises MaltriageError."""
    return model if isinstance(model, Bundle | None) else _path("model", model, MODEL)


def _paths(paths: Any) -> list[str]:
    """Paths to scan, as an argument; raises MaltriageError."""
    several = [paths] if isinstance(paths, str | os.PathLike | Buffer) else paths
    if not isinstance(several, Iterable):
        raise MaltriageError(f"paths={paths!r}: not a path, or several")
    return [_path("paths", path, "a path (explain takes bytes)") for path in several]


def _path(name: str, path: Any, wanted: str) -> str:
    """A path, as an argument; raises MaltriageError."""
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if isinstance(text, str):
        with suppress(UnicodeEncodeError):
            if b"\0" not in os.fsencode(text):
                return text
    shown = type(path).__name__ if isinstance(path, Buffer) else repr(path)
    raise MaltriageError(f"{name}={shown}: not {wanted}")


def _check(
    timeout: Any, max_size: Any, workers: Any = 0, archives: Any = True, fpr: Any = None
) -> None:
    """Raise MaltriageError if an argument is wrong, before anything starts."""
    _number("workers", workers, 0, MAX_WORKERS)
    _seconds("timeout", timeout, MIN_TIMEOUT)
    _number("max_size", max_size, 1, MAX_SIZE)
    if fpr is not None and not (_is_real(fpr) and 0.0 < fpr < 1.0):
        raise MaltriageError(f"fpr={fpr!r}: not a rate between 0 and 1")
    if not isinstance(archives, Archives | bool):
        raise MaltriageError(f"archives={archives!r}: not True, False or Archives(...)")
    if isinstance(archives, Archives):
        for name in ("members", "unpacked", "ratio", "nesting", "carve"):
            least = 0 if name == "carve" else 1
            _number(f"Archives.{name}", getattr(archives, name), least, MAX_SIZE)
        _seconds("Archives.seconds", archives.seconds, 1.0)
        words = archives.passwords
        if not (isinstance(words, tuple) and all(isinstance(word, str) for word in words)):
            raise MaltriageError(f"Archives.passwords={words!r}: not a tuple of str")


def _number(name: str, value: Any, least: int, most: int) -> None:
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not (whole and least <= value <= most):
        raise MaltriageError(f"{name}={value!r}: not a whole number from {least} to {most:,}")


def _is_real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _seconds(name: str, value: Any, least: float) -> None:
    if not (_is_real(value) and least <= value <= math.inf):
        raise MaltriageError(f"{name}={value!r}: not seconds, {least:g} or more")


@contextmanager
def _guard_named() -> Iterator[None]:
    """A block whose errors name arguments, and the guard that a script lacks, as far as that can be
    told."""
    try:
        yield
    except MaltriageError as error:
        said = _in_python(str(error))
        script = getattr(sys.modules.get("__main__"), "__file__", None) or ""  # workers import it
        if said.endswith(DYING) and os.path.isfile(script):
            said += ' (a script needs `if __name__ == "__main__":`)'
        elif said.endswith(DYING) and script == "<stdin>":
            said += " (a script needs a file, for workers to import)"
        if said == str(error):
            raise
        raise MaltriageError(said) from error


def _in_words_of_python(record: Record) -> Record:
    """A record whose reason names the argument, not the option of the command line."""
    if isinstance(record, Skipped | Failed):
        return msgspec.structs.replace(record, reason=_in_python(record.reason))
    return record


def _in_python(text: str) -> str:
    for option, argument in IN_PYTHON.items():
        text = text.replace(option, argument)
    return text
