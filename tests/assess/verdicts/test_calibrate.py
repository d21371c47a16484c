"""The threshold of `flagged`, on real scans of our own samples."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hostile.make import sample
from paths import links

from maltriage import bundle as bundles
from maltriage.assess.verdicts.calibrate import (
    below_even_odds,
    files_needed,
    limit_at,
    threshold_for,
    threshold_of,
    write,
)
from maltriage.bundle import Bundle, Card
from maltriage.errors import MaltriageError
from maltriage.metrics import clopper_pearson
from maltriage.report.documents.record import Result
from maltriage.similar import index as indexes
from maltriage.similar import index_file
from maltriage.triage.options import ScanOptions
from maltriage.triage.pipeline import scan

FILES = 40


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return bundles.load(bundles.resolve(None))


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 files for 32 bits and 4 for 64, all different, and one of them twice."""
    folder = tmp_path_factory.mktemp("clean")
    for i in range(FILES):
        data = sample("console-x64.exe" if i % 10 == 0 else "console-x86.exe")
        (folder / f"{i:02d}.exe").write_bytes(data + b"tail" * i)
    (folder / "again.exe").write_bytes(sample("console-x86.exe") + b"tail")
    (folder / "empty.exe").write_bytes(b"")
    return folder


def test_the_threshold_keeps_its_promise(tmp_path: Path, clean: Path, bundle: Bundle) -> None:
    found = threshold_for([str(clean)], bundle, 0.1, "clean", ScanOptions())
    assert (found.files, found.fpr, found.unreadable) == (FILES, 0.1, 1)
    assert found.flagged <= 4
    assert found.rate == clopper_pearson(found.flagged, FILES)
    card = write(bundle, tmp_path / "new.onnx", threshold=threshold_of(found))
    assert card.weights_sha256 == bundle.card.weights_sha256
    again = bundles.load(tmp_path / "new.onnx")
    limit = again.card.threshold
    assert limit is not None
    assert (limit.low, limit.high) == (found.rate.low, found.rate.high)
    results = [r for r in scan([str(clean)], again, ScanOptions()) if isinstance(r, Result)]
    flagged = {r.sha256 for r in results if r.verdict.flagged}
    assert len(flagged) == found.flagged == sum(file.flagged for file in found.malware_like)


def test_a_kind_needs_as_many_files_as_all_do(clean: Path, bundle: Bundle) -> None:
    found = threshold_for([str(clean)], bundle, 0.1, "clean", ScanOptions())
    own = {row.kind: (row.files, row.own) for row in found.kinds}
    assert own == {"pe32": (36, True), "pe32+": (4, False)}
    assert found.kinds[1].margin == found.margin
    assert sum(row.flagged for row in found.kinds) == found.flagged <= 4  # of all kinds together
    assert set(threshold_of(found).kinds) == {"pe32"}
    asked = threshold_for([str(clean)], bundle, 0.25, "clean", ScanOptions(), kind_files=4)
    assert set(threshold_of(asked).kinds) == {"pe32", "pe32+"}
    with pytest.raises(MaltriageError, match="3 files of a kind: a rate"):
        threshold_for([str(clean)], bundle, 0.25, "clean", ScanOptions(), kind_files=3)


def test_a_file_that_is_never_flagged_has_no_say(tmp_path: Path, bundle: Bundle) -> None:
    """Scans flag no file whose headers cannot be read, whatever its margin is."""
    for i in range(30):
        (tmp_path / f"{i:02d}.exe").write_bytes(sample("console-x86.exe") + b"tail" * i)
    before = threshold_for([str(tmp_path)], bundle, 0.1, "x", ScanOptions())
    for name in ("a.exe", "b.exe"):  # equal files count once
        (tmp_path / name).write_bytes(b"MZ" + bytes(range(256)) * 64)
    found = threshold_for([str(tmp_path)], bundle, 0.1, "x", ScanOptions())
    assert (found.margin, found.files, found.kinds) == (before.margin, 30, before.kinds)
    assert (before.unreadable, found.unreadable) == (0, 1)


def test_clean_files_that_look_like_malware_are_named(tmp_path: Path, bundle: Bundle) -> None:
    """A byteplot of real malware is not to be had here: a label is made to look like one."""
    labels = tuple({"benign": "icedid", "icedid": "benign"}.get(x, x) for x in bundle.card.labels)
    turned = msgspec.structs.replace(bundle.card, labels=labels, threshold=None)
    bundles.with_card(bundle, turned, tmp_path / "turned.onnx")
    for i in range(30):
        (tmp_path / f"{i:02d}.exe").write_bytes(sample("console-x86.exe") + b"tail" * i)
    other = bundles.load(tmp_path / "turned.onnx")
    found = threshold_for([str(tmp_path)], other, 0.1, "x", ScanOptions())
    assert len(found.malware_like) == 30
    assert {file.label for file in found.malware_like} == {"icedid"}
    margins = [file.margin for file in found.malware_like]
    assert margins == sorted(margins, reverse=True)
    assert [file.flagged for file in found.malware_like] == [m >= found.margin for m in margins]


def test_a_rate_needs_three_times_its_inverse_in_files(clean: Path, bundle: Bundle) -> None:
    assert [files_needed(rate) for rate in (0.1, 0.01, 0.005, 0.001)] == [30, 300, 600, 3000]
    assert clopper_pearson(0, 30, level=0.9).high <= 0.1  # what the rule of three says
    with pytest.raises(MaltriageError, match=r"40 different clean files: .* 0.01 needs 300"):
        threshold_for([str(clean)], bundle, 0.01, "few", ScanOptions())


def test_files_that_the_model_has_in_its_index_have_no_say(
    tmp_path: Path, clean: Path, bundle: Bundle
) -> None:
    """It was usually trained on them, and is surer of them than of others."""
    write(bundle, tmp_path / "own.onnx")
    own = bundles.load(tmp_path / "own.onnx")
    files = [r for r in scan([str(clean)], own, ScanOptions()) if isinstance(r, Result)]
    names = sorted({file.sha256 for file in files})
    made = indexes.grown(indexes.empty(own), names[:8], ["benign"] * 8, np.eye(8, dtype=np.float32))
    index_file.write(made.index, tmp_path / "own.index.npz")
    found = threshold_for([str(clean)], own, 0.1, "clean", ScanOptions())
    assert (found.files, found.in_index) == (FILES - 8, 8)
    rest = frozenset(names[20:])
    with pytest.raises(MaltriageError, match=r"12 different clean files: .* 28 in the mod"):
        threshold_for([str(clean)], own, 0.1, "clean", ScanOptions(), trained_on=rest)


@links
def test_too_few_files_say_what_was_left_out(tmp_path: Path, bundle: Bundle) -> None:
    folder, away = tmp_path / "clean", tmp_path / "away"
    folder.mkdir()
    away.mkdir()
    for i in range(3):
        (away / f"{i}.exe").write_bytes(sample("console-x86.exe") + b"tail" * i)
        (folder / f"{i}.exe").symlink_to(away / f"{i}.exe")
    (folder / "a.txt").write_bytes(b"text")
    (folder / "b.exe").write_bytes(b"MZ" + bytes(range(256)) * 64)
    (folder / "c.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(MaltriageError) as error:
        threshold_for([str(folder)], bundle, 0.1, "clean", ScanOptions())
    assert str(error.value) == (
        "0 different clean files: a rate of 0.1 needs 30 (3 / rate); left out: 4 skipped"
        " (3 a link, 1 not PE), 1 failed, 1 without headers"
    )


@pytest.mark.parametrize(
    ("margin", "kinds", "said"),
    [
        (0.0, {}, None),
        (1.5, {"pe32": 0.2}, None),
        (-0.18, {}, "margin -0.180 is below even odds"),
        (0.4, {"pe32": -1.0}, "margin -1.000 (pe32) is below even odds"),
    ],
)
def test_a_threshold_below_even_odds_is_warned_of(
    margin: float, kinds: dict[str, float], said: str | None
) -> None:
    found = below_even_odds(margin, kinds)
    assert found == [] if said is None else found[0].startswith(said)


def test_a_rate_allows_whole_files() -> None:
    """0.0006 times 5,000 is 2.9999999999999996."""
    margins = [float(i) for i in range(5000)]
    for rate, count, flagged in ((0.0006, 5000, 3), (0.07, 100, 7), (0.0006, 4999, 2)):
        limit = limit_at(margins[:count], rate)
        assert sum(margin >= limit for margin in margins[:count]) == flagged


def test_cards_without_an_interval_are_read(bundle: Bundle) -> None:
    """Those of before there was one."""
    card = msgspec.to_builtins(bundle.card)
    for name in ("low", "high"):
        del card["threshold"][name]
    limit = msgspec.json.decode(msgspec.json.encode(card), type=Card).threshold
    assert limit is not None
    assert (limit.low, limit.high) == (None, None)


def test_a_card_with_an_impossible_interval_is_refused(tmp_path: Path, bundle: Bundle) -> None:
    assert bundle.card.threshold is not None
    limit = msgspec.structs.replace(bundle.card.threshold, low=0.1, high=1.5)
    with pytest.raises(MaltriageError, match=r"threshold\.high"):
        write(bundle, tmp_path / "new.onnx", threshold=limit)
