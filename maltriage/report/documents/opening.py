"""The first sentences of an explanation: what the record says, in words.

Each sentence is a template filled from the record, so none can say what the record does not.
Names of labels and regions are not sanitized here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from maltriage.report import numbers
from maltriage.report.documents import facts
from maltriage.report.documents.evidence import HOT_BLOCK, Check, Evidence, RegionHeat
from maltriage.report.documents.record import Result, Similar, Verdict
from maltriage.sample.types import BENIGN, OTHER

MOSTLY = 0.5
"""Share of points, all of one sign or not, from which most is said to lie somewhere."""
HELD = 0.5
"""Share of a claim below which masking took too little away, as `triage.verify` has it."""
SECOND = 0.1
"""Share of the first region's points from which a second one is named beside it."""
SPREAD, LEAST_SPREAD = 1 / 3, 16 * HOT_BLOCK
"""Share of a region's points below which its hot ranges do not show where they are from, and the
bytes from which a region is large enough for that."""


def opening(result: Result) -> str:
    """The sentences on one file."""
    if result.verdict.flagged is None and facts.unread(result):
        # Of bytes that are no program's, nothing near and no region says anything.
        return " ".join((*_known(result), f"Not judged: {facts.not_judged(result)}."))
    sentences = (
        *_known(result),
        _looks(result.verdict, outside=facts.outside(result)),
        *_doubts(result),
        *_decided(result.evidence),
        *_nearest(result.similar),
    )
    return " ".join(sentences)


def _known(result: Result) -> Iterator[str]:
    """That this very file has a label already, which may not be the verdict's."""
    label = result.similar.known_as if result.similar is not None else None
    if label is not None:
        said = f"his very file is in the index of labelled files, as {_called(label)}."
        malware = facts.known_malware(result) is not None
        yield f"Known malware: t{said}" if malware else f"T{said}"
        if malware and result.verdict.flagged is False:
            yield "The model alone does not see it."


def _called(label: str) -> str:
    return "malware of no named family" if label == OTHER else label


def _looks(verdict: Verdict, *, outside: bool) -> str:
    """What the file looks like.

    Args:
        outside: no family is named for files of its kind.
    """
    sure = f" ({numbers.probability(verdict.probability)})" if verdict.calibrated else ""
    score = f"score {numbers.score(facts.score(verdict))} of 100"
    if verdict.flagged is None:
        if verdict.label == facts.UNKNOWN:
            return "Not judged: no label is likely, and the model flags nothing (no threshold)."
        return f"Most like {verdict.label}{sure}; the model flags nothing, as it has no threshold."
    if verdict.label == BENIGN:
        return f"Looks clean{sure}, not flagged: {score}, where 50 is flagged."
    if verdict.label == facts.SUSPICIOUS:
        return f"Flagged as malware ({score}), though clean is the likeliest single label."
    if verdict.label == facts.UNKNOWN:
        return _unnamed(verdict, score, sure, outside=outside)
    if verdict.flagged:
        return f"Looks like {verdict.label}{sure}, flagged: {score}."
    return f"Looks most like {verdict.label}{sure}, but is not flagged: {score}, where 50 is."


def _unnamed(verdict: Verdict, score: str, sure: str, *, outside: bool) -> str:
    """What a file looks like that is called unknown, and why it is."""
    likeliest, near = verdict.ranked[0].label, facts.near(verdict)
    if not verdict.flagged:
        start = f"Not flagged ({score}, where 50 is)"
        if likeliest == BENIGN:
            return f"{start}, and not clearly clean either."
        return f"{start}, though most like {_called(likeliest)}{sure}."
    start = f"Flagged as malware ({score})"
    if likeliest in (OTHER, BENIGN):
        closest = f"; the closest is {near}" if near else ""
        return f"{start} of no family that the model can name{closest}."
    if outside:
        return f"{start}, most like {likeliest}; no family is named for files of this kind."
    return f"{start}, most like {likeliest}{sure}, which does not fit well enough to be named."


def _doubts(result: Result) -> Iterator[str]:
    """Why the verdict may say less than it seems to."""
    verdict, codes = result.verdict, {notice.code for notice in result.notices}
    if facts.outside(result):
        yield "Hardly any malware that the model learned from was of this kind: it says little."
    if (share := _behind(result.evidence)) > MOSTLY:
        yield f"{share:.0%} of the file lies behind the program and does not count."
    if "unlike-training" in codes:
        yield "It is like nothing that the model learned, so the verdict may be a guess."
    members = verdict.set
    if verdict.label == BENIGN and members is not None and BENIGN not in members:
        right = "" if verdict.coverage is None else f", which is right for {verdict.coverage:.0%}"
        yield f"Clean is not in its prediction set{right}."


def _behind(evidence: Evidence) -> float:
    """Share of the file that lies behind the program, if nothing there counts; else 0."""
    behind = [part for part in evidence.regions if part.kind in ("overlay", "certificate")]
    if not evidence.log_odds or any(part.contribution for part in behind):
        return 0.0
    size = sum(part.end - part.start for part in evidence.regions)
    return sum(part.end - part.start for part in behind) / max(1, size)


def _decided(evidence: Evidence) -> Iterator[str]:
    """Where the explained score is from, and how its claims stood their test."""
    what = _called(facts.explained(evidence))
    ordered = sorted(evidence.regions, key=lambda region: -region.contribution)
    least_second = max(0.0, SECOND * max((r.contribution for r in ordered), default=0.0))
    top = [region for region in ordered[:2] if region.contribution > least_second]
    if top:
        first, *others = (_place(region, evidence) for region in top)
        of = " of all heat, for and against"
        said = f"What speaks most for {what} is {first[0]} ({first[1]}{of}{first[2]})"
        said += "".join(f" and {name} ({share}{check})" for name, share, check in others)
        least = ordered[-1]
        if -least.contribution > top[0].contribution:
            name, share, check = _place(least, evidence)
            said += f"; {name} speaks more against it ({share}{check})"
        yield f"{said}."
        spread = sum(region.contribution for region in top if _is_spread(region, evidence))
        if spread >= MOSTLY * sum(max(0.0, region.contribution) for region in ordered):
            yield from _spread_by(evidence)
    if evidence.checks is not None:
        held, claims = facts.supports(evidence.checks)
        if claims:
            yield f"{held} of {numbers.count(claims, 'claim')} held when the bytes were masked."
    yield from _common(evidence, what)


def _place(region: RegionHeat, evidence: Evidence) -> tuple[str, str, str]:
    """The name of a region, with its offset where others have it too; its share of the heat; and
    whether its heat is spread, or its check does not support it."""
    name = facts.region_name(region.name)
    if Counter(facts.region_name(other.name) for other in evidence.regions)[name] > 1:
        name += f" at 0x{region.start:x}"
    doubt = ""
    if _is_spread(region, evidence):
        doubt = f", spread over {numbers.size(region.end - region.start)}"
    checks = evidence.checks.regions if evidence.checks is not None else []
    found = next((c for c in checks if (c.start, c.end) == (region.start, region.end)), None)
    if found is not None and found.status == "contradicted":
        doubt += "; masking contradicts it"
    elif found is not None and found.status in ("weak", "understated"):
        doubt += f"; {_taken(found)}"
    return name, numbers.share(abs(region.share)), doubt


def _taken(check: Check) -> str:
    """What masking took away of a claim that is not as large as it says, or does not stand out."""
    taken, claim = abs(check.measured), abs(check.claimed)
    if check.measured * check.claimed <= 0.0:
        return f"masking took nothing away of {claim:.2f}"
    said = f"masking took away {taken:.2f} of {claim:.2f}"
    if check.status == "understated":
        return f"masking took away {taken:.2f}, more than the {claim:.2f}"
    if taken < HELD * claim:
        return said
    return f"{said}, " + ("as much elsewhere" if check.controls else "but not every mask did")


def _is_spread(region: RegionHeat, evidence: Evidence) -> bool:
    """Whether the hot ranges of a region show little of what speaks for the label in it."""
    if region.contribution <= 0.0 or region.end - region.start < LEAST_SPREAD:
        return False
    hot = sum(
        item.contribution
        for item in evidence.hot
        if region.start <= item.start < region.end and item.contribution > 0.0
    )
    return bool(evidence.hot) and hot < SPREAD * region.contribution


def _spread_by(evidence: Evidence) -> Iterator[str]:
    """The views of all bytes that add most, whose heat no range shows. The account has no region
    of a view."""
    every = [view for view in evidence.views if view.contribution > 0.0]
    whole = [view for view in every if view.name in facts.THIN]
    if not whole or sum(view.contribution for view in whole) < MOSTLY * sum(
        view.contribution for view in every
    ):
        return
    ordered = sorted(whole, key=lambda view: -view.contribution)
    named = " and ".join(
        f"{facts.THIN[view.name]} ({numbers.signed(view.contribution, 2)})" for view in ordered
    )
    yield f"Most is spread thin: {named}."


def _common(evidence: Evidence, what: str) -> Iterator[str]:
    """What lies on bytes that clean programs have, what on the file's own, and what on none: sums
    that close, not shares, since their parts cancel."""
    common = evidence.common
    if common is None:
        return
    shared, own = common.contribution, facts.own(evidence, common)
    # What speaks for a clean program may well be what clean programs have.
    most = shared > 0.0 and shared >= MOSTLY * (shared + abs(own))
    little = " and says little" if most and what != BENIGN else ""
    on = f"{numbers.signed(shared)} lies on bytes that clean programs have too{little}"
    mine = f"{numbers.signed(own)} on the file's own"
    if not evidence.additive:
        yield f"Of the heat, {on}, and {mine}."
        return
    rest = numbers.signed(evidence.logit - shared - own)
    yield (
        f"Of {numbers.signed(evidence.logit)} in all for {what}, {on}, {mine}, and {rest} on none"
        " (padding, baseline and bias)."
    )


def _nearest(similar: Similar | None) -> Iterator[str]:
    if similar is None or not similar.nearest:
        return
    nearest = similar.nearest[0]
    label, at = _called(nearest.label), f"{nearest.distance:.2f}"
    if similar.limit is not None and nearest.distance > similar.limit:
        yield f"No labelled file is near: the nearest, {label}, is at {at}."
    else:
        other = "other " if similar.known_as else ""
        yield f"The nearest {other}labelled file is {label}, at {at}."
