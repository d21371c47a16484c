"""Checkpoints: whole, refused where they are not ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from safetensors import safe_open  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from sample.chosen import default_views  # noqa: E402

from maltriage.bundle import MAX_LABELS  # noqa: E402
from maltriage.errors import MaltriageError  # noqa: E402
from maltriage.learn.fit import restore  # noqa: E402
from maltriage.learn.fit.checkpoint import (  # noqa: E402
    LAST,
    STATE_KEY,
    Epoch,
    Guide,
    Origin,
    State,
    Teacher,
    load_checkpoint,
    part_of,
    save_checkpoint,
)
from maltriage.learn.fit.recipe import FitOptions  # noqa: E402
from maltriage.learn.fit.restore import restore_net  # noqa: E402
from maltriage.sample.views import WindowSpec, byteplot  # noqa: E402

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
    with pytest.raises(
        MaltriageError, match="the checkpoint: its weights are not of the net it names"
    ):
        restore_net(tensors, state)
    with pytest.raises(MaltriageError, match=r"a\.safetensors: its weights are not of the net"):
        restore_net(tensors, state, Path("a.safetensors"))


BODY = byteplot(64)


def teacher(**values: Any) -> Guide:
    of = {"net": "mcnn", "views": (BODY,), "weights_sha256": "0", "path": "x", **values}
    return Guide(kind="instance", keep=0.5, tokens=5, cam="hirescam", teachers=(Teacher(**of),))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ()}, "labels must be"),
        ({"labels": ("a",)}, "labels must be"),
        ({"labels": ("a", "a")}, "labels must be"),
        ({"labels": tuple(map(str, range(MAX_LABELS + 1)))}, "labels must be"),
        ({"labels": ("a", "b"), "two_questions": True}, "two questions need the label benign"),
        ({"views": ()}, "views must be"),
        ({"views": (BODY, BODY)}, "views must be"),
        ({"views": (byteplot(0),)}, "view 'body' has an impossible size"),
        ({"views": (byteplot(-5),)}, "view 'body' has an impossible size"),
        ({"views": (byteplot(1 << 20),)}, "views of an impossible size"),
        ({"views": (WindowSpec("code", "code", length=1 << 40),)}, "views of an impossible size"),
        ({"recipe": {}}, "a recipe without a seed"),
        ({"recipe": {"seed": "x"}}, "a recipe without a seed"),
        ({"guide": teacher(views=(byteplot(1 << 18),))}, "of a teacher: views of an impossible"),
        ({"guide": teacher(clean=2)}, "of a teacher: a label that there is not"),
        ({"guide": teacher(clean=-3)}, "of a teacher: a label that there is not"),
        (
            {"guide": msgspec.structs.replace(teacher(), teachers=teacher().teachers * 17)},
            "more than 16",
        ),
    ],
)
def test_a_net_that_no_card_may_have_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = tmp_path / "bad.safetensors"
    origin = msgspec.structs.replace(ORIGIN, **change)
    save_checkpoint(path, {"ema.a": torch.zeros(1)}, State(origin=origin, name="bad"))
    with pytest.raises(MaltriageError, match=rf"bad\.safetensors: a bad checkpoint: {message}"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"net": "os"}, "no such net: os"),
        ({"net": "mcnn", "views": (byteplot(2048),)}, "its weights are not of the net it names"),
        ({"net": "camvit", "views": (byteplot(60),)}, "into patches"),
        ({"guide": Guide(kind="random", keep=1, tokens=9)}, "--guide goes with"),
        ({"net": "camvit", "guide": teacher()}, "its weights are not of the net it names"),
        ({"net": "camvit", "guide": Guide(kind="random", keep=1, tokens=9)}, "a guide that does"),
        (
            {
                "net": "camvit",
                "guide": Guide(kind="random", keep=1, tokens=1, kept={"body": (999,)}),
            },
            "a guide that does not fit its net",
        ),
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_net_is_not_made_before_its_weights_fit(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], message: str
) -> None:
    """652 bytes would take gigabytes of memory."""
    pytest.importorskip("timm", reason="needs the extra `train`")
    origin = msgspec.structs.replace(ORIGIN, **{"views": (BODY,), **change})
    honest, devices = restore.make, []

    def made(*arguments: Any) -> Any:
        devices.append(torch.empty(0).device.type)
        return honest(*arguments)

    monkeypatch.setattr(restore, "make", made)
    state = State(origin=origin, name="x")
    with pytest.raises(MaltriageError, match=rf"x\.safetensors: .*{message}"):
        restore_net({"ema.a": torch.zeros(1)}, state, Path("x.safetensors"))
    assert set(devices) == {"meta"}


def test_more_tokens_than_there_are() -> None:
    pytest.importorskip("timm", reason="needs the extra `train`")
    guide = msgspec.structs.replace(teacher(), tokens=10**9)
    with pytest.raises(MaltriageError, match="a guide that does not fit its net: 1,000,000,000"):
        restore.make(msgspec.structs.replace(ORIGIN, net="camvit", views=(BODY,), guide=guide))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"teachers": ()}, "no teachers"),
        ({"by_label": ((0, 1),)}, "tokens of 1 labels of 2"),
        ({"by_label": ((0, 1), (0, 10**9))}, "tokens of a label that cannot be"),
        ({"by_label": ((0, 1), (-1, 0))}, "tokens of a label that cannot be"),
        ({"by_label": ((0, 1), (1, 1))}, "tokens of a label that cannot be"),
        ({"by_label": ((0, 1), (1, 0, 2))}, "tokens of a label that cannot be"),
    ],
)
def test_labels_with_tokens_that_cannot_be(changed: dict[str, Any], words: str) -> None:
    pytest.importorskip("timm", reason="needs the extra `train`")
    guide = msgspec.structs.replace(teacher(), kind="label", tokens=2, **changed)
    with pytest.raises(MaltriageError, match=f"a guide that does not fit its net: {words}"):
        restore.make(msgspec.structs.replace(ORIGIN, net="camvit", views=(BODY,), guide=guide))
