"""What was named on the command line, and has no answer."""

from __future__ import annotations

import ntpath
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from corpus.synthetic import zipped
from hostile.make import sample
from paths import links
from report.factories import make_result

from maltriage.cli import asked as asked_module
from maltriage.cli.asked import Asked
from maltriage.report.documents.record import Failed, Skipped, path_fields
from maltriage.sample.types import KNOWN_GOOD


def left(named: list[str], *records: Any) -> dict[str, str]:
    asked = Asked(named)
    for record in records:
        asked.see(record)
    return dict(asked.unanswered())


def test_a_verdict_an_error_and_a_known_file_are_answers() -> None:
    for answer in (
        make_result("a/b/x.exe"),
        Failed("a/b/x.exe", "io", "refused"),
        Skipped("a/b/x.exe", KNOWN_GOOD, "in a list"),
    ):
        assert left(["a", "a/b", "a/b/x.exe", "."], answer) == {}
    assert left(["a"], make_result("ab/x.exe")) == {"a": "there is no file in it"}


def test_skips_are_counted_by_reason() -> None:
    skips = [Skipped(f"a/{n}", "not-pe", "no") for n in range(2)]
    skips.append(Skipped("a/big.iso", "too-large", "no"))
    assert left(["a"], *skips) == {"a": "skipped: 2 not PE, 1 too large"}


def test_one_answer_is_enough_for_a_list() -> None:
    listed = ["a/x.exe", "a/notes.txt", "a/b"]
    skips = [Skipped("a/notes.txt", "not-pe", "no"), Skipped("a/b/c.txt", "not-pe", "no")]
    for records in ([*skips, make_result("a/x.exe")], [make_result("a/b/y.exe"), *skips]):
        asked = Asked(["a/notes.txt"], listed, "--files-from l")
        for record in records:
            asked.see(record)
        # What is named by hand as well wants an answer of its own.
        assert dict(asked.unanswered()) == {"a/notes.txt": "skipped: 1 not PE"}
    asked = Asked([], listed, "--files-from l")
    for record in skips:
        asked.see(record)
    assert dict(asked.unanswered()) == {"--files-from l": "skipped: 2 not PE"}


def test_nothing_is_kept_of_a_list_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(path: str) -> str:
        raise AssertionError(f"{path} was looked at")

    monkeypatch.setattr(asked_module.os.path, "realpath", slow)
    asked = Asked([], (f"a/{n}" for n in range(3)), "--files-from l")
    asked.see(Skipped("a/0/b", "not-pe", "no"))
    assert dict(asked.unanswered()) == {"--files-from l": "skipped: 1 not PE"}
    asked.see(make_result("a/1"))
    assert dict(asked.unanswered()) == {}


def test_members_and_urls_answer_for_what_they_are_in() -> None:
    assert left(["a.zip"], make_result("a.zip!b/x.exe")) == {}
    assert left(["s3://bucket/in/"], make_result("s3://bucket/in/x.exe")) == {}
    inner = make_result("a.zip!b.7z!x.exe")
    assert left(["a.zip", "."], inner) == {}


@pytest.mark.parametrize(
    ("named", "found"),
    [
        ("C:\\zoo", "C:\\zoo\\a\\x.exe"),
        ("C:\\zoo\\", "C:\\zoo\\x.exe"),
        ("C:\\", "C:\\x.exe"),
        ("C:/zoo", "C:/zoo\\x.exe"),
        ("\\\\?\\C:\\zoo", "\\\\?\\C:\\zoo\\x.exe"),
        ("\\\\host\\share", "\\\\host\\share\\a\\x.exe"),
        ("C:\\a.zip", "C:\\a.zip!b/x.exe"),
        ("s3://bucket/in/", "s3://bucket/in/x.exe"),
    ],
)
def test_paths_of_windows(named: str, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked_module, "os", SimpleNamespace(path=ntpath))
    other = "D:\\other"
    assert left([named, other], make_result(found)) == {other: "there is no file in it"}


def test_the_root_of_all_files_is_answered_by_each_of_them() -> None:
    assert left(["/"], make_result("/a/b/x.exe")) == {}
    assert left(["/"], make_result("s3://bucket/x.exe")) == {"/": "there is no file in it"}


@links
def test_a_link_and_its_target_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    record = make_result(str(tmp_path / "real" / "x.exe"))
    assert left([str(tmp_path / "link")], record) == {}


@links
def test_links_are_followed_where_it_is_asked_for(run_cli: Any, tmp_path: Path) -> None:
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    (tmp_path / "out" / "x.exe").write_bytes(sample("console-x86.exe"))
    (tmp_path / "in" / "out").symlink_to(tmp_path / "out")
    (tmp_path / "in" / "x.exe").symlink_to("../out/x.exe")
    (tmp_path / "in" / "gone").symlink_to("gone.exe")
    plain = run_cli("scan", "in", "-f", "csv", "--fields", "path,status", cwd=tmp_path)
    assert plain.stdout.decode().count(",skipped") == 3
    assert (plain.returncode, b"nothing was triaged" in plain.stderr) == (3, True)
    done = run_cli(
        "scan",
        "in",
        "--follow",
        "-f",
        "csv",
        "--fields",
        "path,status",
        "--exit-zero",
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    lines = ["path,status", "in/gone,skipped", "in/out/x.exe,result", "in/x.exe,result"]
    assert done.stdout.decode().splitlines() == lines


def test_the_command_says_it_and_ends_with_3(run_cli: Any, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.exe").write_bytes(sample("console-x86.exe"))
    (tmp_path / "in" / "notes").write_bytes(b"words")
    (tmp_path / "read.me").write_bytes(b"no program")
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.zip").write_bytes(zipped({"x.exe": sample("gui-x86.exe")}))
    whole = run_cli("scan", "in", "a.zip", "--exit-zero", cwd=tmp_path)
    assert (whole.returncode, whole.stderr) == (0, b"")
    done = run_cli("scan", "in", "read.me", "empty", "-f", "csv", cwd=tmp_path)
    assert done.returncode == 3
    assert done.stderr.decode().splitlines() == [
        "maltriage: read.me: nothing was triaged: skipped: 1 not PE",
        "maltriage: empty: nothing was triaged: there is no file in it",
    ]
    why = b"maltriage: empty: nothing was triaged: there is no file in it\n"
    assert run_cli("scan", "empty", "-q", cwd=tmp_path).stderr == why  # it is no notice


def test_a_folder_in_place_of_a_command(run_cli: Any, tmp_path: Path) -> None:
    (tmp_path / "my files").mkdir()
    done = run_cli("my files", "--top", "3", cwd=tmp_path)
    assert done.returncode == 2
    quoted = b'"my files"' if os.name == "nt" else b"'my files'"
    said = b"maltriage: my files is no command: maltriage scan " + quoted + b" --top 3\n"
    assert done.stderr == said
    assert run_cli("-h").stdout == run_cli("--help").stdout
    assert run_cli("scan", "-h").stdout == run_cli("scan", "--help").stdout


def test_a_list_with_what_is_no_program_ends_well(run_cli: Any, folder: Path) -> None:
    names = b"".join(bytes(path) + b"\0" for path in sorted(folder.iterdir()))
    done = run_cli("scan", "--files-from", "-", "-0", "-q", stdin=names)
    assert (done.returncode, done.stderr) == (0, b"")
    text = bytes(folder / "b.txt") + b"\0"
    done = run_cli("scan", "--files-from", "-", "-0", "-q", "-o", "x.csv", stdin=text)
    assert done.returncode == 3
    why = "maltriage: --files-from -: nothing was triaged: skipped: 1 not PE\n"
    assert done.stderr.decode() == why  # why the code is 3 is no notice, which -q leaves out


def test_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    """A record has it with escapes, and its bytes beside it."""
    path = str(tmp_path / "odd\udcff.exe")
    shown, raw = path_fields(path)
    assert left([path], msgspec.structs.replace(make_result(shown), path_b64=raw)) == {}
