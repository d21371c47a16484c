"""Measures the stability of verdicts under changes that keep a program's function."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from maltriage.assess.each import each
from maltriage.assess.held_back import Group, Held
from maltriage.assess.verdicts.calibrate import threshold_for, threshold_of
from maltriage.bundle import Bundle
from maltriage.errors import MaltriageError
from maltriage.metrics import Interval, clopper_pearson
from maltriage.probe.prepare import Prepared
from maltriage.probe.transform import TRANSFORMS
from maltriage.probe.transform.worker import Transformed, transformed
from maltriage.report.documents.evaluation import Target
from maltriage.report.documents.record import ModelRef
from maltriage.report.documents.robustness import Robustness, TransformFigures
from maltriage.sample.types import Layout, Region
from maltriage.triage.evidence import heat_on, parts_of
from maltriage.triage.novelty import novelty_of
from maltriage.triage.options import Progress, ScanOptions, work_of
from maltriage.triage.prediction_sets import set_rule
from maltriage.triage.session import CHOOSE, Outputs, Session
from maltriage.triage.verdict import decide
from maltriage.work.cores import cores
from maltriage.work.workers import Workers

UNFLAGGED, CHANGED = 0.05, 0.02
"""Targets: the largest share of flagged malware that appended benign bytes unflag, and of verdicts
that renamed sections or wiped headers change; see `_targets`."""
HARMLESS = ("rename-sections", "wipe-headers")

Place = tuple[str, int]
"""A region's identity under changes: its kind and, for a section or a gap, the number of sections
before it."""


@dataclass(frozen=True)
class Terms:
    """The transformations, the benign files that they take bytes of, and the seed."""

    names: tuple[str, ...] = tuple(TRANSFORMS)
    donors: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class Said:
    """A bundle's answer on a file: the verdict's label, the likeliest one, and the region with
    most heat for the label explained in the unchanged file."""

    label: str
    top: str
    flagged: bool | None
    region: Place


@dataclass(frozen=True)
class Outcome:
    """A bundle's answers on one file, unchanged and changed, or the reason for no change."""

    truth: str
    benign: bool
    plain: Said
    changed: dict[str, Said | str]


def at_rate(
    held: Held,
    paths: Sequence[str],
    fpr: float,
    options: ScanOptions,
    kind_files: int | None = None,
) -> Held:
    """The same files, each bundle with a threshold set on clean files.

    Args:
        paths: of clean files that none of the bundles was trained on.
        fpr: false-positive rate.
        kind_files: see `threshold_for`.

    Raises:
        MaltriageError: see `threshold_for`.
    """
    found = []
    for group in held.groups:
        limit = threshold_for(paths, group.bundle, fpr, "", options, kind_files=kind_files)
        card = msgspec.structs.replace(group.bundle.card, threshold=threshold_of(limit))
        bundle = msgspec.structs.replace(group.bundle, card=card)
        found.append(Group(bundle, group.samples))
    return replace(held, groups=found)


def check_transforms(names: Sequence[str]) -> None:
    """Raise MaltriageError if a name is not that of a transformation."""
    for name in names:
        if name not in TRANSFORMS:
            raise MaltriageError(f"no such transformation: {name} (known: {', '.join(TRANSFORMS)})")


def assess_robustness(
    held: Held,
    options: ScanOptions,
    terms: Terms,
    *,
    donors: str = "",
    threshold: str | None = None,
    changed: Callable[[Progress], None] = lambda progress: None,
) -> Robustness:
    """Change labelled files in memory and compare the verdicts.

    Args:
        donors, threshold: for the document.

    Raises:
        MaltriageError: no such transformation, or no file could be read.
    """
    check_transforms(terms.names)
    began = time.monotonic()
    progress, found = Progress(), list[Outcome]()
    for group in held.groups:
        for outcome in _outcomes(group.bundle, group.known, options, terms, progress):
            if outcome is not None:
                found.append(outcome)
            changed(progress)
    if not found:
        raise MaltriageError(
            "none of the files could be read, or none is of a label that the model knows"
        )
    figures, skipped = [], {}
    for name in terms.names:
        made = _figures(name, found)
        if isinstance(made, str):
            skipped[name] = made
        else:
            figures.append(made)
    bad, good = ([o for o in found if o.benign is clean] for clean in (False, True))
    return Robustness(
        model=ModelRef(held.model.card.name, held.model.card.weights_sha256),
        part=held.part,
        seen=held.seen,
        files=len(found),
        unreadable=progress.failed,
        unknown_labels=dict(held.unknown),
        missing=held.missing,
        in_index=held.in_index,
        donors=donors,
        seed=terms.seed,
        threshold=threshold,
        accuracy=_rate([o.plain.top == o.truth for o in found]),
        malware=len(bad),
        malware_flagged=sum(bool(o.plain.flagged) for o in bad),
        benign=len(good),
        benign_flagged=sum(bool(o.plain.flagged) for o in good),
        seconds=time.monotonic() - began,
        transforms=figures,
        skipped=skipped,
        targets=_targets(figures),
    )


def _outcomes(
    bundle: Bundle,
    samples: Sequence[tuple[str, str]],
    options: ScanOptions,
    terms: Terms,
    progress: Progress,
) -> Iterator[Outcome | None]:
    """The outcome of each file, in order; None if it gives no sample."""
    if not samples:
        return
    jobs, work = options.jobs or cores(), work_of(bundle, options)
    session = Session(bundle, options.device, options.threads)
    with Workers(jobs, options.timeout) as workers:

        def run(path: str, label: str) -> Outcome:
            made = workers.call(transformed, path, terms.names, terms.donors, work, terms.seed)
            return _outcome(session, made, label)

        for outcome in each(run, samples, jobs + 1):
            if isinstance(outcome, Exception):
                progress.failed += 1
                yield None
            else:
                progress.files += 1
                yield outcome


def _outcome(session: Session, made: Transformed, truth: str) -> Outcome:
    card, plain = session.card, made.plain
    logits = session.run([plain.views], kinds=[plain.layout.kind]).logits[0]
    _, question = decide(logits, card, plain.layout.kind)
    against = CHOOSE if question.against is None else question.against

    def said(samples: list[Prepared]) -> list[Said]:
        views, kinds = [s.views for s in samples], [s.layout.kind for s in samples]
        # All variants explain the unchanged file's label, so that heat can be compared.
        outputs = session.run(views, question.label, against, kinds)
        return [_said(session, outputs, row, sample) for row, sample in enumerate(samples)]

    changed: dict[str, Said | str] = {n: m for n, m in made.changed.items() if isinstance(m, str)}
    samples = {n: m for n, m in made.changed.items() if not isinstance(m, str)}
    first, *others = said([plain, *samples.values()])
    changed.update(zip(samples, others, strict=True))
    benign = card.benign is not None and card.labels[card.benign] == truth
    return Outcome(truth, benign, first, changed)


def _said(session: Session, outputs: Outputs, row: int, sample: Prepared) -> Said:
    card = session.card
    rule, novelty = set_rule(card), novelty_of(card)
    verdict, _ = decide(outputs.logits[row], card, sample.layout.kind, rule, novelty)
    maps = {name: grids[row] for name, grids in outputs.heat.items()}
    regions = [region for region in sample.layout.regions if region.size]
    ranges = np.array([(r.start, r.end) for r in regions], dtype=np.int64).reshape(-1, 2)
    top = regions[int(heat_on(parts_of(sample, maps), ranges).argmax())]
    return Said(verdict.label, verdict.ranked[0].label, verdict.flagged, _place(sample.layout, top))


def _place(layout: Layout, region: Region) -> Place:
    if region.kind not in ("section", "gap"):
        return region.kind, 0
    before = [r for r in layout.regions if r.kind == "section" and r.start < region.start]
    return region.kind, len(before)


def _figures(name: str, outcomes: Sequence[Outcome]) -> TransformFigures | str:
    """Figures of a transformation; if no file could be changed, the commonest reason."""
    pairs = [(o, made) for o in outcomes if isinstance(made := o.changed[name], Said)]
    reasons = Counter(made for o in outcomes if isinstance(made := o.changed[name], str))
    if not pairs:
        return reasons.most_common(1)[0][0]
    flagged = [made for o, made in pairs if not o.benign and o.plain.flagged]
    clean = [made for o, made in pairs if o.benign and o.plain.flagged is False]
    moved = [made.region[0] for o, made in pairs if made.region != o.plain.region]
    return TransformFigures(
        name=name,
        text=TRANSFORMS[name].text,
        proxy=TRANSFORMS[name].proxy,
        files=len(pairs),
        not_applicable=dict(reasons.most_common()),
        accuracy_before=float(np.mean([o.plain.top == o.truth for o, _ in pairs])),
        accuracy_after=float(np.mean([made.top == o.truth for o, made in pairs])),
        kept=_rate([made.label == o.plain.label for o, made in pairs]),
        flagged=len(flagged),
        unflagged=_rate([not made.flagged for made in flagged]) if flagged else None,
        clean=len(clean),
        newly_flagged=_rate([bool(made.flagged) for made in clean]) if clean else None,
        top_kept=clopper_pearson(len(pairs) - len(moved), len(pairs)),
        top_now=dict(Counter(moved).most_common()),
    )


def _rate(hits: Sequence[bool]) -> Interval:
    return clopper_pearson(sum(hits), len(hits))


def _targets(figures: Sequence[TransformFigures]) -> list[Target]:
    found = []
    for made in figures:
        if made.name.startswith("append-benign") and made.unflagged is not None:
            value = made.unflagged.value
            name = f"{made.name}, flagged malware that it unflags"
            found.append(Target(name, value, None, UNFLAGGED, value <= UNFLAGGED))
        if made.name in HARMLESS:
            value = 1 - made.kept.value
            name = f"{made.name}, verdicts that it changes"
            found.append(Target(name, value, None, CHANGED, value <= CHANGED))
    return found
