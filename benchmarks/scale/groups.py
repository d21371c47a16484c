"""How well groups of similar files agree with labels, and what a large scan costs.

    maltriage scan ROOT --model NET -o REPORT.ndjson --exit-zero
    python -m benchmarks.scale.groups quality REPORT.ndjson ROOT/manifest.csv
        --only source=motif+reports
    python -m benchmarks.scale.groups cost REPORT.ndjson --records 1000000 --different 0.1

`quality` takes the files of the report with a family (neither benign nor `_other`) and prints, for
the limits that ship, for others, and for each sign alone: the groups, those of two files and more,
the files in them, homogeneity, completeness and V-measure (Rosenberg and Hirschberg 2007). The net
should have seen none of the files.

`cost` repeats the records of a report, a share of them with other contents and digests, which are
like nothing else, and prints the seconds and the memory that grouping adds.
"""

from __future__ import annotations

import argparse
import csv
import resource
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from maltriage.report.documents.record import Result
from maltriage.report.saved.report import look_through
from maltriage.similar.groups import Groups, Limits

UNLABELLED = ("benign", "_other")
NONE = Limits(code=2.0, bits=-1, built=False, tlsh=-1)
"""Limits that no two files reach."""
SETTINGS: dict[str, Limits] = (
    {
        "as it ships": Limits(),
        "code alone": replace(NONE, code=Limits().code),
        "imports and Rich header alone": replace(NONE, built=True),
        "model alone": replace(NONE, bits=Limits().bits),
        "without the model": Limits(bits=-1),
        "without TLSH": Limits(tlsh=-1),
    }
    | {f"TLSH alone, up to {n}": replace(NONE, tlsh=n) for n in (30, 40, 50, 60, 70, 80, 100)}
    | {f"at most {bits} bits": Limits(bits=bits) for bits in (8, 12, 16, 20, 24, 28, 32, 40, 48)}
)


def labelled(report: str, manifest: Path, only: str | None) -> list[tuple[str, Result]]:
    """The results whose file has a family in the manifest, in the order of the scan."""
    column, _, values = (only or "").partition("=")
    families = {}
    with manifest.open(newline="") as file:
        for row in csv.DictReader(file):
            if not column or row[column] in values.split("+"):
                families[str((manifest.parent / row["path"]).resolve())] = row["family"]
    found = []
    for record in look_through(report).records():
        family = families.get(str(Path(record.path).resolve()), "benign")
        if isinstance(record, Result) and family not in UNLABELLED:
            found.append((family, record))
    return found


def quality(files: Sequence[tuple[str, Result]]) -> None:
    from sklearn.metrics import homogeneity_completeness_v_measure

    families = [family for family, _ in files]
    print(f"{len(files)} files, {len(set(families))} families")
    print("| | groups | of two and more | files in these | homogeneity | completeness | V |")
    for name, limits in SETTINGS.items():
        groups = Groups(limits)
        ids = [groups.put(record).group for _, record in files]
        sizes = Counter(ids)
        several = [size for size in sizes.values() if size > 1]
        h, c, v = homogeneity_completeness_v_measure(families, ids)
        shown = f"{len(sizes)} | {len(several)} | {sum(several)} | {h:.3f} | {c:.3f} | {v:.3f}"
        print(f"| {name} | {shown} |")


def repeated(results: Sequence[Result], records: int, different: float) -> Iterator[Result]:
    """So many results, a share of them with a content and digests of its own."""
    rng = np.random.default_rng(0)
    for number in range(records):
        result = results[number % len(results)]
        if rng.random() < different:
            code = b"".join(sorted(rng.bytes(4) for _ in range(16))).hex()
            identity = msgspec.structs.replace(
                result.identity, code_digest=code, imphash=rng.bytes(16).hex()
            )
            result = msgspec.structs.replace(
                result,
                sha256=rng.bytes(32).hex(),
                identity=identity,
                embedding_digest=rng.bytes(32).hex(),
            )
        yield result


def seconds_of(results: Sequence[Result], records: int, different: float) -> float:
    """CPU seconds that grouping so many records takes."""
    began = time.process_time()
    for _ in repeated(results, records, different):
        pass
    making = time.process_time() - began
    groups, began = Groups(), time.process_time()
    for result in repeated(results, records, different):
        groups.put(result)
    return time.process_time() - began - making


def cost(results: Sequence[Result], records: int, different: float) -> None:
    before = peak()
    taken = seconds_of(results, records, different)
    print(f"{records:,} records, {100 * different:g} % of them unlike any other: {taken:.1f} CPU s")
    print(f"{1e6 * taken / records:.0f} us a record, {peak() - before:.0f} MB")


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = parser.add_subparsers(dest="kind", required=True)
    asked = kinds.add_parser("quality")
    asked.add_argument("report")
    asked.add_argument("manifest", type=Path)
    asked.add_argument("--only", help="e.g. source=motif+reports")
    asked = kinds.add_parser("cost")
    asked.add_argument("report")
    asked.add_argument("--records", type=int, default=1_000_000)
    asked.add_argument("--different", type=float, default=0.1)
    options = parser.parse_args()
    if options.kind == "quality":
        quality(labelled(options.report, options.manifest, options.only))
    else:
        records = look_through(options.report).records()
        results = [record for record in records if isinstance(record, Result)]
        cost(results, options.records, options.different)


if __name__ == "__main__":
    main()
