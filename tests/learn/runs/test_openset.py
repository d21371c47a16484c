"""Nets that one label is kept from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from learn.conftest import NARROW, narrow  # noqa: E402

from maltriage.assess.verdicts.openset import LeftOut, open_set  # noqa: E402
from maltriage.bundle import load  # noqa: E402
from maltriage.corpus.corpus import Corpus  # noqa: E402
from maltriage.errors import MaltriageError  # noqa: E402
from maltriage.learn.fit.recipe import FitOptions  # noqa: E402
from maltriage.learn.runs.openset import Without, train_without  # noqa: E402
from maltriage.learn.runs.options import RunOptions  # noqa: E402


@pytest.fixture(scope="module")
def corpus(corpus: Corpus) -> Corpus:
    return narrow(corpus, "body")


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> RunOptions:
    fit = FitOptions(**{**NARROW, "epochs": 1})
    return RunOptions(tmp_path_factory.mktemp("runs") / "strangers", "tiny", fit)


@pytest.fixture(scope="module")
def nets(corpus: Corpus, options: RunOptions) -> list[Without]:
    return list(train_without(corpus, ["zeus", "icarus"], options))


def test_a_net_knows_nothing_of_the_label(corpus: Corpus, nets: list[Without]) -> None:
    assert [net.label for net in nets] == ["zeus", "icarus"]
    for net in nets:
        card = load(net.bundle).card
        assert net.label not in card.labels
        assert len(card.labels) == len(corpus.labels) - 1
        left = corpus.labels.index(net.label)
        rows = np.concatenate([net.train, net.test])
        assert len(set(rows.tolist())) == len(rows) == (corpus.label != left).sum()
        assert not (corpus.label[rows] == left).any()
        assert 0 < len(net.test) < len(net.train)
    assert [net.bundle.parts[-3] for net in nets] == ["without-zeus", "without-icarus"]


def test_what_is_finished_is_not_trained_again(
    corpus: Corpus, options: RunOptions, nets: list[Without]
) -> None:
    before = [net.bundle.stat().st_mtime_ns for net in nets]
    again = list(train_without(corpus, ["zeus", "icarus"], options))
    assert [net.bundle.stat().st_mtime_ns for net in again] == before
    stopped = RunOptions(options.folder.with_name("stopped"), "tiny", options.fit)
    assert list(train_without(corpus, ["zeus"], stopped, stop=lambda: True)) == []


def test_every_net_is_asked_about_its_family_and_about_others(
    tree: Path, corpus: Corpus, nets: list[Without], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maltriage.assess.verdicts.openset.MIN_KNOWN", 2)
    asked = [LeftOut(net.label, load(net.bundle), net.train, net.test) for net in nets]
    benign = np.flatnonzero(corpus.label == corpus.labels.index("benign"))
    found = open_set(corpus, asked, {"others": benign}, device="cpu", threads=1)
    assert [row.name for row in found.families] == ["zeus", "icarus"]
    assert [(row.name, row.files) for row in found.others] == [("others", 14)]
    assert found.families[0].files == 10
    for key, spread in found.auroc.items():
        areas = [row.auroc[key] for row in found.families]
        assert spread.mean == pytest.approx(np.mean(areas))
        assert all(0 <= area <= 1 for area in areas)
    with pytest.raises(MaltriageError, match="no net"):
        open_set(corpus, [], {})


def test_a_label_may_hold_anything(tmp_path: Path, corpus: Corpus, options: RunOptions) -> None:
    from dataclasses import replace

    odd = replace(corpus, labels=("benign", "../a b", "zeus"))
    run = RunOptions(tmp_path / "odd", "tiny", options.fit)
    (net,) = train_without(odd, ["../a b"], run)
    assert net.bundle.is_relative_to(tmp_path / "odd" / "without-..%2fa%20b")
