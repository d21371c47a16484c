"""From a batch of prepared samples to results: model, verdict, evidence, notices."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from maltriage.errors import MaltriageError
from maltriage.probe.prepare import Prepared, prepare
from maltriage.report.documents.methods import known
from maltriage.report.documents.record import (
    Failed,
    ModelRef,
    Result,
    Similar,
    Skipped,
    Timing,
    path_fields,
    path_of,
)
from maltriage.sample.errors import SampleError
from maltriage.sample.types import Notice
from maltriage.similar.search import Searcher, notices_on
from maltriage.triage.hot_ranges import look_into
from maltriage.triage.methods import Explainer
from maltriage.triage.most_urgent import Explained, Recalled
from maltriage.triage.novelty import Novelty
from maltriage.triage.options import ScanOptions, work_of
from maltriage.triage.portions import Item, Known, failed
from maltriage.triage.prediction_sets import SetRule
from maltriage.triage.session import CHOOSE, Outputs, Session
from maltriage.triage.verdict import asked, decide, outside_training, unlike_training
from maltriage.triage.verify import verify
from maltriage.work.workers import LOST, Workers, reason_of


@dataclass(frozen=True)
class Finisher:
    """Turns a batch of prepared samples into results."""

    session: Session
    model: ModelRef
    label: int | None
    against: int | None
    rule: SetRule | None
    novelty: Novelty | None
    options: ScanOptions
    workers: Workers
    explainer: Explainer
    searcher: Searcher | None

    def records(self, batch: list[Item]) -> Iterator[Explained | Known]:
        """What comes of each item, in their order; the samples go through the model together."""
        samples = [item for item in batch if isinstance(item, Prepared)]
        views, kinds = [item.views for item in samples], [item.layout.kind for item in samples]
        start = time.perf_counter()
        target = CHOOSE if self.label is None else self.label
        against = CHOOSE if self.against is None else self.against
        outputs = self.session.run(views, target, against, kinds) if views else None
        similar: Sequence[Similar | None] = [None] * len(samples)
        if self.searcher is not None and outputs is not None:
            names = [item.identity.sha256 for item in samples]
            similar = self.searcher.search(outputs.embedding, names)
        each = (time.perf_counter() - start) * 1e3 / max(1, len(views))
        row = 0
        for item in batch:
            if isinstance(item, Prepared):
                assert outputs is not None
                try:
                    yield self._result(item, outputs, row, each, similar[row])
                except SampleError as error:
                    yield failed(item.path, error)
                except MaltriageError as error:
                    yield failed(item.path, SampleError("model", str(error), failed=True))
                row += 1
            else:
                yield item

    def _result(
        self,
        prepared: Prepared,
        outputs: Outputs,
        row: int,
        each: float,
        similar: Similar | None,
    ) -> Explained:
        card = self.session.card
        verdict, question = decide(
            outputs.logits[row], card, prepared.layout.kind, self.rule, self.novelty
        )
        question = asked(question, outputs.logits[row], self.label, self.against)
        against = CHOOSE if question.against is None else question.against
        if tuple(outputs.explained[row]) != (question.label, against):
            # It cannot know whom `against` is held against. And it compares in float32: on
            # the edge it may explain the other question.
            outputs, row = self.session.run([prepared.views], question.label, against), 0
        evidence, parts = self.explainer.evidence(prepared, outputs, row, question)
        notices = [
            *prepared.notices,
            *outside_training(prepared.layout, card),
            *unlike_training(verdict, prepared.layout, card),
        ]
        if self.searcher is not None and similar is not None:
            notices += notices_on(similar, self.searcher.index)
        if self.options.close and self.options.inspect:
            work = work_of(self.session.bundle, self.options)
            # Heat that is no map is coarser than any edge, so edges stay where it has them.
            fine = parts if known(evidence.method).maps else None
            evidence, more = look_into(self.workers, prepared, fine, evidence, work)
            notices += more
        shown, raw = path_fields(prepared.path)
        result = Result(
            path=shown,
            sha256=prepared.identity.sha256,
            size=prepared.identity.size,
            format=prepared.format,
            identity=prepared.identity,
            verdict=verdict,
            evidence=evidence,
            layout=prepared.layout,
            notices=notices,
            model=self.model,
            timing=Timing(prepare_ms=prepared.milliseconds, model_ms=each),
            path_b64=raw,
            similar=similar,
        )
        return Explained(result, prepared, parts, question)

    def checked_again(self, item: Recalled) -> Result | Failed | Skipped:
        """A result of an earlier scan whose evidence was put to the test: its file is read again.

        Where that fails, or the file is another one by now, it has a notice instead.
        """
        path = path_of(item.result)
        work = work_of(self.session.bundle, self.options)
        try:
            prepared: Prepared = self.workers.submit(prepare, path, work).result()
        except Exception as error:  # whatever a worker raised, or became of it
            return _unchecked(item.result, reason_of(error, self.workers.timeout).reason)
        if prepared.identity.sha256 != item.result.sha256:
            return _unchecked(item.result, "it changed while it was scanned")
        (made,) = self.records([prepared])
        return self.checked(made) if isinstance(made, Explained) else made

    def checked(self, item: Explained) -> Result | Failed | Skipped:
        """A result whose evidence was put to the test.

        Where that fails it has a notice instead; but a file that was asked for by itself, and is
        another one by now, fails.
        """
        result, prepared = item.result, item.prepared
        try:
            checks = verify(
                self.session,
                self.workers,
                prepared,
                result.evidence,
                item.parts,
                item.question,
                work_of(self.session.bundle, self.options),
                self.options.seed,
            )
        except (SampleError, MaltriageError) as error:
            if isinstance(error, SampleError) and self.options.close and error.code not in LOST:
                return failed(prepared.path, error)
            return _unchecked(
                result, error.reason if isinstance(error, SampleError) else str(error)
            )
        evidence = msgspec.structs.replace(result.evidence, checks=checks)
        return msgspec.structs.replace(result, evidence=evidence)


def _unchecked(result: Result, reason: str) -> Result:
    notice = Notice("unchecked", f"The evidence was not put to the test: {reason}.")
    return msgspec.structs.replace(result, notices=[*result.notices, notice])
