"""Makes a YARA rule from heat and tests it: takes results, returns the text of a rule or raises.

hot ranges -> candidates (workers) -> in which of the given files -> in which clean and labelled
files -> choice -> text -> compiled, and run over all of these files
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TypeVar

from maltriage.bundle import BENIGN, Bundle
from maltriage.errors import MaltriageError, need
from maltriage.probe.inspect.worker import InspectOptions
from maltriage.probe.rule.gather import Candidate, gather
from maltriage.probe.rule.match import Answer, Build, searched
from maltriage.probe.rule.pattern import Pattern
from maltriage.report.documents.record import Result, path_of
from maltriage.report.sanitize import clean
from maltriage.rules.choose import ENOUGH, Choice, choose_against
from maltriage.rules.ranges import REFUSED, ranges_of
from maltriage.rules.search import offsets, rule_set
from maltriage.rules.text import rule_name, rule_text
from maltriage.rules.trial import Elsewhere, Trial, most, try_on
from maltriage.rules.types import Chosen, Evidence, Facts, Rule, RuleOptions
from maltriage.source.reading import Reading
from maltriage.work.workers import Workers, reason_of

T = TypeVar("T")
MAX_CANDIDATES = 2048
"""Most patterns searched for in the goodware: with more, YARA-X takes ten times as long."""
TIMES_LARGER = 4
"""Largest size of a matching file, as a multiple of the largest given file."""
KIB = 1024


def need_yara() -> None:
    """Raise MaltriageError unless the extra `yara` is installed."""
    need("yara", "a rule is tried with YARA-X before it is written", "yara_x")


def make_rule(
    results: Sequence[Result], bundle: Bundle, workers: Workers, options: RuleOptions
) -> Rule:
    """A rule from explained files of one family.

    Each of its strings is in two of the files or more, and it matches each file that it is made of;
    files that share too little with the others are left out. Where a folder of goodware is named it
    matches none of its files, where labelled files are, no benign one and few of any other family.

    Raises:
        MaltriageError: yara-x is missing; the files are explained for different labels, or a label
            that is no family; no two share what clean programs and other families lack; a file
            changed; there is no clean file.
    """
    need_yara()
    family = _family(results)
    return _Maker(results, bundle, workers, options, family).make()


def _family(results: Sequence[Result]) -> str:
    """The one label that all results are explained for."""
    if not results:
        raise MaltriageError("no file to make a rule of")
    if any(result.format == "picture" for result in results):
        raise MaltriageError("no rule: the pixels of these pictures are no program's bytes")
    counts = Counter(result.evidence.label for result in results)
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
    family: str

    def make(self) -> Rule:
        found, builds = self._known(self._gathered())
        trial = self._trial(rule_set([item.candidate for item in found]))
        choice = self._choice(found, trial)
        name, facts = rule_name(self.family), self._facts(choice, builds, trial)
        after = self._finished(rule_text(choice.groups, facts), name, choice)
        if after is not None:
            facts = _with_hits(facts, after)
        origins = [item.evidence for group in choice.groups for item in group.strings]
        supported = all(origin.supported for origin in origins)
        text = rule_text(choice.groups, facts)
        unread = 0 if trial is None else trial.unread
        return Rule(name, text, choice.groups, supported, facts, unread)

    def _gathered(self) -> list[tuple[Candidate, Evidence]]:
        """The candidates of all files, each file's hottest first."""
        tasks = []
        for number, result in enumerate(self.results):
            whole = self.options.common is not None
            ranges, origins = ranges_of(result, number, whole=whole)
            how = InspectOptions(
                result.sha256,
                False,
                max_size=self.options.max_size,
                archives=self.options.archives,
                unmapped=self.bundle.card.unmapped,
                in_part=True,
            )
            lone = len(self.results) == 1
            job = self.workers.submit(
                gather, path_of(result), ranges, how, self.options.common, lone
            )
            tasks.append((origins, job))
        found = []
        for (origins, task), result in zip(tasks, self.results, strict=True):
            for candidate in self._done(task, result):
                found.append((candidate, origins[candidate.range]))
        if not found:
            raise MaltriageError(
                "no rule: the hot ranges hold only bytes of any program (headers, padding, common"
                " strings)"
            )
        return found

    def _known(self, found: list[tuple[Candidate, Evidence]]) -> tuple[list[Chosen], list[Build]]:
        """The candidates that two files have (of a single file, all), those that most have first,
        and how each file was built."""
        kept = dict[Pattern, tuple[Candidate, Evidence]]()
        for candidate, where in found:
            before = kept.get(candidate.pattern)
            if before is None or _rank(before[1]) > _rank(where):
                kept[candidate.pattern] = candidate, where
        pairs = list(kept.values())
        files: list[dict[int, int]] = [{} for _ in pairs]
        for first in range(0, len(pairs), MAX_CANDIDATES):
            some = rule_set([candidate for candidate, _ in pairs[first : first + MAX_CANDIDATES]])
            answers = self._in_given(some)
            builds = [build for _, build, _ in answers]
            for number, (there, _, _) in enumerate(answers):
                for place, offset in offsets(there).items():
                    files[first + place][number] = offset
        every = [
            Chosen(candidate, where, has)
            for (candidate, where), has in zip(pairs, files, strict=True)
            if len(has) >= min(2, len(self.results))
        ]
        if not every:
            lacking = "" if self.options.common is None else " that clean programs lack"
            raise MaltriageError(f"no rule: the files share nothing in their hot ranges{lacking}")
        every.sort(key=lambda item: (-len(item.files), *_rank(item.evidence)))
        return every[:MAX_CANDIDATES], builds

    def _in_given(self, source: str) -> list[Answer]:
        """What is found of a rule set in each of the given files."""
        reading = Reading(
            max_size=self.options.max_size,
            archives=self.options.archives,
            unmapped=self.bundle.card.unmapped,
            in_part=True,
        )
        tasks = [
            self.workers.submit(searched, path_of(result), source, reading)
            for result in self.results
        ]
        return [self._done(task, item) for task, item in zip(tasks, self.results, strict=True)]

    def _done(self, task: Future[T], result: Result) -> T:
        try:
            return task.result()
        except Exception as error:
            reason = reason_of(error, self.workers.timeout).reason
            raise MaltriageError(f"no rule: {clean(path_of(result))}: {reason}") from error

    def _trial(self, source: str) -> Trial | None:
        trial = try_on(
            self.workers, self.options, source, {result.sha256 for result in self.results}
        )
        if trial is not None and self.options.goodware is not None and not trial.clean:
            raise MaltriageError(
                f"no clean file to try the rule on in {self.options.goodware}; links that lead out"
                " of it are not followed"
            )
        return trial

    def _choice(self, found: Sequence[Chosen], trial: Trial | None) -> Choice:
        """The strings of the rule.

        Raises:
            MaltriageError: too few are left.
        """
        count, tried = len(self.results), 0 if trial is None else trial.clean
        others: Mapping[Chosen, Sequence[Elsewhere]] = {}
        sizes = Counter[str]()
        if trial is not None:
            elsewhere = trial.others(self.family)
            sizes = Counter(item.label for item in elsewhere)
            has = _having(elsewhere)
            named = {f"$c{number}": item for number, item in enumerate(found)}
            others = {item: has.get(name, ()) for name, item in named.items()}
            found = [item for name, item in named.items() if name not in trial.in_clean]
        taken = [item for item in found if item.evidence.status not in REFUSED]
        supported = [item for item in taken if item.evidence.supported]
        beside = [
            item for item in found if item.evidence.beside or item.evidence.status not in REFUSED
        ]
        choices = [
            choose_against(some, count, tried, others, sizes) for some in (supported, taken, beside)
        ]  # a later one only where it leaves fewer files out
        choice = min(choices, key=lambda choice: len(choice.left_out))
        if choice.groups:
            return choice
        lacking = "" if trial is None else " that the clean files and other families lack"
        if count == 1:
            path = clean(path_of(self.results[0]))
            raise MaltriageError(f"no rule: {path} has fewer than {ENOUGH} strings{lacking}")
        raise MaltriageError(f"no rule: no two of the files share {ENOUGH} strings{lacking}")

    def _facts(self, choice: Choice, builds: Sequence[Build], trial: Trial | None) -> Facts:
        made_of = [n for group in choice.groups for n in group.files]
        largest = TIMES_LARGER * max(self.results[n].size for n in made_of)
        alike: dict[str, int] = {}
        if trial is not None and trial.clean:
            wanted = dict.fromkeys(builds[n] for n in sorted(made_of))
            alike = {_words(build): trial.builds[build] for build in wanted if build[0]}
        return Facts(
            family=self.family,
            model=self.bundle.card.name,
            model_sha256=self.bundle.card.weights_sha256,
            date=self.options.date,
            samples=tuple(result.sha256 for result in self.results),
            left_out=tuple(self.results[number].sha256 for number in choice.left_out),
            largest=-(-largest // KIB) * KIB,
            programs=all(self.results[n].format != "bytes" for n in made_of),
            clean=trial.clean if trial is not None and trial.clean else None,
            alike=tuple(alike.items()),
            verdicts=tuple(_verdicts([self.results[n] for n in made_of])),
            asked=any(self._asked(self.results[n]) for n in made_of),
        )

    def _asked(self, result: Result) -> bool:
        """Whether the family is not what the verdict on a file says, or is closest to."""
        return self.family != (result.verdict.closest or result.verdict.label)

    def _finished(self, text: str, name: str, choice: Choice) -> Trial | None:
        """Compile the finished rule and run it over all files.

        Raises:
            MaltriageError: it does not compile, misses a file that it is made of, or matches a
                clean file or too many of another family.
        """
        import yara_x

        try:
            yara_x.compile(text)
        except yara_x.CompileError as error:
            raise MaltriageError(f"the rule does not compile: {clean(str(error))}") from error
        for number, (there, _, _) in enumerate(self._in_given(text)):
            if name not in there and number not in choice.left_out:
                path = clean(path_of(self.results[number]))
                raise MaltriageError(f"no rule: it does not match {path}")
        trial = self._trial(text)
        if trial is None:
            return None
        if trial.in_clean:
            raise MaltriageError("no rule: it matches a clean file")
        others = trial.others(self.family)
        sizes = Counter(item.label for item in others)
        for label, hit in Counter(item.label for item in others if item.strings).items():
            if hit > most(sizes[label]):
                raise MaltriageError(
                    f"no rule: it matches {hit} of {sizes[label]} files of {clean(label)}"
                )
        return trial


def _having(elsewhere: Sequence[Elsewhere]) -> dict[str, list[Elsewhere]]:
    """The files that have a string, by its name."""
    has = dict[str, list[Elsewhere]]()
    for item in elsewhere:
        for name in item.strings:
            has.setdefault(name, []).append(item)
    return has


def _verdicts(results: Sequence[Result]) -> list[tuple[str, int]]:
    """The labels of verdicts with the number of files, the most frequent first."""
    counts = Counter(result.verdict.label for result in results)
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _words(build: Build) -> str:
    bits, maker = build
    return f"{bits}-bit, made with {clean(maker) or 'an unknown compiler'}"


def _with_hits(facts: Facts, trial: Trial) -> Facts:
    """The facts with what the finished rule matches of the labelled files."""
    own, others = trial.own(facts.family), trial.others(facts.family)
    hits = sorted((item.label, item.sha256) for item in others if item.strings)
    found = sorted((item.label, item.sha256) for item in own if item.strings)
    return replace(
        facts,
        hits=(*hits, *found),
        recall=(len(found), len(own)) if own else None,
        others=len(others),
    )


def _rank(where: Evidence) -> tuple[bool, float]:
    """Sort key of strings, best first: supported ranges, then heat."""
    return not where.supported, -where.heat
