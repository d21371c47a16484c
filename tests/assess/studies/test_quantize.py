"""Bundles of fewer bits: what of the contract holds in them, and what their card may not say."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from maltriage import bundle as bundles
from maltriage.assess.studies import quantize as module
from maltriage.assess.studies.quantization import compare
from maltriage.assess.studies.quantize import (
    Images,
    answers,
    feed_of,
    opened,
    quantize,
    unaccounted,
)
from maltriage.bundle import Bundle, Card
from maltriage.errors import MaltriageError
from maltriage.sample.views import BodySpec, ViewSpec
from maltriage.triage.verdict import Question


def images(views: tuple[ViewSpec, ...], count: int, seed: int) -> Images:
    """Noise with even runs in it; every fourth window is absent."""
    random = np.random.default_rng(seed)
    found = {}
    for view in views:
        values = random.integers(0, 256, (count, *view.shape), dtype=np.uint8)
        if isinstance(view, BodySpec):
            values[:, :, : view.shape[1] // 3] = random.integers(0, 256, (count, 1, 1, 1))
        else:
            values[:, 1] = 1
            values[::4] = 0
        found[view.name] = values
    return found


@pytest.fixture(scope="module")
def default() -> Bundle:
    return bundles.load(bundles.resolve("maltriage-evidence"))


@pytest.fixture(scope="module", params=["int8", "fp16"])
def made(request: Any, default: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    batches = [images(default.card.views, 16, seed) for seed in range(3)]
    model, card = quantize(default, request.param, batches, "noise")
    path = tmp_path_factory.mktemp("made") / f"{request.param}.onnx"
    module.save(model, card, path)
    return bundles.load(path)


def test_an_empty_input_has_no_heat(made: Bundle) -> None:
    session = opened(made.model)
    for count in (1, 5):
        empty = {v.name: np.zeros((count, *v.shape), np.uint8) for v in made.card.views}
        for target in (-1, 3):
            found = answers(session, feed_of(empty, target))
            assert max(np.abs(v).max() for k, v in found.items() if "heat_" in k) < 1e-6
            question = Question(int(found["explained"][0, 0]), None, made.card.clean)
            np.testing.assert_allclose(
                found["baseline"], question.score(found["logits"]), atol=1e-5
            )


def test_an_absent_window_has_no_heat(made: Bundle) -> None:
    found = answers(opened(made.model), feed_of(images(made.card.views, 8, seed=9), target=1))
    for view in made.card.views:
        if not isinstance(view, BodySpec):
            assert np.abs(found[f"heat_{view.name}"][::4]).max() < 1e-6
            assert np.abs(found[f"heat_{view.name}"][1]).max() > 1e-6


def test_every_score_is_accounted_for(made: Bundle) -> None:
    session = opened(made.model)
    for target, against in ((-1, -1), (2, -1), (5, 0)):
        feed = feed_of(images(made.card.views, 8, seed=11), target, against)
        assert unaccounted(answers(session, feed), made.card).max() < 1e-5


def test_the_answers_are_those_of_float(default: Bundle, made: Bundle) -> None:
    found = compare(default, made, [images(default.card.views, 16, seed) for seed in (20, 21)], 48)
    assert found.compared == 32
    assert found.calibrated == 48
    assert [cost.precision for cost in found.costs] == ["float32", made.card.quantization.precision]  # type: ignore[union-attr]
    assert found.costs[1].bytes < 0.9 * found.costs[0].bytes
    assert all(cost.cpu_ms > 0 for cost in found.costs)
    half = found.costs[1].precision == "fp16"
    assert found.logit_change < (0.02 if half else 0.5)
    assert found.same_label >= 30
    assert {row.view for row in found.heat} == {view.name for view in default.card.views}
    assert min(row.median for row in found.heat) > (0.9999 if half else 0.98)
    # Of a file with a window the absent one's heat is of the same row.
    assert found.stray < 1e-6


def test_the_card_says_only_what_holds_of_the_new_graph(default: Bundle, made: Bundle) -> None:
    card, kept = made.card, made.card.quantization
    assert kept is not None
    assert kept.weights_sha256 == default.card.weights_sha256 != card.weights_sha256
    assert kept.calibrated_on == ("noise" if kept.precision == "int8" else "")
    assert card.name == f"{default.card.name}-{kept.precision}"
    assert (card.threshold, card.temperature, card.conformal, card.open_set) == (None,) * 4
    assert card.metrics == {}
    assert card.training == default.card.training


def test_weights_are_of_fewer_bits(made: Bundle) -> None:
    kinds = {"int8": onnx.TensorProto.INT8, "fp16": onnx.TensorProto.FLOAT16}
    graph = onnx.load_model_from_string(made.model).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    assert made.card.quantization is not None
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert convolutions
    for node in convolutions:
        weight = node.input[1]
        source = makers[weight].input[0] if weight in makers else weight
        assert types[source] == kinds[made.card.quantization.precision]
    # Seven bits: eight overflow on processors without VNNI.
    int8 = [numpy_helper.to_array(t) for t in graph.initializer if t.data_type == kinds["int8"]]
    assert all(np.abs(values.astype(int)).max(initial=0) <= 64 for values in int8)


def test_what_an_empty_input_makes_is_not_cut_off(default: Bundle) -> None:
    """Some activations of an empty input are larger than those of any real one: they must be among
    what the ranges are taken from, or each map would be off by what is cut."""
    grey = {
        name: 60 + values // 8 if name == "body" else values
        for name, values in images(default.card.views, 16, seed=1).items()
    }
    (before, after) = (
        {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        for model in (
            onnx.load_model_from_string(default.model),
            quantize(default, "int8", [grey], "")[0],
        )
    )
    for name in before:
        if name.startswith("empty_"):
            off = np.abs(after[name] - before[name]).mean()
            assert off <= 0.1 * np.abs(before[name]).mean()


def test_quantised_twice(made: Bundle) -> None:
    with pytest.raises(MaltriageError, match="quantised already"):
        quantize(made, "int8", [images(made.card.views, 16, 0)], "")


def test_a_net_without_convolutions(default: Bundle) -> None:
    model = onnx.load_model_from_string(default.model)
    kept = [node for node in model.graph.node if node.op_type != "Conv"]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    bundle = msgspec.structs.replace(default, model=model.SerializeToString())
    with pytest.raises(MaltriageError, match="no convolutions"):
        quantize(bundle, "int8", [images(bundle.card.views, 16, 0)], "")


def test_nothing_to_calibrate_on(default: Bundle) -> None:
    with pytest.raises(MaltriageError, match="no samples"):
        quantize(default, "int8", [], "")


def test_a_result_that_breaks_the_contract(
    default: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_renew_emptiness", lambda model, card, path: None)
    with pytest.raises(MaltriageError, match="an empty input would have heat"):
        quantize(default, "int8", [images(default.card.views, 16, 0)], "")


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs the extra `train`")
@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_a_net_that_is_not_additive(precision: Any, default: Bundle, tmp_path: Path) -> None:
    """Its maps of an empty input are constants by label, without a name in the graph."""
    import torch

    from maltriage.learn.export import to_onnx
    from maltriage.learn.heat.cam import ExplainedNet
    from maltriage.learn.nets import make_net
    from maltriage.sample.views import byteplot

    torch.manual_seed(0)
    views = (byteplot(32),)
    net = make_net("gibert", views, len(default.card.labels)).eval()
    model = to_onnx(ExplainedNet(net, 0))
    card: Card = msgspec.structs.replace(
        default.card,
        views=views,
        additive=False,
        two_questions=False,
        threshold=None,
        conformal=None,
        open_set=None,
    )
    path = tmp_path / "net.onnx"
    bundles.save(model, card, path)
    bundle = bundles.load(path)
    batches = [images(views, 16, seed) for seed in range(2)]
    made, new = quantize(bundle, precision, batches, "")
    module.save(made, new, path)
    empty = {v.name: np.zeros((2, *v.shape), np.uint8) for v in views}
    session = opened(bundles.load(path).model)
    for target in (-1, 4):
        found = answers(session, feed_of(empty, target))
        scale = np.abs(answers(opened(bundle.model), feed_of(batches[0]))["heat_body"]).max()
        for name in ("heat_body", "gradcam_body"):
            assert np.abs(found[name]).max() <= 1e-4 * scale
        score = found["logits"][np.arange(2), found["explained"][:, 0]]
        np.testing.assert_allclose(found["baseline"], score, atol=1e-5)
