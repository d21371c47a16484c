"""Patterns of families: the mean maps of their samples, and differences between bundles.

A map always explains the sample's own family against the mean of all labels, even if the verdict
is wrong. So a pattern is not limited to a family's easy samples.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np

from maltriage.assess.explanations.running_moments import KINDS, Frame, Moments, Spill, Tally
from maltriage.assess.held_back import Held
from maltriage.bundle import Bundle
from maltriage.errors import MaltriageError
from maltriage.metrics import Floats, ssim
from maltriage.report.documents.methods import ADDITIVE
from maltriage.report.documents.patterns import (
    BundlePatterns,
    Exemplar,
    FamilyLikeness,
    FamilyPattern,
    Grid,
    KindShare,
    Mean,
    PairLikeness,
    Patterns,
    RecurringRange,
    ViewPattern,
)
from maltriage.report.documents.record import ModelRef, path_fields
from maltriage.triage.maps import mapped
from maltriage.triage.methods import HIRESCAM
from maltriage.triage.options import Progress, ScanOptions
from maltriage.triage.session import Session
from maltriage.version import __version__
from maltriage.work.cores import cores
from maltriage.work.workers import Workers

MAX_RANGES = 4
"""Recurring ranges kept per view, those of most heat first."""
MAX_EXEMPLARS = 3
DIGITS = 6
"""Significant digits of a map's numbers: a document holds thousands of them."""


def find_patterns(
    subjects: Sequence[Held],
    dataset: str,
    options: ScanOptions,
    method: str = HIRESCAM,
    *,
    changed: Callable[[Progress], None] = lambda progress: None,
) -> Patterns:
    """Scan labelled files with each bundle, and add up the maps of each family.

    Raises:
        MaltriageError: no such method, a bundle named twice, or a bundle without a readable
            file of a known label.
    """
    if method not in ADDITIVE:
        raise MaltriageError(f"no such method: {method} (known: {', '.join(ADDITIVE)})")
    digests = Counter(subject.model.card.weights_sha256 for subject in subjects)
    for subject in subjects:
        if digests[subject.model.card.weights_sha256] > 1:
            raise MaltriageError(f"{subject.model.path}: this bundle is named twice")
    began, progress = time.monotonic(), Progress()
    names = _names([subject.model for subject in subjects])
    bundles, tallies = [], []
    for subject, name in zip(subjects, names, strict=True):
        found, own = _patterns_of(subject, name, options, method, progress, changed)
        bundles.append(found)
        tallies.append(own)
    return Patterns(
        maltriage_version=__version__,
        dataset=dataset,
        method=method,
        seconds=time.monotonic() - began,
        bundles=bundles,
        pairs=[
            _pair(names[i], names[j], tallies[i], tallies[j])
            for i, j in combinations(range(len(names)), 2)
        ],
    )


def _names(models: Sequence[Bundle]) -> list[str]:
    """Unique names of bundles: the card's, with digits of the digest if two share it."""
    count = Counter(model.card.name for model in models)
    return [
        f"{m.card.name}-{m.card.weights_sha256[:8]}" if count[m.card.name] > 1 else m.card.name
        for m in models
    ]


def _patterns_of(
    subject: Held,
    name: str,
    options: ScanOptions,
    method: str,
    progress: Progress,
    changed: Callable[[Progress], None],
) -> tuple[BundlePatterns, dict[str, Tally]]:
    card = subject.model.card
    failed = progress.failed
    frame: Frame | None = None
    tallies: dict[str, Tally] = {}
    with Workers(options.jobs or cores(), options.timeout) as workers, Spill() as spill:
        for group in subject.groups:
            labels = group.bundle.card.labels
            known = {path: labels.index(label) for path, label in group.known}
            if not known:
                continue
            session = Session(group.bundle, options.device, options.threads)
            found = mapped(
                known, session, workers, options, method, progress=progress, changed=changed
            )
            for item in found:
                frame = frame or Frame.of(card, item.maps)
                tallies.setdefault(labels[item.label], Tally(frame)).add(item, spill)
        if not tallies:
            raise MaltriageError(
                f"{subject.model.path}: no readable file has a label that it knows"
            )
        order = [label for label in card.labels if label in tallies]
        families = [_family(label, tallies[label], spill) for label in order]
    document = BundlePatterns(
        name=name,
        model=ModelRef(card.name, card.weights_sha256),
        net=card.net,
        additive=card.additive,
        part=subject.part,
        seen=subject.seen,
        unknown_labels=dict(sorted(subject.unknown.items())),
        missing=subject.missing,
        unreadable=progress.failed - failed,
        families=families,
        in_index=subject.in_index,
    )
    return document, tallies


def _family(label: str, tally: Tally, spill: Spill) -> FamilyPattern:
    views, frame = tally.frame.card.views, tally.frame
    sd = tally.maps.sd
    kinds, contributions, shares = (
        _means(moments) for moments in (tally.kinds, tally.contributions, tally.shares)
    )
    alike, exemplars = _nearest(tally, spill)
    return FamilyPattern(
        family=label,
        samples=tally.maps.count,
        right=tally.right,
        cold=tally.cold,
        alike=alike,
        kinds=[
            KindShare(kind, share)
            for kind, share in zip(KINDS, kinds, strict=True)
            if share.mean > 0
        ],
        views=[
            ViewPattern(
                name=view.name,
                anchor=view.anchor,
                present=int(tally.present[i]),
                contribution=contributions[i],
                share=shares[i],
                map=_grid(
                    frame.shapes[view.name],
                    tally.maps.mean[frame.spans[view.name]],
                    None if sd is None else sd[frame.spans[view.name]],
                ),
            )
            for i, view in enumerate(views)
        ],
        plane=_grid(tally.plane.mean.shape, tally.plane.mean, tally.plane.sd),
        ranges=_ranges(tally),
        exemplars=exemplars,
    )


def _ranges(tally: Tally) -> list[RecurringRange]:
    """The slots of most mean heat of each view, the hottest of all views first."""
    frame, heat = tally.frame, _means(tally.slots)
    pictures = {view.name for view in frame.card.views if not view.along}
    order = sorted((i for i, mean in enumerate(heat) if mean.mean > 0), key=lambda i: -heat[i].mean)
    kept, taken = [], Counter[str]()
    for i in order:
        slot = frame.slots[i]
        taken[slot.view] += 1
        if taken[slot.view] <= MAX_RANGES:
            kept.append(
                RecurringRange(
                    view=slot.view,
                    unit="share" if slot.view in pictures else "bytes",
                    start=slot.start,
                    end=slot.end,
                    fields=list(slot.fields),
                    heat=heat[i],
                    positive=int(tally.positive[i]) / tally.slots.count,
                )
            )
    return kept


def _nearest(tally: Tally, spill: Spill) -> tuple[float | None, list[Exemplar]]:
    """The similarity of the samples' maps, and the samples nearest to the mean, without
    duplicates."""
    count, mean = tally.maps.count, tally.maps.mean
    likeness, others = [], []
    for row in spill.rows([number for _, _, number in tally.samples]):
        likeness.append(_cosine(row, mean))
        if count > 1:
            others.append(_cosine(row, (mean * count - row) / (count - 1)))
    found, seen = list[Exemplar](), set[str]()
    for i in sorted(range(count), key=lambda i: -likeness[i]):
        sha256, path, _ = tally.samples[i]
        if sha256 not in seen and len(found) < MAX_EXEMPLARS:
            seen.add(sha256)
            shown, raw = path_fields(path)
            found.append(Exemplar(sha256, shown, likeness[i], raw))
    return float(np.mean(others)) if others else None, found


def _pair(
    first: str, second: str, ours: dict[str, Tally], theirs: dict[str, Tally]
) -> PairLikeness:
    common = [label for label in ours if label in theirs]
    families = []
    for label in common:
        a, b = ours[label], theirs[label]
        kinds = a.kinds.mean - b.kinds.mean
        bodies = (a.body.mean, b.body.mean)
        families.append(
            FamilyLikeness(
                family=label,
                ssim=ssim(a.plane.mean, b.plane.mean),
                body_ssim=ssim(*bodies) if all(body.any() for body in bodies) else None,
                cosine=_cosine(a.plane.mean.ravel(), b.plane.mean.ravel()),
                shares={
                    kind: float(value) for kind, value in zip(KINDS, kinds, strict=True) if value
                },
                distance=float(np.abs(kinds).sum()) / 2,
            )
        )
    return PairLikeness(
        first=first,
        second=second,
        ssim=float(np.mean([family.ssim for family in families])) if families else None,
        families=sorted(families, key=lambda family: family.ssim),
        left_out=sorted(ours.keys() ^ theirs.keys()),
    )


def _means(moments: Moments) -> list[Mean]:
    sd = moments.sd
    return [
        Mean(float(mean), None if sd is None else float(sd[i]))
        for i, mean in enumerate(moments.mean)
    ]


def _grid(shape: tuple[int, ...], mean: Floats, sd: Floats | None) -> Grid:
    def numbers(values: Floats) -> list[float]:
        return [float(f"{value:.{DIGITS}g}") for value in values.ravel()]

    height, width = shape
    return Grid(width, height, numbers(mean), None if sd is None else numbers(sd))


def _cosine(a: Floats, b: Floats) -> float:
    """Cosine similarity; 0 if one of the vectors is zero."""
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else 0.0
