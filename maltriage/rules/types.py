"""What a rule is made from, and what it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from maltriage.probe.rule.gather import Candidate
from maltriage.report.documents.evidence import HOT_BLOCK, Status
from maltriage.source.archive.limits import Archives
from maltriage.source.reading import MAX_FILE_BYTES


@dataclass(frozen=True)
class RuleOptions:
    """`goodware`: a folder of clean files. `labelled`: the label of each of some files, by path.
    `date`: written into the rule. `common`: an index of what clean programs have in common, which
    is in no rule. `archives`: as the files were explained with, since they may be in some."""

    date: str
    goodware: str | None = None
    max_size: int = MAX_FILE_BYTES
    common: Path | None = None
    labelled: Mapping[str, str] = field(default_factory=dict)
    archives: Archives | None = None


@dataclass(frozen=True)
class Evidence:
    """Origin of a string: the given file, the evidence on its range and the check's result.
    `status` None: not checked. `whole`: the range is a whole section, none of the hottest bytes."""

    file: int
    range: tuple[int, int]
    region: str
    contribution: float
    status: Status | None
    whole: bool = False

    @property
    def heat(self) -> float:
        """The heat that strings are ordered by: of a section as much as of a hot block in it."""
        start, end = self.range
        return self.contribution * HOT_BLOCK / (end - start) if self.whole else self.contribution

    @property
    def supported(self) -> bool:
        """Whether the string is from a hot range whose check is `supported`."""
        return self.status == "supported" and not self.whole

    @property
    def beside(self) -> bool:
        """Whether the string is from a section that hardly counts, but holds what does not."""
        return self.whole and self.status == "negligible"


@dataclass(frozen=True, eq=False)
class Chosen:
    """A string of the rule, its evidence, and where its first match starts in each of the given
    files that have it."""

    candidate: Candidate
    evidence: Evidence
    offsets: Mapping[int, int]

    @property
    def files(self) -> frozenset[int]:
        """The given files that have it."""
        return frozenset(self.offsets)


@dataclass(frozen=True)
class Group:
    """Files that share strings, the strings, the fewest of them that one of these files has, and
    the number that a file must have."""

    files: tuple[int, ...]
    strings: tuple[Chosen, ...]
    fewest: int
    least: int


@dataclass(frozen=True)
class Facts:
    """Metadata of a rule.

    Attributes:
        samples: SHA-256 of the files that it is made of, by their number among those given.
        left_out: SHA-256 of given files that it is not made of.
        clean: number of clean files that it was tried on; None: none were named.
        alike: for each way the samples were built, in words: how many of these files were, too.
        hits: the labelled files that it matches, of other labels first: label and SHA-256.
        recall: of the other files of the family, how many it matches and how many there are;
            None: there is none.
        others: labelled files of other families.
        verdicts: labels of the verdicts on the files that it is made of, with their numbers.
        asked: whether the family was asked for: the verdict on one of these files is another.
    """

    family: str
    model: str
    model_sha256: str
    date: str
    samples: tuple[str, ...]
    left_out: tuple[str, ...]
    largest: int
    programs: bool
    clean: int | None = None
    alike: tuple[tuple[str, int], ...] = ()
    hits: tuple[tuple[str, str], ...] = ()
    recall: tuple[int, int] | None = None
    others: int = 0
    verdicts: tuple[tuple[str, int], ...] = ()
    asked: bool = False


@dataclass(frozen=True)
class Rule:
    """A tested rule. `supported`: whether all of its strings are from hot ranges whose check is
    that. `unread`: number of clean or labelled files that could not be read."""

    name: str
    text: str
    groups: tuple[Group, ...]
    supported: bool
    facts: Facts
    unread: int
