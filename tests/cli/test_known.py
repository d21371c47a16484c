"""`--known-good` as a process: what is known is counted and not analysed."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hostile.make import sample

from maltriage import bundle as bundles
from maltriage.report.documents.schema import json_schema
from maltriage.similar.search import open_index

NAMES = ("console-x86.exe", "gui-x86.exe", "dotnet.exe")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "in"
    root.mkdir()
    for name in NAMES:
        (root / name).write_bytes(sample(name))
    (root / "b.txt").write_text("no program")
    (tmp_path / "sha1.txt").write_text(hashlib.sha1(sample(NAMES[0])).hexdigest() + "\n")
    sha256 = hashlib.sha256(sample(NAMES[1])).hexdigest()
    (tmp_path / "nsrl.csv").write_text(f'"SHA-256","FileName"\n"{sha256}","gui"\n')
    return root


LOGGED = re.compile(rb"[\d:.]{12} info  \w+: ")


def records(stdout: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stdout.splitlines()]


@pytest.mark.skipif(sys.platform == "win32", reason="paths of POSIX")
@pytest.mark.parametrize("where", ["/dev/null/nowhere", "cache"])
def test_a_list_needs_no_cache(run_cli: Any, folder: Path, tmp_path: Path, where: str) -> None:
    """Nor leaves anything in one, or beside it."""
    (tmp_path / "tmp").mkdir()
    environment = {"MALTRIAGE_CACHE": where, "TMPDIR": str(tmp_path / "tmp")}
    no_cache = ["--no-cache"] if where == "cache" else []
    asked = ("--known-good", "../sha1.txt", "-f", "ndjson", "--exit-zero", "-q")
    done = run_cli("scan", ".", *asked, *no_cache, cwd=folder, env=environment)
    assert (done.returncode, records(done.stdout)[-1]["known"]) == (0, 1), done.stderr
    assert not list((tmp_path / "tmp").iterdir())
    assert not (folder / "cache" / "known").exists()


def test_known_files_are_counted_and_not_analysed(run_cli: Any, folder: Path) -> None:
    lists = ("--known-good", "../sha1.txt", "--known-good", "../nsrl.csv")
    outputs = ("-o", "../o.ndjson", "-o", "../o.csv", "-o", "../o.html", "-o", "-")
    done = run_cli("scan", ".", *lists, *outputs, "-v", "--exit-zero", cwd=folder)
    assert done.returncode == 0
    said = [line for line in done.stderr.splitlines() if not line.startswith(b"wrote ")]
    assert all(LOGGED.match(line) for line in said)  # what -v logs
    found = records((folder.parent / "o.ndjson").read_bytes())
    for record in found:
        jsonschema.validate(record, json_schema())
    *each, summary = found
    reasons = {Path(r["path"]).name: r["reason"] for r in each if r.get("code") == "known-good"}
    assert reasons == {
        NAMES[0]: "known good: its sha1 is in ../sha1.txt",
        NAMES[1]: "known good: its sha256 is in ../nsrl.csv",
    }
    assert {k: summary[k] for k in ("files", "skipped", "failed", "known")} == {
        "files": 1,
        "skipped": 1,
        "failed": 0,
        "known": 2,
    }
    table = done.stdout.decode()
    assert "1 skipped  2 known good  " in table
    assert NAMES[0] not in table
    rows = csv.DictReader(io.StringIO((folder.parent / "o.csv").read_text()))
    assert sorted(row["status"] for row in rows) == [
        "known-good",
        "known-good",
        "result",
        "skipped",
    ]
    page = (folder.parent / "o.html").read_text("utf-8")
    assert NAMES[0] not in page
    assert '"known":2' in page
    again = run_cli("scan", "../o.ndjson", "--exit-zero", cwd=folder)
    assert (again.returncode, again.stderr) == (0, b"")  # its counts are those of the summary
    assert b"1 skipped  2 known good  " in again.stdout


def test_known_files_are_analysed_where_that_is_asked_for(run_cli: Any, folder: Path) -> None:
    arguments = ("--known-good", "../sha1.txt", "-f", "ndjson", "--hashes")
    # Without a list first: what is kept of that scan is not taken for the next.
    plain = records(run_cli("scan", ".", "-f", "ndjson", "--hashes", cwd=folder).stdout)
    *each, summary = records(run_cli("scan", ".", *arguments, "--analyse-known", cwd=folder).stdout)
    assert [record["type"] for record in each] == [record["type"] for record in plain[:-1]]
    assert (summary["files"], summary["known"]) == (3, 0)
    for record, other in zip(each, plain[:-1], strict=True):
        if record["path"].endswith(NAMES[0]):
            notice = record["notices"].pop()
            assert notice == {
                "code": "known-good",
                "text": "Known good: its sha1 is in ../sha1.txt.",
            }
        if record["type"] == "result":
            assert record["identity"] == other["identity"]
            assert record["notices"] == other["notices"]
    explained = run_cli(
        "explain", NAMES[0], "--known-good", "../sha1.txt", "--no-verify", "--exit-zero", cwd=folder
    )
    assert b"its sha1 is in ../sha1.txt" in explained.stdout


def test_a_member_of_an_archive_is_known_by_itself(run_cli: Any, folder: Path) -> None:
    path = folder.parent / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in NAMES[:2]:
            archive.writestr(name, sample(name))
    done = run_cli("scan", path, "--known-good", folder.parent / "sha1.txt", "-f", "ndjson")
    known, result, summary = records(done.stdout)
    assert (known["code"], Path(known["path"]).name.endswith(NAMES[0])) == ("known-good", True)
    assert result["path"].endswith(NAMES[1])
    assert (summary["files"], summary["known"]) == (1, 1)


def test_wrong_use(run_cli: Any, folder: Path) -> None:
    (folder / "bad.txt").write_text("# ours\nnothing\n")
    for arguments, message in (
        (("--known-good", "bad.txt"), "bad.txt, line 2: neither sha256, sha1 nor md5: 'nothing'"),
        (("--known-good", "gone.txt"), "cannot read gone.txt: No such file"),
        (("--analyse-known",), "--analyse-known goes with --known-good"),
        (("--known-good", "bad.txt", "-o", "bad.txt"), "an input, which would be overwritten"),
    ):
        done = run_cli("scan", ".", *arguments, cwd=folder)
        assert (done.returncode, done.stdout) == (2, b"")
        assert message in done.stderr.decode()


def test_a_list_that_has_malware_of_the_index_is_told_of(
    run_cli: Any, folder: Path, tmp_path: Path
) -> None:
    index = open_index(bundles.load(bundles.resolve(None)), None)
    assert index is not None
    malware = sorted(index.index.malware())[:4]
    clean = next(digest for digest in index.index.sha256 if digest not in {*index.index.malware()})
    (tmp_path / "mixed.txt").write_text("\n".join([clean, *malware]))
    (tmp_path / "clean.txt").write_text(f"{clean}\n")
    done = run_cli("scan", folder, "--known-good", "mixed.txt", "-f", "csv")
    said = "4 files of the index that are malware are known good by a list, which counts: "
    assert done.stderr.decode() == f"maltriage: {said}{', '.join(malware[:3])} and more\n"
    for more in (
        ("--known-good", "mixed.txt", "-q"),
        ("--known-good", "mixed.txt", "--index", "none"),
    ):
        assert run_cli("scan", folder, *more, "-f", "csv").stderr == b""
    assert run_cli("scan", folder, "--known-good", "clean.txt", "-f", "csv").stderr == b""
