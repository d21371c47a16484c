from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maltriage import bundle as bundles
from maltriage.bundle import Card, OpenSet, Threshold
from maltriage.errors import MaltriageError
from maltriage.metrics import margins
from maltriage.report.documents.facts import score
from maltriage.sample.types import Layout
from maltriage.triage.novelty import of_stats
from maltriage.triage.prediction_sets import SetRule
from maltriage.triage.verdict import (
    Question,
    asked,
    decide,
    has_headers,
    outside_training,
    probabilities,
    unlike_training,
)


@pytest.fixture(scope="module")
def card() -> Card:
    card = bundles.load(bundles.resolve(None)).card
    return msgspec.structs.replace(
        card,
        labels=("benign", "icedid", "maze"),
        temperature=2.0,
        two_questions=False,
        threshold=Threshold(margin=-1.0, fpr=0.01, goodware="some", files=100, flagged=1),
    )


def test_a_flagged_family(card: Card) -> None:
    verdict, question = decide(np.array([0.0, 3.0, 1.0]), card)
    assert (verdict.label, verdict.flagged, verdict.closest) == ("icedid", True, None)
    assert question == Question(1, 0)
    assert verdict.probability == verdict.ranked[0].probability
    assert verdict.margin == pytest.approx(np.logaddexp(3.0, 1.0))
    assert verdict.score == score(verdict)
    assert verdict.score is not None
    assert verdict.score > 50.0


def test_flagged_with_benign_on_top_is_suspicious(card: Card) -> None:
    verdict, question = decide(np.array([2.0, 0.0, 1.5]), card)
    assert (verdict.label, verdict.closest) == ("suspicious", "maze")
    assert question == Question(2, 0)
    assert verdict.probability == pytest.approx(1 - verdict.ranked[0].probability)


def test_clean(card: Card) -> None:
    verdict, question = decide(np.array([5.0, 0.0, 1.0]), card)
    assert (verdict.label, verdict.flagged) == ("benign", False)
    assert question == Question(0)


def test_a_family_below_the_threshold_is_unknown(card: Card) -> None:
    high = msgspec.structs.replace(
        card, threshold=msgspec.structs.replace(card.threshold, margin=9.0)
    )
    verdict, question = decide(np.array([0.0, 3.0, 1.0]), high)
    assert (verdict.label, verdict.closest, verdict.flagged) == ("unknown", "icedid", False)
    assert question == Question(1, 0)


def test_two_questions(card: Card) -> None:
    """Against benign the score is the log odds of malware, whatever the family."""
    two = msgspec.structs.replace(card, two_questions=True)
    logits = np.array([1.0, 3.0, 2.0])
    odds = float(np.logaddexp(3.0, 2.0) - 1.0)
    _, question = decide(logits, two)
    assert question == Question(1, 0, clean=0)
    assert question.is_odds
    assert question.score(logits) == pytest.approx(odds)
    assert float(question.score(logits.astype(np.float32))) == pytest.approx(odds, rel=1e-12)
    np.testing.assert_allclose(asked(question, logits, 2, 0).score(np.stack([logits] * 2)), odds)
    assert asked(question, logits, 0).score(logits) == pytest.approx(-odds)
    family = asked(question, logits, 1)
    assert family == Question(1, None, clean=0)
    assert not family.is_odds
    assert family.score(logits) == 3.0
    assert asked(question, logits, 1, 2).score(logits) == 1.0
    one = Question(1, 0)
    assert one.score(logits) == 2.0


def test_malware_of_no_family_is_unknown_and_flagged(card: Card) -> None:
    other = msgspec.structs.replace(card, labels=("benign", "_other", "maze"))
    verdict, question = decide(np.array([0.0, 3.0, 1.0]), other)
    assert (verdict.label, verdict.closest, verdict.flagged) == ("unknown", "maze", True)
    assert question == Question(1, 0)  # what is explained is why it is flagged
    named, _ = decide(np.array([0.0, 1.0, 3.0]), other)
    assert named.label == "maze"


def test_no_benign_at_an_even_chance(card: Card) -> None:
    high = msgspec.structs.replace(
        card, threshold=msgspec.structs.replace(card.threshold, margin=9.0)
    )
    verdict, question = decide(np.array([1.0, 0.9, 0.9]), high)
    assert (verdict.label, verdict.flagged, verdict.ranked[0].label) == ("unknown", False, "benign")
    assert verdict.closest in ("icedid", "maze")
    assert question == Question(1, 0)
    verdict, _ = decide(np.array([0.0, 0.0, -5000.0]), high)
    assert verdict.ranked[0].probability == 0.5
    assert (verdict.label, verdict.flagged, verdict.ranked[0].label) == ("unknown", False, "benign")


def test_nothing_is_said_where_headers_cannot_be_read(card: Card) -> None:
    for logits in ([0.0, 3.0, 1.0], [5.0, 0.0, 0.0]):
        verdict, _ = decide(np.array(logits), card, readable=False)
        assert (verdict.label, verdict.flagged, verdict.calibrated) == ("unknown", None, False)


def test_probabilities_of_kinds_outside_of_training_are_not_calibrated(card: Card) -> None:
    training = msgspec.structs.replace(card.training, malware_kinds={"pe32": 99, "pe32+": 1})
    narrow = msgspec.structs.replace(card, training=training)
    for kind, calibrated in (("pe32", True), ("pe32+", False)):
        assert decide(np.array([5.0, 0.0, 0.0]), narrow, kind)[0].calibrated == calibrated


def rule(*limits: float) -> SetRule:
    return SetRule(0.9, np.array(limits), ())


def test_a_family_that_does_not_fit_is_unknown_and_flagged(card: Card) -> None:
    logits = np.array([0.0, 3.0, 1.0])
    plain, question = decide(logits, card)
    shares = {row.label: row.probability for row in plain.ranked}
    named, _ = decide(logits, card, rule=rule(0.1, 1 - shares["icedid"], 0.1))
    assert (named.label, named.closest, named.set) == ("icedid", None, ["icedid"])
    verdict, asked_now = decide(logits, card, rule=rule(0.1, 0.999 - shares["icedid"], 0.1))
    assert (verdict.label, verdict.closest, verdict.flagged) == ("unknown", "icedid", True)
    assert (verdict.set, verdict.coverage) == ([], 0.9)
    assert verdict.probability == shares["icedid"]
    assert asked_now == question == Question(1, 0)


def test_what_is_like_nothing_known_is_not_named(card: Card) -> None:
    stats = OpenSet(
        means={"icedid": (-1.0, 2.0, -1.0)},
        energy_mean=0.0,
        energy_sd=1.0,
        distance_mean=0.0,
        distance_sd=1.0,
        limit=5.0,
        acceptance=0.95,
        files=100,
        source="a test",
    )
    logits, everything = np.array([0.0, 3.0, 1.0]), rule(1.0, 1.0, 1.0)
    score = float(of_stats(stats).score(logits))
    plain, _ = decide(logits, card)
    for limit, label in ((score, "icedid"), (score - 0.01, "unknown")):
        novelty = of_stats(msgspec.structs.replace(stats, limit=limit))
        verdict, question = decide(logits, card, rule=everything, novelty=novelty)
        assert (verdict.label, verdict.flagged) == (label, True)
        assert (verdict.novelty, verdict.novelty_limit) == (score, limit)
        assert question == Question(1, 0)
        alone, _ = decide(logits, card, novelty=novelty)
        assert (alone.label, alone.set) == (label, None)
        clean, _ = decide(np.array([5.0, 0.0, 1.0]), card, novelty=novelty)
        assert clean.label == "benign"
        training = msgspec.structs.replace(card.training, malware_kinds={"pe32": 9})
        known = msgspec.structs.replace(card, open_set=novelty.stats, training=training)
        layout = Layout("lief", None, 32, False, None, [], {})
        codes = [notice.code for notice in unlike_training(verdict, layout, known)]
        assert codes == (["unlike-training"] if label == "unknown" else [])
        other = msgspec.structs.replace(layout, bits=64)  # is outside-training instead
        assert unlike_training(verdict, other, known) == []
        assert unlike_training(plain, layout, known) == []


def test_a_kind_outside_training_has_no_set(card: Card) -> None:
    training = msgspec.structs.replace(card.training, malware_kinds={"pe32": 97, "pe32+": 3})
    known = msgspec.structs.replace(card, training=training)
    logits = np.array([0.0, 9.0, 1.0])
    for kind, label in (("pe32", "icedid"), ("pe32+", "unknown"), (".net", "unknown")):
        verdict, _ = decide(logits, known, kind, rule(1.0, 1.0, 1.0))
        assert (verdict.label, verdict.flagged) == (label, True)
        assert (verdict.set is None) == (verdict.coverage is None) == (label == "unknown")
    assert decide(logits, known, "pe32+")[0].label == "icedid"  # of a model without sets
    assert decide(logits, known, None, rule(1.0, 1.0, 1.0))[0].set is not None


def test_of_several_families_in_the_set_none_is_named(card: Card) -> None:
    logits = np.array([0.5, 1.2, 1.0])
    verdict, _ = decide(logits, card, rule=rule(1.0, 1.0, 1.0))
    assert (verdict.label, verdict.closest) == ("unknown", "icedid")
    assert verdict.set == ["icedid", "maze", "benign"]  # the likeliest first


def test_what_benign_is_called_does_not_depend_on_the_set(card: Card) -> None:
    verdict, _ = decide(np.array([5.0, 0.0, 1.0]), card, rule=rule(0.0, 0.0, 0.0))
    assert (verdict.label, verdict.flagged, verdict.set) == ("benign", False, [])
    verdict, _ = decide(np.array([2.0, 0.0, 1.5]), card, rule=rule(0.0, 0.0, 0.0))
    assert (verdict.label, verdict.closest, verdict.flagged) == ("suspicious", "maze", True)


def test_without_benign_nothing_is_flagged(card: Card) -> None:
    families = msgspec.structs.replace(card, labels=("agent", "icedid", "maze"), threshold=None)
    verdict, _ = decide(np.array([0.0, 3.0, 1.0]), families)
    assert (verdict.flagged, verdict.margin, verdict.threshold) == (None, None, None)
    assert verdict.goodware is None


def test_without_a_threshold_nothing_is_flagged(card: Card) -> None:
    verdict, _ = decide(np.array([0.0, 3.0, 1.0]), msgspec.structs.replace(card, threshold=None))
    assert (verdict.label, verdict.flagged) == ("icedid", None)
    assert verdict.margin is not None


@given(st.lists(st.floats(-300, 300), min_size=3, max_size=3))
def test_margin_stays_finite(values: list[float]) -> None:
    found = float(margins(np.array([values]), 0)[0])
    assert np.isfinite(found)
    assert found == pytest.approx(np.logaddexp(values[1], values[2]) - values[0], abs=1e-9)


def test_temperature_and_uncalibrated(card: Card) -> None:
    logits = np.array([0.0, 1.0, 2.0])
    soft = probabilities(logits, card)
    plain = probabilities(logits, msgspec.structs.replace(card, temperature=None))
    assert soft.sum() == pytest.approx(1.0)
    assert soft.max() < plain.max()
    assert probabilities(np.stack([logits, -logits]), card)[0] == pytest.approx(soft)
    verdict, _ = decide(logits, msgspec.structs.replace(card, temperature=None))
    assert verdict.calibrated is False


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_logit_that_is_no_number_is_an_error(card: Card, bad: float) -> None:
    with pytest.raises(MaltriageError, match="not a number"):
        decide(np.array([0.0, bad, 1.0]), card)


def test_models_folder_is_in_the_checkout() -> None:
    assert (Path(bundles.models_dir()) / "NOTICE").is_file()


@pytest.mark.parametrize(
    ("bits", "dotnet", "codes"),
    [
        (32, False, []),
        (64, False, ["outside-training"]),
        (32, True, ["outside-training"]),
        (None, False, []),
    ],
)
def test_kinds_hardly_seen_as_malware_are_noted(
    card: Card, bits: int | None, dotnet: bool, codes: list[str]
) -> None:
    training = msgspec.structs.replace(card.training, malware_kinds={"pe32": 97, "pe32+": 3})
    known = msgspec.structs.replace(card, training=training)
    layout = Layout("lief", None, bits, dotnet, None, [], {})
    assert [notice.code for notice in outside_training(layout, known)] == codes
    silent = msgspec.structs.replace(card.training, malware_kinds={})
    assert outside_training(layout, msgspec.structs.replace(card, training=silent)) == []


def test_a_notice_has_separators_in_its_counts(card: Card) -> None:
    kinds = {"pe32": 198_000, "pe32+": 1067}
    training = msgspec.structs.replace(card.training, malware_kinds=kinds)
    layout = Layout("lief", None, 64, False, None, [], {})
    (notice,) = outside_training(layout, msgspec.structs.replace(card, training=training))
    assert "1,067 of the 199,067 malware files" in notice.text


def test_a_kind_has_a_threshold_of_its_own(card: Card) -> None:
    assert card.threshold is not None
    threshold = msgspec.structs.replace(card.threshold, margin=0.0, kinds={"pe32": 5.0})
    known = msgspec.structs.replace(card, threshold=threshold)
    logits = np.array([0.0, 2.0, 1.0])
    flags = {kind: decide(logits, known, kind)[0].flagged for kind in ("pe32", "pe32+", None)}
    assert flags == {"pe32": False, "pe32+": True, None: True}
    assert decide(logits, known, "pe32")[0].threshold == 5.0
    # 100 clean files of all kinds: how many of them were of this kind the card does not say.
    assert decide(logits, known, "pe32")[0].goodware_files is None
    assert decide(logits, known, "pe32+")[0].goodware_files == 100


@pytest.mark.parametrize(
    ("kind", "format", "may"),
    [("pe32", "pe", True), (None, "pe", False), (None, "png", False), (None, "bytes", True)],
)
def test_what_is_flagged_has_headers_or_a_format_without(
    kind: str | None, format: str, may: bool
) -> None:
    assert has_headers(kind, format) is may


@pytest.mark.parametrize(
    ("label", "against", "question"),
    [
        (None, None, Question(2, 0)),  # what the verdict says
        (1, None, Question(1)),
        (1, 3, Question(1, 3)),
        (None, 3, Question(2, 3)),
        (None, 2, Question(1, 2)),  # the verdict's own: the likeliest other
    ],
)
def test_what_the_user_asks(label: int | None, against: int | None, question: Question) -> None:
    logits = np.array([0.5, 2.0, 3.0, -1.0])
    assert asked(Question(2, 0), logits, label, against) == question
