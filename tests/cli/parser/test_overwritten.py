"""No output takes the place of a file that another option names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_origin

import pytest
from typer.main import get_command

from maltriage.bundle import resolve
from maltriage.cli.app import application
from maltriage.cli.parser.overwritten import WORDS, refuse_inputs
from maltriage.errors import MaltriageError


@pytest.mark.parametrize(
    "command",
    [
        "scan . --model {own} -f html -o {own}",
        "scan . --index {own} -f csv -o {own}",
        "scan --files-from {own} -f csv -o new.csv -o {own}",
        "scan . --password-file {own} -f csv -o {own}",
        "scan . --known-good {own} -f csv -o ./{own}",
        "--config {own} scan . -f csv -o {own}",
        "explain a.exe --prevalence {own} -o {own}",
        "explain a.exe --signatures {own} -f json -o {own}",
        "explain a.exe --known-good {own} --svg {own}",
        "explain a.exe --model {own} --yara {own}",
        "explain a.exe --password-file {own} --png {own}",
        "evaluate --predictions {own} -o {own}",
        "evaluate --predictions x.csv --against {own} --png {own}",
        "calibrate {own} --goodware . -o {own}",
        "datasets check . --predictions {own} -o {own}",
        "index info {own} -o {own}",
        "index info x.npz --model {own} -o {own}",
        "prevalence build . --extend {own} -o {own}",
        "export {own} -o {own}",
        "doctor --model {own} -o {own}",
    ],
)
def test_every_file_that_is_named_is_kept(run_cli: Any, folder: Path, command: str) -> None:
    (folder / "own.txt").write_text("")
    done = run_cli(*command.format(own="own.txt").split(), cwd=folder)
    assert done.returncode == 2
    assert done.stderr == b"maltriage: own.txt: an input, which would be overwritten\n"
    assert (folder / "own.txt").read_text() == ""


def commands(group: Any) -> Iterator[Any]:
    for each in group.commands.values():
        yield from commands(each) if hasattr(each, "commands") else (each,)


def test_options_of_a_few_words_are_known() -> None:
    found = {
        parameter.name
        for command in commands(get_command(application()))
        for parameter in command.params
        if (kind := getattr(parameter, "type_descriptor", None))
        and get_origin(kind.annotation) is Literal
    }
    if not found:
        pytest.skip("this Typer has the types of its parameters elsewhere")
    assert found <= WORDS


def test_a_word_of_a_choice_is_no_file(run_cli: Any, folder: Path) -> None:
    """Also where a file has that name, as after the same command."""
    for name in ("scan", "scan", "json", "json"):
        done = run_cli("config", "show", "scan", "-f", "json", "-o", name, cwd=folder)
        assert (done.returncode, done.stderr) == (0, b"")
    (folder / "auto").write_text("")
    assert run_cli("config", "show", "-o", "auto", cwd=folder).returncode == 0


def test_links_names_and_words(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.csv").write_text("a")
    os.link("own.csv", "other.csv")
    refuse_inputs({"output": Path("own.csv"), "exclude": ["own.csv"], "paths": ["."]})
    refuse_inputs({"output": [Path("-"), Path("new.csv")], "paths": ["new.csv", "-"]})
    with pytest.raises(MaltriageError, match="an input"):
        refuse_inputs({"output": Path("own.csv"), "predictions": Path("other.csv")})
    shipped = resolve("maltriage-evidence-int8")
    with pytest.raises(MaltriageError, match="an input"):
        refuse_inputs({"output": shipped, "models": ["maltriage-evidence-int8"]})


@pytest.mark.parametrize("name", ["out.ndjson.part", "out.ndjson.3.part"])
def test_a_part_of_an_output_is_no_input(tmp_path: Path, monkeypatch: Any, name: str) -> None:
    """It would be removed once the output is whole."""
    monkeypatch.chdir(tmp_path)
    Path(name).write_text("{}")
    with pytest.raises(MaltriageError, match=r"part: an input, by its name a part of out"):
        refuse_inputs({"output": [Path("out.ndjson")], "paths": [name]})
    refuse_inputs({"output": [Path("other.ndjson")], "paths": [name, "out.ndjson.x.part"]})


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("explain a.exe -o a.json -o b.json", "--output"),
        ("explain a.exe --png a.png --png b.png", "--png"),
        ("scan . --files-from a --files-from b", "--files-from"),
    ],
)
def test_no_output_and_no_list_is_dropped(
    run_cli: Any, folder: Path, command: str, named: str
) -> None:
    done = run_cli(*command.split(), cwd=folder)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == f"maltriage: {named}: given twice, and it takes one file\n".encode()
