"""Checkpoints: whole, refused where they are not ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from safetensors import safe_open  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from maltriage.errors import MaltriageError  # noqa: E402
from maltriage.learn.fit.checkpoint import (  # noqa: E402
    LAST,
    STATE_KEY,
    Epoch,
    Origin,
    State,
    load_checkpoint,
    part_of,
    save_checkpoint,
)
from maltriage.learn.fit.recipe import FitOptions  # noqa: E402
from maltriage.learn.fit.restore import restore_net  # noqa: E402
from maltriage.sample.views import default_views  # noqa: E402

ORIGIN = Origin(
    net="evidence",
    labels=("benign", "zeus"),
    views=default_views(16),
    dataset="folder",
    root="data",
    goodware=None,
    goodware_samples=0,
    manifest_sha256="0" * 64,
    samples=10,
    split="grouped",
    split_seed=0,
    fractions=(0.7, 0.1, 0.2),
    recipe=FitOptions().recipe(),
)
STATE = State(
    origin=ORIGIN,
    name="tiny",
    epoch=1,
    loss_sum=1 / 3,
    history=(Epoch(1, 0.1, 1e-3, None, None, None, 2.0),),
    metrics={"test_accuracy": 0.1},
)


def test_round_trip(tmp_path: Path) -> None:
    tensors = {"ema.a": torch.randn(3, 2).t(), "net.b": torch.tensor(7)}
    save_checkpoint(tmp_path / LAST, tensors, STATE)
    for path in (tmp_path, tmp_path / LAST):
        found, state = load_checkpoint(path)
        assert state == STATE
        assert torch.equal(found["ema.a"], tensors["ema.a"])
        assert part_of(found, "net") == {"b": torch.tensor(7)}
    assert [path.name for path in tmp_path.iterdir()] == [LAST]


def test_a_write_that_fails_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path / LAST, {"ema.a": torch.zeros(1)}, STATE)
    whole = (tmp_path / LAST).read_bytes()

    def fail(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(MaltriageError, match="No space left"):
        save_checkpoint(tmp_path / LAST, {"ema.a": torch.ones(1)}, STATE)
    assert (tmp_path / LAST).read_bytes() == whole


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    with pytest.raises(MaltriageError, match="no checkpoint"):
        load_checkpoint(path)
    path.write_bytes(b"no tensors")
    with pytest.raises(MaltriageError, match="not a checkpoint"):
        load_checkpoint(path)
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(MaltriageError, match="not a checkpoint of maltriage"):
        load_checkpoint(path)
    save_file({"weight": torch.zeros(2)}, path, {STATE_KEY: '{"origin": 3}'})
    with pytest.raises(MaltriageError, match="cannot read"):
        load_checkpoint(path)
    deep = '{"origin":{"recipe":{"a":' + "[" * 100_000
    save_file({"weight": torch.zeros(2)}, path, {STATE_KEY: deep})
    with pytest.raises(MaltriageError, match="cannot read: nested too deeply"):
        load_checkpoint(path)
    save_checkpoint(path, {}, State(origin=ORIGIN, name="later"))
    tensors, text = load_file(path), safe_open(path, "pt").metadata()[STATE_KEY]
    save_file(tensors, path, {STATE_KEY: json.dumps({**json.loads(text), "surprise": 1})})
    with pytest.raises(MaltriageError, match=r"cannot read.*surprise"):
        load_checkpoint(path)
    save_checkpoint(path, {}, State(origin=ORIGIN, name="later", state_version=99))
    with pytest.raises(MaltriageError, match="checkpoint version 99"):
        load_checkpoint(path)


class Evil:
    """Runs code where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("newer", [False, True])
def test_a_pickle_is_refused_by_name(tmp_path: Path, newer: bool) -> None:
    path, ran = tmp_path / "evil.pt", tmp_path / "ran"
    torch.save({"weight": Evil(ran)}, path, _use_new_zipfile_serialization=newer)
    with pytest.raises(MaltriageError, match=r"a pickle, as torch\.save writes it"):
        load_checkpoint(path)
    assert not ran.exists()


def test_weights_of_another_net(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / LAST, {"ema.a": torch.zeros(1)}, STATE)
    tensors, state = load_checkpoint(tmp_path)
    with pytest.raises(MaltriageError, match="not of the net it names"):
        restore_net(tensors, state)
