"""How much of a family does a rule find that was made of a few of its files, and what besides?

    python benchmarks/rules.py ROOT --goodware A --held-out B [--seeds 0 1 2] [--prevalence P]

ROOT has a folder for each family, as `vx-zoo` has it. Of each family with at least 20 files,
`--files` are drawn by seed, explained for their family, and made into a rule that no file below A
matches, as `maltriage explain --class FAMILY --yara` does it. Then every rule is run over all of
ROOT and over B, clean files that had no part in it. Printed are, for each rule: how many files its
groups have, and its strings; recall, the part of the family's other files that it matches; false
matches on files of other families, on clean files of ROOT, and on B. A family of which no rule
could be made has recall 0, and its reason below. Where the tool says to leave a file out that has
too few strings that clean programs lack, it is left out (-1), and is none of the family's others.

The model that ships was trained on vx-mini, so heat is that of a model that knows the files. What
is measured is what rules find, not how well the model tells families apart.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from maltriage import bundle as bundles
from maltriage.bundle import BENIGN, Bundle
from maltriage.corpus.datasets import open_dataset
from maltriage.errors import MaltriageError
from maltriage.report.documents.record import Result, path_of
from maltriage.rules.make import Rule, RuleOptions, TooFewError, make_rule, search
from maltriage.sample.errors import SampleError
from maltriage.triage import pipeline
from maltriage.triage.options import ScanOptions
from maltriage.work.cores import cores
from maltriage.work.workers import Workers

MIN_FILES = 20
TARGET_RECALL, TARGET_CLEAN = 0.5, 1e-3


@dataclass(frozen=True)
class Made:
    """A rule, or why there is none, of the files `paths` of a family, without those that had too
    few strings for one."""

    family: str
    seed: int
    paths: frozenset[str]
    rule: Rule | None
    left_out: int = 0
    why: str = ""

    @property
    def name(self) -> str:
        return f"{self.family}_{self.seed}"


def make(
    family: str,
    paths: list[str],
    seed: int,
    bundle: Bundle,
    workers: Workers,
    rules: RuleOptions,
) -> Made:
    options = ScanOptions(label=family, checks=0, close=True, batch_size=1)
    records = pipeline.scan(paths, bundle, options)
    results = [record for record in records if isinstance(record, Result)]
    drawn, out = frozenset(paths), 0
    while True:
        try:
            rule = make_rule(results, bundle, workers, rules)
            return Made(family, seed, drawn, rule, out)
        except TooFewError as error:  # as its message says
            results = [result for result in results if path_of(result) != error.path]
            out += 1
            if len(results) < 2:
                return Made(family, seed, drawn, None, out, str(error))
        except MaltriageError as error:
            return Made(family, seed, drawn, None, out, str(error))


def source_of(made: list[Made]) -> str:
    """All rules in one text, under names of their own."""
    return "\n".join(
        item.rule.text.replace(f"rule {item.rule.name}\n", f"rule {item.name}\n", 1)
        for item in made
        if item.rule is not None
    )


def hits(workers: Workers, folder: str, source: str) -> tuple[dict[str, set[str]], int]:
    """The files that each rule matches, and how many were searched."""
    found: dict[str, set[str]] = defaultdict(set)
    count = 0
    for path, there in search(workers, [folder], source):
        if isinstance(there, SampleError):
            continue
        count += 1
        for name in there:
            found[name].add(path)
    return found, count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--goodware", required=True, help="clean files that rules must not match")
    parser.add_argument("--held-out", required=True, help="other clean files, to count on")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--files", type=int, default=5)
    parser.add_argument("--model")
    parser.add_argument("--prevalence", type=Path, help="index of clean programs")
    arguments = parser.parse_args()
    rules = RuleOptions("2026-01-01", arguments.goodware, common=arguments.prevalence)
    bundle = bundles.load(bundles.resolve(arguments.model))
    families: dict[str, list[str]] = defaultdict(list)
    for sample in open_dataset("vx-zoo", arguments.root, 1).samples:
        families[sample.label].append(sample.path)
    wanted = [f for f, p in sorted(families.items()) if f != BENIGN and len(p) >= MIN_FILES]
    made, began = list[Made](), time.monotonic()
    with Workers(cores(), 60.0) as workers:
        for seed in arguments.seeds:
            for family in wanted:
                some = random.Random(f"{family} {seed}").sample(
                    sorted(families[family]), arguments.files
                )
                made.append(make(family, some, seed, bundle, workers, rules))
                print(f"{made[-1].name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
        source = source_of(made)
        in_root, _ = hits(workers, str(arguments.root), source)
        in_clean, clean = hits(workers, arguments.held_out, source)
    none: set[str] = set()
    counts = [
        counted(item, families, in_root.get(item.name, none), in_clean.get(item.name, none))
        for item in made
    ]
    report(made, counts, len(families.get(BENIGN, ())), clean)
    return 0


@dataclass(frozen=True)
class Counts:
    """What a rule matches: of the family's other files, of other families', of clean ones."""

    found: int
    rest: int
    others: int
    of_others: int
    benign: int
    clean: int


def counted(
    item: Made, families: dict[str, list[str]], in_root: set[str], in_clean: set[str]
) -> Counts:
    own, benign = set(families[item.family]), set(families.get(BENIGN, ()))
    rest = own - item.paths
    malware = sum(len(paths) for family, paths in families.items() if family != BENIGN)
    return Counts(
        len(in_root & rest),
        len(rest),
        len(in_root - own - benign),
        malware - len(own),
        len(in_root & benign),
        len(in_clean),
    )


def report(made: list[Made], counts: list[Counts], benign: int, clean: int) -> None:
    print(f"clean files: {benign} of the data set, {clean} held out\n")
    print("family       seed  groups       strings  recall          others    clean  held out")
    recall: dict[str, list[float]] = defaultdict(list)
    for item, n in zip(made, counts, strict=True):
        recall[item.family].append(n.found / n.rest)
        groups = item.rule.groups if item.rule else ()
        sizes = "+".join(str(len(group.files)) for group in groups) or "no rule"
        sizes += f" -{item.left_out}" if item.left_out else ""
        strings = sum(len(group.strings) for group in groups)
        print(
            f"{item.family:12s} {item.seed:4d}  {sizes:12s} {strings:7d}"
            f"  {n.found:3d}/{n.rest:<3d} {n.found / n.rest:5.2f}"
            f"  {n.others:3d}/{n.of_others:<4d} {n.benign:6d} {n.clean:9d}"
        )
    means = {family: statistics.mean(values) for family, values in recall.items()}
    print("\nmean recall: " + ", ".join(f"{name} {value:.2f}" for name, value in means.items()))
    seeds = [statistics.median(column) for column in zip(*recall.values(), strict=True)]
    print(
        f"median over the families: {statistics.median(means.values()):.2f} of the means, by seed "
        + ", ".join(f"{value:.2f}" for value in seeds)
        + f" (target {TARGET_RECALL})"
    )
    rules = [n for item, n in zip(made, counts, strict=True) if item.rule is not None]
    if rules:
        each = len(rules)
        print(
            f"{each} rules of {len(made)}; of a thousand files a rule matches wrongly, on average: "
            f"{1e3 * sum(n.clean for n in rules) / clean / each:.2f} held out "
            f"(at most {1e3 * max(n.clean for n in rules) / clean:.2f}; target "
            f"{1e3 * TARGET_CLEAN:g}), "
            f"{1e3 * sum(n.others for n in rules) / sum(n.of_others for n in rules):.0f} of other "
            f"families, {1e3 * sum(n.benign for n in rules) / max(1, benign) / each:.0f} clean "
            "ones of the data set"
        )
    for item in made:
        if item.rule is None:
            print(f"{item.name}: {item.why}")


if __name__ == "__main__":
    sys.exit(main())
