"""Chosen bytes behind files, where it is known which bytes lead the net."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from assess.planted import CELL
from assess.verdicts.test_robustness import END, OPTIONS, net, program

from maltriage.assess.out_of_fold import Group
from maltriage.assess.verdicts.attack import AttackTerms, Propose, assess_attack
from maltriage.bundle import Bundle
from maltriage.errors import MaltriageError
from maltriage.report.documents.robustness import AttackFigures
from maltriage.sample.byteplot import View


@pytest.fixture
def samples(tmp_path: Path) -> list[tuple[str, str]]:
    """Three files of the family, one that is benign, and one that is cut."""
    for i in range(4):
        (tmp_path / f"{i}.exe").write_bytes(program(i, i < 3))
    (tmp_path / "cut.exe").write_bytes(program(9, True)[:-100])
    found = [(str(tmp_path / f"{i}.exe"), "maze" if i < 3 else "benign") for i in range(4)]
    return [*found, (str(tmp_path / "cut.exe"), "maze")]


def knowing(calls: list[tuple[int, int]], value: int = 255) -> Propose:
    """One who knows that bytes of the first cells behind the file lower the margin most."""

    def propose(views: dict[str, View], start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        calls.append((start, end))
        window = views["head"]
        assert window.geometry.present == min(end, window.geometry.length)
        gain = np.where(np.arange(end - start) < 4 * CELL, 1.0, 0.0)
        return np.full(end - start, value, dtype=np.uint8), gain

    return propose  # type: ignore[return-value]


def attack(
    bundle: Bundle, samples: list[tuple[str, str]], propose: Propose, **terms: object
) -> AttackFigures:
    aims = AttackTerms(share=0.25, least=100, **terms)  # type: ignore[arg-type]
    return assess_attack([Group(bundle, samples)], [propose], OPTIONS, aims)


def test_bytes_that_lower_the_margin_are_kept(
    tmp_path: Path, samples: list[tuple[str, str]]
) -> None:
    # Random bytes are 127 at the mean: four cells of them are worth 64 of a score of about 230.
    bundle, calls = net(tmp_path / "net.onnx", (END, END + 4, -3.0)), list[tuple[int, int]]()
    found = attack(bundle, samples, knowing(calls), steps=4)
    assert (found.files, found.not_applicable) == (3, 1)
    assert (found.share, found.least, found.steps) == (0.25, 100, 4)
    assert found.unflagged_random.value == 0.0
    assert found.unflagged.value == 1.0
    assert found.margin > found.margin_random > 0 > found.margin_attacked
    # Once all four cells are as they should be, nothing more is to be gained.
    assert set(calls) == {(2048, 2048 + 512)}
    assert 3 <= len(calls) <= 3 * 4


def test_bytes_that_raise_it_are_not(tmp_path: Path, samples: list[tuple[str, str]]) -> None:
    bundle, calls = net(tmp_path / "net.onnx", (END, END + 4, 3.0)), list[tuple[int, int]]()
    found = attack(bundle, samples, knowing(calls), steps=4)
    assert found.margin_attacked == found.margin_random > found.margin
    assert found.unflagged.value == 0.0
    assert len(calls) == 3  # of each file the first step, which led nowhere


def test_two_runs_are_equal(tmp_path: Path, samples: list[tuple[str, str]]) -> None:
    bundle = net(tmp_path / "net.onnx", (END, END + 16, -0.5))
    first, again, other = (
        attack(bundle, samples, knowing([]), steps=1, seed=seed) for seed in (3, 3, 4)
    )
    assert first == again != other


def test_what_cannot_be_attacked(tmp_path: Path, samples: list[tuple[str, str]]) -> None:
    with pytest.raises(MaltriageError, match="no threshold"):
        attack(net(tmp_path / "a.onnx", margin=None), samples, knowing([]))
    with pytest.raises(MaltriageError, match="no malware that is flagged"):
        attack(net(tmp_path / "b.onnx", margin=1e6), samples, knowing([]))
