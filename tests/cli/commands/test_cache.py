"""Kept results, as processes: `scan --cache`, `--no-cache`, `--refresh`, and `maltriage cache`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hostile.make import sample

from maltriage.results.sqlite_file import FILE_NAME


def records(stdout: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stdout.splitlines()]


def told(run_cli: Any, *arguments: object) -> dict[str, Any]:
    done = run_cli("cache", "info", "-f", "json", *arguments)
    assert done.returncode == 0
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def test_results_are_kept_in_the_users_cache_folder(run_cli: Any, samples_dir: Path) -> None:
    """The samples of the repository have lain there for long enough to be known by their stat."""
    path = samples_dir / "console-x86.exe"
    arguments = ("scan", path, "-f", "ndjson", "--exit-zero", "-j", "1")
    done = run_cli(*arguments, "--no-cache")
    fresh = records(done.stdout)
    place = Path(os.environ["MALTRIAGE_CACHE"]) / "results"
    assert not place.exists()
    first, again = records(run_cli(*arguments).stdout), records(run_cli(*arguments).stdout)
    assert (place / FILE_NAME).is_file()
    assert [found[0]["timing"]["stored"] for found in (fresh, first, again)] == [False, False, True]
    for found in (fresh, first, again):
        del found[0]["timing"]
    assert fresh[0] == first[0] == again[0]
    anew = records(run_cli(*arguments, "--refresh").stdout)
    assert anew[0]["timing"]["stored"] is False
    found = told(run_cli)
    assert (found["results"], found["files"]) == (1, 1)
    assert found["models"][0]["model"] == first[0]["model"]
    screen = run_cli("cache", "info").stdout.decode()
    assert "1 result, 1 path known" in screen
    assert run_cli("cache", "clear").stdout == b"1 result removed\n"
    assert told(run_cli)["results"] == 0
    assert records(run_cli(*arguments).stdout)[0]["timing"]["stored"] is False
    assert run_cli("cache", "prune", "--older-than", "1").stdout == b"0 results removed\n"
    assert run_cli("cache", "prune", "--max-size", "0").stdout == b"1 result removed\n"


def test_wrong_use(run_cli: Any, tmp_path: Path) -> None:
    for arguments in (
        ("scan", ".", "--no-cache", "--refresh"),
        ("scan", ".", "--no-cache", "--cache", "a"),
        ("cache", "prune"),
        ("cache", "info", "--cache", "typo"),
        ("cache", "clear", "--cache", "typo"),
        ("cache", "prune", "--older-than", "1", "--cache", "typo"),
    ):
        done = run_cli(*arguments)
        assert done.returncode == 2
        assert done.stderr.startswith(b"maltriage: ")
        assert done.stderr.count(b"\n") == 1
    assert not (tmp_path / "typo").exists()


def test_a_cache_that_cannot_be_used_is_one_line(run_cli: Any, tmp_path: Path) -> None:
    (tmp_path / "a.exe").write_bytes(sample("console-x86.exe"))
    (tmp_path / "in the way").write_bytes(b"")
    arguments = ("scan", "a.exe", "-f", "ndjson", "--exit-zero", "--cache", "in the way")
    done = run_cli(*arguments)
    assert done.returncode == 0
    assert len(records(done.stdout)) == 2
    assert done.stderr.startswith(b"maltriage: in the way")
    assert done.stderr.count(b"\n") == 1
    assert run_cli(*arguments, "-q").stderr == b""
    done = run_cli("cache", "info", "--cache", "in the way")
    assert done.returncode == 2


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_a_full_disk_costs_only_the_cache(tmp_path: Path) -> None:
    """No file may grow beyond 64 KiB, as on a disk that is full. Results go to a pipe."""
    import resource

    for number in range(20):
        path = tmp_path / "in" / f"{number}.exe"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(sample("console-x86.exe") + b"%d" % number)
    command = [sys.executable, "-m", "maltriage", "scan", "in", "-f", "ndjson", "--exit-zero"]
    done = subprocess.run(
        [*command, "-j", "1", "--batch-size", "4", "--cache", "results"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536)),
    )
    assert done.returncode == 0
    assert len(records(done.stdout)) == 21
    assert done.stderr.endswith(b": results are no longer looked up or kept\n")
    assert done.stderr.count(b"\n") == 1


def test_two_scans_at_once_share_a_cache(tmp_path: Path, samples_dir: Path) -> None:
    shutil.copytree(samples_dir, tmp_path / "in", ignore=shutil.ignore_patterns("src"))
    command = [sys.executable, "-m", "maltriage", "scan", "in", "-f", "ndjson", "-j", "1"]
    both = [
        subprocess.Popen(
            [*command, "--cache", "results"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=300) for process in both]
    assert [stderr for _, stderr in outputs] == [b"", b""]
    first, second = (records(stdout) for stdout, _ in outputs)
    for record in first[:-1] + second[:-1]:
        record.pop("timing", None)
    assert first[:-1] == second[:-1]
