"""Tables of counted views: what they say, and that heat is where it was counted."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from maltriage.learn.nets import counted  # noqa: E402
from maltriage.learn.nets.base import Net  # noqa: E402
from maltriage.learn.nets.counted import (  # noqa: E402
    EntropyTrunk,
    WordsTrunk,
    bounded,
    fit_counted,
)
from maltriage.learn.nets.evidence import _taken_back  # noqa: E402
from maltriage.sample.views.counted import plot_entropy, plot_words  # noqa: E402


def words(*texts: str, slots: int = 8) -> torch.Tensor:
    """Images of texts."""
    raws = [np.frombuffer(text.encode(), dtype=np.uint8) for text in texts]
    return torch.stack([torch.from_numpy(plot_words(raw, slots).pixels) for raw in raws])


def pieces(*raws: bytes, cells: int = 4) -> torch.Tensor:
    views = [plot_entropy(np.frombuffer(raw, dtype=np.uint8), cells) for raw in raws]
    return torch.stack([torch.from_numpy(view.pixels) for view in views])


def told(labels: torch.Tensor, *parts: tuple[counted.CountedTrunk, torch.Tensor]) -> torch.Tensor:
    """Logits of tables that are fitted to labelled images."""
    trunks, images = zip(*parts, strict=True)
    bias = fit_counted(trunks, images, labels, torch.ones(len(labels)), None, lambda said: said)
    with torch.no_grad():
        return bias + sum(t(i).sum(dim=(2, 3)) for t, i in zip(trunks, images, strict=True))


def test_words_tell_labels_apart() -> None:
    texts = ["kernel malice", "kernel malice other"] * 3 + [
        "kernel window",
        "kernel window third",
    ] * 3
    labels = torch.tensor([0] * 6 + [1] * 6)
    trunk = WordsTrunk(2)
    assert (told(labels, (trunk, words(*texts))).argmax(1) == labels).all()
    with torch.no_grad():
        said = trunk(words("malice never window kernel"))[0, 0, 0] - trunk(words("x"))[0, 0, 0]
        more = trunk(words("malice never window kernel"))[0, 1, 0]
    assert said[0] > 0 > said[2]
    assert said[1] == said[4:].abs().max() == 0  # unknown, and empty
    assert more[2] > 0 > more[0]
    assert abs(said[3]) < 0.1 * said[0]  # all files have it


def test_words_say_no_more_for_clean_files_than_their_bound() -> None:
    """And what all say adds up to it, so that the account does."""
    generator = torch.Generator().manual_seed(5)
    said = torch.randn(6, 3, 1, 40, generator=generator)
    said[0] = said[0].clamp(max=0.0)  # nothing speaks for clean
    clean, most = 1, 2.0
    found = bounded(said, clean, most)
    others = [0, 2]
    assert torch.equal(found[:, others], said[:, others])
    before, after = said[:, clean, 0], found[:, clean, 0]
    against = before <= 0.0
    assert torch.equal(after[against], before[against])
    total = before.clamp(min=0.0).sum(dim=1)
    wanted = total.clamp(max=most)
    assert after.clamp(min=0.0).sum(dim=1).tolist() == pytest.approx(wanted.tolist(), abs=1e-5)
    for row in range(1, len(said)):  # each by the same factor
        speaks = before[row] > 0.0
        factors = after[row][speaks] / before[row][speaks]
        assert factors.max() - factors.min() < 1e-6
    assert torch.equal(bounded(said, clean, 1e6), said)


def test_rare_words_are_in_no_vocabulary() -> None:
    trunk = WordsTrunk(2)
    texts = ["kernel seldom"] * (counted.RARE - 1) + ["kernel often"] * counted.RARE
    labels = torch.tensor([0] * (counted.RARE - 1) + [1] * counted.RARE)
    told(labels, (trunk, words(*texts)))
    with torch.no_grad():
        said = trunk(words("seldom often"))[0, 1, 0]
    assert said[0] == 0
    assert said[1] > 0


def test_many_words_are_no_surer_than_few() -> None:
    trunk = WordsTrunk(2)
    names = [f"word{'abcdefghijklmnopqrstuvwxyz'[i % 26]}{'xy'[i // 26]}" for i in range(40)]
    labels = torch.tensor([0, 1] * 3)
    told(labels, (trunk, words(*([" ".join(names), "other"] * 3), slots=64)))
    with torch.no_grad():
        few, many = (
            float(trunk(words(" ".join(names[:n]), slots=64))[0, 0].sum()) for n in (8, 32)
        )
    assert many == pytest.approx(2 * few, rel=0.2)  # not four times


def test_bytes_tell_labels_apart_and_heat_is_on_their_pieces() -> None:
    rng = np.random.default_rng(0)
    noise, text = rng.bytes(4000), (b"some words and more of them " * 99)
    labels = torch.tensor([0] * 4 + [1] * 4)
    raws = [rng.bytes(2000 + i) for i in range(4)] + [text[i : 2000 + i] for i in range(4)]
    trunk = EntropyTrunk(2)
    assert (told(labels, (trunk, pieces(*raws))).argmax(1) == labels).all()
    with torch.no_grad():
        said = trunk(pieces(noise[:1024] + text[:1024]))[0, 0, 0]
    assert said[:2].min() > 0 > said[2:].max()


def test_a_table_divides_a_share_over_its_pieces() -> None:
    trunk = EntropyTrunk(1)
    torch.nn.init.normal_(trunk.table)
    trunk.knots.copy_(torch.linspace(0, 1, len(trunk.knots))[:, None])
    image = pieces(b"ab" * 256 + bytes(range(256)) * 2)
    with torch.no_grad():
        parts = trunk(image).sum()
        shares = counted._normed(counted._parts(image).sum(dim=1))
        whole = torch.einsum("bps,psk->bk", trunk._ramps(shares), trunk.table)
    assert float(parts) == pytest.approx(float(whole), rel=1e-4)


def test_an_empty_file_says_nothing() -> None:
    for trunk, image in ((WordsTrunk(2), words("")), (EntropyTrunk(2), pieces(b""))):
        torch.nn.init.normal_(trunk.table)
        assert not trunk(image).any()


def test_what_clean_files_weigh_more_is_taken_back() -> None:
    labels = torch.tensor([0, 0, 1, 1, 1])
    weights = torch.tensor([10.0, 10.0, 1.0, 1.0, 1.0])
    back = _taken_back(labels, weights, 3, None)
    np.testing.assert_allclose(back, [-np.log(10), 0.0, 0.0], atol=1e-6)
    # The score of clean files is against all malware, whose files weigh 2 on average.
    weights = torch.tensor([10.0, 10.0, 2.0, 1.0, 3.0])
    back = _taken_back(labels, weights, 3, 0)
    np.testing.assert_allclose(back, [-np.log(10) + np.log(2), -np.log(2), 0.0], atol=1e-6)


def test_tables_are_fitted_with_the_bound_on_words() -> None:
    """What words may not say for clean files, the other tables and the bias have to."""
    texts = ["malice first"] * 6 + ["malice second"] * 6 + ["window kernel"] * 6
    labels, weights = torch.tensor([1] * 6 + [2] * 6 + [0] * 6), torch.ones(18)
    images, found = words(*texts), {}
    for bound in (None, 100.0, 0.1):
        net, trunk = Net(), WordsTrunk(3)
        net.clean = 0
        bias = fit_counted([trunk], [images], labels, weights, 0, net.joined, bound)
        found[bound] = bias[0], trunk.table[:, 0]
    free, high, low = found.values()
    np.testing.assert_allclose(high[1], free[1], atol=1e-2)  # it is never reached
    assert low[0] > free[0] + 0.1
    assert low[1].min() < free[1].min() - 0.1


def test_a_family_s_words_do_not_say_malware() -> None:
    """With two questions, a word of one family raises its logit against the other families, and
    malware against clean files only by what all malware has."""
    texts = ["malice first"] * 6 + ["malice second"] * 6 + ["window"] * 6
    labels = torch.tensor([1] * 6 + [2] * 6 + [0] * 6)
    net = Net()
    net.clean = 0
    trunk = WordsTrunk(3)
    images, weights = words(*texts), torch.ones(len(labels))
    bias = fit_counted([trunk], [images], labels, weights, 0, net.joined)
    with torch.no_grad():
        said = net.joined(bias + trunk(words("malice first", "first", "window")).sum(dim=(2, 3)))
        scores = trunk(words("malice first"))[0, :, 0, :2]
    assert said.argmax(1).tolist() == [1, 1, 0]
    assert scores[0, 0] < scores[0, 1] < 0  # "malice" says more for malware than "first"
    assert abs(scores[1, 0]) < 0.1 < scores[1, 1]  # and nothing about the family
