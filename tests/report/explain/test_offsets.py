"""`explain --offsets`: the list, and the programs that read it."""

from __future__ import annotations

import base64
import csv
import importlib.util
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
from report.factories import make_contents, make_result
from report.screens import console_of

from maltriage.report.documents.evidence import Word
from maltriage.report.documents.record import Result
from maltriage.report.explain.offsets import COLUMNS
from maltriage.report.formats import EXPLAIN, RenderOptions, open_renderer
from maltriage.sample.findings import FoundString

FOLDER = Path(__file__).parents[3] / "docs" / "integrations"


def with_words(*words: Word) -> Result:
    result = make_result()
    return msgspec.structs.replace(
        result, evidence=msgspec.structs.replace(result.evidence, words=list(words))
    )


def listed(*results: Result) -> list[str]:
    stream = BytesIO()
    renderer = open_renderer(EXPLAIN["offsets"], stream, RenderOptions(), console_of(80))
    for result in results:
        renderer.write(result)
    return stream.getvalue().decode().splitlines()


def rows(lines: list[str]) -> list[dict[str, str]]:
    return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_places_of_ranges_and_words() -> None:
    word = Word("CreateRemoteThread", -0.5, 3, 0x2AC10, ".rdata")
    overlay = Word("in the overlay", 0.1, 1, 0x60300, "overlay")
    result = with_words(overlay, word)
    lines = listed(result)
    assert lines[0].split("\t") == list(COLUMNS)
    found = rows(lines)
    ranges = [row for row in found if row["kind"] == "range"]
    assert len(ranges) == len(result.evidence.hot)
    strengths = [abs(float(row["points"])) for row in ranges]
    assert strengths == sorted(strengths, reverse=True)
    base = result.layout.image_base or 0
    for row, hot in zip(
        ranges, sorted(result.evidence.hot, key=lambda hot: -abs(hot.contribution)), strict=True
    ):
        assert (int(row["offset"], 16), int(row["end"], 16)) == (hot.start, hot.end)
        assert (int(row["rva"], 16) if row["rva"] else None) == hot.rva
    first, second = found[-2:]
    assert (first["rva"], first["address"]) == ("0x2c010", f"{base + 0x2C010:#x}")
    assert first["comment"] == "-0.500 word CreateRemoteThread, 3 places"
    assert first["end"] == ""
    assert (second["rva"], second["address"]) == ("", "")  # not mapped
    assert {row["sha256"] for row in found} == {result.sha256}


@pytest.mark.parametrize(
    ("focus", "quoted"),
    [(0x4000, "first"), (0x4012, "second"), (0x401F, "second"), (0x4020, "first")],
)
def test_the_string_at_the_hottest_byte_is_quoted(focus: int, quoted: str) -> None:
    """Or the next one; the second is of six letters of two bytes, from 0x4014 on."""
    content = msgspec.structs.replace(
        make_contents()["strings"],
        focus=focus,
        strings=[
            FoundString(0x4000, "ascii", "first"),
            FoundString(0x4014, "utf-16le", "second"),
        ],
    )
    (hot, *_) = make_result().evidence.hot
    hot = msgspec.structs.replace(hot, content=content)
    evidence = msgspec.structs.replace(make_result().evidence, hot=[hot], words=[])
    (row,) = rows(listed(msgspec.structs.replace(make_result(), evidence=evidence)))
    assert row["comment"].endswith(f', "{quoted}"')


def test_no_line_is_faked_by_the_sample() -> None:
    hostile = with_words(Word("a\tb\nc\x1b[2J\u202e", 1.0, 1, 0x500, ".te\txt\n"))
    lines = listed(hostile)
    assert len(lines) == 1 + len(hostile.evidence.hot) + 1
    assert all(line.count("\t") == len(COLUMNS) - 1 for line in lines)
    assert "\x1b" not in "".join(lines)


def test_several_files_have_one_line_of_names() -> None:
    lines = listed(make_result(), make_result("b.exe"))
    assert sum(line.startswith("sha256\t") for line in lines) == 1


def test_radare2_gets_no_command_of_the_sample() -> None:
    hostile = with_words(Word("`!id`; !touch x # $(id)", 1.0, 1, 0x500, ".text"))
    commands = list(module("maltriage_r2").commands(listed(hostile)))
    for command in commands:
        words = command.split()
        assert words[0] in ("fs+maltriage", "fs-", "f", "CCu", "s")
        assert not set(command) & set("`!;|>$~#\n")
    comments = [c.split()[1].removeprefix("base64:") for c in commands if c.startswith("CCu")]
    assert any("!touch x" in base64.b64decode(comment).decode() for comment in comments)


def test_radare2_gets_the_places_of_one_file(tmp_path: Path) -> None:
    first, second = make_result(), make_result("b.exe")
    path = tmp_path / "x.tsv"
    path.write_text("\n".join(listed(first, second)) + "\n", encoding="utf-8")

    def run(*named: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, FOLDER / "maltriage_r2.py", path, *named]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    alone = "\n".join(module("maltriage_r2").commands(listed(second))) + "\n"
    for named in (second.sha256, second.sha256[:6].upper()):
        assert run(named).stdout == alone
    for named, said in (((), "name one file of the list"), (("0" * 64,), "no file in the list")):
        done = run(*named)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"maltriage_r2: {said}")
        assert done.stderr.count("\n") == 1


def test_radare2_jumps_there(tmp_path: Path, samples_dir: Path, run_cli: Any) -> None:
    r2 = shutil.which("r2")
    if r2 is None:
        pytest.skip("no radare2 on PATH")
    sample, tsv, script = samples_dir / "gui-x86.exe", tmp_path / "x.tsv", tmp_path / "x.r2"
    done = run_cli("explain", sample, "--offsets", "-o", tsv)
    assert done.returncode == 0, done.stderr
    lines = tsv.read_text().splitlines()
    script.write_text("\n".join(module("maltriage_r2").commands(lines)) + "\n")
    command = [r2, "-q", "-e", "scr.color=0", "-i", script, "-c", "s; f~maltriage.; CC~maltriage"]
    out = subprocess.run([*command, sample], capture_output=True, text=True, check=True).stdout
    mapped = [row for row in rows(lines) if row["address"]]
    assert out.splitlines()[0] == mapped[0]["address"]
    for row in mapped:
        assert f"0x{int(row['address'], 16):08x} CCu" in out
        assert row["comment"].replace('"', '\\"') in out


class Address(int):
    def add(self, offset: int) -> Address:
        return Address(self + offset)


class Ghidra:
    """The functions of Ghidra's scripts that are called; Ghidra itself is not to be had here."""

    def __init__(self, sha256: str) -> None:
        self.bookmarks: dict[int, tuple[str, str]] = {}
        self.comments: dict[int, str] = {}
        self.went: int | None = None
        self.said: list[str] = []
        self._sha256 = sha256

    def getImageBase(self) -> Address:  # noqa: N802
        return Address(0x10000)

    def getExecutableSHA256(self) -> str:  # noqa: N802
        return self._sha256

    def names(self) -> dict[str, Any]:
        return {
            "createBookmark": lambda at, kind, said: self.bookmarks.update({at: (kind, said)}),
            "setPreComment": lambda at, said: self.comments.update({at: said}),
            "goTo": lambda at: setattr(self, "went", at),
            "popup": self.said.append,
        }


@pytest.mark.parametrize("more", [False, True])
@pytest.mark.parametrize("other", [False, True])
def test_ghidra_marks_what_is_listed(tmp_path: Path, other: bool, more: bool) -> None:
    result = make_result()
    before = with_words(Word("elsewhere", 9.0, 1, 0x500, ".text"))
    before = msgspec.structs.replace(before, sha256="1" * 64)
    path = tmp_path / "x.tsv"
    path.write_text("\n".join(listed(*([before] * more), result)) + "\n", encoding="utf-8")
    ghidra = Ghidra("0" * 64 if other else result.sha256)
    script = module("maltriage_ghidra")
    vars(script).update(ghidra.names(), currentProgram=ghidra)
    script.mark(str(path))
    if other:
        assert ghidra.bookmarks == {}
        assert "another file" in ghidra.said[0]
        return
    mapped = [row for row in rows(listed(result)) if row["rva"]]
    assert len(mapped) > 2
    assert ghidra.bookmarks == {
        0x10000 + int(row["rva"], 16): ("maltriage", row["comment"]) for row in mapped
    }
    assert ghidra.went == 0x10000 + int(mapped[0]["rva"], 16)


def test_ghidra_keeps_both_comments_of_a_place(tmp_path: Path) -> None:
    """A word may be the first of a range; a list may have a file twice."""
    result = make_result()
    (row, *_) = [row for row in rows(listed(result)) if row["rva"]]
    path = tmp_path / "x.tsv"
    lines = listed(result, result)
    word = {**row, "kind": "word", "comment": "+0.127 word Label"}
    path.write_text("\n".join([*lines, "\t".join(word.values())]) + "\n", encoding="utf-8")
    ghidra, script = Ghidra(result.sha256), module("maltriage_ghidra")
    vars(script).update(ghidra.names(), currentProgram=ghidra)
    script.mark(str(path))
    at = 0x10000 + int(row["rva"], 16)
    assert ghidra.comments[at] == f"maltriage {row['comment']}\nmaltriage +0.127 word Label"


def test_ghidra_that_does_not_know_the_file(tmp_path: Path) -> None:
    """As of one that was imported from memory: a list of one file is taken on trust."""
    result, another = make_result(), make_result("b.exe")
    path = tmp_path / "x.tsv"
    script = module("maltriage_ghidra")
    for results, marked in (([result], True), ([result, another], False)):
        path.write_text("\n".join(listed(*results)) + "\n", encoding="utf-8")
        ghidra = Ghidra("")
        vars(script).update(ghidra.names(), currentProgram=ghidra)
        script.mark(str(path))
        assert (bool(ghidra.bookmarks), bool(ghidra.said)) == (marked, not marked)


def test_the_script_for_ghidra_is_one_for_jython_too() -> None:
    text = (FOLDER / "maltriage_ghidra.py").read_text("utf-8")
    assert text.isascii()
    assert ' f"' not in text
    assert "->" not in text
