"""Randomised weights: the same numbers elsewhere, in a graph that still runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from maltriage import bundle as bundles
from maltriage.assess.explanations.randomised import randomised
from maltriage.bundle import Bundle
from maltriage.probe.prepare import PrepareOptions, prepare
from maltriage.triage.session import Session


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return bundles.load(bundles.resolve("maltriage-evidence"))


def tensors(bundle: Bundle) -> dict[str, np.ndarray]:
    graph = onnx.load_model_from_string(bundle.model).graph
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def test_weights_are_elsewhere_and_constants_are_not(bundle: Bundle) -> None:
    before, after = tensors(bundle), tensors(randomised(bundle, 0))
    assert before.keys() == after.keys()
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    for name, values in before.items():
        np.testing.assert_array_equal(np.sort(values, axis=None), np.sort(after[name], axis=None))
        if values.dtype == np.int64 or values.size < 8:
            assert name not in moved
    assert "net.trunks.2.layers.0.conv.weight" in moved
    assert "net.trunks.0.table" in moved


def test_weights_of_fewer_bits_are_elsewhere_too() -> None:
    bundle = bundles.load(bundles.resolve("maltriage-evidence-int8"))
    before, after = tensors(bundle), tensors(randomised(bundle, 0))
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    narrow = [name for name, values in before.items() if values.dtype == np.int8]
    assert sum(before[name].size for name in narrow if name in moved) > 100_000


def test_seeds(bundle: Bundle) -> None:
    assert randomised(bundle, 1).model == randomised(bundle, 1).model
    assert randomised(bundle, 1).model != randomised(bundle, 2).model


def test_it_runs_and_says_something_else(bundle: Bundle, samples_dir: Path) -> None:
    prepared = prepare(str(samples_dir / "gui-x86.exe"), PrepareOptions(bundle.card.views))
    plain = Session(bundle, "cpu", 1).run([prepared.views], 0)
    other = Session(randomised(bundle, 0), "cpu", 1).run([prepared.views], 0)
    assert np.isfinite(other.logits).all()
    for name, grid in plain.heat.items():
        assert np.isfinite(other.heat[name]).all()
        assert not np.allclose(grid, other.heat[name])
