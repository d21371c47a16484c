"""The hot ranges of the explain screen: the bytes that carry the score, and their content."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from maltriage.report import aligned, numbers
from maltriage.report.aligned import INDENT
from maltriage.report.documents import facts
from maltriage.report.documents.evidence import Evidence, HotRange
from maltriage.report.explain import findings
from maltriage.report.explain.score_table import checked, digits_for, offsets
from maltriage.report.sanitize import untrusted

DEFAULT_RANGES = 8
MAX_LINES = 4
_PER_LINE = 16
_WITHIN = INDENT + 2
_ALL_FIELDS = " (-v: all)"


def ranges(
    evidence: Evidence,
    top: int | None,
    machine_base: int | None,
    width: int,
    *,
    fields: bool,
) -> Iterator[Text]:
    """Each range on a line, its content and first bytes below, strongest first.

    Args:
        top: most ranges, the rest is counted; None: `DEFAULT_RANGES`, 0: all, with all of their
            content.
        machine_base: image base, to show virtual addresses beside RVAs; None: there is none.
        width: columns of the screen.
        fields: list all fields of headers, which are a line otherwise.
    """
    ordered = sorted(evidence.hot, key=lambda r: -abs(r.contribution))
    shown = ordered[: DEFAULT_RANGES if top is None else top or len(ordered)]
    digits = digits_for(max((r.end for r in ordered), default=0))
    titles = ("offsets", "size", "region", "rva", "address", "contrib.", "measured", "check")
    checks = facts.checks_of(evidence, "hot")
    rows = [_range(r, digits, machine_base) + checked(checks.get((r.start, r.end))) for r in shown]
    layout = aligned.columns(titles, rows, (1, 3, 4, 5, 6))
    kept = [i for i in range(len(titles)) if any(cells[i].plain for cells in rows)]
    layout = [layout[i] for i in kept]
    yield aligned.header(layout, 2, INDENT)
    yield aligned.rule(aligned.width_of(layout, 2), INDENT)
    for item, cells in zip(shown, rows, strict=True):
        yield aligned.line([cells[i] for i in kept], layout, 2, INDENT)
        yield from about(item, width, _WITHIN)
        yield from dump(item, digits, INDENT)
        if item.content is not None:
            limit = 0 if top == 0 else None
            if item.content.fields and not fields:
                room = width - _WITHIN - len(_ALL_FIELDS)
                folded = findings.folded_fields(item.content.fields, room)
                yield Text(" " * _WITHIN + folded + _ALL_FIELDS, style="dim")
            yield from findings.lines(
                item.content, item.start, limit, digits, width, _WITHIN, fields=fields
            )
    more = ordered[len(shown) :]
    if more:
        rest = numbers.signed(sum(r.contribution for r in more))
        text = f"… {numbers.count(len(more), 'more range')}, {rest} together"
        yield Text(" " * INDENT + text, style="dim")


def about(item: HotRange, width: int, indent: int) -> Iterator[Text]:
    """What a range is, and how much of it clean programs have."""
    if item.content is not None:
        yield from findings.title(item.content, item.start, width, indent)
    if item.common is not None and item.common.packages:
        yield Text(" " * indent + facts.common(item.common), style="dim")


def _range(item: HotRange, digits: int, base: int | None) -> list[Text]:
    address = "" if item.rva is None or base is None else f"{base + item.rva:x}"
    # In an image at 0, such as a hex dump with addresses, both are the same.
    rva = "" if item.rva is None or base == 0 else f"{item.rva:x}"
    value = numbers.heat(item.contribution)
    return [
        Text(offsets(item.start, item.end, digits), style="bold"),
        Text(numbers.size(item.end - item.start)),
        untrusted(facts.region_name(item.region), "", 16),
        Text(rva),
        Text(address),
        value,
    ]


def dump(item: HotRange, digits: int, indent: int) -> Iterator[Text]:
    """The first bytes of a range, sixteen a line; nothing if there are none."""
    try:
        data = bytes.fromhex(item.hex or "")
    except ValueError:
        return  # an edited document
    data = data[: MAX_LINES * _PER_LINE]
    for at in range(0, len(data), _PER_LINE):
        part = data[at : at + _PER_LINE]
        halves = (part[:8].hex(" "), part[8:].hex(" "))
        text = Text(" " * (indent + 2), no_wrap=True)
        text.append(f"{item.start + at:0{digits}x}  ", style="dim")
        text.append(f"{halves[0]:<23}  {halves[1]:<23}  ")
        for byte in part:
            printable = 0x20 <= byte < 0x7F
            text.append(chr(byte) if printable else ".", style="cyan" if printable else "dim")
        yield text
