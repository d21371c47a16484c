"""The graph of a bundle: its digest, and the check of its contract."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maltriage.bundle.card import Card
from maltriage.errors import MaltriageError

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto


def parse(data: bytes, path: Path) -> ModelProto:
    """An ONNX model from the bytes of its file; errors name it `path`."""
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


def weights_sha256(model: ModelProto) -> str:
    """Digest of an ONNX model without its metadata.

    The model is changed and restored, not copied: its weights may take most of the memory.
    """
    kept = [entry.SerializeToString() for entry in model.metadata_props]
    del model.metadata_props[:]
    try:
        return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()
    finally:
        for entry in kept:
            model.metadata_props.add().ParseFromString(entry)


FIELDS = {
    "ModelProto": "ir_version producer_name producer_version domain model_version doc_string"
    " opset_import graph metadata_props",
    "OperatorSetIdProto": "domain version",
    "StringStringEntryProto": "key value",
    "GraphProto": "name doc_string node initializer input output value_info",
    "NodeProto": "name doc_string op_type domain input output attribute",
    "AttributeProto": "name doc_string type f i s t g floats ints",
    "TensorProto": "name doc_string dims data_type data_location raw_data float_data int32_data"
    " int64_data double_data uint64_data",
    "ValueInfoProto": "name doc_string type",
    "TypeProto": "tensor_type",
    "TypeProto.Tensor": "elem_type shape",
    "TensorShapeProto": "dim",
    "TensorShapeProto.Dimension": "dim_value dim_param",
}
"""Fields that a bundle may have, by message. All others are refused: they are another way to data
outside the file, to functions or to a second graph, or nobody looks at them."""
_REFUSED = {
    "external_data": "weights outside the file",
    "functions": "it brings functions of its own",
    "training_info": "it brings a graph for training",
}

_RANKS = {"logits": 2, "baseline": 1, "explained": 2, "embedding": 2}


def check_graph(model: ModelProto, card: Card, path: Path) -> None:
    """Check fields, inputs, outputs and shapes against the contract.

    Raises:
        MaltriageError: a field is not one of `FIELDS`; an operator is not ONNX's own; data lies
            outside the file; or inputs and outputs are not those of the card.
    """
    import onnx

    def shapes(values: Iterable[ValueInfoProto]) -> dict[str, tuple[int, list[int | str]]]:
        return {
            v.name: (
                v.type.tensor_type.elem_type,
                [d.dim_value or d.dim_param for d in v.type.tensor_type.shape.dim],
            )
            for v in values
        }

    def fail(what: str) -> None:
        raise MaltriageError(f"{path}: not a maltriage graph: {what}")

    problem = _fields_problem(model)
    if problem is not None:
        fail(problem)
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
            fail(f"input {name} has another type or shape than in the card")
    needed = {"logits", "baseline", "explained", "embedding"}
    needed |= {f"heat_{view.name}" for view in card.views}
    if not needed <= set(outputs):
        fail(f"outputs missing: {', '.join(sorted(needed - set(outputs)))}")
    for name, (dtype, sizes) in outputs.items():
        kind = onnx.TensorProto.INT64 if name == "explained" else onnx.TensorProto.FLOAT
        rank = _RANKS.get(name, 3 if name.startswith(("heat_", "gradcam_")) else None)
        known = all(isinstance(size, int) and size > 0 for size in sizes[1:])
        if dtype != kind or rank not in (None, len(sizes)) or not known:
            fail(f"output {name} has another type or shape than in the contract")
    if outputs["logits"][1][1:] != [len(card.labels)]:
        fail("logits do not match the labels")
    if outputs["explained"][1][1:] != [2]:
        fail("explained is no pair of labels")
    for view in card.views:
        grid, other = outputs[f"heat_{view.name}"][1], outputs.get(f"gradcam_{view.name}")
        if other is not None and other[1] != grid:
            fail(f"gradcam_{view.name} is no map like heat_{view.name}")
        if len(grid) != 3 or (not view.picture and grid[1] != 1):
            fail(f"heat_{view.name} is no map")


def _fields_problem(message: Any) -> str | None:
    """What is wrong with a message of ONNX or one inside it, wherever in the graph; None: nothing.

    No weights are copied, which may take most of the memory.
    """
    from google.protobuf.unknown_fields import UnknownFieldSet

    inner, refused = _fields(message.DESCRIPTOR)
    for name, repeated in refused:
        if len(getattr(message, name)) if repeated else message.HasField(name):
            what = f"{message.DESCRIPTOR.name}.{name}, which no bundle has"
            return _REFUSED.get(name, what)
    if len(UnknownFieldSet(message)):
        return f"a field of {message.DESCRIPTOR.name} that ONNX does not know"
    kind = message.DESCRIPTOR.name
    if kind == "TensorProto" and message.data_location != message.DEFAULT:
        return _REFUSED["external_data"]
    if kind == "NodeProto" and message.domain not in ("", "ai.onnx"):
        return f"operator of a foreign domain: {message.domain}"
    for name, repeated in inner:
        found = getattr(message, name)
        for one in found if repeated else [found] if message.HasField(name) else []:
            problem = _fields_problem(one)
            if problem is not None:
                return problem
    return None


@lru_cache(maxsize=32)
def _fields(descriptor: Any) -> tuple[list[tuple[str, bool]], list[tuple[str, bool]]]:
    """Fields of a kind of message that hold others, and those that are refused.

    Returns:
        Pairs of a field's name and whether it is repeated.
    """
    known = FIELDS.get(descriptor.full_name.removeprefix("onnx."), "").split()
    inner, refused = [], []
    for field in descriptor.fields:
        # `label` is gone from protobuf 7 on, and `is_repeated` new in 6.
        several = getattr(field, "is_repeated", None)
        entry = (field.name, field.label == 3 if several is None else several)
        if field.name not in known:
            refused.append(entry)
        elif field.message_type is not None:
            inner.append(entry)
    return inner, refused
