"""Weights to begin with: what is taken from a file, adapted, and refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")
timm = pytest.importorskip("timm", reason="needs the extra `train`")

from safetensors.torch import save_file  # noqa: E402
from sample.chosen import default_views  # noqa: E402
from torch import Tensor  # noqa: E402

from maltriage.corpus.corpus import Corpus  # noqa: E402
from maltriage.corpus.split_file import PARTS  # noqa: E402
from maltriage.corpus.splits import make_split  # noqa: E402
from maltriage.errors import MaltriageError  # noqa: E402
from maltriage.learn.fit.checkpoint import State  # noqa: E402
from maltriage.learn.fit.data import Images  # noqa: E402
from maltriage.learn.fit.loop import Fitted, fit  # noqa: E402
from maltriage.learn.fit.pretrained import identify, load_pretrained  # noqa: E402
from maltriage.learn.fit.recipe import FitOptions  # noqa: E402
from maltriage.learn.nets import make_net  # noqa: E402
from maltriage.learn.nets.base import Net  # noqa: E402
from maltriage.learn.runs.options import RunOptions  # noqa: E402
from maltriage.learn.runs.origin import origin_of  # noqa: E402
from maltriage.sample.views import BodySpec, byteplot  # noqa: E402


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    """DenseNet-121 as timm would publish it: three channels, a classifier of 1,000."""
    torch.manual_seed(5)
    found: dict[str, Tensor] = timm.create_model("densenet121", pretrained=False).state_dict()
    return found


def densenet(spec: BodySpec) -> Net:
    torch.manual_seed(0)
    return make_net("densenet", (spec,), 3)


def loaded(net: Net) -> dict[str, Tensor]:
    assert net.backbone is not None
    return net.backbone.state_dict()


@pytest.mark.parametrize("kind", ["safetensors", "pth", "nested"])
def test_a_file(published: dict[str, Tensor], tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("weights.safetensors" if kind == "safetensors" else "weights.pth")
    if kind == "safetensors":
        save_file(published, path)
    else:
        torch.save(published if kind == "pth" else {"state_dict": published, "epoch": 3}, path)
    net = densenet(byteplot(16))
    last = net.classifier.weight.clone()
    load_pretrained(net, str(path))
    found = loaded(net)
    first = "features.conv0.weight"
    for name, tensor in found.items():
        if name != first:
            assert torch.equal(tensor, published[name]), name
    # One channel in place of three equal ones: the sum of their weights.
    torch.testing.assert_close(found[first], published[first].sum(dim=1, keepdim=True))
    assert torch.equal(net.classifier.weight, last)


def test_more_channels(published: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({n: t for n, t in published.items() if not n.startswith("classifier")}, path)
    net = densenet(BodySpec(size=16))
    load_pretrained(net, str(path))
    first = loaded(net)["features.conv0.weight"]
    assert first.shape[1] == 5
    torch.testing.assert_close(first[:, 3], published["features.conv0.weight"][:, 0] * 3 / 5)


def broken(published: dict[str, Tensor], how: str) -> Any:
    name = "features.norm5.weight"
    if how == "lacks":
        return {n: t for n, t in published.items() if n != name}
    if how == "besides":
        return published | {"blocks.0.weight": torch.zeros(1)}
    if how == "shapes":
        return published | {name: torch.zeros(7)}
    return [1, 2] if how == "list" else {"state_dict": "no"}


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("lacks", "not weights of densenet121 as timm names them: it lacks: features.norm5.weight"),
        ("besides", "it has besides: blocks.0.weight"),
        ("shapes", "it has other shapes: features.norm5.weight"),
        ("list", "not a file of weights: no state dict"),
        ("words", "not a file of weights: no state dict"),
    ],
)
def test_what_does_not_fit(
    published: dict[str, Tensor], tmp_path: Path, how: str, words: str
) -> None:
    torch.save(broken(published, how), tmp_path / "weights.pth")
    net = densenet(byteplot(16))
    before = {name: tensor.clone() for name, tensor in loaded(net).items()}
    with pytest.raises(MaltriageError, match=words):
        load_pretrained(net, str(tmp_path / "weights.pth"))
    assert all(torch.equal(tensor, before[name]) for name, tensor in loaded(net).items())


class Hostile:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("owned"),))


def test_nothing_in_a_file_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"features.conv0.weight": Hostile()}, "weights.pth")
    with pytest.raises(MaltriageError, match="not a file of weights"):
        load_pretrained(densenet(byteplot(16)), "weights.pth")
    assert not Path("owned").exists()


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.bin"])
def test_what_is_no_file_of_weights(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x01" * 100)
    with pytest.raises(MaltriageError, match="not a file of weights"):
        load_pretrained(densenet(byteplot(16)), str(tmp_path / name))
    with pytest.raises(MaltriageError, match="cannot read weights"):
        identify(str(tmp_path / "none"))


def test_a_net_without_a_backbone() -> None:
    for name, views in (("gibert", (byteplot(16),)), ("evidence", default_views(16))):
        with pytest.raises(MaltriageError, match="leave out --pretrained"):
            load_pretrained(make_net(name, views, 2), "hub")


def test_what_a_recipe_says_of_it(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"abc")
    digest = identify(str(tmp_path / "weights"))
    assert digest.startswith("sha256:ba7816bf")
    assert identify(digest) == digest
    assert identify("hub") == "hub"
    with pytest.raises(MaltriageError, match="name --pretrained FILE again"):
        load_pretrained(densenet(byteplot(16)), digest)


def test_a_hub_that_gives_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise ConnectionError("no network\nat all\nFile 1")

    net = densenet(byteplot(16))
    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(
        MaltriageError, match=r"no weights of densenet121 from the hub: no network at all$"
    ):
        load_pretrained(net, "hub")


def test_a_run_begins_with_it_and_notes_the_digest(
    published: dict[str, Tensor], corpus: Corpus, tmp_path: Path
) -> None:
    """Gone on with it needs the file no more, and another file is another run."""
    path = tmp_path / "weights.safetensors"
    save_file(published, path)
    body = dataclasses.replace(
        corpus,
        views=(byteplot(16),),
        arrays={"body": corpus.arrays["body"][:, :1].copy()},
        present={},
    )

    def run(pretrained: str | None, epochs: int = 2, stop: bool = False) -> Fitted:
        options = FitOptions(
            net="densenet",
            views=("byteplot",),
            image_size=16,
            epochs=epochs,
            batch_size=18,
            threads=1,
            learning_rate=1e-9,
            weight_decay=0.0,
            pretrained=pretrained,
        )
        divided = make_split(body)
        parts = {p: torch.from_numpy(np.flatnonzero(divided.parts == p)) for p in PARTS}
        origin = origin_of(body, RunOptions(tmp_path, "run", options), divided)
        start = State(origin=origin, name="run")
        return fit(Images(body), parts, options, start, tmp_path, stop=lambda: stop)

    stopped = run(str(path), stop=True)
    digest = identify(str(path))
    assert stopped.state.origin.recipe["pretrained"] == digest
    name = "features.denseblock1.denselayer1.conv1.weight"
    torch.testing.assert_close(loaded(stopped.net)[name], published[name], rtol=0, atol=1e-6)
    path.unlink()
    assert not run(digest).interrupted
    with pytest.raises(MaltriageError, match="other pretrained"):
        run(None)


def test_vgg_leaves_out_its_dense_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the hub, here a fresh model of timm, whose dense layers are small for speed."""
    import maltriage.learn.fit.pretrained as module

    vgg = timm.create_model("vgg16", pretrained=False, mlp_ratio=1 / 4096)
    net = make_net("imcfn", (byteplot(16),), 2)
    monkeypatch.setattr(module, "_fetch", lambda name: vgg.state_dict())
    load_pretrained(net, "hub")
    for name, tensor in loaded(net).items():
        assert torch.equal(tensor, vgg.state_dict()[name]), name
