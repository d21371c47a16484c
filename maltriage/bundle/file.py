"""Finds, reads, verifies and writes bundle files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from maltriage.bundle import added
from maltriage.bundle.card import Card, read_card
from maltriage.bundle.digests import Published, published
from maltriage.bundle.graph import check_graph, parse, weights_sha256
from maltriage.bundle.wire import metadata, output_width
from maltriage.errors import MaltriageError
from maltriage.files.atomic import write_file

if TYPE_CHECKING:
    from onnx import ModelProto

CARD_KEY = "maltriage.card"
MAX_BUNDLE_BYTES = 1024 * 1024 * 1024
"""VGG-16 with its dense layers for pictures of 224 x 224 has 553 MB of weights."""
MAX_CARD_BYTES = 4 * 1024 * 1024


class Bundle(msgspec.Struct, frozen=True):
    """A verified bundle: its path, its card and its bytes (for the session)."""

    path: str
    card: Card
    model: bytes

    @property
    def embedding_width(self) -> int | None:
        """Numbers of an embedding, as the graph says; None: it does not."""
        try:
            return output_width(self.model, "embedding")
        except ValueError:
            return None


def models_dir() -> Path:
    """Folder of the bundles that ship with the package, in a wheel or in a checkout."""
    here = Path(__file__).parents[1]
    return here / "models" if (here / "models").is_dir() else here.parent / "models"


DEFAULT_MODEL = "maltriage-evidence-int8"


def shipped() -> list[Path]:
    """The bundles that come with the package."""
    return sorted(models_dir().glob("*.onnx"))


def installed() -> dict[str, Path]:
    """The bundles that a name stands for: those that come with the package, and added ones."""
    mine = {
        name: found.model_path
        for name, found in added.records()
        if isinstance(found, added.Added) and found.model_path is not None
    }
    return mine | {path.stem: path for path in shipped()}


def missing() -> list[Published]:
    """The published bundles that are not installed, in their latest version."""
    latest = {entry.name: entry for entry in published()}
    here = installed()
    return [entry for name, entry in sorted(latest.items()) if name not in here]


def how_to_add(file: str) -> str:
    """The command that adds a published file, which lies in `models/` of the repository."""
    return f"maltriage models add models/{file}"


def resolve(model: str | None) -> Path:
    """Path of a bundle, from a path or a name: a shipped one's, then one's that the user added.

    Args:
        model: None: the default.

    Raises:
        MaltriageError: there is none, or its record is damaged.
    """
    name = model or DEFAULT_MODEL
    path = Path(name)
    if path.is_file():
        return path
    known = {p.stem: p for p in shipped()}
    if name in known:
        return known[name]
    mine = added.read(name)
    if mine is not None and mine.model_path is not None:
        return mine.model_path
    if any(entry.name == name for entry in missing()):
        raise MaltriageError(
            f"no such model here: {name} does not come with this install; "
            f"{how_to_add(name + added.MODEL_SUFFIX)}"
        )
    names = ", ".join(sorted(installed())) or "none"
    raise MaltriageError(f"no such model: {name} (not a file; installed: {names})")


def load(path: Path | str) -> Bundle:
    """Read and verify a bundle: card, digest, inputs and outputs.

    Raises:
        MaltriageError: the file is missing, is no bundle, or does not match its card.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > MAX_BUNDLE_BYTES:
            raise MaltriageError(f"{path}: larger than {MAX_BUNDLE_BYTES} bytes, not a bundle")
        data = path.read_bytes()
    except OSError as error:
        raise MaltriageError(f"cannot read model {path}: {error.strerror}") from error
    added.check(path, data)
    return verified(data, path)


def verified(data: bytes, path: Path | str) -> Bundle:
    """A bundle from the bytes of its file, verified as in `load`.

    Args:
        path: its name in errors.

    Raises:
        MaltriageError: the bytes are no bundle, or do not match their card.
    """
    path = Path(path)
    try:
        return _verified(data, path)
    except UnicodeDecodeError as error:  # in any string of the graph
        raise MaltriageError(f"{path}: damaged: text that is not UTF-8") from error


def _verified(data: bytes, path: Path) -> Bundle:
    digest = hashlib.sha256(data).hexdigest()
    if any(entry.sha256 == digest for entry in published()):
        # All of it was checked when it was published: a test holds the list to that.
        return Bundle(str(path), read_card(metadata(data, CARD_KEY) or "", path), data)
    return _checked(data, path)


def _checked(data: bytes, path: Path) -> Bundle:
    model = parse(data, path)
    cards = [entry.value for entry in model.metadata_props if entry.key == CARD_KEY]
    if len(cards) != 1 or len(cards[0]) > MAX_CARD_BYTES:
        raise MaltriageError(f"{path}: an ONNX file without a maltriage card, not a bundle")
    card = read_card(cards[0], path)
    if weights_sha256(model) != card.weights_sha256:
        raise MaltriageError(f"{path}: the graph is not the one its card describes (digest)")
    check_graph(model, card, path)
    return Bundle(str(path), card, data)


def at_rate(bundle: Bundle, fpr: float | None) -> Bundle:
    """The bundle with the threshold that its card has for a false-positive rate.

    Args:
        fpr: None: the card's own.

    Raises:
        MaltriageError: the card has none for it.
    """
    if fpr is None:
        return bundle
    limit = bundle.card.threshold
    found = None if limit is None else limit.for_rate(fpr)
    if found is None:
        rates = [] if limit is None else sorted({limit.fpr, *(p.fpr for p in limit.points)})
        known = ", ".join(f"{rate:g}" for rate in rates) or "none"
        raise MaltriageError(
            f"{Path(bundle.path).stem} has no threshold for a false-positive rate of {fpr:g}"
            f" (it has {known}): set one with maltriage calibrate"
        )
    return msgspec.structs.replace(
        bundle, card=msgspec.structs.replace(bundle.card, threshold=found)
    )


def packed(model: ModelProto, card: Card, path: Path | str) -> Bundle:
    """An ONNX model with its card, ready to be written to `path`.

    The card has `weights_sha256` filled in.

    Raises:
        MaltriageError: card and graph do not match, or the bundle is too large.
    """
    path = Path(path)
    del model.metadata_props[:]
    card = msgspec.structs.replace(card, weights_sha256=weights_sha256(model))
    text = msgspec.json.encode(card).decode()
    if len(text) > MAX_CARD_BYTES:
        raise MaltriageError(
            f"{path}: a card of {len(text):,} bytes, for {len(card.labels):,} labels, is not read"
            f" again: at most {MAX_CARD_BYTES:,}"
        )
    check_graph(model, read_card(text, path), path)
    entry = model.metadata_props.add()
    entry.key, entry.value = CARD_KEY, text
    data = model.SerializeToString(deterministic=True)
    if len(data) > MAX_BUNDLE_BYTES:
        raise MaltriageError(f"{path}: a bundle above {MAX_BUNDLE_BYTES} bytes is not read again")
    return Bundle(str(path), card, data)


def save(model: ModelProto, card: Card, path: Path | str) -> Card:
    """Write a model with its card, atomically.

    Returns:
        The card as written, see `packed`.
    """
    made = packed(model, card, path)
    write_file(Path(path), made.model)
    return made.card


def with_card(bundle: Bundle, card: Card, path: Path | str) -> Card:
    """Write the bundle's graph with another card (a new threshold, say)."""
    return save(parse(bundle.model, Path(bundle.path)), card, path)
