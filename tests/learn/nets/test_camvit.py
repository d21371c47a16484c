"""Net `camvit`: tokens of all views, some of them left out, and its graph in ONNX Runtime."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")
pytest.importorskip("timm", reason="needs the extra `train`")

import onnxruntime  # noqa: E402
from learn.heat.gradients import gradient_times_activation  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from maltriage.errors import MaltriageError  # noqa: E402
from maltriage.learn.export import check, to_onnx  # noqa: E402
from maltriage.learn.heat.cam import ExplainedNet, empty_views  # noqa: E402
from maltriage.learn.heat.chooser import Chooser, LabelChooser  # noqa: E402
from maltriage.learn.nets import make_net  # noqa: E402
from maltriage.learn.nets.camvit import BESIDE, EMBED, KEPT, CamViT  # noqa: E402
from maltriage.learn.nets.flops import count_flops  # noqa: E402
from maltriage.sample.views import BodySpec, ViewSpec, WindowSpec, byteplot  # noqa: E402

pytestmark = pytest.mark.usefixtures("shallow")

LABELS = 4
PLAIN: tuple[ViewSpec, ...] = (byteplot(32),)
VIEWS: tuple[ViewSpec, ...] = (
    BodySpec(size=32),
    WindowSpec("header", "pe32", length=248, fixed=True),
    WindowSpec("code", "code", length=1024),
)
GUIDES = ("none", "fixed", "evidence", "gibert")


def images(views: tuple[ViewSpec, ...], count: int, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for view in views:
        shape = (count, *view.shape)
        found[view.name] = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        if isinstance(view, WindowSpec):
            length = torch.randint(0, view.length + 1, (count, 1), generator=generator)
            exists = torch.arange(view.length) < length
            found[view.name][:, 1] = exists
            found[view.name][:, 0] *= exists
    return found


def lively(name: str, views: tuple[ViewSpec, ...], seed: int) -> Any:
    """A net with weights that make something of its input."""
    torch.manual_seed(seed)
    net = make_net(name, views, LABELS)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.dim() > 1:
                parameter.mul_(1.5)
        net.train()
        net(images(views, 16))  # batch norms see something
    return net.eval()


def camvit(guide: str, views: tuple[ViewSpec, ...] = PLAIN) -> CamViT:
    net: CamViT = lively("camvit", views, 0)
    if guide == "fixed":
        net.restrict(range(1, net.tokens, 2))
    elif guide == "label":
        kept = torch.randn(LABELS, net.tokens, generator=torch.Generator().manual_seed(2))
        kept = kept.topk(9, dim=1).indices.tolist()
        net.choose_by(LabelChooser([lively("evidence", views, 1)], views, net.grids, kept), 9)
    elif guide == "weighted":
        net.weigh_by(Chooser([lively("evidence", views, 1)], views, net.grids, "hirescam"))
    elif guide != "none":
        net.choose_by(Chooser([lively(guide, views, 1)], views, net.grids, "hirescam"), 9)
    return net.eval()


def test_shapes() -> None:
    net = camvit("none", VIEWS)
    assert net.grids == {"body": (4, 4), "header": (1, 31), "code": (1, 8)}
    found = net.activations(images(VIEWS, 2))
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "body": (2, EMBED, 4, 4),
        "header": (2, EMBED, 1, 31),
        "code": (2, EMBED, 1, 8),
        BESIDE: (2, 55, EMBED),
    }
    assert net.embed(found).shape == (2, EMBED)
    assert net.receptive_field_bytes() == {"header": 248, "code": 1024}
    assert dict(net.named_modules())[net.target_layer] is net.blocks[-1].norm1


@pytest.mark.parametrize("views", [PLAIN, VIEWS])
def test_all_tokens_kept_is_the_plain_net(views: tuple[ViewSpec, ...]) -> None:
    net, inputs = camvit("none", views), images(views, 3)
    with torch.no_grad():
        plain = net(inputs)
        net.restrict(range(net.tokens))
        torch.testing.assert_close(net(inputs), plain)


def test_what_is_left_out_is_not_seen_and_not_computed() -> None:
    net, inputs = camvit("none", VIEWS), images(VIEWS, 2)
    whole = count_flops(net)
    kept = [0, 5, 16, 17, 46, 54]  # of the body, the header, the code
    net.restrict(kept)
    assert net.activations(inputs)[BESIDE].shape == (2, 6, EMBED)
    assert count_flops(net) < 0.15 * whole
    with torch.no_grad():
        before = net(inputs)
        changed = {name: image.clone() for name, image in inputs.items()}
        changed["body"][:, :, :8, 8:] = 3  # tokens 1, 2, 3
        changed["header"][:, :, 16:240] = 1
        torch.testing.assert_close(net(changed), before, rtol=0, atol=0)
        changed["body"][:, :, 8:16, 8:16] = 3  # token 5
        assert not torch.allclose(net(changed), before)


def test_a_mask_is_some_of_the_tokens() -> None:
    for kept in ([], [0, 0], [-1], [16]):
        with pytest.raises(ValueError, match="tokens to keep"):
            camvit("none").restrict(kept)
    with pytest.raises(MaltriageError, match="into patches of 128"):
        make_net("camvit", (WindowSpec("code", "code", length=1000),), 2)


class Fixed(nn.Module):
    """A chooser with scores of its own."""

    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.scores = scores

    def forward(self, views: dict[str, Tensor]) -> Tensor:
        return self.scores


def test_each_image_has_tokens_of_its_own() -> None:
    net, inputs = camvit("none", VIEWS), images(VIEWS, 2)
    kept = [[2, 20, 50], [0, 1, 54]]
    scores = torch.zeros(2, net.tokens).scatter(1, torch.tensor(kept), 1.0)
    with torch.no_grad():
        wanted = []
        for row, tokens in enumerate(kept):
            fixed = camvit("none", VIEWS)
            fixed.restrict(tokens)
            wanted.append(fixed({name: image[row : row + 1] for name, image in inputs.items()}))
        net.choose_by(Fixed(scores), 3)
        torch.testing.assert_close(net(inputs), torch.cat(wanted))
        found = net.activations(inputs)
    assert found[KEPT].sort(dim=1).values.tolist() == kept
    seen = torch.cat([part.flatten(1) for part in net.seen(found).values()], dim=1)
    assert torch.equal(seen, scores)


def test_each_image_has_the_tokens_of_the_label_that_its_teacher_gives_it() -> None:
    net, inputs = camvit("label"), images(PLAIN, 40)
    chooser = net.chooser
    assert isinstance(chooser, LabelChooser)
    with torch.no_grad():
        labels = chooser.explained[0].net(inputs).argmax(dim=1)  # type: ignore[operator]
        kept = net.activations(inputs)[KEPT].sort(dim=1).values
    assert len(labels.unique()) > 1
    for label in labels.unique():
        own = kept[labels == label]
        assert (own == own[0]).all()
        assert own[0].tolist() == sorted(chooser.kept[label].tolist())
    assert all(len(row.unique()) == net.tokens for row in chooser(inputs))


class Warm(nn.Module):
    """A judge with heat of its own."""

    def __init__(self, heat: Tensor) -> None:
        super().__init__()
        self.warmth = heat

    def heat(self, views: dict[str, Tensor]) -> Tensor:
        return self.warmth


def test_tokens_without_heat_weigh_one_and_hot_ones_two() -> None:
    net, inputs = camvit("none", VIEWS), images(VIEWS, 2)
    heat = torch.zeros(2, net.tokens)
    with torch.no_grad():
        plain = net(inputs)
        tokens, _ = net._look(inputs)
        net.weigh_by(Warm(heat))
        torch.testing.assert_close(net(inputs), plain)
        heat[0, 3], heat[1, 20] = 1e3, -1e3
        weighed, chosen = net._look(inputs)
        assert chosen is None
        wanted = torch.ones(2, net.tokens, 1)
        wanted[0, 3], wanted[1, 20] = 2.0, 0.0
        torch.testing.assert_close(weighed, tokens * wanted)
        assert not torch.allclose(net(inputs), plain)


def test_attention_is_what_the_last_block_computes() -> None:
    net, inputs = camvit("none", VIEWS), images(VIEWS, 3)
    seen: list[Tensor] = []
    net.blocks[-1].attn.attn_drop.register_forward_hook(lambda _, __, out: seen.append(out))
    with torch.no_grad():
        activations = net.activations(inputs)
        net.embed(activations)
        found = net.attention(activations)
    torch.testing.assert_close(found, seen[0].mean(dim=(1, 2)))
    torch.testing.assert_close(found.sum(dim=1), torch.ones(3))


def test_a_lent_chooser_is_no_part_of_the_net() -> None:
    net, inputs = camvit("none"), images(PLAIN, 3)
    with torch.no_grad():
        plain = net(inputs)
        guided = camvit("evidence")
        net.lend(guided.chooser, 9)
        torch.testing.assert_close(net(inputs), guided(inputs))
        assert net.state_dict().keys() == camvit("none").state_dict().keys()
        net.lend(None)
        torch.testing.assert_close(net(inputs), plain, rtol=0, atol=0)


def explain(net: CamViT, inputs: dict[str, Tensor], target: int) -> dict[str, Tensor]:
    module, count = ExplainedNet(net, 0), len(next(iter(inputs.values())))
    choice = torch.full((count,), target), torch.full((count,), -1), torch.zeros(count)
    with torch.no_grad():
        return dict(zip(module.output_names, module(*inputs.values(), *choice), strict=True))


@pytest.mark.parametrize("guide", ["fixed", "evidence"])
def test_tokens_that_are_left_out_have_no_heat(guide: str) -> None:
    net, inputs = camvit(guide), images(PLAIN, 5)
    found = explain(net, inputs, 2)
    with torch.no_grad():
        zero = net.activations(inputs)["body"].abs().sum(dim=1) == 0
    assert zero.flatten(1).sum(dim=1).tolist() == [16 - (8 if guide == "fixed" else 9)] * 5
    for name in ("heat_body", "gradcam_body"):
        assert (found[name][zero] == 0).all()
        assert (found[name][~zero] != 0).all()


def test_emptiness_has_no_heat() -> None:
    for guide in (*GUIDES, "label", "weighted"):
        found = explain(camvit(guide), empty_views(PLAIN, 2), 1)
        assert found["heat_body"].abs().max() < 1e-6


@pytest.mark.parametrize("guide", GUIDES)
@pytest.mark.parametrize("method", ["HiResCAM", "GradCAM"])
def test_the_maps_are_those_of_pytorch_grad_cam(guide: str, method: str) -> None:
    """On the same layer, before ReLU and rescaling and up to what an empty input gives."""
    cams = pytest.importorskip("pytorch_grad_cam", reason="needs the extra `train`")
    net, inputs, empty = camvit(guide), images(PLAIN, 3), empty_views(PLAIN, 3)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, image: Tensor) -> Tensor:
            return self.net({"body": image})

    class Centred:
        def __call__(self, logits: Tensor) -> Tensor:
            return logits[3] - logits.mean()

    def raw(image: Tensor) -> Tensor:
        """On the grid of tokens, zero where they are left out."""
        layer = dict(net.named_modules())[net.target_layer]
        with getattr(cams, method)(Model().eval(), [layer], reshape_transform=_columns) as cam:
            outputs = cam.activations_and_grads(image)
            sum(Centred()(row) for row in outputs).backward()
            grabbed = cam.activations_and_grads
            maps = cam.get_cam_image(
                *(image, layer, [Centred()] * len(image)),
                grabbed.activations[0].numpy(),
                grabbed.gradients[0].numpy(),
                eigen_smooth=False,
            )
        maps = torch.from_numpy(maps).flatten(1)
        with torch.no_grad():
            found = net.activations({"body": image})
        kept = found.get(KEPT)
        if kept is None:
            kept = torch.arange(net.tokens) if net.fixed is None else net.kept
            kept = kept.expand(len(image), -1)
        if method == "GradCAM":  # its mean gradient is over what was kept alone
            maps = maps * (maps.shape[1] / net.tokens)
        whole = torch.zeros(len(image), net.tokens).scatter(1, kept, maps)
        return whole.reshape(-1, 4, 4)

    name = "heat_body" if method == "HiResCAM" else "gradcam_body"
    seen = explain(net, inputs, 3)[name] != 0
    wanted = (raw(inputs["body"]) - raw(empty["body"])) * seen
    torch.testing.assert_close(explain(net, inputs, 3)[name], wanted, rtol=1e-4, atol=1e-6)
    if method == "HiResCAM":
        score = nn.functional.one_hot(torch.full((3,), 3), LABELS) - 1 / LABELS
        torch.testing.assert_close(
            gradient_times_activation(net, inputs, score)["body"],
            raw(inputs["body"]),
            rtol=1e-4,
            atol=1e-6,
        )


def _columns(tensor: Tensor) -> Tensor:
    """Tokens [B, k, D] as a picture of one row."""
    return tensor.transpose(1, 2).unsqueeze(2)


@pytest.mark.parametrize("guide", ["none", "fixed", "evidence", "label", "weighted"])
def test_the_exported_graph_gives_what_pytorch_gives(guide: str) -> None:
    """At batches of 1 and 17 (`check`): empty, random and these images."""
    explained = ExplainedNet(camvit(guide), 0)
    exported = to_onnx(explained)
    model = exported.SerializeToString()
    check(explained, model, images(PLAIN, 17, seed=5))
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    shape = session.get_outputs()[1].shape
    assert shape[1:] == [4, 4]
    # A mask is a constant of a smaller graph.
    names = {tuple(tensor.dims) for tensor in exported.graph.initializer if tensor.data_type == 7}
    assert ((8,) in names) == (guide == "fixed")
    other = ExplainedNet(camvit("none" if guide != "none" else "fixed"), 0)
    with pytest.raises(MaltriageError, match="export check failed"):
        check(other, model)


def test_all_views_in_one_graph() -> None:
    net = camvit("none", VIEWS)
    teachers = [lively("evidence", VIEWS, 1), lively("gibert", PLAIN, 2)]
    net.choose_by(Chooser(teachers, VIEWS, net.grids, "gradcam"), 20)
    explained = ExplainedNet(net, None)
    check(explained, to_onnx(explained).SerializeToString(), images(VIEWS, 17))
