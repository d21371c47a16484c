"""The table of nets from what was kept of its cells, and nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.studies import nets
from maltriage.corpus.predictions import Predictions, save_predictions

LABELS = ("benign", "_other", "icarus", "zeus")


def made(net: str, seed: int, good: float) -> Predictions:
    """Answers on forty files in five folds, right in about `good` of them."""
    generator = np.random.default_rng(seed)
    truth = np.arange(40) % 4
    guess = np.where(np.random.default_rng(7 + seed).random(40) < good, truth, (truth + 1) % 4)
    logits = generator.normal(0.0, 0.1, (40, 4)) + 3.0 * np.eye(4)[guess]
    names = tuple(f"{i:064x}" for i in np.random.default_rng(0).permutation(40))
    return Predictions(net, seed, LABELS, names, truth, np.arange(40) // 8, truth < 0, logits)


def test_what_is_kept_is_what_the_table_needs(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    found = [made("good", 0, 0.9), made("good", 1, 0.9), made("poor", 0, 0.3)]
    for run in found:
        nets.Kept(path).take(run)
    kept = nets.Kept(path)
    for run, (seed, got) in zip(found[:2], kept.by_seed("good"), strict=True):
        assert seed == run.seed
        order = np.lexsort((run.sha256, run.fold))
        assert got.truth.tolist() == run.truth[order].tolist()
        assert got.fold.tolist() == run.fold[order].tolist()
        guess = run.logits.argmax(axis=1)
        assert got.guess.tolist() == guess[order].tolist()
        expected = np.log(np.exp(run.logits[:, 1:]).sum(axis=1)) - run.logits[:, 0]
        assert np.allclose(got.margin, expected[order], atol=0.02)
    lines = nets.table(kept).splitlines()
    assert lines[2].startswith("| good | 2 | 0.9")
    assert lines[3].startswith("| poor | 1 | ")
    assert "±" not in lines[3].split("|")[3]


@pytest.mark.parametrize("count", [256, 257])
def test_a_guess_of_many_labels_is_kept_or_refused(tmp_path: Path, count: int) -> None:
    truth = np.arange(2 * count) % count
    labels = ("benign", *(f"family-{i:03}" for i in range(count - 1)))
    names = tuple(f"{i:064x}"[::-1] for i in range(len(truth)))
    logits = 9.0 * np.eye(count)[truth]
    fold = np.arange(len(truth)) % 5
    run = Predictions("net", 0, labels, names, truth, fold, truth < 0, logits)
    kept = nets.Kept(tmp_path / "kept.json")
    if count > 256:
        with pytest.raises(SystemExit, match="257 labels"):
            kept.take(run)
        return
    kept.take(run)
    ((_, got),) = kept.by_seed("net")
    assert got.guess.tolist() == got.truth.tolist()


def test_two_processes_keep_one_file(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    one, other = nets.Kept(path), nets.Kept(path)
    one.take(made("good", 0, 0.9))
    other.take(made("poor", 0, 0.3))
    both = nets.Kept(path)
    assert [len(list(both.by_seed(net))) for net in ("good", "poor")] == [1, 1]
    assert nets.Cell("good", 0, 4) in other


def test_a_seed_without_all_folds_has_no_row(tmp_path: Path) -> None:
    whole = made("net", 0, 0.9)
    kept = nets.Kept(tmp_path / "kept.json")
    kept.take(whole.take(whole.fold != 3))
    assert list(kept.by_seed("net")) == []
    assert nets.Cell("net", 0, 2) in kept
    assert nets.Cell("net", 0, 3) not in kept
    kept.take(whole.take(whole.fold == 3))
    assert len(list(kept.by_seed("net"))) == 1


def test_other_files_or_labels_are_refused(tmp_path: Path) -> None:
    whole = made("net", 0, 0.9)
    kept = nets.Kept(tmp_path / "kept.json")
    kept.take(whole)
    few = np.arange(40) != 5
    with pytest.raises(SystemExit, match="other files in this fold"):
        kept.take(whole.take(few))


def test_families_alone_count() -> None:
    truth, guess = np.array([0, 1, 2, 2, 3]), np.array([2, 2, 2, 3, 3])
    assert nets.family_f1(truth, guess, [2, 3]) == pytest.approx((2 / 5 + 2 / 3) / 2)
    margin = np.array([5.0, *np.linspace(-9, -1, 199), 6.0, 4.0])
    assert nets.flagged_at(np.array([0] * 200 + [1, 1]), margin, 0, 0.005) == 1.0
    assert nets.flagged_at(np.array([0] * 200 + [1, 1]), margin, 0, 0.0) == 0.5


def test_the_command_prints_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_predictions(made("peer", 0, 0.9), tmp_path / "peer.csv")
    arguments = ["nets", "--keep", tmp_path / "kept.json", "--take", tmp_path / "peer.csv"]
    monkeypatch.setattr(sys, "argv", list(map(str, arguments)))
    nets.main()
    assert "| peer | 1 | 0.9" in capsys.readouterr().out
