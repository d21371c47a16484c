"""What comes out on a real terminal: nothing that a sample put there acts on it."""

from __future__ import annotations

import os
import re
import select
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hostile.corpus import NAMES, dotnet, sections
from hostile.make import CASES, sample

fcntl = pytest.importorskip("fcntl", reason="needs a POSIX system")
pty = pytest.importorskip("pty", reason="needs a POSIX system")
termios = pytest.importorskip("termios", reason="needs a POSIX system")

# What Rich writes itself: colours, moving up, clearing lines, hiding the cursor.
OURS = re.compile(rb"\x1b\[[0-9;]*m|\x1b\[[0-9]*A|\x1b\[[0-9]*K|\x1b\[\?25[lh]|\r")
HIDDEN = set("\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")


def on_terminal(arguments: list[str], columns: int = 100, timeout: float = 120.0) -> bytes:
    """What a command writes to a terminal of so many columns, stdout and stderr."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    environment.pop("COLUMNS", None)
    with subprocess.Popen(
        [sys.executable, "-m", "maltriage", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
    ) as process:
        os.close(theirs)
        found, ends = bytearray(), time.monotonic() + timeout
        try:
            while time.monotonic() < ends:
                if not select.select([ours], [], [], 0.5)[0]:
                    if process.poll() is not None:
                        break
                    continue
                piece = os.read(ours, 1 << 16)
                if not piece:
                    break
                found += piece
        except OSError:  # what Linux says at the end of a terminal
            pass
        finally:
            os.close(ours)
        process.wait(timeout=30)
        assert process.returncode in (0, 1, 3), bytes(found[-2000:])
    return bytes(found)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files whose names, and the names in them, are meant for a terminal."""
    place = tmp_path_factory.mktemp("terminal")
    for number, text in enumerate(NAMES.values()):
        name = text.replace(b"\0", b"").replace(b"/", b"")
        try:
            path = os.path.join(os.fsencode(place), b"%d%s.exe" % (number, name))
            Path(os.fsdecode(path)).write_bytes(sample("console-x86.exe") + b"%d" % number)
        except OSError:
            continue  # a file system that takes no such name
    for name, data in sections():
        if name.startswith("section-named"):
            (place / name).write_bytes(data)
    for name in ("pdb_path_escape", "section_named_escape", "section_named_markup"):
        (place / f"{name}.exe").write_bytes(CASES[name]())
    for name, data in list(dotnet())[:5]:
        (place / name).write_bytes(data)
    return place


def unsafe(out: bytes) -> list[Any]:
    """What is left of an output that neither Rich put there nor is plain text."""
    rest = OURS.sub(b"", out).decode("utf-8")  # strictly: no terminal is sent half a character
    return [
        (character, rest[max(0, at - 30) : at + 10])
        for at, character in enumerate(rest)
        if (ord(character) < 0x20 and character != "\n")
        or 0x7F <= ord(character) < 0xA0
        or character in HIDDEN
    ]


@pytest.mark.parametrize("columns", [40, 100, 300])
def test_a_scan(folder: Path, columns: int) -> None:
    out = on_terminal(["scan", str(folder), "--no-cache", "--top", "0", "-vv"], columns)
    assert b"\x1b[" in out  # it is a terminal, and Rich knows
    assert unsafe(out) == []


def test_every_explanation(folder: Path) -> None:
    names = ("pdb_path_escape.exe", "section_named_escape.exe", "section-named-bidi.exe")
    for name in names:
        assert unsafe(on_terminal(["explain", str(folder / name), "--no-verify"])) == []


@pytest.mark.parametrize("form", ["ndjson", "json", "csv"])
def test_records_on_a_terminal(folder: Path, form: str) -> None:
    """They are escaped as JSON and CSV have it, so that a look at them does nothing either."""
    assert unsafe(on_terminal(["scan", str(folder), "--no-cache", "-f", form])) == []


def test_an_error_that_names_a_file(folder: Path) -> None:
    """A name that there is not, with an escape in it."""
    out = on_terminal(["scan", str(folder / "\x1b]52;c;aGk=\x07gone.exe"), "--no-cache"])
    assert unsafe(out) == []
    assert b"gone.exe" in out


def test_the_test_sees_what_is_unsafe() -> None:
    assert unsafe(b"\x1b[31mred\x1b[0m\r\nplain\n") == []
    for text in (
        b"\x1b]52;c;aGk=\x07",
        b"\x1b[2J",
        "\u202eexe".encode(),
        "\x9b31m".encode(),
        b"\t",
    ):
        assert unsafe(b"a" + text + b"b")
