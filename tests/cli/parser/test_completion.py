"""Completion in real shells, installed by `maltriage --install-completion` in each of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from maltriage.cli.app import COMMANDS

PROGRAM = Path(sys.executable).with_name("maltriage")
SHELLS = ("bash", "zsh", "fish")

pytestmark = pytest.mark.skipif(not PROGRAM.exists(), reason="the program is not installed")


def shell(name: str, home: Path, script: str, *options: str) -> str:
    """What a shell prints, of a user whose home is that folder."""
    if shutil.which(name) is None:
        pytest.skip(f"no {name}")
    variables = {
        **{key: value for key, value in os.environ.items() if not key.startswith("XDG_")},
        "HOME": str(home),
        "PATH": f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}",
        "TERM": "dumb",
    }
    done = subprocess.run(
        [name, *options, "-c", script],
        env=variables,
        cwd=home,
        input=b"",
        capture_output=True,
        check=False,
        timeout=60,
    )
    return done.stdout.decode()


@pytest.fixture(params=SHELLS)
def installed(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """A shell, and a home where completion is installed in it."""
    name: str = request.param
    # Not as the last command, which a shell would run in its own place.
    said = shell(name, tmp_path, "maltriage --install-completion; echo done")
    assert f"{name} completion installed in {tmp_path}" in said
    (tmp_path / "paths-here").mkdir()
    return name, tmp_path


def completions(name: str, home: Path, line: str) -> list[str]:
    """What a new shell offers for a command line that ends at the cursor."""
    if name == "fish":
        offered = shell(name, home, f"complete --do-complete '{line}'")
    elif name == "bash":
        script = f"""
            source ~/.bashrc
            complete -p maltriage > registered || exit
            COMP_WORDS=({line}); [[ '{line}' == *' ' ]] && COMP_WORDS+=('')
            COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}
            _maltriage_completion maltriage; printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        offered = shell(name, home, script)
        assert "_maltriage_completion maltriage" in (home / "registered").read_text()
    else:
        # What is given to zsh's own functions is printed.
        script = f"""
            print -r -- ${{_comps[maltriage]}} > registered
            _arguments() {{ print -rl -- "$@" }}
            _files() {{ print -rl -- *(N) }}
            words=({line}); [[ '{line}' == *' ' ]] && words+=('')
            CURRENT=${{#words}}
            first=$(${{_comps[maltriage]}})  # loaded by the first TAB, and completes at once
            ${{_comps[maltriage]}} > loaded
            [[ ${{_comps[maltriage]}} == _maltriage_completion ]] || exit
            second=$(_maltriage_completion)
            [[ $first == $second && -n $first ]] && print -r -- $first
        """
        offered = shell(name, home, script, "-i")
        assert (home / "registered").read_text() == "_maltriage\n"
    return offered.splitlines()


def test_commands_options_values_and_paths(installed: tuple[str, Path]) -> None:
    name, home = installed
    commands = "\n".join(completions(name, home, "maltriage sc"))
    assert "scan" in commands
    assert "schema" in commands
    assert "doctor" not in commands
    options = completions(name, home, "maltriage scan --for")
    assert any("--format" in line for line in options)
    values = "\n".join(completions(name, home, "maltriage scan --format "))
    for value in ("csv", "ndjson", "html"):
        assert value in values
    assert any("add" in line for line in completions(name, home, "maltriage models a"))
    if name != "bash":  # which completes paths itself (`-o default`) where nothing is offered
        assert any("paths-here" in line for line in completions(name, home, "maltriage scan paths"))


@pytest.mark.parametrize("option", ["--show-completion", "--install-completion"])
def test_the_name_of_another_shell_is_refused(option: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [PROGRAM, option, "zsh"],
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"takes no name; _MALTRIAGE_COMPLETE=source_zsh maltriage prints" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_script_of_another_shell_is_printed() -> None:
    """As a package takes it, and with what has zsh offer something at the first TAB."""
    for name, part in (("zsh", b"funcstack"), ("bash", b"complete -o"), ("fish", b"complete --c")):
        done = subprocess.run(
            [PROGRAM],
            env={**os.environ, "_MALTRIAGE_COMPLETE": f"source_{name}"},
            capture_output=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert part in done.stdout


def test_it_reads_no_more_than_the_command_in_question() -> None:
    """Completing takes about as long as Python and Typer take to start."""
    code = (
        "import sys; from maltriage.cli.app import run; sys.argv = ['maltriage']; run();"
        " print(sorted(m for m in sys.modules if m.startswith('maltriage.cli.commands.')));"
        " print('numpy' in sys.modules)"
    )
    for line, commands in (
        ("maltriage scan --for", ["scan"]),
        ("maltriage sc", [name for name in COMMANDS if name != "main"]),
    ):
        variables = {
            "_MALTRIAGE_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(line.count(" ")),
        }
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **variables},
            capture_output=True,
            check=False,
        )
        *offered, modules, numpy = done.stdout.decode().splitlines()
        assert offered
        assert modules == str(sorted(f"maltriage.cli.commands.{name}" for name in commands))
        assert numpy == "False"
