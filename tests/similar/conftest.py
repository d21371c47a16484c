"""A small index."""

from __future__ import annotations

import numpy as np
import pytest

from maltriage import bundle as bundles
from maltriage.bundle import Bundle
from maltriage.report.documents.index import Limit
from maltriage.similar import index as indexes
from maltriage.similar.index import Index

LIMIT = Limit(distance=0.4, share=0.99, files=100, measured_on="files of a test")


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return bundles.load(bundles.resolve(None))


def digest(number: int) -> str:
    return f"{number:064x}"


@pytest.fixture
def index(bundle: Bundle) -> Index:
    """Four files of two labels, one of them the user's own."""
    vectors = np.array([[1, 0, 0], [0, 2, 0], [0, 0, 3], [3, 2, 1]], np.float32)
    labels = ["gbot", "own", "gbot", "benign"]
    made = indexes.grown(
        indexes.empty(bundle, LIMIT), [digest(i) for i in range(4)], labels, vectors
    )
    assert (made.added, made.replaced) == (4, 0)
    return made.index
