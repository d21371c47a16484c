"""The screen of verdicts under changes."""

from __future__ import annotations

from typing import Any

import msgspec
from report.screens import console_of, printed

from maltriage.metrics import Interval
from maltriage.report.documents.evaluation import Target
from maltriage.report.documents.record import ModelRef
from maltriage.report.documents.robustness import AttackFigures, Robustness, TransformFigures
from maltriage.report.studies.robustness import render

HOSTILE = "a[/x]\x1b]52;c;!\x07"


def made(**changes: Any) -> TransformFigures:
    found = TransformFigures(
        name="append-benign-50",
        text="",
        proxy=False,
        files=90,
        not_applicable={"the file ends before its sections do": 3},
        accuracy_before=0.9,
        accuracy_after=0.8,
        kept=Interval(0.75, 0.6, 0.8),
        flagged=40,
        unflagged=Interval(0.125, 0.0419, 0.268),
        clean=50,
        newly_flagged=Interval(0.02, 0.0, 0.1),
        top_kept=Interval(0.5, 0.4, 0.6),
        top_now={"overlay": 40, "header": 5},
    )
    return msgspec.structs.replace(found, **changes)


def document(**changes: Any) -> Robustness:
    found = Robustness(
        model=ModelRef(HOSTILE, "ab" * 32),
        part="out of fold",
        seen=False,
        files=93,
        unreadable=1,
        unknown_labels={HOSTILE: 2},
        missing=3,
        donors=HOSTILE,
        seed=4,
        threshold="card",
        accuracy=Interval(0.9, 0.85, 0.95),
        malware=45,
        malware_flagged=41,
        benign=50,
        benign_flagged=0,
        seconds=1.0,
        transforms=[made(), made(name="pack-proxy", proxy=True, unflagged=None, top_now={})],
        skipped={"wipe-rich": "no Rich header"},
        targets=[Target("append-benign-50", 0.125, None, 0.05, False)],
    )
    return msgspec.structs.replace(found, **changes)


def screen(found: Robustness) -> str:
    console = console_of(160)
    render(found, console)
    return printed(console)


def test_every_figure_is_there() -> None:
    text = screen(document())
    for part in (
        "part out of fold: 93 files, 0.900 with the right label (0.850 to 0.950)  (seed 4)",
        "flagged before: 41 of 45 malware, 0 of 50 benign (threshold: card)",
        "3 files in no fold, or missing",
        "1 file could not be measured",
        "90  0.900 → 0.800  75.0%  5/40 12.5% (4.2 to 26.8)",
        "1/50 2.0%     50.0%  overlay 40, header 5",
        "pack-proxy *",
        "* may break the program: a stand-in for a change that does not",
        "not applicable to 3 files, the file ends before its sections do: append-benign-50, pack",
        "not applicable to any file, no Rich header: wipe-rich",
        "target, append-benign-50: 12.5%, at most 5%: missed",
    ):
        assert part in text
    assert "trained" not in text
    assert "\x1b" not in text
    assert "\x07" not in text
    assert text.count("a[/x]") == 3


def test_what_is_doubtful_is_said() -> None:
    assert "the model was trained on these files" in screen(document(part="all", seen=True))
    assert "is not known" in screen(document(part="all"))
    text = screen(document(threshold=None, targets=[]))
    assert "no threshold" in text
    assert "target" not in text


def test_the_attack_is_a_line_of_its_own() -> None:
    attack = AttackFigures(
        share=0.1,
        least=4096,
        steps=10,
        seed=0,
        files=40,
        not_applicable=2,
        unflagged_random=Interval(0.0, 0.0, 0.09),
        unflagged=Interval(0.25, 0.127, 0.412),
        margin=6.5,
        margin_random=6.4,
        margin_attacked=3.25,
    )
    text = " ".join(screen(document(attack=attack)).split())
    for part in (
        "(10 % of it, at least 4,096, in up to 10 steps): 10/40 25.0% of flagged malware",
        "unflagged (12.7 to 41.2); as many random bytes: 0/40 0.0%",
        "Median margin +6.500, random +6.400, chosen +3.250. Not applicable to 2 files.",
    ):
        assert part in text
    assert "gradient" not in screen(document())


def test_documents_come_back_whole() -> None:
    found = document()
    assert msgspec.json.decode(msgspec.json.encode(found), type=Robustness) == found
