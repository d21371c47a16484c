"""The first sentences of an explanation, for every kind of verdict."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from report.factories import (
    make_check,
    make_checked,
    make_evidence,
    make_layout,
    make_result,
    make_similar,
    make_verdict,
)

from maltriage.report.documents import facts
from maltriage.report.documents.evidence import Common, RegionHeat, Status, ViewHeat
from maltriage.report.documents.opening import opening
from maltriage.report.documents.record import Ranked, Result, Verdict
from maltriage.sample.types import Region

FLAGGED = "Flagged as malware (score 59 of 100)"
NOT_FLAGGED = "Not flagged (score 26 of 100, where 50 is)"


def behind(likeliest: str, probability: float, margin: float, near: float) -> Verdict:
    """An unknown file whose likeliest label is no family; `near`: the probability of maze."""
    ranked = [Ranked(likeliest, probability), Ranked("maze", near)]
    return make_verdict("unknown", probability, margin, closest="maze", ranked=ranked)


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
    "no family": (
        behind("_other", 0.4, 1.6, 0.3),
        f"{FLAGGED} of no family that the model can name; the closest is maze.",
    ),
    "no family, none near": (
        behind("_other", 0.6, 1.6, 0.001),
        f"{FLAGGED} of no family that the model can name.",
    ),
    "a family that does not fit": (
        make_verdict("unknown", 0.4, 1.6, closest="maze"),
        f"{FLAGGED}, most like maze (40.0%), which does not fit well enough to be named.",
    ),
    "unknown": (
        make_verdict("unknown", 0.776, 0.2, closest="maze"),
        "Not flagged (score 26 of 100, where 50 is), though most like maze (77.6%).",
    ),
    "unknown, of no family": (
        behind("_other", 0.5, 0.2, 0.3),
        f"{NOT_FLAGGED}, though most like malware of no named family (50.0%).",
    ),
    "neither": (
        behind("benign", 0.45, 0.2, 0.3),
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
    "nothing likely": (
        make_verdict("unknown", 0.4, 8.0, None, fpr=0.01, calibrated=False),
        "Not judged: no label is likely, and the model flags nothing (no threshold).",
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


def with_evidence(result: Result, **changes: Any) -> Result:
    return msgspec.structs.replace(
        result, evidence=msgspec.structs.replace(result.evidence, **changes)
    )


def test_what_decided_follows() -> None:
    result = make_checked(similar=make_similar(0.19, label="maze"))
    text = opening(result)
    held, claims = facts.supports(result.evidence.checks)  # type: ignore[arg-type]
    assert f" {held} of {claims} claims held when the bytes were masked." in text
    assert text.endswith(" The nearest labelled file is maze, at 0.19.")
    assert (
        " What speaks most for icedid is .text (46.3% of all heat, for and against) and .rsrc"
        " (29.1%, spread over 153K; masking contradicts it). "
    ) in text
    outside = make_result(notices=(("outside-training", "x"),))
    assert " Hardly any malware that the model learned from was of this kind" in opening(outside)


def test_shares_are_those_of_the_table() -> None:
    """Of all heat, that against it included, which is named where it is the largest."""
    result = make_result()
    regions = [
        msgspec.structs.replace(region, contribution=amount, share=amount / 4.0)
        for region, amount in zip(result.evidence.regions, (0.5, -3.0, 0.4, 0.1), strict=False)
    ]
    first, against, second, _ = (region.name for region in regions)
    assert (
        f" What speaks most for icedid is {first} (12.5% of all heat, for and against) and {second}"
        f" (10.0%, spread over 46K); {against} speaks more against it (75.0%)."
    ) in opening(with_evidence(result, regions=regions))


@pytest.mark.parametrize(("part", "named"), [(0.05, False), (0.2, True)])
def test_a_region_that_adds_little_is_not_named(part: float, named: bool) -> None:
    result = make_result()
    first, second, *rest = result.evidence.regions
    regions = [
        msgspec.structs.replace(first, name="most", contribution=2.0),
        msgspec.structs.replace(second, name="little", contribution=2.0 * part),
        *(msgspec.structs.replace(region, contribution=0.0) for region in rest),
    ]
    text = opening(with_evidence(result, regions=regions))
    assert "What speaks most for icedid is most (" in text
    assert (" and little (" in text) == named


def test_regions_of_one_name_are_told_apart() -> None:
    result = make_result()
    regions = [msgspec.structs.replace(region, name="SE") for region in result.evidence.regions]
    top = sorted(regions, key=lambda region: -region.contribution)[:2]
    text = opening(with_evidence(result, regions=regions))
    assert f"SE at {top[0].start:#x} (46.3% of all heat, for and against) and SE at" in text


def test_a_file_that_has_a_label_has_it_first() -> None:
    """Whatever the model says of it."""
    clean = make_verdict("benign", 0.95, -3.0)
    for label, called in (("maze", "maze"), ("_other", "malware of no named family")):
        text = opening(make_result(verdict=clean, similar=make_similar(0.2, known_as=label)))
        assert text.startswith(
            f"Known malware: this very file is in the index of labelled files, as {called}."
            " The model alone does not see it. Looks clean (95.0%)"
        )
        assert text.endswith("The nearest other labelled file is icedid, at 0.20.")
    text = opening(make_result(similar=make_similar(0.2, known_as="maze")))
    assert text.startswith(
        "Known malware: this very file is in the index of labelled files, as maze."
    )
    assert "does not see it" not in text
    text = opening(make_result(verdict=clean, similar=make_similar(0.2, known_as="benign")))
    assert text.startswith("This very file is in the index of labelled files, as benign. Looks")


def test_a_kind_whose_families_are_not_named() -> None:
    verdict = make_verdict("unknown", 0.954, 1.6, closest="maze", calibrated=False)
    text = opening(make_result(verdict=verdict, notices=(("outside-training", "x"),)))
    assert text.startswith(
        f"{FLAGGED}, most like maze; no family is named for files of this kind. Hardly any malware"
    )


@pytest.mark.parametrize(
    ("members", "said"),
    [(["maze"], True), ([], True), (["benign", "maze"], False), (None, False)],
)
def test_a_clean_verdict_that_its_own_set_leaves_out(members: list[str] | None, said: bool) -> None:
    verdict = make_verdict("benign", 0.826, -3.0, set=members, coverage=0.9)
    text = opening(make_result(verdict=verdict))
    assert (" Clean is not in its prediction set, which is right for 90%." in text) == said


def test_a_verdict_on_what_is_like_nothing_is_called_a_guess() -> None:
    text = opening(make_result(notices=(("unlike-training", "x"),), similar=make_similar(0.56)))
    assert " It is like nothing that the model learned, so the verdict may be a guess." in text
    assert text.endswith(" No labelled file is near: the nearest, icedid, is at 0.56.")


@pytest.mark.parametrize(
    ("points", "end", "log_odds", "said"),
    [
        (0.0, 0x3000, True, " 67% of the file lies behind the program and does not count."),
        (0.0, 0x1800, True, None),
        (0.1, 0x3000, True, None),
        (0.0, 0x3000, False, None),
    ],
)
def test_what_does_not_count_is_told_where_it_is_most(
    points: float, end: int, log_odds: bool, said: str | None
) -> None:
    """Most of an installer lies in its overlay, which has no say in whether it is malware."""
    regions = [
        RegionHeat(".text", "section", 0, 0x1000, 6.1, -0.5, 0.2),
        RegionHeat("(overlay)", "overlay", 0x1000, end, 7.9, points, 0.8),
    ]
    evidence = msgspec.structs.replace(make_evidence(), regions=regions, log_odds=log_odds)
    text = opening(msgspec.structs.replace(make_result(), evidence=evidence))
    assert ("behind the program" in text) == (said is not None)
    assert said is None or said in text


def test_malware_of_no_family_is_called_so() -> None:
    text = opening(make_result(similar=make_similar(0.25, label="_other")))
    assert text.endswith("The nearest labelled file is malware of no named family, at 0.25.")
    other = with_evidence(make_result(), label="_other")
    assert "What speaks most for malware of no named family is .text (" in opening(other)


@pytest.mark.parametrize("common", [4.0, 5.0, 3.2, 1.0, -1.0])
@pytest.mark.parametrize("label", ["benign", "icedid"])
def test_what_clean_programs_have_is_told_in_sums_that_close(label: str, common: float) -> None:
    """No share: parts of the sums cancel. Only of a clean program what others have may well
    speak."""
    result = with_evidence(make_result(), label=label, against=None)
    evidence, found = result.evidence, Common(0.5, 51, 2258, common)
    text = opening(with_evidence(result, common=found))
    regions = sum(region.contribution for region in evidence.regions)
    own, rest = regions - common, evidence.padding + evidence.bias
    little = " and says little" if label != "benign" and common >= abs(own) else ""
    assert (
        f" Of {evidence.logit:+.3f} in all for {label}, {common:+.3f} lies on bytes that clean"
        f" programs have too{little}, {own:+.3f} on the file's own, and {rest:+.3f} on none"
        " (padding, baseline and bias)."
    ) in text
    assert "of what decided" not in text
    parts = dict(facts.origins(evidence, found))
    assert parts["the file's own bytes"] == pytest.approx(own)
    assert parts["padding, baseline and bias"] == pytest.approx(rest)
    assert sum(parts.values()) == pytest.approx(evidence.logit)


def test_heat_that_does_not_add_up_has_no_third_sum() -> None:
    result = with_evidence(make_result(), additive=False, logit=7.5)
    text = opening(with_evidence(result, common=Common(0.5, 51, 2258, 1.0)))
    assert (
        " Of the heat, +1.000 lies on bytes that clean programs have too, and +2.223 on the file's"
        " own."
    ) in text


def test_heat_that_no_range_shows_is_called_spread() -> None:
    """And which views of all bytes add most: the account has no regions of a view."""
    result = make_result()
    views = [
        ViewHeat("words", 1.2, None, None),
        ViewHeat("entropy", 2.3, None, None),
        ViewHeat("code", 0.4, 0x400, 0x1400),
    ]
    hot = [msgspec.structs.replace(result.evidence.hot[0], contribution=0.3)]
    text = opening(with_evidence(result, hot=hot, views=views))
    assert ".text (46.3% of all heat, for and against, spread over 170K) and" in text
    assert (" Most is spread thin: the entropy of its bytes (+2.30) and its words (+1.20).") in text
    shown = opening(with_evidence(result, views=[*views[2:], ViewHeat("body", 9.0, None, None)]))
    assert "spread thin" not in shown
    held = [msgspec.structs.replace(result.evidence.hot[0], contribution=1.5)]
    assert ".text (46.3% of all heat, for and against) and" in opening(
        with_evidence(result, hot=held, views=views)
    )


@pytest.mark.parametrize(
    ("status", "measured", "controls", "said"),
    [
        ("weak", 0.7, True, "; masking took away 0.70 of 1.98)"),
        ("weak", 1.2, True, "; masking took away 1.20 of 1.98, as much elsewhere)"),
        ("weak", 1.2, False, "; masking took away 1.20 of 1.98, but not every mask did)"),
        ("weak", -0.1, True, "; masking took nothing away of 1.98)"),
        ("understated", 7.0, True, "; masking took away 7.00, more than the 1.98)"),
        ("contradicted", -0.7, True, "; masking contradicts it)"),
    ],
)
def test_a_claim_that_did_not_hold_is_not_told_as_if_it_had(
    status: Status, measured: float, controls: bool, said: str
) -> None:
    result = make_checked()
    checks = result.evidence.checks
    assert checks is not None
    regions = [
        make_check(c.start, c.end, c.claimed, measured, status, controls) if c.start == 0x400 else c
        for c in checks.regions
    ]
    checks = msgspec.structs.replace(checks, regions=regions)
    assert f".text (46.3% of all heat, for and against{said}" in opening(
        with_evidence(result, checks=checks)
    )


def test_a_file_whose_headers_cannot_be_read_is_not_explained() -> None:
    """What is nearest and what speaks most mean nothing there."""
    verdict = make_verdict("unknown", 0.6, 8.0, None, fpr=0.01, calibrated=False)
    layout = make_layout(regions=[Region("(whole file)", "unparsed", 0, 100, None, 3.2)])
    result = make_result(
        verdict=verdict, layout=layout, similar=make_similar(0.02), notices=(("small", "x"),)
    )
    assert opening(result) == "Not judged: the headers cannot be read."
    assert facts.not_judged(result) == "the headers cannot be read"
    known = make_result(verdict=verdict, layout=layout, similar=make_similar(known_as="maze"))
    assert opening(known).startswith(
        "Known malware: this very file is in the index of labelled files, as maze. Not"
    )


def test_why_a_file_is_not_judged_is_one_reason() -> None:
    without = make_result(verdict=make_verdict("icedid", 0.9, None, None))
    assert facts.not_judged(without) == "the model has no benign label"
    unset = make_result(verdict=make_verdict("icedid", 0.9, 3.0, None))
    assert facts.not_judged(unset) == "the model has no threshold"


def test_how_much_clean_programs_have_is_of_bytes_and_packages_of_a_byte() -> None:
    some, all_of_it = Common(0.678, 413, 2276, 1.0), Common(1.0, 497, 2276, 1.0)
    assert facts.common(some) == (
        "67.8% of it is in clean programs, a typical byte of that in 413 of 2,276 packages"
    )
    assert facts.common(all_of_it) == (
        "all of it is in clean programs, a typical byte of it in 497 of 2,276 packages"
    )


@pytest.mark.parametrize("kind", VERDICTS)
def test_the_score_says_what_the_flag_says(kind: str) -> None:
    verdict: Any = VERDICTS[kind][0]
    score = facts.score(verdict)
    if verdict.flagged is None:
        assert score is None
    else:
        assert score is not None
        assert (score >= 50.0) == verdict.flagged
