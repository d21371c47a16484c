"""Quantises the convolutions of a bundle; heat still sums exactly to the score.

int8 is ONNX Runtime's static quantisation in QDQ form: weights per channel in seven bits (eight
overflow on processors without VNNI, and scores would depend on the machine), activations per
tensor in eight, over their range on calibration samples. fp16 halves the weights and is meant for
GPUs. The sums behind logits and heat stay float32 in both.

The graph subtracts the activations or heat of an empty input, a constant, so that padding and
absent windows have no heat. Quantised weights change that constant, so it is computed anew from
the quantised graph. The result is checked against the contract: no heat on an empty input, and
for additive bundles heat plus baseline equal to the score.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from maltriage import bundle as bundles
from maltriage.bundle import Bundle, Card, Quantization
from maltriage.errors import MaltriageError, cannot_write
from maltriage.logs import silenced
from maltriage.triage.session import CHOOSE
from maltriage.triage.verdict import Question

Precision = Literal["int8", "fp16"]
Images = Mapping[str, npt.NDArray[np.uint8]]
"""Images by view, [B, *spec.shape]."""
Feed = dict[str, npt.NDArray[Any]]

EMPTY_TOLERANCE = 1e-6
"""Largest heat of an empty input, as a share of its largest possible logit."""
ACCOUNT_TOLERANCE = 1e-4
"""Largest difference of score and sum of heat, as a share of the sum of |contributions|."""
_BETWEEN = {"Relu", "Pad", "MaxPool", "AveragePool", "Add"}
"""Operators that stay in fp16 behind a convolution."""


def quantize(
    bundle: Bundle, precision: Precision, batches: Sequence[Images], calibrated_on: str
) -> tuple[Any, Card]:
    """A quantised graph and its card.

    Threshold, temperature, prediction sets, novelty and figures of the float bundle were measured
    with other scores and are left out of the card.

    Args:
        batches: images of training samples: int8 takes ranges from them, and the result is
            checked on them.
        calibrated_on: those samples, in words.

    Returns:
        The ONNX model (`onnx.ModelProto`) without a card, and the card for it.

    Raises:
        MaltriageError: the bundle has no float32 convolution, is quantised already, or the
            result breaks the contract of bundles.
    """
    card = bundle.card
    if card.quantization is not None:
        raise MaltriageError(f"{bundle.path}: quantised already ({card.quantization.precision})")
    model = _parsed(bundle.model)
    if not any(node.op_type == "Conv" for node in model.graph.node):
        raise MaltriageError(f"{bundle.path}: no convolutions, and only these are quantised")
    if not batches:
        raise MaltriageError("no samples to calibrate on")
    with silenced():
        # Ranges of real samples alone would clip the activations of an empty input, which are
        # subtracted from all samples.
        seen = [*batches, _empty(card)]
        model = _int8(model, seen) if precision == "int8" else _half(model)
    _renew_emptiness(model, card, bundle.path)
    _check(model, card, batches, bundle.path)
    how = Quantization(
        precision=precision,
        weights_sha256=card.weights_sha256,
        calibrated_on=calibrated_on if precision == "int8" else "",
    )
    return model, msgspec.structs.replace(
        card,
        name=f"{card.name}-{precision}",
        quantization=how,
        temperature=None,
        calibrated_on=None,
        threshold=None,
        conformal=None,
        open_set=None,
        metrics={},
    )


def feed_of(images: Images, target: int = -1, against: int = -1) -> Feed:
    """Inputs of a graph; the default target is that of a bundle without a threshold."""
    count = len(next(iter(images.values())))
    feed: Feed = dict(images)
    feed["target"] = np.full(count, target, dtype=np.int64)
    feed["against"] = np.full(count, against, dtype=np.int64)
    feed["threshold"] = np.full(count, np.inf, dtype=np.float32)
    return feed


def opened(model: bytes) -> Any:
    """A session on one CPU thread, for measurements."""
    import onnxruntime as ort

    settings = ort.SessionOptions()
    settings.intra_op_num_threads, settings.log_severity_level = 1, 4
    return ort.InferenceSession(model, settings, providers=["CPUExecutionProvider"])


def answers(session: Any, feed: Feed) -> Feed:
    """All outputs of a graph, by name."""
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


def unaccounted(found: Feed, card: Card) -> npt.NDArray[np.float64]:
    """Score minus heat and baseline, as a share of the sum of |heat|, [B]."""
    pairs = zip(found["explained"].tolist(), found["logits"], strict=True)
    questions = (
        (Question(target, None if against < 0 else against, card.clean), logits)
        for (target, against), logits in pairs
    )
    score = np.array([float(question.score(logits)) for question, logits in questions])
    total, scale = _heat_sums(found)
    scale = np.maximum(scale, np.abs(found["logits"]).max(axis=1))
    left: npt.NDArray[np.float64] = np.abs(score - total - found["baseline"]) / scale
    return left


def _heat_sums(found: Feed) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Sum of the heat of each sample, and of its absolute values, [B] each."""
    heat = [
        value.reshape(len(value), -1).astype(np.float64)
        for name, value in found.items()
        if name.startswith("heat_")
    ]
    return (
        np.sum([each.sum(axis=1) for each in heat], axis=0),
        np.sum([np.abs(each).sum(axis=1) for each in heat], axis=0),
    )


def _empty(card: Card, count: int = 1) -> Images:
    """Images of empty samples."""
    return {view.name: np.zeros((count, *view.shape), dtype=np.uint8) for view in card.views}


def _parsed(data: bytes) -> Any:
    import onnx

    return onnx.load_model_from_string(data)


def _int8(model: Any, batches: Sequence[Images]) -> Any:
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self, images: Iterable[Images]) -> None:
            self._left = iter(images)

        def get_next(self) -> Feed | None:
            images = next(self._left, None)
            return None if images is None else feed_of(images)

    # The quantiser writes only weights to its files, no sample data.
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "int8.onnx")
        quantize_static(
            model,
            made,
            Reader(batches),
            op_types_to_quantize=["Conv"],
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(str(made))


def _half(model: Any) -> Any:
    """Convert convolutions and the operators between them to fp16, with casts at the edges."""
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    weights = {t.name: t for t in graph.initializer if t.data_type == TensorProto.FLOAT}
    constants = {tensor.name for tensor in graph.initializer}
    halves: dict[str, str] = {}
    nodes, made = [], []

    def half(name: str) -> str:
        if name not in halves:
            halves[name] = f"{name}_half"
            if name in weights:
                values = numpy_helper.to_array(weights[name]).astype(np.float16)
                made.append(numpy_helper.from_array(values, halves[name]))
            else:
                nodes.append(_cast(name, halves[name], TensorProto.FLOAT16))
        return halves[name]

    def _cast(name: str, to: str, kind: int) -> Any:
        return helper.make_node("Cast", [name], [to], to=kind)

    for node in graph.node:
        between = node.op_type in _BETWEEN and node.input[0] in halves and len(node.output) == 1
        if not between and node.op_type != "Conv":
            nodes.append(node)
            continue
        node.input[:] = [
            half(name) if name and (name in weights or name not in constants) else name
            for name in node.input
        ]
        (name,) = node.output
        halves[name] = node.output[0] = f"{name}_half"
        nodes += [node, _cast(halves[name], name, TensorProto.FLOAT)]
    read = {name for node in nodes for name in node.input} | {o.name for o in graph.output}
    nodes = [n for n in nodes if n.op_type != "Cast" or n.output[0] in read]
    kept = [t for t in (*graph.initializer, *made) if t.name in read]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)
    return model


def _renew_emptiness(model: Any, card: Card, path: str) -> None:
    """Set the subtracted constants to the graph's own values on an empty input."""
    empty = _empty(card)
    if card.additive:
        _renew_activations(model, card, empty, path)
    else:
        _renew_maps(model, card, empty, path)


def _renew_activations(model: Any, card: Card, empty: Images, path: str) -> None:
    """Renew `empty_<view>`, the activations of an empty input, in an additive graph.

    If the exporter folded the sum of such a constant over the cells, for the baseline, the
    folded constant is renewed too.
    """
    from onnx import helper, numpy_helper

    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    subtracted = {
        node.input[1]: node.input[0] for node in model.graph.node if node.op_type == "Sub"
    }
    names = {f"empty_{view.name}": subtracted.get(f"empty_{view.name}", "") for view in card.views}
    if any(not value or name not in constants for name, value in names.items()):
        raise MaltriageError(f"{path}: not an additive graph of this version")
    asked = _parsed(model.SerializeToString())
    for value in names.values():
        asked.graph.output.append(helper.make_empty_tensor_value_info(value))
    found = answers(opened(asked.SerializeToString()), feed_of(empty))
    summands = {node.input[1] for node in model.graph.node if node.op_type == "MatMul"}
    for name, value in names.items():
        before = numpy_helper.to_array(constants[name])
        after = found[value].astype(np.float32)
        if np.array_equal(before, after):
            continue
        sums = before.sum(axis=(0, 2, 3), dtype=np.float64)
        for other in summands & set(constants):
            folded = numpy_helper.to_array(constants[other])
            if folded.shape == sums.shape and np.allclose(folded, sums, rtol=1e-5, atol=1e-6):
                _set(constants[other], after.sum(axis=(0, 2, 3), dtype=np.float64))
        _set(constants[name], after)


def _renew_maps(model: Any, card: Card, empty: Images, path: str) -> None:
    """Renew the maps of each label on an empty input, and its logits, in any other graph.

    The heat left on an empty input when label k is explained against the mean of all is added
    to the k-th constant map.
    """
    from onnx import numpy_helper

    session = opened(model.SerializeToString())
    left = [answers(session, feed_of(empty, target=k)) for k in range(len(card.labels))]
    maps = [name for name in left[0] if name.startswith(("heat_", "gradcam_"))]
    for name in maps:
        more = np.concatenate([each[name] for each in left])
        for tensor in _subtracted_tables(model, name, more.shape, path):
            _set(tensor, numpy_helper.to_array(tensor) + more)
    logits = left[0]["logits"][0]
    for tensor in _subtracted_tables(model, "baseline", logits.shape, path):
        _set(tensor, logits)


def _subtracted_tables(model: Any, output: str, shape: tuple[int, ...], path: str) -> list[Any]:
    """The constants with an entry for each label behind an output's value of an empty input.

    Some graphs do not name them, so they are found where a label's entry is gathered from a
    constant on the way to the output.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    found: dict[str, Any] = {}
    last = makers[output]
    names = list(last.input[1:] if output != "baseline" else [output])
    while names:
        node = makers.get(names.pop())
        if node is None:
            continue
        if node.op_type in ("Gather", "GatherND"):
            tensor = constants.get(node.input[0])
            if tensor is not None and tuple(tensor.dims) == shape:
                found[tensor.name] = tensor
        elif node.op_type in ("Sub", "Mul"):
            names += node.input
    if not found or last.op_type != "Sub":
        raise MaltriageError(f"{path}: not a graph of this version")
    return list(found.values())


def _set(tensor: Any, values: npt.NDArray[Any]) -> None:
    from onnx import numpy_helper

    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values, np.float32), tensor.name))


def _check(model: Any, card: Card, batches: Sequence[Images], path: str) -> None:
    """Check a graph against the contract of bundles, on empty and real inputs."""
    session = opened(model.SerializeToString())
    # Views that do not say whether a file is malware may still tell families apart.
    family = next((i for i in range(len(card.labels)) if i != card.benign), 0)
    for count, target in product((1, 17), (CHOOSE, family)):
        found = answers(session, feed_of(_empty(card, count), target))
        heat = max(float(np.abs(v).max()) for k, v in found.items() if k.startswith("heat_"))
        if not heat <= EMPTY_TOLERANCE * max(1.0, float(np.abs(found["logits"]).max())):
            raise MaltriageError(f"{path}: an empty input would have heat ({heat:.2g})")
    for images, target in product(batches, (CHOOSE, family)):
        found = answers(session, feed_of(images, target))
        if not np.isfinite(found["logits"]).all():
            raise MaltriageError(f"{path}: scores are not finite, too large for fp16")
        if card.additive and not (unaccounted(found, card) <= ACCOUNT_TOLERANCE).all():
            raise MaltriageError(f"{path}: a score would not be the sum of its heat")


def save(model: Any, card: Card, path: Path) -> Card:
    """Write the result of `quantize` as a bundle, atomically."""
    try:
        return bundles.save(model, card, path)
    except OSError as error:
        raise cannot_write(path, error) from error
