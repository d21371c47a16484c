"""Facts of a result that several renderers show, derived from the document in one place."""

from __future__ import annotations

import math
from typing import Literal

from maltriage.report import numbers
from maltriage.report.documents.evidence import (
    Check,
    Checks,
    Common,
    Evidence,
    RegionHeat,
    Status,
)
from maltriage.report.documents.record import Result, Verdict
from maltriage.report.sanitize import clean
from maltriage.sample.made_with import studio_of
from maltriage.sample.types import BENIGN, OTHER

SUSPICIOUS = "suspicious"
"""Flagged, though benign is the likeliest single label."""
UNKNOWN = "unknown"
"""A family is the likeliest label, but the file is not flagged, or that family does not fit; or
nothing is likelier than not, or its headers cannot be read."""
WHOLE = ("body", "words", "entropy")
"""Views that show the whole file."""
THIN = {"words": "its words", "entropy": "the entropy of its bytes"}
"""Views whose heat lies thin over the whole file, and what they read."""
UNIT = "points of log odds"
"""The unit of contributions, in plain words."""
MAX_SET = 12
"""Most labels of a prediction set that are shown; records have all."""
MAX_LABEL = 24
Kind = Literal["hot", "regions"]
"""What of an account is checked by masking."""
LEAST_NEAR = 0.05
"""Probability below which a closest family is not worth a word; records have it."""
IN_INDEX = "in-index"
CUT_SHORT = frozenset(
    {
        "archive-members",
        "archive-size",
        "archive-ratio",
        "archive-depth",
        "archive-time",
        "archive-overlap",
        "archive-unlisted",
        "carve-limit",
        "container",
    }
)
"""Codes of skips that a table says in a line: a cap was hit, an archive is made like a bomb, or a
container is of a kind that is not opened."""
MEANINGS: dict[Status, str] = {
    "supported": "took away half of the claim or more, and more than elsewhere",
    "understated": "took away three times the claim or more, and more than elsewhere",
    "weak": "took away less than half of the claim, or no more than elsewhere",
    "contradicted": "moved the score the other way",
    "negligible": "next to nothing was claimed, and little taken, or as elsewhere",
}
"""What masking the bytes of a claim did, by its status; docs/reference/evidence.md has the rule."""
WITHOUT_CONTROLS = "* no room for controls: by sign, size and whether all masks agree"
_BARELY = 1e-6
"""What distances of files from the threshold are scaled by that come right behind it."""
_PACKED = frozenset({"packed?", "packed"})


def of_body(evidence: Evidence) -> float | None:
    """What the view `body` gives to the score; None: the model has no such view."""
    return next((view.contribution for view in evidence.views if view.name == "body"), None)


def checks_of(evidence: Evidence, kind: Kind) -> dict[tuple[int, int], Check]:
    """The checks of hot ranges or of regions, by the range."""
    found = getattr(evidence.checks, kind) if evidence.checks else []
    return {(check.start, check.end): check for check in found}


def hottest(result: Result) -> RegionHeat | None:
    """The region with the largest positive contribution; None if there is none."""
    best = max(result.evidence.regions, key=lambda region: region.contribution, default=None)
    return best if best is not None and best.contribution > 0 else None


def shown_probability(verdict: Verdict) -> float:
    """The probability of the name that a verdict is shown by: of its closest family, if it has one.

    `Verdict.probability` is that of the likeliest label, which may be `benign`.
    """
    by_label = {ranked.label: ranked.probability for ranked in verdict.ranked}
    return by_label.get(verdict.closest or verdict.label, verdict.probability)


def near(verdict: Verdict) -> str | None:
    """The closest family of a verdict that does not name it; None where it is hardly likely."""
    found = verdict.closest
    return found if found and shown_probability(verdict) >= LEAST_NEAR else None


def unread(result: Result) -> bool:
    """Whether the headers of a file that should have some cannot be read."""
    return result.format != "picture" and any(
        region.kind == "unparsed" for region in result.layout.regions
    )


def not_judged(result: Result) -> str:
    """Why a file is neither flagged nor not."""
    if unread(result):
        return "the headers cannot be read"
    return (
        f"the model has no {'threshold' if result.verdict.margin is not None else 'benign label'}"
    )


def outside(result: Result) -> bool:
    """Whether hardly any malware that the model learned from was of its kind."""
    return any(notice.code == "outside-training" for notice in result.notices)


def disarmed(result: Result) -> bool:
    """Whether the file was changed so that it cannot run: its hashes are not the original's."""
    return any(notice.code == "disarmed" for notice in result.notices)


def known_malware(result: Result) -> str | None:
    """The label by which the index has this very file, if it is one of malware. Sanitize it."""
    known = result.similar.known_as if result.similar is not None else None
    return None if known in (None, BENIGN) else known


def known_as_malware(result: Result) -> str | None:
    """The same in a word that a reader knows: `malware` for a file of no named family."""
    known = known_malware(result)
    return "malware" if known == OTHER else known


def outcome(result: Result) -> str:
    """What became of a file, in the words of a scan's first lines: `flagged`, `known-malware`,
    `not-judged`, `clean` or `unknown`."""
    if result.verdict.flagged:
        return "flagged"
    if known_malware(result) is not None:
        return "known-malware"
    if not judged(result.verdict):
        return "not-judged"
    return "clean" if result.verdict.label == BENIGN else "unknown"


def alarming(result: Result) -> bool:
    """Whether a file is flagged, or the index has it as malware."""
    return outcome(result) in ("flagged", "known-malware")


def entropy(result: Result) -> float | None:
    """Highest entropy of a section (without sections: of a region), in bits per byte.

    The highest, not the mean: a mean would hide one packed section in a large file.
    """
    regions = result.layout.regions
    sections = [r.entropy for r in regions if r.kind == "section" and r.size > 0]
    return max(sections or [r.entropy for r in regions], default=None)


def packed(result: Result) -> bool:
    return any(notice.code in _PACKED for notice in result.notices)


def checked(result: Result) -> str | None:
    """The checks in short: `5/6 +0.83`, supported claims of those that are not negligible, and the
    rank correlation if there is one. None: not checked."""
    checks = result.evidence.checks
    if checks is None:
        return None
    supported, claimed = supports(checks)
    rank = "" if checks.rank_correlation is None else f" {checks.rank_correlation:+.2f}"
    return f"{supported}/{claimed}{rank}"


def claims(checks: Checks) -> list[Check]:
    """Each claim once: a hot range that is a whole region has a check in both lists."""
    regions = {(check.start, check.end) for check in checks.regions}
    return [*checks.regions, *(c for c in checks.hot if (c.start, c.end) not in regions)]


def supports(checks: Checks) -> tuple[int, int]:
    """Number of supported claims, and of claims that are not negligible."""
    every = [check.status for check in claims(checks)]
    return every.count("supported"), len(every) - every.count("negligible")


def notice_codes(result: Result) -> tuple[str, ...]:
    """Codes of the notices, each once, without those that `packed` shows: in order, but first that
    the index has this very file."""
    codes = [notice.code for notice in result.notices if notice.code not in _PACKED]
    return tuple(dict.fromkeys(sorted(codes, key=lambda code: code != IN_INDEX)))


def made_with(result: Result) -> str:
    """What the file was made with, in short: packers, installers, and what compiled it."""
    tools = result.identity.made_with
    studio = next((tool.version for tool in tools if tool.name == "Visual Studio"), None)
    names = []
    for tool in tools:
        name, version = tool.name.removeprefix("Microsoft "), tool.version
        if name == "Visual C/C++" and studio:  # which the linker named; the compiler may be older
            version = studio_of(version or "") or studio.split(",")[0]
        if tool.kind in ("packer", "protector", "installer", "compiler", "language"):
            names.append(f"{name} {version}" if version else name)
    return ", ".join(names) or next((tool.text for tool in tools if tool.kind == "linker"), "")


def identified(result: Result) -> bool:
    """Whether Detect It Easy named a tool."""
    return any(tool.by == "die" for tool in result.identity.made_with)


def false_alarms(verdict: Verdict) -> str | None:
    """What the threshold was set on, and for what rate: no promise for files of another source.
    Sanitize it."""
    if verdict.fpr is None:
        return None
    most = f"at most {numbers.rate(verdict.fpr)} are flagged"
    if not verdict.goodware:
        return f"set so that of clean files {most}"
    name = verdict.goodware.removeprefix("clean files ")
    gap = ": " if name == verdict.goodware else ", "
    many = f"{verdict.goodware_files:,} " if verdict.goodware_files else ""
    return f"set on {many}clean files so that {most}{gap}{name}"


def judged(verdict: Verdict) -> bool:
    """Whether the model decided: not where headers cannot be read, or it has no threshold."""
    return verdict.flagged is not None


def score(verdict: Verdict) -> float | None:
    """How much a file looks like malware, from 0 to 100: flagged from 50 on.

    It is the probability that belongs to the log odds of malware less the threshold, so it orders
    files of all verdicts alike. None: the file is not judged (`judged`).
    """
    return score_of(verdict.margin, verdict.threshold)


def score_of(margin: float | None, threshold: float | None) -> float | None:
    """See `score`."""
    if margin is None or threshold is None:
        return None
    distance = margin - threshold
    return 100.0 / (1.0 + math.exp(min(-distance, 700.0)))


def rounded(score: float | None) -> float | None:
    """A score to two digits, rounded down: 49.999 is not flagged."""
    return None if score is None else math.floor(score * 100) / 100


def urgency(result: Result) -> tuple[int, float, str]:
    """Sort key of a result, the most urgent first: by `score`, then files without one.

    A file that the index has as malware comes before all that are not flagged.

    The key depends only on the sample's content, so equal files have equal keys; the margin is
    rounded because a sample's place in a batch moves its last digits.
    """
    verdict = result.verdict
    if verdict.margin is None:  # the model knows no clean files
        return 0, -round(verdict.probability, 4), result.sha256
    if verdict.threshold is None:
        return 1, -round(verdict.margin, 4), result.sha256
    distance = round(verdict.threshold - verdict.margin, 4)
    if known_malware(result) is not None:
        distance = min(distance, distance * _BARELY)
    return 0, distance, result.sha256


def prediction_set(verdict: Verdict) -> str | None:
    """The labels that cannot be excluded and the coverage, in clean words; None: no set."""
    if verdict.set is None:
        return None
    at = "" if verdict.coverage is None else f" (coverage {verdict.coverage * 100:g}%)"
    if not verdict.set:
        return f"empty: nothing that the model knows fits{at}"
    more = len(verdict.set) - MAX_SET
    shown = ", ".join(clean(label, MAX_LABEL) for label in verdict.set[:MAX_SET])
    return shown + (f" and {more:,} more" if more > 0 else "") + at


def novelty(result: Result) -> str | None:
    """The novelty score and its limit, in words; None: not known."""
    verdict = result.verdict
    if verdict.novelty is None or verdict.novelty_limit is None:
        return None
    amount, limit = f"{verdict.novelty:+.2f}", f"{verdict.novelty_limit:+.2f}"
    if outside(result):
        return f"{amount}; the limit {limit} was set on other kinds of files, and says nothing here"
    if verdict.novelty > verdict.novelty_limit:
        return f"{amount}, above the limit {limit}: like nothing that the model learned"
    return f"{amount}, up to the limit {limit}"


def region_name(name: str) -> str:
    """A region's name for display, `(unnamed)` for a blank one. Sanitize it."""
    return name if name.strip() else "(unnamed)"


def explained(evidence: Evidence) -> str:
    """What the evidence is for: a label, or malware of any family. Sanitize it."""
    any_family = evidence.log_odds and evidence.against == BENIGN
    return "malware" if any_family else evidence.label


def in_all(evidence: Evidence) -> str:
    """The explained quantity in plain words. Holds labels of the bundle: sanitize it.

    Not "score": that is the number from 0 to 100 of `score`, in another unit.
    """
    rival = None if evidence.log_odds else evidence.against
    start = "in all, for" if evidence.additive else "log odds for"
    return f"{start} {explained(evidence)}" + (f" against {rival}" if rival else "")


def score_name(evidence: Evidence) -> str:
    """The explained score by its exact term. Holds labels of the bundle: sanitize it."""
    if evidence.log_odds:
        return f"log odds of {explained(evidence)}"
    if evidence.against is None:
        return f"logit({evidence.label}), centred"
    return f"logit({evidence.label}) - logit({evidence.against})"


def common(found: Common) -> str:
    """How much of some bytes clean programs have, and in how many packages a byte of that is."""
    share = numbers.share(found.share)
    much = "all" if share == numbers.share(1.0) else share
    typical = "a typical byte of it" if much == "all" else "a typical byte of that"
    where = f"in {found.packages:,} of {found.of:,} packages"
    return f"{much} of it is in clean programs, {typical} {where}"


def own(evidence: Evidence, found: Common) -> float:
    """The part of the heat on bytes of the file that clean programs do not have."""
    return evidence.total - evidence.padding - found.contribution


def origins(evidence: Evidence, found: Common) -> tuple[tuple[str, float], ...]:
    """What of the score lies on what clean programs have, on the file's own bytes, and on none.
    Sums to the score."""
    mine = own(evidence, found)
    return (
        ("of this, code and data that clean programs have", found.contribution - found.texts),
        ("texts that clean programs have", found.texts),
        ("the file's own bytes", mine),
        ("padding, baseline and bias", evidence.logit - found.contribution - mine),
    )


def method_name(evidence: Evidence) -> str:
    """The method, and those that equal it for this model. Sanitize it."""
    return " = ".join((evidence.method, *evidence.same_as))
