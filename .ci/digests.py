"""Lists the digests of the bundles in models/ and of their indexes: `make published`.

Entries of versions that were published before stay; those of this version are made anew.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from maltriage import __version__
from maltriage import bundle as bundles
from maltriage.bundle.digests import LIST, Published, published
from maltriage.files.atomic import write_file
from maltriage.similar.index import SUFFIX


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


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def text(found: list[Published]) -> bytes:
    """The list as JSON, an entry a line."""
    return b"[\n" + b",\n".join(msgspec.json.encode(entry) for entry in found) + b"\n]\n"


if __name__ == "__main__":
    write_file(LIST, text(entries()))
