"""How a bundle and its index stand to those that were published."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import msgspec

from maltriage.bundle.digests import published, published_data
from maltriage.bundle.file import Bundle, models_dir
from maltriage.files.regular import digest_of


class Standing(msgspec.Struct, frozen=True):
    """Whether a file is one that was published: `published`, `differs` from the published one of
    its name, or `unknown`, a name that was not published. `text` says it in words.
    """

    state: Literal["published", "differs", "unknown"]
    text: str


def ships(path: Path | str) -> bool:
    """Whether a file lies in the folder of the models that ship."""
    return Path(path).resolve().parent == models_dir().resolve()


def standing_of(bundle: Bundle) -> Standing:
    """How a bundle stands to the published ones, by the digest of its file."""
    digest, stem = hashlib.sha256(bundle.model).hexdigest(), Path(bundle.path).stem
    known = published()
    of_name = {n: [entry for entry in known if entry.name == n] for n in (stem, bundle.card.name)}
    for entry in known:
        if entry.sha256 == digest and (entry.name == stem or not of_name[stem]):
            return Standing("published", f"published with maltriage {entry.version}")
        if entry.sha256 == digest:
            return Standing("differs", f"differs from the published {stem}: it is {entry.name}")
    for name, entries in of_name.items():
        if entries:
            same = bundle.card.weights_sha256 in {entry.weights_sha256 for entry in entries}
            how = "the same graph with another card" if same else "another graph"
            return Standing("differs", f"differs from the published {name}: {how}")
    return Standing("unknown", "not a published bundle")


def index_standing(path: Path) -> Standing:
    """How an index stands to the published ones, by the digest of its file.

    Raises:
        MaltriageError: it cannot be read.
    """
    digest = digest_of(path, "index")
    for entry in published():
        if entry.index_sha256 == digest:
            return Standing("published", f"published with maltriage {entry.version}")
    name = path.name.partition(".")[0]
    if any(entry.name == name for entry in published()):
        return Standing("differs", f"differs from the published index of {name}")
    return Standing("unknown", "not a published index")


def data_standing(path: Path) -> Standing:
    """How the index of clean programs stands to the published ones, by the digest of its file.

    Raises:
        MaltriageError: it cannot be read.
    """
    digest, known = digest_of(path, "file"), published_data()
    for entry in known:
        if entry.sha256 == digest:
            return Standing("published", f"published with maltriage {entry.version}")
    if any(entry.file == path.name for entry in known):
        return Standing("differs", f"differs from the published {path.name}")
    return Standing("unknown", "not a published file")
