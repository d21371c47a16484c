"""`maltriage scan` and `explain` as processes: stdout, stderr, exit codes, hostile input."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hostile.make import CASES, byteplot, non_utf8_file, sample
from report.pages import assert_sealed

from maltriage import bundle as bundles
from maltriage.bundle import Threshold
from maltriage.report.documents.schema import json_schema

full_device = pytest.mark.skipif(
    os.name == "nt" or not Path("/dev/full").exists(), reason="no device that is always full"
)


def set_threshold(path: Path, margin: float) -> Path:
    """The default bundle with a threshold of our choice, so that a verdict is known."""
    import msgspec

    bundle = bundles.load(bundles.resolve(None))
    threshold = Threshold(margin=margin, fpr=0.01, goodware="none", files=1, flagged=0)
    bundles.with_card(bundle, msgspec.structs.replace(bundle.card, threshold=threshold), path)
    return path


@pytest.fixture(scope="module")
def flags_all(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return set_threshold(tmp_path_factory.mktemp("models") / "all.onnx", -1e6)


@pytest.fixture(scope="module")
def flags_none(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return set_threshold(tmp_path_factory.mktemp("models") / "none.onnx", 1e6)


def records(stdout: bytes) -> list[dict]:
    return [json.loads(line) for line in stdout.splitlines()]


def test_exit_codes(run_cli, folder: Path, flags_all: Path, flags_none: Path) -> None:
    def code(*arguments: object) -> int:
        return run_cli("scan", folder, *arguments).returncode

    assert code("--model", flags_none) == 0
    assert code("--model", flags_all) == 1
    assert code("--model", flags_all, "--exit-zero") == 0
    (folder / "c.png").write_bytes(CASES["png_cut"]())
    assert code("--model", flags_none) == 3
    assert code("--model", flags_all) == 3
    assert run_cli("explain", folder / "a.exe", "--model", flags_none).returncode == 0
    assert run_cli("explain", folder / "a.exe", "--model", flags_all).returncode == 1
    assert run_cli("explain", folder / "c.png").returncode == 3
    assert run_cli("explain", folder / "b.txt").returncode == 3
    assert run_cli("explain", folder / "gone").returncode == 3


def test_table_to_a_pipe(run_cli, folder: Path) -> None:
    done = run_cli("scan", folder, "--exit-zero")
    assert done.returncode == 0
    assert done.stderr == b""
    assert b"\x1b" not in done.stdout
    assert b"a.exe" in done.stdout
    assert b"1 skipped" in done.stdout


def test_ndjson_follows_the_schema(run_cli, folder: Path) -> None:
    (folder / "c.png").write_bytes(CASES["png_cut"]())
    done = run_cli("scan", folder, "-f", "ndjson")
    found = records(done.stdout)
    assert [record["type"] for record in found] == ["result", "skipped", "error", "summary"]
    for record in found:
        jsonschema.validate(record, json_schema())
    result = found[0]
    parts = [region["contribution"] for region in result["evidence"]["regions"]]
    evidence = result["evidence"]
    assert sum(parts) + evidence["padding"] == pytest.approx(evidence["total"], abs=1e-6)
    assert evidence["total"] + evidence["bias"] == pytest.approx(evidence["logit"], abs=1e-3)


def test_json_and_csv_and_output(run_cli, folder: Path, tmp_path: Path) -> None:
    document = json.loads(run_cli("scan", folder, "-f", "json").stdout)
    jsonschema.validate(document, json_schema())
    assert document["summary"]["files"] == 1
    target = tmp_path / "out.csv"
    done = run_cli("scan", folder, "-f", "csv", "-o", target, "--exit-zero", "--hashes")
    assert done.stdout == b""
    rows = list(csv.DictReader(io.StringIO(target.read_text())))
    assert [row["status"] for row in rows] == ["result", "skipped"]
    data = (folder / "a.exe").read_bytes()
    assert rows[0]["md5"] == hashlib.md5(data, usedforsecurity=False).hexdigest()
    assert rows[0]["sha1"] == hashlib.sha1(data, usedforsecurity=False).hexdigest()
    assert rows[0]["imphash"]
    done = run_cli("scan", folder, "-o", tmp_path / "no" / "such" / "x.csv")
    assert done.returncode == 2
    assert b"cannot write" in done.stderr


def test_a_page_of_a_scan(run_cli, folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "scan.html"
    done = run_cli("scan", folder, "-f", "html", "-o", target, "--top", "1", "--exit-zero")
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr.decode().startswith(f"wrote {target} (html, 2 records, ")
    parts = assert_sealed(target.read_text("utf-8"))
    summary = json.loads(parts.data["end"])["summary"]
    rows = [json.loads(line) for line in parts.data["files"].splitlines()[1::2]]
    assert [row["state"] for row in rows] == ["result", "skipped"]
    assert summary["files"] == 1


@full_device
def test_a_full_disk_is_one_line(run_cli, folder: Path) -> None:
    done = run_cli("scan", folder, "-f", "ndjson", "-o", "/dev/full")
    assert done.returncode == 2
    assert done.stderr.startswith(b"maltriage: cannot write /dev/full: No space")
    assert done.stderr.count(b"\n") == 1


@full_device
@pytest.mark.parametrize("command", [("scan", "-f", "csv"), ("explain",), ("schema",)])
def test_a_full_disk_behind_stdout_is_one_line(command: tuple[str, ...], folder: Path) -> None:
    named = [] if command == ("schema",) else [folder / "a.exe"]
    line = [sys.executable, "-m", "maltriage", *command, *named]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 2
    assert done.stderr == b"maltriage: cannot write the output: No space left on device\n"


@pytest.mark.parametrize("filters", [("--exclude", "*"), ("--include", "*.nope")])
def test_a_folder_of_which_all_is_left_out_says_so(
    run_cli, folder: Path, filters: tuple[str, str]
) -> None:
    done = run_cli("scan", folder, *filters)
    assert done.returncode == 3
    assert b"nothing was triaged: no file in it passes --include and --exclude" in done.stderr


def test_a_quiet_scan_writes_the_same_table(run_cli, folder: Path, tmp_path: Path) -> None:
    """Only stderr is quiet."""
    report = tmp_path / "r.ndjson"
    assert run_cli("scan", folder, "-o", report).returncode == 0
    loud, quiet = run_cli("scan", report), run_cli("scan", report, "-q", "-o", tmp_path / "r.txt")
    assert loud.stdout == (tmp_path / "r.txt").read_bytes()
    assert quiet.stderr == b""


def test_explain(run_cli, folder: Path) -> None:
    done = run_cli("explain", folder / "a.exe", "--exit-zero")
    assert done.returncode == 0
    assert done.stderr == b""
    for part in (b"sha256", b".text", b"padding", b"baseline", b"total", b"log odds", b"md5"):
        assert part in done.stdout
    done = run_cli("explain", folder / "a.exe", "-f", "json", "--class", "icedid")
    (record,) = records(done.stdout)
    assert record["evidence"]["label"] == "icedid"
    assert record["evidence"]["plane"]
    done = run_cli("explain", folder / "a.exe", "--class", "nobody")
    assert done.returncode == 2
    assert b"knows no label 'nobody'" in done.stderr


def test_explain_puts_its_claims_to_the_test(run_cli, folder: Path) -> None:
    arguments = ("explain", folder / "a.exe", "--exit-zero")
    done = run_cli(*arguments, "-f", "json", "--seed", "3")
    jsonschema.validate(json.loads(done.stdout), json_schema())
    (record,) = records(done.stdout)
    evidence, checks = record["evidence"], record["evidence"]["checks"]
    assert checks["seed"] == 3
    assert -1 <= checks["rank_correlation"] <= 1
    claims = {(r["start"], r["end"]): r["contribution"] for r in evidence["regions"]}
    assert len(checks["regions"]) == len(claims) > 3
    for check in checks["regions"]:
        assert check["claimed"] == claims[check["start"], check["end"]]
        assert [effect["mask"] for effect in check["effects"]] == ["zeros", "histogram", "shuffle"]
    screen = run_cli(*arguments).stdout.decode()
    assert "  checked   rank correlation " in screen
    assert "measured" in screen
    texts = next(line for line in screen.splitlines() if line.startswith("  .rdata"))
    assert "supported" in texts
    again = records(run_cli(*arguments, "-f", "json", "--seed", "3").stdout)
    assert again[0]["evidence"] == evidence
    untested = run_cli(*arguments, "--no-verify").stdout.decode()
    assert "per KiB" in untested
    assert "measured" not in untested
    (bare,) = records(run_cli(*arguments, "--no-verify", "-f", "json").stdout)
    assert bare["evidence"]["checks"] is None
    assert bare["evidence"]["regions"] == evidence["regions"]


@pytest.mark.skipif(sys.platform == "win32", reason="an open file is not replaced there")
def test_a_file_that_changes_while_it_is_explained(run_cli, tmp_path: Path) -> None:
    """It is another file each time that it is opened."""
    path, over = tmp_path / "a.exe", threading.Event()

    def change() -> None:
        count = 0
        while not over.is_set():
            count += 1
            (tmp_path / "next").write_bytes(sample("console-x86.exe") + b"%d" % count)
            (tmp_path / "next").replace(path)

    writer = threading.Thread(target=change)
    writer.start()
    try:
        while not path.exists():
            time.sleep(0.01)
        done = run_cli("explain", path)
        listed = run_cli("explain", path, "-f", "json")
    finally:
        over.set()
        writer.join()
    assert (done.returncode, done.stdout) == (3, b"")
    assert b"a.exe: it changed meanwhile" in done.stderr
    (record,) = records(listed.stdout)
    assert (record["type"], record["code"]) == ("error", "changed")


@pytest.mark.parametrize("case", ["mz_only", "section_named_markup", "png_of_few_bytes"])
def test_odd_files_are_put_to_the_test(run_cli, tmp_path: Path, case: str) -> None:
    path = tmp_path / f"odd{'.png' if case.startswith('png') else '.exe'}"
    path.write_bytes(CASES.get(case, lambda: byteplot(b"MZ" + bytes(range(1, 90)), 16))())
    (record,) = records(run_cli("explain", path, "-f", "json", "--exit-zero").stdout)
    assert record["evidence"]["checks"]["regions"]
    assert run_cli("explain", path, "--exit-zero").returncode == 0


def test_scan_puts_the_most_urgent_to_the_test(run_cli, tmp_path: Path, flags_all: Path) -> None:
    """They come last, the first to look at first; the others as they were found."""
    names = ["console-x86.exe", "gui-x86.exe", "dotnet.exe", "library-x64.dll"]
    for name in names:
        (tmp_path / name).write_bytes(sample(name))
    (tmp_path / "a copy.exe").write_bytes(sample("gui-x86.exe"))
    arguments = ("scan", tmp_path, "--model", flags_all, "--exit-zero")
    done = run_cli(*arguments, "--verify", "--top", "2", "-f", "ndjson")
    assert done.returncode == 0, done.stderr
    *results, summary = records(done.stdout)
    assert summary["files"] == summary["flagged"] == 5
    checked = [result["evidence"]["checks"] is not None for result in results]
    assert checked == [False, False, False, True, True]
    first, second = results[3:]
    assert first["verdict"]["margin"] >= second["verdict"]["margin"]
    assert first["sha256"] != second["sha256"]
    margins = sorted({r["sha256"]: r["verdict"]["margin"] for r in results}.values())
    assert [second["verdict"]["margin"], first["verdict"]["margin"]] == pytest.approx(margins[-2:])
    table = run_cli(*arguments, "--verify", "--top", "2").stdout.decode()
    assert "checked" in table
    whole = records(run_cli(*arguments, "--verify", "--top", "0", "-f", "ndjson").stdout)
    assert all(result["evidence"]["checks"] for result in whole[:-1])
    assert [Path(r["path"]).name for r in whole[:-1]] == sorted(p.name for p in tmp_path.iterdir())
    plain = records(run_cli(*arguments, "-f", "ndjson").stdout)
    assert not any(result["evidence"]["checks"] for result in plain[:-1])


def test_explain_against_a_label(run_cli, folder: Path) -> None:
    arguments = ("explain", folder / "a.exe", "--class", "bifrose", "--against", "hupigon")
    shown = run_cli(*arguments, "--exit-zero")
    assert (shown.returncode, shown.stderr) == (0, b"")
    assert b"in all, for bifrose against hupigon" in shown.stdout
    assert b"logit(bifrose) - logit(hupigon)" in run_cli(*arguments, "--exit-zero", "-v").stdout
    (record,) = records(run_cli(*arguments, "-f", "json").stdout)
    assert (record["evidence"]["label"], record["evidence"]["against"]) == ("bifrose", "hupigon")
    wrong = run_cli(*arguments[:-1], "nobody")
    assert (wrong.returncode, wrong.stdout) == (2, b"")
    assert b"knows no label 'nobody'" in wrong.stderr


def test_explain_by_another_method(run_cli, folder: Path) -> None:
    shown = run_cli("explain", folder / "a.exe", "--method", "gradcam", "--exit-zero")
    assert shown.returncode == 0
    assert b"gradcam = hirescam" in shown.stdout
    arguments = ("explain", folder / "a.exe", "--method", "occlusion", "--seed", "3")
    shown = run_cli(*arguments, "--exit-zero")
    assert (shown.returncode, shown.stderr) == (0, b"")
    assert b"What masking takes away" in shown.stdout
    assert b"Effects of masking are not additive" in shown.stdout
    (record,) = records(run_cli(*arguments, "-f", "json").stdout)
    assert record["evidence"]["occluded"]["seed"] == 3
    wrong = run_cli("explain", folder / "a.exe", "--method", "tea-leaves")
    assert (wrong.returncode, wrong.stdout) == (2, b"")


def test_explain_by_several_methods(run_cli, folder: Path) -> None:
    arguments = ("explain", folder / "a.exe", "--methods", "occlusion, hirescam,gradcam")
    shown = run_cli(*arguments, "--exit-zero", "--top", "3").stdout.decode()
    table = shown.split("Methods side by side", 1)[1].split("\n\n", 1)[0]
    assert "occlusion  hirescam = gradcam" in table
    assert table.count("%") == 3 * 2
    assert re.search(r"rank agreement of occlusion and hirescam .*: [+-]\d\.\d\d$", table, re.M)
    (record,) = records(run_cli(*arguments, "-f", "json").stdout)
    evidence = record["evidence"]
    assert evidence["method"] == "occlusion"
    first, second = evidence["compared"]["methods"]
    assert first["regions"] == [region["contribution"] for region in evidence["regions"]]
    assert (second["method"], second["same_as"]) == ("hirescam", ["gradcam"])
    (pair,) = evidence["compared"]["agreement"]
    assert (pair["first"], pair["second"]) == ("occlusion", "hirescam")
    for wrong, message in (
        (("--methods", "hirescam,tea-leaves"), b"no such method: tea-leaves"),
        (("--methods", "hirescam,hirescam"), b"each named once"),
        (("--methods", "hirescam,occlusion", "--method", "gradcam"), b"not both"),
    ):
        done = run_cli("explain", folder / "a.exe", *wrong)
        assert (done.returncode, done.stdout) == (2, b"")
        assert message in done.stderr


def test_files_from_names_that_end_with_nul(run_cli, folder: Path) -> None:
    two = folder / "two\nlines.exe"
    try:
        two.write_bytes(sample("console-x64.exe"))
    except OSError:
        pytest.skip("this file system has no such names")
    listed = b"".join(os.fsencode(path) + b"\0" for path in (folder / "a.exe", two))
    for option in ("-0", "--null"):
        done = run_cli("scan", "--files-from", "-", option, "-f", "ndjson", stdin=listed)
        found = records(done.stdout)
        assert [record["path"] for record in found[:-1]] == [str(folder / "a.exe"), str(two)]
        assert [record["type"] for record in found] == ["result", "result", "summary"]


def test_files_from_refuses_nul_where_lines_are_expected(run_cli, tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"a.exe\nb.exe\0c.exe\0")
    (tmp_path / "wide").write_bytes("a.exe\n".encode("utf-16") + b"x")
    for name, message in (
        ("list", b"maltriage: list: line 2 has a NUL byte; --null (-0) reads"),
        ("wide", b"maltriage: wide: not the UTF-16 that it begins as"),
    ):
        done = run_cli("scan", "--files-from", name)
        assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
        assert done.stderr.startswith(message)
    done = run_cli("scan", "--files-from", "-", stdin=b"a.exe\0")
    assert done.stderr.startswith(b"maltriage: standard input: line 1 has a NUL byte")


def test_files_from_with_names_that_are_not_utf8(run_cli, tmp_path: Path) -> None:
    try:
        path = non_utf8_file(tmp_path, sample("console-x86.exe"))
    except OSError:
        pytest.skip("this file system has no such names")
    done = run_cli("scan", "--files-from", "-", "-f", "ndjson", stdin=os.fsencode(path) + b"\n")
    result = records(done.stdout)[0]
    assert result["type"] == "result"
    assert "\\xe9" in result["path"]
    import base64

    assert base64.b64decode(result["path_b64"]) == os.fsencode(path)
    assert run_cli("scan", tmp_path).returncode in (0, 1)
    assert run_cli("explain", path).returncode in (0, 1)


def test_every_hostile_file_has_one_record(run_cli, tmp_path: Path) -> None:
    root = tmp_path / "hostile"
    root.mkdir()
    for name, make in CASES.items():
        (root / f"{name}.exe").write_bytes(make())
    done = run_cli("scan", root, "-f", "ndjson", "--timeout", "30", timeout=300)
    assert done.returncode in (0, 1, 3), done.stderr
    *found, summary = records(done.stdout)
    assert sorted(Path(record["path"]).stem for record in found) == sorted(CASES)
    assert summary["type"] == "summary"
    assert all(record.get("code") != "internal" for record in found)
    assert done.stderr == b""


@pytest.mark.skipif(sys.platform == "win32", reason="no such names of files there")
@pytest.mark.parametrize("case", ["section_named_markup", "section_named_escape"])
def test_hostile_names_do_not_reach_the_terminal(run_cli, tmp_path: Path, case: str) -> None:
    path = tmp_path / "x\x1b[31m\u202e.exe"
    path.write_bytes(CASES[case]())
    for arguments in (["scan", tmp_path], ["explain", path], ["scan", "-f", "csv", tmp_path]):
        done = run_cli(*arguments, "--color", "never")
        assert done.returncode in (0, 1), done.stderr
        assert not any(byte < 0x20 and byte != 0x0A for byte in done.stdout)
        assert "\u202e" not in done.stdout.decode()
        if case == "section_named_markup" and arguments[0] == "explain":
            assert b"[/red]" in done.stdout


def test_folders_that_vanish_and_links(run_cli, folder: Path) -> None:
    done = run_cli("scan", folder / "gone", folder, "-f", "ndjson")
    assert done.returncode == 3
    kinds = [record["type"] for record in records(done.stdout)]
    assert kinds == ["error", "result", "skipped", "summary"]


def start(*arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "maltriage", "scan", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,  # what a buffer has read beyond a line, `communicate` would not give
    )


@pytest.fixture
def many(tmp_path: Path) -> Path:
    root = tmp_path / "many"
    root.mkdir()
    for i in range(1500):
        (root / f"{i:04d}.exe").write_bytes(sample("console-x86.exe"))
    return root


@pytest.mark.parametrize(
    ("flagging", "first", "code"),
    [(False, "console", 0), (True, "console", 1), (True, "png_cut", 3)],
)
def test_stdout_closed_early_is_quiet(
    many: Path, flags_all: Path, flags_none: Path, flagging: bool, first: str, code: int
) -> None:
    """And the exit code is that of what was found until then."""
    if first in CASES:
        (many / "0000.exe").write_bytes(CASES[first]())
    process = start(many, "-f", "ndjson", "--model", flags_all if flagging else flags_none)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=60) == code


@pytest.mark.skipif(os.name != "posix", reason="pipes as a shell makes them")
def test_a_table_that_nobody_reads_has_its_exit_code(folder: Path, flags_all: Path) -> None:
    """It is written once all is known."""
    process = start(folder, "--model", flags_all)
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (1, b"")


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_files_that_were_not_verified_yet_are_not_done(many: Path) -> None:
    process = start(many, "-f", "ndjson", "--batch-size", "1", "--verify", "--top", "0")
    assert process.stdout is not None
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    *found, _ = records(first + rest)
    assert re.match(rf"maltriage: stopped, {len(found)} (of 1,500 )?done;", errors.decode())


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_ctrl_c_writes_what_is_done_and_the_summary(many: Path) -> None:
    process = start(many, "-f", "ndjson", "--batch-size", "1")
    assert process.stdout is not None
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    *found, summary = records(first + rest)
    assert process.returncode == 130
    how_far = f"{len(found):,} of 1,500 done"
    assert errors.decode() == f"maltriage: stopped, {how_far}; go on with --resume\n"
    assert summary["type"] == "summary"
    assert summary["interrupted"] is True
    assert 1 <= summary["files"] == len(found) < 1500


@pytest.mark.skipif(os.name != "posix", reason="process groups as POSIX has them")
def test_no_process_is_left_behind(folder: Path) -> None:
    import psutil

    process = start(folder)
    seen: list[psutil.Process] = []
    while process.poll() is None:
        try:
            seen += psutil.Process(process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.02)
    process.communicate()
    assert seen
    _, alive = psutil.wait_procs(set(seen), timeout=10)
    assert not alive


@pytest.mark.parametrize("command", ["scan", "explain"])
def test_a_sample_is_not_written_over(
    run_cli: Any, samples_dir: Path, tmp_path: Path, command: str
) -> None:
    data = (samples_dir / "console-x86.exe").read_bytes()
    (tmp_path / "a.exe").write_bytes(data)
    found = run_cli(command, "a.exe", "-o", "./a.exe", cwd=tmp_path)
    assert (found.returncode, found.stdout) == (2, b"")
    assert "a.exe: a" in found.stderr.decode()
    assert "which would be overwritten" in found.stderr.decode()
    assert (tmp_path / "a.exe").read_bytes() == data
