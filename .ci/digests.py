"""Lists the digests of the files in models/: `make supply-chain`.

Entries of versions that were published before stay; those of this version are made anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from maltriage import __version__
from maltriage import bundle as bundles
from maltriage.bundle.digests import (
    DATA_LIST,
    LIST,
    Published,
    PublishedData,
    published,
    published_data,
)
from maltriage.files.atomic import write_file
from maltriage.probe.common import SHIPPED
from maltriage.similar.index_file import SUFFIX


def entries() -> list[Published]:
    """The list as it must be for the files in models/."""
    kept = [entry for entry in published() if entry.version != __version__]
    known = {entry.sha256 for entry in kept}
    made = []
    for path in bundles.shipped():
        bundle = bundles.load(path)
        index = path.with_name(path.stem + SUFFIX)
        entry = Published(
            name=path.stem,
            version=__version__,
            sha256=hashlib.sha256(bundle.model).hexdigest(),
            weights_sha256=bundle.card.weights_sha256,
            index_sha256=_digest(index) if index.exists() else None,
        )
        if entry.sha256 not in known:
            made.append(entry)
    return [*kept, *made]


def data() -> list[PublishedData]:
    """The list of other files, likewise."""
    kept = [entry for entry in published_data() if entry.version != __version__]
    sha256 = _digest(bundles.models_dir() / SHIPPED)
    if sha256 not in {entry.sha256 for entry in kept}:
        kept.append(PublishedData(file=SHIPPED, version=__version__, sha256=sha256))
    return kept


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def text(found: Sequence[Published | PublishedData]) -> bytes:
    """The list as JSON, an entry a line."""
    return b"[\n" + b",\n".join(msgspec.json.encode(entry) for entry in found) + b"\n]\n"


if __name__ == "__main__":
    write_file(LIST, text(entries()))
    write_file(DATA_LIST, text(data()))
