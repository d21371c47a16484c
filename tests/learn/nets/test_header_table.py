"""The table of a header, against scikit-learn on the same one-hot features."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from maltriage.learn.nets.header_table import PENALTY, VALUES, fit_table  # noqa: E402


def window(rng: np.random.Generator, count: int, length: int) -> torch.Tensor:
    values = rng.integers(0, 5, (count, 1, length)).astype(np.uint8)
    return torch.from_numpy(np.concatenate([values, np.ones_like(values)], axis=1))


def logits(images: torch.Tensor, table: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    places = torch.arange(images.shape[2]) * VALUES
    said = table[images[:, 0].long() + places] * images[:, 1, :, None]
    return said.sum(dim=1) + bias


def test_it_is_a_logistic_regression() -> None:
    linear = pytest.importorskip("sklearn.linear_model", reason="needs scikit-learn")
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    rng = np.random.default_rng(0)
    images = window(rng, 90, 6)
    labels = torch.from_numpy(
        (images[:, 0, 0].numpy().astype(np.int64) + rng.integers(0, 2, 90)) % 3
    )
    found = logits(images, *fit_table(images, labels, 3, torch.ones(90))).log_softmax(dim=1)
    encoder = preprocessing.OneHotEncoder()
    features = encoder.fit_transform(images[:, 0].numpy())
    model = linear.LogisticRegression(C=1 / PENALTY, tol=1e-8, max_iter=2000)
    model.fit(features, labels.numpy())
    np.testing.assert_allclose(found.numpy(), model.predict_log_proba(features), atol=0.02)


def test_what_was_never_seen_says_nothing() -> None:
    images = window(np.random.default_rng(1), 20, 4)
    images[:, 1, 3] = 0  # the last byte exists in no file
    table, bias = fit_table(images, torch.arange(20) % 2, 2, torch.ones(20))
    assert table.shape == (4 * VALUES, 2)
    assert (table[3 * VALUES :] == 0).all()
    assert (table.reshape(4, VALUES, 2)[:, 5:] == 0).all()
    assert table.abs().max() > 0
    none = torch.zeros(20, 2, 4, dtype=torch.uint8)
    table, bias = fit_table(none, torch.arange(20) % 2, 2, torch.ones(20))
    assert (table == 0).all()
    assert bias.isfinite().all()


def test_twice_the_same() -> None:
    images, labels = window(np.random.default_rng(2), 50, 8), torch.arange(50) % 3
    first, second = (fit_table(images, labels, 3, torch.ones(50)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_weight_is_how_often_a_sample_counts() -> None:
    images, labels = window(np.random.default_rng(3), 30, 5), torch.arange(30) % 3
    weights = (torch.arange(30) % 4).float()
    rows = torch.arange(30).repeat_interleave(weights.long())
    table, bias = fit_table(images, labels, 3, weights)
    other, other_bias = fit_table(images[rows], labels[rows], 3, torch.ones(len(rows)))
    both = [logits(images, t, b).log_softmax(1) for t, b in ((table, bias), (other, other_bias))]
    torch.testing.assert_close(*both, atol=0.02, rtol=0)
