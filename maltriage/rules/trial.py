"""Tries strings, and then a finished rule, on files that it is not made of: clean ones, and those
of other families."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from itertools import chain

from maltriage.bundle import BENIGN
from maltriage.probe.rule.match import Build
from maltriage.rules.search import search
from maltriage.rules.types import RuleOptions
from maltriage.sample.errors import SampleError
from maltriage.work.workers import Workers

OTHERS = 0.05
"""Largest share of the files of any other family that a rule may match."""


@dataclass(frozen=True, eq=False)
class Elsewhere:
    """A labelled file that is none of those given, and the names of the rules that match it and of
    their strings that it has."""

    label: str
    sha256: str
    strings: frozenset[str]


@dataclass
class Trial:
    """What was found: rules and strings in any clean file, and those in each labelled one.

    `builds`: how many clean files were built how. `unread`: files that could not be read.
    """

    clean: int = 0
    unread: int = 0
    builds: Counter[Build] = field(default_factory=Counter)
    in_clean: set[str] = field(default_factory=set)
    labelled: list[Elsewhere] = field(default_factory=list)

    def others(self, family: str) -> list[Elsewhere]:
        """The labelled files that are not of a family."""
        return [item for item in self.labelled if item.label != family]

    def own(self, family: str) -> list[Elsewhere]:
        """The labelled files that are of a family."""
        return [item for item in self.labelled if item.label == family]


def try_on(
    workers: Workers, options: RuleOptions, source: str, given: Collection[str]
) -> Trial | None:
    """Search the clean and the labelled files for the strings of a rule set or rule.

    Args:
        given: SHA-256 of the files that the rule is made of; they are not counted.

    Returns:
        None: no files were named.
    """
    if options.goodware is None and not options.labelled:
        return None
    trial = Trial()
    folders = [] if options.goodware is None else [options.goodware]
    _search(workers, options, source, folders, given, trial)
    _search(workers, options, source, options.labelled, given, trial)
    return trial


def _search(
    workers: Workers,
    options: RuleOptions,
    source: str,
    paths: Iterable[str],
    given: Collection[str],
    trial: Trial,
) -> None:
    for path, answer in search(workers, paths, source, options.max_size):
        if isinstance(answer, SampleError):
            trial.unread += answer.failed
            continue
        found, build, sha256 = answer
        strings = frozenset(chain(found, *found.values()))
        label = options.labelled.get(path, BENIGN)
        if label == BENIGN:
            trial.clean += 1
            trial.builds[build] += 1
            trial.in_clean |= strings
        elif sha256 not in given:
            trial.labelled.append(Elsewhere(label, sha256, strings))


def most(count: int) -> int:
    """How many files of a family of `count` a rule for another family may match."""
    return int(OTHERS * count)
