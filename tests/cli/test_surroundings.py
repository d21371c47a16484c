"""What is around a scan and against it: few descriptors, clocks, and folders that change."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from corpus.synthetic import zipped
from hostile.make import sample

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a shell of POSIX")
WAIT = 240


def shell(
    line: str, *arguments: object, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a line of shell; `"$@"` in it is maltriage with the arguments."""
    program = (sys.executable, "-m", "maltriage", *map(str, arguments))
    return subprocess.run(
        ["sh", "-c", line, "sh", *program],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
        timeout=WAIT,
        check=False,
        cwd=cwd,
    )


def records(stdout: bytes) -> dict[str, dict[str, Any]]:
    """By path, without their timing."""
    found = {}
    for line in stdout.splitlines():
        record = json.loads(line)
        record.pop("timing", None)
        if record["type"] != "summary":
            found[record["path"]] = record
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number:02d}.exe").write_bytes(sample("console-x86.exe") + b"%d" % number)
    files = {f"{i}.exe": sample("console-x64.exe") + b"%d" % i for i in range(20)}
    (folder / "z.zip").write_bytes(zipped(files, None))
    return folder


def test_few_descriptors(folder: Path, tmp_path: Path) -> None:
    """32 are enough for two workers and two outputs; with fewer a line or a record says so."""
    arguments = ("scan", folder, "-j", "2", "--exit-zero", "-f", "ndjson")
    plain = shell('exec "$@"', *arguments, "--no-cache")
    kept = ("--cache", tmp_path / "cache", "-o", "-", "-o", tmp_path / "out.ndjson", "-q")
    few = shell('ulimit -n 32; exec "$@"', *arguments, *kept)
    assert (few.returncode, few.stderr) == (0, b"")
    assert records(few.stdout) == records(plain.stdout)
    assert records((tmp_path / "out.ndjson").read_bytes()) == records(plain.stdout)
    for limit in (12, 20):
        none = shell(f'ulimit -n {limit}; exec "$@"', *arguments, "--no-cache")
        # How many are needed at once depends on what starts first: 20 are enough now and then.
        assert none.returncode in ((2, 3) if limit == 12 else (0, 2, 3))
        if none.returncode == 0:
            assert (records(none.stdout), none.stderr) == (records(plain.stdout), b"")
        elif none.returncode == 3:
            reasons = [record.get("reason") for record in records(none.stdout).values()]
            assert "Too many open files" in reasons
            assert none.stderr == b""
        else:
            # ONNX Runtime may warn that it could not look for devices, if it came to that.
            said = [x for x in none.stderr.splitlines() if b"[W:onnxruntime" not in x]
            assert len(said) == 1, none.stderr
            line = said[0]
            reading, whole = b"maltriage: no file can be read: ", b"maltriage: too few descriptors"
            assert line.startswith((reading, whole))
            # The server that workers are forked from may be the one that gets none, and end.
            assert line.endswith((b": Too many open files", b": too few descriptors (ulimit -n)?"))


CLOCK = """
import os, time
back = float(os.environ.get("CLOCK_BACK", "0"))
if back:
    now, now_ns = time.time, time.time_ns
    time.time = lambda: now() - back
    time.time_ns = lambda: now_ns() - int(back * 1e9)
"""


def test_a_clock_that_is_set_back(folder: Path, tmp_path: Path) -> None:
    """By a year between two scans, and then right again: nothing is lost or read wrongly."""
    (tmp_path / "sitecustomize.py").write_text(CLOCK)
    path = f"{tmp_path}{os.pathsep}{ROOT}"
    arguments = ("scan", folder, "--cache", tmp_path / "cache", "-f", "ndjson", "--exit-zero")
    found = []
    for back in ("0", "31536000", "0"):
        variables = {"CLOCK_BACK": back, "PYTHONPATH": path}
        done = shell('exec "$@"', *arguments, env=variables)
        assert (done.returncode, done.stderr) == (0, b""), done.stderr
        summary = json.loads(done.stdout.splitlines()[-1])
        assert 0 <= summary["seconds"] < WAIT
        found.append(records(done.stdout))
        changed = folder / f"{len(found):02d}.exe"
        changed.write_bytes(sample("console-x86.exe") + b"changed")
    assert found[0].keys() == found[1].keys() == found[2].keys()
    for number, (before, after) in enumerate(pairwise(found), 1):
        differing = [Path(path).name for path in before if before[path] != after[path]]
        assert differing == [f"{number:02d}.exe"]
    info = shell('exec "$@"', "cache", "info", "--cache", tmp_path / "cache", env=variables)
    assert info.returncode == 0


def test_a_folder_that_changes_under_the_scan(tmp_path: Path) -> None:
    """Files that vanish, grow, shrink, or become pipes and links: a record for each.

    One that is an empty folder by the time that it is looked at has none.
    """
    folder = tmp_path / "in"
    folder.mkdir()
    names = [f"{number:04d}.exe" for number in range(1200)]
    for name in names:
        (folder / name).write_bytes(sample("console-x86.exe"))
    process = subprocess.Popen(
        [sys.executable, "-m", "maltriage", "scan", str(folder), "-f", "ndjson", "--no-cache",
         "--batch-size", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,  # `communicate` would lose what a buffer has read ahead
    )  # fmt: skip
    assert process.stdout is not None
    first = process.stdout.readline()

    def change() -> None:
        for number, name in enumerate(names[400:], 400):
            path = folder / name
            way = number % 7
            if way == 6:
                continue
            if way in (0, 3, 4, 5):
                path.unlink()
            if way == 1:
                path.write_bytes(sample("console-x86.exe") + bytes(100_000))
            elif way == 2:
                os.truncate(path, 300)
            elif way == 3:
                os.mkfifo(path)
            elif way == 4:
                path.symlink_to("/dev/zero")
            elif way == 5:
                path.mkdir()

    changing = threading.Thread(target=change)
    changing.start()
    rest, errors = process.communicate(timeout=WAIT)
    changing.join()
    *found, summary = [json.loads(line) for line in (first + rest).splitlines()]
    assert (process.returncode, errors) == (3, b"")
    assert summary["type"] == "summary"
    assert not summary["interrupted"]
    seen = [Path(record["path"]).name for record in found]
    assert seen == sorted(seen)
    folders = {name for number, name in enumerate(names) if number >= 400 and number % 7 == 5}
    assert set(names) - folders <= set(seen) <= set(names)
    results = [record for record in found if record["type"] == "result"]
    assert all(record["type"] == "result" for record in found[:300])
    assert len(results) < 1100
    codes = {record["code"] for record in found if record["type"] != "result"}
    assert codes <= {"not-found", "special-file", "io", "symlink", "changed"}
    assert "not-found" in codes


@pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False
    ).returncode
    != 0,
    reason="no right to mount a file system",
)
@pytest.mark.parametrize("full", [False, True])
def test_a_cache_on_a_disk_that_takes_nothing(folder: Path, tmp_path: Path, full: bool) -> None:
    """Read-only, with results of an earlier scan in it, or full: the scan says so and goes on."""
    cache, place = tmp_path / "cache", tmp_path / "disk"
    place.mkdir()
    arguments = ("scan", folder, "-f", "ndjson", "--exit-zero", "--cache")
    plain = shell('exec "$@"', *arguments, cache)
    assert plain.returncode == 0
    (folder / "05.exe").unlink()
    (folder / "new.exe").write_bytes(sample("console-x64.exe"))
    expected = records(shell('exec "$@"', *arguments[:-1], "--no-cache").stdout)
    fill = f"dd if=/dev/zero of={place}/fill bs=4k 2>/dev/null" if full else "true"
    then = "true" if full else f"mount -o remount,ro {place}"
    line = (
        f"mount -t tmpfs -o size=2m,mode=700 none {place} && cp -a {cache} {place}/cache"
        f' && {{ {fill}; {then}; }}; exec "$@"'
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", line, "sh", sys.executable, "-m", "maltriage",
         *map(str, arguments), str(place / "cache")],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=WAIT,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert records(done.stdout) == expected
    assert b"Traceback" not in done.stderr
    assert done.stderr.count(b"\n") <= 1


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ('exec "$@" scan x.exe -q <&-', 0, ""),
        ('exec "$@" scan x.exe -q <&- 2>&-', 0, ""),
        ('exec "$@" scan - -q <&-', 3, "-: nothing was triaged: skipped: 1 empty"),
        (
            'exec "$@" scan --files-from - <&-',
            3,
            "--files-from -: nothing was triaged: it is empty",
        ),
        (
            'exec "$@" scan x.exe -f csv >&-',
            2,
            "standard output is closed: there is no place for results",
        ),
        (
            '"$@" scan x.exe -q -o x.csv >&- && test -s x.csv',
            0,
            "",
        ),
        (
            'exec "$@" scan x.exe -ox.csv -o - >&-',
            2,
            "standard output is closed: there is no place for results",
        ),
        ('exec "$@" scan x.exe ""', 2, "a path is empty: a variable that is not set?"),
        (
            'exec "$@" scan x.exe y.exe -q -o x.csv',
            3,
            "y.exe: not read: No such file or directory",
        ),
        (
            'mkdir gone; cd gone; rmdir ../gone; exec "$@" scan ../x.exe',
            2,
            "the current folder is gone: change to another one",
        ),
    ],
)
def test_streams_and_folders_that_are_not_there(
    tmp_path: Path, line: str, code: int, said: str
) -> None:
    (tmp_path / "x.exe").write_bytes(sample("console-x86.exe"))
    done = shell(line, cwd=tmp_path)
    assert (done.returncode, done.stderr.decode()) == (code, said and f"maltriage: {said}\n")


def test_names_that_are_too_long(tmp_path: Path) -> None:
    """Each is a line; a cache is no reason to fail."""
    (tmp_path / "x.exe").write_bytes(sample("console-x86.exe"))
    name = "n" * 300
    for arguments in (
        ("scan", "x.exe", "-o", f"{name}.csv"),
        ("scan", "x.exe", "--model", name),
        ("explain", "x.exe", "--png", f"{name}.png"),
        ("models", name),
        ("datasets", "check", name),
    ):
        done = shell('exec "$@"', *arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.startswith(b"maltriage: ")
        assert name.encode() in done.stderr
        assert done.stderr.count(b"\n") == 1
        if sys.version_info < (3, 14):  # where a name that is too long is one of no file
            assert done.stderr.endswith(b": File name too long\n")
    done = shell('exec "$@"', "scan", "x.exe", "-q", "--cache", name, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
