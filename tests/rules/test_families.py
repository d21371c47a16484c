"""Rules of real malware, tried on clean programs and other families: needs data that is not part of
the repository, MALTRIAGE_VX_MINI and MALTRIAGE_GOODWARE (a folder with Wine, see CONTRIBUTING)."""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path

import pytest

from maltriage import bundle as bundles
from maltriage.bundle import BENIGN
from maltriage.cli.rule import prevalence_of
from maltriage.report.documents.record import Result
from maltriage.rules.make import make_rule
from maltriage.rules.search import search
from maltriage.rules.trial import OTHERS
from maltriage.rules.types import RuleOptions
from maltriage.sample.errors import SampleError
from maltriage.triage.options import ScanOptions
from maltriage.triage.pipeline import scan
from maltriage.work.workers import Workers

GOODWARE = os.environ.get("MALTRIAGE_GOODWARE")  # before the tests' own environment hides it
RUNTIME = ("TLOSS", "vector copy constructor", "TlsAlloc", "memmove", "DOMAIN error")
CLEAN = 1e-3
"""Largest share of clean programs of other makers that a rule may match."""


@pytest.mark.slow
def test_eight_files_of_phorpiex_and_wine(vx_mini: Path) -> None:
    """A rule of eight files, with nothing but Wine as goodware, held runtime texts, and matched 106
    of 113 files of icedid and 37 of 299 clean programs of other compilers."""
    wine = sorted(Path(GOODWARE or "none").rglob("debian-i386-libwine"))
    if not wine:
        pytest.skip("no programs: MALTRIAGE_GOODWARE names a folder with debian-i386-libwine")
    files = sorted(str(path) for path in (vx_mini / "phorpiex").glob("*.png"))
    given = random.Random(0).sample(files, 8)
    bundle = bundles.load(bundles.resolve(None))
    records = scan(given, bundle, ScanOptions(label="phorpiex", close=True, batch_size=1))
    results = [record for record in records if isinstance(record, Result)]
    options = RuleOptions("2026-01-01", str(wine[0]), common=prevalence_of(None))
    with Workers(2, 60.0) as workers:
        rule = make_rule(results, bundle, workers, options)
        assert not [text for text in RUNTIME if f'"{text}' in rule.text]
        strings = [item for group in rule.groups for item in group.strings]
        assert strings
        assert all(len(item.files) > 1 for item in strings)
        hits, sizes = Counter[str](), Counter[str]()
        for root in (vx_mini, Path(str(GOODWARE))):
            for path, answer in search(workers, [str(root)], rule.text):
                if isinstance(answer, SampleError) or path.startswith(str(wine[0])):
                    continue
                label = Path(path).parent.name if root == vx_mini else BENIGN
                sizes[label] += 1
                hits[label] += bool(answer[0])
    assert sizes[BENIGN] > 500
    assert hits[BENIGN] <= CLEAN * sizes[BENIGN]
    for family in ("icedid", "maze"):
        assert hits[family] <= OTHERS * sizes[family], family
    assert hits["phorpiex"] > len(given) - len(rule.facts.left_out)
