"""Bytes that a net's gradient chooses, held against all others there are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from torch import Tensor, nn  # noqa: E402

from maltriage import bundle as bundles  # noqa: E402
from maltriage.errors import MaltriageError  # noqa: E402
from maltriage.learn.heat.attack import Gradients, open_gradients  # noqa: E402
from maltriage.learn.nets.base import Net  # noqa: E402
from maltriage.learn.nets.evidence import Evidence  # noqa: E402
from maltriage.learn.runs.train import Outcome  # noqa: E402
from maltriage.sample.byteplot import View, make_views  # noqa: E402
from maltriage.sample.views import BodySpec, ViewSpec, WindowSpec  # noqa: E402

BENIGN = 1


class Linear(Net):
    """Logits of two labels that are linear in the pixels of a body."""

    def __init__(self, spec: BodySpec) -> None:
        super().__init__()
        self.views, self.additive = (spec,), False
        self.last = nn.Linear(int(np.prod(spec.shape)), 2)

    @property
    def classifier(self) -> nn.Linear:
        return self.last

    def activations(self, views: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"body": views["body"].float() / 255.0}

    def embed(self, activations: dict[str, Tensor]) -> Tensor:
        return activations["body"].flatten(1)


def margin(net: Net, views: Mapping[str, View]) -> float:
    images = {name: torch.from_numpy(view.pixels)[None] for name, view in views.items()}
    with torch.inference_mode():
        logits = net(images)[0].double()
    others = torch.cat((logits[:BENIGN], logits[BENIGN + 1 :]))
    return float(torch.logsumexp(others, 0) - logits[BENIGN])


def test_no_value_of_a_cell_is_better() -> None:
    """All bytes of a cell one value: of a net that is linear in what they make, the best of all."""
    torch.manual_seed(0)
    spec = BodySpec(size=4, channels=("mean", "zero", "printable", "high"))
    net = Linear(spec).eval()
    # A plot 32 bytes wide, 32 rows: a cell is 8 bytes in each of 8 rows.
    data = np.random.default_rng(1).integers(1, 256, 1024, dtype=np.uint8)
    views = make_views(data.tobytes(), {}, (spec,))
    best, gain = Gradients(net, BENIGN)(views, 768, 1024)  # the last row of cells
    assert (gain > 0).all()
    for column in range(4):
        own = np.arange(768, 1024)[np.arange(256) % 32 // 8 == column]
        (value,) = np.unique(best[own - 768])
        margins = []
        for other in range(256):
            changed = data.copy()
            changed[own] = other
            changed[-1] |= 1
            margins.append(margin(net, make_views(changed.tobytes(), {}, (spec,))))
        assert margins[value] <= min(margins) + 0.01  # pixels are whole numbers


def test_spread_counts_as_its_derivative() -> None:
    spec = BodySpec(size=1, channels=("mean", "spread"))
    net = Linear(spec).eval()
    with torch.no_grad():
        net.last.weight.copy_(torch.tensor([[0.0, 1.0], [0.0, 0.0]]))
    data = np.random.default_rng(1).integers(90, 110, 1024, dtype=np.uint8)
    # More spread means more margin, so every byte is to be the mean of all.
    best, _ = Gradients(net, BENIGN)(make_views(data.tobytes(), {}, (spec,)), 512, 1024)
    (value,) = np.unique(best)
    assert abs(int(value) - data.mean()) <= 1
    with torch.no_grad():
        net.last.weight.neg_()
    best, _ = Gradients(net, BENIGN)(make_views(data.tobytes(), {}, (spec,)), 512, 1024)
    assert np.unique(best) == [255]  # furthest from it


VIEWS: tuple[ViewSpec, ...] = (
    BodySpec(size=16),
    WindowSpec("header", "pe32", length=248, fixed=True),
    WindowSpec("code", "code"),
    WindowSpec("resource", "resource"),
)


@pytest.mark.parametrize("views", [VIEWS, VIEWS[2:], VIEWS[:1]])
def test_a_few_bytes_after_the_gradient_lower_the_margin(views: tuple[ViewSpec, ...]) -> None:
    """Two windows that overlap, one that is absent, or a body alone."""
    torch.manual_seed(3)
    net = Evidence(views, 3).eval()
    data = np.random.default_rng(2).integers(1, 256, 6000, dtype=np.uint8)
    anchors = {"code": 3000, "pe32": 128}
    before = make_views(data.tobytes(), anchors, views)
    gradients = Gradients(net, BENIGN)
    best, gain = gradients(before, 5000, 6000)
    again, _ = gradients(before, 5000, 6000)
    np.testing.assert_array_equal(best, again)
    assert best.shape == gain.shape == (1000,)
    assert (gain >= 0).all()
    changed, opposite = data.copy(), data.copy()
    at = 5000 + np.argsort(-gain)[:100]
    changed[at] = best[at - 5000]
    worst, _ = Gradients(net, 0)(before, 5000, 6000)
    opposite[at] = worst[at - 5000]
    after = margin(net, make_views(changed.tobytes(), anchors, views))
    assert after < margin(net, before)
    # No hook is left behind: the net answers as it did.
    assert margin(net, before) == margin(net, make_views(data.tobytes(), anchors, views))


def test_bytes_in_a_window_are_chosen_by_its_palette() -> None:
    """A net of one window with a palette whose first colour alone says anything."""
    torch.manual_seed(0)
    spec = WindowSpec("code", "code")
    net = Evidence((spec,), 2).eval()
    data = np.random.default_rng(2).integers(1, 256, 3000, dtype=np.uint8)
    views = make_views(data.tobytes(), {"code": 1000}, (spec,))
    with torch.no_grad():
        palette = net.trunks[0].palette.weight
        palette.zero_()
        palette[:, 0] = torch.arange(256) / 255.0
    best, gain = Gradients(net, BENIGN)(views, 500, 3000)
    assert (gain[:500] == 0).all()  # ahead of the window
    assert set(np.unique(best[500:])) <= {0, 255}
    assert (gain[500:2400] > 0).mean() > 0.9


def test_the_net_must_be_the_bundle_s(outcome: Outcome, tmp_path: Path) -> None:
    assert outcome.bundle is not None
    bundle = bundles.load(outcome.bundle)
    found = open_gradients(outcome.bundle.parent, bundle)
    assert found.benign == bundle.card.benign
    with pytest.raises(MaltriageError, match="other views or labels"):
        open_gradients(outcome.bundle.parent, bundles.load(bundles.resolve(None)))
    with pytest.raises(MaltriageError):
        open_gradients(tmp_path, bundle)


def test_the_command(run_cli: Any, outcome: Outcome, tree: Path) -> None:
    assert outcome.bundle is not None
    arguments = ("robustness", outcome.bundle, "--dataset", "folder", "--root", tree, "-j", "1")
    arguments += ("--transform", "append-zeros-1", "--threads", "1")
    arguments += ("--attack", outcome.bundle.parent, "--attack-steps", "2")
    failed = run_cli(*arguments)
    assert (failed.returncode, failed.stdout) == (2, b"")
    assert b"no threshold" in failed.stderr
    clean = ("--calibration", tree / "benign", "--fpr", "0.5")
    done = run_cli(*arguments, *clean, "-f", "json", timeout=600)
    assert done.returncode == 0, done.stderr.decode()
    attack = json.loads(done.stdout)["attack"]
    assert (attack["steps"], attack["share"], attack["least"]) == (2, 0.1, 4096)
    assert attack["files"] > 0
    assert attack["margin_attacked"] <= attack["margin_random"]
    shown = run_cli(*arguments, *clean, timeout=600)
    assert b"bytes chosen by the net's own gradient" in shown.stdout
