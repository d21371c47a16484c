"""The manual pages: one a command, with all that its help says, and clean roff."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from maltriage.cli.app import application
from maltriage.cli.parser.defaults import each_command

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / ".ci"))
import man

COMMANDS = list(each_command(typer.main.get_command(application())))


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return man.write(tmp_path_factory.mktemp("man"))


def shown(path: Path) -> str:
    """The text of a page, without roff."""
    text = path.read_text(encoding="utf-8").replace("\\-", "-").replace("\\(ga", "`")
    text = text.replace("\\(ti", "~").replace("\\(dq", '"').replace("\\(ha", "^")
    text = text.replace("\\e", "\\").replace("\\&", "")
    return " ".join(re.sub(r"\\f[BR]", "", text).split())


def test_each_command_has_one(pages: list[Path]) -> None:
    names = {f"maltriage-{'-'.join(names)}.1" for names, _ in COMMANDS}
    found = {path.name for path in pages}
    assert names <= found
    groups = {f"maltriage-{names[0]}.1" for names, _ in COMMANDS if len(names) > 1}
    assert found - names == groups | {"maltriage.1"}


def test_a_page_has_what_the_help_says(pages: list[Path]) -> None:
    by_name = {path.stem: shown(path) for path in pages}
    for names, command in COMMANDS:
        text = by_name["-".join(("maltriage", *names))]
        context = typer.Context(command, help_option_names=["-h", "--help"])
        for parameter in command.get_params(context):
            for part in parameter.get_help_record(context) or ():
                assert " ".join(part.split()) in text, (names, part)
        for paragraph in re.split(r"\n\s*\n", command.help or ""):
            assert " ".join(paragraph.split()).rstrip(".") in text, names


def test_they_are_clean_roff(pages: list[Path]) -> None:
    if shutil.which("man") is None or shutil.which("groff") is None:
        pytest.skip("no man with groff")
    done = subprocess.run(
        ["man", "--warnings=all", "-E", "UTF-8", "-Tutf8", "-Z", "-l", *map(str, pages)],
        env={**os.environ, "LC_ALL": "C.UTF-8"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr.decode()) == (0, "")
    assert done.stdout


def test_mandoc_takes_them(pages: list[Path]) -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("no mandoc")
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", *map(str, pages)],
        capture_output=True,
        check=False,
    )
    said = [line for line in done.stdout.decode().splitlines() if "missing date" not in line]
    assert said == []


def test_the_same_sources_give_the_same_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    assert man.pages() == man.pages()
    assert '"" "maltriage 0.' in man.pages()["maltriage-scan.1"]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert '"1970-01-02" "maltriage 0.' in man.pages()["maltriage-scan.1"]


def test_pages_of_commands_that_are_gone_are_removed(tmp_path: Path) -> None:
    (tmp_path / "maltriage-gone.1").write_text("old")
    (tmp_path / "other.1").write_text("mine")
    found = {path.name for path in man.write(tmp_path)}
    assert {path.name for path in tmp_path.iterdir()} == found | {"other.1"}


def test_text_is_no_roff() -> None:
    assert man._lines(".SH x") == ["\\&.SH x"]
    assert man._text(r"a\b --c") == r"a\eb \-\-c"
