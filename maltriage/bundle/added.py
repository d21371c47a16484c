"""Bundles that the user added, in a folder of their own. This reads it; `adding` writes it.

    NAME/added.json                 the record of a model: its digests, and the folder of its files
    NAME/<16 digits>/NAME.onnx      the bundle; missing where only an index was added
    NAME/<16 digits>/NAME.index.npz its index, if it has one

The record is written last, so a model is there whole or not at all. Files are held to the digests
in the record whenever they are read. Published names come first: a model of such a name must be
the published one, whatever its record says.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec

from maltriage.bundle.digests import published
from maltriage.errors import MaltriageError
from maltriage.files.decoding import decoded
from maltriage.files.places import models_dir
from maltriage.files.private import trouble

RECORD = "added.json"
MODEL_SUFFIX, INDEX_SUFFIX = ".onnx", ".index.npz"
MAX_RECORD_BYTES = 64 * 1024
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
"""Names of models: they are names of files, too."""
FORMAT = 1

Digest = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]


class Added(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The record of a model that was added. `sha256` None: only an index was."""

    format: int = FORMAT
    name: str
    folder: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{16}\Z")]
    sha256: Digest | None = None
    index_sha256: Digest | None = None
    source: str
    """The file or URL that it came from, without secrets."""
    added: str
    maltriage_version: str

    @property
    def model_path(self) -> Path | None:
        """Path of the bundle."""
        return self._path(MODEL_SUFFIX) if self.sha256 else None

    @property
    def index_path(self) -> Path | None:
        """Path of the index."""
        return self._path(INDEX_SUFFIX) if self.index_sha256 else None

    def _path(self, suffix: str) -> Path:
        return folder() / self.name / self.folder / f"{self.name}{suffix}"


def folder() -> Path:
    """The folder of all models that were added."""
    return models_dir()


_decoder = msgspec.json.Decoder(Added)


def read(name: str) -> Added | None:
    """The record of a model; None: there is none.

    Raises:
        MaltriageError: it is damaged, or others may write to the folder.
    """
    if not NAME.fullmatch(name):
        return None
    path = folder() / name / RECORD
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_RECORD_BYTES + 1)
        wrong = trouble(folder(), of_root=True) or trouble(path.parent, of_root=True)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise MaltriageError(f"cannot read {path}: {error.strerror}") from error
    if wrong is not None:
        raise MaltriageError(f"{folder()}: models there are not used: {wrong}")
    try:
        if len(data) > MAX_RECORD_BYTES:
            raise msgspec.ValidationError("too large")
        found = decoded(data, _decoder)
        if (found.format, found.name) != (FORMAT, name) or not (found.sha256 or found.index_sha256):
            raise msgspec.ValidationError("of another model or version")
    except msgspec.MsgspecError as error:
        raise MaltriageError(
            f"{path}: a damaged record ({error}): maltriage models remove {name}"
        ) from error
    return found


def records() -> Iterator[tuple[str, Added | MaltriageError]]:
    """The names of all models that were added, sorted, with their records or what is wrong."""
    try:
        names = sorted(path.name for path in folder().iterdir() if NAME.fullmatch(path.name))
    except OSError:
        return
    for name in names:
        try:
            found = read(name)
        except MaltriageError as error:
            yield name, error
            continue
        if found is not None:
            yield name, found


def check(path: Path, data: bytes) -> None:
    """Hold a file that was read to its record, if it is one of a model that was added.

    Raises:
        MaltriageError: it is not the file that was added, or its name is a published one's.
    """
    # By the path that was named, or by what links in it lead to.
    models, ways = folder().resolve(), (Path(os.path.abspath(path)), path.resolve())
    own = next((way for way in ways if way.parent.parent.parent.resolve() == models), None)
    if own is None:
        return
    name, found = own.parent.parent.name, read(own.parent.parent.name)
    if found is None or own.parent.name != found.folder:
        raise MaltriageError(f"{path}: no model that was added")
    is_index = path.name.endswith(INDEX_SUFFIX)
    digest = hashlib.sha256(data).hexdigest()
    if digest != (found.index_sha256 if is_index else found.sha256):
        raise MaltriageError(
            f"{path}: not the file that was added (digest): add it again with --force, or"
            f" maltriage models remove {name}"
        )
    if not is_index:
        refuse_published_name(name, digest)


def refuse_published_name(name: str, sha256: str) -> None:
    """Raise MaltriageError where a name is a published bundle's, and the file is another."""
    known = {entry.sha256 for entry in published() if entry.name == name}
    if known and sha256 not in known:
        raise MaltriageError(
            f"{name}: the name of a published model, and this is another file: name it with --name"
        )
