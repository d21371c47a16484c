"""Distances of TLSH digests, against the library that makes them."""

from __future__ import annotations

import random

import numpy as np
import pytest

from maltriage.similar.tlsh_distance import LENGTH, distances, parsed

ONE = "T1" + "0A" * LENGTH


def test_they_are_those_of_the_library() -> None:
    tlsh = pytest.importorskip("tlsh", reason="the extra `tlsh` is not installed")
    rng = random.Random(1)
    base, digests = rng.randbytes(5000), []
    for number in range(120):
        data = bytearray(base[: rng.randint(300, 5000)])
        if number % 3 == 0:
            data = bytearray(rng.randbytes(rng.randint(300, 60_000)))
        for _ in range(rng.randint(0, 400)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        digests.append(tlsh.hash(bytes(data)))
    many = np.stack([found for d in digests if (found := parsed(d)) is not None])
    assert len(many) == len(digests)
    for digest, one in zip(digests[::7], many[::7], strict=True):
        assert distances(one, many).tolist() == [tlsh.diff(digest, other) for other in digests]


def test_the_nearest_is_itself() -> None:
    rng = np.random.default_rng(0)
    many = np.stack([parsed(rng.bytes(LENGTH).hex()) for _ in range(50)])
    for number, one in enumerate(many):
        found = distances(one, many)
        assert found[number] == 0
        assert (found == distances(one, many[:])).all()
        assert np.delete(found, number).min() > 0
    assert (distances(many[0], many)[7] == distances(many[7], many)[0]).all()


@pytest.mark.parametrize("digest", [None, "", "TNULL", ONE[:-1], ONE + "0", "T1" + "XY" * LENGTH])
def test_what_is_no_digest_has_none(digest: str | None) -> None:
    assert parsed(digest) is None
    assert parsed(ONE) is not None
    assert parsed(ONE[2:]) is not None
