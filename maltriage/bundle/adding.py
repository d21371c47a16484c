"""Adds bundles to the folder of the user's own, and removes them: `maltriage models add`."""

from __future__ import annotations

import errno
import hashlib
import re
import secrets
import shutil
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from maltriage.bundle import added
from maltriage.bundle.added import INDEX_SUFFIX, MODEL_SUFFIX, RECORD, Added
from maltriage.bundle.file import Bundle, installed, load, shipped, verified
from maltriage.errors import MaltriageError
from maltriage.files.atomic import PartFolder, part_pattern, remove_leftovers, replace_file
from maltriage.files.lock import locked
from maltriage.files.private import make_private
from maltriage.version import __version__

LOCK = ".lock"
CheckIndex = Callable[[bytes, Bundle, str], None]
"""Raises MaltriageError where bytes are no index of a bundle; errors name them as the third says.
It is given, since the format of an index belongs to a floor above."""


def add(
    name: str,
    source: str,
    check_index: CheckIndex,
    *,
    model: bytes | None = None,
    index: bytes | None = None,
    force: bool = False,
) -> Added:
    """Add a bundle, its index, or both, under a name. All is checked before anything is written.

    Args:
        source: where it came from, for the record and for errors.
        model: the file of the bundle; None: `index` is of a model that is there.
        index: the file of its index.
        force: replace a model of that name that was added before.

    Returns:
        The record. Where the very files are there already nothing is written.

    Raises:
        MaltriageError: the name is taken, the files are no bundle and no index of it, or the
            folder cannot be written.
    """
    if not added.NAME.fullmatch(name):
        raise MaltriageError(
            f"{name!r}: not a name: letters, digits and . _ + -, at most 64; give one with --name"
        )
    bundle = _model_for_index(name) if model is None else _new(name, source, model)
    if index is not None:
        check_index(index, bundle, source)
    root = added.folder()
    try:
        make_private(root)
        with locked(root / LOCK, lambda: None):
            before = _before(name, force)
            if before is not None:
                if model is None and before.sha256:
                    model = bundle.model  # files of a model lie in one folder
                if not force and _differs(before, model, index):
                    raise MaltriageError(f"{name}: added before, as another file (--force)")
                if index is None and before.sha256 == _digest(model):
                    index = _kept_index(before, force)
                wanted = _digest(model), _digest(index)
                if not force and (before.sha256, before.index_sha256) == wanted:
                    return before
            return _write(name, source, model, index)
    except OSError as error:
        where = error.filename or root
        raise MaltriageError(f"cannot write {where}: {error.strerror or error}") from error


def remove(name: str) -> None:
    """Remove a model that was added, and its index.

    Raises:
        MaltriageError: none of that name was added, or it cannot be removed.
    """
    root = added.folder()
    place = root / name
    if not added.NAME.fullmatch(name) or not (place / RECORD).is_file():
        comes = name in {path.stem for path in shipped()}
        why = "it comes with this install" if comes else "maltriage models lists those that are"
        raise MaltriageError(f"no model {name} was added: {why}")
    try:
        with locked(root / LOCK, lambda: None):
            (place / RECORD).unlink()
            shutil.rmtree(place)
    except OSError as error:
        raise MaltriageError(f"cannot remove {place}: {error.strerror or error}") from error


def problem_of(found: Added, check_index: CheckIndex) -> str | None:
    """What is wrong with the files of a model that was added; None: nothing."""
    try:
        bundle = (
            _model_for_index(found.name) if found.model_path is None else load(found.model_path)
        )
        if found.index_path is not None:
            data = found.index_path.read_bytes()
            added.check(found.index_path, data)
            check_index(data, bundle, str(found.index_path))
    except MaltriageError as error:
        return str(error)
    except OSError as error:
        return f"cannot read {error.filename}: {error.strerror}"
    return None


def _new(name: str, source: str, model: bytes) -> Bundle:
    """The bundle of a file, if it may have that name."""
    bundle = verified(model, source)
    added.refuse_published_name(name, hashlib.sha256(model).hexdigest())
    if name in {path.stem for path in shipped()}:
        raise MaltriageError(f"{name}: comes with this install, so there is nothing to add")
    return bundle


def _model_for_index(name: str) -> Bundle:
    """The bundle that an index alone is added to."""
    path = installed().get(name)
    if path is None:
        raise MaltriageError(f"{name}: no such model to add an index to; add its bundle first")
    if path in shipped() and path.with_name(name + INDEX_SUFFIX).is_file():
        raise MaltriageError(f"{name}: its index comes with this install")
    return load(path)


def _before(name: str, force: bool) -> Added | None:
    try:
        return added.read(name)
    except MaltriageError:
        if force:
            return None
        raise


def _differs(before: Added, model: bytes | None, index: bytes | None) -> bool:
    """Whether files would take the place of others."""
    pairs = ((before.sha256, _digest(model)), (before.index_sha256, _digest(index)))
    return any(old and new and old != new for old, new in pairs)


def _kept_index(before: Added, force: bool) -> bytes | None:
    """The index of a model that is added again without one."""
    path = before.index_path
    if path is None:
        return None
    try:
        data = path.read_bytes()
        added.check(path, data)
    except (OSError, MaltriageError):
        if force:
            return None
        raise
    return data


def _write(name: str, source: str, model: bytes | None, index: bytes | None) -> Added:
    place = added.folder() / name
    record = Added(
        name=name,
        folder=secrets.token_hex(8),
        sha256=_digest(model),
        index_sha256=_digest(index),
        source=source,
        added=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        maltriage_version=__version__,
    )
    with PartFolder(place / record.folder) as folder:
        for suffix, data in ((MODEL_SUFFIX, model), (INDEX_SUFFIX, index)):
            if data is not None:
                with replace_file(folder.part / f"{name}{suffix}", sync=True) as stream:
                    stream.write(data)
        if not folder.commit():
            raise OSError(errno.EEXIST, "cannot be renamed", str(folder.part))
    with replace_file(place / RECORD, sync=True) as stream:
        stream.write(msgspec.json.format(msgspec.json.encode(record)) + b"\n")
    _tidy(place, record.folder)
    return record


def _tidy(place: Path, kept: str) -> None:
    """Remove what a replaced model and killed processes left. The lock is held."""
    with suppress(OSError):
        for path in list(place.iterdir()):
            if path.is_dir() and path.name != kept:
                shutil.rmtree(path, ignore_errors=True)
    remove_leftovers(place, part_pattern(re.escape(RECORD)), 0)


def _digest(data: bytes | None) -> str | None:
    return None if data is None else hashlib.sha256(data).hexdigest()
