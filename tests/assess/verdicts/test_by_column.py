"""Figures by the values of a column: which files they are over, and what thresholds are set on."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from assess.verdicts.held_back import EACH, SOURCES, made
from rich.console import Console

from maltriage import bundle as bundles
from maltriage.assess.held_back import Group, Held
from maltriage.assess.verdicts import by_column
from maltriage.assess.verdicts.by_column import of_model, of_predictions
from maltriage.assess.verdicts.calibrate import limit_at
from maltriage.assess.verdicts.column_answers import answers_of
from maltriage.assess.verdicts.column_files import Files
from maltriage.assess.verdicts.fitted import said_of
from maltriage.corpus.predictions import (
    VALIDATION_FILE,
    fold_folder,
    load_predictions,
    save_predictions,
)
from maltriage.errors import MaltriageError
from maltriage.metrics import auc, log_softmax, margins, temperature
from maltriage.report.documents.by_column import ColumnReport, ValueFigures
from maltriage.report.documents.record import Result, encode
from maltriage.report.studies.by_column import render
from maltriage.triage.options import Progress, ScanOptions
from maltriage.triage.pipeline import scan


def value_of(report: ColumnReport, name: str) -> ValueFigures:
    (run,) = report.runs
    return next(value for value in run.values if value.value == name)


def test_by_source(files: Files, run: Path) -> None:
    path = run / "out-of-fold.csv"
    report = of_predictions(files, [path], 0.05)
    assert (report.column, report.fpr, report.without) == ("source", 0.05, 10)
    (found,) = report.runs
    assert found.held_back
    assert [value.value for value in found.values] == list(SOURCES)
    said = load_predictions(path)
    scores = margins(said.logits, 0)
    clean = value_of(report, "clean-a")
    assert (clean.files, clean.groups, clean.malware, clean.clean) == (EACH, EACH // 2, 0, EACH)
    assert clean.against == []
    assert clean.read_first is None
    alone = value_of(report, "reports").read_first
    assert alone is not None
    assert (alone.clean_by, alone.malware, alone.clean) == ("other", EACH, 2 * EACH)
    validation, elsewhere, even = clean.thresholds
    # Nothing of the value has a part in either threshold.
    part = load_predictions(fold_folder(run, 0) / VALIDATION_FILE)
    home = limit_at(margins(part.logits, 0)[part.truth == 0].tolist(), 0.05)
    assert (validation.set_on, validation.margin, validation.files) == ("validation", home, 10)
    away = limit_at(scores[EACH : 2 * EACH].tolist(), 0.05)
    assert (elsewhere.set_on, elsewhere.margin, elsewhere.files) == ("elsewhere", away, EACH)
    for threshold, limit in ((validation, home), (elsewhere, away)):
        every, half = threshold.kinds  # no file is packed
        assert (every.kind, half.kind) == ("all", "32-bit")
        assert every.clean is not None
        assert every.clean.hits == int((scores[:EACH] >= limit).sum())
        assert every.malware is None
    assert validation.margin != elsewhere.margin
    assert (even.set_on, even.margin, even.files) == ("even", None, None)
    said_here = said_of(said.logits[:EACH], part)
    for row in even.kinds:
        assert row.clean is not None
        assert (row.malware, row.named, row.right) == (None, None, None)
    assert even.kinds[0].clean is not None
    assert even.kinds[0].clean.hits == int((said_here.shares[:, 0] <= 0.5).sum()) > 0


def test_a_threshold_that_is_given(files: Files, run: Path) -> None:
    path = run / "out-of-fold.csv"
    scores = margins(load_predictions(path).logits, 0)
    limit = float(np.median(scores[:EACH]))
    report = of_predictions(files, [path], 0.05, limit)
    for value in report.runs[0].values:
        (given,) = (row for row in value.thresholds if row.set_on == "given")
        assert (given.margin, given.files) == (limit, None)
    (given,) = (row for row in value_of(report, "clean-a").thresholds if row.set_on == "given")
    assert given.kinds[0].clean is not None
    assert given.kinds[0].clean.hits == int((scores[:EACH] >= limit).sum()) == EACH // 2
    console = Console(width=160, record=True, file=io.StringIO())
    render(report, console)
    assert f"at a threshold of {limit:+.3f}, which was given" in console.export_text()


def test_malware(files: Files, run: Path) -> None:
    report = of_predictions(files, [run / "out-of-fold.csv"], 0.05)
    bad = value_of(report, "reports")
    # Neither family is in another fold, and `_other` is none.
    assert (bad.malware, bad.clean, bad.unlearned) == (EACH, 0, EACH)
    said = load_predictions(run / "out-of-fold.csv")
    scores = margins(said.logits, 0)
    own = slice(2 * EACH, 3 * EACH)
    threshold = bad.thresholds[1]
    limit = limit_at(scores[: 2 * EACH].tolist(), 0.05)
    assert threshold.margin == limit
    row = threshold.kinds[0]
    flagged, top = scores[own] >= limit, said.logits[own].argmax(axis=1)
    assert row.clean is None
    assert row.malware is not None
    assert row.named is not None
    assert row.malware.hits == flagged.sum()
    # Label 1 is `_other`, which names nothing; others are named if they fit, as in a verdict.
    part = load_predictions(fold_folder(run, 2) / VALIDATION_FILE)
    named = flagged & (top > 1) & said_of(said.logits[own], part).nameable
    assert row.named.hits == named.sum()
    assert 0 < (flagged & (top > 1)).sum() < flagged.sum()
    # No family of the files that the net is fitted to is told right: none is named.
    assert not named.any()
    assert row.right is None
    assert bad.in_set is None  # nothing of its families was learned
    assert value_of(report, "clean-a").in_set is not None
    pairs = {(a.kind, a.value, a.clean_by): a for a in bad.against}
    assert {key[1:] for key in pairs} == {
        (name, by) for name in ("clean-a", "clean-b") for by in ("other", "trained")
    }
    area = pairs["all", "clean-b", "other"]
    both = np.concatenate([scores[own], scores[EACH : 2 * EACH]])
    assert area.auc.value == pytest.approx(auc(both, np.arange(2 * EACH) < EACH))
    assert (area.malware, area.clean) == (EACH, EACH)
    assert area.auc.low < area.auc.value < area.auc.high


def test_means_over_sources_and_seeds(files: Files, run: Path) -> None:
    text = (run / "out-of-fold.csv").read_text()
    (run / "seed").mkdir()
    (run / "seed" / "b.csv").write_text(text.replace("net,0", "net,1"))
    report = of_predictions(files, [run / "out-of-fold.csv", run / "seed" / "b.csv"], 0.05)
    rates = {(row.set_on, row.kind): row for row in report.rates}
    row = rates["elsewhere", "all"]
    assert (row.name, row.clean_values, row.malware_values) == ("net", 4, 2)
    clean = [
        value.thresholds[-2].kinds[0].clean
        for found in report.runs
        for value in found.values
        if value.clean
    ]
    shares = [of.rate.value for of in clean if of is not None]
    assert row.clean == pytest.approx(np.mean(shares))
    assert row.worst_clean == max(shares)
    assert rates["validation", "all"].clean_values == 2  # the second seed has no such part
    areas = {(row.clean_by, row.kind): row for row in report.areas}
    area = areas["other", "all"]
    every = [a.auc.value for a in value_of_first(report).against if a.kind == "all"]
    assert area.pairs == 4
    assert area.lowest == min(every[:2])
    assert area.auc == pytest.approx(np.mean(every[:2]))


def value_of_first(report: ColumnReport) -> ValueFigures:
    return next(value for value in report.runs[0].values if value.malware)


def test_what_verdicts_are_fitted_to(files: Files) -> None:
    """Temperature, sets and novelty are of other files than those that are asked about."""
    at = list(range(3 * EACH))
    sure, asked = made(files, at, [0] * len(at)), np.array([[9.0, 0, 0, 0], [0.0, 0, 19, 8.9]])
    said = said_of(asked, sure)
    scale = temperature(sure.logits, sure.truth) or 1.0
    np.testing.assert_allclose(said.shares, np.exp(log_softmax(asked / scale)))
    assert said.members[0, 0]
    assert said.nameable.tolist() == [False, False]
    few = sure.take(np.arange(len(at)) % 30 == 0)
    assert said_of(asked, few).nameable.tolist() == [False, True]  # no limit of novelty


def test_without_validation_parts(files: Files, run: Path) -> None:
    """A peer's predictions, which have no run."""
    (run / "peer").mkdir()
    path = run / "peer" / "lightgbm.csv"
    path.write_bytes((run / "out-of-fold.csv").read_bytes())
    report = of_predictions(files, [path])
    assert report.fpr == by_column.FPR
    assert [t.set_on for t in value_of(report, "clean-a").thresholds] == ["elsewhere", "even"]
    assert {row.clean_by for row in value_of(report, "reports").against} == {"other"}
    # Those of another recipe in the folder of a run have none there either.
    text = (run / "out-of-fold.csv").read_text().replace("net,0", "tree,0")
    (run / "tree.csv").write_text(text)
    both = of_predictions(files, [run / "out-of-fold.csv", run / "tree.csv"])
    assert [len(found.values[0].thresholds) for found in both.runs] == [3, 2]


def test_values_held_back_together(files: Files, tmp_path: Path) -> None:
    """One net has seen neither the malware nor the clean files of `clean-b`."""
    at = list(range(3 * EACH))
    both = made(files, at, [0] * EACH + [1] * (2 * EACH))
    save_predictions(both, tmp_path / "a.csv")
    report = of_predictions(files, [tmp_path / "a.csv"])
    assert report.runs[0].held_back
    rows = value_of(report, "reports").against
    assert {(row.value, row.clean_by) for row in rows} == {
        ("clean-a", "other"),
        ("clean-b", "same"),
    }
    # Read before the clean files that the same net held back; half a tenth is all there can be.
    scores = margins(both.logits, 0)
    read = value_of(report, "reports").read_first
    assert read is not None
    assert (read.share, read.clean_by, read.malware, read.clean) == (0.1, "same", EACH, EACH)
    assert read.first[1] == 0.1
    bad, good = scores[2 * EACH :], scores[EACH : 2 * EACH]
    limits = np.sort(bad)[::-1]
    sizes = [0.1 * (bad >= x).mean() + 0.9 * (good >= x).mean() for x in limits]
    least = sum(size <= 0.1 for size in sizes)
    assert least / EACH <= read.found[1].value <= (least + 1) / EACH
    assert read.found[0].low <= read.found[0].value <= read.found[0].high <= 0.5 + 1e-9
    console = Console(width=160, record=True, file=io.StringIO())
    render(report, console)
    text = console.export_text()
    assert "malware found in the first files by margin, where 10% of all is malware" in text
    row = next(line for line in text.splitlines() if "the same net" in line and "%" in line)
    assert f"{EACH} / {EACH}" in row
    assert f"{read.found[0].value:.0%} ({read.found[0].low:.0%} to " in row


def test_equal_files_of_two_sources(files: Files) -> None:
    """Each is answered for by the net of its own source, in whatever order they come."""
    digests = list(files.sha256)
    digests[EACH] = digests[EACH - 1]
    twice = replace(files, sha256=tuple(digests))
    at = [*range(EACH, 2 * EACH), *range(EACH), *range(2 * EACH, 3 * EACH)]
    found = made(twice, at, [1] * EACH + [0] * EACH + [2] * EACH)
    answers, held_back = answers_of(twice, found, None)
    assert held_back
    assert answers.at.tolist() == at


def test_folds_inside_sources(files: Files, tmp_path: Path) -> None:
    at = list(range(3 * EACH))
    save_predictions(made(files, at, [i % 3 for i in at]), tmp_path / "a.csv")
    (found,) = of_predictions(files, [tmp_path / "a.csv"]).runs
    assert not found.held_back
    assert found.values[0].thresholds[0].margin is None  # three nets, three thresholds
    assert found.values[2].unlearned == 5


def test_refusals(files: Files, tmp_path: Path) -> None:
    found = made(files, [0, 1, 2 * EACH], [0, 0, 1])
    save_predictions(found, tmp_path / "few.csv")
    with pytest.raises(MaltriageError, match="only one fold has clean files"):
        of_predictions(files, [tmp_path / "few.csv"])
    text = (tmp_path / "few.csv").read_text().replace(files.sha256[0], "ab" * 32)
    (tmp_path / "few.csv").write_text(text)
    with pytest.raises(MaltriageError, match="is no file of this dataset"):
        of_predictions(files, [tmp_path / "few.csv"])
    (tmp_path / "few.csv").write_text(text.replace("benign", "malign"))
    with pytest.raises(MaltriageError, match="without a label benign"):
        of_predictions(files, [tmp_path / "few.csv"])


def test_the_document(files: Files, run: Path) -> None:
    report = of_predictions(files, [run / "out-of-fold.csv"])
    assert msgspec.json.decode(encode(report), type=ColumnReport) == report


def test_a_model_is_asked_as_users_ask_it(samples_dir: Path) -> None:
    """Each file counts under its value with the verdict that a scan gives it."""
    bundle = bundles.load(bundles.resolve(None))
    threshold = bundle.card.threshold
    assert threshold is not None
    paths = tuple(str(samples_dir / f"{name}.exe") for name in ("gui-x86", "console-x86", "gone"))
    files = Files(
        "source",
        ("a", "b"),
        np.array(["a", "a", "b"]),
        np.array(["benign", "icedid", "benign"]),
        np.arange(3),
        {"all": np.ones(3, dtype=bool)},
        tuple(f"{i:064x}" for i in range(3)),
        paths,
    )
    samples = list(zip(paths, files.label.tolist(), strict=True))
    held, options = Held(bundle, [Group(bundle, samples)], "all"), ScanOptions(jobs=1, threads=1)
    shown = list[Progress]()
    report = of_model(files, held, options, changed=shown.append)
    assert shown[-1].done == 3
    (run,) = report.runs
    (value,) = run.values  # nothing of b could be read
    assert (report.fpr, run.name, run.held_back) == (threshold.fpr, bundle.card.name, False)
    assert (value.value, value.files, value.malware, value.clean) == ("a", 2, 1, 1)
    at, even = value.thresholds
    assert (at.set_on, at.margin, at.files) == ("card", threshold.at("pe32"), threshold.files)
    verdicts = [r.verdict for r in scan(paths, bundle, options) if isinstance(r, Result)]
    (kind,) = at.kinds
    assert kind.clean is not None
    assert kind.malware is not None
    assert [kind.clean.hits, kind.malware.hits] == [int(bool(v.flagged)) for v in verdicts]
    assert [row.named for row in even.kinds] == [None]
    assert even.kinds[0].malware is not None
    assert even.kinds[0].malware.hits == int(verdicts[1].label != "benign")
    card = msgspec.structs.replace(bundle.card, labels=("good", *bundle.card.labels[1:]))
    other = msgspec.structs.replace(bundle, card=card)
    with pytest.raises(MaltriageError, match="no benign label"):
        of_model(files, Held(other, [Group(other, samples)], "all"), options)
    with pytest.raises(MaltriageError, match="none of the files could be read"):
        of_model(files, Held(bundle, [Group(bundle, samples[2:])], "all"), options)
