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
from maltriage.bundle import Bundle
from maltriage.errors import MaltriageError
from maltriage.report.documents.record import Failed, Record, Result, Skipped, Summary
from maltriage.similar.groups import grouped
from maltriage.source.archive.limits import Archives
from maltriage.source.files import WalkOptions
from maltriage.source.reading import MAX_FILE_BYTES
from maltriage.source.stdin import STDIN, read_stdin
from maltriage.triage.options import ScanOptions
from maltriage.triage.pipeline import scan as scan_paths
from maltriage.work.supervisor import DYING

__all__ = [
    "Failed",
    "MaltriageError",
    "Model",
    "Record",
    "Result",
    "Skipped",
    "Summary",
    "explain",
    "load_model",
    "scan",
]

Model = Bundle
PathLike = str | os.PathLike[str]
Buffer = bytes | bytearray | memoryview

MAX_WORKERS, MIN_TIMEOUT, MAX_SIZE = 1024, 0.1, 1 << 40
"""Limits of the arguments, as on the command line."""
MODEL = "a model, or its name or path"


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
    archives: bool = True,
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
        archives: whether archives are opened.
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
    _check(timeout, max_size, workers)
    named = _paths(paths)
    known = _known(model)
    options = ScanOptions(
        walk=WalkOptions(max_size=max_size),
        archives=Archives() if archives else None,
        members="each",
        jobs=workers,
        timeout=timeout,
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

    Raises:
        MaltriageError: an argument is wrong; the file cannot be read or is no sample, with the
            reason, or is a folder; or the model cannot be used, or does not know the label.
    """
    _check(timeout, max_size)
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
            archives=Archives(),
            members="first",
            jobs=1,
            batch_size=1,
            timeout=timeout,
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
        raise MaltriageError(f"{record.path}: {record.reason}")
    raise MaltriageError(f"{path}: a folder without a file in it")


def _model(model: Model | str | None) -> Model:
    return model if isinstance(model, Bundle) else load_model(model)


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


def _check(timeout: Any, max_size: Any, workers: Any = 0) -> None:
    """Raise MaltriageError if an argument is wrong, before anything starts."""
    for name, value, kind, least, most, wanted in (
        ("workers", workers, Integral, 0, MAX_WORKERS, f"a whole number from 0 to {MAX_WORKERS:,}"),
        ("timeout", timeout, Real, MIN_TIMEOUT, math.inf, f"seconds, {MIN_TIMEOUT} or more"),
        ("max_size", max_size, Integral, 1, MAX_SIZE, f"a whole number from 1 to {MAX_SIZE:,}"),
    ):
        number = isinstance(value, kind) and not isinstance(value, bool)
        if not (number and least <= value <= most):
            raise MaltriageError(f"{name}={value!r}: not {wanted}")


@contextmanager
def _guard_named() -> Iterator[None]:
    """A block of which an error names the guard that a script lacks, as far as that can be told."""
    try:
        yield
    except MaltriageError as error:
        script = getattr(sys.modules.get("__main__"), "__file__", None) or ""  # workers import it
        if not (os.path.isfile(script) and str(error).endswith(DYING)):
            raise
        guard = 'a script needs `if __name__ == "__main__":`'
        raise MaltriageError(f"{error} ({guard})") from error


def _in_words_of_python(record: Record) -> Record:
    """A record whose reason names the argument, not the option of the command line."""
    if isinstance(record, Skipped | Failed) and record.code == "too-large":
        reason = record.reason.replace("--max-size", "max_size")
        return msgspec.structs.replace(record, reason=reason)
    return record
