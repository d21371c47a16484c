"""Detect It Easy, through its binding and in a confined worker."""

from __future__ import annotations

import csv
import os
from collections import Counter
from pathlib import Path

import pytest

from maltriage.probe.detect_it_easy import MAX_TOOLS, detected, tools_of
from maltriage.probe.prepare import PrepareOptions, prepare
from maltriage.sample.types import Tool
from maltriage.source.reading import Reading
from maltriage.source.samples import read_sample
from maltriage.work.workers import Workers

WIDE = os.environ.get("MALTRIAGE_WIDE")
NAMES = {
    "BeRoEXEPacker": "BeRo",
    "Molebox": "MoleBox",
    "NSPack": "NsPacK",
    "Neolite": "NeoLite",
    "PEtite": "Petite",
    "WinUpack": "(Win)Upack",
    "Yoda`s Crpyter": "Yoda's Crypter",
    "exe32pack": "Exe32Pack",
    "eXpressor": "eXPressor",
}
"""Names of packers there, by those of the labels, where they differ."""


def test_what_it_says_becomes_tools() -> None:
    answer = """{"detects": [{"filetype": "PE32", "parentfilepart": "Header", "values": [
        {"type": "Packer", "name": "UPX", "version": "3.95", "info": "NRV"},
        {"type": "Installer", "name": "Nullsoft Scriptable Install System", "version": "3.08"},
        {"type": "Cryptor", "name": "Yoda's Crypter", "version": ""},
        {"type": "Sign tool", "name": "Windows Authenticode", "version": "2.0"},
        {"type": "Unknown", "name": "Unknown", "version": ""}]}]}"""
    assert tools_of(answer) == [
        Tool("packer", "UPX", "3.95", "die"),
        Tool("installer", "NSIS", "3.08", "die"),
        Tool("protector", "Yoda's Crypter", None, "die"),
    ]


@pytest.mark.parametrize(
    "answer", ["", "[]", "{", '{"detects": 3}', '{"detects": [{}]}', "[" * 9000]
)
def test_an_answer_that_cannot_be_read_names_nothing(answer: str) -> None:
    assert tools_of(answer) == []


def test_a_long_answer_is_cut() -> None:
    value = '{"type": "Library", "name": "%s", "version": "%s"}'
    values = ", ".join(value % (f"{i}" + "n" * 999, "v" * 999) for i in range(99))
    found = tools_of('{"detects": [{"values": [' + values + "]}]}")
    assert len(found) == MAX_TOOLS
    assert max(len(tool.text) for tool in found) < 200


def test_a_program_in_memory_and_in_a_worker(samples_dir: Path) -> None:
    pytest.importorskip("die", reason="the extra `identify` is not installed")
    path = samples_dir / "dotnet.exe"
    there = detected(path.read_bytes())
    assert any(".NET" in tool.name for tool in there)
    with Workers(1, 60.0) as workers:
        made = workers.submit(prepare, str(path), PrepareOptions((), identify=True)).result()
        plain = workers.submit(prepare, str(path), PrepareOptions(())).result()
    assert set(there) <= set(made.identity.made_with)
    assert {tool.by for tool in plain.identity.made_with} == {"headers"}
    assert detected(b"") == detected(b"MZ") == []


def test_where_a_file_took_its_worker_along_only_headers_are_asked(samples_dir: Path) -> None:
    path = str(samples_dir / "dotnet.exe")
    made = prepare(path, PrepareOptions((), identify=True, bare="it crashed the parser"))
    assert {tool.by for tool in made.identity.made_with} == {"headers"}


@pytest.mark.skipif(WIDE is None, reason="no data: MALTRIAGE_WIDE names its folder")
def test_the_packers_of_labelled_files() -> None:
    pytest.importorskip("die", reason="the extra `identify` is not installed")
    assert WIDE is not None
    with (Path(WIDE) / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == "clean-packed"]
    right: Counter[bool] = Counter()
    for row in rows:
        data = read_sample(str(Path(WIDE) / row["path"]), Reading()).data
        named = {t.name for t in detected(data) if t.kind in ("packer", "protector")}
        right[NAMES.get(row["packer"], row["packer"]) in named] += 1
    assert right[True] >= 0.95 * len(rows)
