"""Checks evidence: masks bytes, runs the net again, and compares the change with the claim.

A claim is the contribution of a region or a hot range. Its bytes are masked in three ways
(`maltriage.probe.mask`), and the loss of the explained score is the measured effect: positive
if the bytes counted for the label, as in the claim. Control ranges of the same length, with small
claims, are masked in the same ways: a change that they make too does not support this claim. Equal
ranges are one claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maltriage.bundle import Card
from maltriage.metrics import Floats, rank_correlation
from maltriage.probe.mask import MASKS, Range, Variant
from maltriage.probe.prepare import Prepared, PrepareOptions
from maltriage.report.documents.evidence import (
    MIN_RANKED,
    Check,
    Checks,
    Controls,
    Evidence,
    MaskEffect,
    Status,
)
from maltriage.report.documents.record import finite
from maltriage.triage.evidence import Part, heat_on
from maltriage.triage.masking import run_masked
from maltriage.triage.session import Session
from maltriage.triage.verdict import Question, probabilities
from maltriage.work.workers import Workers

MAX_REGIONS = 12
"""Regions that are checked, those with most |contribution|."""
MAX_HOT = 8
"""Hot ranges that are checked, the hottest."""
CONTROLS = 9
"""Control ranges of a claim: the chance that a change like theirs exceeds all of them is one in
ten."""
MIN_CONTROLS = 8
"""With fewer, no controls are used."""
QUANTILE = 0.9
"""Quantile of the controls' changes that the change of a claim must exceed."""
MAX_CLAIM = 0.5
"""Largest claim of a control range, as a share of the claim that it is for."""
NEGLIGIBLE = 0.02
"""A claim, or a change against one, below this share of the sum of |contributions| counts as
none."""
LEAST = 0.5
"""Share of a claim that masking must take away at least to support it."""
FAR = 3.0
"""Multiple of a claim, or of what is negligible, from which a change says that more is there."""
TIE = 1e-4
"""A claim or a change below this is 0 in the rank correlation: the net's arithmetic is not finer.
Such a claim has no sign."""
_TRIES = 256
"""Places drawn for the controls of a range."""


def verify(
    session: Session,
    workers: Workers,
    prepared: Prepared,
    evidence: Evidence,
    parts: Sequence[Part],
    question: Question,
    options: PrepareOptions,
    seed: int = 0,
) -> Checks:
    """Check the claims of evidence on its regions and hot ranges.

    Args:
        prepared: the sample; it is read again, and must be the same file.
        parts: the heat of the evidence.
        question: the explained score.
        options: that the sample was prepared with.
        seed: of masks and of the places of controls.

    Raises:
        SampleError: the file changed, or cannot be read again.
        MaltriageError: the model returned a value that is not a number.
    """
    regions = sorted(
        (region for region in evidence.regions if region.start < region.end),
        key=lambda region: -abs(region.contribution),
    )
    claims = [_Claim((r.start, r.end), r.contribution) for r in regions[:MAX_REGIONS]]
    count = len(claims)
    known = {claim.range for claim in claims}
    hottest = [_Claim((h.start, h.end), h.contribution) for h in evidence.hot[:MAX_HOT]]
    claims += [claim for claim in hottest if claim.range not in known]
    amounts = [region.contribution for region in evidence.regions] + [evidence.padding]
    negligible = NEGLIGIBLE * sum(map(abs, amounts))
    generator = np.random.default_rng(seed)
    controls = [_places(prepared, parts, claim, negligible, generator) for claim in claims]
    ranges = [
        found
        for claim, places in zip(claims, controls, strict=True)
        for found in (claim.range, *places)
    ]
    seeds = generator.integers(0, 1 << 62, len(ranges) * len(MASKS)).tolist()
    variants = [Variant((), MASKS[0])] + [
        Variant((found,), mask, seeds.pop()) for found in ranges for mask in MASKS
    ]
    logits = run_masked(session, workers, prepared, variants, options)
    lost = _lost(logits, question, session.card).reshape(len(ranges), len(MASKS), 2)
    checks, at = [], 0
    for claim, places in zip(claims, controls, strict=True):
        checks.append(_check(claim, places, lost[at : at + 1 + len(places)], negligible))
        at += 1 + len(places)
    by_range = {(check.start, check.end): check for check in checks}
    return Checks(
        seed=seed,
        rank_correlation=_correlation(checks[:count]),
        negligible=negligible,
        regions=checks[:count],
        hot=[by_range[claim.range] for claim in hottest],
        regions_left=len(regions) - count,
        hot_left=max(0, len(evidence.hot) - MAX_HOT),
    )


@dataclass(frozen=True)
class _Claim:
    range: Range
    contribution: float


def _correlation(checks: Sequence[Check]) -> float | None:
    """Spearman's rank correlation of claimed and measured; None for fewer than `MIN_RANKED`."""
    if len(checks) < MIN_RANKED:
        return None
    both = np.array([(check.claimed, check.measured) for check in checks])
    claimed, measured = np.where(np.abs(both) < TIE, 0.0, both).T
    return rank_correlation(claimed, measured)


def _lost(logits: Floats, question: Question, card: Card) -> Floats:
    """Losses of the explained score and of the label's probability: (V - 1, 2).

    Args:
        logits: of the unmasked sample, then of its variants, shape (V, K).

    Raises:
        MaltriageError: a logit is not a number.
    """
    shares = probabilities(logits, card)[:, question.label]
    both = np.stack((question.score(logits), shares), axis=1)
    finite(float(np.abs(both).max()))
    return np.asarray(both[0] - both[1:])


def _places(
    prepared: Prepared,
    parts: Sequence[Part],
    claim: _Claim,
    negligible: float,
    generator: np.random.Generator,
) -> list[Range]:
    """Control ranges of a claim: as long, elsewhere in the file, and with small claims.

    They avoid the claim's own bytes, and each other as long as there is room.
    Empty if fewer than `MIN_CONTROLS` are found: a file hardly longer than the range, or a claim
    equally large all over it.
    """
    start, end = claim.range
    length, size = end - start, _plotted(prepared)
    before = max(0, start - length + 1)  # places that end ahead of the range
    after = max(0, size - length - end + 1)
    if before + after < MIN_CONTROLS:
        return []
    at = generator.permutation(before + after) if before + after <= _TRIES else (
        generator.integers(0, before + after, _TRIES)
    )  # fmt: skip
    starts = np.unique(np.where(at < before, at, at - before + end))
    starts = generator.permutation(starts)
    claimed = heat_on(parts, np.stack((starts, starts + length), axis=1))
    limit = MAX_CLAIM * max(abs(claim.contribution), negligible)
    apart: list[int] = []
    others: list[int] = []
    for place in starts[np.abs(claimed) <= limit].tolist():
        clear = all(abs(place - taken) >= length for taken in apart)
        (apart if clear else others).append(place)
    kept = (apart + others)[:CONTROLS]
    if len(kept) < MIN_CONTROLS:
        return []
    return [(place, place + length) for place in sorted(kept)]


def _plotted(prepared: Prepared) -> int:
    """End of the bytes that a view of the sample shows."""
    geometries = [view.geometry for view in prepared.views.values()]
    return max(geometry.start + geometry.present for geometry in geometries)


def _check(claim: _Claim, places: list[Range], lost: Floats, negligible: float) -> Check:
    """The check of one claim.

    Args:
        lost: of its range, then of its controls, shape (1 + C, masks, 2).
    """
    medians = np.median(lost, axis=1)
    measured, probability = medians[0].tolist()
    controls = None
    if places:
        changes = medians[1:, 0]
        controls = Controls(
            starts=[start for start, _ in places],
            effects=changes.tolist(),
            limit=float(np.quantile(np.abs(changes), QUANTILE)),
        )
    return Check(
        start=claim.range[0],
        end=claim.range[1],
        claimed=claim.contribution,
        measured=measured,
        probability=probability,
        status=status_of(claim.contribution, lost[0, :, 0], controls, negligible),
        effects=[
            MaskEffect(mask, *values) for mask, values in zip(MASKS, lost[0].tolist(), strict=True)
        ],
        controls=controls,
    )


def status_of(
    claimed: float, effects: Floats, controls: Controls | None, negligible: float
) -> Status:
    """The status of a claim from its measured effects, by sign and size.

    - A change of the other sign that is not negligible contradicts the claim, whatever the controls
      do: the claim cannot be relied on.
    - A change of its sign supports it if it is at least half of it, and *tells*: it exceeds the
      limit of the controls, or, where there are none, all masks agree on its sign.
    - One that tells, and is at least three times the claim and three times what is negligible,
      says that the claim is too small: it is understated. A negligible claim of the other sign is
      contradicted by such a change.
    - Other negligible claims stay negligible, and all other claims are weak.

    Args:
        effects: of each mask, shape (masks,).
    """
    measured = float(np.median(effects))
    size, claim = abs(measured), abs(claimed)
    if controls is not None:
        tells = size > controls.limit
    else:
        tells = bool((effects > 0).all() or (effects < 0).all())
    far = tells and size >= FAR * max(claim, negligible, TIE)
    if claim < negligible or not claimed:
        if not far:
            return "negligible"
        return "contradicted" if measured * claimed < 0 and claim >= TIE else "understated"
    if measured * claimed < 0:
        return "contradicted" if size >= negligible else "weak"
    if far:
        return "understated"
    return "supported" if tells and size >= LEAST * claim else "weak"
