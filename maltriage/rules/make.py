"""Makes a YARA rule from heat and tests it: takes results, returns the text of a rule or raises.

hot ranges -> candidates (workers) -> in which of the given files -> none in the goodware
-> choice -> text -> compiled, and run over the given files and the goodware
"""

from __future__ import annotations

import importlib.util
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from maltriage.bundle import BENIGN, Bundle
from maltriage.errors import MaltriageError
from maltriage.probe.inspect.snap import Range
from maltriage.probe.inspect.worker import InspectOptions
from maltriage.probe.rule.gather import Candidate, gather
from maltriage.probe.rule.match import matches
from maltriage.probe.rule.pattern import Pattern
from maltriage.report.documents.evidence import Status
from maltriage.report.documents.record import Result, path_of
from maltriage.report.sanitize import clean
from maltriage.rules.choose import ENOUGH, Choice, choose
from maltriage.rules.text import Chosen, Evidence, Facts, Group, rule_name, rule_text
from maltriage.sample.errors import SampleError
from maltriage.source.files import Found, WalkOptions, walk
from maltriage.source.reading import MAX_FILE_BYTES, Reading
from maltriage.work.workers import Workers, reason_of

T = TypeVar("T")
MAX_CANDIDATES = 2048
"""Most patterns searched for in the goodware: with more, YARA-X takes ten times as long."""
TIMES_LARGER = 4
"""Largest size of a matching file, as a multiple of the largest given file."""
KIB = 1024
HOT_BLOCK = 256
RULE_SET = "candidates"
_IN_FLIGHT = 64
LEVELS: tuple[tuple[Status | None, ...], ...] = (("supported",), ("supported", "weak", None))
"""Checks of the ranges that strings come from; the second only if it leaves fewer files alone.
None: not checked."""


@dataclass(frozen=True)
class RuleOptions:
    """`goodware`: a folder of clean files. `date`: written into the rule. `common`: an index of
    what clean programs have in common, which is in no rule."""

    date: str
    goodware: str | None = None
    max_size: int = MAX_FILE_BYTES
    common: Path | None = None


@dataclass(frozen=True)
class Rule:
    """A tested rule. `unread`: number of files of the goodware that could not be read."""

    name: str
    text: str
    groups: tuple[Group, ...]
    statuses: tuple[Status | None, ...]
    tried: int | None
    unread: int


class TooFewError(MaltriageError):
    """One of the files has too few strings for a rule; the others may have enough."""

    def __init__(self, message: str, path: str) -> None:
        super().__init__(message)
        self.path = path


def need_yara() -> None:
    """Raise MaltriageError unless the extra `yara` is installed."""
    if importlib.util.find_spec("yara_x") is None:
        raise MaltriageError(
            "a rule is tried with YARA-X before it is written: pip install 'maltriage[yara]'"
        )


def make_rule(
    results: Sequence[Result], bundle: Bundle, workers: Workers, options: RuleOptions
) -> Rule:
    """A rule from explained files of one family.

    It matches each of them and, where a folder of goodware is named, none of its files.

    Raises:
        MaltriageError: yara-x is missing; the files are explained for different labels, or a label
            that is no family; they share nothing, or only strings of the goodware; a file changed;
            there is no clean file.
        TooFewError: all strings of one of the files are in the goodware.
    """
    need_yara()
    family = _family(results)
    return _Maker(results, bundle, workers, options).make(family)


def _family(results: Sequence[Result]) -> str:
    """The one label that all results are explained for."""
    if not results:
        raise MaltriageError("no file to make a rule of")
    if any(result.format == "picture" for result in results):
        raise MaltriageError("no rule: the pixels of these pictures are no program's bytes")
    counts: dict[str, int] = {}
    for result in results:
        counts[result.evidence.label] = counts.get(result.evidence.label, 0) + 1
    if len(counts) > 1:
        named = ", ".join(f"{label} {number}" for label, number in counts.items())
        raise MaltriageError(
            f"no rule: the files are of several labels ({named}); --class names one"
        )
    (label,) = counts
    if label == BENIGN:
        raise MaltriageError("no rule: these files look clean; --class names a family all the same")
    return label


@dataclass(frozen=True)
class _Maker:
    results: Sequence[Result]
    bundle: Bundle
    workers: Workers
    options: RuleOptions

    def make(self, family: str) -> Rule:
        count = len(self.results)
        found = self._known(self._gathered())
        self._share_any(found)
        hits, tried, unread = self._in_goodware(_rule_set([item.candidate for item in found]))
        hit = hits.get(RULE_SET, set())
        clean_ones = [item for number, item in enumerate(found) if f"$c{number}" not in hit]
        choices = [
            choose([i for i in clean_ones if i.evidence.status in statuses], count, tried or 0)
            for statuses in LEVELS
        ]
        choice = min(choices, key=lambda choice: (len(choice.poor), len(choice.alone)))
        self._enough(choice, "" if tried is None else " outside of the goodware")
        text = rule_text(choice.groups, self._facts(family, tried))
        self._try(text, rule_name(family))
        strings = [item for group in choice.groups for item in group.strings]
        used = tuple(dict.fromkeys(item.evidence.status for item in strings))
        return Rule(rule_name(family), text, choice.groups, used, tried, unread)

    def _share_any(self, found: list[Chosen]) -> None:
        """Raise MaltriageError if no two of several files have a string in common."""
        if len(self.results) > 1 and not any(len(item.files) > 1 for item in found):
            raise MaltriageError("no rule: the files share nothing in their hot ranges")

    def _enough(self, choice: Choice, after: str) -> None:
        """Raise MaltriageError if no two of several files are of one group, or one has too few
        strings."""
        if len(self.results) > 1 and not any(len(group.files) > 1 for group in choice.groups):
            raise MaltriageError(f"no rule: no two of the files share {ENOUGH} strings{after}")
        if choice.poor:
            path = path_of(self.results[choice.poor[0]])
            raise TooFewError(
                f"no rule: {clean(path)} has fewer than {ENOUGH} strings in its hot ranges{after};"
                " leave it out",
                path,
            )

    def _gathered(self) -> list[tuple[Candidate, Evidence]]:
        """The candidates of all files, each file's hottest first."""
        tasks = []
        for result in self.results:
            ranges, claims = _ranges(result, whole=self.options.common is not None)
            how = InspectOptions(
                result.sha256,
                False,
                max_size=self.options.max_size,
                unmapped=self.bundle.card.unmapped,
                in_part=True,
            )
            tasks.append(
                (
                    claims,
                    self.workers.submit(gather, path_of(result), ranges, how, self.options.common),
                )
            )
        found = []
        for number, (claims, task) in enumerate(tasks):
            for candidate in self._done(task, self.results[number]):
                start, end, region, heat, status = claims[candidate.range]
                where = Evidence(number, (start, end), region, heat, status)
                found.append((candidate, where))
        if not found:
            raise MaltriageError(
                "no rule: the hot ranges hold only bytes of any program (headers, padding, common"
                " strings)"
            )
        return found

    def _known(self, found: list[tuple[Candidate, Evidence]]) -> list[Chosen]:
        """The candidates with the files that have them: first those that most files have, then
        those of one file, from each file in turn."""
        kept = dict[Pattern, tuple[Candidate, Evidence]]()
        for candidate, where in found:
            before = kept.get(candidate.pattern)
            if before is None or _rank(before[1]) > _rank(where):
                kept[candidate.pattern] = candidate, where
        pairs = list(kept.values())
        files: list[set[int]] = [set() for _ in pairs]
        for first in range(0, len(pairs), MAX_CANDIDATES):
            some = _rule_set([candidate for candidate, _ in pairs[first : first + MAX_CANDIDATES]])
            for number, there in enumerate(self._in_given(some)):
                for name in there.get(RULE_SET, ()):
                    files[first + int(name[2:])].add(number)
        every = [
            Chosen(candidate, where, frozenset(numbers))
            for (candidate, where), numbers in zip(pairs, files, strict=True)
        ]
        every.sort(key=lambda item: (-len(item.files), *_rank(item.evidence)))
        seen: Counter[frozenset[int]] = Counter()
        turns = []
        for item in every:
            turns.append(seen[item.files])
            seen[item.files] += 1
        shared = [item for item in every if len(item.files) > 1]
        own = [pair for pair in zip(turns, every, strict=True) if len(pair[1].files) == 1]
        own.sort(key=lambda pair: pair[0])
        return [*shared, *(item for _, item in own)][:MAX_CANDIDATES]

    def _in_given(self, source: str) -> list[dict[str, list[str]]]:
        """The strings of a rule set in each of the given files."""
        reading = Reading(max_size=self.options.max_size, unmapped=self.bundle.card.unmapped)
        tasks = [
            self.workers.submit(matches, path_of(result), source, reading)
            for result in self.results
        ]
        return [self._done(task, item) for task, item in zip(tasks, self.results, strict=True)]

    def _done(self, task: Future[T], result: Result) -> T:
        try:
            return task.result()
        except Exception as error:
            reason = reason_of(error, self.workers.timeout).reason
            raise MaltriageError(f"no rule: {clean(path_of(result))}: {reason}") from error

    def _in_goodware(self, source: str) -> tuple[dict[str, set[str]], int | None, int]:
        """The rules that match a clean file, each with its patterns found in any; the numbers of
        files searched and not readable. One pass over the folder."""
        if self.options.goodware is None:
            return {}, None, 0
        hits: dict[str, set[str]] = {}
        tried = unread = 0
        folder, limit = self.options.goodware, self.options.max_size
        for _, there in search(self.workers, [folder], source, limit):
            if isinstance(there, SampleError):
                unread += there.failed
                continue
            tried += 1
            for rule, names in there.items():
                hits.setdefault(rule, set()).update(names)
        if not tried:
            raise MaltriageError(f"no clean file to try the rule on in {self.options.goodware}")
        return hits, tried, unread

    def _facts(self, family: str, tried: int | None) -> Facts:
        largest = TIMES_LARGER * max(result.size for result in self.results)
        return Facts(
            family=family,
            model=self.bundle.card.name,
            model_sha256=self.bundle.card.weights_sha256,
            date=self.options.date,
            samples=tuple(result.sha256 for result in self.results),
            tried=tried,
            largest=-(-largest // KIB) * KIB,
            programs=all(result.format != "bytes" for result in self.results),
        )

    def _try(self, text: str, name: str) -> None:
        """Compile the finished rule and run it over all files.

        Raises:
            MaltriageError: it does not compile, misses a given file or matches a clean one.
        """
        import yara_x

        try:
            yara_x.compile(text)
        except yara_x.CompileError as error:
            raise MaltriageError(f"the rule does not compile: {clean(str(error))}") from error
        for result, there in zip(self.results, self._in_given(text), strict=True):
            if name not in there:
                raise MaltriageError(f"no rule: it does not match {clean(path_of(result))}")
        if self._in_goodware(text)[0]:
            raise MaltriageError("no rule: it matches a file of the goodware")


def search(
    workers: Workers, paths: Iterable[str], source: str, max_size: int = MAX_FILE_BYTES
) -> Iterator[tuple[str, dict[str, list[str]] | SampleError]]:
    """The strings of a rule set in each file of files and folders (see `matches`), or the error of
    searching it, with its path; in the order of the walk."""
    under_way: deque[tuple[str, Future[dict[str, list[str]]]]] = deque()

    def oldest() -> tuple[str, dict[str, list[str]] | SampleError]:
        path, task = under_way.popleft()
        try:
            return path, task.result()
        except Exception as error:
            return path, reason_of(error, workers.timeout)

    reading = Reading(max_size=max_size)
    for found in walk(paths, WalkOptions(max_size=max_size)):
        if not isinstance(found, Found):
            yield found.path, SampleError(found.code, found.reason, failed=found.failed)
            continue
        under_way.append((found.path, workers.submit(matches, found.path, source, reading)))
        if len(under_way) == _IN_FLIGHT:
            yield oldest()
    while under_way:
        yield oldest()


def _ranges(
    result: Result, *, whole: bool
) -> tuple[list[Range], list[tuple[int, int, str, float, Status | None]]]:
    """The hot ranges of a result, hottest first, and the evidence on each.

    Args:
        whole: then also the sections with heat for the label, as ranges that nothing was checked
            of: where the hottest bytes are those of any program, a file's own are beside them.
    """
    checks = result.evidence.checks
    status: dict[tuple[int, int], Status] = (
        {} if checks is None else {(check.start, check.end): check.status for check in checks.hot}
    )
    ranges, claims = [], []
    for hot in result.evidence.hot:
        region = result.layout.region_at(hot.start)
        if region is None:
            continue
        ranges.append(Range(hot.start, hot.end, hot.start, region))
        found = status.get((hot.start, hot.end))
        claims.append((hot.start, hot.end, hot.region, hot.contribution, found))
    if not whole:
        return ranges, claims
    for part in sorted(result.evidence.regions, key=lambda part: -part.contribution):
        region = result.layout.region_at(part.start)
        if region is None or part.kind != "section" or part.contribution <= 0.0:
            continue
        ranges.append(Range(part.start, part.end, part.start, region))
        heat = part.contribution * HOT_BLOCK / (part.end - part.start)  # as of a hot range's block
        claims.append((part.start, part.end, part.name, heat, None))
    return ranges, claims


def _rule_set(candidates: Iterable[Candidate]) -> str:
    """Candidates as one rule, to find which of them a file has."""
    lines = [f"  $c{n} = {item.pattern.yara()}" for n, item in enumerate(candidates)]
    return "\n".join([f"rule {RULE_SET} {{", " strings:", *lines, " condition: any of them }"])


def _rank(where: Evidence) -> tuple[bool, float]:
    """Sort key of strings, best first: supported ranges, then heat."""
    return where.status != "supported", -where.contribution
