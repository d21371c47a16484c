"""A whole run: what its folder holds, and what is refused."""

from __future__ import annotations

import csv
import dataclasses
import json
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from learn.conftest import OPTIONS  # noqa: E402
from PIL import Image  # noqa: E402

from maltriage import bundle as bundles  # noqa: E402
from maltriage.corpus.corpus import Corpus  # noqa: E402
from maltriage.corpus.split_file import load_split, manifest_sha256  # noqa: E402
from maltriage.corpus.splits import make_split  # noqa: E402
from maltriage.errors import MaltriageError  # noqa: E402
from maltriage.files.lock import locked  # noqa: E402
from maltriage.learn.fit.checkpoint import Epoch, load_checkpoint  # noqa: E402
from maltriage.learn.fit.data import Images  # noqa: E402
from maltriage.learn.fit.recipe import FitOptions  # noqa: E402
from maltriage.learn.fit.restore import predict, restore_net  # noqa: E402
from maltriage.learn.runs.options import RunOptions, views_for  # noqa: E402
from maltriage.learn.runs.train import LOCK, Outcome, train  # noqa: E402
from maltriage.report.studies.charts import plot_confusion, plot_curves  # noqa: E402
from maltriage.sample.views import BodySpec  # noqa: E402


def test_the_folder(outcome: Outcome, run_options: RunOptions, corpus: Corpus) -> None:
    folder = run_options.folder
    assert {path.name for path in folder.iterdir()} == {
        "run.lock",
        "last.safetensors",
        "best.safetensors",
        "split.json",
        "config.json",
        "environment.json",
        "metrics.csv",
        "curves.png",
        "confusion.png",
        "predictions.csv",
        "tiny.onnx",
    }
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[1]["loss"]) == outcome.state.history[1].loss
    parts = load_split(folder / "split.json", corpus.sha256)
    np.testing.assert_array_equal(parts, make_split(corpus).parts)
    for name in ("curves.png", "confusion.png"):
        with Image.open(folder / name) as picture:
            assert picture.width > 200


def test_what_the_folder_says_of_the_run(
    outcome: Outcome, run_options: RunOptions, corpus: Corpus
) -> None:
    folder = run_options.folder
    config = json.loads((folder / "config.json").read_bytes())
    assert config["fit"] == json.loads(json.dumps(dataclasses.asdict(run_options.fit)))
    assert config["run"]["split"] == "grouped"
    assert config["data"]["root"] == str(corpus.root)
    assert config["data"]["labels"] == ["benign", "icarus", "zeus"]
    text = (folder / "environment.json").read_text()
    (sitting,) = json.loads(text)["sittings"]
    assert sitting["packages"]["torch"] == version("torch")
    assert sitting["python"] == platform.python_version()
    assert (sitting["threads"], sitting["command"]) == (1, ["maltriage", "train"])
    assert sitting["seeds"] == {"python": 0, "numpy": 0, "torch": 0}
    for private in (str(folder), str(Path.home())):
        assert private not in text


def test_the_card(outcome: Outcome, corpus: Corpus) -> None:
    card = bundles.load(str(outcome.bundle)).card
    assert card == outcome.card
    assert card.name == "tiny"
    assert card.labels == ("benign", "icarus", "zeus")
    assert card.views == corpus.views
    assert card.additive
    assert card.receptive_field_bytes == {"header": 1, "head": 121, "entry": 121}
    assert card.temperature == outcome.state.temperature
    assert card.threshold is None
    assert card.calibrated_on == "validation part of the split"
    assert (card.training.folds, card.training.malware_kinds) == (0, {"pe32": 22})
    assert card.training.samples == 36
    assert card.training.manifest_sha256 == manifest_sha256(corpus)
    assert card.training.recipe == FitOptions(**OPTIONS).recipe()
    assert card.training.epochs == 2


def test_the_figures_are_those_of_the_test_part(outcome: Outcome, corpus: Corpus) -> None:
    assert outcome.bundle is not None
    net = restore_net(*load_checkpoint(outcome.bundle.parent))
    test = torch.from_numpy(np.flatnonzero(make_split(corpus).parts == "test"))
    guess = predict(net, Images(corpus), test).argmax(dim=1).numpy()
    assert outcome.state.metrics["test_samples"] == len(test)
    right = float((guess == corpus.label[test.numpy()]).mean())
    assert outcome.state.metrics["test_accuracy"] == pytest.approx(right)
    assert outcome.leaks == 0


def test_stopped_before_there_is_a_bundle(corpus: Corpus, tmp_path: Path) -> None:
    options = RunOptions(tmp_path / "run", "tiny", FitOptions(**OPTIONS))
    stopped = train(corpus, options, stop=lambda: True)
    assert stopped.bundle is None
    assert not (tmp_path / "run" / "tiny.onnx").exists()


def test_a_run_that_another_process_trains_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    options = RunOptions(tmp_path / "run", "tiny", FitOptions(**OPTIONS))
    with locked(tmp_path / "run" / LOCK) as held:
        assert held
        with pytest.raises(MaltriageError, match="run: another process trains this run"):
            train(corpus, options)
    assert [path.name for path in (tmp_path / "run").iterdir()] == [LOCK]


@pytest.mark.parametrize("name", ["", "../up", "a b", ".hidden", "a/b"])
def test_a_name_is_a_file_name(corpus: Corpus, tmp_path: Path, name: str) -> None:
    with pytest.raises(MaltriageError, match="letters, digits"):
        train(corpus, RunOptions(tmp_path / "run", name, FitOptions(**OPTIONS)))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be(corpus: Corpus, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MaltriageError, match="cannot write run"):
        train(corpus, RunOptions(tmp_path / "file" / "run", "tiny", FitOptions(**OPTIONS)))


def test_a_family_that_is_all_one_group(corpus: Corpus, tmp_path: Path) -> None:
    """Near duplicates stay together, so a family of them has samples in one part only."""
    one = tuple(
        "same" if label == 2 else entry
        for label, entry in zip(corpus.label, corpus.signs.entry, strict=True)
    )
    alike = dataclasses.replace(corpus, signs=dataclasses.replace(corpus.signs, entry=one))
    divided = make_split(alike)
    assert len(set(divided.parts[corpus.label == 2])) == 1
    assert set(divided.parts[corpus.label == 2]) == {"train"}


def test_views() -> None:
    assert [v.name for v in views_for(FitOptions(views=("tail", "body")))] == ["body", "tail"]
    assert len(views_for(FitOptions())) == 7
    with pytest.raises(MaltriageError, match=r"views must be some of byteplot, words, .*: heart"):
        views_for(FitOptions(views=("body", "heart")))
    with pytest.raises(MaltriageError, match="header: name a view besides"):
        views_for(FitOptions(views=("header",)))
    with pytest.raises(MaltriageError, match="multiple of 8"):
        views_for(FitOptions(image_size=30))
    with pytest.raises(MaltriageError, match="views must be some of"):
        views_for(FitOptions(views=()))
    with pytest.raises(MaltriageError, match="byteplot is the first channel of body"):
        views_for(FitOptions(views=("body", "byteplot")))


def test_views_of_a_cnn() -> None:
    assert views_for(FitOptions(net="gibert")) == (BodySpec(size=64, channels=("mean",)),)
    more = views_for(FitOptions(net="gibert", views=("code", "body"), image_size=32))
    assert [(v.name, v.shape) for v in more] == [("body", (5, 32, 32)), ("code", (2, 4096))]
    with pytest.raises(MaltriageError, match="net gibert reads a picture"):
        views_for(FitOptions(net="gibert", views=("code",)))
    with pytest.raises(MaltriageError, match="net gibert cannot read header"):
        views_for(FitOptions(net="gibert", views=("body", "header")))
    with pytest.raises(MaltriageError, match="net camvit cannot read words"):
        views_for(FitOptions(net="camvit", views=("body", "header", "words")))
    with pytest.raises(MaltriageError, match="no such net: none"):
        views_for(FitOptions(net="none"))


def test_pictures_of_odd_runs(tmp_path: Path) -> None:
    history = [Epoch(1, 1.0, 0.1, None, None, None, 1.0)]
    plot_curves(history, tmp_path / "curves.png")
    plot_confusion([[1, 0], [1, 1]], ["$a", "\\frac{b"], tmp_path / "few.png")
    many = [f"family{i}" for i in range(200)]
    plot_confusion(np.eye(200, dtype=np.int64).tolist(), many, tmp_path / "many.png")
    plot_confusion([[0, 0], [0, 0]], ["a", "b"], tmp_path / "none.png")
    assert all(path.stat().st_size > 1000 for path in tmp_path.iterdir())
