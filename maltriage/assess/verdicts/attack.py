"""White-box attack: appends bytes to a file, chosen by the net's gradient, to avoid a flag.

It bounds the figures of `robustness`, whose bytes are drawn at random. The gradient proposes the
bytes (`Propose`, which comes from `learn`). The bundle then decides on the real file with the real
bytes, plotted as any other file is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maltriage.assess.each import each
from maltriage.assess.held_back import Group
from maltriage.bundle import Bundle
from maltriage.errors import MaltriageError
from maltriage.metrics import Interval, clopper_pearson
from maltriage.probe.prepare import Prepared, prepare
from maltriage.probe.transform.worker import appended
from maltriage.report.documents.record import Verdict
from maltriage.report.documents.robustness import AttackFigures
from maltriage.sample.byteplot import View
from maltriage.sample.errors import SampleError
from maltriage.triage.options import Progress, ScanOptions, work_of
from maltriage.triage.session import Session
from maltriage.triage.verdict import decide
from maltriage.work.cores import cores
from maltriage.work.workers import Workers

Bytes = npt.NDArray[np.uint8]
Propose = Callable[[Mapping[str, View], int, int], tuple[Bytes, npt.NDArray[np.float64]]]
"""A function of views and the offsets [start, end) of changeable bytes: the value of each byte that
lowers the margin most, and by how much; see `maltriage.learn.heat.attack.Gradients`."""

SHARES = (0.5, 0.2, 0.05)
"""Shares of the bytes changed at once, all of which are tried: a gradient is exact only for small
changes."""


@dataclass(frozen=True)
class AttackTerms:
    """Options: `share` of a file's bytes to append, at least `least`, and the number of steps."""

    share: float = 0.1
    least: int = 4096
    steps: int = 10
    seed: int = 0


@dataclass(frozen=True)
class Attacked:
    """A flagged file under attack: its margins unchanged, with random and with chosen bytes, and
    whether it is still flagged with either."""

    margins: tuple[float, float, float]
    flagged_random: bool
    flagged: bool


def assess_attack(
    groups: Sequence[Group],
    proposals: Sequence[Propose],
    options: ScanOptions,
    terms: AttackTerms,
    *,
    changed: Callable[[Progress], None] = lambda progress: None,
) -> AttackFigures:
    """Append chosen bytes to flagged malware.

    Args:
        groups: labelled files with their bundles, which must have a threshold.
        proposals: one for each group, made from the net of its bundle.

    Raises:
        MaltriageError: a bundle has no threshold, or no malware is flagged.
    """
    progress, found, spared = Progress(), list[Attacked](), 0
    for group, propose in zip(groups, proposals, strict=True):
        card = group.bundle.card
        if card.threshold is None or card.benign is None:
            raise MaltriageError(f"{group.bundle.path}: no threshold, so nothing can be flagged")
        labels = set(card.labels) - {card.labels[card.benign]}
        paths = [path for path, label in group.samples if label in labels]
        for attacked in _attacks(group.bundle, propose, paths, options, terms, progress):
            if isinstance(attacked, Attacked):
                found.append(attacked)
            spared += attacked == "not-applicable"
            changed(progress)
    if not found:
        raise MaltriageError("no malware that is flagged and can be attacked")
    before, random, after = (float(np.median([f.margins[i] for f in found])) for i in range(3))
    return AttackFigures(
        share=terms.share,
        least=terms.least,
        steps=terms.steps,
        seed=terms.seed,
        files=len(found),
        not_applicable=spared,
        unflagged_random=_rate([not f.flagged_random for f in found]),
        unflagged=_rate([not f.flagged for f in found]),
        margin=before,
        margin_random=random,
        margin_attacked=after,
    )


def _rate(hits: Sequence[bool]) -> Interval:
    return clopper_pearson(sum(hits), len(hits))


def _attacks(
    bundle: Bundle,
    propose: Propose,
    paths: Sequence[str],
    options: ScanOptions,
    terms: AttackTerms,
    progress: Progress,
) -> Iterator[Attacked | str]:
    """The result of each file, or the reason for none: `not-flagged` or an error's code."""
    if not paths:
        return
    jobs = options.jobs or cores()
    session = Session(bundle, options.device, options.threads)
    with Workers(jobs, options.timeout) as workers:
        attack = _Attack(session, workers, options, propose, terms)
        for attacked in each(attack.run, ((path,) for path in paths), jobs):
            if isinstance(attacked, SampleError):
                progress.failed += attacked.failed
                yield attacked.code
            elif isinstance(attacked, MaltriageError):
                progress.failed += 1
                yield "model"
            else:
                progress.files += 1
                yield attacked or "not-flagged"


class _Attack:
    """The attack on files of one bundle."""

    def __init__(
        self,
        session: Session,
        workers: Workers,
        options: ScanOptions,
        propose: Propose,
        terms: AttackTerms,
    ) -> None:
        self._session, self._workers, self._terms = session, workers, terms
        self._work, self._propose = work_of(session.bundle, options), propose

    def run(self, path: str) -> Attacked | None:
        """Attack one file; None if it is not flagged unchanged.

        Raises:
            SampleError: the file gives no sample, or nothing can be appended to it.
        """
        plain = self._workers.call(prepare, path, self._work)
        verdict = self._said([plain])[0]
        if not verdict.flagged:
            return None
        start, sha256 = plain.identity.size, plain.identity.sha256
        count = max(self._terms.least, round(start * self._terms.share))
        generator = np.random.default_rng([self._terms.seed, int(sha256[:16], 16)])
        more = generator.integers(0, 256, count, dtype=np.uint8)
        more[-1] |= 1  # trailing zeros would be cut, which changes the plot
        held, first = self._plotted(path, sha256, [more])[0]
        best = first
        for _ in range(self._terms.steps):
            values, gain = self._propose(held.views, start, start + count)
            # The most promising bytes, and random ones: equal values in a whole cell would leave
            # the range in which the gradient holds.
            orders = np.argsort(-gain, kind="stable"), generator.permutation(count)
            tries = []
            for order in orders:
                for share in SHARES:
                    changed = more.copy()
                    at = order[: max(1, round(count * share))]
                    changed[at] = values[at]
                    changed[-1] |= 1
                    tries.append(changed)
            made = self._plotted(path, sha256, tries)
            lowest = min(range(len(made)), key=lambda i: _margin(made[i][1]))
            if _margin(made[lowest][1]) >= _margin(best):
                break
            more, (held, best) = tries[lowest], made[lowest]
        return Attacked(
            (_margin(verdict), _margin(first), _margin(best)),
            bool(first.flagged),
            bool(best.flagged),
        )

    def _plotted(
        self, path: str, sha256: str, more: Sequence[Bytes]
    ) -> list[tuple[Prepared, Verdict]]:
        """The file with each of the runs of bytes appended, and the verdicts."""
        parts = [part.tobytes() for part in more]
        made = self._workers.call(appended, path, sha256, parts, self._work)
        return list(zip(made, self._said(made), strict=True))

    def _said(self, samples: Sequence[Prepared]) -> list[Verdict]:
        images = {
            view.name: np.stack([sample.views[view.name].pixels for sample in samples])
            for view in self._session.card.views
        }
        logits = self._session.logits(images)
        return [
            decide(row, self._session.card, sample.layout.kind)[0]
            for row, sample in zip(logits, samples, strict=True)
        ]


def _margin(verdict: Verdict) -> float:
    assert verdict.margin is not None  # the bundle has a benign label
    return verdict.margin
