"""The first sentences of an explanation, for every kind of verdict."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from report.factories import make_checked, make_result, make_similar, make_verdict

from maltriage.report.documents import facts
from maltriage.report.documents.evidence import Common
from maltriage.report.documents.opening import opening
from maltriage.report.documents.record import Verdict

NO_FAMILY = (
    "Flagged as malware (score 59 of 100) of no family that the model can name; the closest is"
    " maze."
)
VERDICTS: dict[str, tuple[Verdict, str]] = {
    "family": (make_verdict(), "Looks like icedid (92.1%), flagged: score 90 of 100."),
    "uncalibrated": (
        make_verdict(calibrated=False),
        "Looks like icedid, flagged: score 90 of 100.",
    ),
    "suspicious": (
        make_verdict("suspicious", 0.4, 1.6, closest="maze"),
        "Flagged as malware (score 59 of 100), though clean is the likeliest single label.",
    ),
    "no family": (make_verdict("unknown", 0.4, 1.6, closest="maze"), NO_FAMILY),
    "unknown": (
        make_verdict("unknown", 0.776, 0.2, closest="maze"),
        "Not flagged (score 26 of 100, where 50 is), and not clearly clean either.",
    ),
    "below": (
        make_verdict("maze", 0.5, 0.9),
        "Looks most like maze (50.0%), but is not flagged: score 42 of 100, where 50 is.",
    ),
    "clean": (
        make_verdict("benign", 0.988, -6.2),
        "Looks clean (98.8%), not flagged: score 0 of 100, where 50 is flagged.",
    ),
    "unreadable": (
        make_verdict("unknown", 0.9, 8.0, None, fpr=0.01, calibrated=False),
        "Not judged: nothing is clear, or the headers cannot be read.",
    ),
    "no threshold": (
        make_verdict("icedid", 0.9, None, None),
        "Most like icedid (90.0%); the model flags nothing, as it has no threshold.",
    ),
}


@pytest.mark.parametrize("kind", VERDICTS)
def test_each_kind_of_verdict_has_its_sentence(kind: str) -> None:
    verdict, said = VERDICTS[kind]
    text = opening(make_result(verdict=verdict))
    assert text.startswith(said + " ")
    assert ("flagged:" in text and "not flagged:" not in text) <= bool(verdict.flagged)
    if not verdict.calibrated:
        assert "%" not in said


def test_what_decided_follows() -> None:
    result = make_checked(similar=make_similar(0.19, label="maze"))
    text = opening(result)
    held, claims = facts.supports(result.evidence.checks)  # type: ignore[arg-type]
    assert f" {held} of {claims} claims held when the bytes were masked." in text
    assert text.endswith(" The nearest labelled file is maze, at 0.19.")
    assert " of the heat for " in text
    outside = make_result(notices=(("outside-training", "x"),))
    assert " Hardly any malware that the model learned from was of this kind" in opening(outside)


def test_common_bytes_speak_for_a_clean_program() -> None:
    result = make_result(verdict=make_verdict("benign", 0.99, -6.0))
    common = Common(0.5, 51, 2258, 0.8 * result.evidence.logit)
    evidence = msgspec.structs.replace(result.evidence, common=common)
    text = opening(msgspec.structs.replace(result, evidence=evidence))
    assert "80.0% of what decided lies on bytes that clean programs have." in text


def test_malware_of_no_family_is_called_so() -> None:
    text = opening(make_result(similar=make_similar(0.25, label="_other")))
    assert text.endswith("The nearest labelled file is malware of another family, at 0.25.")


@pytest.mark.parametrize(("part", "said"), [(0.6, True), (0.4, False), (-0.5, False)])
def test_a_score_on_common_bytes_is_called_so(part: float, said: bool) -> None:
    result = make_result()
    logit = result.evidence.logit
    common = Common(0.5, 51, 2258, part * logit)
    evidence = msgspec.structs.replace(result.evidence, common=common)
    text = opening(msgspec.structs.replace(result, evidence=evidence))
    line = f"{part:.1%} of what decided lies on bytes that clean programs have, and says little."
    assert logit > 0
    assert (line in text) == said


@pytest.mark.parametrize("kind", VERDICTS)
def test_the_score_says_what_the_flag_says(kind: str) -> None:
    verdict: Any = VERDICTS[kind][0]
    score = facts.score(verdict)
    if verdict.flagged is None:
        assert score is None
    else:
        assert score is not None
        assert (score >= 50.0) == verdict.flagged
