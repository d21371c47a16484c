"""Stores of files at URLs: one object a kind of store, and one registry.

A new kind is a line in `STORES` where all that file systems of fsspec have in common is enough
(`other`), and otherwise a file in this folder as well, with a function `store(host)` that gives a
`base.Store`. What is refused, hidden and imported ahead reads the registry. Importing this costs
nothing, and everything else that knows fsspec is in this folder.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of store. The defaults are what can be said of one that is not known."""

    schemes: tuple[str, ...]
    module: str = "other"
    """In this folder; any but `other` takes no more than the extra `remote`."""
    imports: tuple[str, ...] = ("fsspec",)
    """What it takes. Once such a URL is named, workers are forked from a process that has it."""
    user: bool = False
    """Whether a URL may have a user and a password before the host."""
    container: bool = False
    """Whether a URL has the container where others have the user: container@account."""
    single: bool = False
    """Whether a URL names a single file, and is written with escapes (`%21`)."""
    by_host: bool = True
    """Whether each host or bucket has a `base.Store` of its own."""


STORES = (
    Kind(("s3", "s3a"), "s3", ("s3fs",), by_host=False),
    Kind(
        ("http", "https"),
        "web",
        ("fsspec.implementations.http",),
        user=True,
        single=True,
        by_host=False,
    ),
    Kind(("abfs", "abfss"), container=True),
    Kind(("ftp", "hdfs", "sftp", "smb", "ssh", "webdav", "webhdfs"), user=True),
    Kind(("adl", "az", "gcs", "gs", "oci", "oss", "tos")),
    Kind(("box", "dropbox", "gdrive", "hf", "lakefs")),
)
"""Stores of files on other machines. fsspec knows more: wrappers around others, archives, which are
for `source.archive` to open, this machine's files, and services that are no stores of files."""

_BY_SCHEME = {scheme: kind for kind in STORES for scheme in kind.schemes}
SCHEMES = tuple(sorted(_BY_SCHEME))


def kind_of(scheme: str) -> Kind:
    """The kind of store that URLs of a scheme are of."""
    return _BY_SCHEME.get(scheme) or Kind((scheme,))
