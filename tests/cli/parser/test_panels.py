"""The groups of options in the help of `scan` and `explain`."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
import typer

from maltriage.cli.app import application
from maltriage.cli.parser.panels import PANELS

COMMANDS = typer.main.get_command(application()).commands  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", PANELS)
def test_each_option_is_in_one_group(name: str) -> None:
    command = COMMANDS[name]
    context = typer.Context(command)
    options = [p.name for p in command.get_params(context) if p.param_type_name == "option"]
    placed = Counter(name for names in PANELS[name].values() for name in names)
    assert set(options) == set(placed), "maltriage/cli/parser/panels.py"
    assert set(placed.values()) == {1}
    assert len(PANELS[name]["Options"]) == 10


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("scan", ("--threshold=2",)),
        ("explain", ("--threshold", "2")),
        ("group", ("--fpr", "0.01")),
    ],
)
def test_whoever_asks_for_a_threshold_is_sent_to_calibrate(
    run_cli: Any, command: str, arguments: tuple[str, ...]
) -> None:
    done = run_cli(command, "samples", *arguments)
    option = arguments[0].split("=")[0]
    assert done.returncode == 2
    assert done.stderr.decode().endswith(
        f"No such option: {option}: --fpr of scan chooses a rate, and maltriage calibrate sets the"
        " threshold\n"
    )
    assert (
        run_cli("calibrate", "x", "--threshold", "2", "-o", "y").stderr.count(b"calibrate sets")
        == 0
    )


@pytest.mark.parametrize("columns", ["80", "200"])
@pytest.mark.parametrize("name", PANELS)
def test_the_help_is_plain_text(run_cli, name: str, columns: str) -> None:  # type: ignore[no-untyped-def]
    """Piped and on a terminal alike; no line is longer than a narrow one."""
    done = run_cli(name, "--help", env={"COLUMNS": columns, "FORCE_COLOR": "1"})
    text = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b"")
    assert text.isascii()
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80
    titles = re.findall(r"^(\w[\w ]*):$", text, re.M)
    assert titles == ["Arguments", *PANELS[name]]
    first = text[text.index("\nOptions:") :].split("\n\n")[0]
    assert "--output" in first
    assert first.rstrip().endswith("Show this message and exit.")
