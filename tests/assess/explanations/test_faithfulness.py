"""Figures of explanations: true maps pass, false ones fail, and counts are right."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from assess.planted import LABELS, cross_validate, plant, weights
from corpus.synthetic import program, write_png
from hypothesis import given
from hypothesis import strategies as st

from maltriage.assess.explanations.curves import FRACTIONS
from maltriage.assess.explanations.faithfulness import assess_faithfulness
from maltriage.assess.explanations.perturbation import Bench, FileTrial, Terms
from maltriage.assess.held_back import Group, Held, stratified
from maltriage.bundle import Bundle
from maltriage.corpus.datasets import open_dataset
from maltriage.corpus.load import load_corpus
from maltriage.errors import MaltriageError
from maltriage.triage.options import ScanOptions, work_of
from maltriage.work.workers import Workers

TRUE = weights((34, 40, 1.0), (70, 74, 0.3), (90, 92, -0.4))
"""Much for the first label in the first section, less in the second, and something against."""
LYING = weights((0, 4, 5.0), (34, 40, -1.0))
OPTIONS = ScanOptions(device="cpu", jobs=1, threads=1)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_png(tmp_path_factory.mktemp("sample") / "a.png", program(1, 1))


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return plant(tmp_path_factory.mktemp("honest") / "net.onnx", TRUE)


def trial(bundle: Bundle, path: Path, label: str = LABELS[0], **terms: Any) -> FileTrial | None:
    with Workers(1, 60.0) as workers:
        bench = Bench(bundle, workers, work_of(bundle, OPTIONS), Terms(**terms), "cpu", 1)
        return bench.run(str(path), label)


@pytest.mark.parametrize("method", ["hirescam", "occlusion"])
def test_a_map_that_is_true(honest: Bundle, sample: Path, method: str) -> None:
    found = trial(honest, sample, methods=(method,), mask="zeros")
    assert found is not None
    (own,) = found.methods
    assert own.method == method
    assert own.top is True
    assert found.largest is True  # of two of a size the first
    assert own.regions == pytest.approx(1.0)
    score = own.curves.deletion[0]
    assert score[0] > 0
    assert score[-1] == pytest.approx(0.0, abs=1e-5)  # nothing is left, and no bias
    assert own.curves.insertion[0][0] == pytest.approx(0.0, abs=1e-5)
    assert own.curves.insertion[0][-1] == pytest.approx(score[0])
    # Bytes that speak for the label go first, so the score falls below what is left at the end.
    assert score.min() < 0
    assert (own.random.deletion[0][1:4] > score[1:4]).all()
    assert (own.random.insertion[0][1:4] < own.curves.insertion[0][1:4]).all()
    assert found.by_size.deletion.shape == (2, len(FRACTIONS))
    assert all(value is not None and abs(value) < 0.7 for value in own.nets)


def test_a_map_that_lies(tmp_path: Path, sample: Path) -> None:
    found = trial(plant(tmp_path / "net.onnx", TRUE, LYING), sample, mask="zeros")
    assert found is not None
    (own,) = found.methods
    assert own.top is False
    assert own.regions is not None
    assert own.regions < 0
    # What it points at is nothing, so its bytes can go without harm.
    assert own.curves.deletion[0][1] == pytest.approx(own.curves.deletion[0][0])


def test_a_map_that_is_of_the_file_and_not_of_the_net(tmp_path: Path, sample: Path) -> None:
    """A map that goes by what is no weight is the same with other weights."""
    bundle = plant(tmp_path / "net.onnx", TRUE, np.ones(128, dtype=np.float32))
    found = trial(bundle, sample)
    assert found is not None
    assert found.methods[0].nets == (pytest.approx(1.0), pytest.approx(1.0))


def test_same_maps_are_measured_once(honest: Bundle, sample: Path) -> None:
    found = trial(honest, sample, methods=("gradcam", "hirescam", "occlusion"), nets=1, orders=1)
    assert found is not None
    assert [(m.method, m.same_as) for m in found.methods] == [
        ("gradcam", ("hirescam",)),
        ("occlusion", ()),
    ]
    assert found.methods[0].appended == pytest.approx(1.0)  # the window sees none of it
    assert found.methods[1].appended is None


def test_a_wrong_verdict_is_no_trial(honest: Bundle, sample: Path) -> None:
    assert trial(honest, sample, LABELS[1]) is None


def test_two_runs_are_equal(honest: Bundle, sample: Path) -> None:
    first, again = (trial(honest, sample) for _ in range(2))
    assert first is not None
    assert again is not None
    np.testing.assert_array_equal(
        first.methods[0].curves.deletion, again.methods[0].curves.deletion
    )
    np.testing.assert_array_equal(
        first.methods[0].random.insertion, again.methods[0].random.insertion
    )


@given(
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=200),
    st.integers(1, 250),
    st.integers(0, 2**32),
)
def test_drawn_by_label(labels: list[str], limit: int, seed: int) -> None:
    samples = [(str(i), label) for i, label in enumerate(labels)]
    kept = stratified(samples, limit, seed)
    assert kept == stratified(samples, limit, seed)
    assert set(kept) <= set(samples)
    assert [int(path) for path, _ in kept] == sorted(int(path) for path, _ in kept)
    before, after = Counter(labels), Counter(label for _, label in kept)
    assert len(after) == min(limit, len(before))
    assert len(kept) == min(limit, len(labels))
    assert min(before[label] for label in after) >= max(
        (before[label] for label in before.keys() - after.keys()), default=0
    )
    if limit < len(labels):
        for label, count in before.items():
            assert abs(after[label] - count * limit / len(labels)) <= max(2, len(before))


def test_a_limit_holds_beside_many_small_labels() -> None:
    samples = [(f"{i}", "large") for i in range(91)] + [(f"s{i}", f"small-{i}") for i in range(9)]
    assert Counter(label for _, label in stratified(samples, 10, 0)) == {
        label: 1 for _, label in samples
    }
    assert [label for _, label in stratified(samples, 1, 0)] == ["large"]
    drawn = Counter(label for _, label in stratified(samples, 20, 0))
    assert (drawn["large"], drawn.total()) == (11, 20)


def test_figures_of_files(honest: Bundle, tmp_path: Path) -> None:
    good = [write_png(tmp_path / f"{i}.png", program(1, i)) for i in range(4)]
    (tmp_path / "bad.exe").write_bytes(b"MZ")
    samples = [(str(path), LABELS[0]) for path in good]
    samples += [(str(good[0]), LABELS[1]), (str(good[0]), "nobody"), (str(tmp_path / "no"), "maze")]
    seen: list[int] = []
    found = assess_faithfulness(
        Held(honest, [Group(honest, samples)], "all"),
        OPTIONS,
        Terms(mask="zeros"),
        changed=lambda now: seen.append(now.files + now.failed),
    )
    assert (found.files, found.right, found.unreadable) == (6, 4, 1)
    assert found.unknown_labels == {"nobody": 1}
    assert seen == [1, 2, 3, 4, 5, 6]
    (method,) = found.methods
    assert (method.method, method.same_as) == ("hirescam", ["gradcam"])
    assert method.top_region is not None
    assert method.top_region.value == 1.0
    assert method.rank_correlation is not None
    assert method.rank_correlation.value == pytest.approx(1.0)
    assert method.deletion.own.value < method.deletion.random.value
    assert method.deletion.better.value == pytest.approx(
        1 - method.deletion.own.value / method.deletion.random.value
    )
    assert method.insertion.better.value == pytest.approx(
        method.insertion.own.value / method.insertion.random.value - 1
    )
    for figures in (method.deletion, method.deletion_score, method.insertion_score):
        assert figures.own.low <= figures.own.value <= figures.own.high
    assert method.curves.fractions == list(FRACTIONS)
    assert [target.met for target in found.targets] == [True, True, True, True]


def test_a_liar_misses_its_targets(tmp_path: Path, sample: Path) -> None:
    bundle = plant(tmp_path / "net.onnx", TRUE, LYING)
    held = Held(bundle, [Group(bundle, [(str(sample), LABELS[0])])], "all")
    found = assess_faithfulness(held, OPTIONS, Terms(mask="zeros"))
    assert [target.met for target in found.targets[:3]] == [False, False, False]


@pytest.mark.parametrize(
    ("terms", "label", "message"),
    [
        (Terms(methods=("tea-leaves",)), LABELS[0], "no such method: tea-leaves"),
        (Terms(), LABELS[1], "no readable file of 1 has the right verdict"),
    ],
)
def test_nothing_to_measure(
    honest: Bundle, sample: Path, terms: Terms, label: str, message: str
) -> None:
    held = Held(honest, [Group(honest, [(str(sample), label)])], "all")
    with pytest.raises(MaltriageError, match=message):
        assess_faithfulness(held, OPTIONS, terms)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A dataset of which the planted bundle is right about one family."""
    for label in LABELS:
        for i in range(3):
            write_png(tmp_path / "tree" / label / f"{i}.png", program(1, 10 * len(label) + i))
    return tmp_path / "tree"


def test_the_command(run_cli: Any, honest: Bundle, tree: Path) -> None:
    arguments = ("faithfulness", honest.path, "--dataset", "folder", "--root", tree)
    arguments += ("--jobs", "1", "--threads", "1", "--methods", "hirescam,occlusion")
    shown = run_cli(*arguments)
    assert (shown.returncode, shown.stderr) == (0, b"")
    text = shown.stdout.decode()
    assert "part all: 3 of 6 files with the right verdict" in text
    assert "hirescam = gradcam" in text
    assert "always the largest region" in text
    assert "target for hirescam, top region right" in text
    done = run_cli(*arguments, "--format", "json", "--limit", "4", "--mask", "zeros")
    document = json.loads(done.stdout)
    assert (document["files"], document["right"], document["mask"]) == (4, 2, "zeros")
    assert [method["method"] for method in document["methods"]] == ["hirescam", "occlusion"]
    wrong = run_cli(*arguments, "--folds", tree, "--split-file", tree / "split.json")
    assert (wrong.returncode, wrong.stdout) == (2, b"")
    assert b"not both" in wrong.stderr


def test_each_file_by_the_net_that_held_it_back(
    run_cli: Any, honest: Bundle, tree: Path, tmp_path: Path
) -> None:
    """Fold 0 has a bundle whose map lies: it is measured on the files of that fold alone."""
    corpus = load_corpus(open_dataset("folder", tree), (), jobs=1, folder=tmp_path / "cache")
    run = tmp_path / "run"
    liar = plant(tmp_path / "liar.onnx", TRUE, LYING)
    # Of the files in the order of the corpus; 2 and 5 are in no fold.
    model = cross_validate(run, (liar, honest), corpus, ([0, 3], [1, 4])).path
    arguments = ("faithfulness", model, "--dataset", "folder", "--root", tree, "--folds", run)
    done = run_cli(*arguments, "--mask", "zeros", "-f", "json", "--jobs", "1")
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert (found["part"], found["files"], found["right"]) == ("out of fold", 4, 2)
    assert (found["missing"], found["seen"]) == (2, False)
    assert found["methods"][0]["top_region"]["value"] == 0.5  # one net is honest, the other not
    everything = run_cli(*arguments[:-2], "-f", "json", "--jobs", "1")
    assert json.loads(everything.stdout)["seen"] is True
