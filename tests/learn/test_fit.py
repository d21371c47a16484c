"""Training: the same seed gives the same weights, interrupted or not."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from learn.conftest import OPTIONS  # noqa: E402
from torch import Tensor  # noqa: E402

from maltriage.corpus.cache import Corpus  # noqa: E402
from maltriage.corpus.splits import PARTS, make_split  # noqa: E402
from maltriage.errors import MaltriageError  # noqa: E402
from maltriage.learn import fit as module  # noqa: E402
from maltriage.learn.checkpoint import BEST, LAST, State, load_checkpoint, part_of  # noqa: E402
from maltriage.learn.data import Images, key  # noqa: E402
from maltriage.learn.fit import FitOptions, Fitted, Tick, fit, predict, restore_net  # noqa: E402
from maltriage.learn.train import RunOptions, _origin  # noqa: E402


def run(corpus: Corpus, folder: Path, **changes: Any) -> Fitted:
    """Train in a folder; `progress` and `stop` may be among the changes."""
    calls = {name: changes.pop(name) for name in ("progress", "stop") if name in changes}
    options = FitOptions(**{**OPTIONS, **changes})
    divided = make_split(corpus)
    parts = {p: torch.from_numpy(np.flatnonzero(divided.parts == p)) for p in PARTS}
    origin = _origin(corpus, RunOptions(folder, "tiny", options), divided)
    folder.mkdir(exist_ok=True)
    return fit(Images(corpus), parts, options, State(origin=origin, name="tiny"), folder, **calls)


def weights(folder: Path) -> dict[str, Tensor]:
    return load_checkpoint(folder)[0]


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def test_a_batch_is_what_the_corpus_says(corpus: Corpus) -> None:
    rows = np.array([3, 0, 20])
    for name, pixels in Images(corpus).batch(torch.from_numpy(rows)).items():
        np.testing.assert_array_equal(pixels.numpy(), corpus.pixels(name, rows))


def test_it_learns(corpus: Corpus, tmp_path: Path) -> None:
    fitted = run(corpus, tmp_path / "run", epochs=8)
    losses = [row.loss for row in fitted.state.history]
    assert losses[-1] < 0.75 * losses[0]
    labels = torch.from_numpy(corpus.label)
    logits = predict(fitted.net, Images(corpus), torch.arange(len(corpus)))
    assert (logits.argmax(1) == labels).float().mean() > 0.9


def test_the_seed_says_it_all(corpus: Corpus, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(corpus, tmp_path / name, epochs=1, seed=seed)
    assert_same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    a, c = (part_of(weights(tmp_path / n), "net")["heads.weight"] for n in "ac")
    assert not torch.equal(a, c)


@pytest.mark.parametrize("steps", [1, 3, 5])
def test_stopped_and_gone_on_with(corpus: Corpus, tmp_path: Path, steps: int) -> None:
    """Anywhere: within an epoch, at its end, with the same figures in the end."""
    whole = run(corpus, tmp_path / "whole")
    seen: list[Tick] = []
    stopped = run(
        corpus, tmp_path / "stopped", progress=seen.append, stop=lambda: len(seen) >= steps
    )
    assert stopped.interrupted
    assert len(seen) == steps
    gone_on = run(corpus, tmp_path / "stopped", progress=seen.append)
    assert not gone_on.interrupted
    assert len(seen) == 2 * seen[0].steps
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "stopped"))
    for a, b in zip(whole.state.history, gone_on.state.history, strict=True):
        assert dataclasses.astuple(_untimed(a)) == dataclasses.astuple(_untimed(b))
    assert whole.state.temperature == gone_on.state.temperature


@dataclasses.dataclass
class _Figures:
    loss: float
    rate: float
    score: float | None


def _untimed(row: Any) -> _Figures:
    return _Figures(row.loss, row.learning_rate, row.val_macro_f1)


def test_killed_and_gone_on_with(corpus: Corpus, tmp_path: Path) -> None:
    """Without a chance to save: back to the end of the last epoch."""

    class Killed(BaseException):
        pass

    def kill(tick: Tick) -> None:
        if (tick.epoch, tick.step) == (2, 2):
            raise Killed

    run(corpus, tmp_path / "whole")
    with pytest.raises(Killed):
        run(corpus, tmp_path / "killed", progress=kill)
    run(corpus, tmp_path / "killed")
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "killed"))


def test_a_finished_run_stays_as_it_is(corpus: Corpus, tmp_path: Path) -> None:
    run(corpus, tmp_path / "run", epochs=1)
    before = (tmp_path / "run" / LAST).read_bytes()
    seen: list[Tick] = []
    again = run(corpus, tmp_path / "run", epochs=1, progress=seen.append)
    assert seen == []
    assert again.state.epoch == 1
    assert (tmp_path / "run" / LAST).read_bytes() == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs": 3}, "epochs 1 instead of 3"),
        ({"seed": 7}, "seed 0 instead of 7"),
        ({"mixup": 0.0}, "other mixup"),
    ],
)
def test_another_recipe_is_refused(
    corpus: Corpus, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    run(corpus, tmp_path / "run", epochs=1)
    with pytest.raises(MaltriageError, match=f"a checkpoint of another run: {words}$"):
        run(corpus, tmp_path / "run", **{"epochs": 1, **change})


def test_other_labels_are_refused(corpus: Corpus, tmp_path: Path) -> None:
    run(corpus, tmp_path / "run", epochs=1)
    renamed = dataclasses.replace(corpus, labels=("benign", "icarus", "zbot"))
    with pytest.raises(MaltriageError, match=r"another run: other labels, other manifest_sha256$"):
        run(renamed, tmp_path / "run", epochs=1)


def test_the_options_of_a_checkpoint(corpus: Corpus, tmp_path: Path) -> None:
    from maltriage.learn.train import fit_options

    options = FitOptions(**OPTIONS)
    divided = make_split(corpus)
    state = State(_origin(corpus, RunOptions(tmp_path, "tiny", options), divided), "tiny")
    assert fit_options(state, threads=1) == options


def test_a_loss_that_is_no_number_ends_it(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = module._Run._loss

    def loss(self: Any, *arguments: Tensor) -> Tensor:
        value = original(self, *arguments)
        return value * float("nan") if self.state.epoch == 1 else value

    monkeypatch.setattr(module._Run, "_loss", loss)
    with pytest.raises(MaltriageError, match="failed in epoch 2: the loss is nan"):
        run(corpus, tmp_path / "run")
    tensors, state = load_checkpoint(tmp_path / "run")
    assert state.epoch == 1
    assert all(t.isfinite().all() for t in tensors.values())


def test_best_is_a_checkpoint_too(corpus: Corpus, tmp_path: Path) -> None:
    fitted = run(corpus, tmp_path / "run")
    tensors, state = load_checkpoint(tmp_path / "run" / BEST)
    scores = [row.val_macro_f1 for row in fitted.state.history]
    assert state.history[-1].val_macro_f1 == max(score or 0.0 for score in scores)
    net = restore_net(tensors, state)
    assert not net.training
    assert state.temperature is not None


def test_time_left(corpus: Corpus, tmp_path: Path) -> None:
    seen: list[Tick] = []
    run(corpus, tmp_path / "run", progress=seen.append)
    assert [(t.epoch, t.step) for t in seen] == [
        (epoch, step) for epoch in (1, 2) for step in range(1, seen[0].steps + 1)
    ]
    assert seen[-1].seconds_left == 0
    assert seen[0].seconds_left > 0
    assert seen[0].macro_f1 is None
    assert seen[-1].macro_f1 is not None


def test_streams_differ() -> None:
    seeds = {key(a, b, c) for a in range(5) for b in range(5) for c in range(5)}
    assert len(seeds) == 125
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert key(1, 11) != key(11, 1)
