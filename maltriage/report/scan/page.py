"""The HTML page of a scan: a table of files, most urgent first, each with a panel of evidence.

Records are written as they come, so memory does not grow with the scan: two lines for each file
(table row, panel) between a fixed head and tail. The script of the page sorts and filters them, and
draws a hundred at a time.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from maltriage.report import hashes, html, numbers
from maltriage.report.documents import facts
from maltriage.report.documents.evidence import Evidence
from maltriage.report.documents.record import Failed, FileRecord, Group, Result, Skipped, Summary
from maltriage.report.explain import score_table, similar
from maltriage.report.explain.screen import kind_of, names_of
from maltriage.report.formats import RenderOptions
from maltriage.report.sanitize import clean
from maltriage.report.scan import groups
from maltriage.report.scan.remarks import Remarks
from maltriage.sample.types import KNOWN_GOOD

if TYPE_CHECKING:
    from rich.console import Console

MAX_UNFLAGGED = 50_000
"""Most unflagged files that are listed; the rest is counted, since a browser must hold the page.
Flagged and failed files are always listed."""
MAX_SKIPPED = 1_000
"""Most skipped files that are listed; the rest is counted."""
MAX_REGIONS = 24
"""Regions of a file with the largest |contribution|; the rest is folded into one line."""
MAX_RANKED = 5
MAX_THRESHOLDS = 3
"""Most thresholds that a remark names; reports of several models may have more."""
MAX_NOTICES = 20
MAX_NOTICE = 400
_OF_THE_MODEL = frozenset({"model", "evidence"})


class ScanPage:
    """Writes the page record by record; it is complete once the summary is written.

    `RenderOptions.top` has no effect: the page lists all files.
    """

    def __init__(self, stream: BinaryIO, options: RenderOptions, console: Console) -> None:
        self._stream = stream
        self._options = options
        self._tail = b""
        self._listed = {"unflagged": 0, "skipped": 0}
        self._left = {"unflagged": 0, "skipped": 0}
        self._names = Remarks()
        self._unjudged = 0
        self._thresholds: dict[str | None, None] = {}
        """Words on the thresholds of files that have one, each once, in order."""
        self._alarms: dict[str | None, int] = {}

    def write(self, record: FileRecord) -> None:
        self._start()
        self._names.add(record)
        if isinstance(record, Result):
            if facts.judged(record.verdict):
                self._thresholds[facts.false_alarms(record.verdict)] = None
            else:
                self._unjudged += 1
            if facts.alarming(record) or self._room("unflagged", MAX_UNFLAGGED):
                self._lines(_row(record), {**_panel(record), "alarms": self._alarm(record)})
        elif record.code == KNOWN_GOOD:
            return  # counted in the summary
        elif isinstance(record, Failed) or self._room("skipped", MAX_SKIPPED):
            self._lines(_problem(record), {})

    def finish(self, summary: Summary) -> None:
        self._start()
        end = {
            "summary": {**msgspec.to_builtins(summary), "groups": None},
            "groups": [_group(group) for group in summary.groups or ()],
            "remarks": self._remarks(summary),
            "alarms": list(self._alarms),
            "hashes": hashes.NAMES,
            "lookups": hashes.LOOKUPS,
        }
        self._stream.write(b"</script>\n" + html.block("end", end).encode() + self._tail)
        self._stream.flush()

    def _start(self) -> None:
        if not self._tail:
            head, _, self._tail = html.render("scan").encode().partition(b"<!-- records -->")
            self._stream.write(head + b'<script type="application/x-ndjson" id="files">\n')

    def _room(self, kind: str, limit: int) -> bool:
        """Whether one more file of a kind is listed; otherwise it is counted."""
        counts = self._listed if self._listed[kind] < limit else self._left
        counts[kind] += 1
        return counts is self._listed

    def _alarm(self, result: Result) -> int:
        """Number of the words on its threshold: files share them, so the page has each once."""
        return self._alarms.setdefault(facts.false_alarms(result.verdict), len(self._alarms))

    def _lines(self, *values: dict[str, Any]) -> None:
        for value in values:
            self._stream.write(html.encoded(value).encode() + b"\n")

    def _remarks(self, summary: Summary) -> list[str]:
        """Remarks on the scan as a whole, as sentences."""
        remarks = []
        if summary.interrupted:
            remarks.append("Interrupted: this is not the whole scan.")
        remarks += self._names.of_names()
        remarks += [*self._names.of_shells(), *self._names.of_packed()]
        if self._unjudged:
            remarks.append(self._of_thresholds())
        remarks += self._names.of_scores()
        for kind, noun in (("unflagged", "unflagged file"), ("skipped", "skipped file")):
            if self._left[kind]:
                more = numbers.count(self._left[kind], noun)
                remarks.append(f"Not listed here: {more} more (--format ndjson has all).")
        return remarks

    def _of_thresholds(self) -> str:
        """How many files have no threshold, and what that of the others is."""
        if not self._thresholds:
            return "The model has no threshold: nothing is flagged by it."
        have = "has no threshold and is" if self._unjudged == 1 else "have no threshold and are"
        many = numbers.count(self._unjudged, "file")
        said = f"{many} {have} not judged: the headers cannot be read."
        known = [words for words in self._thresholds if words]
        if len(known) > MAX_THRESHOLDS:
            return f"{said} The panel of each other file says how its own was set."
        return f"{said} The others have one: {'; '.join(known)}." if known else said


def _number(value: float | None, digits: int = 4) -> float | None:
    """`value` with one digit more than the page shows."""
    return None if value is None else round(value, digits)


def _row(result: Result) -> dict[str, Any]:
    """The data of a table row, also for sorting and filtering."""
    verdict, top = result.verdict, facts.hottest(result)
    group, order, _ = facts.urgency(result)
    score = facts.score(verdict)
    return {
        "state": "result",
        "path": result.path,
        "sha256": result.sha256,
        "imphash": result.identity.imphash,
        "size": result.size,
        "label": verdict.label,
        "closest": facts.near(verdict),
        "index": None if verdict.flagged else facts.known_as_malware(result),
        "kind": kind_of(result),
        "score": None if score is None else math.floor(score * 10.0) / 10.0,  # 49.99 is not flagged
        "flagged": verdict.flagged,
        "urgency": [group, order],
        "region": facts.region_name(top.name) if top else None,
        "share": _number(top.share) if top else None,
        "entropy": _number(facts.entropy(result), 2),
        "packed": facts.packed(result),
        "checked": facts.checked(result),
        "codes": list(facts.notice_codes(result)),
        "made": facts.made_with(result),
        "group": result.group,
    }


def _group(group: Group) -> dict[str, Any]:
    """The data of a group's row."""
    return {
        "id": group.id,
        "files": group.files,
        "contents": group.contents,
        "flagged": group.flagged,
        "path": group.path,
        "spread": groups.spread(group),
        "labels": groups.labels(group),
        "alike": groups.alike(group, values=True),
    }


def _problem(record: Skipped | Failed) -> dict[str, Any]:
    state = "skipped" if isinstance(record, Skipped) else "failed"
    return {"state": state, "path": record.path, "reason": record.reason, "code": record.code}


def _panel(result: Result) -> dict[str, Any]:
    """The data of a file's panel."""
    verdict, evidence = result.verdict, result.evidence
    heading, remark = score_table.title(evidence)
    ordered = sorted(evidence.regions, key=lambda region: -abs(region.contribution))
    shown, folded = ordered[:MAX_REGIONS], ordered[MAX_REGIONS:]
    checks = evidence.checks
    ranked = sorted(verdict.ranked, key=lambda r: -r.probability)[:MAX_RANKED]
    names = {k: v for k, v in names_of(result).items() if k not in _OF_THE_MODEL}
    return {
        "probability": _number(facts.shown_probability(verdict)),
        "calibrated": verdict.calibrated,
        "margin": _number(verdict.margin),
        "threshold": _number(verdict.threshold),
        "set": facts.prediction_set(verdict),
        "novelty": facts.novelty(result),
        "ranked": [[r.label, _number(r.probability)] for r in ranked],
        "heading": heading,
        "remark": remark,
        "whole": facts.in_all(evidence),
        "additive": evidence.additive,
        "sums": [
            _number(value)
            for value in (evidence.padding, evidence.total, evidence.bias, evidence.logit)
        ],
        "regions": [
            [
                facts.region_name(r.name),
                r.kind,
                r.start,
                r.end,
                _number(r.entropy, 2),
                _number(r.contribution),
                *_check(evidence, "regions", r.start, r.end),
            ]
            for r in shown
        ],
        "folded": [len(folded), _number(sum(r.contribution for r in folded))],
        "hot": [
            [
                facts.region_name(h.region),
                h.start,
                h.end,
                h.rva,
                _number(h.contribution),
                *_check(evidence, "hot", h.start, h.end),
            ]
            for h in evidence.hot
        ],
        "views": [[v.name, _number(v.contribution), v.start, v.end] for v in evidence.views],
        "checked": list(score_table.verdict_on(checks)) if checks else [],
        "notices": [[n.code, clean(n.text, MAX_NOTICE)] for n in result.notices[:MAX_NOTICES]],
        "names": names,
        "similar": _similar(result),
    }


def _similar(result: Result) -> dict[str, Any] | None:
    """The similar files; None if there was no index."""
    found = result.similar
    if found is None:
        return None
    return {
        "remark": similar.remark(found),
        "said": similar.said(found),
        "nearest": [[similar.distance(n.distance), n.label, n.sha256] for n in found.nearest],
    }


def _check(evidence: Evidence, kind: facts.Kind, start: int, end: int) -> list[Any]:
    """Measured change and status of a range's check; empty if it was not checked."""
    check = facts.checks_of(evidence, kind).get((start, end))
    return [] if check is None else [_number(check.measured), check.status]
