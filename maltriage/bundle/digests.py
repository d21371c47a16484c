"""The lists of the bundles and files that were published, which come with the code.

The digest in a card holds a bundle together, and whoever changes a bundle can change it, too. This
list is in the project's documents as well.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec

from maltriage.files.decoding import decoded

LIST = Path(__file__).with_name("published.json")
DATA_LIST = Path(__file__).with_name("published_data.json")


class Published(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A bundle as it was published. `sha256` is of its file, `index_sha256` of the index beside."""

    name: str
    version: str
    """Of the maltriage that it was first published with."""
    sha256: str
    weights_sha256: str
    index_sha256: str | None = None


class PublishedData(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Another file as it was published: the index of clean programs."""

    file: str
    version: str
    """Of the maltriage that it was first published with."""
    sha256: str


@cache
def published() -> tuple[Published, ...]:
    """Every bundle that was published, the latest version of a name last."""
    return decoded(LIST.read_bytes(), msgspec.json.Decoder(tuple[Published, ...]))


@cache
def published_data() -> tuple[PublishedData, ...]:
    """Every other file that was published, the latest version of a file last."""
    return decoded(DATA_LIST.read_bytes(), msgspec.json.Decoder(tuple[PublishedData, ...]))
