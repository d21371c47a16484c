"""Reads the file of a bundle or an index to be added, from this machine or a URL.

A URL is read through the extra `remote`, as `scan` reads one, and only where the digest of its file
is known beforehand: given by the user, or that of the published file of this name.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from maltriage.bundle.added import INDEX_SUFFIX, MODEL_SUFFIX
from maltriage.bundle.digests import published
from maltriage.errors import MaltriageError
from maltriage.sample.errors import SampleError
from maltriage.source.urls import is_url, scheme_of, seal, shown

SCHEMES = ("https", "http", "s3", "s3a")


def name_of(source: str) -> str:
    """The name of a model, from the name of its file or of its index."""
    last = _last(source)
    for suffix in (INDEX_SUFFIX, MODEL_SUFFIX):
        if last.endswith(suffix):
            return last.removesuffix(suffix)
    return last


def is_index(source: str) -> bool:
    """Whether a file or URL is an index, by its name."""
    return _last(source).endswith(INDEX_SUFFIX)


def index_beside(source: str) -> str | None:
    """The index beside the file of a bundle on this machine, if there is one."""
    if is_url(source) or not source.endswith(MODEL_SUFFIX):
        return None
    path = source.removesuffix(MODEL_SUFFIX) + INDEX_SUFFIX
    return path if Path(path).is_file() else None


def fetched(source: str, name: str, sha256: str | None, limit: int) -> bytes:
    """The bytes of a file or URL, held to their digest where one is known.

    Args:
        name: of the model.
        sha256: the digest that the file must have, in hex; None: any for a file of this machine,
            for a URL one that was published.
        limit: bytes.

    Raises:
        MaltriageError: it cannot be read, is too large, or has another digest.
    """
    if sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise MaltriageError(f"no SHA-256 in hex: {sha256}")
    wanted = {sha256.lower()} if sha256 else set[str]()
    if not is_url(source):
        data, said = _of_file(source, limit), source
    else:
        said = shown(source)
        if not wanted:
            wanted = _published(name, index=is_index(source))
        if not wanted:
            raise MaltriageError(f"{said}: a file from a URL needs its digest (--sha256)")
        data = _of_url(source, limit)
    if len(data) > limit:
        raise _too_large(said, limit)
    digest = hashlib.sha256(data).hexdigest()
    if wanted and digest not in wanted:
        raise MaltriageError(f"{said}: another file than expected: its SHA-256 is {digest}")
    return data


def _last(source: str) -> str:
    if is_url(source):
        return unquote(urlsplit(source).path.rpartition("/")[2])
    return Path(source).name


def _published(name: str, *, index: bool) -> set[str]:
    """The digests of the published files of a name."""
    entries = [entry for entry in published() if entry.name == name]
    digests = {entry.index_sha256 if index else entry.sha256 for entry in entries}
    return {digest for digest in digests if digest}


def _of_file(source: str, limit: int) -> bytes:
    path = Path(source)
    try:
        if path.exists() and not path.is_file():  # a device or pipe may never end
            raise MaltriageError(f"{source}: not a file")
        with path.open("rb") as stream:
            return stream.read(limit + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MaltriageError(f"cannot read {source}: {reason}") from error


def _of_url(source: str, limit: int) -> bytes:
    from maltriage.source import remote as urls

    (said,), remote = seal([source])
    scheme = scheme_of(source)
    if scheme not in SCHEMES:
        raise MaltriageError(f"{said}: models are read from {', '.join(SCHEMES)}")
    urls.check([source])
    assert remote is not None
    try:
        if scheme in ("http", "https"):
            from maltriage.source.stores.web import Web

            stream, _ = Web(same_scheme=True).open(remote.whole(said), limit)
            with stream:
                return stream.read()
        with urls.opened(said, remote, limit) as (stream, size):
            return stream.read() if size <= limit else bytes(limit + 1)
    except SampleError as error:
        if error.code == "too-large":
            raise _too_large(said, limit) from error
        raise MaltriageError(f"cannot read {said}: {error.reason}") from error


def _too_large(said: str, limit: int) -> MaltriageError:
    return MaltriageError(f"{said}: larger than {limit:,} bytes")
