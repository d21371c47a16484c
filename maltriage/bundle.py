"""A bundle: a trained model as it ships, one ONNX file that carries its own card.

The contract between `learn`, which writes bundles, and `triage`, which runs them.

Graph inputs (batch axis dynamic):
    body        uint8 [B, C, S, S]
    <window>    uint8 [B, 2, N]      bytes and presence, one input per window
    target      int64 [B]            label to explain; -1: chosen in the graph, see below
    against     int64 [B]            label to explain it against; -1: the mean of all labels
    threshold   float32 [B]          with target -1: where the margin reaches it, the best
                                     label that is not benign is explained against benign;
                                     otherwise (and with +inf always) the top label against
                                     the mean

Graph outputs:
    logits      float32 [B, K]       centred: they sum to zero over the labels
    heat_<view> float32 [B, h, w]    signed HiResCAM of the explained score, the view's heat
                                     on an empty input subtracted (windows: h = 1)
    gradcam_<view>  float32 [B, h, w]  signed Grad-CAM, likewise; only where it differs
    baseline    float32 [B]          the explained score of an empty input
    explained   int64 [B, 2]         target and against as they were used
    embedding   float32 [B, D]

The explained score is `logits[target]`, or `logits[target] - logits[against]`. Where the card
says `additive`, it is the sum of all heat plus `baseline`: nothing is left over. Elsewhere heat
is the gradient at the input times the activation. It says where the score is made and how
strongly, but it is no account: heat and `baseline` do not sum to the score, and what they miss
is nowhere in the outputs. On an empty input all heat is zero, in every bundle.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import msgspec

from maltriage.errors import MaltriageError
from maltriage.sample.types import Format
from maltriage.sample.views import BodySpec, ViewSpec

CARD_KEY = "maltriage.card"
CARD_VERSION = 1
BENIGN = "benign"
MAX_BUNDLE_BYTES = 1024 * 1024 * 1024
"""VGG-16 with its dense layers for pictures of 224 x 224 has 553 MB of weights."""
MAX_CARD_BYTES = 4 * 1024 * 1024
MAX_LABELS = 10_000


class Threshold(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where `flagged` begins, and the goodware that says so."""

    margin: float
    """logsumexp(logits of all but benign) - logit(benign), uncalibrated."""
    kinds: dict[str, float] = {}
    """Margins of their own by `Layout.kind`, each set for the same rate on clean files of that
    kind. A kind that a net has seen no malware of has other margins: one threshold for all
    would flag too many of the one and miss too much of the other."""
    fpr: float
    """Share of the goodware that this threshold was set to flag."""
    goodware: str
    """Name of the goodware set."""
    files: int
    flagged: int
    low: float | None = None
    high: float | None = None
    """95 % interval of the rate `flagged` of `files` (Clopper and Pearson 1934); None in cards of
    versions that did not keep it."""
    malware: int = 0
    malware_flagged: int = 0
    """Of the malware that the nets of a cross-validation had not seen, how much reaches the
    threshold that each of them has for the same rate on the same goodware; 0 of 0: unknown."""

    def at(self, kind: str | None) -> float:
        """The margin from which a file of a kind is flagged."""
        return self.kinds.get(kind or "", self.margin)


class Conformal(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What prediction sets are made from: the scores of samples that the nets had not seen.

    The score of a sample is one minus the probability of its own label: how badly that label
    fits a sample that it does fit. `maltriage.triage.sets` makes limits of them for the coverage
    that the user asks for, so no limit is kept here.
    """

    score: Literal["1-p"] = "1-p"
    coverage: float
    """Share of the samples whose set should hold their label, where the user asks no other."""
    temperature: float
    """Of the probabilities; the card's own, or the scores are those of another model."""
    source: str
    """What was scored, in words."""
    counts: dict[str, int]
    """How many samples of each label were scored."""
    scores: dict[str, tuple[float, ...]]
    """Of each label, ascending; of a label with very many those at even steps of rank."""
    pooled: tuple[str, ...] = ()
    """Labels with too few scores for a limit of their own at `coverage`: these share one."""


class OpenSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """From which score on a file is like nothing that the model learned.

    The score is the energy of the logits plus their distance to the nearest label's mean, each
    less its mean and over its standard deviation among files of known labels that the nets had
    not seen: see `maltriage.triage.openset`.
    """

    means: dict[str, tuple[float, ...]]
    """Mean centred logits of those files of each label that the nets were right on, [K]."""
    energy_mean: float
    energy_sd: float
    distance_mean: float
    distance_sd: float
    limit: float
    acceptance: float
    """Share of those files that the limit accepts."""
    files: int
    source: str
    """Which files those are, in words."""


class Quantization(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a graph of fewer bits was made: see `maltriage.assess.quantize`."""

    precision: Literal["int8", "fp16"]
    """Of its convolutions; all else is float32."""
    weights_sha256: str
    """Of the graph in float32 that it was made from."""
    calibrated_on: str
    """Which samples gave the range of each activation, in words; empty where none is needed."""


class Training(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the weights were made from: enough to make them again."""

    dataset: str
    manifest_sha256: str
    """Over the sorted lines `sha256 label` of every sample."""
    samples: int
    goodware_samples: int = 0
    """How many of the samples are clean files that were added to the dataset."""
    split: str
    """Kind of split: `grouped`, `random`, `time`."""
    split_seed: int
    split_sha256: str = ""
    """Over the sorted lines `sha256 part`; empty in cards of versions that did not keep it."""
    fractions: tuple[float, float, float]
    """Shares of training, validation and test."""
    folds: int = 0
    """With folds the weights have seen every sample, and the card's figures are those of
    this many nets of the same recipe, each on the fold that it had not seen."""
    malware_kinds: dict[str, int] = {}
    """How many samples that are not benign are of each `Layout.kind`."""
    seed: int
    epochs: int
    recipe: dict[str, Any]


class Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a bundle says of itself. JSON in the ONNX metadata under `maltriage.card`."""

    card_version: int = CARD_VERSION
    name: str
    created: str
    maltriage_version: str
    net: str
    labels: tuple[str, ...]
    views: tuple[ViewSpec, ...]
    input: tuple[Format, ...] = ("pe", "png")
    """Formats that the model was made for: a file of another one is skipped."""
    target_layer: str
    method: str = "hirescam"
    additive: bool
    receptive_field_bytes: dict[str, int]
    """By view, in bytes along the file for windows; for the body see the model's document."""
    temperature: float | None = None
    """None: probabilities are uncalibrated."""
    calibrated_on: str | None = None
    """What the temperature was fitted to, in words."""
    threshold: Threshold | None = None
    conformal: Conformal | None = None
    """None: verdicts have no prediction sets."""
    open_set: OpenSet | None = None
    """None: verdicts have no novelty."""
    quantization: Quantization | None = None
    """None: all of the graph is float32."""
    training: Training
    metrics: dict[str, float] = {}
    """Measured on samples that were held back: the test part (`test_...`), or every sample
    by the net that had not seen it (`out_of_fold_...`)."""
    parameters: int
    weights_sha256: str = ""
    """Over the graph with its metadata emptied; filled in when the bundle is written."""

    @property
    def benign(self) -> int | None:
        """Index of the benign label, or None in a bundle that only tells families apart."""
        return self.labels.index(BENIGN) if BENIGN in self.labels else None


class Bundle(msgspec.Struct, frozen=True):
    """A verified bundle: where it lies, its card and its bytes (for the session)."""

    path: str
    card: Card
    model: bytes


def models_dir() -> Path:
    """Folder of the bundles that ship with the package, in a wheel or in a checkout."""
    here = Path(__file__).parent
    return here / "models" if (here / "models").is_dir() else here.parent / "models"


DEFAULT_MODEL = "maltriage-evidence"


def shipped() -> list[Path]:
    """The bundles that come with the package."""
    return sorted(models_dir().glob("*.onnx"))


def resolve(model: str | None) -> Path:
    """Path of a bundle from a path or the name of one that ships; None: the default."""
    name = model or DEFAULT_MODEL
    path = Path(name)
    if path.is_file():
        return path
    known = {p.stem: p for p in shipped()}
    if name in known:
        return known[name]
    names = ", ".join(sorted(known)) or "none"
    raise MaltriageError(f"no such model: {name} (not a file; shipped: {names})")


def load(path: Path | str) -> Bundle:
    """Read and verify a bundle: card, digest, inputs and outputs.

    Raises:
        MaltriageError: the file is missing, no bundle, or not what its card says.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > MAX_BUNDLE_BYTES:
            raise MaltriageError(f"{path}: larger than {MAX_BUNDLE_BYTES} bytes, not a bundle")
        data = path.read_bytes()
    except OSError as error:
        raise MaltriageError(f"cannot read model {path}: {error.strerror}") from error
    return verified(data, path)


def verified(data: bytes, path: Path | str) -> Bundle:
    """A bundle of the bytes of its file, verified as `load` does it.

    Args:
        path: that it is called by.

    Raises:
        MaltriageError: it is no bundle, or not what its card says.
    """
    path = Path(path)
    try:
        return _verified(data, path)
    except UnicodeDecodeError as error:  # whatever string of the graph it is in
        raise MaltriageError(f"{path}: damaged: text that is not UTF-8") from error


def _verified(data: bytes, path: Path) -> Bundle:
    model = _parse(data, path)
    cards = [entry.value for entry in model.metadata_props if entry.key == CARD_KEY]
    if len(cards) != 1 or len(cards[0]) > MAX_CARD_BYTES:
        raise MaltriageError(f"{path}: an ONNX file without a maltriage card, not a bundle")
    try:
        card = msgspec.json.decode(cards[0], type=Card)
    except msgspec.MsgspecError as error:
        raise MaltriageError(f"{path}: corrupt card: {error}") from error
    _check_card(card, path)
    if weights_sha256(model) != card.weights_sha256:
        raise MaltriageError(f"{path}: the graph is not the one its card describes (digest)")
    _check_graph(model, card, path)
    return Bundle(str(path), card, data)


def save(model: Any, card: Card, path: Path | str) -> Card:
    """Write an ONNX model (`onnx.ModelProto`) with its card, atomically.

    Returns:
        The card as written, with `weights_sha256` filled in.
    """
    path = Path(path)
    del model.metadata_props[:]
    card = msgspec.structs.replace(card, weights_sha256=weights_sha256(model))
    _check_card(card, path)
    _check_graph(model, card, path)
    entry = model.metadata_props.add()
    entry.key, entry.value = CARD_KEY, msgspec.json.encode(card).decode()
    part = path.with_name(path.name + ".part")
    part.write_bytes(model.SerializeToString(deterministic=True))
    part.replace(path)
    return card


def with_card(bundle: Bundle, card: Card, path: Path | str) -> Card:
    """Write the bundle's graph again under another card (a new threshold, say)."""
    return save(_parse(bundle.model, Path(bundle.path)), card, path)


def weights_sha256(model: Any) -> str:
    """Digest of an ONNX model with its metadata emptied.

    The model is as it was afterwards. It is not copied, because its weights may be most of the
    memory that there is.
    """
    kept = [entry.SerializeToString() for entry in model.metadata_props]
    del model.metadata_props[:]
    try:
        return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()
    finally:
        for entry in kept:
            model.metadata_props.add().ParseFromString(entry)


def _parse(data: bytes, path: Path) -> Any:
    import onnx
    from google.protobuf.message import DecodeError

    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise MaltriageError(f"{path}: not an ONNX file") from error
    if not model.graph.node:
        raise MaltriageError(f"{path}: not an ONNX file")
    return model


def _check_card(card: Card, path: Path) -> None:
    names = [view.name for view in card.views]
    problem = None
    if card.card_version != CARD_VERSION:
        problem = f"card version {card.card_version}, this maltriage reads {CARD_VERSION}"
    elif not 2 <= len(card.labels) <= MAX_LABELS or len(set(card.labels)) != len(card.labels):
        problem = "labels must be 2 or more different names"
    elif not names or len(set(names)) != len(names):
        problem = "views must be 1 or more with different names"
    elif not card.input or len(set(card.input)) != len(card.input):
        problem = "input must be 1 or more different formats"
    elif not all(0 < math.prod(view.shape) <= 1 << 24 for view in card.views):
        problem = "a view of an impossible size"
    elif card.temperature is not None and not 0.0 < card.temperature < math.inf:
        problem = "temperature must be positive"
    elif card.threshold is not None and not all(
        map(math.isfinite, (card.threshold.margin, *card.threshold.kinds.values()))
    ):
        problem = "threshold must be finite"
    elif card.threshold is not None and not all(
        value is None or 0.0 <= value <= 1.0 for value in (card.threshold.low, card.threshold.high)
    ):
        problem = "an interval of a rate must lie in 0 to 1"
    elif card.threshold is not None and card.benign is None:
        problem = "a threshold without a benign label"
    elif card.conformal is not None:
        problem = _conformal_problem(card.conformal, card)
    if problem is None and card.open_set is not None:
        problem = _open_set_problem(card.open_set, card)
    if problem:
        raise MaltriageError(f"{path}: bad card: {problem}")


def _conformal_problem(conformal: Conformal, card: Card) -> str | None:
    if not 0.0 < conformal.coverage < 1.0:
        return "coverage of prediction sets must lie between 0 and 1"
    if conformal.temperature != (card.temperature or 1.0):
        return "prediction sets of another temperature"
    if not set(conformal.counts) == set(conformal.scores) <= set(card.labels):
        return "prediction sets of other labels"
    for label, scores in conformal.scores.items():
        ordered = all(
            a <= b for a, b in pairwise((0.0, *scores, 1.0))
        )  # false of what is no number
        if (
            not ordered
            or not min(1, conformal.counts[label]) <= len(scores) <= conformal.counts[label]
        ):
            return f"scores of {label!r} are not in order"
    return None


def _open_set_problem(stats: OpenSet, card: Card) -> str | None:
    if not stats.means or not set(stats.means) <= set(card.labels):
        return "novelty of other labels"
    if any(len(mean) != len(card.labels) for mean in stats.means.values()):
        return "a mean of other labels"
    numbers = [value for mean in stats.means.values() for value in mean]
    numbers += [stats.energy_mean, stats.distance_mean, stats.limit]
    if not all(map(math.isfinite, numbers)) or not (stats.energy_sd > 0 < stats.distance_sd):
        return "novelty must be finite"
    return None


def _check_graph(model: Any, card: Card, path: Path) -> None:
    """Inputs, outputs and their shapes are those of the contract; nothing lies outside."""
    import onnx

    def shapes(values: Any) -> dict[str, tuple[int, list[int | str]]]:
        return {
            v.name: (
                v.type.tensor_type.elem_type,
                [d.dim_value or d.dim_param for d in v.type.tensor_type.shape.dim],
            )
            for v in values
        }

    def fail(what: str) -> None:
        raise MaltriageError(f"{path}: not a maltriage graph: {what}")

    inputs, outputs = shapes(model.graph.input), shapes(model.graph.output)
    wanted: dict[str, tuple[int, tuple[int, ...]]] = {
        view.name: (onnx.TensorProto.UINT8, view.shape) for view in card.views
    }
    wanted |= {
        "target": (onnx.TensorProto.INT64, ()),
        "against": (onnx.TensorProto.INT64, ()),
        "threshold": (onnx.TensorProto.FLOAT, ()),
    }
    if set(inputs) != set(wanted):
        fail(f"inputs {sorted(inputs)} instead of {sorted(wanted)}")
    for name, (dtype, shape) in wanted.items():
        if inputs[name][0] != dtype or tuple(inputs[name][1][1:]) != shape:
            fail(f"input {name} has another type or shape than the card says")
    needed = {"logits", "baseline", "explained", "embedding"}
    needed |= {f"heat_{view.name}" for view in card.views}
    if not needed <= set(outputs):
        fail(f"outputs missing: {', '.join(sorted(needed - set(outputs)))}")
    if outputs["logits"][1][1:] != [len(card.labels)]:
        fail("logits do not match the labels")
    for view in card.views:
        grid, other = outputs[f"heat_{view.name}"][1], outputs.get(f"gradcam_{view.name}")
        if other is not None and other[1] != grid:
            fail(f"gradcam_{view.name} is no map like heat_{view.name}")
        window = not isinstance(view, BodySpec)
        if len(grid) != 3 or (window and grid[1] != 1):
            fail(f"heat_{view.name} is no map")
    if model.functions:
        fail("it brings functions of its own")
    for tensor in _tensors(model.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            fail("weights outside the file")
    for node in _nodes(model.graph):
        if node.domain not in ("", "ai.onnx"):
            fail(f"operator of a foreign domain: {node.domain}")


def _nodes(graph: Any) -> Iterator[Any]:
    """The operators of a graph, and of the graphs in them: branches, bodies of loops."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                yield from _nodes(inner)


def _tensors(graph: Any) -> Iterator[Any]:
    """All constants: of the graph and of the graphs in it, and those that are attributes."""

    def parts(sparse: Any) -> tuple[Any, Any]:
        return sparse.values, sparse.indices

    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from parts(sparse)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (*([attribute.t] if attribute.HasField("t") else ()), *attribute.tensors)
            one = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
            for sparse in (*one, *attribute.sparse_tensors):
                yield from parts(sparse)
            for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                yield from _tensors(inner)
