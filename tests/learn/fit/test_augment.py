"""Augmentation: it changes bytes, never what exists, and depends on its stream alone."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from torch import Generator, Tensor  # noqa: E402

from maltriage.learn.fit import augment as module  # noqa: E402
from maltriage.learn.fit.augment import augment  # noqa: E402
from maltriage.sample.views import BodySpec, WindowSpec  # noqa: E402

VIEWS = (BodySpec(size=32), WindowSpec("head", "head"))


def images(count: int) -> dict[str, Tensor]:
    generator = Generator().manual_seed(1)
    body = torch.randint(0, 256, (count, 5, 32, 32), dtype=torch.uint8, generator=generator)
    head = torch.randint(0, 256, (count, 2, 4096), dtype=torch.uint8, generator=generator)
    head[:, 1] = (torch.arange(4096) < torch.arange(count)[:, None] * 400).to(torch.uint8)
    head[:, 0] *= head[:, 1]
    return {"body": body, "head": head}


def test_windows() -> None:
    before = images(10)
    after = augment(before, VIEWS, Generator().manual_seed(0))["head"]
    assert after.dtype == torch.uint8
    torch.testing.assert_close(after[:, 1], before["head"][:, 1])
    assert (after[:, 0][before["head"][:, 1] == 0] == 0).all()
    changed = (after[:, 0] != before["head"][:, 0]).sum() / before["head"][:, 1].sum()
    assert 0.025 < float(changed) < 0.035


def test_body_is_rolled_by_up_to_three_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NOISE", 0.0)
    before = images(60)
    after = augment(before, VIEWS, Generator().manual_seed(0))["body"]
    shifts = set()
    for old, new in zip(before["body"], after, strict=True):
        matching = [s for s in range(-16, 16) if torch.equal(old.roll(s, dims=1), new)]
        assert len(matching) == 1
        shifts |= set(matching)
    assert shifts == set(range(-3, 4))


def test_body_is_noisy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ROLL", 0)
    before = {"body": torch.full((4, 5, 32, 32), 128, dtype=torch.uint8)}
    after = augment(before, VIEWS[:1], Generator().manual_seed(0))["body"].float()
    assert abs(float(after.mean()) - 128) < 0.5
    assert 4.5 < float(after.std()) < 5.7  # 2 % of 255 is 5.1


def test_the_stream_says_it_all() -> None:
    first, again, other = (
        augment(images(5), VIEWS, Generator().manual_seed(seed)) for seed in (3, 3, 4)
    )
    for name in first:
        assert torch.equal(first[name], again[name])
        assert not torch.equal(first[name], other[name])
