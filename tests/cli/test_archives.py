"""Archives through `scan` and `explain` as processes."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import jsonschema
import py7zr
import pytest
from corpus.synthetic import seven_zipped, tarred, zipped
from hostile.make import ESCAPE_PATH, sample
from source.archive.nsis_writer import installer
from source.upx.repack import PROGRAMS

from maltriage.cli import options
from maltriage.report.documents.schema import json_schema
from maltriage.source.archive import limits

X86, X64 = sample("console-x86.exe"), sample("console-x64.exe")


def records(stdout: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stdout.splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "in"
    root.mkdir()
    inner = tarred({"caf\udce9.exe": X86}, "xz")
    odd = {"../../up.exe": X86, ESCAPE_PATH.decode(): X64, "notes.txt": b"hello"}
    (root / "a.zip").write_bytes(zipped({**odd, "b.tar.xz": inner}))
    (root / "b.7z").write_bytes(seven_zipped({"x.exe": X86}, "hunter2"))
    (root / "c.docx").write_bytes(zipped({"a.xml": b"<a/>", "b.xml": b"<b/>"}, None))
    return root


def test_scan(run_cli, folder: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    done = run_cli("scan", folder, "-f", "ndjson", "--exit-zero")
    assert done.returncode == 3
    found = records(done.stdout)
    for record in found:
        jsonschema.validate(record, json_schema())
    seen = [
        (r["type"], r["path"].removeprefix(f"{folder}{os.sep}"), r.get("code")) for r in found[:-1]
    ]
    assert [(kind, code) for kind, _, code in seen] == [
        ("result", None), ("result", None), ("result", None), ("skipped", "members"),
        ("error", "password"), ("skipped", "not-pe"),
    ]  # fmt: skip
    assert seen[0][1] == "a.zip!../../up.exe"
    assert seen[2][1] == "a.zip!b.tar.xz!caf\\xe9.exe"
    assert base64.b64decode(found[2]["path_b64"]).endswith(b"a.zip!b.tar.xz!caf\xe9.exe")
    assert found[0]["sha256"] == found[2]["sha256"]
    done = run_cli("scan", folder, "--password", "hunter2")
    assert done.returncode == 0
    assert b"\x1b" not in done.stdout
    assert b"4 files  0 flagged  0 failed  2 skipped" in done.stdout
    (tmp_path / "words").write_text("nothing\nhunter2\n")
    done = run_cli("scan", folder / "b.7z", "--password-file", "words", "-f", "ndjson")
    assert records(done.stdout)[0]["type"] == "result"
    (tmp_path / "words").unlink()
    assert sorted(tmp_path.rglob("*")) == before  # nothing was written


def test_no_archives(run_cli, folder: Path) -> None:
    done = run_cli("scan", folder, "--no-archives", "-f", "ndjson")
    assert [r.get("code") for r in records(done.stdout)[:-1]] == ["not-pe"] * 3


def test_every_cap_is_an_option_and_a_record(run_cli, tmp_path: Path) -> None:
    files = {f"{i}.exe": X86 for i in range(3)}
    (tmp_path / "a.zip").write_bytes(zipped({**files, "b.zip": zipped(files), "c": bytes(1 << 20)}))
    cases = {
        "archive-members": ("--max-members", "2"),
        "archive-depth": ("--max-nesting", "1"),
    }
    for code, arguments in cases.items():
        done = run_cli("scan", "a.zip", *arguments, "-f", "ndjson", "--exit-zero")
        assert done.returncode == 0
        found = records(done.stdout)
        assert code in [record.get("code") for record in found]
        assert arguments[0] in next(r["reason"] for r in found if r.get("code") == code)
        assert code in run_cli("scan", "a.zip", *arguments).stdout.decode()
    defaults = (options.MEMBERS, options.UNPACKED * options.MIB, options.RATIO, options.NESTING)
    assert defaults == (
        limits.MAX_MEMBERS, limits.MAX_UNPACKED, limits.MAX_RATIO, limits.MAX_NESTING,
    )  # fmt: skip
    assert options.SECONDS == limits.MAX_SECONDS


@pytest.mark.slow
def test_a_small_7z_that_stopped_a_scan_for_good(run_cli, tmp_path: Path) -> None:
    """46 KB, one member of 300 MB: its cap was said without end."""
    filters = [{"id": py7zr.FILTER_LZMA2, "preset": 0}]
    with py7zr.SevenZipFile(tmp_path / "tiny.7z", "w", filters=filters) as archive:
        archive.writef(io.BytesIO(b"MZ" + bytes(300 << 20)), "x.exe")
    assert (tmp_path / "tiny.7z").stat().st_size < 60_000
    done = run_cli("scan", "tiny.7z", "--no-cache", "-f", "ndjson")
    cut, summary = records(done.stdout)
    assert (cut["code"], summary["skipped"], done.returncode) == ("archive-ratio", 1, 3)
    done = run_cli("explain", "tiny.7z")
    assert done.returncode == 3
    assert done.stderr.count(b"that unpack to more than 250 times as many") == 1


def test_the_time_for_an_archive_is_an_option(run_cli, tmp_path: Path) -> None:
    files = {f"{i}.exe": X86 + i.to_bytes(4, "little") for i in range(3000)}
    (tmp_path / "a.zip").write_bytes(zipped(files))
    done = run_cli("scan", "a.zip", "--max-time", "1", "--no-cache", "-f", "ndjson")
    *results, cut, summary = records(done.stdout)
    assert {record["type"] for record in results} == {"result"}
    assert (cut["type"], cut["code"]) == ("skipped", "archive-time")
    assert f"after the first {len(results)} in it" in cut["reason"]
    assert summary["skipped"] == 1


def sharing(data: bytes, names: int) -> bytes:
    """A zip file whose directory has `names` names for one file in it."""
    single = zipped({"x.exe": data}, None)
    start, end = single.index(b"PK\x01\x02"), single.index(b"PK\x05\x06")
    directory = single[start:end] * names
    tail = bytearray(single[end:])
    tail[8:12] = names.to_bytes(2, "little") * 2
    tail[12:16] = len(directory).to_bytes(4, "little")
    return single[:start] + directory + bytes(tail)


def test_names_that_share_their_bytes(run_cli, tmp_path: Path) -> None:
    """Each has its record, one of them was analysed, and the archive is said to be odd."""
    (tmp_path / "a.zip").write_bytes(sharing(X86, 10_000))
    (tmp_path / "x.exe").write_bytes(X86)
    arguments = ("--no-cache", "-f", "ndjson", "--exit-zero", "--max-ratio", "10000")
    done = run_cli("scan", "a.zip", "x.exe", *arguments)
    *results, odd, single, summary = records(done.stdout)
    assert (odd["code"], odd["path"]) == ("archive-overlap", "a.zip")
    table = run_cli("scan", "a.zip", "--no-cache", "--max-members", "300").stdout.decode()
    assert "archive-overlap: a.zip: 10,000 of the 10,000 files in it share bytes" in table
    assert "archive-members: a.zip: files after the first 300 in it are left out" in table
    assert "10,000 of the 10,000 files in it share bytes" in odd["reason"]
    assert [result["path"] for result in results[:3]] == [
        "a.zip!x.exe", "a.zip!x.exe#2", "a.zip!x.exe#3",
    ]  # fmt: skip
    assert len({result["path"] for result in results}) == 10_000
    assert sum(result["timing"]["model_ms"] > 0 for result in results) == 1
    for result in (results[0], results[-1]):
        assert {k: v for k, v in result.items() if k not in ("path", "timing")} == {
            k: v for k, v in single.items() if k not in ("path", "timing")
        }
    assert summary["files"] == 10_001
    checked = run_cli("scan", "a.zip", "--verify", "--top", "3", *arguments)
    *others, last, summary = records(checked.stdout)
    assert summary["files"] == 10_000
    assert last["evidence"]["checks"] is not None
    assert not any(other.get("evidence", {}).get("checks") for other in others)


def test_a_zip_file_in_a_zip_file_shares_nothing(run_cli, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped({"b.zip": zipped({"x.exe": X86}), "y.exe": X86}, None))
    done = run_cli("scan", "a.zip", "-f", "ndjson", "--exit-zero")
    assert [record["type"] for record in records(done.stdout)] == ["result", "result", "summary"]


def test_explain(run_cli, folder: Path) -> None:
    """Hot ranges and checks read the member again."""
    done = run_cli("explain", folder / "a.zip!b.tar.xz", "-f", "json")
    assert done.returncode in (0, 1)
    (record,) = records(done.stdout)
    assert record["path"].endswith("a.zip!b.tar.xz!caf\\xe9.exe")
    assert record["evidence"]["checks"]["regions"]
    assert any(item["content"] for item in record["evidence"]["hot"])
    assert not {"unchecked", "not-inspected"} & {n["code"] for n in record["notices"]}
    done = run_cli("explain", folder / "a.zip")
    assert done.returncode == 3
    assert b"name one of" in done.stderr
    assert b"a.zip!../../up.exe" in done.stderr
    assert rb"a.zip!b.tar.xz!caf\xe9.exe" in done.stderr
    assert b"\x1b" not in done.stderr
    assert run_cli("explain", folder / "a.zip!none.exe").returncode == 3


def test_a_path_that_goes_on_behind_a_program_names_no_file(run_cli, tmp_path: Path) -> None:
    inside = {f"{n}.zip": zipped({f"{i}.txt": b"text" for i in range(n)}, None) for n in (1, 2)}
    files = {"x.exe": X86, "read.me": b"text", **inside}
    (tmp_path / "a.zip").write_bytes(zipped(files, None))
    without = "an archive without a PE file, a byteplot PNG or a hex dump"
    for path, code, reason in (
        ("a.zip!1.zip", "not-pe", f"{without}: 1 other files"),
        ("a.zip!2.zip", "not-pe", f"{without}: 2 other files"),
        ("a.zip!x.exe!none.exe", "not-found", "no such file in the archive"),
        ("a.zip!read.me!none.exe", "not-found", "no such file in the archive"),
        ("a.zip!read.me", "not-pe", "it is neither a PE file nor a byteplot PNG nor a hex dump"),
    ):
        for command in ("scan", "explain"):
            done = run_cli(command, path, "-f", "ndjson" if command == "scan" else "json")
            assert done.returncode == 3
            record = records(done.stdout)[0]
            assert (record["path"], record["code"], record["reason"]) == (path, code, reason)
    record = records(run_cli("scan", "a.zip!x.exe", "-f", "ndjson").stdout)[0]
    assert (record["type"], record["path"]) == ("result", "a.zip!x.exe")


def test_verify(run_cli, folder: Path) -> None:
    done = run_cli("scan", folder / "a.zip", "--verify", "-f", "ndjson", "--exit-zero")
    results = [record for record in records(done.stdout) if record["type"] == "result"]
    assert len(results) == 3
    # Of files of equal content one is checked.
    assert sum(record["evidence"]["checks"] is not None for record in results) == 2


def test_carve(run_cli, tmp_path: Path) -> None:
    (tmp_path / "a.exe").write_bytes(X86 + X64)
    done = run_cli("scan", "a.exe", "--carve", "-f", "ndjson", "--exit-zero")
    carrier, carved, summary = records(done.stdout)
    assert carved["path"] == f"a.exe!carved@{len(X86):#x}.exe"
    assert (carrier["path"], summary["files"]) == ("a.exe", 2)
    done = run_cli("explain", carved["path"], "-f", "json")
    (record,) = records(done.stdout)
    assert record["sha256"] == carved["sha256"]
    assert record["evidence"]["checks"]["regions"]
    assert run_cli("scan", "a.exe", "--carve", "--no-archives").returncode == 2


@pytest.mark.parametrize("kind", ["7z", "nsis"])
def test_carve_a_self_extractor(run_cli, tmp_path: Path, kind: str) -> None:
    files = {"in/x64.exe": X64}
    packed = seven_zipped(files, None) if kind == "7z" else installer(files, solid=True)
    (tmp_path / "setup.exe").write_bytes(X86 + packed)
    done = run_cli("scan", "setup.exe", "--carve", "-f", "ndjson", "--exit-zero")
    carrier, inside, summary = records(done.stdout)
    (text,) = [item["text"] for item in carrier["notices"] if item["code"] == "installer"]
    assert text.endswith(", which scan --carve looks into.")
    assert inside["path"] == f"setup.exe!carved@{len(X86):#x}.{kind}!in/x64.exe"
    assert summary["files"] == 2
    done = run_cli("explain", inside["path"], "-f", "json")
    assert records(done.stdout)[0]["sha256"] == inside["sha256"]
    shown = run_cli("scan", "setup.exe", "--carve", "--exit-zero").stdout
    assert b"x64.exe" in shown


def test_carve_an_archive_whose_first_file_is_damaged(run_cli, tmp_path: Path) -> None:
    """The others are read, and it is an error: this is no archive by chance."""
    program, out = sample("console-x64.exe"), io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.exe", program)
        archive.writestr("b.exe", sample("gui-x86.exe"))
    damaged = bytearray(out.getvalue())
    damaged[damaged.index(b"a.exe") + 1000] ^= 1
    (tmp_path / "setup.exe").write_bytes(sample("console-x86.exe") + damaged)
    done = run_cli("scan", "setup.exe", "--carve", "-f", "ndjson", "--exit-zero", "-q")
    _, *inside, summary = records(done.stdout)
    found = {record["path"].rpartition("!")[2]: record for record in inside}
    assert (found["a.exe"]["type"], found["a.exe"]["code"]) == ("error", "damaged-archive")
    assert found["b.exe"]["type"] == "result"
    assert (summary["failed"], done.returncode) == (1, 3)


def test_carve_what_upx_packed(run_cli, tmp_path: Path) -> None:
    """In an archive as well; what cannot be unpacked is told, and its carrier has its record."""
    program = (PROGRAMS / "gui-x86.nrv2e.exe").read_bytes()
    damaged = bytearray(program)
    damaged[0x1000] ^= 1
    (tmp_path / "a.zip").write_bytes(zipped({"g.exe": program, "d.exe": bytes(damaged)}))
    done = run_cli("scan", "a.zip", "--carve", "-f", "ndjson", "--exit-zero")
    found = {record["path"]: record for record in records(done.stdout)[:-1]}
    inside, broken = "a.zip!g.exe!carved@0x215.upx.exe", "a.zip!d.exe!carved@0x215.upx.exe"
    assert [*found] == ["a.zip!g.exe", inside, "a.zip!d.exe", broken]
    assert (found[broken]["code"], done.returncode) == ("damaged-archive", 3)
    assert found[broken]["reason"].startswith("UPX: ")
    (packed,) = [n["text"] for n in found["a.zip!g.exe"]["notices"] if n["code"] == "packed?"]
    assert packed.startswith("Looks packed with UPX (")
    assert packed.endswith("; scan --carve unpacks it.")
    assert {r["name"] for r in found[inside]["layout"]["regions"]} > {".text", ".rsrc"}
    done = run_cli("explain", inside, "-f", "json", "--exit-zero")
    assert records(done.stdout)[0]["sha256"] == found[inside]["sha256"]
    for wrong in ("a.zip!g.exe!carved@0x216.upx.exe", broken):
        assert run_cli("explain", wrong).returncode == 3
    said = run_cli("scan", "a.zip", "--exit-zero").stdout
    assert b"2 programs packed with UPX are judged by their packed bytes (--carve" in said


def test_carve_where_the_carrier_is_kept(run_cli, tmp_path: Path) -> None:
    """A scan that did not search a program knows of one record, where there are several."""
    (tmp_path / "a.exe").write_bytes(X86 + X64)
    os.utime(tmp_path / "a.exe", (1, 1))
    kept = ("scan", "a.exe", "--cache", "kept", "-f", "ndjson", "--exit-zero")

    def paths(*more: str) -> list[str]:
        return [record["path"] for record in records(run_cli(*kept, *more).stdout)[:-1]]

    both = ["a.exe", f"a.exe!carved@{len(X86):#x}.exe"]
    assert [paths(), paths("--carve"), paths("--carve"), paths()] == [
        both[:1],
        both,
        both,
        both[:1],
    ]


def test_standard_input(run_cli, tmp_path: Path) -> None:
    done = run_cli("scan", "-", "-f", "ndjson", "--exit-zero", stdin=zipped({"x.exe": X86}))
    record, summary = records(done.stdout)
    assert (record["path"], summary["files"], done.stderr) == ("-!x.exe", 1, b"")
    done = run_cli("explain", "-", "-f", "json", stdin=X86)
    (record,) = records(done.stdout)
    assert (record["path"], record["size"], done.stderr) == ("-", len(X86), b"")
    assert record["evidence"]["checks"]["regions"]
    assert not {"unchecked", "not-inspected"} & {n["code"] for n in record["notices"]}
    done = run_cli("scan", "-", "-f", "ndjson", "--max-size", "1", stdin=b"MZ" + bytes(1 << 20))
    assert [r.get("code") for r in records(done.stdout)][:1] == ["too-large"]
    done = run_cli("scan", "-", "-f", "ndjson")
    assert records(done.stdout)[0]["code"] == "empty"
    both = run_cli("scan", "-", "--files-from", "-", stdin=b"x")
    assert both.returncode == 2
    assert b"only one of them" in both.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_program_of_an_archive_on_standard_input(run_cli: Any) -> None:
    archive = zipped({"x.exe": X86, "a b/y.exe": X64})
    several = run_cli("explain", "-", stdin=archive)
    named = "an archive of several: name one of -!x.exe, -!a b/y.exe (on a command line behind --)"
    assert (several.returncode, several.stderr.decode()) == (3, f"maltriage: -: {named}\n")
    one, digest = ("--", "-!a b/y.exe"), hashlib.sha256(X64).hexdigest()
    done = run_cli("explain", "-f", "json", "--no-verify", *one, stdin=archive)
    record = json.loads(done.stdout)
    assert (record["path"], record["sha256"]) == ("-!a b/y.exe", digest)
    done = run_cli("scan", "-f", "ndjson", "--exit-zero", *one, stdin=archive)
    assert [r["path"] for r in records(done.stdout) if r["type"] == "result"] == ["-!a b/y.exe"]
    none = run_cli("scan", "-f", "ndjson", "--", "-!z.exe", stdin=archive)
    assert "no such file in the archive" in none.stdout.decode()
    assert none.returncode == 3


def test_hostile_archives(run_cli, tmp_path: Path) -> None:
    """Of 100,000 files, within others without end, and of ten gigabytes that are not there."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as many:
        for i in range(100_000):
            many.writestr(zipfile.ZipInfo(f"{i}.txt"), b"")
    inner = zipped({"x.exe": X86}, None)
    for _ in range(8):
        inner = zipped({"in.zip": inner}, None)
    (tmp_path / "b.zip").write_bytes(inner)
    with (tmp_path / "c.zip").open("wb") as sparse:
        sparse.truncate(10 << 30)
    (tmp_path / "d.zip").write_bytes(b"PK\x03\x04" + bytes(100))
    done = run_cli("scan", ".", "-f", "ndjson", timeout=300)
    found = [(r["path"], r["code"]) for r in records(done.stdout)[:-1]]
    assert found == [
        (os.path.join(".", name), code)
        for name, code in [
            ("a.zip", "archive-members"),
            ("a.zip", "members"),
            ("b.zip!in.zip!in.zip!in.zip!in.zip", "archive-depth"),
            ("c.zip", "too-large"),
            ("d.zip", "damaged-archive"),
        ]
    ]
    assert done.returncode == 3
