from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.text import Text

from maltriage.cli import console
from maltriage.cli.console import PIPED_WIDTH, Color, make_console, quiet_broken_pipe


class _Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def shown(color: Color, stream: io.StringIO) -> str:
    make_console(color, file=stream).print(Text("word", style="bold red"))
    return stream.getvalue()


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def test_auto_colours_a_terminal_and_nothing_else() -> None:
    assert shown("auto", _Terminal()) == "\x1b[1;31mword\x1b[0m\n"
    assert shown("auto", io.StringIO()) == "word\n"


def test_no_color_takes_colours_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "31" not in shown("auto", _Terminal())


def test_a_word_on_the_command_line_goes_over_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert shown("always", io.StringIO()) == "\x1b[1;31mword\x1b[0m\n"
    monkeypatch.setenv("TERM", "dumb")
    assert shown("always", io.StringIO()) == "\x1b[1;31mword\x1b[0m\n"
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert shown("never", _Terminal()) == "word\n"


def test_width(monkeypatch: pytest.MonkeyPatch) -> None:
    assert make_console(file=io.StringIO()).width == PIPED_WIDTH
    assert make_console(file=io.StringIO(), color="always").width == PIPED_WIDTH
    assert make_console(file=io.StringIO(), width=99).width == 99
    monkeypatch.setenv("COLUMNS", "77")
    assert make_console(file=io.StringIO()).width == 77
    old_console = os.name == "nt"  # which has no room for the cursor behind the last column
    assert make_console(file=_Terminal()).width == 77 - old_console


def test_markup_highlights_and_emoji_codes_are_off() -> None:
    console = make_console("always", file=(stream := io.StringIO()))
    console.print("[red]1[/red] :smile: 0x1f 'quoted'")
    assert stream.getvalue() == "[red]1[/red] :smile: 0x1f 'quoted'\n"


def test_a_file_is_no_old_console_of_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """For which Rich has a way of its own, that passes by what sanitizes the text."""
    monkeypatch.setattr("rich.console.detect_legacy_windows", lambda: True)
    assert not make_console(file=io.StringIO()).legacy_windows


def test_the_streams_of_the_process() -> None:
    assert make_console().file is sys.stdout
    assert make_console(stderr=True).file is sys.stderr


def test_characters_that_the_encoding_lacks_are_escaped() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="cp1252", newline="\n")
    make_console(file=stream).print(Text("é 下"))
    stream.flush()
    assert raw.getvalue() == b"\xe9 \\u4e0b\n"


CHILD = """
import sys
from pathlib import Path
from rich.text import Text
from maltriage.cli.console import make_console, quiet_broken_pipe
with quiet_broken_pipe() as pipe:
    console = make_console()
    while True:
        {write}
sys.exit(7 if pipe.broken else 1)
"""


@pytest.mark.parametrize(
    "write", ["console.print(Text('line'))", "sys.stdout.buffer.write(b'line\\n')"]
)
def test_a_reader_that_goes_away_is_no_error(write: str) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD.format(write=write)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stdout.readline().rstrip() == b"line"
    child.stdout.close()
    assert child.stderr is not None
    assert child.stderr.read() == b""
    child.stderr.close()
    assert child.wait(60) == 7


def test_other_errors_pass() -> None:
    with pytest.raises(FileNotFoundError), quiet_broken_pipe():
        raise FileNotFoundError("gone")
    with quiet_broken_pipe() as pipe:
        pass
    assert not pipe.broken


class _OfWindowsError(OSError):
    winerror = 234  # elsewhere no error has one


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EINVAL, "no", "a file"),
        _OfWindowsError(errno.EINVAL, "no"),
        OSError(errno.EIO, ""),
    ],
)
def test_errors_that_windows_gives_one_number_pass(
    error: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such an error ended the command with 0, and nothing was said."""
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(OSError), quiet_broken_pipe():  # noqa: PT011 - this very one
        raise error


def test_a_reader_that_goes_away_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(console, "_discard_stdout", lambda: None)
    with quiet_broken_pipe() as pipe:
        raise OSError(errno.EINVAL, "Invalid argument")
    assert pipe.broken


@pytest.mark.parametrize("name", ["csv", "ndjson", "json"])
def test_lines_for_machines_end_in_one_byte_on_all_systems(name: str, samples_dir: Path) -> None:
    """`run_cli` would not show another end on Windows."""
    command = [sys.executable, "-m", "maltriage", "scan", samples_dir / "dotnet.exe", "-f", name]
    done = subprocess.run(command, capture_output=True, timeout=120, check=True)
    assert done.stdout.endswith(b"\n")
    assert b"\r" not in done.stdout
