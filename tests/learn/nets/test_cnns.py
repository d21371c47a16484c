"""The six byteplot CNNs: their size, their maps, and the graph against PyTorch and grad-cam."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

import onnx  # noqa: E402
import onnxruntime  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from maltriage.errors import MaltriageError  # noqa: E402
from maltriage.learn import nets as registry  # noqa: E402
from maltriage.learn.export import to_onnx  # noqa: E402
from maltriage.learn.heat.cam import ExplainedNet, empty_views, traced  # noqa: E402
from maltriage.learn.nets import NETS, make_net  # noqa: E402
from maltriage.learn.nets.base import Net  # noqa: E402
from maltriage.learn.nets.byteplot import stride_for  # noqa: E402
from maltriage.learn.nets.gibert import ResponseNorm  # noqa: E402
from maltriage.sample.views import WINDOWS, ViewSpec, WindowSpec, byteplot  # noqa: E402
from maltriage.triage.shared_views import Lean  # noqa: E402

LABELS = 5
needs_timm = pytest.mark.skipif(
    importlib.util.find_spec("timm") is None, reason="needs the extra `train`"
)
CODE = tuple(view for view in WINDOWS if view.name == "code")
# (parameters at 64 x 64 with 14 labels, additive)
CNNS: dict[str, tuple[int, bool]] = {
    "gibert": (1_227_774, False),
    "mcnn": (65_110_734, False),
    "imcfn": (35_718_990, False),
    "mcft": (25_614_286, False),
    "densenet": (6_961_934, True),
    "xception": (20_835_062, True),
}
# One of each kind of head is fast: flattened and dense, pooled and dense, additive.
FAST = ("gibert", "mcft", "densenet")


def cases(names: Any) -> list[Any]:
    """Names of nets as parameters, with what each needs; the others are slow."""
    marks: dict[str, list[Any]] = {
        name: ([] if name == "gibert" else [needs_timm])
        + ([] if name in FAST else [pytest.mark.slow])
        for name in names
    }
    return [pytest.param(name, marks=marks[name]) for name in names]


def images(views: tuple[ViewSpec, ...], count: int, seed: int = 0) -> dict[str, Tensor]:
    """Bodies with runs of equal bytes in them, windows that end somewhere."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for view in views:
        shape = (count, *view.shape)
        values = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        if isinstance(view, WindowSpec):
            length = torch.randint(0, view.length, (count, 1), generator=generator)
            exists = torch.arange(view.length) < length
            values = torch.stack([values[:, 0] * exists, exists.to(torch.uint8)], dim=1)
        else:
            side = shape[-1]
            values[:, :, side // 4 : side // 2] = 0
            values[::2, :, : side // 4, side // 3 :] = 204
        found[view.name] = values
    return found


def lively(name: str, views: tuple[ViewSpec, ...]) -> Net:
    """A net of random weights whose logits differ, and whose norms have seen something."""
    torch.manual_seed(0)
    net = make_net(name, views, LABELS)
    for module in net.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=1.5 * module.in_features**-0.5)
            nn.init.normal_(module.bias, std=0.1)
    net.train()
    with torch.no_grad():
        net(images(views, 8, seed=9))
    return net.eval()


@pytest.fixture(scope="module", params=cases(CNNS))
def model(request: pytest.FixtureRequest) -> tuple[Net, ExplainedNet, bytes]:
    """A net at 32 x 32 with a window besides, its explanation, and its graph."""
    net = lively(request.param, (byteplot(32), *CODE))
    explained = ExplainedNet(net, 0)
    return net, explained, to_onnx(explained).SerializeToString()


@pytest.fixture(scope="module")
def exported(model: tuple[Net, ExplainedNet, bytes]) -> tuple[Net, ExplainedNet, Any]:
    """A net, its explanation, and a session of its graph."""
    net, explained, graph = model
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return net, explained, session


def run(session: Any, inputs: dict[str, Tensor], target: Any, against: Any) -> dict[str, Tensor]:
    feed = {name: value.numpy() for name, value in inputs.items()}
    feed |= {"target": np.array(target), "against": np.array(against)}
    feed["threshold"] = np.full(len(target), np.inf, dtype=np.float32)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, map(torch.from_numpy, session.run(names, feed)), strict=True))


def difference(a: Tensor, b: Tensor) -> float:
    """Largest difference, relative to the largest value."""
    return float((a - b).abs().max() / b.abs().max())


@pytest.mark.parametrize("count", [1, 17])
def test_the_graph_gives_what_pytorch_gives(exported: Any, count: int) -> None:
    net, explained, session = exported
    inputs = images(net.views, count)
    target, against = np.arange(count) % LABELS, np.arange(count) % (LABELS + 1) - 1
    found = run(session, inputs, target, against)
    choice = (torch.from_numpy(target), torch.from_numpy(against), torch.zeros(count))
    with torch.no_grad():
        wanted = explained(*inputs.values(), *choice)
    for name, value in zip(explained.output_names, wanted, strict=True):
        assert difference(found[name].float(), value.float()) <= 1e-4, name
    assert ("gradcam_body" in found) == bool(net.unpooled)


def test_the_logits_alone_are_those_of_the_graph(model: Any, exported: Any) -> None:
    """Cut where views meet, with each image worked out once, the graph gives the same logits."""
    net, _, graph = model
    sizes = []

    def opened(part: bytes) -> Any:
        sizes.append(len(onnx.load_from_string(part).graph.node))
        return onnxruntime.InferenceSession(part, providers=["CPUExecutionProvider"])

    lean = Lean(graph, net.views, opened)
    assert len(sizes) == len(net.views) + 1
    assert sum(sizes) < len(onnx.load_from_string(graph).graph.node)
    inputs = images(net.views, 3)
    rows = {"body": np.array([0, 1, 2, 2]), "code": np.array([1, 1, 0, 2])}
    found = lean.run({name: value.numpy() for name, value in inputs.items()}, rows)
    together = {name: inputs[name][rows[name]] for name in inputs}
    wanted = run(exported[2], together, [0, 1, 2, 3], [-1, -1, 0, 1])["logits"]
    np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-5, atol=1e-5)


def test_parts_of_the_account(exported: Any) -> None:
    """Of an empty input all heat is zero and the baseline is the score; sums where additive."""
    net, _, session = exported
    found = run(session, empty_views(net.views, 2), [1, 2], [-1, 0])
    score = torch.stack([found["logits"][0, 1], found["logits"][1, 2] - found["logits"][1, 0]])
    torch.testing.assert_close(found["baseline"], score, rtol=1e-4, atol=1e-5)
    inputs = images(net.views, 4)
    full = run(session, inputs, [3] * 4, [-1] * 4)
    size = sum(full[f"heat_{view.name}"].abs().sum() for view in net.views)
    for view in net.views:
        assert found[f"heat_{view.name}"].abs().max() < 1e-5 * size
    total = full["baseline"] + sum(full[f"heat_{v.name}"].sum(dim=(1, 2)) for v in net.views)
    off = (total - full["logits"][:, 3]).abs().max()
    assert (off < 1e-4 * size) == net.additive


@pytest.mark.parametrize("method", ["HiResCAM", "GradCAM"])
def test_the_maps_are_those_of_pytorch_grad_cam(exported: Any, method: str) -> None:
    """On the same layer, with the centred score as target; before and after their rescaling."""
    cams = pytest.importorskip("pytorch_grad_cam", reason="needs the extra `train`")
    from pytorch_grad_cam.utils.image import scale_cam_image

    net, _, session = exported
    inputs = images(net.views, 3)
    layer = net.get_submodule(net.target_layer)

    class Picture(nn.Module):
        """A net of its body alone, the window given."""

        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, body: Tensor) -> Tensor:
            logits: Tensor = self.net({"body": body, "code": inputs["code"][: len(body)]})
            return logits

    def centred(logits: Tensor) -> Tensor:
        return logits[2] - logits.mean()

    def raw(body: Tensor) -> Tensor:
        with getattr(cams, method)(Picture().eval(), [layer]) as cam:
            outputs = cam.activations_and_grads(body)
            sum(centred(row) for row in outputs).backward()
            grabbed = cam.activations_and_grads
            maps = cam.get_cam_image(
                body,
                layer,
                [centred] * len(body),
                grabbed.activations[0].numpy(),
                grabbed.gradients[0].numpy(),
                eigen_smooth=False,
            )
        return torch.from_numpy(np.ascontiguousarray(maps))

    name = "gradcam_body" if method == "GradCAM" and net.unpooled else "heat_body"
    found = run(session, inputs, [2] * 3, [-1] * 3)[name]
    wanted, empty = raw(inputs["body"]), raw(empty_views(net.views)["body"])
    # Before the empty input's map is subtracted ...
    assert difference(found + empty, wanted) <= 1e-4
    # ... and as they show it: ReLU, then from 0 to 1 for each picture.
    ours = scale_cam_image(np.maximum((found + empty).numpy(), 0))
    theirs = scale_cam_image(np.maximum(wanted.numpy(), 0))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("name", cases(CNNS))
def test_parameters_and_maps(name: str) -> None:
    """The maps have 8 x 8 cells at 64 pixels, and no fewer in larger pictures."""
    parameters, additive = CNNS[name]
    net = make_net(name, (byteplot(64),), 14).eval()
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert net.additive == additive
    with torch.no_grad():
        (activation,) = net.activations(empty_views(net.views)).values()
        assert activation.shape[2:] == (8, 8)
        assert net.classifier(net.embed({"body": activation})).shape == (1, 14)


def test_a_cell_of_gibert_sees_24_pixels() -> None:
    net = make_net("gibert", (byteplot(64),), 2).eval()
    for parameter in net.parameters():
        nn.init.uniform_(parameter, 0.01, 0.02)  # no ReLU may cut a path
    body = torch.full((1, 1, 64, 64), 130, dtype=torch.uint8)
    with torch.no_grad():
        before = net.activations({"body": body})["body"][0, :, 4, 4]
        seen = []
        for row in range(64):
            changed = body.clone()
            changed[0, :, row] = 255
            after = net.activations({"body": changed})["body"][0, :, 4, 4]
            seen += [] if torch.equal(before, after) else [row]
    assert (seen[0], seen[-1]) == (36 - 12, 35 + 12)


def test_strides() -> None:
    assert [stride_for(size, 32) for size in (16, 64, 120, 128, 248, 256, 1024)] == [
        *(8, 8, 8, 16, 16, 32, 32)
    ]
    assert [stride_for(size, 16) for size in (64, 128, 256)] == [8, 16, 16]


def test_response_norm_is_pytorch_s() -> None:
    x = torch.randn(2, 20, 3, 4) * 30
    plain = nn.LocalResponseNorm(9, alpha=1e-3, beta=0.75, k=1.0)
    torch.testing.assert_close(ResponseNorm(20)(x), plain(x))


@needs_timm
def test_equal_values_share_the_gradient_of_a_maximum() -> None:
    from maltriage.learn.nets.mcnn import SharingMaxPool

    pool = SharingMaxPool()
    x = torch.rand(3, 4, 6, 8)
    # Values apart by more than the tie: an ordinary max-pool.
    x = (x * 50).round() / 50 + torch.tensor([[0.0, 0.1], [0.2, 0.3]]).repeat(3, 4) * 10
    torch.testing.assert_close(pool(x), nn.functional.max_pool2d(x, 2))
    flat = torch.ones(1, 1, 2, 2, requires_grad=True)
    pool(flat).sum().backward()
    torch.testing.assert_close(flat.grad, torch.full((1, 1, 2, 2), 0.25))
    dead = torch.zeros(1, 1, 4, 4, requires_grad=True)
    pool(dead).sum().backward()
    assert dead.grad is not None
    assert dead.grad.isfinite().all()


@needs_timm
def test_colours_are_jet() -> None:
    from matplotlib import colormaps

    from maltriage.learn.nets.imcfn import jet

    # Theirs has the same trapezoids with knots a little elsewhere.
    wanted = torch.from_numpy(colormaps["jet"](np.arange(256))[:, :3]).float()
    assert (jet() - wanted).abs().max() < 0.15
    assert (jet() - wanted).abs().mean() < 0.03


class Convolved(Net):
    """A net whose head has convolutions, plain, strided and in groups, and more to say."""

    additive = False
    target_layer = "stem"

    def __init__(self) -> None:
        super().__init__()
        self.views = (byteplot(16),)
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.first = nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.second = nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=2)
        self.last = nn.Linear(6, LABELS)

    @property
    def classifier(self) -> nn.Linear:
        return self.last

    def activations(self, views: dict[str, Tensor]) -> dict[str, Tensor]:
        body = views["body"].float() / 255
        return {"body": self.stem(body), "beside": body.mean(dim=(2, 3))}

    def embed(self, activations: dict[str, Tensor]) -> Tensor:
        x = torch.tanh(self.first(torch.tanh(activations["body"])))
        return torch.tanh(self.second(x)).mean(dim=(2, 3)) * activations["beside"]

    def receptive_field_bytes(self) -> dict[str, int]:
        return {}


def test_a_head_of_convolutions_and_what_it_needs_besides() -> None:
    from maltriage.learn.export import check

    torch.manual_seed(0)
    explained = ExplainedNet(Convolved(), None)
    check(explained, to_onnx(explained).SerializeToString())
    inputs = images(explained.net.views, 4)
    choice = (torch.tensor([0, 1, 2, 3]), torch.tensor([-1, 0, -1, 1]), torch.zeros(4))
    for a, b in zip(
        traced(explained)(*inputs.values(), *choice),
        explained(*inputs.values(), *choice),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_a_map_of_another_net_fails_the_check() -> None:
    from maltriage.learn.export import check

    net = lively("gibert", (byteplot(16),))
    model = to_onnx(ExplainedNet(net, 0)).SerializeToString()

    class Moved(ExplainedNet):
        def answer(self, *inputs: Any) -> Any:
            logits, body, *rest = super().answer(*inputs)
            return logits, body.flip(1), *rest

    with pytest.raises(MaltriageError, match="export check failed: heat_body differs"):
        check(Moved(net, 0), model)


def test_what_a_cnn_cannot_read() -> None:
    for views in ((CODE[0],), (byteplot(16), WINDOWS[0])):
        with pytest.raises(MaltriageError, match="reads the body, and windows that are not fixed"):
            make_net("gibert", views, 2)


def test_without_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MaltriageError, match=r"net mcft needs timm, .*: pip install"):
        make_net("mcft", (byteplot(16),), 2)


def test_the_registry_imports_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, maltriage.learn.nets as n; assert n.NETS; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert registry.entry("gibert").views == ("byteplot",)


def test_all_cnns_are_tried_and_all_nets_documented() -> None:
    assert set(CNNS) == {name for name, entry in NETS.items() if entry.body}
    text = (Path(__file__).parents[3] / "docs" / "reference" / "nets.md").read_text(
        encoding="utf-8"
    )
    assert [name for name in NETS if f"| `{name}` |" not in text] == []
