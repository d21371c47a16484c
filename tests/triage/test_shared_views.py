"""A graph cut where its views meet gives the logits of the whole one."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from maltriage.sample.views import BodySpec, WindowSpec
from maltriage.triage import shared_views
from maltriage.triage.shared_views import Lean

VIEWS = (BodySpec(size=4, channels=("mean",)), WindowSpec("code", "code", length=8))


def graph(*, meet_in_shapes: bool = False, one_view: bool = False) -> bytes:
    """Logits of two views that are added up, and a map that nothing needs."""
    node = helper.make_node
    nodes = [
        node("Cast", ["body"], ["b"], to=TensorProto.FLOAT),
        node("Flatten", ["b"], ["flat"]),
        node("MatMul", ["flat", "w"], ["left"]),
        node("Cast", ["code"], ["c"], to=TensorProto.FLOAT),
        node("ReduceSum", ["c"], ["sum"], keepdims=0),
        node("ReduceMean", ["c", "axes"], ["mean"], keepdims=0),
        node("MatMul", ["mean", "v"], ["right"]),
        node("Mul", ["left", "left"], ["heat_body"]),
    ]
    if one_view:
        nodes.append(node("Add", ["left", "bias"], ["logits"]))
    elif meet_in_shapes:
        # A shape depends on one view alone, but is no row an image.
        nodes += [
            node("Shape", ["right"], ["shape"]),
            node("Expand", ["left", "shape"], ["wide"]),
            node("Add", ["wide", "right"], ["logits"]),
        ]
    else:
        nodes.append(node("Add", ["left", "right"], ["logits"]))
    random = np.random.default_rng(0)
    constants = {
        "w": random.normal(size=(16, 3)).astype(np.float32),
        "v": random.normal(size=(8, 3)).astype(np.float32),
        "bias": random.normal(size=3).astype(np.float32),
        "axes": np.array([1]),
    }
    value = helper.make_tensor_value_info
    made = helper.make_graph(
        nodes,
        "g",
        [
            value("body", TensorProto.UINT8, ["batch", 1, 4, 4]),
            value("code", TensorProto.UINT8, ["batch", 2, 8]),
        ],
        [
            value("logits", TensorProto.FLOAT, ["batch", 3]),
            value("heat_body", TensorProto.FLOAT, ["batch", 3]),
        ],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return onnx.shape_inference.infer_shapes(model).SerializeToString()


def opened(model: bytes) -> Any:
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(
    ("changes", "parts"), [({}, 3), ({"meet_in_shapes": True}, 2), ({"one_view": True}, 1)]
)
@pytest.mark.parametrize("batch", [1, 2, 100])
def test_the_parts_give_what_the_whole_gives(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, bool], parts: int, batch: int
) -> None:
    monkeypatch.setattr(shared_views, "BATCH", batch)
    model = graph(**changes)
    made = []

    def count(part: bytes) -> Any:
        made.append(part)
        return opened(part)

    cut = Lean(model, VIEWS, count)
    assert len(made) == parts
    assert not any(b"heat_body" in part for part in made)
    random = np.random.default_rng(1)
    images = {
        "body": random.integers(0, 256, (5, 1, 4, 4), dtype=np.uint8),
        "code": random.integers(0, 256, (2, 2, 8), dtype=np.uint8),
    }
    rows = {"body": np.array([0, 4, 4, 2]), "code": np.array([1, 0, 1, 1])}
    found = cut.run(images, rows)
    whole = {name: images[name][rows[name]] for name in images}
    (wanted,) = opened(model).run(["logits"], whole)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
