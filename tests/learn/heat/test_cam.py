"""The explanation in the graph: it adds up, it is the gradient's, and emptiness is zero."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from learn.heat.gradients import gradient_times_activation  # noqa: E402
from sample.chosen import default_views  # noqa: E402
from torch import Tensor  # noqa: E402

from maltriage.learn.heat.cam import ExplainedNet, empty_views  # noqa: E402
from maltriage.learn.nets import make_net  # noqa: E402
from maltriage.learn.nets.base import Net  # noqa: E402
from maltriage.learn.nets.evidence import TableTrunk  # noqa: E402
from maltriage.sample.views import BodySpec, WindowSpec  # noqa: E402

LABELS = 5
VIEWS = default_views(32)


def images(count: int, seed: int = 0) -> dict[str, Tensor]:
    """Random images; windows are full, empty or end somewhere."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for view in VIEWS:
        shape = (count, *view.shape)
        values = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        if isinstance(view, WindowSpec):
            length = torch.randint(-1000, 6000, (count, 1), generator=generator)
            exists = torch.arange(view.length) < length
            values = torch.stack([values[:, 0] * exists, exists.to(torch.uint8)], dim=1)
        found[view.name] = values
    return found


@pytest.fixture(scope="module")
def net() -> Net:
    """A net with lively weights and batch norms that have seen something."""
    torch.manual_seed(0)
    net = make_net("evidence", VIEWS, LABELS)
    for parameter in (net.heads.weight, net.heads.bias):
        torch.nn.init.normal_(parameter)
    for trunk in net.trunks:
        if isinstance(trunk, TableTrunk):
            torch.nn.init.normal_(trunk.table)
            torch.nn.init.normal_(trunk.bias)
    net.train()
    with torch.no_grad():
        for seed in range(3):
            net(images(16, seed))
    return net.eval()


def explain(
    net: Net,
    inputs: dict[str, Tensor],
    target: int | list[int] = -1,
    against: int | list[int] = -1,
    threshold: float = float("inf"),
    benign: int | None = 0,
) -> dict[str, Tensor]:
    count = len(inputs["body"])
    module = ExplainedNet(net, benign)
    choice = [torch.tensor(value).expand(count).contiguous() for value in (target, against)]
    with torch.inference_mode():
        outputs = module(*inputs.values(), *choice, torch.full((count,), threshold))
    return dict(zip(module.output_names, outputs, strict=True))


def heats(found: dict[str, Tensor]) -> list[Tensor]:
    return [value for name, value in found.items() if name.startswith("heat_")]


def test_logits_are_centred_and_the_net_s(net: Net) -> None:
    inputs = images(6)
    found = explain(net, inputs)
    with torch.inference_mode():
        plain = net(inputs)
    torch.testing.assert_close(found["logits"].sum(dim=1), torch.zeros(6), rtol=0, atol=1e-4)
    torch.testing.assert_close(found["logits"].softmax(1), plain.softmax(1))


@pytest.mark.parametrize("seed", range(4))
def test_the_account_adds_up(net: Net, seed: int) -> None:
    count = 12
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(0, LABELS, (count,), generator=generator)
    against = torch.randint(-1, LABELS, (count,), generator=generator)
    found = explain(net, images(count, seed), target.tolist(), against.tolist())
    logits = found["logits"].double()
    score = logits[torch.arange(count), target]
    rival = logits[torch.arange(count), against.clamp(min=0)]
    score = score - torch.where(against >= 0, rival, torch.zeros(()))
    account = [heat.double().flatten(1) for heat in heats(found)]
    account.append(found["baseline"].double()[:, None])
    parts = torch.cat(account, dim=1)
    assert ((parts.sum(1) - score).abs() <= 1e-4 * parts.abs().sum(1)).all()
    assert torch.equal(found["explained"], torch.stack([target, against], dim=1))


@pytest.fixture
def asking_two(net: Net) -> Iterator[Net]:
    """The net with label 0 for clean files."""
    net.clean = 0
    yield net
    net.clean = None


def test_two_questions_are_one_softmax(asking_two: Net) -> None:
    """P(malware) is the logistic function of its log odds, and families share it by softmax."""
    inputs = images(6)
    with torch.inference_mode():
        scores = asking_two.classifier(asking_two.embed(asking_two.activations(inputs)))
        plain = asking_two(inputs).softmax(1)
    torch.testing.assert_close(plain[:, 0], scores[:, 0].sigmoid())
    families = scores[:, 1:].softmax(1) * (1 - plain[:, :1])
    torch.testing.assert_close(plain[:, 1:], families)
    found = explain(asking_two, inputs)["logits"]
    torch.testing.assert_close(found.softmax(1), plain)
    torch.testing.assert_close(found[:, 1:].sum(1), torch.zeros(6), rtol=0, atol=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_each_of_two_questions_has_its_account(asking_two: Net, seed: int) -> None:
    count = 24
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(0, LABELS, (count,), generator=generator)
    against = torch.randint(-1, LABELS, (count,), generator=generator)
    found = explain(asking_two, images(count, seed), target.tolist(), against.tolist())
    logits = found["logits"].double()
    odds = logits[:, 1:].logsumexp(1) - logits[:, 0]
    for row, (label, rival) in enumerate(zip(target.tolist(), against.tolist(), strict=True)):
        if label == rival:
            score = 0.0
        elif label == 0:
            score = -odds[row]
        elif rival == 0:
            score = odds[row]  # of whatever family
        else:
            score = logits[row, label] - (logits[row, rival] if rival > 0 else 0.0)
        parts = torch.cat([heat[row].double().flatten() for heat in heats(found)])
        total = parts.sum() + found["baseline"][row]
        assert abs(total - score) <= 1e-4 * parts.abs().sum() + 1e-6


def test_emptiness_scores_zero(net: Net) -> None:
    found = explain(net, empty_views(VIEWS, 2), [0, 3], [-1, 0])
    for heat in heats(found):
        assert heat.abs().max() < 1e-6
    logits = found["logits"]
    score = torch.stack([logits[0, 0], logits[1, 3] - logits[1, 0]])
    torch.testing.assert_close(found["baseline"], score)


def test_what_lies_behind_the_end_of_a_window_has_no_heat(net: Net) -> None:
    inputs = images(1)
    inputs["code"] = torch.ones(1, 2, 4096, dtype=torch.uint8) * 9
    inputs["code"][0, 1] = (torch.arange(4096) < 1000).to(torch.uint8)
    heat = explain(net, inputs, 2)["heat_code"][0, 0]
    # A cell sees 60 bytes to each side of its middle: the last that sees a byte is 32.
    assert heat[33:].abs().max() < 1e-6
    assert heat[:33].abs().min() > 1e-6


def test_it_is_the_gradient_times_the_activation(net: Net) -> None:
    inputs, empty = images(4), empty_views(VIEWS, 4)
    target, against = [0, 1, 4, 2], [-1, 0, 3, -1]
    score = torch.nn.functional.one_hot(torch.tensor(target), LABELS).float()
    for row, rival in enumerate(against):
        score[row] -= 1 / LABELS if rival < 0 else 0.0
        if rival >= 0:
            score[row, rival] -= 1.0
    found = explain(net, inputs, target, against)
    full = gradient_times_activation(net, inputs, score)
    nothing = gradient_times_activation(net, empty, score)
    for view in VIEWS:
        torch.testing.assert_close(
            found[f"heat_{view.name}"], full[view.name] - nothing[view.name], rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("method", ["HiResCAM", "GradCAM"])
def test_it_is_that_of_pytorch_grad_cam(net: Net, method: str) -> None:
    """Before ReLU and rescaling, and up to what an empty input gives."""
    cams = pytest.importorskip("pytorch_grad_cam", reason="needs the extra `train`")
    for number, view in enumerate(VIEWS):
        if not isinstance(view, BodySpec) and view.name != "code":
            continue

        class OneView(torch.nn.Module):
            def __init__(self, others: dict[str, Tensor], name: str) -> None:
                super().__init__()
                self.net, self.others, self.name = net, others, name

            def forward(self, image: Tensor) -> Tensor:
                return self.net(self.others | {self.name: image})

        class Centred:
            def __init__(self, label: int) -> None:
                self.label = label

            def __call__(self, logits: Tensor) -> Tensor:
                return logits[self.label] - logits.mean()

        def raw(inputs: dict[str, Tensor]) -> Tensor:
            model = OneView(inputs, view.name).eval()  # noqa: B023
            layer = net.trunks[number]  # noqa: B023
            with getattr(cams, method)(model, [layer]) as cam:
                image = inputs[view.name]  # noqa: B023
                outputs = cam.activations_and_grads(image)
                sum(Centred(3)(row) for row in outputs).backward()
                grabbed = cam.activations_and_grads
                maps = cam.get_cam_image(
                    image,
                    layer,
                    [Centred(3)] * len(image),
                    grabbed.activations[0].numpy(),
                    grabbed.gradients[0].numpy(),
                    eigen_smooth=False,
                )
            return torch.from_numpy(maps)

        inputs = images(3)
        wanted = raw(inputs) - raw(inputs | {view.name: empty_views(VIEWS, 3)[view.name]})
        found = explain(net, inputs, 3)[f"heat_{view.name}"]
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def choose(logits: list[float], threshold: float, benign: int | None = 0) -> list[int]:
    net = make_net("evidence", VIEWS, len(logits))
    module = ExplainedNet(net, benign)
    unset = torch.tensor([-1])
    return module._choose(torch.tensor([logits]), unset, unset, torch.tensor([threshold]))[
        0
    ].tolist()


def test_the_default_choice() -> None:
    inf = float("inf")
    assert choose([3.0, 1.0, 2.0], inf) == [0, -1]  # benign on top, nothing flagged
    # The margin is log(e + e^2) - 3 = -0.687.
    assert choose([3.0, 1.0, 2.0], -0.68) == [0, -1]
    assert choose([3.0, 1.0, 2.0], -0.69) == [2, 0]
    assert choose([1.0, 3.0, 2.0], inf) == [1, -1]
    assert choose([1.0, 3.0, 2.0], 0.0) == [1, 0]
    assert choose([2.0, 3.0, 1.0], -inf, benign=2) == [1, 2]
    assert choose([1.0, 3.0, 2.0], -inf, benign=None) == [1, -1]
    assert choose([1.0, 3.0, 2.0], float("nan")) == [1, -1]


def test_a_named_target_is_taken_as_it_is(net: Net) -> None:
    found = explain(net, images(3), [4, 0, 2], [-1, 2, 0], threshold=float("-inf"))
    assert found["explained"].tolist() == [[4, -1], [0, 2], [2, 0]]
