"""A small corpus, and one short run over it that several tests look at."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from corpus.synthetic import write_tree

from maltriage.corpus.corpus import Corpus
from maltriage.corpus.datasets import open_dataset
from maltriage.corpus.load import load_corpus
from maltriage.sample.views import BodySpec, ViewSpec, WindowSpec

if TYPE_CHECKING:
    from maltriage.learn.runs.options import RunOptions
    from maltriage.learn.runs.train import Outcome

VIEWS: tuple[ViewSpec, ...] = (
    BodySpec(size=16),
    WindowSpec("header", "pe32", length=248, fixed=True),
    WindowSpec("head", "head"),
    WindowSpec("entry", "entry", before=512),
)
OPTIONS: dict[str, Any] = {
    "image_size": 16,
    "views": ("body", "header", "head", "entry"),
    "epochs": 2,
    "batch_size": 8,
    "threads": 1,
}
NARROW: dict[str, Any] = {**OPTIONS, "views": ("body",)}
"""For runs where the net is not the matter: the fewer its views, the quicker it is exported."""


def narrow(corpus: Corpus, *names: str) -> Corpus:
    """A corpus with some of its views alone."""
    views = tuple(view for view in corpus.views if view.name in names)
    arrays = {view.name: corpus.arrays[view.name] for view in views}
    return dataclasses.replace(corpus, views=views, arrays=arrays)


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of three families."""
    return write_tree(tmp_path_factory.mktemp("dataset"), {"benign": 14, "icarus": 12, "zeus": 10})


@pytest.fixture(scope="session")
def corpus(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("cache")
    return load_corpus(open_dataset("folder", tree), VIEWS, jobs=1, folder=folder)


@pytest.fixture(scope="session")
def run_options(tmp_path_factory: pytest.TempPathFactory) -> RunOptions:
    from maltriage.learn.fit.recipe import FitOptions
    from maltriage.learn.runs.options import RunOptions

    folder = tmp_path_factory.mktemp("runs") / "first"
    return RunOptions(folder, "tiny", FitOptions(**OPTIONS), command=("maltriage", "train"))


@pytest.fixture(scope="session")
def outcome(corpus: Corpus, run_options: RunOptions) -> Outcome:
    """A whole run of two epochs, exported."""
    from maltriage.learn.runs.train import train

    return train(corpus, run_options)


@pytest.fixture(scope="module")
def shallow() -> Iterator[None]:
    """Net `camvit` of two blocks: as good for most tests, and exported in a third of the time."""
    from maltriage.learn.nets import camvit

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(camvit, "DEPTH", 2)
        patch.setattr(camvit.CamViT, "target_layer", "blocks.1.norm1")
        yield
