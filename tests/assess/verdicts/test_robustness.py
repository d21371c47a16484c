"""Verdicts under changes, by nets of which it is known what they read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from assess.planted import cross_validate, plant, weights
from probe.transform.programs import Plan, build

from maltriage import bundle as bundles
from maltriage.assess.held_back import Group, Held
from maltriage.assess.verdicts.robustness import Terms, assess_robustness, at_rate
from maltriage.bundle import Bundle, Threshold
from maltriage.corpus.datasets import open_dataset
from maltriage.corpus.load import load_corpus
from maltriage.errors import MaltriageError
from maltriage.report.documents.robustness import Robustness, TransformFigures
from maltriage.triage.options import ScanOptions

OPTIONS = ScanOptions(device="cpu", jobs=1, threads=1)
LABELS = ("maze", "benign")
SECTIONS = (32, 48, 1.0), (48, 64, -1.0)
"""Weights of the cells of both sections of the programs below: the first speaks for `maze`."""
END = 64
"""The first cell behind these programs."""


def program(seed: int, malware: bool) -> bytes:
    """2,048 bytes: headers of 1,024, and two sections, of which one has much in it."""
    generator = np.random.default_rng(seed)

    def body(most: int) -> bytes:
        return generator.integers(1, most, 512, dtype=np.uint8).tobytes()

    first, second = (body(250), body(20)) if malware else (body(20), body(250))
    return build(Plan((first, second), (b"", b"")))


def net(path: Path, *more: tuple[int, int, float], margin: float | None = 1.0) -> Bundle:
    """A bundle that reads the sections, and what else is given."""
    bundle = plant(path, weights(*SECTIONS, *more))
    limit = (
        None
        if margin is None
        else Threshold(margin=margin, kinds={}, fpr=0.01, goodware="none", files=100, flagged=1)
    )
    card = msgspec.structs.replace(bundle.card, labels=LABELS, threshold=limit)
    bundles.with_card(bundle, card, path)
    return bundles.load(path)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset: six files of the family, six that are benign."""
    root = tmp_path_factory.mktemp("tree")
    for i in range(12):
        path = root / ("maze" if i < 6 else "benign") / f"{i}.exe"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(program(i, i < 6))
    return root


@pytest.fixture(scope="module")
def samples(tree: Path) -> list[tuple[str, str]]:
    return [(str(path), path.parent.name) for path in sorted(tree.glob("*/*"))]


def measure(bundle: Bundle, samples: list[tuple[str, str]], *names: str) -> Robustness:
    donors = tuple(path for path, label in samples if label == "benign")
    terms = Terms(names, donors) if names else Terms(donors=donors)
    held = Held(bundle, [Group(bundle, samples)], "all")
    return assess_robustness(held, OPTIONS, terms, threshold="card")


def figures(found: Robustness) -> dict[str, TransformFigures]:
    return {made.name: made for made in found.transforms}


def test_a_net_that_reads_nothing_that_changes(
    tmp_path: Path, samples: list[tuple[str, str]]
) -> None:
    found = measure(net(tmp_path / "net.onnx"), samples)
    assert (found.files, found.accuracy.value) == (12, 1.0)
    assert (found.malware, found.malware_flagged, found.benign, found.benign_flagged) == (
        6,
        6,
        6,
        0,
    )
    by_name = figures(found)
    assert set(found.skipped) == {
        "wipe-rich",
        "wipe-checksum",
        "wipe-debug",
        "strip-overlay",
        "strip-certificate",
        "append-words-10",
        "append-words-40",
    }
    assert found.skipped["wipe-rich"] == "no Rich header"
    for name in set(by_name) - {"pack-proxy", "file-alignment", "pad-sections"}:
        made = by_name[name]
        assert (made.files, made.not_applicable) == (12, {})
        assert made.kept.value == made.accuracy_after == made.top_kept.value == 1.0
        assert (made.flagged, made.clean) == (6, 6)
        assert made.unflagged is not None
        assert made.unflagged.value == 0.0
        assert 0.3 < made.unflagged.high < 0.6  # six files say little
        assert made.newly_flagged is not None
        assert made.newly_flagged.value == 0.0
    assert by_name["pack-proxy"].proxy
    # Sections at multiples of 4,096 bytes lie past what the net reads.
    assert by_name["file-alignment"].unflagged is not None
    assert by_name["file-alignment"].unflagged.value == 1.0
    assert [target.met for target in found.targets] == [True] * 5


def test_a_net_that_reads_what_is_appended(tmp_path: Path, samples: list[tuple[str, str]]) -> None:
    bundle = net(tmp_path / "net.onnx", (END, 128, -5.0))
    found = measure(bundle, samples, "append-zeros-50", "append-random-50", "append-benign-50")
    by_name = figures(found)
    assert list(by_name) == ["append-zeros-50", "append-random-50", "append-benign-50"]
    assert by_name["append-zeros-50"].kept.value == 1.0
    for name in ("append-random-50", "append-benign-50"):
        made = by_name[name]
        assert (made.accuracy_before, made.accuracy_after) == (1.0, pytest.approx(0.5))
        assert made.kept.value == pytest.approx(0.5)
        assert made.unflagged is not None
        assert made.unflagged.value == 1.0
        assert made.newly_flagged is not None
        assert made.newly_flagged.value == 0.0
        # It speaks for benign, which benign files are asked about: theirs is the overlay now.
        assert made.top_now == {"overlay": 6}
        assert made.top_kept.value == pytest.approx(0.5)
    assert [(target.value, target.met) for target in found.targets] == [(1.0, False)]


def test_what_is_appended_can_flag_benign_files(
    tmp_path: Path, samples: list[tuple[str, str]]
) -> None:
    bundle = net(tmp_path / "net.onnx", (END, 128, 5.0))
    (made,) = measure(bundle, samples, "append-random-50").transforms
    assert made.newly_flagged is not None
    assert made.newly_flagged.value == 1.0
    assert made.unflagged is not None
    assert made.unflagged.value == 0.0
    assert made.top_now == {"overlay": 6}


def test_a_net_that_reads_names(tmp_path: Path, samples: list[tuple[str, str]]) -> None:
    """Rows of the section table begin at 376, in cell 11; a name's letters are above 96."""
    bundle = net(tmp_path / "net.onnx", (11, 12, -150.0))
    found = measure(bundle, samples, "rename-sections", "wipe-timestamp")
    names, stamp = found.transforms
    assert stamp.kept.value == 1.0
    assert names.kept.value < 1.0
    assert [(t.name.split(",")[0], t.met) for t in found.targets] == [("rename-sections", False)]


def test_without_a_threshold(tmp_path: Path, samples: list[tuple[str, str]]) -> None:
    bundle = net(tmp_path / "net.onnx", margin=None)
    (made,) = measure(bundle, samples, "append-random-1").transforms
    assert (made.flagged, made.unflagged, made.clean, made.newly_flagged) == (0, None, 0, None)
    held = Held(bundle, [Group(bundle, samples)], "all")
    clean = [path for path, label in samples if label == "benign"]
    (changed,) = at_rate(held, clean, 0.5, OPTIONS).groups
    limit = changed.bundle.card.threshold
    assert limit is not None
    assert limit.margin < 0
    assert (limit.files, limit.flagged) == (6, 3)
    assert changed.samples is samples


def test_what_cannot_be_measured(tmp_path: Path, samples: list[tuple[str, str]]) -> None:
    bundle = net(tmp_path / "net.onnx")
    with pytest.raises(MaltriageError, match="no such transformation: melt"):
        measure(bundle, samples, "melt")
    (tmp_path / "bad.exe").write_bytes(b"")
    with pytest.raises(MaltriageError, match="none of the files could be read"):
        measure(bundle, [(str(tmp_path / "bad.exe"), "maze")], "append-zeros-1")
    more = [*samples, (str(tmp_path / "bad.exe"), "maze"), (samples[0][0], "nobody")]
    found = measure(bundle, more, "append-zeros-1")
    assert (found.files, found.unreadable, found.unknown_labels) == (12, 1, {"nobody": 1})


def test_the_same_seed_gives_the_same_figures(
    tmp_path: Path, samples: list[tuple[str, str]]
) -> None:
    bundle = net(tmp_path / "net.onnx", (END, 128, -0.5))
    first, again = (
        msgspec.structs.replace(measure(bundle, samples, "append-random-50"), seconds=0.0)
        for _ in range(2)
    )
    assert first == again


def test_the_command(run_cli: Any, tmp_path: Path, tree: Path) -> None:
    bundle = net(tmp_path / "net.onnx", (END, 128, -5.0))
    before = {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    arguments = ("robustness", bundle.path, "--dataset", "folder", "--root", tree)
    arguments += ("--jobs", "1", "--threads", "1")
    shown = run_cli(*arguments)
    assert (shown.returncode, shown.stderr) == (0, b"")
    text = shown.stdout.decode()
    assert "12 files, 1.000 with the right label" in text
    assert "flagged before: 6 of 6 malware, 0 of 6 benign (threshold: card)" in text
    assert "6/6 100.0%" in text
    assert "not applicable to any file, no Rich header: wipe-rich" in text
    assert "target, append-benign-50, flagged malware that it unflags: 100.0%, at most 5%" in text
    some = ("--transform", "append-benign-10", "--transform", "pack-proxy", "--limit", "5")
    done = run_cli(*arguments, *some, "-f", "json", "--donors", tree / "benign")
    document = json.loads(done.stdout)
    assert [made["name"] for made in document["transforms"]] == ["append-benign-10", "pack-proxy"]
    assert (document["files"], document["donors"]) == (5, "benign")
    wrong = run_cli(*arguments, "--transform", "melt")
    assert (wrong.returncode, wrong.stdout) == (2, b"")
    assert b"no such transformation: melt" in wrong.stderr
    both = run_cli(*arguments, "--folds", tree, "--split-file", tree / "split.json")
    assert (both.returncode, both.stdout) == (2, b"")
    assert b"not both" in both.stderr
    empty = tmp_path / "empty"
    empty.mkdir()
    nobody = run_cli(*arguments, "--donors", empty)
    assert (nobody.returncode, nobody.stdout) == (2, b"")
    assert b"no files to take bytes from" in nobody.stderr
    # Nothing that was changed is anywhere on disk.
    assert {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()} == before


def test_each_file_by_the_net_that_held_it_back(run_cli: Any, tmp_path: Path, tree: Path) -> None:
    """The net of fold 1 is led by what is appended, that of fold 0 is not."""
    corpus = load_corpus(open_dataset("folder", tree), (), jobs=1, folder=tmp_path / "cache")
    families = [corpus.labels[corpus.label[i]] for i in range(len(corpus))]
    maze = [i for i, label in enumerate(families) if label == "maze"]
    firm = net(tmp_path / "firm.onnx", margin=None)
    led = net(tmp_path / "led.onnx", (END, 128, -5.0), margin=None)
    run = tmp_path / "run"
    model = cross_validate(run, (firm, led), corpus, (maze[:2], maze[2:5])).path
    arguments = ("robustness", model, "--dataset", "folder", "--root", tree, "--folds", run)
    arguments += ("--transform", "append-random-50", "-f", "json", "--jobs", "1")
    done = run_cli(*arguments)
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert (found["part"], found["files"], found["missing"]) == ("out of fold", 5, 7)
    assert found["threshold"] is None
    assert found["transforms"][0]["kept"]["value"] == 0.4
    done = run_cli(*arguments, "--calibration", tree / "benign", "--fpr", "0.5")
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert found["threshold"] == "50 % of clean files, each net its own"
    assert found["transforms"][0]["flagged"] == 5
    assert found["transforms"][0]["unflagged"]["value"] == 0.6
