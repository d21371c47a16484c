"""A scan of all malformed files, as a process: a record each, in time, and nothing left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import psutil
import pytest
from hostile.corpus import NAMES, corpus, sample, write

from maltriage import bundle as bundles
from maltriage.report.documents.record import Failed, Result, Skipped, Summary
from maltriage.report.documents.schema import json_schema
from maltriage.triage import pipeline
from maltriage.triage.options import ScanOptions

ARCHIVES = (".zip", ".tar", ".7z", ".gz", ".xz", ".zst", ".bz2")
TIMEOUT = 60
MEMORY = 1200 << 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus, with hostile file names besides."""
    place = tmp_path_factory.mktemp("hostile")
    assert write(place) > 1000
    return place


def test_the_corpus_is_the_same_each_time_and_has_no_file_twice() -> None:
    made = corpus()
    assert made == corpus()
    programs = [data for name, data in made.items() if not name.startswith("zip")]
    assert len(set(programs)) > 0.95 * len(programs)


def test_a_scan_of_all(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """One scan for all that is asked of it, since workers of a parallel run share nothing."""
    records = scanned(folder, tmp_path_factory)
    every_file_has_its_record(folder, records)
    no_worker_died(records)
    regions_cover_every_byte_once(records)
    records_are_of_the_schema(records)
    no_text_controls_a_terminal(records)


def scanned(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What a scan of the corpus says; its process is watched meanwhile."""
    home = tmp_path_factory.mktemp("home")
    work = tmp_path_factory.mktemp("work")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MALTRIAGE_")},
        "HOME": str(home),
        "TMPDIR": str(work),
        "MALTRIAGE_CACHE": str(home / "cache"),
    }
    command = [sys.executable, "-m", "maltriage", "scan", str(folder), "-f", "ndjson", "--no-cache"]
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    start = time.monotonic()
    with subprocess.Popen(
        [*command, "-q", "--timeout", str(TIMEOUT), "--carve"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=work,
    ) as process:
        most = watch(process.pid)
        out, err = process.communicate(timeout=600)
    assert process.returncode == 3, err.decode()
    assert err == b""
    assert time.monotonic() - start < 600
    assert most[0] < MEMORY
    assert not [*home.rglob("*"), *work.rglob("*")]  # no file, wherever it might have been
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    return [json.loads(line) for line in out.splitlines()]


def watch(pid: int) -> list[int]:
    """The most memory that one process of a scan has, in bytes, while it runs."""
    most = [0]

    def look() -> None:
        while True:
            try:
                scan = psutil.Process(pid)
                for each in (scan, *scan.children(recursive=True)):
                    most[0] = max(most[0], each.memory_info().rss)
            except psutil.Error:
                return
            time.sleep(0.02)

    threading.Thread(target=look, daemon=True).start()
    return most


def every_file_has_its_record(folder: Path, records: list[dict[str, Any]]) -> None:
    *items, summary = records
    assert summary["type"] == "summary"
    assert not summary["interrupted"]
    seen = Counter(Path(item["path"].split("!")[0]).name for item in items)
    names = {path.name for path in folder.iterdir()}
    assert set(seen) == names
    for name, count in seen.items():
        own = [item for item in items if item["path"] == str(folder / name)]
        if not name.endswith(ARCHIVES):
            assert len(own) == 1, (name, count)


def no_worker_died(records: list[dict[str, Any]]) -> None:
    """None of them brings a parser down; what does is in `tests/triage/test_deaths.py`."""
    codes = Counter(item.get("code") for item in records)
    assert not sum(codes[name] for name in ("lost", "crash", "timeout", "memory"))
    results = [item for item in records if item["type"] == "result"]
    assert len(results) > 1000
    assert max(item["timing"]["prepare_ms"] for item in results) < TIMEOUT * 1e3


def regions_cover_every_byte_once(records: list[dict[str, Any]]) -> None:
    for item in records:
        if item["type"] != "result":
            continue
        at = 0
        for region in item["layout"]["regions"]:
            assert region["start"] == at < region["end"], item["path"]
            at = region["end"]
        assert at == item["size"], item["path"]
        evidence = item["evidence"]
        parts = [*(region["contribution"] for region in evidence["regions"]), evidence["padding"]]
        total, scale = sum(parts), sum(map(abs, parts)) + 1e-9
        assert abs(total - evidence["total"]) <= 1e-5 * scale, item["path"]


def records_are_of_the_schema(records: list[dict[str, Any]]) -> None:
    validator = jsonschema.Draft202012Validator(json_schema())
    for item in records[::7]:
        validator.validate(item)


def no_text_controls_a_terminal(records: list[dict[str, Any]]) -> None:
    def texts(value: Any) -> Any:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            for each in (*value, *value.values()):
                yield from texts(each)
        elif isinstance(value, list):
            for each in value:
                yield from texts(each)

    for item in records:
        for text in texts(item):
            assert text.encode("utf-8", "strict") is not None
            assert "0x7f" not in text  # an address of this process


@pytest.mark.slow
def test_explanations_of_all(folder: Path) -> None:
    """The parsers that only `explain` asks: resources, imports, code, metadata, strings."""
    bundle = bundles.load(bundles.resolve(None))
    options = ScanOptions(close=True, timeout=TIMEOUT)
    found = Counter[str]()
    for record in pipeline.scan([str(folder)], bundle, options):
        found[type(record).__name__] += 1
        if isinstance(record, Failed):
            assert record.code not in ("lost", "crash", "timeout", "memory"), record
        assert isinstance(record, Result | Failed | Skipped | Summary)
    assert found["Result"] > 1000


def test_hostile_file_names(run_cli: Any, tmp_path: Path) -> None:
    """Shown in any way, nothing is left that a terminal or a sheet would act on."""
    place = tmp_path / "in"
    place.mkdir()
    for number, text in enumerate(NAMES.values()):
        name = text.replace(b"\0", b"").replace(b"/", b"")
        try:
            path = os.path.join(os.fsencode(place), name + b".exe")
            with open(path, "wb") as file:
                file.write(sample("console-x86.exe") + bytes(number) + b"x")
        except (OSError, UnicodeDecodeError):  # a file system that takes no such name
            continue
    made = len(os.listdir(place))  # what follows a colon is no part of a name on Windows
    assert made
    shown = run_cli("scan", place, "--exit-zero", "--no-cache")
    text = shown.stdout.decode()
    assert not {c for c in text if (ord(c) < 32 and c != "\n") or 0x7F <= ord(c) < 0xA0}
    assert not set(text) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    records = run_cli("scan", place, "-f", "ndjson", "--exit-zero", "--no-cache").stdout
    found = [json.loads(line) for line in records.splitlines()[:-1]]
    assert len(found) == made
    table = run_cli("scan", place, "-f", "csv", "--exit-zero", "--no-cache").stdout.decode()
    assert not [line for line in table.splitlines() if line[:1] in "=+-@\t\r"]
