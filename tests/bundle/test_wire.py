"""Single facts of an ONNX file, read without ONNX."""

from __future__ import annotations

from contextlib import suppress

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maltriage.bundle.wire import metadata, output_width


@given(st.dictionaries(st.text(min_size=1), st.text()), st.integers(-(2**40), 2**40))
def test_metadata_of_any_model(entries: dict[str, str], version: int) -> None:
    model = onnx.ModelProto(ir_version=version, producer_name="x" * 300)
    model.graph.name = "graph"
    for key, value in entries.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    data = model.SerializeToString()
    assert {key: metadata(data, key) for key in entries} == entries
    assert metadata(data, "a key that is not there") is None


@given(st.binary(max_size=60))
def test_other_bytes_end_in_an_error_or_nothing(data: bytes) -> None:
    with suppress(ValueError):
        assert metadata(data, "maltriage.card") is None
    with suppress(ValueError):
        output_width(data, "embedding")


@pytest.mark.parametrize("shape", [[1, 546], ["batch", 7], ["batch", "any"], [3], []])
def test_the_width_of_an_output(shape: list[int | str]) -> None:
    outputs = [
        onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch", 99]),
        onnx.helper.make_tensor_value_info("embedding", onnx.TensorProto.FLOAT, shape),
    ]
    model = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], outputs))
    width = shape[-1] if shape and isinstance(shape[-1], int) else None
    assert output_width(model.SerializeToString(), "embedding") == width
    assert output_width(model.SerializeToString(), "heat_body") is None


def test_a_message_that_is_cut_off() -> None:
    model = onnx.ModelProto(producer_name="x" * 300)
    with pytest.raises(ValueError, match="not a message"):
        metadata(model.SerializeToString()[:-1], "key")
