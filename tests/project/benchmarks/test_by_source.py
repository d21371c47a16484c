"""Figures by source, against their definitions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.studies import by_source, nets
from maltriage.corpus.predictions import Predictions

RANDOM = np.random.default_rng(0)


def test_auroc_is_the_share_of_pairs_in_the_right_order() -> None:
    malware, clean = np.array([1.0, 2.0, 2.0]), np.array([0.0, 2.0, 3.0, 1.0])
    first, second = (RANDOM.integers(0, 4, (5, n)).astype(np.float32) for n in (3, 4))
    found = by_source.auroc(malware, clean, first, second)
    for draw in range(5):
        ours = np.repeat(malware, first[draw].astype(int))
        theirs = np.repeat(clean, second[draw].astype(int))
        pairs = [(a > b) + 0.5 * (a == b) for a in ours for b in theirs]
        assert np.isclose(found[draw], np.mean(pairs) if pairs else 0.0)


def test_no_more_clean_files_than_the_rate_are_above_the_limit() -> None:
    clean = RANDOM.normal(size=200).round(1)  # some are equal
    weights = RANDOM.integers(0, 3, (20, 200)).astype(np.float32)
    for draw, limit in enumerate(by_source.limits(clean, weights, 0.05)):
        drawn = np.repeat(clean, weights[draw].astype(int))
        assert (drawn > limit).mean() <= 0.05
        assert (drawn >= limit).mean() > 0.05


def test_the_table_of_four_folds(tmp_path: Path) -> None:
    """Two nets, one of which is right; the worst clean source sets the limit."""
    sources = np.array(["bad", "good", "zoo", "fine", by_source.PACKED]).repeat(100)
    fold = np.array([0, 0, 1, 1, 0]).repeat(100)
    malware = np.isin(sources, ["bad", "zoo"])
    names = tuple(f"{i:064x}"[::-1] for i in range(500))
    kept = nets.Kept(tmp_path / "kept.json")
    for net, signal in (("sees", 9.0), ("blind", 0.0)):
        noise = np.random.default_rng(1).random(500)
        margin = noise + signal * (malware | (sources == by_source.PACKED))
        logits = np.stack([-margin / 2, margin / 2], axis=1)
        kept.take(
            Predictions(
                net, 0, ("benign", "zeus"), names, malware.astype(int), fold, fold < 0, logits
            )
        )
    short = [name[:16] for name in names]
    kept.know("sources", dict(zip(short, sources.tolist(), strict=True)))
    kept.know("groups", {name: i for i, name in enumerate(short)})
    kept = nets.Kept(tmp_path / "kept.json")
    assert kept.folds == 2
    head, _, sees, blind = (line.split(" | ") for line in by_source.table(kept, None).splitlines())
    figures = dict(zip(head, sees, strict=True))
    assert figures["AUROC bad, good"] == "1.000 (1.000 to 1.000)"
    assert figures["flagged: all"] == "100.0 % (100.0 % to 100.0 %)"
    assert figures["flagged: clean-packed |"].startswith("100.0 %")
    assert "AUROC bad, fine" not in figures  # of another fold
    chance = dict(zip(head, blind, strict=True))
    assert 0.4 < float(chance["AUROC zoo, fine"][:5]) < 0.6
    assert float(chance["flagged: all"].split(" ")[0]) < 6
    less = by_source.table(kept, "sees").splitlines()
    assert less[2].split(" | ") == sees
    assert less[3].split(" | ")[1].startswith("-0.")
