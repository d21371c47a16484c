"""What a recipe makes of weights, schedule and optimizer, and which ones are refused."""

from __future__ import annotations

import inspect
import math
from typing import Any

import msgspec
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from learn.fit.test_checkpoint import ORIGIN, STATE  # noqa: E402
from torch import nn  # noqa: E402

from maltriage.cli.commands.train import train  # noqa: E402
from maltriage.cli.training import recipe as options  # noqa: E402
from maltriage.errors import MaltriageError  # noqa: E402
from maltriage.learn.fit.checkpoint import Epoch  # noqa: E402
from maltriage.learn.fit.devices import pick_device  # noqa: E402
from maltriage.learn.fit.recipe import (  # noqa: E402
    FitOptions,
    best_epoch,
    class_weights,
    differing,
    exhausted,
    make_optimizer,
    make_schedule,
)
from maltriage.learn.nets import entry  # noqa: E402


def rates(recipe: FitOptions, steps: int) -> list[float]:
    optimizer = make_optimizer([nn.Parameter(torch.zeros(1))], recipe)
    schedule = make_schedule(optimizer, recipe, steps)
    found = []
    for _ in range(steps):
        found.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        schedule.step()
    return found


def test_class_weights() -> None:
    counts = torch.tensor([0.0, 4.0, 100.0, 5000.0])
    assert class_weights(counts, "none").tolist() == [1, 1, 1, 1]
    assert class_weights(counts, "sqrt").tolist() == pytest.approx([1, 0.5, 0.1, 5000**-0.5])
    assert class_weights(counts, "balanced").tolist() == pytest.approx([1, 0.25, 0.01, 0.0002])
    effective = [(1 - 0.999**n) / (1 - 0.999) for n in (1, 4, 100, 5000)]
    expected = [1 / n for n in effective]
    assert class_weights(counts, "effective").tolist() == pytest.approx(expected, rel=1e-5)
    assert 990 < effective[-1] < 1000


def test_cosine_rises_and_falls() -> None:
    found = rates(FitOptions(schedule="cosine", warmup=0.25, learning_rate=1.0), 40)
    assert found.index(max(found)) == 10
    assert found[10] == pytest.approx(1.0)
    assert found[:11] == sorted(set(found[:11]))
    assert found[10:] == sorted(set(found[10:]), reverse=True)
    assert found[0] == pytest.approx(1 / 11)
    assert found[25] == pytest.approx(0.5)
    assert found[-1] < 0.01
    assert rates(FitOptions(schedule="cosine", warmup=0.0, learning_rate=1.0), 4)[0] == 1.0


def test_onecycle_is_that_of_pytorch() -> None:
    optimizer = make_optimizer([nn.Parameter(torch.zeros(1))], FitOptions())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=21)
    expected = []
    for _ in range(20):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates(FitOptions(), 20) == expected
    early = rates(FitOptions(warmup=0.1), 20)
    assert early.index(max(early)) < expected.index(max(expected))


def test_optimizers() -> None:
    parameters = [nn.Parameter(torch.zeros(1))]
    sgd = make_optimizer(parameters, FitOptions(optimizer="sgd"))
    assert (type(sgd), sgd.defaults["nesterov"]) == (torch.optim.SGD, True)
    assert type(make_optimizer(parameters, FitOptions(optimizer="adam"))) is torch.optim.Adam
    assert type(make_optimizer(parameters, FitOptions())) is torch.optim.AdamW


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"optimizer": "lion"}, r"no such optimizer: lion \(known: adamw, adam, sgd\)"),
        ({"schedule": "step"}, "no such schedule: step"),
        ({"class_weights": "log"}, "no such class weights: log"),
        ({"precision": "float8"}, "no such precision: float8"),
        ({"accelerator": "tpu"}, "no such accelerator: tpu"),
        ({"learning_rate": 0.0}, r"learning rate 0\.0: out of range"),
        ({"learning_rate": math.nan}, "learning rate nan: out of range"),
        ({"warmup": 1.0}, "warmup 1.0: out of range"),
        ({"weight_decay": math.inf}, "weight decay inf: out of range"),
        ({"mixup": math.inf}, "mixup inf: out of range"),
        ({"clip_norm": -1.0}, "clip norm -1.0: out of range"),
        ({"devices": 0}, "devices 0: out of range"),
        ({"devices": 3, "batch_size": 5}, "batch size 5: at least two samples for each of 3"),
    ],
)
def test_what_cannot_be_trained_with(change: dict[str, Any], words: str) -> None:
    with pytest.raises(MaltriageError, match=words):
        FitOptions(**change).check()


def test_devices_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto", 5) == torch.device("cpu")
    with pytest.raises(MaltriageError, match="PyTorch finds 0 CUDA devices, not 1"):
        pick_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("auto", 1) == torch.device("cuda", 1)
    assert pick_device("cpu", 1) == torch.device("cpu")
    with pytest.raises(MaltriageError, match="finds 2 CUDA devices, not 3"):
        pick_device("auto", 2)


def test_the_best_epoch_and_patience() -> None:
    def epochs(*scores: float | None) -> list[Epoch]:
        return [Epoch(i, 1.0, 0.1, None, None, s, 1.0) for i, s in enumerate(scores, 1)]

    assert best_epoch([]) is None
    assert best_epoch(epochs(None, None)) is None
    assert best_epoch(epochs(0.0, 0.0)) == 1
    assert best_epoch(epochs(0.2, 0.7, 0.7, 0.1)) == 2
    assert not exhausted(epochs(0.2, 0.7, 0.7), 2)
    assert exhausted(epochs(0.2, 0.7, 0.7, 0.1), 2)
    assert not exhausted(epochs(0.2, 0.7, 0.7, 0.1), 0)
    assert not exhausted([], 2)


def test_a_checkpoint_from_before_there_was_a_choice() -> None:
    """It goes on as the defaults are, and as nothing else."""
    added = ("optimizer", "schedule", "warmup", "clip_norm", "class_weights", "augment", "harden")
    old = {k: v for k, v in ORIGIN.recipe.items() if k not in (*added, "patience", "devices")}
    before = msgspec.structs.replace(STATE, origin=msgspec.structs.replace(ORIGIN, recipe=old))
    assert differing(before, STATE) == ""
    other = ORIGIN.recipe | {"schedule": "cosine", "warmup": 0.1}
    changed = msgspec.structs.replace(STATE, origin=msgspec.structs.replace(ORIGIN, recipe=other))
    assert differing(before, changed) == "schedule onecycle instead of cosine, other warmup"
    assert msgspec.convert(old, FitOptions) == FitOptions()


def test_the_name_of_a_run_stays() -> None:
    renamed = msgspec.structs.replace(STATE, name="other")
    assert differing(STATE, renamed) == f"name {STATE.name} instead of other"


def test_the_command_line_has_the_same_defaults() -> None:
    defaults = inspect.signature(train).parameters
    values = {name: defaults[name].default for name in (*options.RECIPE, *options.FREE)}
    assert FitOptions(**options.as_fields(values, entry("evidence"))) == FitOptions()
    fields = set(FitOptions.__dataclass_fields__)
    assert fields - set(values) == {"net", "image_size", "views", "goodware_weight", "threads"}
