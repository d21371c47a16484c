"""Net `evidence`: what a cell sees, and what is no byte of the file says nothing."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from maltriage.errors import MaltriageError  # noqa: E402
from maltriage.learn.cam import empty_views  # noqa: E402
from maltriage.learn.nets import make_net  # noqa: E402
from maltriage.learn.nets.evidence import BodyTrunk, WindowTrunk  # noqa: E402
from maltriage.sample.views import BodySpec, WindowSpec, default_views  # noqa: E402


def test_unknown_net() -> None:
    with pytest.raises(MaltriageError, match=r"no such net: vgg \(known: evidence\)"):
        make_net("vgg", default_views(), 3)


def test_shapes() -> None:
    net = make_net("evidence", default_views(64), 14).eval()
    activations = net.activations(empty_views(net.views, 2))
    assert activations["body"].shape == (2, 96, 8, 8)
    assert {tuple(a.shape) for n, a in activations.items() if n != "body"} == {(2, 96, 1, 128)}
    assert net.embed(activations).shape == (2, 7 * 96)
    assert net(empty_views(net.views, 2)).shape == (2, 14)
    assert 500_000 < sum(p.numel() for p in net.parameters()) < 1_100_000


@pytest.mark.parametrize("cell", [3, 60, 124])
def test_a_cell_of_a_window_sees_121_bytes_around_its_own(cell: int) -> None:
    trunk = WindowTrunk().eval()
    torch.nn.init.uniform_(trunk.palette.weight, 0.5, 1.0)
    for parameter in trunk.layers.parameters():
        torch.nn.init.uniform_(parameter, 0.01, 0.1)  # no ReLU may cut a path
    window = torch.ones(1, 2, 4096, dtype=torch.uint8)
    seen = []
    before = trunk(window)[0, :, 0, cell]
    for byte in range(32 * cell - 80, 32 * cell + 112):
        changed = window.clone()
        changed[0, 1, byte] = 0
        if not torch.equal(trunk(changed)[0, :, 0, cell], before):
            seen.append(byte)
    net = make_net("evidence", (WindowSpec("head", "head"),), 2)
    assert net.receptive_field_bytes() == {"head": 121}
    assert seen == list(range(seen[0], seen[0] + 121))
    assert (seen[0] + seen[-1]) // 2 == 32 * cell + 16  # the middle of the cell's own bytes


def test_a_cell_of_the_body_looks_around_its_middle() -> None:
    trunk = BodyTrunk(BodySpec(size=64)).eval()
    for parameter in trunk.parameters():
        torch.nn.init.uniform_(parameter, 0.01, 0.1)
    body = torch.full((1, 5, 64, 64), 100, dtype=torch.uint8)
    before = trunk(body)[0, :, 4, 4]
    seen = []
    for row in range(64):
        changed = body.clone()
        changed[0, :, row] = 120
        if not torch.equal(trunk(changed)[0, :, 4, 4], before):
            seen.append(row)
    assert (seen[0], seen[-1]) == (36 - 23, 36 + 23)


def test_what_does_not_exist_has_no_value() -> None:
    trunk = WindowTrunk().eval()
    window = torch.randint(0, 256, (2, 2, 4096), dtype=torch.uint8)
    window[:, 1] = (torch.arange(4096) < 1000).to(torch.uint8)
    other = window.clone()
    other[:, 0, 1000:] = 7
    torch.testing.assert_close(trunk(window), trunk(other), rtol=0, atol=0)
    other[:, 1, 1000:] = 1  # a byte of value 7 is something else than no byte
    assert not torch.allclose(trunk(window), trunk(other))


def test_views_are_dropped_in_training_only_and_whole() -> None:
    net = make_net("evidence", default_views(16), 3)
    net.dropout.p = 0.0
    ones = {v.name: torch.ones(400, 96, 1, 2) for v in net.views}
    features = net.train().embed(ones).reshape(400, 7, 96)
    assert (features.amin(dim=2) == features.amax(dim=2)).all()
    torch.testing.assert_close(features.unique(), torch.tensor([0.0, 1 / 0.85]))
    assert 0.11 < float((features[:, :, 0] == 0).float().mean()) < 0.19
    assert (net.eval().embed(ones) == 1.0).all()
