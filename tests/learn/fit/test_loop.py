"""Training: the same seed gives the same weights, interrupted or not."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from learn.conftest import OPTIONS  # noqa: E402
from torch import Tensor  # noqa: E402

from maltriage.corpus.corpus import Corpus  # noqa: E402
from maltriage.corpus.split_file import PARTS  # noqa: E402
from maltriage.corpus.splits import make_split  # noqa: E402
from maltriage.errors import MaltriageError  # noqa: E402
from maltriage.learn.fit import loop as module  # noqa: E402
from maltriage.learn.fit.checkpoint import BEST, LAST, State, load_checkpoint, part_of  # noqa: E402
from maltriage.learn.fit.data import Images, key  # noqa: E402
from maltriage.learn.fit.loop import Fitted, Tick, fit  # noqa: E402
from maltriage.learn.fit.parallel import fit_together  # noqa: E402
from maltriage.learn.fit.recipe import FitOptions  # noqa: E402
from maltriage.learn.fit.restore import predict, restore_net  # noqa: E402
from maltriage.learn.runs.options import RunOptions  # noqa: E402
from maltriage.learn.runs.origin import origin_of  # noqa: E402
from maltriage.learn.runs.train import Outcome, train  # noqa: E402


def run(corpus: Corpus, folder: Path, **changes: Any) -> Fitted:
    """Train in a folder; `progress` and `stop` may be among the changes."""
    calls = {name: changes.pop(name) for name in ("progress", "stop") if name in changes}
    by = changes.pop("by", fit)
    options = FitOptions(**{**OPTIONS, **changes})
    divided = make_split(corpus)
    parts = {p: torch.from_numpy(np.flatnonzero(divided.parts == p)) for p in PARTS}
    origin = origin_of(corpus, RunOptions(folder, "tiny", options), divided)
    folder.mkdir(exist_ok=True)
    return by(Images(corpus), parts, options, State(origin=origin, name="tiny"), folder, **calls)


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


RECIPES: list[dict[str, Any]] = [
    {"optimizer": "sgd", "schedule": "cosine", "clip_norm": 0.5, "class_weights": "effective"},
    {"optimizer": "adam", "precision": "float16", "augment": False},
]


@pytest.mark.parametrize("recipe", RECIPES, ids=["sgd", "float16"])
def test_other_recipes_go_on_as_well(
    corpus: Corpus, tmp_path: Path, recipe: dict[str, Any]
) -> None:
    """Killed within an epoch, they go on from the checkpoint of the step before."""

    class Killed(BaseException):
        pass

    seen: list[Tick] = []

    def kill(tick: Tick) -> None:
        if (tick.epoch, tick.step) == (2, 2):
            raise Killed

    always = recipe | {"checkpoint_minutes": 1e-9}
    run(corpus, tmp_path / "whole", **recipe)
    with pytest.raises(Killed):
        run(corpus, tmp_path / "killed", progress=kill, **always)
    run(corpus, tmp_path / "killed", progress=seen.append, **always)
    assert (seen[0].epoch, seen[0].step) == (2, 2)
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "killed"))


KILLED = """
import os, signal, sys
from pathlib import Path
from learn.conftest import OPTIONS, VIEWS
from maltriage.corpus.load import load_corpus
from maltriage.corpus.datasets import open_dataset
from maltriage.learn.fit.recipe import FitOptions
from maltriage.learn.runs.options import RunOptions
from maltriage.learn.runs.train import train

def kill(tick):
    if (tick.epoch, tick.step) == (2, 2):
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    tree, cache, folder = map(Path, sys.argv[1:])
    corpus = load_corpus(open_dataset("folder", tree), VIEWS, jobs=1, folder=cache)
    options = FitOptions(**OPTIONS, checkpoint_minutes=1e-9)
    train(corpus, RunOptions(folder, "tiny", options), progress=kill)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_sigkill_in_the_middle_of_an_epoch(
    corpus: Corpus, tree: Path, outcome: Outcome, run_options: RunOptions, tmp_path: Path
) -> None:
    """A process that is killed, and another one that goes on: as one that was left alone."""
    (tmp_path / "killed.py").write_text(KILLED)
    tests = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, tmp_path / "killed.py", tree, tmp_path / "cache", tmp_path / "run"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent)])},
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    _, state = load_checkpoint(tmp_path / "run")
    assert (state.epoch, state.step) == (1, 1)
    gone_on = train(corpus, dataclasses.replace(run_options, folder=tmp_path / "run"))
    assert_same(weights(run_options.folder), weights(tmp_path / "run"))
    assert gone_on.state.metrics == outcome.state.metrics
    sittings = json.loads((tmp_path / "run" / "environment.json").read_bytes())["sittings"]
    assert len(sittings) == 2


def test_a_full_disk(corpus: Corpus, tmp_path: Path) -> None:
    """The second epoch finds no space: the first one's checkpoint stays, and goes on later."""
    resource = pytest.importorskip("resource", reason="no limits on files")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(tick: Tick) -> None:
        if (tick.epoch, tick.step) == (2, 1):
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))

    run(corpus, tmp_path / "whole")
    try:
        with pytest.raises(MaltriageError, match=r"cannot write checkpoint .*; the one before it"):
            run(corpus, tmp_path / "full", progress=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert {path.name for path in (tmp_path / "full").iterdir()} <= {LAST, BEST}
    assert load_checkpoint(tmp_path / "full")[1].epoch == 1
    run(corpus, tmp_path / "full")
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "full"))


def test_patience(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends two epochs after the best one, and comes to that one's net, for good."""
    scores = iter([0.5, 0.9, 0.9, 0.2])
    monkeypatch.setattr(module.metrics, "macro_f1", lambda *arguments: next(scores))
    fitted = run(corpus, tmp_path / "run", epochs=9, patience=2)
    assert (fitted.state.epoch, fitted.state.best_epoch) == (4, 2)
    assert not fitted.interrupted
    tensors, state = load_checkpoint(tmp_path / "run")
    best, then = load_checkpoint(tmp_path / "run" / BEST)
    assert then.epoch == 2
    assert_same(part_of(tensors, "ema"), part_of(best, "ema"))
    assert_same(part_of(tensors, "ema"), dict(fitted.net.state_dict()))
    assert state.temperature == then.temperature
    again = run(corpus, tmp_path / "run", epochs=9, patience=2)
    assert (again.state.epoch, again.state.best_epoch) == (4, 2)
    assert_same(tensors, weights(tmp_path / "run"))


def test_patience_needs_a_validation_part(corpus: Corpus, tmp_path: Path) -> None:
    options = FitOptions(**OPTIONS, patience=2)
    with pytest.raises(MaltriageError, match="--patience needs a validation part"):
        train(corpus, RunOptions(tmp_path / "run", "tiny", options, folds=2, fold=0))


class _Pair:
    """Of two processes, one; what it would tell the other is kept."""

    size = 2

    def __init__(self, rank: int) -> None:
        self.rank, self.losses = rank, list[float]()

    def wrap(self, votes: Any) -> Any:
        return votes

    def mean(self, value: float) -> float:
        self.losses.append(value)
        return value

    def agree(self, answer: bool) -> bool:
        return answer


def test_the_mean_over_a_crew_is_that_of_the_batch(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For votes that do not hang on who else is in the batch."""

    def votes(self: Any, views: dict[str, Tensor], share: float, other: Any) -> Any:
        seen = views["body"].float().mean(dim=(2, 3))[:, :3] / 100.0
        return (seen + 0.0 * self.net.heads.weight.sum()).unsqueeze(1), torch.zeros(())

    monkeypatch.setattr(module.Votes, "forward", votes)
    crew = [_Pair(0), _Pair(1)]
    recipe = {"mixup": 0.0, "augment": False, "epochs": 1}
    for one in crew:
        run(corpus, tmp_path / f"{one.rank}", by=partial(fit, crew=one), **recipe)
    assert not (tmp_path / "1" / LAST).exists()
    alone = run(corpus, tmp_path / "alone", **recipe)
    means = [sum(pair) / 2 for pair in zip(crew[0].losses, crew[1].losses, strict=True)]
    assert sum(means) / len(means) == pytest.approx(alone.state.history[0].loss, rel=1e-5)


def test_a_crew_has_two_samples_of_each_batch_for_each_process(
    corpus: Corpus, tmp_path: Path
) -> None:
    by = partial(fit, crew=_Pair(0))
    with pytest.raises(MaltriageError, match="too few samples to train on for 2 devices"):
        run(corpus, tmp_path / "run", by=by, batch_size=3)
    assert run(corpus, tmp_path / "run", by=by, batch_size=4, epochs=1).state.epoch == 1


def test_each_process_of_a_crew_draws_for_itself(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the first one not what a process alone draws."""
    seeds = list[int]()

    def augmented(views: Any, specs: Any, generator: torch.Generator) -> Any:
        seeds.append(generator.initial_seed())
        return views

    monkeypatch.setattr(module, "augment", augmented)
    drawn = list[set[int]]()
    for number, crew in enumerate((None, _Pair(0), _Pair(1))):
        run(corpus, tmp_path / str(number), by=partial(fit, crew=crew), epochs=1)
        drawn.append(set(seeds))
        seeds.clear()
    assert all(drawn)
    assert len(set.union(*drawn)) == sum(map(len, drawn))


@pytest.mark.slow
def test_two_processes(corpus: Corpus, tmp_path: Path) -> None:
    """Trained by two: it learns, it is told of, and it goes on exactly where it was stopped."""
    two = {"by": fit_together, "devices": 2, "accelerator": "cpu"}
    seen: list[Tick] = []
    whole = run(corpus, tmp_path / "whole", progress=seen.append, **two)
    assert whole.state.history[1].loss < whole.state.history[0].loss
    assert len(seen) == 2 * seen[0].steps
    assert whole.state.history[1].val_macro_f1 is not None
    told: list[Tick] = []
    stopped = run(
        corpus, tmp_path / "stopped", progress=told.append, stop=lambda: bool(told), **two
    )
    assert stopped.interrupted
    assert run(corpus, tmp_path / "stopped", **two).state.epoch == 2
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "stopped"))
    with pytest.raises(MaltriageError, match="another run: seed 0 instead of 1"):
        run(corpus, tmp_path / "stopped", seed=1, **two)


def test_images_for_another_process(corpus: Corpus) -> None:
    """What is mapped is not copied."""
    images = Images(corpus)
    packed = pickle.dumps(images)
    assert len(packed) < sum(array.nbytes for array in corpus.arrays.values()) / 2
    rows = torch.arange(3)
    for name, found in pickle.loads(packed).batch(rows).items():
        assert torch.equal(found, images.batch(rows)[name])


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
        ({"mixup": 0.0, "schedule": "cosine"}, "schedule onecycle instead of cosine, other mixup"),
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
    from maltriage.learn.runs.options import fit_options

    options = FitOptions(**OPTIONS)
    divided = make_split(corpus)
    state = State(origin_of(corpus, RunOptions(tmp_path, "tiny", options), divided), "tiny")
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
