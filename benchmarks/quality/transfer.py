"""Does a false-positive rate that was set on one maker's clean files hold on another's?

    python -m benchmarks.quality.transfer GOODWARE [--model MODEL] [--fpr RATE ...]

`GOODWARE` is what `goodware.py` fetched. The programs of its parts `calibration` and `test`, none
of which the model that ships has learned from, are scanned the way that users scan and sorted by
kind (PE32, PE32+, .NET) and by where they come from: packages of Debian, Windows wheels,
packages of npm. A threshold is set on the files of each origin that has 3 / RATE of them or more,
and tested on those of every other. Beside it stands what happens within one origin: a threshold
from its packages in `calibration`, tested on those in `test`.

Prints tables in Markdown. Intervals are exact (Clopper and Pearson) and of the files tested on;
they take the files for independent, which those of one package are not.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from maltriage import bundle as bundles
from maltriage.assess.verdicts.calibrate import files_needed, limit_at
from maltriage.metrics import Interval, clopper_pearson
from maltriage.report.documents.record import Result
from maltriage.triage.options import ScanOptions
from maltriage.triage.pipeline import scan

PARTS = ("calibration", "test")
ORIGINS = ("debian", "wheel", "npm")
NAMES = {"debian": "Debian", "wheel": "wheels", "npm": "npm"}
KINDS = {"pe32": "PE32", "pe32+": "PE32+", ".net": ".NET"}
MIN_TESTED = 30
"""Files below which a rate is not given."""

Margins = Mapping[tuple[str, str, str], Sequence[float]]
"""By kind, origin and part."""


@dataclass(frozen=True)
class Row:
    """A threshold from one set of files on another."""

    kind: str
    source: str
    target: str
    set_on: int
    own: Interval
    """The rate on the files that the threshold was set on."""
    tested_on: int
    flagged: int
    rate: Interval


def measure(folder: Path, model: str | None, jobs: int) -> Margins:
    """Margins of all different programs of the two parts, of which each counts once."""
    bundle = bundles.load(bundles.resolve(model))
    found: dict[str, tuple[tuple[str, str, str], float]] = {}
    for part in PARTS:
        for record in scan([str(folder / part)], bundle, ScanOptions(jobs=jobs)):
            if isinstance(record, Result) and record.verdict.margin is not None:
                place = Path(record.path).relative_to(folder / part).parts[0]
                key = record.layout.kind or "", place.split("-")[0], part
                found.setdefault(record.sha256, (key, record.verdict.margin))
    margins: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for key, margin in found.values():
        margins[key].append(margin)
    return margins


def rows(margins: Margins, fpr: float) -> Iterator[Row]:
    """Every pair of sets that are large enough: within an origin, then from one to another."""
    needed = files_needed(fpr)
    for kind in KINDS:
        for origin in ORIGINS:
            first, second = (margins.get((kind, origin, part), ()) for part in PARTS)
            if len(first) >= needed and len(second) >= MIN_TESTED:
                name = NAMES[origin]
                yield _row(kind, f"{name}, calibration", f"{name}, test", first, second, fpr)
        whole = {
            origin: [m for part in PARTS for m in margins.get((kind, origin, part), ())]
            for origin in ORIGINS
        }
        for source in ORIGINS:
            for target in ORIGINS:
                large = len(whole[source]) >= needed and len(whole[target]) >= MIN_TESTED
                if source != target and large:
                    names = NAMES[source], NAMES[target]
                    yield _row(kind, *names, whole[source], whole[target], fpr)


def _row(
    kind: str, source: str, target: str, set_on: Sequence[float], test: Sequence[float], fpr: float
) -> Row:
    limit = limit_at(set_on, fpr)
    own, flagged = (sum(margin >= limit for margin in each) for each in (set_on, test))
    return Row(
        kind,
        source,
        target,
        len(set_on),
        clopper_pearson(own, len(set_on)),
        len(test),
        flagged,
        clopper_pearson(flagged, len(test)),
    )


def table(found: Iterable[Row], fpr: float) -> str:
    """The rows in Markdown, with the rate that was asked for."""
    lines = [
        f"| {fpr:.2%} asked for | set on | its own rate | tested on | flagged | rate |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {KINDS[row.kind]} | {row.source}, {row.set_on:,} | {_rate(row.own)} | {row.target} |"
        f" {row.flagged} of {row.tested_on:,} | {_rate(row.rate)} |"
        for row in found
    ]
    return "\n".join(lines)


def _rate(value: Interval) -> str:
    return f"{value.value:.2%} ({value.low:.2%} to {value.high:.2%})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path, metavar="GOODWARE")
    parser.add_argument("--model", help="a bundle; the default one")
    parser.add_argument("--fpr", type=float, action="append", help="a rate; 0.01 and 0.005")
    parser.add_argument("--jobs", type=int, default=0)
    args = parser.parse_args()
    margins = measure(args.folder, args.model, args.jobs)
    for fpr in args.fpr or (0.01, 0.005):
        print(table(rows(margins, fpr), fpr), end="\n\n")


if __name__ == "__main__":
    main()
