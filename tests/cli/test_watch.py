"""`scan --watch` as a process: records as files appear, appended, and a clean end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("watchfiles", reason="needs the extra `watch`")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals end a watch here")
WAIT = 60.0


@contextmanager
def watch(
    folder: Path, *options: str | Path, start_new_session: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    """A watch that has begun."""
    command = [sys.executable, "-m", "maltriage", "scan", str(folder), "--watch", *options]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=start_new_session,
        bufsize=0,  # `communicate` would lose what a buffer has read ahead
    ) as process:
        assert process.stderr is not None
        line = process.stderr.readline().decode()
        assert line == f"maltriage: watching {folder}; Ctrl-C ends it\n"
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def ended(process: subprocess.Popen[bytes], number: int = signal.SIGINT) -> tuple[int, str, str]:
    process.send_signal(number)
    out, err = process.communicate(timeout=WAIT)
    return process.returncode, out.decode(), err.decode()


def until_lines(path: Path, number: int) -> list[dict[str, Any]]:
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        if path.exists() and len(lines := path.read_text().splitlines()) >= number:
            return [json.loads(line) for line in lines]
        time.sleep(0.1)
    raise AssertionError(f"no {number} records in {path}")


def test_records_as_files_come(tmp_path: Path, samples_dir: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(samples_dir / "gui-x86.exe", folder / "old.exe")
    with watch(folder, "--fpr", "0.05") as process:
        assert process.stdout is not None
        shutil.copy(samples_dir / "console-x64.exe", folder / "new.exe")
        record = json.loads(process.stdout.readline())
        assert record["verdict"]["fpr"] == 0.05
        assert record["path"] == str(folder / "new.exe")
        assert record["group"] is None
        (folder / "text.exe").write_bytes(b"no program")
        assert json.loads(process.stdout.readline())["type"] == "skipped"
        code, out, err = ended(process)
    assert (code, err) == (0, "")
    summary = json.loads(out)
    assert (summary["type"], summary["files"], summary["skipped"]) == ("summary", 1, 1)
    assert not summary["interrupted"]


def test_outputs_of_the_config_file_that_no_watch_writes_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, config = tmp_path / "in", tmp_path / "config.toml"
    folder.mkdir()
    config.write_text(f"[scan]\noutput = '{tmp_path}/out.csv'\nformat = 'csv'\n")
    monkeypatch.setenv("MALTRIAGE_CONFIG", str(config))
    with watch(folder) as process:
        code, out, err = ended(process)
    assert (code, err) == (0, "")
    assert json.loads(out)["type"] == "summary"
    assert not (tmp_path / "out.csv").exists()


def test_a_file_gets_the_records_of_one_watch_after_the_other(
    tmp_path: Path, samples_dir: Path, run_cli: Any
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out.ndjson"
    folder.mkdir()
    for turn, number in enumerate((signal.SIGTERM, signal.SIGINT)):
        with watch(folder, "-o", out) as process:
            shutil.copy(samples_dir / "gui-x86.exe", folder / f"{turn}.exe")
            until_lines(out, 2 * turn + 1)
            code, said, err = ended(process, number)
        assert (code, said) == (0, "")
        assert err.startswith(f"wrote {out} (ndjson, 1 record, ")
    records = until_lines(out, 4)
    assert [record["type"] for record in records] == ["result", "summary"] * 2
    with out.open("ab") as file:  # what a full disk leaves
        file.write(b'{"type":"result","path":"cut o')
    with watch(folder, "-o", out) as process:
        shutil.copy(samples_dir / "gui-x86.exe", folder / "3.exe")
        until_lines(out, 5)
        process.kill()
    shown = run_cli("scan", out, "-f", "csv", "--fields", "path")
    assert shown.returncode == 130, shown.stderr  # the last watch was killed
    assert [Path(line).name for line in shown.stdout.decode().split()[1:]] == [
        *("0.exe", "1.exe", "3.exe")
    ]
    assert b"cut off" not in shown.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-f", "csv"], "--watch writes ndjson, record by record, and no csv"),
        (["-o", "w.csv"], "--watch writes ndjson, record by record, and no csv"),
        (["-o", "w.pdf"], "w.pdf: no format has the ending .pdf"),
        (["--verify", "--resume"], "--watch does not go with --verify, --resume"),
        (["--engines", "2"], "--watch does not go with --engines"),
        (["-o", "notes.ndjson"], "notes.ndjson: no records of a scan, so none are appended to it"),
        (["-o", "plain.ndjson", "--ecs"], "plain.ndjson: records of another shape"),
    ],
)
def test_what_it_does_not_go_with(
    tmp_path: Path, samples_dir: Path, run_cli: Any, options: list[str], said: str
) -> None:
    (tmp_path / "notes.ndjson").write_text("remember the milk\n")
    if "plain.ndjson" in options:
        run_cli("scan", samples_dir / "gui-x86.exe", "-o", "plain.ndjson", cwd=tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    done = run_cli("scan", tmp_path, "--watch", *options, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert said in done.stderr.decode()
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_file_is_appended_to_by_one_watch_alone(tmp_path: Path, run_cli: Any) -> None:
    """Two would write each record twice, as where a service is started again too soon."""
    (tmp_path / "in").mkdir()
    out = tmp_path / "events.ndjson"
    with watch(tmp_path / "in", "-o", out) as process:
        second = run_cli("scan", tmp_path / "in", "--watch", "-o", out)
        assert second.returncode == 2
        assert b"another scan --watch writes it" in second.stderr
        assert ended(process)[0] == 0
    with watch(tmp_path / "in", "-o", out) as process:
        assert ended(process)[0] == 0


def test_no_folder_is_named(run_cli: Any) -> None:
    done = run_cli("scan", "--watch")
    assert (done.returncode, done.stderr) == (
        2,
        b"maltriage: --watch needs a folder, e.g. maltriage scan DIR --watch\n",
    )


QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")


@pytest.mark.skipif(not QUEUE.exists(), reason="inotify is Linux's")
def test_more_events_than_the_system_holds_lose_no_file(tmp_path: Path, samples_dir: Path) -> None:
    many = int(QUEUE.read_text()) // 2
    if not 1000 < many < 50_000:
        pytest.skip("the queue of events is shorter or longer than is usual")
    program = (samples_dir / "console-x64.exe").read_bytes()
    folder, out = tmp_path / "in", tmp_path / "out.ndjson"
    folder.mkdir()
    with watch(folder, "-o", out, "--include", "*.exe") as process:
        process.send_signal(signal.SIGSTOP)
        for number in range(many):
            (folder / f"{number}.txt").touch()
            if number % (many // 20) == 0 and number < many // 20 * 20:
                (folder / f"{number}.exe").write_bytes(program + b"%d" % number)
        process.send_signal(signal.SIGCONT)
        found = until_lines(out, 20)
        assert {record["type"] for record in found} == {"result"}
        assert ended(process)[0] in (0, 1)
    assert len({record.get("path") for record in until_lines(out, 21)}) == 21


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_a_file_that_was_renamed_is_left_behind(tmp_path: Path, samples_dir: Path) -> None:
    folder, out, old = tmp_path / "in", tmp_path / "out.ndjson", tmp_path / "out.1"
    folder.mkdir()
    # A session of its own: no terminal can close.
    with watch(folder, "-o", out, start_new_session=True) as process:
        shutil.copy(samples_dir / "gui-x86.exe", folder / "1.exe")
        until_lines(out, 1)
        out.rename(old)
        process.send_signal(signal.SIGHUP)
        shutil.copy(samples_dir / "gui-x86.exe", folder / "2.exe")
        until_lines(out, 1)
        code, _, err = ended(process, signal.SIGTERM)
    assert code == 0, err
    assert f"wrote {out} (ndjson, 1 record, " in err
    records = [[json.loads(line) for line in path.read_text().splitlines()] for path in (old, out)]
    paths = [[record.get("path") for record in of_file] for of_file in records]
    assert paths == [[str(folder / "1.exe")], [str(folder / "2.exe"), None]]


@pytest.mark.parametrize(
    ("left", "shape"), [("{", []), ('{"type":"res', []), ('{"@times', ["--ecs"])]
)
def test_a_first_line_that_was_cut_off_is_removed(
    tmp_path: Path, left: str, shape: list[str]
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out.ndjson"
    folder.mkdir()
    out.write_text(left)
    with watch(folder, "-o", out, *shape) as process:
        assert ended(process)[0] == 0
    assert len(until_lines(out, 1)) == 1


def test_what_did_not_settle_is_told(tmp_path: Path, samples_dir: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    with watch(folder) as process:
        shutil.copy(samples_dir / "gui-x86.exe", folder / "late.exe")
        time.sleep(0.4)
        code, _, err = ended(process)
    assert code == 0
    name = folder / "late.exe"
    assert err == (f"note: 1 file had changed within the last second: not read, the first {name}\n")
