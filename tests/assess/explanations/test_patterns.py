"""What families look like to bundles whose maps are known, and the command that says it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from assess.planted import CELL, LABELS, cross_validate, plant, weights
from corpus.synthetic import program, write_png
from PIL import Image
from report.pages import assert_sealed
from report.screens import hidden

from maltriage.assess.explanations.patterns import find_patterns
from maltriage.assess.held_back import Group, Held
from maltriage.bundle import Bundle
from maltriage.corpus.datasets import open_dataset
from maltriage.corpus.load import load_corpus
from maltriage.errors import MaltriageError
from maltriage.report.documents.patterns import FamilyPattern, Patterns
from maltriage.triage.options import Progress, ScanOptions

TRUE = weights((34, 40, 1.0), (70, 74, 0.3), (90, 92, -0.4))
OTHER = weights((66, 80, 1.0))
OPTIONS = ScanOptions(device="cpu", jobs=1, threads=1)


def write(path: Path, family: int, number: int) -> Path:
    return write_png(path, program(family, number, size=2000))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    for label in LABELS:
        for i in range(3):
            write(root / label / f"{i}.png", len(label), i)
    return root


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return plant(tmp_path_factory.mktemp("first") / "net.onnx", TRUE)


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return plant(tmp_path_factory.mktemp("second") / "net.onnx", OTHER)


def subject(bundle: Bundle, samples: list[tuple[str, str]]) -> Held:
    return Held(bundle, [Group(bundle, samples)], "all")


def samples_of(tree: Path) -> list[tuple[str, str]]:
    return [(str(tree / label / f"{i}.png"), label) for label in LABELS for i in range(3)]


def find(*subjects: Held) -> Patterns:
    return find_patterns(subjects, "folder", OPTIONS)


def share(family: FamilyPattern, kind: str) -> float:
    return sum(each.share.mean for each in family.kinds if each.kind == kind)


def test_a_known_map(first: Bundle, tree: Path, tmp_path: Path) -> None:
    samples = [*samples_of(tree), (str(tmp_path / "gone"), LABELS[0]), (str(tree), "nobody")]
    seen: list[int] = []

    def changed(now: Progress) -> None:
        seen.append(now.files + now.failed)

    found = find_patterns([subject(first, samples)], "folder", OPTIONS, changed=changed)
    assert seen[-1] == 7
    (bundle,) = found.bundles
    assert (bundle.unreadable, bundle.unknown_labels) == (1, {"nobody": 1})
    assert found.pairs == []
    mine, theirs = bundle.families
    assert (mine.family, mine.samples, mine.right, mine.cold) == (LABELS[0], 3, 3, 0)
    # The bundle takes all for the first label: of the second it is never right.
    assert (theirs.family, theirs.samples, theirs.right) == (LABELS[1], 3, 0)
    # Of the first label cells of code speak for it more, and few bytes of data.
    assert share(mine, "code") + share(mine, "data") == pytest.approx(1.0)
    assert 0.7 < share(mine, "code") < 1.0
    # What speaks against the first speaks for the second, and lies in the data.
    assert share(theirs, "data") == pytest.approx(1.0)
    (view,) = mine.views
    assert (view.name, view.anchor, view.present) == ("head", "head", 3)
    assert view.share.mean == pytest.approx(1.0)
    heat = np.array(view.map.mean)
    assert np.flatnonzero(heat).tolist() == [*range(34, 40), *range(70, 74), 90, 91]
    assert (heat[90:92] < 0).all()
    assert sum(mine.plane.mean) == pytest.approx(heat.sum(), abs=1e-5)
    # Eight cells are followed together: one run of them has most, two have what is in the data.
    assert [(each.start, each.end) for each in mine.ranges][:1] == [(32 * CELL, 40 * CELL)]
    assert {each.start for each in mine.ranges} == {32 * CELL, 64 * CELL, 72 * CELL}
    for each in mine.ranges:
        assert (each.view, each.unit, each.fields) == ("head", "bytes", [])
        assert each.heat.mean == pytest.approx(
            heat[int(each.start) // CELL : int(each.end) // CELL].sum(), rel=1e-4
        )
        assert each.positive == 1.0
    assert mine.alike is not None
    assert mine.alike > 0.9
    assert [example.path for example in mine.exemplars] == sorted(
        (example.path for example in mine.exemplars),
        key=lambda path: -next(e.likeness for e in mine.exemplars if e.path == path),
    )
    assert all(len(example.sha256) == 64 for example in mine.exemplars)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Patterns) == found


def test_a_family_of_one_has_no_spread(first: Bundle, tree: Path) -> None:
    (bundle,) = find(subject(first, [(str(tree / LABELS[0] / "0.png"), LABELS[0])])).bundles
    (family,) = bundle.families
    assert (family.samples, family.alike) == (1, None)
    assert family.plane.sd is None
    assert family.views[0].contribution.sd is None
    assert family.ranges[0].heat.sd is None
    assert family.exemplars[0].likeness == pytest.approx(1.0)


def test_copies_are_one_exemplar(first: Bundle, tmp_path: Path) -> None:
    copies = [write(tmp_path / f"{i}.png", 1, 7) for i in range(4)]
    other = write(tmp_path / "other.png", 1, 8)
    samples = [(str(path), LABELS[0]) for path in (*copies, other)]
    ((family,),) = (bundle.families for bundle in find(subject(first, samples)).bundles)
    assert family.samples == 5
    assert len(family.exemplars) == 2


def test_two_bundles(first: Bundle, second: Bundle, tree: Path) -> None:
    found = find(subject(first, samples_of(tree)), subject(second, samples_of(tree)))
    names = [bundle.name for bundle in found.bundles]
    assert len(set(names)) == 2
    assert all(name.startswith("planted-") for name in names)
    (pair,) = found.pairs
    assert [pair.first, pair.second] == names
    ours, theirs = ({f.family: f for f in bundle.families} for bundle in found.bundles)
    for family in pair.families:
        a, b = ours[family.family], theirs[family.family]
        assert family.shares.get("data", 0.0) == pytest.approx(share(a, "data") - share(b, "data"))
        assert family.body_ssim is None
    least, most = pair.families
    assert least.ssim <= most.ssim < 0.95
    assert pair.ssim == pytest.approx((least.ssim + most.ssim) / 2)
    mine = next(family for family in pair.families if family.family == LABELS[0])
    assert mine.distance == pytest.approx(share(ours[LABELS[0]], "code"))


def test_bundles_with_other_families(first: Bundle, second: Bundle, tree: Path) -> None:
    samples = samples_of(tree)
    found = find(subject(first, samples), subject(second, samples[:3]))
    (pair,) = found.pairs
    assert [family.family for family in pair.families] == [LABELS[0]]
    assert pair.left_out == [LABELS[1]]
    (pair,) = find(subject(first, samples[3:]), subject(second, samples[:3])).pairs
    assert (pair.ssim, pair.families) == (None, [])


def test_nothing_to_look_at(first: Bundle, tree: Path) -> None:
    with pytest.raises(MaltriageError, match="no readable file has a label that it knows"):
        find(subject(first, [(str(tree / "gone"), LABELS[0])]))
    with pytest.raises(MaltriageError, match="no readable file has a label that it knows"):
        find(subject(first, [(str(tree), "nobody")]))
    with pytest.raises(MaltriageError, match="named twice"):
        find(*(subject(first, samples_of(tree)) for _ in range(2)))
    with pytest.raises(MaltriageError, match="no such method: occlusion"):
        find_patterns([subject(first, samples_of(tree))], "folder", OPTIONS, "occlusion")


def test_the_command(
    run_cli: Any, first: Bundle, second: Bundle, tree: Path, tmp_path: Path
) -> None:
    arguments = ("patterns", first.path, second.path, "--dataset", "folder", "--root", tree)
    arguments += ("--jobs", "1", "--threads", "1")
    shown = run_cli(*arguments, "--png", "a.png", "--family", LABELS[0])
    assert (shown.returncode, shown.stderr) == (0, b"")
    text = shown.stdout.decode()
    assert "part all: 3 files of 1 family" in text
    assert "the overlap with the training files is not known" in text
    assert "nearest to the mean: " in text
    assert "mean SSIM" in text
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size[0] > 500
    done = run_cli(*arguments, "--format", "json", "-o", "a.json")
    assert done.stdout == b""
    found = msgspec.json.decode((tmp_path / "a.json").read_bytes(), type=Patterns)
    assert found.schema_version == "1.0"
    assert [len(bundle.families) for bundle in found.bundles] == [2, 2]
    page = run_cli(*arguments, "--format", "html").stdout.decode()
    assert_sealed(page)
    few = json.loads(run_cli(*arguments, "-f", "json", "--limit", "2").stdout)
    assert [f["samples"] for f in few["bundles"][0]["families"]] == [1, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--dataset", "nope"), b"no such dataset: nope"),
        (("--root", "gone"), b"no folder gone"),
        (("--family", "nobody"), b"no files of a family 'nobody'"),
        (("--folds", "gone"), b"gone/fold-0: no bundle of this fold"),
        (("--png", "gone/a.png"), b"cannot write gone/a.png: no such folder"),
        (
            ("--output", "gone/a.html"),
            b"cannot write gone/a.html: no such folder",
        ),
    ],
)
def test_wrong_use(
    run_cli: Any, first: Bundle, tree: Path, arguments: tuple[str, str], message: bytes
) -> None:
    command = ("patterns", first.path, "--dataset", "folder", "--root", tree, "--jobs", "1")
    done = run_cli(*command, *arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert message in done.stderr.replace(os.sep.encode(), b"/")


def test_each_file_by_the_net_that_held_it_back(
    run_cli: Any, first: Bundle, second: Bundle, tree: Path, tmp_path: Path
) -> None:
    corpus = load_corpus(open_dataset("folder", tree), (), jobs=1, folder=tmp_path / "cache")
    # Of each family a file by the net of either fold; one by neither.
    model = cross_validate(tmp_path / "run", (second, first), corpus, ([0, 3], [1, 4]))
    command = ("patterns", model.path, "--dataset", "folder", "--root", tree, "-f", "json")
    done = run_cli(*command, "--jobs", "1", "--folds", "run")
    assert done.returncode == 0, done.stderr.decode()
    (bundle,) = json.loads(done.stdout)["bundles"]
    assert (bundle["part"], bundle["missing"], bundle["seen"]) == ("out of fold", 2, False)
    mine = bundle["families"][0]
    assert mine["samples"] == 2
    heat = np.array(mine["views"][0]["map"]["mean"])
    assert heat[36] > 0  # the one net looks there,
    assert heat[78] > 0  # the other one here
    (all_of_them,) = json.loads(run_cli(*command, "--jobs", "1").stdout)["bundles"]
    assert (all_of_them["part"], all_of_them["seen"]) == ("all", True)
    twice = run_cli(*command, "--folds", "run", "--folds", "run")
    assert twice.returncode == 2
    assert b"more --folds than bundles" in twice.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no such names of files there")
def test_names_of_files_do_not_act_on_the_terminal(
    run_cli: Any, first: Bundle, tmp_path: Path
) -> None:
    for label in LABELS:
        write(tmp_path / "tree" / label / "\x1b]52;c;[red].png", 1, len(label))
    arguments = ("--dataset", "folder", "--root", "tree", "--min-samples", "1", "--jobs", "1")
    done = run_cli("patterns", first.path, *arguments, "--family", LABELS[0])
    assert done.returncode == 0, done.stderr.decode()
    text = done.stdout.decode()
    assert "[red].png" in text
    assert not hidden(text)
