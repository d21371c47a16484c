"""Thresholds that keep a rate on each source that was held back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from assess.verdicts.held_back import EACH, SOURCES, made

from maltriage.assess.verdicts.calibrate import limit_at, threshold_of
from maltriage.assess.verdicts.column_files import Files
from maltriage.assess.verdicts.column_threshold import threshold_by
from maltriage.bundle import OperatingPoint, Threshold
from maltriage.corpus.predictions import load_predictions
from maltriage.errors import MaltriageError
from maltriage.metrics import margins


def test_the_worst_source_keeps_the_rate(files: Files, run: Path, tmp_path: Path) -> None:
    said = load_predictions(run / "out-of-fold.csv")
    said.logits[:EACH, 1:] += 2.0  # clean files of the first source look worse
    found = threshold_by(files, said, 0.05)
    scores = margins(said.logits, 0)
    own = [limit_at(scores[i * EACH : (i + 1) * EACH].tolist(), 0.05) for i in range(2)]
    assert own[0] > own[1]
    assert found.margin == own[0]
    assert [row.margin for row in found.values] == own
    assert [(row.value, row.files, row.groups) for row in found.values] == [
        (name, EACH, EACH // 2) for name in SOURCES[:2]
    ]
    assert [row.flagged for row in found.values] == [
        2,
        int((scores[EACH : 2 * EACH] >= own[0]).sum()),
    ]
    assert (found.files, found.flagged) == (2 * EACH, sum(row.flagged for row in found.values))
    assert (found.malware, found.malware_flagged) == (EACH, (scores[2 * EACH :] >= own[0]).sum())
    with pytest.raises(MaltriageError, match=r"80 clean files held back: .* needs 300"):
        threshold_by(files, said, 0.01)
    at = list(range(3 * EACH))
    with pytest.raises(MaltriageError, match="its folds are not the values of source"):
        threshold_by(files, made(files, at, [i % 3 for i in at]), 0.05)


def test_thresholds_for_other_rates(files: Files, run: Path) -> None:
    """Each as if it were asked for by itself; those that 80 files do not show are left out."""
    said = load_predictions(run / "out-of-fold.csv")
    found = threshold_by(files, said, 0.05)
    assert [point.fpr for point in found.points] == [0.05, 0.1]
    for point in found.points:
        asked = threshold_by(files, said, point.fpr)
        assert (point.margin, point.flagged, point.rate) == (
            *(asked.margin, asked.flagged, asked.rate),
        )
        assert point.malware_flagged == asked.malware_flagged
        scores = margins(said.logits, 0)
        by_source = [scores[i * EACH : (i + 1) * EACH] for i in range(2)]
        limits = [limit_at(own.tolist(), point.fpr) for own in by_source]
        new = [float((by_source[i] >= limits[1 - i]).mean()) for i in range(2)]
        assert [row.without and row.without.value for row in asked.values] == new
        assert point.worst == max(new) == threshold_of(asked).worst
    first, second = threshold_of(found).points
    assert first.margin >= second.margin
    assert threshold_of(found).for_rate(0.1) == replaced(threshold_of(found), second)
    assert threshold_of(found).for_rate(0.07) is None
    said.logits[:, 1:] -= 50.0  # every margin is below even odds
    assert not threshold_by(files, said, 0.05).points


def replaced(threshold: Threshold, point: OperatingPoint) -> Threshold:
    return msgspec.structs.replace(
        threshold,
        margin=point.margin,
        fpr=point.fpr,
        flagged=point.flagged,
        low=point.low,
        high=point.high,
        malware_flagged=point.malware_flagged,
        worst=point.worst,
    )


def test_packed_files_have_no_say(files: Files, run: Path) -> None:
    said = load_predictions(run / "out-of-fold.csv")
    said.logits[:10, 1:] += 9.0
    packed = np.arange(len(files.value)) < 10
    found = threshold_by(replace(files, kinds={**files.kinds, "packed": packed}), said, 0.05)
    scores = margins(said.logits, 0)
    own = [
        limit_at(scores[low:high].tolist(), 0.05) for low, high in ((10, EACH), (EACH, 2 * EACH))
    ]
    assert found.margin == max(own)
    assert (found.packed, found.packed_flagged, found.files) == (10, 10, 2 * EACH - 10)


def test_files_without_a_value_have_no_say_and_do_not_count(files: Files, run: Path) -> None:
    """An answer of another classifier may be in a fold of their own."""
    said = load_predictions(run / "out-of-fold.csv")
    label = files.label.copy()
    label[-10:] = "benign"
    more = replace(files, label=label)
    at = list(range(3 * EACH + 10))
    beside = made(more, at, [*np.repeat(np.arange(3), EACH).tolist(), *[3] * 10])
    beside.logits[: 3 * EACH] = said.logits
    beside.logits[3 * EACH :, 1:] += 9.0
    with_them, without = threshold_by(more, beside, 0.05), threshold_by(files, said, 0.05)
    assert (with_them.files, with_them.flagged) == (without.files, without.flagged)
    assert with_them.margin == without.margin
