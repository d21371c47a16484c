"""Offsets: the hot ranges and words of a file as a list that a disassembler can jump to.

Tab-separated, with one line of names: a program for Ghidra, IDA or radare2 reads it with a few
lines of its own. Text passes the sanitizer, so no line can be faked by a string of the sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from maltriage.report import numbers
from maltriage.report.documents import facts
from maltriage.report.documents.evidence import HotRange
from maltriage.report.documents.record import FileRecord, Result, Summary
from maltriage.report.formats import RenderOptions
from maltriage.report.sanitize import clean

if TYPE_CHECKING:
    from rich.console import Console

COLUMNS = ("sha256", "offset", "end", "rva", "address", "points", "region", "kind", "comment")
MAX_COMMENT = 200


class OffsetsRenderer:
    def __init__(self, stream: BinaryIO, options: RenderOptions, console: Console) -> None:
        self._stream = stream
        self._started = False

    def write(self, record: FileRecord) -> None:
        if not self._started:
            self._started = True
            self._line(COLUMNS)
        if isinstance(record, Result):
            for cells in rows(record):
                self._line(cells)

    def finish(self, summary: Summary) -> None:
        self._stream.flush()

    def _line(self, cells: tuple[str, ...]) -> None:
        self._stream.write("\t".join(cells).encode() + b"\n")


def rows(result: Result) -> Iterator[tuple[str, ...]]:
    """The cells of each hot range and word, the strongest of each first.

    `offset` and `end` are of the file, `rva` counts from the image base and `address` holds it; the
    two are empty where the bytes are not mapped, as in an overlay. A word has no `end`.
    """
    evidence = result.evidence
    checks = {} if evidence.checks is None else {(c.start, c.end): c for c in evidence.checks.hot}
    for hot in sorted(evidence.hot, key=lambda hot: -abs(hot.contribution)):
        checked = checks.get((hot.start, hot.end))
        status = f", {checked.status}" if checked else ""
        said = f"for {facts.explained(evidence)}{status}{_content(hot)}"
        yield _row(result, hot.start, hot.end, hot.contribution, hot.region, "range", said)
    for word in sorted(evidence.words, key=lambda word: -abs(word.contribution)):
        said = f"word {word.text}" + (f", {word.places} places" if word.places > 1 else "")
        yield _row(result, word.start, None, word.contribution, word.region, "word", said)


def _row(
    result: Result, start: int, end: int | None, points: float, region: str, kind: str, comment: str
) -> tuple[str, ...]:
    layout = result.layout
    inside = layout.region_at(start)
    rva = address = ""
    if inside is not None and inside.rva is not None:
        at = inside.rva + start - inside.start
        rva, address = f"{at:#x}", f"{(layout.image_base or 0) + at:#x}"
    said = clean(f"{numbers.signed(points)} {comment}", MAX_COMMENT)
    name = clean(facts.region_name(region), facts.MAX_LABEL)
    return (
        *(clean(result.sha256), f"{start:#x}", "" if end is None else f"{end:#x}"),
        *(rva, address, f"{points:.6g}"),
        *(name, kind, said),
    )


def _content(hot: HotRange) -> str:
    """What is in a range, in a few words: a function, imports, a string."""
    found = hot.content
    if found is None:
        return ""
    if found.code is not None and found.code.function:
        return f", in {found.code.function}"
    if found.imports:
        named = found.imports[0]
        return f", imports {named.dll} {' '.join(named.functions[:3])}"
    if found.strings:
        wide = {"ascii": 1, "utf-16le": 2}
        behind = (
            text
            for text in found.strings
            if text.offset + len(text.text) * wide[text.encoding] > found.focus
        )
        return f', "{next(behind, found.strings[0]).text[:40]}"'
    return f", {found.kind}"
