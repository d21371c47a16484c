"""Published digests: a bundle that was changed is told, also where its own digest is right."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import onnx
import pytest

from maltriage import bundle as bundles
from maltriage import doctor
from maltriage.bundle import Bundle, file
from maltriage.bundle import published as digests
from maltriage.similar.index_file import SUFFIX

DEFAULT = bundles.resolve(None)
INDEX = DEFAULT.with_name(DEFAULT.stem + SUFFIX)


def tampered(path: Path) -> Bundle:
    """The default bundle with one weight changed, and a card whose digest is that of its graph."""
    model = onnx.load(DEFAULT)
    weight = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    weight.raw_data = bytes([weight.raw_data[0] ^ 1]) + weight.raw_data[1:]
    bundles.save(model, bundles.load(DEFAULT).card, path)
    found = bundles.load(path)
    assert found.card.weights_sha256 != bundles.load(DEFAULT).card.weights_sha256
    return found


@pytest.mark.parametrize("path", bundles.shipped(), ids=lambda path: path.stem)
def test_what_ships_is_published(path: Path) -> None:
    assert bundles.ships(path)
    bundle = bundles.load(path)
    assert bundles.standing_of(bundle).state == "published"
    # What `load` leaves out for such a file, and the card read without ONNX.
    assert file._checked(bundle.model, path) == bundle
    index = path.with_name(path.stem + SUFFIX)
    if index.exists():
        assert bundles.index_standing(index).state == "published"


def test_what_was_changed_is_told(tmp_path: Path) -> None:
    changed = bundles.standing_of(tampered(tmp_path / f"{DEFAULT.stem}.onnx"))
    assert changed.state == "differs"
    assert changed.text == f"differs from the published {DEFAULT.stem}: another graph"
    bundle = bundles.load(DEFAULT)
    assert bundle.card.threshold is not None
    threshold = msgspec.structs.replace(bundle.card.threshold, margin=99.0)
    bundles.with_card(
        bundle, msgspec.structs.replace(bundle.card, threshold=threshold), tmp_path / "x.onnx"
    )
    assert bundles.standing_of(bundles.load(tmp_path / "x.onnx")).text == (
        f"differs from the published {DEFAULT.stem}: the same graph with another card"
    )


def test_a_published_bundle_under_the_name_of_another_is_told(tmp_path: Path) -> None:
    (other,) = [path for path in bundles.shipped() if path.stem == "maltriage-camvit"]
    shutil.copy(other, tmp_path / f"{DEFAULT.stem}.onnx")
    shutil.copy(other, tmp_path / "mine.onnx")
    assert bundles.standing_of(bundles.load(tmp_path / f"{DEFAULT.stem}.onnx")).text == (
        f"differs from the published {DEFAULT.stem}: it is maltriage-camvit"
    )
    assert bundles.standing_of(bundles.load(tmp_path / "mine.onnx")).state == "published"


def test_what_was_never_published(tmp_path: Path) -> None:
    bundle = bundles.load(DEFAULT)
    card = msgspec.structs.replace(bundle.card, name="mine")
    bundles.with_card(bundle, card, tmp_path / "mine.onnx")
    assert bundles.standing_of(bundles.load(tmp_path / "mine.onnx")).state == "unknown"


def test_an_index_that_was_changed(tmp_path: Path) -> None:
    path, other = tmp_path / INDEX.name, tmp_path / "mine.index.npz"
    path.write_bytes(INDEX.read_bytes() + b"x")
    other.write_bytes(path.read_bytes())
    assert bundles.index_standing(path).text == (
        f"differs from the published index of {DEFAULT.stem}"
    )
    assert bundles.index_standing(other).text == "not a published index"


def test_models_and_doctor_tell_of_a_changed_bundle(run_cli: Any, tmp_path: Path) -> None:
    tampered(tmp_path / f"{DEFAULT.stem}.onnx")
    (tmp_path / INDEX.name).write_bytes(INDEX.read_bytes())
    text = f"differs from the published {DEFAULT.stem}: another graph"
    shown = run_cli("models", f"{DEFAULT.stem}.onnx")
    assert shown.returncode == 0
    assert text in shown.stdout.decode().splitlines()
    done = run_cli("doctor", "--model", f"{DEFAULT.stem}.onnx", "-f", "json")
    found = json.loads(done.stdout)["model"]
    assert found["standing"] == text
    assert text in run_cli("doctor", "--model", f"{DEFAULT.stem}.onnx").stdout.decode()


def test_the_list_of_models_says_what_is_published(run_cli: Any) -> None:
    lines = run_cli("models").stdout.decode().splitlines()
    assert len(lines) == len(bundles.shipped())
    assert all("published with maltriage " in line for line in lines)
    assert sum("; index published with maltriage " in line for line in lines) == 2


@pytest.mark.parametrize("in_place", [True, False])
def test_a_changed_bundle_in_place_of_one_that_ships_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_place: bool
) -> None:
    bundle = tampered(tmp_path / f"{DEFAULT.stem}.onnx")
    if in_place:
        monkeypatch.setattr(digests, "models_dir", lambda: tmp_path)
    problems: list[str] = []
    assert doctor._model(bundle, problems).standing.startswith("differs from the published")
    assert [problem.rpartition(": ")[2] for problem in problems] == ["another graph"] * in_place
