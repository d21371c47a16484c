"""Where results go: several files at once, whole or not there, never over an input."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile.make import sample
from PIL import Image
from report.pages import assert_sealed

from maltriage.cli.files import ResultFile, keep, opened, refuse_sample
from maltriage.cli.outputs import Target, targets
from maltriage.errors import MaltriageError
from maltriage.report import numbers
from maltriage.report.formats import EXPLAIN, SCAN, endings
from maltriage.source.files import Found, WalkOptions, walk


def byteplot_of(data: bytes) -> bytes:
    """A grey picture of a program's bytes, 64 to a row."""
    stream = io.BytesIO()
    Image.frombytes("L", (64, len(data) // 64), data[: len(data) // 64 * 64]).save(stream, "PNG")
    return stream.getvalue()


UNITS = (" bytes", " KiB", " MiB")
posix = pytest.mark.skipif(os.name != "posix", reason="files and signals as POSIX has them")


def parts(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if ".part" in path.name)


def test_a_file_is_there_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("last time")
    with opened(path) as out:
        out.text.write("half")
        out.binary.flush()
        assert path.read_text() == "last time"
        assert parts(tmp_path) == ["out.txt.part"]
        out.text.write(", whole")
    assert path.read_text() == "half, whole"
    assert parts(tmp_path) == []


@pytest.mark.parametrize("raised", [OSError(28, "No space left"), KeyboardInterrupt()])
def test_what_fails_leaves_the_file_of_last_time(tmp_path: Path, raised: BaseException) -> None:
    path = tmp_path / "out.txt"
    path.write_text("last time")
    known = MaltriageError if isinstance(raised, OSError) else KeyboardInterrupt

    def fail() -> None:
        with opened(path) as out:
            out.text.write("half")
            raise raised

    with pytest.raises(known):
        fail()
    assert path.read_text() == "last time"
    assert parts(tmp_path) == []


def test_what_is_of_use_in_part_is_left(tmp_path: Path) -> None:
    file = ResultFile(tmp_path / "a.ndjson", partial=True)
    file.output.binary.write(b"one line\n")
    left = file.abandon()
    assert left == tmp_path / "a.ndjson.part"
    assert left.read_bytes() == b"one line\n"
    empty = ResultFile(tmp_path / "a.ndjson", partial=True)
    assert empty.part == tmp_path / "a.ndjson.2.part"  # what the killed one wrote is not lost
    assert empty.abandon() is None
    assert parts(tmp_path) == ["a.ndjson.part"]


@posix
def test_links_rights_and_devices(tmp_path: Path) -> None:
    real, link = tmp_path / "real.txt", tmp_path / "link.txt"
    real.write_text("last time")
    real.chmod(0o640)
    link.symlink_to(real)
    with opened(link) as out:
        out.text.write("new")
    assert link.is_symlink()
    assert (real.read_text(), real.stat().st_mode & 0o777) == ("new", 0o640)
    with opened(Path("/dev/null")) as out:
        out.text.write("gone")
    assert Path("/dev/null").is_char_device()
    for wrong in (tmp_path, tmp_path / "no" / "such" / "folder.txt"):
        with pytest.raises(MaltriageError, match="cannot write"), opened(wrong):
            pass


def test_inputs_are_kept(tmp_path: Path) -> None:
    report, program = tmp_path / "a.ndjson", tmp_path / "a.exe"
    report.write_text("{}")
    program.write_bytes(sample("console-x86.exe"))
    keep([str(tmp_path)], report, tmp_path / "new.csv", None)
    with pytest.raises(MaltriageError, match="an input, which would be overwritten"):
        keep([str(report)], tmp_path / "new.csv", report)
    with pytest.raises(MaltriageError, match="a sample, which"):
        keep([str(tmp_path)], program)


@pytest.mark.parametrize(
    "command",
    [
        "explain -q --no-verify --svg {sample} a.exe",  # as `--svg *.exe` would have it
        "explain -q --no-verify --png {sample} a.exe",
        "evaluate maltriage-evidence-int8 --clean . -q -o {sample}",
        "datasets check . -q -o {sample}",
        "index build maltriage-evidence-int8 -q --dataset folder --root . -o {sample}",
        "index add mine.npz --root . -q -o {sample}",
        "index info mine.npz -o {sample}",
        "prevalence build . -o {sample}",
        "patterns maltriage-evidence-int8 --root . --png {sample}",
        "evaluate maltriage-evidence-int8 --clean . --png {sample}",
        "export . -o {sample}",
        "doctor -o {sample}",
        "cache info -o {sample}",
        "config show scan -o {sample}",
    ],
)
@pytest.mark.parametrize("name", ["b.exe", "b.zip", "b.png"])
def test_no_result_takes_the_place_of_a_sample(
    run_cli: Any, folder: Path, command: str, name: str
) -> None:
    content = {
        "b.exe": sample("gui-x86.exe"),
        "b.zip": b"PK\x03\x04" + bytes(60),
        "b.png": byteplot_of(sample("gui-x86.exe")),
    }[name]
    (folder / name).write_bytes(content)
    done = run_cli(*command.format(sample=name).split(), cwd=folder)
    assert (folder / name).read_bytes() == content
    assert done.returncode == 2
    assert done.stderr == f"maltriage: {name}: a sample, which would be overwritten\n".encode()


def test_what_maltriage_writes_is_replaced(tmp_path: Path) -> None:
    picture, index = tmp_path / "a.png", tmp_path / "a.npz"
    Image.new("RGB", (4, 4)).save(picture)
    np.savez_compressed(index, header=np.zeros(4))
    for path in (picture, index, tmp_path / "new", tmp_path):
        refuse_sample(path)
    (tmp_path / "short").write_bytes(b"PK\x03\x04")
    with pytest.raises(MaltriageError, match="a sample, which would be overwritten"):
        refuse_sample(tmp_path / "short")


def test_formats_by_ending() -> None:
    def formats(*names: str, format: str | None = None) -> list[str]:
        return [target.format.name for target in targets([Path(name) for name in names], format)]

    assert targets([], None) == [Target(None, SCAN["table"])]
    assert targets([], "csv") == [Target(None, SCAN["csv"])]
    assert formats("a.ndjson", "b.JSON", "c.csv", "d.html") == ["ndjson", "json", "csv", "html"]
    assert formats("a.csv") == ["csv"]
    for name in ("a", "a.out", "a.txt"):  # the only file, and told so
        assert formats(name, format="json") == ["json"]
    for format in ("ndjson", "stix", "misp"):
        assert formats("a.json", format=format) == [format]
    for name, format, said in (
        ("a.html", "csv", r"a\.html: HTML by its ending, not CSV: name it a\.csv, or leave out"),
        ("a.csv", "table", r"a\.csv: CSV by its ending, not table: name it a\.txt"),
        ("a.ndjson", "json", "NDJSON by its ending, not JSON"),
    ):
        with pytest.raises(MaltriageError, match=said):
            formats(name, format=format)
    assert formats("a.csv", "b.out", "-", format="json") == ["csv", "json", "json"]
    assert formats("a.csv", "b", "-") == ["csv", "table", "table"]
    assert formats("b.txt") == ["table"]
    for twice in (["a.csv", "./a.csv"], ["-", "-"]):
        with pytest.raises(MaltriageError, match="named twice"):
            formats(*twice)
    with pytest.raises(MaltriageError, match=r"b\.out: no format has the ending \.out .*\.ndjson"):
        formats("a.csv", "b.out", "-")
    for registry in (SCAN, EXPLAIN):
        assert len(set(endings(registry))) == len(endings(registry))


@pytest.mark.parametrize("command", ["scan", "explain"])
def test_an_ending_that_no_format_has_is_refused(run_cli: Any, folder: Path, command: str) -> None:
    where = folder.parent / "made"
    where.mkdir()

    def run(*arguments: object) -> Any:
        return run_cli(command, folder / "a.exe", "--exit-zero", *arguments, cwd=where)

    done = run("-o", "x.pdf")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.count(b"\n") == 1
    assert b"x.pdf: no format has the ending .pdf" in done.stderr
    assert b".json" in done.stderr
    assert b".html" in done.stderr
    assert not list(where.iterdir())
    assert run("-o", "x.pdf", "-f", "json").returncode == 0
    assert json.loads((where / "x.pdf").read_bytes())
    assert run("-o", "x").returncode == 0
    assert "a.exe" in (where / "x").read_text("utf-8")


def test_an_explanation_has_the_format_of_its_ending(run_cli: Any, folder: Path) -> None:
    for name, begin in (("x.json", b"{"), ("x.html", b"<!doctype"), ("x.txt", b"a.exe")):
        done = run_cli("explain", "a.exe", "--no-verify", "--exit-zero", "-o", name, cwd=folder)
        assert done.returncode == 0, done.stderr
        assert begin in (folder / name).read_bytes()[:200].lower()


def test_results_are_no_samples(folder: Path) -> None:
    names = ["out.csv", "out.csv.part", "out.csv.2.part", "out.csvx", "other.part"]
    for name in names:
        (folder / name).write_text("x")
    (folder / "sub").mkdir()
    (folder / "sub" / "out.csv").write_text("x")
    options = WalkOptions(results=(os.path.realpath(folder / "out.csv"),))
    found = [Path(item.path) for item in walk([str(folder)], options) if isinstance(item, Found)]
    left = sorted(str(path.relative_to(folder)) for path in found)
    gone = WalkOptions(results=(str(folder / "gone" / "b.txt"),))
    assert len(list(walk([str(folder)], gone))) == 2 + len(names) + 1
    assert left == ["a.exe", "b.txt", "other.part", "out.csvx", os.path.join("sub", "out.csv")]


def test_an_event_of_flagged_files_is_told_by_them(run_cli: Any, folder: Path) -> None:
    done = run_cli("scan", ".", "-o", "a.misp", "-o", "a.ndjson", "--exit-zero", cwd=folder)
    told = done.stderr.decode().splitlines()
    assert [line[: line.rindex(",")] for line in told] == [
        "wrote a.misp (misp, 0 files",
        "wrote a.ndjson (ndjson, 2 records",
    ]


def test_several_outputs_in_the_folder_that_is_scanned(run_cli: Any, folder: Path) -> None:
    names = ["out.ndjson", "out.json", "out.csv", "out.html"]
    arguments = [part for name in names for part in ("-o", name)]
    for _ in range(2):  # the second time they are there already
        done = run_cli("scan", ".", *arguments, "--exit-zero", cwd=folder)
        assert (done.returncode, done.stdout) == (0, b"")
        sizes = [numbers.size((folder / name).stat().st_size, UNITS) for name in names]
        assert done.stderr.decode().splitlines() == [
            f"wrote {name} ({SCAN[name[4:]].name}, 2 records, {size})"
            for name, size in zip(names, sizes, strict=True)
        ]
        assert parts(folder) == []
        lines = [json.loads(line) for line in (folder / "out.ndjson").read_bytes().splitlines()]
        assert [line["type"] for line in lines] == ["result", "skipped", "summary"]
        document = json.loads((folder / "out.json").read_bytes())
        assert document["records"] == lines[:2]
        assert document["summary"] == lines[2]
        assert len((folder / "out.csv").read_text().splitlines()) == 3
        page = assert_sealed((folder / "out.html").read_text("utf-8"))
        # It has the groups in a place of their own.
        assert json.loads(page.data["end"])["summary"] == {**lines[2], "groups": None}
        (folder / "out.csv").touch()
    done = run_cli("scan", "out.ndjson", "-o", "again.csv", "-o", "-", "--exit-zero", cwd=folder)
    assert (folder / "again.csv").read_bytes() == (folder / "out.csv").read_bytes()
    assert b"a.exe" in done.stdout
    assert done.stdout.rstrip().splitlines()[-1].startswith(b"1 file  ")


def test_what_was_written_is_said_once_it_is_there(run_cli: Any, folder: Path) -> None:
    """A table lists some of the records, and a device has no size."""
    files = ("-o", "t.txt", "-o", os.devnull, "-f", "csv")
    done = run_cli("scan", "a.exe", *files, "--exit-zero", cwd=folder)
    table, device = done.stderr.decode().splitlines()
    size = numbers.size((folder / "t.txt").stat().st_size, UNITS)
    assert table == f"wrote t.txt (table, {size})"
    assert device == f"wrote {os.devnull} (csv, 1 record)"
    assert run_cli("scan", "a.exe", *files, "-q", cwd=folder).stderr == b""
    failed = run_cli("scan", "a.exe", "-o", "gone/x.csv", cwd=folder)
    assert b"wrote" not in failed.stderr


@posix
def test_a_disk_that_fills_up(folder: Path) -> None:
    """A limit on the size of files stands for it: what was written stays, and is named."""
    import resource

    for i in range(20):
        (folder / f"c{i:02d}.exe").write_bytes(sample("console-x86.exe"))

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))

    (folder / "out.ndjson").write_text("last time")
    command = [sys.executable, "-m", "maltriage", "scan", ".", "-o", "out.ndjson", "-o", "o.html"]
    command.append("--no-cache")  # which has a word of its own to say about a full disk
    done = subprocess.run(command, cwd=folder, capture_output=True, preexec_fn=limit, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    (line,) = done.stderr.decode().splitlines()
    assert "cannot write o" in line
    assert line.endswith("; records so far are in " + str(folder.resolve() / "out.ndjson.part"))
    assert (folder / "out.ndjson").read_text() == "last time"
    assert parts(folder) == ["out.ndjson.part"]  # half a page is of no use
    again = subprocess.run(
        [*command[:4], "out.ndjson.part", "-f", "csv", "--exit-zero"],
        cwd=folder,
        capture_output=True,
        check=False,
    )
    assert again.returncode == 130  # as of any report that breaks off
    assert again.stdout.count(b"console") == 0
    assert again.stdout.count(b",result,") >= 3


@pytest.fixture
def many(tmp_path: Path) -> Path:
    root = tmp_path / "many"
    root.mkdir()
    for i in range(1500):
        (root / f"{i:04d}.exe").write_bytes(sample("console-x86.exe"))
    return root


def begun(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """A scan that has written its first record to `out.ndjson`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "maltriage", "scan", ".", "--batch-size", "1", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    part = folder / "out.ndjson.part"
    while not (part.exists() and b"\n" in part.read_bytes()):
        assert process.poll() is None
        time.sleep(0.05)
    return process


@posix
def test_ctrl_c_writes_every_file_with_its_summary(many: Path) -> None:
    process = begun(many, "-o", "out.ndjson", "-o", "out.html", "-o", "-")
    process.send_signal(signal.SIGINT)
    table, errors = process.communicate(timeout=60)
    wrote, page, stopped = errors.splitlines()
    assert process.returncode == 130
    assert wrote.startswith(b"wrote out.ndjson (ndjson, ")
    assert page.startswith(b"wrote out.html (html, ")
    assert parts(many) == []
    summary = json.loads((many / "out.ndjson").read_bytes().splitlines()[-1])
    assert summary["interrupted"] is True
    how_far = f"{summary['files']:,} of 1,500 done"
    assert stopped.decode() == f"maltriage: stopped, {how_far}; go on with --resume"
    assert table.decode().splitlines()[-1] == f"Stopped: {how_far}."
    page = assert_sealed((many / "out.html").read_text("utf-8"))
    assert json.loads(page.data["end"])["summary"] == {**summary, "groups": None}
    assert b"Interrupted: this is not the whole scan." in table


@posix
def test_a_killed_scan_leaves_what_it_wrote(many: Path) -> None:
    process = begun(many, "-o", "out.ndjson")
    process.kill()
    process.communicate(timeout=60)
    assert parts(many) == ["out.ndjson.part"]
    assert not (many / "out.ndjson").exists()


@posix
def test_files_are_written_where_the_reader_of_stdout_goes_away(many: Path) -> None:
    for path in sorted(many.iterdir())[40:]:
        path.unlink()
    process = begun(many, "-o", "out.ndjson", "-o", "-", "-f", "csv")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read().startswith(b"wrote out.ndjson (ndjson, 40 records, ")
    assert process.wait(timeout=60) in (0, 1)
    assert len((many / "out.ndjson").read_bytes().splitlines()) == 41
