from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import onnx
import pytest

from maltriage import bundle as bundles
from maltriage.bundle import Card, Threshold
from maltriage.bundle.card import MAX_LABELS, read_card
from maltriage.errors import MaltriageError

DEFAULT = bundles.resolve(None)


def changed(tmp_path: Path, change: Callable[[Any], object]) -> Path:
    """The default bundle after a change that its card does not know of."""
    model = onnx.load(DEFAULT)
    change(model)
    path = tmp_path / "changed.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def with_card_text(text: str) -> Callable[[Any], object]:
    def change(model: Any) -> None:
        model.metadata_props[0].value = text

    return change


def other_card(**values: object) -> Callable[[Any], object]:
    card = msgspec.to_builtins(bundles.load(DEFAULT).card)
    return with_card_text(msgspec.json.encode({**card, **values}).decode())


def with_sets(**changes: object) -> Callable[[Any], object]:
    """A card with prediction sets that has one fault."""
    values = {
        "coverage": 0.9,
        "temperature": bundles.load(DEFAULT).card.temperature,
        "source": "a test",
        "counts": {"benign": 2, "maze": 0},
        "scores": {"benign": [0.2, 0.5], "maze": []},
    }
    return other_card(conformal={**values, **changes})


def with_novelty(**changes: object) -> Callable[[Any], object]:
    """A card with numbers of novelty that has one fault."""
    values = {
        "means": {"maze": [0.0] * 14},
        **dict.fromkeys(("energy_mean", "energy_sd", "distance_mean", "distance_sd"), 1.0),
        "limit": 2.0,
        "acceptance": 0.95,
        "files": 20,
        "source": "a test",
    }
    return other_card(open_set={**values, **changes})


POINT = {
    "fpr": 0.1, "margin": 1.0, "flagged": 5, "low": 0.1, "high": 0.2, "malware_flagged": 7
}  # fmt: skip


def with_threshold(**changes: object) -> Callable[[Any], object]:
    """The default card, with one number of its threshold changed."""
    values = msgspec.to_builtins(bundles.load(DEFAULT).card.threshold)
    return other_card(threshold={**values, **changes})


def with_training(**changes: object) -> Callable[[Any], object]:
    values = msgspec.to_builtins(bundles.load(DEFAULT).card.training)
    return other_card(training={**values, **changes})


def with_view(number: int, **changes: object) -> Callable[[Any], object]:
    values = list(msgspec.to_builtins(bundles.load(DEFAULT).card.views))
    values[number] = {**values[number], **changes}
    return other_card(views=values)


def _move_weights_out(model: Any) -> None:
    _outside(model.graph.initializer[0])


def _outside(tensor: Any) -> None:
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"


def _redigest(change: Callable[[Any], object]) -> Callable[[Any], object]:
    """A change by somebody who also puts the right digest into the card."""

    def both(model: Any) -> None:
        change(model)
        card = msgspec.json.decode(model.metadata_props[0].value, type=Card)
        card = msgspec.structs.replace(card, weights_sha256=bundles.weights_sha256(model))
        model.metadata_props[0].value = msgspec.json.encode(card).decode()

    return both


def _drop_output(model: Any) -> None:
    del model.graph.output[0]


def _foreign_operator(model: Any) -> None:
    model.graph.node[0].domain = "com.example"


def _inner_graph(model: Any) -> Any:
    """A branch that is never taken, in an operator of ONNX's own."""
    node = model.graph.node.add(op_type="If", name="hidden")
    branch = node.attribute.add(name="then_branch", type=onnx.AttributeProto.GRAPH)
    return branch.g


def _foreign_operator_in_a_branch(model: Any) -> None:
    _inner_graph(model).node.add(op_type="Run", domain="com.example")


def _weights_out_in_a_branch(model: Any) -> None:
    _outside(_inner_graph(model).initializer.add(name="w"))


def _weights_out_in_a_constant(model: Any) -> None:
    node = model.graph.node.add(op_type="Constant")
    _outside(node.attribute.add(name="value", type=onnx.AttributeProto.TENSOR).t)


def _weights_out_in_an_attribute(model: Any) -> None:
    node = model.graph.node.add(op_type="Constant")
    sparse = node.attribute.add(name="sparse_value", type=onnx.AttributeProto.SPARSE_TENSOR)
    _outside(sparse.sparse_tensor.values)


def _weights_out_in_training(model: Any) -> None:
    _outside(model.training_info.add().algorithm.initializer.add(name="w"))


def _unknown_field(model: Any) -> None:
    """Field 999 of the graph, as a later ONNX may have."""
    model.graph.MergeFromString(b"\xba\x3e\x01x")


def _unknown_field_of_a_weight(model: Any) -> None:
    model.graph.initializer[0].MergeFromString(b"\xba\x3e\x01x")


def _own_function(model: Any) -> None:
    model.functions.add(name="Run", domain="com.example")


def _rename_input(model: Any) -> None:
    model.graph.input[0].name = "pictures"


def _output(name: str, **change: Any) -> Callable[[Any], None]:
    """What a graph says of one of its outputs: its type, or sizes by the number of the axis."""

    def changed(model: Any) -> None:
        (value,) = (output for output in model.graph.output if output.name == name)
        tensor = value.type.tensor_type
        tensor.elem_type = change.get("kind", tensor.elem_type)
        for axis, size in change.get("sizes", {}).items():
            if size is None:
                del tensor.shape.dim[axis]
            else:
                tensor.shape.dim[axis].dim_value = size

    return changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: model.metadata_props.pop(), "without a maltriage card"),
        (with_card_text("{"), "corrupt card"),
        (with_card_text('{"name": 1}'), "corrupt card"),
        (other_card(surprise=1), "corrupt card"),
        (with_card_text('{"training":{"recipe":{"a":' + "[" * 100_000), "nested too deeply"),
        (other_card(card_version=99), "card version 99"),
        (other_card(labels=["benign", "benign"]), "labels"),
        (other_card(temperature=-1.0), "temperature"),
        (other_card(input=[]), "input must be"),
        (other_card(input=["pe", "elf"]), "corrupt card"),
        (other_card(weights_sha256="0" * 64), "digest"),
        (_rename_input, "digest"),
        (_redigest(_rename_input), "inputs"),
        (_redigest(_drop_output), "outputs missing"),
        (_redigest(_foreign_operator), "foreign domain"),
        (_redigest(_move_weights_out), "weights outside"),
        (_redigest(_foreign_operator_in_a_branch), "foreign domain"),
        (_redigest(_weights_out_in_a_branch), "weights outside"),
        (_redigest(_weights_out_in_a_constant), "weights outside"),
        (_redigest(_weights_out_in_an_attribute), "AttributeProto.sparse_tensor, which no bundle"),
        (_redigest(_weights_out_in_training), "a graph for training"),
        (_redigest(_unknown_field), "a field of GraphProto that ONNX does not know"),
        (_redigest(_unknown_field_of_a_weight), "a field of TensorProto that ONNX"),
        (_redigest(lambda m: m.graph.sparse_initializer.add()), "sparse_initializer, which no"),
        (
            _redigest(lambda m: m.graph.quantization_annotation.add(tensor_name="w")),
            "quantization_annotation, which no bundle has",
        ),
        (
            _redigest(lambda m: m.graph.node[0].metadata_props.add(key="a", value="/home/me")),
            r"NodeProto\.metadata_props, which no bundle has",
        ),
        (
            _redigest(lambda m: m.graph.input[0].type.optional_type.elem_type.SetInParent()),
            r"TypeProto\.optional_type, which no bundle has",
        ),
        (_redigest(_own_function), "functions of its own"),
        (_redigest(_output("logits", sizes={1: 13})), "logits do not match"),
        (_redigest(_output("explained", sizes={1: 3})), "explained is no pair"),
        (_redigest(_output("explained", kind=onnx.TensorProto.FLOAT)), "output explained"),
        (_redigest(_output("embedding", kind=onnx.TensorProto.INT64)), "output embedding"),
        (_redigest(_output("embedding", sizes={1: 0})), "output embedding"),
        (_redigest(_output("heat_code", sizes={1: None})), "output heat_code"),
        (other_card(labels=["benign", "other"]), "labels"),
        (with_sets(coverage=1.0), r"corrupt card: .*conformal\.coverage"),
        (with_sets(temperature=0.123), "another temperature"),
        (with_sets(counts={"nobody": 1}, scores={"nobody": [0.5]}), "other labels"),
        (with_sets(counts={"benign": 2}), "other labels"),
        (with_sets(scores={"benign": [0.5, 0.2], "maze": []}), "not in order"),
        (with_sets(scores={"benign": [0.5, 1.2], "maze": []}), r"corrupt card: .*scores"),
        (with_sets(scores={"benign": [-0.1, 0.2], "maze": []}), r"corrupt card: .*scores"),
        (with_sets(scores={"benign": [0.1, 0.2, 0.3], "maze": []}), "not in order"),
        (with_sets(scores={"benign": [], "maze": []}), "not in order"),
        (with_sets(score="aps"), "corrupt card"),
        (with_novelty(means={}), "novelty of other labels"),
        (with_novelty(means={"nobody": [0.0] * 14}), "novelty of other labels"),
        (with_novelty(means={"maze": [0.0] * 13}), "a mean of other labels"),
        (with_novelty(distance_sd=0.0), r"corrupt card: .*distance_sd"),
        (with_novelty(energy_sd=5e-324), r"corrupt card: .*energy_sd"),
        (with_novelty(energy_mean=1e308), r"corrupt card: .*energy_mean"),
        (with_novelty(means={"maze": [1e308] * 14}), r"corrupt card: .*means"),
        (with_novelty(limit=1e308), r"corrupt card: .*limit"),
        (with_novelty(acceptance=1.5), r"corrupt card: .*acceptance"),
        (with_novelty(files=-1), r"corrupt card: .*files"),
        (with_threshold(fpr=-5), r"corrupt card: .*threshold\.fpr"),
        (with_threshold(fpr=1.01), r"corrupt card: .*threshold\.fpr"),
        (with_threshold(margin=1e308), r"corrupt card: .*threshold\.margin"),
        (with_threshold(kinds={"pe32": -1e308}), r"corrupt card: .*threshold\.kinds"),
        (with_threshold(files=-1), r"corrupt card: .*threshold\.files"),
        (with_threshold(flagged=-1), r"corrupt card: .*threshold\.flagged"),
        (with_threshold(malware=-1), r"corrupt card: .*threshold\.malware"),
        (with_threshold(low=-0.1), r"corrupt card: .*threshold\.low"),
        (with_threshold(low=0.5, high=0.4), "an interval that ends before it begins"),
        (with_threshold(points=[{**POINT, "low": 0.3}]), "an interval that ends before it begins"),
        (with_threshold(points=[{**POINT, "flagged": 10**6}]), "more files flagged than there are"),
        (
            with_threshold(points=[{**POINT, "malware_flagged": 10**6}]),
            "more files flagged than there are",
        ),
        (with_threshold(points=[POINT, POINT]), "thresholds for other rates in no order"),
        (
            with_threshold(points=[POINT, {**POINT, "fpr": 0.2, "margin": 2.0}]),
            "thresholds for other rates in no order",
        ),
        (
            with_threshold(points=[POINT], kinds={"pe32": 1.0}),
            "thresholds of kinds, and for other rates",
        ),
        (with_threshold(points=[{**POINT, "fpr": 1.5}]), r"corrupt card: .*points.*fpr"),
        (with_threshold(files=10, flagged=11), "more files flagged than there are"),
        (with_threshold(malware=1, malware_flagged=2), "more files flagged than there are"),
        (with_training(samples=-1), r"corrupt card: .*training\.samples"),
        (with_training(goodware_samples=1 << 60), r"corrupt card: .*goodware_samples"),
        (with_training(folds=-1), r"corrupt card: .*training\.folds"),
        (with_training(epochs=-1), r"corrupt card: .*training\.epochs"),
        (with_training(seed=-1), r"corrupt card: .*training\.seed"),
        (with_training(malware_kinds={"pe32": -1}), r"corrupt card: .*malware_kinds"),
        (with_training(fractions=[0.9, 0.9, 0.9]), "parts of the training data"),
        (with_training(fractions=[1.1, 0, 0]), r"corrupt card: .*fractions"),
        (with_training(recipe={"a": [[[[[[[[1]]]]]]]]}), "a recipe that is nested too deeply"),
        (other_card(temperature=5e-324), r"corrupt card: .*temperature"),
        (other_card(temperature=1e308), r"corrupt card: .*temperature"),
        (other_card(unmapped=256), r"corrupt card: .*unmapped"),
        (other_card(unmapped=-1), r"corrupt card: .*unmapped"),
        (other_card(parameters=-1), r"corrupt card: .*parameters"),
        (other_card(metrics={"test_accuracy": 1e300}), r"corrupt card: .*metrics"),
        (other_card(receptive_field_bytes={"code": -1}), r"corrupt card: .*receptive_field"),
        (with_view(2, size=-64), "impossible size"),
        (with_view(2, size=0), "impossible size"),
        (with_view(2, size=1 << 20), "views of an impossible size"),
        (with_view(2, channels=["mean", "aura"]), "impossible size or channel"),
        (with_view(2, channels=["mean", "mean"]), "impossible size or channel"),
        (with_view(2, channels=[]), "impossible size or channel"),
        (with_view(0, name="target"), "views must be"),
        (with_view(0, slots=0), "impossible size"),
        (with_view(1, cells=1 << 17), "impossible size"),
        (with_view(3, length=-1), "impossible size"),
        (with_view(3, before=-1), "impossible size"),
    ],
)
def test_what_is_no_bundle(tmp_path: Path, change: Callable[[Any], object], message: str) -> None:
    with pytest.raises(MaltriageError, match=message) as caught:
        bundles.load(changed(tmp_path, change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"text", b"MZ" + bytes(100), b"\x08\x07"])
def test_what_is_no_onnx(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(data)
    with pytest.raises(MaltriageError, match="not an ONNX file"):
        bundles.load(path)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(MaltriageError, match="cannot read model"):
        bundles.load(tmp_path / "none.onnx")
    with pytest.raises(MaltriageError, match="no such model: none"):
        bundles.resolve("none")


def test_the_default_ships_and_is_small() -> None:
    assert DEFAULT in bundles.shipped()
    assert DEFAULT.stat().st_size <= 12_000_000
    card = bundles.load(DEFAULT).card
    assert card.benign == 0
    assert card.threshold is not None
    assert card.temperature is not None
    assert bundles.resolve(bundles.DEFAULT_MODEL) == DEFAULT


def test_another_card_leaves_the_weights(tmp_path: Path) -> None:
    bundle = bundles.load(DEFAULT)
    threshold = Threshold(margin=1.5, fpr=0.1, goodware="mine", files=10, flagged=1)
    card = msgspec.structs.replace(bundle.card, threshold=threshold)
    written = bundles.with_card(bundle, card, tmp_path / "new.onnx")
    again = bundles.load(tmp_path / "new.onnx")
    assert again.card == written
    assert again.card.threshold == threshold
    assert again.card.weights_sha256 == bundle.card.weights_sha256
    assert [path.name for path in tmp_path.iterdir()] == ["new.onnx"]


@pytest.mark.parametrize("fpr", [-5.0, float("nan"), float("inf")])
def test_what_would_not_be_read_is_not_written(tmp_path: Path, fpr: float) -> None:
    bundle = bundles.load(DEFAULT)
    threshold = Threshold(margin=1.5, fpr=fpr, goodware="mine", files=10, flagged=1)
    card = msgspec.structs.replace(bundle.card, threshold=threshold)
    with pytest.raises(MaltriageError, match=r"threshold\.fpr"):
        bundles.with_card(bundle, card, tmp_path / "new.onnx")
    assert not list(tmp_path.iterdir())


def test_prediction_sets_may_lack_scores_of_a_label(tmp_path: Path) -> None:
    card = bundles.load(changed(tmp_path, with_sets())).card
    assert card.conformal is not None
    assert card.conformal.scores == {"benign": (0.2, 0.5), "maze": ()}


def read(**values: object) -> Card:
    """The default card with other values, and without what is set on its labels."""
    card = msgspec.to_builtins(bundles.load(DEFAULT).card)
    bare = dict.fromkeys(("threshold", "conformal", "open_set"))
    return read_card(msgspec.json.encode({**card, **bare, **values}), DEFAULT)


def test_the_least_that_a_card_may_say() -> None:
    own = msgspec.to_builtins(bundles.load(DEFAULT).card)
    for name in ("threshold", "conformal", "open_set"):
        assert getattr(read(**{name: own[name]}), name) is not None
    one = [{**view, "channels": ["mean"]} for view in own["views"] if view["name"] == "body"]
    card = read(labels=["benign", "maze"], views=one, threshold=own["threshold"])
    assert (card.conformal, card.open_set, card.benign) == (None, None, 0)
    assert [view.shape for view in card.views] == [
        (1, *bundles.load(DEFAULT).card.views[2].shape[1:])
    ]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"labels": ["benign"]}, "labels must be"),
        ({"labels": [str(number) for number in range(MAX_LABELS + 1)]}, "labels must be"),
        ({"two_questions": True, "additive": False}, "two questions need"),
        ({"two_questions": True, "labels": ["maze", "zeus"]}, "two questions need"),
    ],
)
def test_cards_that_do_not_agree_with_themselves(values: dict[str, Any], message: str) -> None:
    with pytest.raises(MaltriageError, match=f"bad card: {message}"):
        read(**values)


def test_a_bundle_names_no_path_of_the_machine_that_made_it() -> None:
    data = DEFAULT.read_bytes()
    for mark in (b"site-packages", b".py\x00", b"/home/", b"/root/", b'File "'):
        assert mark not in data


def test_a_card_without_an_input_is_for_programs_and_their_byteplots(tmp_path: Path) -> None:
    values = msgspec.to_builtins(bundles.load(DEFAULT).card)
    del values["input"]
    path = changed(tmp_path, with_card_text(msgspec.json.encode(values).decode()))
    assert bundles.load(path).card.input == ("pe", "png")


def test_the_digest_leaves_the_model_as_it_was_and_does_not_see_its_metadata() -> None:
    model = onnx.load(DEFAULT)
    entry = model.metadata_props.add()
    entry.key, entry.value = "note", "kept"
    before = model.SerializeToString(deterministic=True)
    assert bundles.weights_sha256(model) == bundles.load(DEFAULT).card.weights_sha256
    assert model.SerializeToString(deterministic=True) == before


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    """Found by fuzzing: protobuf reads it, and fails where it is looked at."""
    data = bytearray(DEFAULT.read_bytes())
    data[data.index(b'"card_version"') + 3] = 0x80
    path = tmp_path / "x.onnx"
    path.write_bytes(data)
    with pytest.raises(MaltriageError, match="UTF-8"):
        bundles.load(path)
