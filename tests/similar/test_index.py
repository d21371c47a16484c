"""An index of labelled files grows, and is told."""

from __future__ import annotations

import numpy as np
import pytest
from similar.conftest import LIMIT, digest

from maltriage import bundle as bundles
from maltriage.bundle import Bundle
from maltriage.errors import MaltriageError
from maltriage.similar import index as indexes
from maltriage.similar.index import Index


def test_the_same_file_is_there_once_with_its_last_label(index: Index) -> None:
    more = np.array([[0, 1, 1], [0, 1, 2], [1, 1, 5]], np.float32)
    names = [digest(1), digest(9), digest(9)]
    made = indexes.grown(index, names, ["gbot", "new", "own"], more)
    assert (made.added, made.replaced, len(made.index)) == (1, 1, 5)
    of = dict(zip(made.index.sha256, made.index.labels.tolist(), strict=True))
    label = made.index.header.labels.__getitem__
    assert label(of[digest(1)]) == "gbot"
    assert label(of[digest(9)]) == "own"
    assert made.index.counts() == {"benign": 1, "gbot": 3, "own": 1}
    assert made.index.embeddings[-1].tolist() == [0, 0, 1]
    assert made.index.centre.tolist() == [1, 1, 1]  # it stays, and with it the limit's meaning
    assert made.index.header.limit == LIMIT
    assert made.index.header.created == index.header.created


def test_a_zero_embedding_stays_zero(bundle: Bundle) -> None:
    made = indexes.grown(indexes.empty(bundle), [digest(0)], ["gbot"], np.zeros((1, 3), np.float32))
    assert made.index.embeddings.tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("label", ["", "a" * 300, "a\x1b[31m", "two\nlines"])
def test_what_is_no_label(bundle: Bundle, label: str) -> None:
    with pytest.raises(MaltriageError, match="not a label"):
        indexes.grown(indexes.empty(bundle), [digest(0)], [label], np.ones((1, 3), np.float32))


def test_refused_by_digest(index: Index, bundle: Bundle) -> None:
    other = bundles.load(bundles.resolve("maltriage-camvit"))
    digest = bundle.card.weights_sha256[:12]
    with pytest.raises(MaltriageError, match=f"a.npz: made with {bundle.card.name} {digest}"):
        index.check(other, "a.npz")
