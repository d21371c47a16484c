"""The content of a hot range in a few lines: code, strings, names, fields."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from maltriage.report import aligned, numbers
from maltriage.report.sanitize import clean, untrusted
from maltriage.sample.findings import (
    FoundString,
    HeaderField,
    HotContent,
    ImportedNames,
    Instruction,
    Listing,
)

DEFAULT_LINES = 6
"""Most lines of each kind of content below a range."""
MAX_NAME = 64
MAX_OPERANDS = 48
MAX_COMMENT = 60
_HEX_BYTES = 8
"""Most bytes of an instruction that are printed."""
_DUMPED = 16
"""Bytes of a range in its hexdump."""
_BEFORE = "  begins before the range"
_CALLED = {
    "header": "header",
    "code": "code",
    "il": "IL",
    "metadata": ".NET metadata",
    "imports": "imports",
    "exports": "exports",
    "resource": "resource directory",
    "strings": "text",
    "fill": "one byte over and over",
    "data": "data",
}


def title(content: HotContent, start: int, width: int, indent: int) -> Iterator[Text]:
    """A line for the kind of a range, one for its edges, one for where its instructions begin, one
    for its functions of libraries, and one for each note.

    Args:
        start: file offset of the range.
        width: columns of the screen.
        indent: blanks before each line.
    """
    room = width - indent
    yield Text(" " * indent, no_wrap=True).append_text(_title(content, room))
    for placed in _placed(content, start):
        yield Text(" " * indent, no_wrap=True).append_text(untrusted(placed, "dim", room))
    named = library_functions(content)
    if named:
        yield Text(" " * indent, no_wrap=True).append_text(untrusted(named, "", room))
    for note in content.notes:
        yield Text(" " * indent, no_wrap=True).append_text(untrusted(note, "yellow", room))


def library_functions(content: HotContent) -> str:
    """The functions of libraries in a range, by library; empty without any. Sanitize it."""
    by: dict[str, list[str]] = {}
    for item in content.library:
        by.setdefault(item.library, []).append(item.name)
    return "; ".join(f"{', '.join(names)} ({library})" for library, names in by.items())


def lines(
    content: HotContent,
    start: int,
    limit: int | None,
    digits: int,
    width: int,
    indent: int,
    *,
    fields: bool = True,
) -> Iterator[Text]:
    """The content of a range.

    Args:
        start: file offset of the range.
        digits: hexadecimal digits of an offset.
        limit: most lines of each kind but fields; None: `DEFAULT_LINES`, 0: all.
        width: columns of the screen.
        indent: blanks before each line.
        fields: with the fields of headers, all of them.
    """
    room = width - indent
    parts: list[tuple[str, list[Text]]] = []
    unlisted = 0
    for listing in (content.code, content.il):
        if listing is not None:
            parts.append(("instruction", _instructions(listing, content, room)))
            unlisted = listing.left
    if fields and content.fields:
        parts.append(("field", field_lines(content.fields, digits, room)))
    if content.imports:
        parts.append(("DLL", [_imported(row, room) for row in content.imports]))
    if content.exports:
        parts.append(("export", [_exported(name, room) for name in content.exports]))
    if content.strings:
        parts.append(("string", _strings(content.strings, start, digits, room)))
    shown = DEFAULT_LINES if limit is None else limit
    for noun, rows in parts:
        # Never leave out a single line: a line about it takes the same space.
        whole = not shown or noun == "field" or len(rows) == shown + 1
        count = len(rows) if whole else shown
        for row in rows[:count]:
            yield Text(" " * indent, no_wrap=True).append_text(row)
        more = []
        if len(rows) > count:
            more.append(numbers.count(len(rows) - count, f"more {noun}"))
        if noun == "instruction" and unlisted:
            more.append(f"{numbers.count(unlisted, 'byte')} not listed")
        if more:
            yield Text(" " * indent + f"… {', then '.join(more)}", style="dim", no_wrap=True)


def _exported(name: str, room: int) -> Text:
    return Text("export ", style="dim").append_text(untrusted(name, "", room - 7))


def _title(content: HotContent, room: int) -> Text:
    """The kind of a range, its function or resource if known, and its entropy."""
    listing = content.code or content.il
    text = Text(no_wrap=True)
    if listing is not None:
        native = "code" if listing.guessed else f"{listing.architecture} code"
        text.append(_CALLED["il"] if content.kind == "il" else native)
        if listing.function:
            text.append(" of " if content.kind == "il" else " at ")
            text.append(clean(listing.function, MAX_NAME), style="bold")
            text.append(_into(listing))
        if listing.synchronised == "none":
            said = "decoded from here, not from its start"
            said = said if listing.function else "no start of a function known"
            text.append(f" ({said})", style="dim")
        if listing.guessed:
            text.append(f", guessed processor: {listing.architecture}", style="dim")
    elif content.resource is not None and content.kind == "resource":
        leaf = content.resource
        name = f"{clean(leaf.type, MAX_NAME)} {clean(leaf.name, MAX_NAME)}".strip()
        text.append("resource ").append(name, style="bold")
        text.append(f", {clean(leaf.language, MAX_NAME)}" if leaf.language else "")
    elif content.metadata:
        text.append(".NET ").append(clean(content.metadata, MAX_NAME), style="bold")
    else:
        text.append(_CALLED[content.kind])
    text.append(f", entropy {content.entropy:.2f}", style="dim")
    text.truncate(room, overflow="ellipsis")
    return text


def _placed(content: HotContent, start: int) -> Iterator[str]:
    """How far the edges of a range moved, and where its instructions begin if not among the bytes
    of the hexdump."""
    moved = [_moved(content.snapped[0], "start"), _moved(content.snapped[1], "end")]
    if any(moved):
        edges = ", ".join(part for part in moved if part)
        yield f"edges moved from those of the hot blocks: {edges}"
    listing = content.code or content.il
    if listing is not None and listing.instructions:
        behind = listing.instructions[0].offset - start
        if behind >= _DUMPED:
            yield f"instructions from the hottest bytes on, {behind:,} bytes behind the start"


def _into(listing: Listing) -> str:
    """`+0x1c`: offset of the listing from the function's start."""
    if listing.start is None or not listing.instructions or listing.architecture == "il":
        return ""
    distance = listing.instructions[0].offset - listing.start
    return f"+0x{distance:x}" if distance > 0 else ""


def _moved(count: int, side: str) -> str:
    """`start 12 bytes earlier`: the shift of an edge from that of the heat."""
    if not count:
        return ""
    earlier = (count > 0) == (side == "start")
    return f"{side} {numbers.count(abs(count), 'byte')} {'earlier' if earlier else 'later'}"


def _instructions(listing: Listing, content: HotContent, room: int) -> list[Text]:
    rows = [_instruction(item, content) for item in listing.instructions]
    layout = aligned.columns(("", "", "", ""), rows)
    # Only the operands are cut, never the address and the bytes.
    spare = max(0, aligned.width_of(layout, 2) - room)
    cut = max(8, layout[3].width - spare)
    layout[3] = aligned.Column("", cut)
    return [aligned.line(cells, layout, 2) for cells in rows]


def _instruction(item: Instruction, content: HotContent) -> list[Text]:
    place = item.offset
    if item.rva is not None and content.va is not None and content.rva is not None:
        place = content.va - content.rva + item.rva
    raw = item.hex[: 2 * _HEX_BYTES] + ("…" if len(item.hex) > 2 * _HEX_BYTES else "")
    text = untrusted(item.operands, "", MAX_OPERANDS)
    if item.comment:
        text = Text.assemble(text, "  ", (f"; {clean(item.comment, MAX_COMMENT)}", "cyan"))
    return [
        Text(f"{place:x}", style="dim"),
        untrusted(raw, "dim"),
        untrusted(item.mnemonic, "bold", 16),
        text,
    ]


def field_lines(fields: Sequence[HeaderField], digits: int, room: int) -> list[Text]:
    """Fields with their own heat first, the strongest first; the others in file order.

    Args:
        digits: hexadecimal digits of an offset.
        room: columns of a line.
    """
    ordered = sorted(
        fields,
        key=lambda field: (field.contribution is None, -abs(field.contribution or 0.0)),
    )
    known = any(field.contribution is not None for field in fields)
    rows = [
        [
            Text(f"{field.offset:0{digits}x}", style="dim"),
            Text() if field.contribution is None else numbers.heat(field.contribution),
            untrusted(field.name, "", MAX_NAME),
            untrusted(field.value, "cyan", max(12, room - 56)),
        ]
        for field in ordered
    ]
    rows = rows if known else [[row[0], *row[2:]] for row in rows]
    layout = aligned.columns(("",) * len(rows[0]), rows, (1,) if known else ())
    return [aligned.line(cells, layout, 2) for cells in rows]


def folded_fields(fields: Sequence[HeaderField], room: int) -> str:
    """Fields of headers in a line of clean text, of `room` columns where that is possible."""
    heated = [field for field in fields if field.contribution]
    if not heated:
        return f"header fields: {len(fields):,}"
    strongest = max(heated, key=lambda field: abs(field.contribution or 0.0))
    amount = numbers.signed(strongest.contribution or 0.0)
    before = f"header fields: {len(heated):,} with heat, strongest "
    name = clean(strongest.name, min(MAX_NAME, max(12, room - len(before) - len(amount) - 1)))
    return f"{before}{name} {amount}"


def _imported(row: ImportedNames, room: int) -> Text:
    text = untrusted(row.dll or "(no name)", "bold", MAX_NAME)
    names = ", ".join(clean(name, MAX_NAME) for name in row.functions)
    if names:
        text.append(f": {names}", style="not bold")
    if row.more:
        text.append(f" and {row.more:,} more", style="not bold")
    text.truncate(room, overflow="ellipsis")
    return text


def _strings(found: Sequence[FoundString], start: int, digits: int, room: int) -> list[Text]:
    rows = []
    for item in found:
        spared = len(_BEFORE) if item.offset < start else 0
        text = clean(item.text, max(16, room - 12 - spared)) + ("…" if item.cut else "")
        mark = "  utf-16" if item.encoding == "utf-16le" else ""
        mark += _BEFORE if item.offset < start else ""
        rows.append(
            Text.assemble(
                (f"{item.offset:0{digits}x}  ", "dim"), (text, "cyan"), (mark, "dim"), no_wrap=True
            )
        )
    return rows
