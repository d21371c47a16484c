"""Programs above --max-size: a verdict from their beginning, and the hashes of all of them."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from corpus.synthetic import zipped
from hostile.make import sample

MIB = 1 << 20
BEGINNING = sample("gui-x86.exe") + os.urandom(MIB)
LARGE = BEGINNING[:MIB] + os.urandom(2 * MIB)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "large.exe").write_bytes(LARGE)
    (folder / "small.exe").write_bytes(BEGINNING[:MIB])
    return folder


def records(stdout: bytes) -> dict[str, dict[str, Any]]:
    found = [json.loads(line) for line in stdout.splitlines()]
    return {os.path.basename(record["path"]): record for record in found[:-1]}


def test_the_verdict_is_that_of_the_beginning(run_cli: Any, folder: Path) -> None:
    done = run_cli(
        "scan", folder, "--max-size", "1", "--hashes", "--no-cache", "-f", "ndjson", "--exit-zero"
    )
    assert done.returncode == 0
    large, small = records(done.stdout).values()
    assert large["verdict"]["label"] == small["verdict"]["label"]
    assert large["verdict"]["margin"] == pytest.approx(small["verdict"]["margin"], abs=1e-3)
    assert (large["size"], large["sha256"]) == (len(LARGE), hashlib.sha256(LARGE).hexdigest())
    assert large["identity"]["md5"] == hashlib.md5(LARGE, usedforsecurity=False).hexdigest()
    *known, rest = large["layout"]["regions"]
    assert known == small["layout"]["regions"]
    assert (rest["name"], rest["start"], rest["end"]) == ("(not read)", MIB, len(LARGE))
    *heat, beyond = large["evidence"]["regions"]
    assert beyond["contribution"] == pytest.approx(0, abs=1e-6)
    assert len(heat) == len(small["evidence"]["regions"])
    (notice,) = (n for n in large["notices"] if n["code"] == "in-part")
    assert notice["text"].startswith(f"Only its first {MIB:,} bytes of {len(LARGE):,} were read")
    assert "in-part" not in [n["code"] for n in small["notices"]]


def test_explain_reads_the_same_again(run_cli: Any, folder: Path) -> None:
    done = run_cli("explain", folder / "large.exe", "--max-size", "1", "-f", "json")
    assert done.returncode in (0, 1), done.stderr
    (record,) = [json.loads(line) for line in done.stdout.splitlines()]
    codes = {notice["code"] for notice in record["notices"]}
    assert "in-part" in codes
    assert not codes & {"unchecked", "not-inspected"}
    assert record["evidence"]["checks"]["regions"]
    assert any(item["content"] for item in record["evidence"]["hot"])


def test_a_larger_limit_reads_it_anew(run_cli: Any, folder: Path, tmp_path: Path) -> None:
    """A result of a part is not kept."""
    arguments = ("--cache", tmp_path / "cache", "-f", "ndjson", "--exit-zero")
    codes = []
    for limit in ("1", "2", "64"):
        done = run_cli("scan", folder / "large.exe", "--max-size", limit, *arguments)
        (record,) = records(done.stdout).values()
        codes.append([n["text"] for n in record["notices"] if n["code"] == "in-part"])
    assert [bool(texts) for texts in codes] == [True, True, False]
    assert codes[0] != codes[1]


def test_what_is_no_program_on_the_disk_is_skipped(run_cli: Any, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped({"x.exe": LARGE}, None))
    (tmp_path / "b.zip").write_bytes(
        zipped({"x.exe": sample("gui-x86.exe") + bytes(2 * MIB)}, None)
    )
    (tmp_path / "c.txt").write_bytes(b"text" * MIB)
    with (tmp_path / "d.exe").open("wb") as file:
        file.write(sample("gui-x86.exe"))
        file.truncate(5 << 30)
    done = run_cli("scan", tmp_path, "--max-size", "1", "--no-cache", "-f", "ndjson")
    found = {name: record["code"] for name, record in records(done.stdout).items()}
    assert done.returncode == 3  # nothing was triaged of the folder that was named
    assert found == {
        "a.zip": "too-large", "b.zip!x.exe": "too-large", "c.txt": "not-pe", "d.exe": "too-large",
    }  # fmt: skip
