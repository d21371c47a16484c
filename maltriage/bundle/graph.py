"""The graph of a bundle: its digest, and the check of its contract."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from maltriage.bundle.card import Card
from maltriage.errors import MaltriageError

if TYPE_CHECKING:
    from onnx import (
        GraphProto,
        ModelProto,
        NodeProto,
        SparseTensorProto,
        TensorProto,
        ValueInfoProto,
    )


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


_RANKS = {"logits": 2, "baseline": 1, "explained": 2, "embedding": 2}


def check_graph(model: ModelProto, card: Card, path: Path) -> None:
    """Check inputs, outputs and shapes against the contract; no data may lie outside the file."""
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
        if len(grid) != 3 or (view.along and grid[1] != 1):
            fail(f"heat_{view.name} is no map")
    if model.functions:
        fail("it brings functions of its own")
    for tensor in _tensors(model.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            fail("weights outside the file")
    for node in _nodes(model.graph):
        if node.domain not in ("", "ai.onnx"):
            fail(f"operator of a foreign domain: {node.domain}")


def _nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """The operators of a graph, and of the graphs in them: branches, bodies of loops."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                yield from _nodes(inner)


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """All constants: of the graph, of its subgraphs and in attributes."""

    def parts(sparse: SparseTensorProto) -> tuple[TensorProto, TensorProto]:
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
