"""Net `evidence`: what a cell sees, and what is no byte of the file says nothing."""

from __future__ import annotations

from typing import ClassVar

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from sample.chosen import default_views  # noqa: E402

from maltriage.errors import MaltriageError  # noqa: E402
from maltriage.learn.heat.cam import empty_views  # noqa: E402
from maltriage.learn.nets import make_net  # noqa: E402
from maltriage.learn.nets.base import Net  # noqa: E402
from maltriage.learn.nets.counted import TRUNKS, CountedTrunk  # noqa: E402
from maltriage.learn.nets.evidence import (  # noqa: E402
    TABLE_WEIGHT,
    BodyTrunk,
    TableTrunk,
    WindowTrunk,
)
from maltriage.sample.views import (  # noqa: E402
    BodySpec,
    ViewSpec,
    WindowSpec,
    known_views,
)
from maltriage.sample.views.view_kind import ViewKind  # noqa: E402

TABLES = ("words", "entropy", "header")


def views(size: int) -> tuple[ViewSpec, ...]:
    """The default views and the header."""
    chosen = {*(view.name for view in default_views()), "header"}
    return tuple(view for view in known_views(size) if view.name in chosen)


def test_unknown_net() -> None:
    with pytest.raises(MaltriageError, match=r"no such net: vgg \(known: .*evidence"):
        make_net("vgg", default_views(), 3)


class Things(ViewKind, frozen=True, tag="things"):
    """A view of a new kind, which the net does not know."""

    counted: ClassVar[bool] = True
    name: str = "things"

    @property
    def shape(self) -> tuple[int, ...]:
        return (17, 256)


def test_a_counted_view_without_a_trunk_is_an_error() -> None:
    with pytest.raises(TypeError, match="Things: no trunk in TRUNKS"):
        make_net("evidence", (Things(),), 3)


def test_every_kind_of_counted_view_has_a_trunk() -> None:
    assert {type(view) for view in known_views() if view.counted} == {*TRUNKS}


def test_shapes() -> None:
    net = make_net("evidence", views(64), 14).eval()
    activations = net.activations(empty_views(net.views, 2))
    assert activations["body"].shape == (2, 96, 8, 8)
    tables = {name: activations.pop(name).shape for name in TABLES}
    assert tables == {
        "words": (2, 14, 1, 2048),
        "entropy": (2, 14, 1, 256),
        "header": (2, 14, 1, 248),
    }
    windows = {tuple(a.shape) for n, a in activations.items() if n != "body"}
    assert windows == {(2, 96, 1, 128)}
    assert net.embed(net.activations(empty_views(net.views, 2))).shape == (2, 5 * 96 + 3 * 14)
    assert net(empty_views(net.views, 2)).shape == (2, 14)
    learned = sum(p.numel() for p in net.parameters() if p.requires_grad)
    assert 400_000 < learned < 600_000
    fitted = 14 * (248 * 256 + 1 + 32768 + 3 * 256 + 1)
    assert sum(p.numel() for p in net.parameters()) == learned + fitted


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


def lively(seed: int = 0) -> Net:
    """A net whose heads and tables are not zero."""
    torch.manual_seed(seed)
    net = make_net("evidence", views(16), 3)
    torch.nn.init.normal_(net.bias)
    for trunk in net.trunks:
        if isinstance(trunk, TableTrunk | CountedTrunk):
            torch.nn.init.normal_(trunk.table)
        if isinstance(trunk, TableTrunk):
            torch.nn.init.normal_(trunk.bias)
        for name, buffer in trunk.named_buffers():
            if name == "tags":
                buffer.fill_(7)
            if name == "knots":
                buffer.copy_(torch.linspace(0, 1, len(buffer))[:, None])
    return net.eval()


def test_the_logits_are_the_mean_of_the_votes_and_what_the_tables_say() -> None:
    net = lively()
    images = {
        v.name: torch.randint(0, 256, (4, *v.shape), dtype=torch.uint8).clamp(max=255)
        for v in net.views
    }
    for spec in net.views:
        if isinstance(spec, WindowSpec):
            images[spec.name][:, 1] = 1
    images["words"][:, 2] = 7
    images["entropy"][:, 0] %= 17
    with torch.no_grad():
        activations = net.activations(images)
        votes = net.votes(net.embed(activations))
        assert votes.shape == (4, 5, 3)
        (table,) = (trunk for trunk in net.trunks if isinstance(trunk, TableTrunk))
        said = {name: activations[name].sum(dim=(2, 3)) for name in TABLES}
        assert all(value.abs().min() > 0 for value in said.values())
        header = TABLE_WEIGHT / 5 * (said["header"] + table.bias)
        counted = said["words"] + said["entropy"] + net.bias
        wanted = votes.mean(dim=1) + header + counted
        torch.testing.assert_close(net(images), wanted)


def test_a_vote_depends_on_its_own_view_alone() -> None:
    net = lively()
    empty = empty_views(net.views)
    other = dict(empty)
    other["code"] = torch.ones_like(empty["code"])
    with torch.no_grad():
        before, after = (net.votes(net.embed(net.activations(v))) for v in (empty, other))
    names = [view.name for view in net.views if view.name not in TABLES]
    changed = (before != after).any(dim=2)[0].tolist()
    assert [name for name, moved in zip(names, changed, strict=True) if moved] == ["code"]


def test_a_table_reads_each_byte_at_its_place() -> None:
    spec = WindowSpec("header", "pe32", length=4, fixed=True)
    trunk = TableTrunk(spec, 2)
    trunk.table.copy_(torch.arange(4 * 256 * 2).reshape(-1, 2))
    window = torch.tensor([[[7, 0, 255, 9], [1, 1, 1, 0]]], dtype=torch.uint8)
    said = trunk(window)
    assert said.shape == (1, 2, 1, 4)
    assert said[0, 0, 0].tolist() == [2 * 7, 2 * 256, 2 * (512 + 255), 0]
    net = make_net("evidence", (spec, WindowSpec("head", "head")), 2)
    assert net.receptive_field_bytes() == {"header": 1, "head": 121}
