"""How to scan, and how far a scan is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from maltriage.bundle import Bundle
from maltriage.probe.prepare import PrepareOptions
from maltriage.report.documents.counts import Counts
from maltriage.similar.search import NO_INDEX
from maltriage.source.archive.limits import Archives
from maltriage.source.files import WalkOptions
from maltriage.source.known import KnownList
from maltriage.triage.methods import HIRESCAM, Mapper
from maltriage.triage.session import Device
from maltriage.work.cores import cores
from maltriage.work.dispatcher import Members


@dataclass(frozen=True)
class ScanOptions:
    """How to scan. `jobs` 0: one worker a core. `threads`: of the model; 0: see `model_threads`.

    `label`: explain this label in every file.

    `against`: explain the score of the label less this label's, of each file the verdict's or
    `label`. `coverage`: of the prediction sets, where it is not to be the card's. `methods`,
    `mappers`, `seed`: of the evidence, see `Explainer`. `checks`: of how many files the evidence is
    put to the test, the most urgent ones; 0: of all, None: of none. `close`: what only an analyst
    with one file before them wants, md5, sha1, TLSH and the plane; `inspect`: then also what is in
    the hot ranges, for which the file is read once more. `archives`: how archives are
    opened; None: they are not. `members`: whether `each` program in one is a sample of its own, or
    the archive stands for the `only` file in it, as in a dataset, or for the one program among its
    files (`first`). `index`: what samples are compared with, see `open_index`. `known`: lists of
    files that are known to be good, which are skipped, or with `analyse_known` have a notice.
    """

    walk: WalkOptions = field(default_factory=WalkOptions)
    device: Device = "auto"
    jobs: int = 0
    threads: int = 0
    batch_size: int = 16
    timeout: float = 60.0
    hashes: bool = False
    label: str | None = None
    against: str | None = None
    coverage: float | None = None
    methods: tuple[str, ...] = (HIRESCAM,)
    mappers: Mapping[str, Mapper] = field(default_factory=dict)
    seed: int = 0
    checks: int | None = None
    close: bool = False
    inspect: bool = True
    archives: Archives | None = None
    members: Members = "only"
    index: str | None = NO_INDEX
    known: tuple[KnownList, ...] = ()
    analyse_known: bool = False


@dataclass
class Progress(Counts):
    """Where a scan stands, for whoever wants to show it. Written by the scan alone."""

    in_flight: list[tuple[str, float]] = field(default_factory=list)
    """Paths of the files under way, and for how many seconds each."""
    notes: list[str] = field(default_factory=list)
    """What the user should know of how it runs, a line each."""


def work_of(bundle: Bundle, options: ScanOptions) -> PrepareOptions:
    """What workers are to make of each file."""
    card = bundle.card
    return PrepareOptions(
        card.views,
        hashes=options.hashes or options.close,
        max_size=options.walk.max_size,
        formats=card.input,
        unmapped=card.unmapped,
        archives=options.archives,
        known=options.known,
        analyse_known=options.analyse_known,
    )


MODEL_SHARE = 1 / 3
"""Of the work of a scan, the part of the forward pass (docs/performance.md)."""


def model_threads(options: ScanOptions) -> int:
    """Threads for the model while workers prepare files, which take all cores themselves.

    A third of the cores; all of them where the evidence is put to the test, for which the model
    runs many times while the workers wait.
    """
    if options.threads:
        return options.threads
    if options.close or options.checks is not None:
        return cores()
    return max(1, round(MODEL_SHARE * cores()))
