"""What `maltriage compare` takes for its nets."""

from __future__ import annotations

import pytest

from maltriage.cli.training.study import named_nets, numbers_by_net
from maltriage.errors import MaltriageError


def test_a_number_for_each_net() -> None:
    usual = {"gibert": 30, "mcnn": 30, "camvit": 60}
    some = {"gibert": 9, "mcnn": 2, "camvit": 3}
    assert numbers_by_net("epochs", "7", usual, 1) == {"gibert": 7, "mcnn": 7, "camvit": 7}
    assert numbers_by_net("epochs", "9, mcnn=2,camvit=3", usual, 1) == some
    assert numbers_by_net("epochs", "mcnn=2", usual, 1) == {"gibert": 30, "mcnn": 2, "camvit": 60}
    assert numbers_by_net("epochs", None, usual, 1) == usual
    for text, words in (
        ("30,mcnn=x", "neither a number from 1"),
        ("0", "neither a number from 1"),
        ("", "neither a number from 1"),
        ("mcft=3", "no net mcft here"),
        ("30,40", "two numbers for all nets"),
        ("30,mcnn=5,mcnn=7", "two numbers for net mcnn"),
    ):
        with pytest.raises(MaltriageError, match=words):
            numbers_by_net("epochs", text, usual, 1)
    with pytest.raises(MaltriageError, match="neither a number from 2 to 4096"):
        numbers_by_net("batch-size", "1", usual, 2)


def test_nets_are_named_once() -> None:
    assert len(named_nets("all")) >= 8
    with pytest.raises(MaltriageError, match="named twice"):
        named_nets("gibert,gibert")
