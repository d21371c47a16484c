"""The study of maps, from what was kept of the answers, and which pieces of a file go."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.studies import maps

FILES = {f"{family}{i}": family for family in ("icarus", "zeus") for i in range(3)}


def one_hot(piece: int) -> Any:
    return np.eye(maps.PIECES)[piece]


@pytest.fixture
def order() -> maps.Orders:
    """Two nets: one looks at piece 5 of every file, the other at a piece of each file's own."""
    nets = {
        "steady": SimpleNamespace(heat={path: one_hot(5) for path in FILES}),
        "astray": SimpleNamespace(heat={path: one_hot(40 + i) for i, path in enumerate(FILES)}),
    }
    return maps.Orders(nets, list(FILES), FILES)  # type: ignore[arg-type]


def test_a_cumulative_map_leaves_its_own_file_out(order: maps.Orders) -> None:
    at = {source: i for i, source in enumerate(order.sources)}
    assert order.sources[:3] == ["steady", "astray", "steady+astray"]
    assert order.pieces.shape == (6, 3 + 2 + maps.DRAWS, maps.KEPT)
    first = order.pieces[0]  # icarus0: the others of its family are pieces 41 and 42
    assert first[at["steady"], 0] == 5
    assert set(first[at["astray"], :2]) == {41, 42}
    assert set(first[at["steady+astray"], :3]) == {5, 41, 42}
    assert first[at["own astray"], 0] == 40


def test_pieces_at_random_are_drawn_anew_for_each_file(order: maps.Orders) -> None:
    drawn = order.pieces[:, -maps.DRAWS :].reshape(-1, maps.KEPT)
    assert len({tuple(sorted(row)) for row in drawn.tolist()}) == len(drawn)


@pytest.fixture
def kept(order: maps.Orders) -> dict[str, Any]:
    losses = np.full((6, len(order.sources)), 0.1)
    better = losses.copy()
    better[:, order.sources.index("own steady")] = 0.6
    better[:, order.sources.index("steady")] = 0.3
    planes = np.random.default_rng(0).random((2, 16, 16))
    return {
        "nets": ["steady", "astray"],
        "labels": ["benign", "icarus", "zeus"],
        "sha256": list(FILES),
        "family": [0, 0, 0, 1, 1, 1],
        "families": ["icarus", "zeus"],
        "sources": order.sources,
        "guess": {"steady": [1, 1, 1, 2, 2, 2], "astray": [1, 1, 1, 1, 1, 1]},
        "planes": {"steady": maps.packed(planes), "astray": maps.packed(planes)},
        "losses": {"steady": maps.packed(better), "astray": maps.packed(losses)},
    }


def test_losses_are_above_those_of_random_pieces(kept: dict[str, Any]) -> None:
    answers, everything = maps.Answers(kept), np.arange(6)
    assert answers.own("steady", everything) == pytest.approx(0.5, abs=1e-3)
    assert answers.own("astray", everything) == pytest.approx(0.0, abs=1e-3)
    # Of the two nets that are asked, one loses 0.2 more than by random pieces.
    assert answers.cumulative("steady", everything) == pytest.approx(0.1, abs=1e-3)
    assert answers.f1("steady", everything) == 1.0
    assert answers.f1("astray", everything) == pytest.approx((2 * 3 / 9 + 0) / 2)
    assert answers.alike("steady", "astray") == pytest.approx(1.0)


def test_the_command_prints_and_draws(
    kept: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra `study`")
    file, picture = tmp_path / "kept.json", tmp_path / "maps.png"
    file.write_text(json.dumps(kept))
    arguments = ["maps", "--keep", file, "--picture", picture]
    monkeypatch.setattr(sys, "argv", list(map(str, arguments)))
    maps.main()
    said = capsys.readouterr().out
    assert said.startswith("6 files of 2 families, 2 nets")
    assert "| steady | 1.000 (1.000 to 1.000) | 0.500 (0.500 to 0.500) |" in said
    assert "| steady and astray | +1.00 |" in said
    assert picture.read_bytes().startswith(b"\x89PNG")
