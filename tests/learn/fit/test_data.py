"""Batches from arrays that lie in a file: the same as from memory, and so is what is learnt."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from learn.conftest import OPTIONS  # noqa: E402

from maltriage.corpus.corpus import Corpus  # noqa: E402
from maltriage.learn.fit.checkpoint import load_checkpoint  # noqa: E402
from maltriage.learn.fit.data import Images  # noqa: E402
from maltriage.learn.fit.recipe import FitOptions  # noqa: E402
from maltriage.learn.runs.options import RunOptions  # noqa: E402
from maltriage.learn.runs.train import train  # noqa: E402


def in_memory(corpus: Corpus) -> Corpus:
    arrays = {name: np.array(array) for name, array in corpus.arrays.items()}
    assert all(array.flags.writeable for array in arrays.values())
    return dataclasses.replace(corpus, arrays=arrays)


def test_batches(corpus: Corpus) -> None:
    index = torch.tensor([5, 0, 5, 33])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns of arrays that cannot be written to
        batch = Images(corpus).batch(index)
    for view in corpus.views:
        expected = corpus.pixels(view.name, index.numpy())
        np.testing.assert_array_equal(batch[view.name].numpy(), expected)
        batch[view.name][:] = 0  # a copy: augmentation may write to it
        assert corpus.pixels(view.name, index.numpy()).any() == expected.any()
    assert list(Images(corpus).batch(index, fixed=True)) == ["header"]
    assert Images(corpus).batch(index[:0])["body"].shape == (0, 5, 16, 16)


def test_batches_of_some_samples(corpus: Corpus) -> None:
    keep = np.arange(len(corpus)) % 3 == 0
    some = Images(corpus.take(keep)).batch(torch.tensor([2, 1]))
    whole = Images(corpus).batch(torch.from_numpy(np.flatnonzero(keep))[[2, 1]])
    for view, images in whole.items():
        assert torch.equal(some[view], images)


def test_the_same_weights_as_from_memory(corpus: Corpus, tmp_path: Path) -> None:
    runs = {"cached": corpus, "memory": in_memory(corpus)}
    tensors = {}
    for name, data in runs.items():
        steps = iter(range(5))  # into the second epoch
        options = RunOptions(tmp_path / name, "tiny", FitOptions(**OPTIONS))
        train(data, options, stop=lambda steps=steps: next(steps, None) is None)  # type: ignore[misc]
        tensors[name], state = load_checkpoint(tmp_path / name)
        assert (state.epoch, state.step) == (1, 2)
    assert tensors["cached"].keys() == tensors["memory"].keys()
    for key, tensor in tensors["cached"].items():
        assert torch.equal(tensor, tensors["memory"][key]), key
