"""Options and progress of a scan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

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
    """Options of a scan. `jobs` 0: one worker a core. `threads`: of the model; 0: see
    `model_threads`. `engines`: processes that share both; 0: as many as they keep busy
    (`engines.machine`).

    `label`: explain this label in every file.

    `against`: explain the score of the label less this label's; the label is each file's verdict
    or `label`. `fpr`: flag at the card's threshold for this false-positive rate; None: at its own.
    `coverage`: of the prediction sets; None: the card's. `methods`, `mappers`, `seed`:
    of the evidence, see `Explainer`. `checks`: number of files, the most urgent ones, whose
    evidence is checked; 0: all, None: none. `identify`: also ask Detect It Easy what a file was
    made with. `close`: details for a single file, md5, sha1, TLSH and the plane; `inspect`: then
    also the content of the hot ranges, which reads the file once more, and is looked up in
    `common`, an index of what clean programs have in common (None: in none); `signatures`: of
    library functions, which are named in hot code. `archives`: options of opening archives; None:
    they stay closed. `members`: whether `each` program in one is a sample of its own, or the
    archive stands for the `only` file in it, as in a dataset, or for the one program among its
    files (`first`). `index`: labelled files to compare samples with, see `open_index`. `known`:
    lists of known good files, which are skipped, or with `analyse_known` have a notice.
    """

    walk: WalkOptions = field(default_factory=WalkOptions)
    device: Device = "auto"
    jobs: int = 0
    threads: int = 0
    engines: int = 0
    batch_size: int = 16
    timeout: float = 60.0
    hashes: bool = False
    identify: bool = False
    label: str | None = None
    against: str | None = None
    fpr: float | None = None
    coverage: float | None = None
    methods: tuple[str, ...] = (HIRESCAM,)
    mappers: Mapping[str, Mapper] = field(default_factory=dict)
    seed: int = 0
    checks: int | None = None
    close: bool = False
    inspect: bool = True
    common: Path | None = None
    signatures: Path | None = None
    archives: Archives | None = None
    members: Members = "only"
    index: str | None = NO_INDEX
    known: tuple[KnownList, ...] = ()
    analyse_known: bool = False


@dataclass
class Progress(Counts):
    """Progress of a scan, to be shown. Written by the scan alone."""

    in_flight: list[tuple[str, float]] = field(default_factory=list)
    """Paths of the files under way, and the seconds of each."""
    done: int = 0
    """Files of the walk that have all their records; an archive is one file."""
    found: int | None = None
    """Files of the walk, counted once a scan is stopped; None: unknown."""
    notes: list[str] = field(default_factory=list)
    """Messages to the user on the run, a line each."""


def work_of(bundle: Bundle, options: ScanOptions) -> PrepareOptions:
    """The options of workers for each file."""
    card = bundle.card
    return PrepareOptions(
        card.views,
        hashes=options.hashes or options.close,
        identify=options.identify,
        max_size=options.walk.max_size,
        in_part=options.walk.in_part,
        formats=card.input,
        unmapped=card.unmapped,
        archives=options.archives,
        known=options.known,
        analyse_known=options.analyse_known,
    )


MODEL_SHARE = 1 / 3
"""Share of the forward pass in the work of a scan (docs/studies/performance.md)."""


def model_threads(options: ScanOptions) -> int:
    """Threads for the model while workers, which use all cores, prepare files.

    A third of the cores; all of them if evidence is checked, when the model runs many times while
    the workers wait.
    """
    if options.threads:
        return options.threads
    if options.close or options.checks is not None:
        return cores()
    return max(1, round(MODEL_SHARE * cores()))
