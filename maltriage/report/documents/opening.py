"""The first sentences of an explanation: what the record says, in words.

Each sentence is a template filled from the record, so none can say what the record does not.
Names of labels and regions are not sanitized here.
"""

from __future__ import annotations

from collections.abc import Iterator

from maltriage.report import numbers
from maltriage.report.documents import facts
from maltriage.report.documents.record import Result, Verdict

MOSTLY = 0.5
"""Share of what decided from which it is said to lie on what clean programs have."""


def opening(result: Result) -> str:
    """The sentences on one file."""
    return " ".join((_looks(result.verdict), *_caveat(result), *_decided(result)))


def _looks(verdict: Verdict) -> str:
    """What the file looks like."""
    sure = f" ({numbers.probability(verdict.probability)})" if verdict.calibrated else ""
    score = f"score {numbers.score(facts.score(verdict))} of 100"
    if verdict.flagged is None:
        if verdict.label == facts.UNKNOWN:
            return "Not judged: nothing is clear, or the headers cannot be read."
        return f"Most like {verdict.label}{sure}; the model flags nothing, as it has no threshold."
    if verdict.label == facts.BENIGN:
        return f"Looks clean{sure}, not flagged: {score}, where 50 is flagged."
    if verdict.label == facts.SUSPICIOUS:
        return f"Flagged as malware ({score}), though clean is the likeliest single label."
    near = f"; the closest is {verdict.closest}" if verdict.closest else ""
    if verdict.label == facts.UNKNOWN and verdict.flagged:
        return f"Flagged as malware ({score}) of no family that the model can name{near}."
    if verdict.label == facts.UNKNOWN:
        return f"Not flagged ({score}, where 50 is), and not clearly clean either."
    if verdict.flagged:
        return f"Looks like {verdict.label}{sure}, flagged: {score}."
    return f"Looks most like {verdict.label}{sure}, but is not flagged: {score}, where 50 is."


def _caveat(result: Result) -> Iterator[str]:
    if any(notice.code == "outside-training" for notice in result.notices):
        yield "Hardly any malware that the model learned from was of this kind: it says little."


def _decided(result: Result) -> Iterator[str]:
    """Where the explained score is from, how its claims stood their test, and what is near."""
    evidence = result.evidence
    top = sorted(evidence.regions, key=lambda region: -region.contribution)[:2]
    top = [region for region in top if region.contribution > 0.0]
    if top:
        names = " and ".join(facts.region_name(region.name) for region in top)
        whole = sum(max(0.0, region.contribution) for region in evidence.regions)
        share = numbers.share(sum(region.contribution for region in top) / whole)
        yield f"{share} of the heat for {facts.explained(evidence)} is in {names}."
    if evidence.checks is not None:
        held, claims = facts.supports(evidence.checks)
        if claims:
            yield f"{held} of {numbers.count(claims, 'claim')} held when the bytes were masked."
    common = evidence.common
    if common is not None and evidence.logit > 0.0:
        part = common.contribution / evidence.logit
        if part >= MOSTLY:
            much = numbers.share(min(part, 1.0))
            # What speaks for a clean program may well be what clean programs have.
            little = "" if facts.explained(evidence) == facts.BENIGN else ", and says little"
            yield f"{much} of what decided lies on bytes that clean programs have{little}."
    if result.similar is not None and result.similar.nearest:
        nearest = result.similar.nearest[0]
        label = "malware of another family" if nearest.label == facts.OTHER else nearest.label
        yield f"The nearest labelled file is {label}, at {nearest.distance:.2f}."
