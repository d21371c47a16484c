"""The stage that judges: turns samples into results, with verdict, evidence and notices."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from maltriage.errors import MaltriageError
from maltriage.probe.prepare import Again, Prepared
from maltriage.report.documents.methods import known
from maltriage.report.documents.record import (
    FileRecord,
    ModelRef,
    Result,
    Similar,
    Timing,
    path_fields,
)
from maltriage.sample.errors import SampleError
from maltriage.similar.digest import embedding_digest
from maltriage.similar.search import Searcher, notices_on
from maltriage.triage.hot_ranges import look_into, look_up, looked_up
from maltriage.triage.methods import Explainer
from maltriage.triage.most_urgent import Explained
from maltriage.triage.novelty import Novelty
from maltriage.triage.options import ScanOptions, work_of
from maltriage.triage.prediction_sets import SetRule
from maltriage.triage.records import Item, Repeats, failed
from maltriage.triage.session import CHOOSE, Outputs, Session
from maltriage.triage.verdict import asked, decide, has_headers, outside_training, unlike_training
from maltriage.work.workers import Workers


@dataclass(frozen=True)
class Judge:
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

    def records(
        self, batch: list[Item], repeats: Repeats | None = None
    ) -> Iterator[Explained | FileRecord]:
        """The records of a batch, in order; its samples go through the model together.

        Args:
            repeats: the same for all batches of a scan.
        """
        repeats = repeats or Repeats()
        samples = [item for item in batch if isinstance(item, Prepared)]
        views, kinds = [item.views for item in samples], [item.layout.kind for item in samples]
        start = time.perf_counter()
        target = CHOOSE if self.label is None else self.label
        against = CHOOSE if self.against is None else self.against
        outputs = self.session.run(views, target, against, kinds) if views else None
        similar: Sequence[Similar | None] = [None] * len(samples)
        if self.searcher is not None and outputs is not None:
            names = [item.identity.sha256 for item in samples]
            similar = self.searcher.search(
                np.nan_to_num(outputs.embedding, posinf=0.0, neginf=0.0), names
            )
        each = (time.perf_counter() - start) * 1e3 / max(1, len(views))
        row = 0
        for item in batch:
            if isinstance(item, Prepared):
                assert outputs is not None
                record = self._record(item, outputs, row, each, similar[row])
                repeats.keep(item.path, record.result if isinstance(record, Explained) else record)
                yield record
                row += 1
            elif isinstance(item, Again):
                yield repeats.record(item)
            else:
                yield item

    def _record(
        self,
        item: Prepared,
        outputs: Outputs,
        row: int,
        each: float,
        similar: Similar | None,
    ) -> Explained | FileRecord:
        try:
            return self._result(item, outputs, row, each, similar)
        except SampleError as error:
            return failed(item.path, error)
        except MaltriageError as error:
            return failed(item.path, SampleError("model", str(error), failed=True))

    def _result(
        self,
        prepared: Prepared,
        outputs: Outputs,
        row: int,
        each: float,
        similar: Similar | None,
    ) -> Explained:
        card = self.session.card
        kind = prepared.layout.kind
        if not np.isfinite(outputs.embedding[row]).all():
            raise MaltriageError("the model returned a value that is not a number")
        verdict, question = decide(
            outputs.logits[row],
            card,
            kind,
            self.rule,
            self.novelty,
            readable=has_headers(kind, prepared.format),
        )
        question = asked(question, outputs.logits[row], self.label, self.against)
        against = CHOOSE if question.against is None else question.against
        if tuple(outputs.explained[row]) != (question.label, against):
            # The graph cannot choose the opponent of `against`, and compares in float32: near a
            # threshold it may explain the other question.
            outputs, row = self.session.run([prepared.views], question.label, against), 0
        evidence, parts = self.explainer.evidence(prepared, outputs, row, question)
        notices = [
            *prepared.notices,
            *outside_training(prepared.layout, card),
            *unlike_training(verdict, prepared.layout, card),
        ]
        if self.searcher is not None and similar is not None:
            notices += notices_on(similar, self.searcher.index)
        looking_up = None
        if self.options.close and self.options.inspect:
            work = work_of(self.session.bundle, self.options)
            # Heat without maps is coarser than any edge, so edges stay in place.
            fine = parts if known(evidence.method).maps else None
            workers, index = self.workers, self.options.common
            if index is not None and fine is not None and prepared.format != "picture":
                looking_up = look_up(workers, prepared, index, work)
            evidence, more = look_into(
                workers, prepared, fine, evidence, work, self.options.signatures
            )
            notices += more
            if looking_up is not None and self.options.checks != 0:  # nothing to do meanwhile
                evidence, more = looked_up(workers, prepared, parts, evidence, looking_up)
                notices, looking_up = notices + more, None
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
            embedding_digest=embedding_digest(outputs.embedding[row]),
        )
        return Explained(result, prepared, parts, question, looking_up)
