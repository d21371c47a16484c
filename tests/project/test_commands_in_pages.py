"""Each `maltriage ...` in a page names a command and options that the command line has.

Examples of the language `console` are run by `test_examples.py`. This reads all blocks, also those
that need a network, a training or data: nobody would see there that an option is gone.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from maltriage.cli import app as front

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
BLOCK = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.M | re.S)
READ = frozenset(("", "sh", "bash", "console"))
"""Languages whose blocks are commands; other blocks are SQL, YAML and the like."""
COMMAND = re.compile(r"(?:^|[\s(;&|])maltriage(?= [a-z-])")
ENDS = frozenset(("|", "||", ">", ">>", ";", "&", "&&", ")", "<", "2>"))
PLACEHOLDER = re.compile(r"^(?:\.\.\.|\$.*)$")
"""What stands for other words in a page, such as `...` and `$ROOTS`."""


@cache
def commands() -> Any:
    """The command line as click knows it."""
    return typer.main.get_command(front.application())


def lines(text: str) -> Iterator[tuple[int, str]]:
    """Command lines of `maltriage` in a page, each with the number of its first line in the page.

    A line that ends in a backslash goes on with the next one. A command begins its line, behind a
    prompt or words of the shell: prose and output of programs are passed over.
    """
    for block in BLOCK.finditer(text):
        if block[2] not in READ:
            continue
        first = text.count("\n", 0, block.start(3)) + 1
        held, number = "", 0
        for at, line in enumerate(block[3].splitlines(), first):
            if block[2] == "console" and not held and not line.startswith("$ "):
                continue
            words = line.strip().removeprefix("> " if held else "$ ").strip()
            number = number if held else at
            held = f"{held} {words}".strip()
            if held.endswith("\\"):
                held = held[:-1].rstrip()
                continue
            yield from ((number, rest) for rest in _of_maltriage(held))
            held = ""


def _of_maltriage(line: str) -> Iterator[str]:
    for begin in COMMAND.finditer(line):
        before = line[: begin.end() - len("maltriage")].strip()
        if "#" in before.split() or (before and not _goes_before(before)):
            continue
        yield line[begin.end() :].strip()


def _goes_before(before: str) -> bool:
    """Whether a command may stand behind these words: variables, `time`, another command's end."""
    if before[-1] in ";&|(" or before.endswith("$("):
        return True
    words = re.split(r"[;&|(]", before)[-1].split()
    return all(re.match(r"\w+=", word) or word in ("time", "then", "do", "exec") for word in words)


def wrong(line: str) -> str | None:
    """What the command line does not know of the words behind `maltriage`; None: it knows all."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;()<>")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    words = []
    try:
        for word in lexer:  # no further than the end: what follows may be half of a Python program
            if word in ENDS:
                break
            words.append(word)
    except ValueError as error:
        return f"{line}: {error}"
    return _unknown(commands(), "maltriage", words)


def _unknown(command: Any, name: str, words: list[str]) -> str | None:
    options = {
        text: option
        for option in command.params
        if option.param_type_name == "option"
        for text in (*option.opts, *option.secondary_opts)
    }
    options |= dict.fromkeys(("-h", "--help"))
    subcommands = getattr(command, "commands", {})
    rest = iter(words)
    for written in rest:
        word = written.removeprefix("[")
        if PLACEHOLDER.match(word):
            continue
        if word.startswith("-") and word != "-":
            text, _, value = word.partition("=")
            if text not in options:
                return f"{name} has no option {text}"
            option = options[text]
            takes = option is not None and not option.is_flag and not option.count
            if takes and not value and next(rest, None) is None:
                return f"{name} {text} takes a value"
        elif word in subcommands:
            return _unknown(subcommands[word], f"{name} {word}", list(rest))
        elif subcommands and name == "maltriage models":  # the card of a model
            return _unknown(subcommands["show"], name, [word, *rest])
        elif subcommands:
            return f"{name} has no command {word}"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_a_page_are_there(page: Path) -> None:
    found = [
        f"{page.relative_to(ROOT)}:{number}: {fault}"
        for number, line in lines(page.read_text("utf-8"))
        if (fault := wrong(line))
    ]
    assert found == []


def test_pages_have_commands() -> None:
    """That nothing is wrong says something only where something is read."""
    counts = {page.name: len(list(lines(page.read_text("utf-8")))) for page in PAGES}
    assert sum(counts.values()) > 200
    for name in ("README.md", "explain.md", "training.md", "maltriage-evidence.md"):
        assert counts[name] >= 4, name


def test_how_commands_are_found() -> None:
    text = (
        "maltriage scan --prose\n"
        "```\n# maltriage scan --remark\nmaltriage scan a | jq .x\n"
        "X=1 time maltriage scan \\\n  b -q && maltriage group c\nmaltriage 0.1.0\n```\n"
        "- a list\n\n  ```sh\n  maltriage doctor\n  ```\n"
        "```console\n$ maltriage scan \\\n>   d\nmaltriage scan --shown\n```\n"
        "```yaml\nmaltriage scan --yaml\n```\n"
    )
    assert list(lines(text)) == [
        (4, "scan a | jq .x"),
        (5, "scan b -q && maltriage group c"),
        (5, "group c"),
        (12, "doctor"),
        (15, "scan d"),
    ]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("scan ./dir --no-groups -q -o a.ndjson", None),
        ("scan ./dir --formt csv", "maltriage scan has no option --formt"),
        ("scan ./dir -f csv | sort --unique", None),
        ("scan ./dir > a --unknown", None),
        ("scan ./dir && ls --all", None),
        ("scan ./dir; ls --all", None),
        ("scan ./dir | python -c 'print(", None),
        ("scan './dir | sort", "scan './dir | sort: No closing quotation"),
        ("scan ./dir  # with --some remark's", None),
        ("scan ./dir -f", "maltriage scan -f takes a value"),
        ("scan --format=csv ./dir", None),
        ("scn ./dir", "maltriage has no command scn"),
        ("models add a.onnx --nme b", "maltriage models add has no option --nme"),
        ("models a.onnx --json", None),
        ("models a.onnx --jsn", "maltriage models has no option --jsn"),
        ("index biuld a.onnx", "maltriage index has no command biuld"),
        ("evaluate ... -f json | -f html", None),
        ("evaluate --by source [--fpr 0.005]", None),
        ("evaluate --by source [--fprr 0.005]", "maltriage evaluate has no option --fprr"),
        ("-v scan ./dir", None),
        ("--version", None),
    ],
)
def test_what_is_wrong_with_a_command(line: str, fault: str | None) -> None:
    assert wrong(line) == fault
