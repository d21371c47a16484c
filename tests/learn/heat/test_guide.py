"""Guides: who may teach, what is kept, and that a run goes on as it was guided."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")
pytest.importorskip("timm", reason="needs the extra `train`")

from learn.conftest import OPTIONS  # noqa: E402
from learn.heat.gradients import gradient_times_activation  # noqa: E402

from maltriage.bundle import load  # noqa: E402
from maltriage.corpus.corpus import Corpus  # noqa: E402
from maltriage.corpus.datasets import open_dataset  # noqa: E402
from maltriage.corpus.load import load_corpus  # noqa: E402
from maltriage.corpus.split_file import PARTS  # noqa: E402
from maltriage.corpus.splits import make_split  # noqa: E402
from maltriage.errors import MaltriageError  # noqa: E402
from maltriage.learn.fit.checkpoint import (  # noqa: E402
    LAST,
    Guide,
    Origin,
    State,
    load_checkpoint,
    save_checkpoint,
)
from maltriage.learn.fit.data import Images  # noqa: E402
from maltriage.learn.fit.loop import Fitted, fit  # noqa: E402
from maltriage.learn.fit.recipe import FitOptions  # noqa: E402
from maltriage.learn.fit.restore import restore_net  # noqa: E402
from maltriage.learn.heat.cam import ExplainedNet  # noqa: E402
from maltriage.learn.heat.guide import GuideOptions, cumulative, prepare  # noqa: E402
from maltriage.learn.nets.camvit import CamViT  # noqa: E402
from maltriage.learn.runs.crossval import train_fold  # noqa: E402
from maltriage.learn.runs.options import RunOptions, guide_options  # noqa: E402
from maltriage.learn.runs.origin import origin_of  # noqa: E402
from maltriage.learn.runs.train import Outcome, train  # noqa: E402
from maltriage.sample.views import BodySpec, ViewSpec, byteplot  # noqa: E402

pytestmark = pytest.mark.usefixtures("shallow")

VIEWS: tuple[ViewSpec, ...] = (byteplot(32),)
PLAIN: dict[str, Any] = {**OPTIONS, "image_size": 32, "views": ("byteplot",), "epochs": 1}


@pytest.fixture(scope="module")
def corpus(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """The small corpus, as plain byteplots."""
    folder = tmp_path_factory.mktemp("cache")
    return load_corpus(open_dataset("folder", tree), VIEWS, jobs=1, folder=folder)


def options(folder: Path, net: str = "camvit", guide: Any = None, **changes: Any) -> RunOptions:
    return RunOptions(folder, "tiny", FitOptions(**PLAIN, net=net), guide=guide, **changes)


@pytest.fixture(scope="module")
def teacher(shallow: None, corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a trained `evidence`."""
    folder = tmp_path_factory.mktemp("runs") / "teacher"
    train(corpus, options(folder, "evidence"))
    return folder


@pytest.fixture(scope="module")
def student(corpus: Corpus, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp("runs") / "student"
    return train(
        corpus, options(folder, guide=GuideOptions("cumulative", 0.5, teachers=(teacher,)))
    )


def origin(corpus: Corpus, tmp_path: Path, seed: int = 0) -> Origin:
    run = options(tmp_path)
    run = dataclasses.replace(run, fit=dataclasses.replace(run.fit, seed=seed))
    return origin_of(corpus, run, make_split(corpus))


def guide(corpus: Corpus, tmp_path: Path, asked: GuideOptions, seed: int = 0) -> Guide:
    rows = torch.from_numpy(np.flatnonzero(make_split(corpus).parts == "train"))
    return prepare(asked, origin(corpus, tmp_path, seed), Images(corpus), rows).guide


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"keep": 0.0}, "--keep 0: must be from 0.25 to 1"),
        ({"keep": 0.2}, "--keep 0.2: must be"),
        ({"keep": 1.5}, "--keep 1.5: must be"),
        ({"keep": float("nan")}, "--keep nan: must be"),
        ({"kind": "best"}, "no such guide: best"),
        ({"kind": "weighted"}, "--guide weighted keeps all tokens: --keep can only be 1"),
        ({"kind": "attention", "keep": 0.9}, "--guide attention keeps all tokens"),
        ({"cam": "scorecam"}, "no such map: scorecam"),
        ({"teachers": ()}, "--guide cumulative needs a --teacher"),
        ({"kind": "random"}, "leave out --teacher"),
    ],
)
def test_options_that_make_no_guide(asked: dict[str, Any], words: str) -> None:
    values: dict[str, Any] = {"kind": "cumulative", "teachers": (Path("x"),), **asked}
    with pytest.raises(MaltriageError, match=words):
        GuideOptions(**values).check()


def test_the_cumulative_map_is_the_mean_of_the_images_of_a_label(
    corpus: Corpus, teacher: Path
) -> None:
    net, images = restore_net(*load_checkpoint(teacher)), Images(corpus)
    rows = torch.from_numpy(np.flatnonzero(make_split(corpus).parts == "train"))
    found = cumulative(net, images, rows, VIEWS, "hirescam")["body"]
    assert found.shape == (3, 4, 4)
    for label in range(3):
        own = rows[images.labels[rows] == label]
        score = torch.nn.functional.one_hot(torch.full((len(own),), label), 3).float()
        if label != net.clean:
            score[:, 1:] -= 1 / 2  # against the mean of the families
        heat = gradient_times_activation(net, images.batch(own), score)["body"]
        nothing = {"body": torch.zeros_like(images.batch(own)["body"])}
        heat = (heat - gradient_times_activation(net, nothing, score)["body"]).relu()
        wanted = (heat / heat.sum(dim=(1, 2), keepdim=True).clamp(min=1e-12)).mean(dim=0)
        torch.testing.assert_close(found[label].float(), wanted, rtol=1e-3, atol=1e-5)
    # An image without positive heat adds nothing to the map of its label.
    assert (found.sum(dim=(1, 2)) <= 1 + 1e-6).all()
    assert found.sum(dim=(1, 2)).max() == pytest.approx(1, abs=1e-6)


def test_the_test_part_has_no_say(corpus: Corpus, teacher: Path, tmp_path: Path) -> None:
    asked = GuideOptions("cumulative", 0.5, teachers=(teacher,))
    before = guide(corpus, tmp_path, asked)
    pixels = corpus.arrays["body"].copy()
    pixels[make_split(corpus).parts != "train"] = 255
    other = dataclasses.replace(corpus, arrays={"body": pixels})
    assert guide(other, tmp_path, asked) == before
    pixels[make_split(corpus).parts == "train"] //= 2
    assert guide(other, tmp_path, asked).teachers == before.teachers


def test_what_is_kept(corpus: Corpus, teacher: Path, tmp_path: Path) -> None:
    images = Images(corpus)
    rows = torch.from_numpy(np.flatnonzero(make_split(corpus).parts == "train"))
    net = restore_net(*load_checkpoint(teacher))
    heat = cumulative(net, images, rows, VIEWS, "hirescam")["body"].mean(dim=0).flatten()
    for keep, count in ((0.25, 4), (0.3, 5), (0.5, 8), (1.0, 16)):
        most, least = (
            guide(corpus, tmp_path, GuideOptions(kind, keep, teachers=(teacher,)))
            for kind in ("cumulative", "inverse")
        )
        assert most.tokens == least.tokens == len(most.kept["body"]) == count
        assert heat[list(most.kept["body"])].sum() >= heat[list(least.kept["body"])].sum()
        assert set(most.kept["body"]) == set(heat.topk(count).indices.tolist())
        if count == 8:
            assert set(most.kept["body"]).isdisjoint(least.kept["body"])
    drawn = [guide(corpus, tmp_path, GuideOptions("random"), seed) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0].kept["body"])) == 8
    each = guide(corpus, tmp_path, GuideOptions("instance", 0.5, "gradcam", (teacher, teacher)))
    assert (each.kept, each.tokens, each.cam) == ({}, 8, "gradcam")
    assert each.similarity == {"1-2": pytest.approx(1.0)}
    of_label = guide(corpus, tmp_path, GuideOptions("label", 0.5, teachers=(teacher,)))
    found = cumulative(net, images, rows, VIEWS, "hirescam")["body"].flatten(1).float()
    for kept, heat in zip(of_label.by_label, found, strict=True):
        assert list(kept) == sorted({*kept})
        least = heat[list(kept)].min()
        assert (heat > least).sum() < 8 == len(kept)
    by_chance = [
        guide(corpus, tmp_path, GuideOptions("label-random", 0.5, teachers=(teacher,)), seed)
        for seed in (0, 0, 1)
    ]
    assert by_chance[0] == by_chance[1] != by_chance[2]
    assert len({*by_chance[0].by_label}) == len(found) == 3
    for kept in by_chance[0].by_label:
        assert list(kept) == sorted({*kept})
        assert len(kept) == 8


def test_a_run_says_how_it_was_guided(student: Outcome, teacher: Path) -> None:
    assert student.bundle is not None
    assert student.card is not None
    asked = guide_options(student.state)
    assert asked == GuideOptions("cumulative", 0.5, teachers=(teacher,))
    card = load(student.bundle).card
    noted = card.training.recipe["guide"]
    assert noted["kind"] == "cumulative"
    assert len(noted["kept"]["body"]) == 8
    assert "path" not in noted["teachers"][0]
    assert str(teacher) not in msgspec.json.encode(card).decode()
    assert card.metrics["flops"] > 0
    assert not card.additive
    with np.load(student.bundle.parent / "guide.npz") as maps:
        assert maps["labels"].tolist() == list(card.labels)
        assert maps["1/body"].shape == (3, 4, 4)


def fitted(corpus: Corpus, run: RunOptions, stop: Callable[[], bool] = lambda: False) -> Fitted:
    """As by `train`, with nothing exported."""
    divided = make_split(corpus)
    images, begun = Images(corpus), None
    parts = {name: torch.from_numpy(np.flatnonzero(divided.parts == name)) for name in PARTS}
    if (run.folder / LAST).exists():
        begun = load_checkpoint(run.folder)[1].origin.guide
    start, teachers = origin_of(corpus, run, divided), None
    if run.guide is not None:
        prepared = prepare(run.guide, start, images, parts["train"], begun)
        start, teachers = msgspec.structs.replace(start, guide=prepared.guide), prepared.teachers
    state = State(origin=start, name="tiny")
    run.folder.mkdir(exist_ok=True)
    return fit(images, parts, run.fit, state, run.folder, teachers=teachers, stop=stop)


@pytest.mark.parametrize("kind", ["cumulative", "instance", "label", "label-random", "weighted"])
def test_it_goes_on_and_is_restored_without_its_teachers(
    corpus: Corpus, teacher: Path, tmp_path: Path, kind: Any
) -> None:
    """Stopped within an epoch, with the teacher's files gone: the weights of a whole run."""
    shutil.copytree(teacher, tmp_path / "gone")
    keep = 1.0 if kind == "weighted" else 0.5
    asked = GuideOptions(kind, keep, teachers=(tmp_path / "gone",))
    whole = fitted(corpus, options(tmp_path / "whole", guide=asked))
    part = options(tmp_path / "part", guide=asked)
    assert fitted(corpus, part, stop=lambda: True).interrupted
    (tmp_path / "gone").rename(tmp_path / "away")
    assert not fitted(corpus, part).interrupted
    net = restore_net(*load_checkpoint(part.folder))
    assert isinstance(net, CamViT)
    for name, value in whole.net.state_dict().items():
        torch.testing.assert_close(net.state_dict()[name], value, rtol=0, atol=0)
    inputs = Images(corpus).batch(torch.arange(4))
    assert net.activations(inputs)["beside"].shape[1] == 16 * keep
    if kind != "cumulative":  # the frozen teacher is in the student as it was
        explained = ExplainedNet(restore_net(*load_checkpoint(teacher)), None)
        for name, value in explained.state_dict().items():
            held = net.chooser.explained[0].state_dict()[name]  # type: ignore[union-attr]
            torch.testing.assert_close(held, value, rtol=0, atol=0)
    another = options(part.folder, guide=GuideOptions("instance", 0.75, teachers=(teacher,)))
    with pytest.raises(MaltriageError, match=rf"guide {kind} {keep:g} instead of instance 0.75"):
        train(corpus, another)
    with pytest.raises(MaltriageError, match=rf"guide {kind} {keep:g} instead of None"):
        train(corpus, options(part.folder))


@pytest.mark.parametrize("kind", ["early", "attention"])
def test_a_guide_of_the_training_alone_leaves_a_plain_net(
    corpus: Corpus, teacher: Path, tmp_path: Path, kind: Any
) -> None:
    """And needs its teachers until then: with them the weights of a whole run."""
    shutil.copytree(teacher, tmp_path / "gone")
    asked = GuideOptions(kind, 1.0 if kind == "attention" else 0.5, teachers=(tmp_path / "gone",))
    fits = FitOptions(**{**PLAIN, "epochs": 2}, net="camvit")
    whole, part = (
        dataclasses.replace(options(tmp_path / name, guide=asked), fit=fits)
        for name in ("whole", "part")
    )
    found = fitted(corpus, whole)
    free = fitted(corpus, dataclasses.replace(whole, folder=tmp_path / "none", guide=None))
    plain = free.net.state_dict()
    assert not all(torch.equal(value, plain[n]) for n, value in found.net.state_dict().items())
    assert fitted(corpus, part, stop=lambda: True).interrupted
    (tmp_path / "gone").rename(tmp_path / "away")
    with pytest.raises(MaltriageError, match=f"--guide {kind} needs its teachers to go on"):
        fitted(corpus, part)
    assert not fitted(corpus, whole).interrupted  # its training is at its end
    (tmp_path / "away").rename(tmp_path / "gone")
    fitted(corpus, part)
    net = restore_net(*load_checkpoint(part.folder))
    assert net.state_dict().keys() == plain.keys()
    # With parameters that take one `export` writes another graph than the training did.
    assert not any(parameter.requires_grad for parameter in net.parameters())
    for name, value in found.net.state_dict().items():
        torch.testing.assert_close(net.state_dict()[name], value, rtol=0, atol=0)
    assert net.activations(Images(corpus).batch(torch.arange(4)))["beside"].shape[1] == 16


def test_early_sees_all_from_half_of_the_steps_on(
    corpus: Corpus, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And asks no teacher from then on."""
    shutil.copytree(teacher, tmp_path / "gone")
    seen: list[int] = []
    embed = CamViT.embed

    def spied(net: CamViT, activations: Any) -> Any:
        if net.training:
            seen.append(activations["beside"].shape[1])
        return embed(net, activations)

    monkeypatch.setattr(CamViT, "embed", spied)
    run = options(tmp_path / "run", guide=GuideOptions("early", 0.5, teachers=(tmp_path / "gone",)))
    run = dataclasses.replace(run, fit=dataclasses.replace(run.fit, epochs=3))
    assert fitted(corpus, run, stop=lambda: 16 in seen).interrupted
    (tmp_path / "gone").rename(tmp_path / "away")
    assert not fitted(corpus, run).interrupted
    assert seen == [8] * ((len(seen) + 1) // 2) + [16] * (len(seen) // 2)


def test_a_teacher_of_another_split_is_refused(
    corpus: Corpus, teacher: Path, student: Outcome, tmp_path: Path
) -> None:
    asked = GuideOptions("cumulative", teachers=(teacher,))
    cases: dict[str, dict[str, Any]] = {
        "split grouped instead of random": {"split": "random"},
        "split_seed 0 instead of 3": {"split_seed": 3},
    }
    for words, change in cases.items():
        with pytest.raises(MaltriageError, match=f"not trained on .* training part: {words}"):
            train(corpus, options(tmp_path / "run", guide=asked, **change))
    student_is = origin(corpus, tmp_path)
    moved = msgspec.structs.replace(student_is, split_sha256="0" * 64)
    for theirs, ours, what in ((3, 0, "give the student --folds 3"), (0, 3, "leave out --folds")):
        words = f"training part: folds {theirs} instead of {ours}; {what}$"
        tensors, state = load_checkpoint(teacher)
        crossed = msgspec.structs.replace(state.origin, folds=theirs, fractions=(1.0, 0.0, 0.0))
        file = tmp_path / "crossed.safetensors"
        save_checkpoint(file, tensors, msgspec.structs.replace(state, origin=crossed))
        with pytest.raises(MaltriageError, match=words):
            prepare(
                GuideOptions("cumulative", teachers=(file,)),
                msgspec.structs.replace(student_is, folds=ours),
                Images(corpus),
                torch.arange(4),
            )
    with pytest.raises(MaltriageError, match="training part: other split_sha256"):
        prepare(asked, moved, Images(corpus), torch.arange(4))
    fewer = dataclasses.replace(corpus, sha256=("0" * 64, *corpus.sha256[1:]))
    with pytest.raises(MaltriageError, match="training part: other manifest_sha256"):
        train(fewer, options(tmp_path / "run", guide=asked))
    with pytest.raises(MaltriageError, match="no checkpoint"):
        train(corpus, options(tmp_path / "run", guide=asked, folds=2, fold=1))
    with pytest.raises(MaltriageError, match="--guide goes with --net camvit"):
        train(corpus, options(tmp_path / "run", "evidence", guide=asked))
    assert student.bundle is not None
    taught = GuideOptions("cumulative", teachers=(student.bundle.parent,))
    with pytest.raises(MaltriageError, match="a guided net cannot be a teacher"):
        train(corpus, options(tmp_path / "run", guide=taught))
    assert not (tmp_path / "run").exists()


def test_a_teacher_that_sees_something_else_is_refused(
    corpus: Corpus, teacher: Path, tmp_path: Path
) -> None:
    asked = GuideOptions("instance", teachers=(teacher,))
    rows = torch.arange(4)
    one = msgspec.structs.replace(origin(corpus, tmp_path), views=(BodySpec(size=64),))
    with pytest.raises(MaltriageError, match="not have the teacher's view body in the same form"):
        prepare(asked, one, Images(corpus), rows)
    from maltriage.sample.views import WindowSpec

    more = (*VIEWS, WindowSpec("code", "code"))
    one = msgspec.structs.replace(origin(corpus, tmp_path), views=more)
    with pytest.raises(MaltriageError, match="no teacher has the views code"):
        prepare(asked, one, Images(corpus), rows)


def test_each_fold_has_the_teacher_that_held_it_back(corpus: Corpus, tmp_path: Path) -> None:
    two = {"folds": 2}
    train_fold(corpus, options(tmp_path / "teacher", "evidence", **two), 1)
    asked = GuideOptions("cumulative", 0.25, teachers=(tmp_path / "teacher",))
    run = options(tmp_path / "run", guide=asked, **two)
    found = train_fold(corpus, run, 1)
    assert found.state.origin.guide is not None
    assert found.state.origin.guide.teachers[0].path == str(tmp_path / "teacher")
    with pytest.raises(MaltriageError, match="no checkpoint"):
        train_fold(corpus, run, 0)
    shutil.copytree(tmp_path / "teacher" / "fold-1", tmp_path / "teacher" / "fold-0")
    with pytest.raises(MaltriageError, match="training part: fold 1 instead of 0"):
        train_fold(corpus, run, 0)


def test_an_unfinished_teacher_is_refused(corpus: Corpus, teacher: Path, tmp_path: Path) -> None:
    train(corpus, options(tmp_path / "half", "evidence"), stop=lambda: True)
    asked = GuideOptions("cumulative", teachers=(tmp_path / "half",))
    with pytest.raises(MaltriageError, match="the teacher's training is not finished"):
        train(corpus, options(tmp_path / "run", guide=asked))
    # A checkpoint by its name is taken as it is.
    named = GuideOptions("cumulative", teachers=(teacher / LAST,))
    assert (
        guide(corpus, tmp_path, named).kept
        == guide(corpus, tmp_path, GuideOptions("cumulative", teachers=(teacher,))).kept
    )
