"""Tutors: what they ask of a transformer in training, and when."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")
pytest.importorskip("timm", reason="needs the extra `train`")

from learn.nets.test_camvit import VIEWS, images, lively  # noqa: E402

from maltriage.learn.fit.checkpoint import Guide  # noqa: E402
from maltriage.learn.heat.tutor import tutor_of  # noqa: E402
from maltriage.learn.nets.camvit import CamViT  # noqa: E402

pytestmark = pytest.mark.usefixtures("shallow")

CPU = torch.device("cpu")


def guide(kind: str, tokens: int = 9) -> Guide:
    return Guide(kind=kind, keep=0.5, tokens=tokens, cam="hirescam")


def test_only_guides_of_the_training_have_a_tutor() -> None:
    net = lively("camvit", VIEWS, 0)
    for other in (None, guide("instance"), guide("cumulative")):
        assert tutor_of(other, net, [lively("evidence", VIEWS, 1)], CPU) is None


def test_early_leaves_tokens_out_in_the_first_half() -> None:
    net: CamViT = lively("camvit", VIEWS, 0)
    tutor, inputs = tutor_of(guide("early"), net, [lively("evidence", VIEWS, 1)], CPU), None
    assert tutor is not None
    inputs = images(VIEWS, 2)
    for done, tokens in ((0.0, 9), (0.45, 9), (0.5, net.tokens), (0.95, net.tokens)):
        tutor.begin(done)
        activations = net.activations(inputs)
        assert activations["beside"].shape[1] == tokens
        assert tutor.pull(activations, inputs) is None


def test_attention_is_drawn_to_what_speaks_for_the_label() -> None:
    net: CamViT = lively("camvit", VIEWS, 0)
    tutor = tutor_of(guide("attention", net.tokens), net, [lively("evidence", VIEWS, 1)], CPU)
    assert tutor is not None
    assert tutor.chooser is not None
    tutor.begin(0.0)
    inputs = images(VIEWS, 8)
    wanted = tutor.chooser.heat(inputs, positive=True)
    assert (wanted >= 0).all()
    assert ((wanted.sum(dim=1) > 0.5) & (wanted.sum(dim=1) <= 1)).all()
    activations = net.activations(inputs)
    given = net.attention(activations)
    some = wanted > 0
    apart = torch.where(some, wanted * (wanted / given).log(), torch.zeros(())).sum(dim=1).mean()
    first = tutor.pull(activations, inputs)
    assert first is not None
    torch.testing.assert_close(first, apart, rtol=1e-4, atol=1e-5)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(40):
        optimizer.zero_grad()
        pull = tutor.pull(net.activations(inputs), inputs)
        assert pull is not None
        pull.backward()
        optimizer.step()
    assert float(pull.detach()) < 0.5 * float(first.detach())
