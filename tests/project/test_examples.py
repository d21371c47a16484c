"""The examples of the documents run as they stand, and show what the program prints.

A block of the language `console` is run; CONTRIBUTING.md has the convention. All blocks of a page
run in one folder, which has nothing but `samples/` in it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^(<!-- not run: .+ -->\n)?```(\w*)[^\n]*\n(.*?)^```$", re.M | re.S)
EXIT_CODE = re.compile(r"\s+# exit code (\d+)$")
NUMBER = re.compile(r"\d[\d.,]*")
BAR = re.compile(r"[█▏▎▍▌▋▊▉▐]+")
SHELL = re.compile(r"[|&;<>$`*?(){}#\\\n]")
REMARK = re.compile(r"\s+# [^'\"\n]*$")
NEEDS = re.compile(r"^<!-- needs: (.+) -->$", re.M)
"""Python packages that the examples of a page take; without them the page is skipped."""


@dataclass(frozen=True)
class Example:
    command: str
    exit_code: int
    shown: tuple[str, ...]
    """The output in the page; empty: nothing is said of it."""


def examples(text: str) -> list[Example]:
    """The commands of the blocks that are run, in their order."""
    return [
        example
        for not_run, language, body in BLOCK.findall(text)
        if language == "console" and not not_run
        for example in _commands(body.splitlines())
    ]


def _commands(lines: Sequence[str]) -> list[Example]:
    found = list[tuple[list[str], list[str]]]()
    for line in lines:
        if line.startswith("$ "):
            found.append(([line[2:]], []))
        elif line.startswith("> ") or line == ">":
            found[-1][0].append(line[2:])
        else:
            found[-1][1].append(line)
    made = []
    for command, shown in found:
        text = "\n".join(command)
        code = EXIT_CODE.search(text)
        text = REMARK.sub("", EXIT_CODE.sub("", text))
        made.append(Example(text, int(code[1]) if code else 0, tuple(shown)))
    return made


def form(line: str) -> str:
    """A line without what differs between machines: values of numbers, lengths of bars, gaps."""
    return " ".join(NUMBER.sub("0", BAR.sub("", line)).split())


def agrees(shown: Sequence[str], printed: Sequence[str]) -> bool:
    """Whether output has the form that a page shows; a line `...` stands for any lines."""
    parts = [[]]
    for line in map(form, shown):
        if line == "...":
            parts.append([])
        else:
            parts[-1].append(line)
    lines = [form(line) for line in printed]
    while lines and not lines[-1]:
        lines.pop()
    first, *rest = parts
    if lines[: len(first)] != first or (not rest and len(lines) != len(first)):
        return False
    at = len(first)
    for number, part in enumerate(rest, 1):
        starts = range(at, len(lines) - len(part) + 1)
        if number == len(rest):
            starts = starts[-1:]
        found = next((i for i in starts if lines[i : i + len(part)] == part), None)
        if found is None:
            return False
        at = found + len(part)
    return True


def pages() -> list[Any]:
    """Pages that have examples; those that say that they are slow have the mark."""
    found = []
    for path in sorted(DOCS.rglob("*.md")):
        text = path.read_text("utf-8")
        if examples(text):
            marks = [pytest.mark.slow] if "<!-- slow: " in text else []
            found.append(pytest.param(path, marks=marks, id=str(path.relative_to(DOCS))))
    return found


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("page", pages())
def test_examples_run_and_print_what_is_shown(run_cli: Any, page: Path, tmp_path: Path) -> None:
    text = page.read_text("utf-8")
    if any("maltriage train" in example.command for example in examples(text)):
        pytest.importorskip("torch", reason="needs the extra `train`")
    for names in NEEDS.findall(text):
        for name in names.split(", "):
            pytest.importorskip(name, reason=f"{page.name} needs {name}")
    folder, programs = tmp_path / "folder", tmp_path / "bin"
    shutil.copytree(ROOT / "samples", folder / "samples")
    programs.mkdir()
    (programs / "maltriage").write_text(f'#!/bin/sh\nexec {sys.executable} -m maltriage "$@"\n')
    (programs / "maltriage").chmod(0o755)
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    shell = {**os.environ, "COLUMNS": "100", "PATH": path, "PYTHONPATH": str(ROOT)}
    for example in examples(text):
        if example.command.startswith("maltriage ") and is_plain(example.command):
            words = shlex.split(example.command)[1:]
            done = run_cli(*words, cwd=folder, env={"COLUMNS": "100"})
        else:
            done = subprocess.run(
                ["bash", "-c", example.command],
                cwd=folder,
                env=shell,
                capture_output=True,
                timeout=300,
                check=False,
            )
        printed = done.stdout.decode() + done.stderr.decode()
        if done.returncode != example.exit_code:
            pytest.fail(f"exit code {done.returncode}\n$ {example.command}\n{printed}", False)
        if example.shown and not agrees(example.shown, printed.splitlines()):
            pytest.fail(f"another output\n$ {example.command}\n{printed}", False)


def is_plain(command: str) -> bool:
    """Whether a command line means the same without a shell."""
    return not SHELL.search(re.sub(r"'[^'\n]*'", "", command))


@pytest.mark.parametrize(
    "page",
    sorted((*DOCS.glob("first-steps/*.md"), *DOCS.glob("how-to/*.md"))),
    ids=lambda page: str(page.relative_to(DOCS)),
)
def test_what_looks_like_an_example_is_one(page: Path) -> None:
    """A block with a prompt is run, says why it is not, or belongs to a transcript."""
    text = page.read_text("utf-8")
    if "benchmarks.speed.first_quarter" in text:
        return
    stray = [
        body
        for _, language, body in BLOCK.findall(text)
        if language != "console" and re.search(r"^\$ maltriage ", body, re.M)
    ]
    assert stray == [], "name its language `console`"


def test_how_examples_are_read() -> None:
    text = (
        "<!-- not run: needs a network -->\n```console\n$ false\n```\n"
        "```console\n$ cat <<'END' # exit code 3\n> a\n>\n> END\na 1.5%\n...\n$ true\n```\n"
        "```sh\nrm -r none\n```\n"
    )
    shown = ("a 1.5%", "...")
    assert examples(text) == [
        Example("cat <<'END' # exit code 3\na\n\nEND", 0, shown),
        Example("true", 0, ()),
    ]
    assert examples("```console\n$ a | b  # exit code 3\n```\n") == [Example("a | b", 3, ())]
    assert examples("```console\n$ a 'b # c'  # what it does, and why\n```\n") == [
        Example("a 'b # c'", 0, ())
    ]
    assert NEEDS.findall("a\n<!-- needs: b, c -->\nd") == ["b, c"]
    assert is_plain("maltriage scan --include '*.exe'")
    assert not is_plain("maltriage scan *.exe")


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        (["a  12.5% ██"], ["a 7% █", ""], True),
        (["a 1"], ["b 1"], False),
        (["a"], ["a", "b"], False),
        (["a", "..."], ["a", "b"], True),
        (["...", "b"], ["a", "b"], True),
        (["...", "b"], ["b", "a"], False),
        (["a", "...", "c", "...", "e"], ["a", "b", "c", "d", "e"], True),
        (["a", "...", "c", "...", "e"], ["a", "c", "b", "e", "c"], False),
        (["..."], [], True),
    ],
)
def test_output_is_compared_by_its_form(shown: list[str], printed: list[str], same: bool) -> None:
    assert agrees(shown, printed) is same
