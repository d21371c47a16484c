"""How much of a family does a rule find that was made of a few of its files, and what besides?

    python -m benchmarks.quality.rules ROOT --goodware A --held-out B [B ...] [--seeds 0 1 2]
        [--prevalence P] [--labelled]

ROOT has a folder for each family, as `vx-zoo` has it. Of each family with at least 20 files,
`--files` are drawn by seed, explained for their family, and made into a rule that no file below A
matches, as `maltriage explain --class FAMILY --yara` does it. Then every rule is run over all of
ROOT and over each B, clean files that had no part in it. Printed are, for each rule: how many files
its groups have, and its strings; recall, the part of the family's other files that it matches;
matches in other families, in all and the largest share of any; in clean files of ROOT, and in B. A
family of which no rule could be made has recall 0, and its reason below.

With `--labelled` a rule is also tried on files of ROOT, as `--labelled` does it: on one half of
each other family, drawn by seed, and on the benign ones. Matches are then counted in the other
half, which had no part in the rule.

The model that ships was trained on vx-mini, so heat is that of a model that knows the files. What
is measured is what rules find, not how well the model tells families apart.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from maltriage import bundle as bundles
from maltriage.bundle import BENIGN, Bundle
from maltriage.corpus.datasets import open_dataset
from maltriage.errors import MaltriageError
from maltriage.report.documents.record import Result
from maltriage.rules.make import make_rule
from maltriage.rules.search import search
from maltriage.rules.types import Rule, RuleOptions
from maltriage.sample.errors import SampleError
from maltriage.triage import pipeline
from maltriage.triage.options import ScanOptions
from maltriage.work.cores import cores
from maltriage.work.workers import Workers

MIN_FILES = 20
TARGET_RECALL, TARGET_OTHERS, TARGET_CLEAN = 0.5, 0.05, 1e-3


@dataclass(frozen=True)
class Made:
    """A rule, or why there is none, of the files `paths` of a family. `tried`: labelled files that
    it was tried on."""

    family: str
    seed: int
    paths: frozenset[str]
    tried: frozenset[str]
    rule: Rule | None
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
    made = partial(Made, family, seed, frozenset(paths), frozenset(rules.labelled))
    try:
        return made(make_rule(results, bundle, workers, rules))
    except MaltriageError as error:
        return made(None, str(error))


def source_of(made: list[Made]) -> str:
    """All rules in one text, under names of their own."""
    return "\n".join(
        item.rule.text.replace(f"rule {item.rule.name}\n", f"rule {item.name}\n", 1)
        for item in made
        if item.rule is not None
    )


def hits(workers: Workers, folder: str, source: str) -> tuple[dict[str, set[str]], Counter[str]]:
    """The files that each rule matches, and how many were searched by what made them."""
    found: dict[str, set[str]] = defaultdict(set)
    makers = Counter[str]()
    for path, answer in search(workers, [folder], source):
        if isinstance(answer, SampleError):
            continue
        there, (_, maker), _ = answer
        makers[maker] += 1
        for name in there:
            found[name].add(path)
    return found, makers


def half(families: dict[str, list[str]], family: str, seed: int) -> dict[str, str]:
    """The labels of one half of each other family, and of all benign files."""
    labels = dict.fromkeys(families.get(BENIGN, ()), BENIGN)
    for other, paths in families.items():
        if other not in (family, BENIGN):
            drawn = random.Random(f"{other} {seed} half").sample(sorted(paths), len(paths) // 2)
            labels.update(dict.fromkeys(drawn, other))
    return labels


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--goodware", required=True, help="clean files that rules must not match")
    parser.add_argument("--held-out", required=True, nargs="+", help="clean files to count on")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--files", type=int, default=5)
    parser.add_argument("--model")
    parser.add_argument("--prevalence", type=Path, help="index of clean programs")
    parser.add_argument("--labelled", action="store_true", help="try rules on half of ROOT, too")
    arguments = parser.parse_args()
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
                labelled = half(families, family, seed) if arguments.labelled else {}
                rules = RuleOptions(
                    "2026-01-01",
                    arguments.goodware,
                    common=arguments.prevalence,
                    labelled=labelled,
                )
                made.append(make(family, some, seed, bundle, workers, rules))
                print(f"{made[-1].name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
        source = source_of(made)
        in_root, _ = hits(workers, str(arguments.root), source)
        clean, makers = list[dict[str, set[str]]](), Counter[str]()
        for folder in arguments.held_out:
            found, of_folder = hits(workers, folder, source)
            clean.append(found)
            makers += of_folder
    none: set[str] = set()
    counts = [
        counted(
            item,
            families,
            in_root.get(item.name, none),
            sum(len(found.get(item.name, none)) for found in clean),
        )
        for item in made
    ]
    report(made, counts, len(families.get(BENIGN, ())), makers)
    return 0


@dataclass(frozen=True)
class Counts:
    """What a rule matches: of the family's other files, of other families' (and of which most, as
    a share), of clean ones."""

    found: int
    rest: int
    others: int
    of_others: int
    worst: float
    worst_family: str
    benign: int
    clean: int


def counted(item: Made, families: dict[str, list[str]], in_root: set[str], clean: int) -> Counts:
    own, benign = set(families[item.family]), set(families.get(BENIGN, ()))
    rest = own - item.paths
    others = {
        family: set(paths) - item.tried
        for family, paths in families.items()
        if family not in (BENIGN, item.family)
    }
    shares = {f: len(in_root & paths) / len(paths) for f, paths in others.items() if paths}
    worst = max(shares, key=lambda family: shares[family])
    every = set().union(*others.values())
    return Counts(
        len(in_root & rest),
        len(rest),
        len(in_root & every),
        len(every),
        shares[worst],
        worst,
        len(in_root & benign),
        clean,
    )


def report(made: list[Made], counts: list[Counts], benign: int, makers: Counter[str]) -> None:
    clean = makers.total()
    built = ", ".join(f"{name or 'unknown'} {count}" for name, count in makers.most_common())
    print(f"clean files: {benign} of the data set, {clean} held out ({built})\n")
    print(
        "family       seed  groups      strings  recall         others    the most of one"
        "       clean  held out"
    )
    recall: dict[str, list[float]] = defaultdict(list)
    for item, n in zip(made, counts, strict=True):
        recall[item.family].append(n.found / n.rest)
        groups = item.rule.groups if item.rule else ()
        sizes = "+".join(str(len(group.files)) for group in groups) or "no rule"
        strings = sum(len(group.strings) for group in groups)
        print(
            f"{item.family:12s} {item.seed:4d}  {sizes:10s} {strings:8d}"
            f"  {n.found:3d}/{n.rest:<3d} {n.found / n.rest:5.2f}"
            f"  {n.others:3d}/{n.of_others:<4d}  {n.worst:5.1%} {n.worst_family:12s}"
            f" {n.benign:6d} {n.clean:9d}"
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
            "ones of the data set\n"
            f"rules that match more than {TARGET_OTHERS:.0%} of another family: "
            f"{sum(n.worst > TARGET_OTHERS for n in rules)}"
        )
    for item in made:
        if item.rule is None:
            print(f"{item.name}: {item.why}")


if __name__ == "__main__":
    sys.exit(main())
