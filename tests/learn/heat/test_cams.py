"""Methods of pytorch-grad-cam on the net of a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")
pytest.importorskip("pytorch_grad_cam", reason="needs the extra `train`")

from maltriage import bundle as bundles  # noqa: E402
from maltriage.bundle import Bundle  # noqa: E402
from maltriage.errors import MaltriageError  # noqa: E402
from maltriage.learn.fit import restore  # noqa: E402
from maltriage.learn.fit.checkpoint import load_checkpoint  # noqa: E402
from maltriage.learn.fit.restore import restore_net  # noqa: E402
from maltriage.learn.heat import cams as module  # noqa: E402
from maltriage.learn.heat.cams import CheckpointMaps, open_maps  # noqa: E402
from maltriage.learn.runs.train import Outcome  # noqa: E402
from maltriage.probe.prepare import Prepared, PrepareOptions, prepare  # noqa: E402
from maltriage.report.documents.methods import (  # noqa: E402
    FROM_CHECKPOINT,
    METHODS,
    Method,
    known,
)
from maltriage.sample.byteplot import View  # noqa: E402
from maltriage.triage.session import CHOOSE, Session  # noqa: E402


@pytest.fixture
def bundle(outcome: Outcome) -> Bundle:
    assert outcome.bundle is not None
    return bundles.load(outcome.bundle)


@pytest.fixture
def run(outcome: Outcome) -> Path:
    assert outcome.bundle is not None
    return outcome.bundle.parent


@pytest.fixture
def prepared(bundle: Bundle, tree: Path) -> Prepared:
    path = next(iter(sorted(tree.glob("zeus/*.png"))))
    return prepare(str(path), PrepareOptions(bundle.card.views))


@pytest.fixture
def maps(run: Path) -> Callable[[str], CheckpointMaps]:
    net = restore_net(*load_checkpoint(run))
    return lambda method: known(method).load()(net)


def empty(views: dict[str, View]) -> dict[str, View]:
    return {name: View(np.zeros_like(v.pixels), v.geometry) for name, v in views.items()}


@pytest.mark.parametrize("against", [None, 0])
def test_the_net_is_cut_where_the_graph_is(
    monkeypatch: pytest.MonkeyPatch,
    maps: Callable[[str], CheckpointMaps],
    bundle: Bundle,
    prepared: Prepared,
    against: int | None,
) -> None:
    """HiResCAM by the same road is what the graph gives, less the map of an empty input."""
    same = Method("hirescam", "maltriage.learn.heat.cams:hirescam", checkpoint=True)
    monkeypatch.setitem(METHODS, "hirescam", same)
    opened = partial(CheckpointMaps, method="HiResCAM")
    monkeypatch.setattr(module, "hirescam", opened, raising=False)
    found = maps("hirescam")(prepared.views, 2, against)
    nothing = maps("hirescam")(empty(prepared.views), 2, against)
    rival = CHOOSE if against is None else against
    wanted = Session(bundle, "cpu", 1).run([prepared.views], 2, rival).heat
    assert found.keys() == wanted.keys()
    for name, grid in found.items():
        np.testing.assert_allclose(
            grid - nothing[name], wanted[name][0], rtol=1e-3, atol=1e-5, err_msg=name
        )


def test_layercam_by_hand(maps: Callable[[str], CheckpointMaps], prepared: Prepared) -> None:
    """What has a positive gradient, times the activation."""
    found = maps("layercam")
    grids = found(prepared.views, 1, None)
    images = {name: torch.from_numpy(view.pixels)[None] for name, view in prepared.views.items()}
    activations = {
        name: value.detach().requires_grad_()
        for name, value in found.net.activations(images).items()
    }
    logits = found.net.classifier(found.net.embed(activations))[0]
    assert found.net.clean == 0
    (logits[1] - logits[1:].mean()).backward()  # against the mean of the families
    for name, grid in grids.items():
        value, gradient = activations[name], activations[name].grad
        wanted = (gradient.clamp(min=0) * value).sum(dim=1)[0].detach().numpy()
        np.testing.assert_allclose(grid, wanted, rtol=1e-4, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("method", FROM_CHECKPOINT)
def test_every_method_gives_a_map_of_every_view(
    maps: Callable[[str], CheckpointMaps],
    bundle: Bundle,
    prepared: Prepared,
    method: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    found = maps(method)(prepared.views, 1, None)
    again = maps(method)(prepared.views, 1, None)
    other = maps(method)(prepared.views, 2, 0)
    wanted = Session(bundle, "cpu", 1).run([prepared.views]).heat
    for name, grid in found.items():
        assert grid.shape == wanted[name][0].shape
        assert np.isfinite(grid).all()
        np.testing.assert_array_equal(grid, again[name])
    same = all(np.array_equal(grid, other[name]) for name, grid in found.items())
    assert same == (method == "eigencam")  # which knows of no label
    if method == "eigencam":
        assert all(grid.max() >= -grid.min() for grid in found.values())
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_bytes_of_a_window_fade_whole(
    maps: Callable[[str], CheckpointMaps], prepared: Prepared
) -> None:
    """Where Score-CAM takes a window away, the net sees one that is not there."""
    net = maps("scorecam").net
    view = next(view for view in net.views if view.name == "head")
    images = {name: torch.from_numpy(v.pixels)[None] for name, v in prepared.views.items()}
    cut = module._Cut(net, view, images)
    gone = dict(images)
    gone["head"] = torch.zeros_like(images["head"])
    with torch.no_grad():
        torch.testing.assert_close(net.joined(cut(cut.image)), net(images))
        torch.testing.assert_close(net.joined(cut(cut.image * 0)), net(gone))


def test_a_checkpoint_of_another_net(
    run: Path, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(open_maps(run, bundle, FROM_CHECKPOINT)) == set(FROM_CHECKPOINT)
    with pytest.raises(MaltriageError, match="other views or labels"):
        open_maps(run, bundles.load(bundles.resolve(None)), ["layercam"])
    with pytest.raises(MaltriageError, match="no checkpoint"):
        open_maps(tmp_path, bundle, ["layercam"])
    honest = restore.restore_net

    def moved(*arguments: Any) -> Any:
        net = honest(*arguments)
        with torch.no_grad():
            net.heads.weight[1, 0] += 0.5
        return net

    monkeypatch.setattr(restore, "restore_net", moved)
    with pytest.raises(MaltriageError, match="of another net than the model"):
        open_maps(run, bundle, ["layercam"])


def test_explain(run_cli: Any, run: Path, bundle: Bundle, tree: Path) -> None:
    sample = next(iter(sorted(tree.glob("zeus/*.png"))))
    arguments = ("explain", sample, "--model", bundle.path, "--no-verify", "--exit-zero")
    missing = run_cli(*arguments, "--method", "layercam")
    assert (missing.returncode, missing.stdout) == (2, b"")
    assert b"--checkpoint" in missing.stderr
    useless = run_cli(*arguments, "--checkpoint", run)
    assert (useless.returncode, useless.stdout) == (2, b"")
    arguments += ("--checkpoint", run)
    # Importing the library alone takes many seconds where cores are shared.
    shown = run_cli(*arguments, "--method", "layercam", timeout=600)
    assert (shown.returncode, shown.stderr) == (0, b"")
    text = shown.stdout.decode()
    assert "Where the net looked   layercam of " in text
    assert "in a unit of its own" in text
    done = run_cli(*arguments, "--methods", "layercam,hirescam,eigencam", "-f", "json", timeout=600)
    assert done.returncode == 0, done.stderr.decode()
    evidence = json.loads(done.stdout)["evidence"]
    assert (evidence["method"], evidence["additive"]) == ("layercam", False)
    sums = sum(region["contribution"] for region in evidence["regions"]) + evidence["padding"]
    assert sums == pytest.approx(evidence["total"], abs=1e-6)
    assert [heat["method"] for heat in evidence["compared"]["methods"]] == [
        "layercam",
        "hirescam",
        "eigencam",
    ]
    assert len(evidence["compared"]["agreement"]) == 3
