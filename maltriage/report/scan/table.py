"""The scan table, the most urgent files first; similar files are one row.

Memory is bounded: the most urgent rows are kept, the rest is counted, and the table is sorted and
drawn at the end.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, BinaryIO

from rich.text import Text

from maltriage.report import aligned, numbers
from maltriage.report.documents import facts
from maltriage.report.documents.record import Failed, FileRecord, Group, Result, Skipped, Summary
from maltriage.report.formats import RenderOptions
from maltriage.report.sanitize import clean, untrusted
from maltriage.report.scan.groups import alike
from maltriage.report.scan.remarks import Remarks
from maltriage.report.scan.strip import strip
from maltriage.report.scan.urgent import MostUrgentRows, Row
from maltriage.sample.types import BENIGN, KNOWN_GOOD

if TYPE_CHECKING:
    from rich.console import Console

DEFAULT_TOP = 50
MAX_PROBLEMS = 20
"""Most failed (or skipped) files that are listed without `--top 0`; the rest is counted."""
MAX_LABEL = 24
MAX_MADE = 32
MAX_SHARED = 40
MAX_NOTICES, MAX_CODES = 8, 6
"""Most notices that are named above the table, and in a row."""
MIN_FILE = 28
"""Least width of the file column in cells; below it columns that say least are left out."""

MIN_REASON = 8
WHOLE_FILE, MIN_NOTICES = 40, 16
"""Most cells of the file column that notices are cut for, and how many these have at least."""
MIN_CUT_FILE = 12
"""Least width of the file column in cells; below it others are left out, too."""

FEW = 20
"""Most rows, none of which is flagged, that are listed without being asked for."""
MOST, LEAST_ROWS = 0.8, 5
"""Share of the rows with a notice from which it is said once above them, of so many at least."""
_TITLES = (
    "file",
    "score",
    "verdict",
    "hottest region",
    "size",
    "entropy",
    "checked",
    "nearest",
    "made with",
    "alike in",
    "notices",
)
_FILE, _CHECKED, _NEAREST, _MADE, _SHARED, _NOTICES, _CLOSEST = 0, 6, 7, 8, 9, 10, -1
_NUMERIC = (1, 4, 5)
_SPARE = (5, 4, 6, 3)
"""Columns that a narrow table leaves out, in this order; records have them."""
_STYLES = {
    facts.SUSPICIOUS: "bold yellow",
    BENIGN: "dim green",
    facts.UNKNOWN: "bold magenta",
}


class TableRenderer:
    def __init__(self, stream: BinaryIO, options: RenderOptions, console: Console) -> None:
        self._options = options
        self._console = console
        self._best = MostUrgentRows(DEFAULT_TOP if options.top is None else options.top)
        self._problems: dict[str, list[Skipped | Failed]] = {"failed": [], "skipped": []}
        self._counts = {"failed": 0, "skipped": 0}
        self._remarks = Remarks()

    def write(self, record: FileRecord) -> None:
        self._remarks.add(record)
        if isinstance(record, Result):
            self._best.add(record)
            return
        if record.code == KNOWN_GOOD:
            return  # counted in the summary; a list of them would hide the others
        kind = "skipped" if isinstance(record, Skipped) else "failed"
        self._counts[kind] += 1
        if len(self._problems[kind]) < MAX_PROBLEMS or self._options.top == 0:
            self._problems[kind].append(record)

    def finish(self, summary: Summary) -> None:
        width = self._console.width
        aligned.emit(self._console, self._wrapped(self._screen(summary, width), width))

    def _wrapped(self, lines: Iterable[Text], width: int) -> Iterator[Text]:
        """The lines, sentences on as many as they need; rows fit already."""
        for said in lines:
            if said.no_wrap or said.cell_len <= width:
                yield said
            else:
                yield from said.wrap(self._console, max(width, MIN_CUT_FILE))

    def _screen(self, summary: Summary, width: int) -> Iterator[Text]:
        rows = self._best.rows()
        groups = {group.id: group for group in summary.groups or ()}
        for row in rows:
            if row.group in groups:
                row.files = groups[row.group].files
        yield from strip(summary, self._remarks.known, self._remarks.outside)
        if listed := self._worth_listing(rows, summary):
            yield from _table(listed, groups, width)
            yield from self._cut(listed, summary)
        elif rows:
            yield Text(f"--top {DEFAULT_TOP} lists the first of them.", style="dim")
        for kind in ("failed", "skipped") if self._options.show_skipped else ("failed",):
            yield from self._listed(kind, width)
        yield Text()
        yield from self._remarks.lines(summary)
        yield _summary_line(summary, self._remarks.kept)

    def _worth_listing(self, rows: list[Row], summary: Summary) -> list[Row]:
        """The rows of the table: of many files, none of which is flagged, those that do not look
        clean, since a page of clean files is an answer to no question."""
        if self._options.top is not None or summary.flagged or len(rows) <= FEW:
            return rows
        return [row for row in rows if row.label != BENIGN or row.known_as][:FEW]

    def _cut(self, rows: list[Row], summary: Summary) -> Iterator[Text]:
        more = self._best.seen - sum(row.files for row in rows)
        if more <= 0:
            return
        said = f"{more:,} more"
        if summary.group_count is not None:
            rest = numbers.count(summary.group_count - len(rows), "row")
            said = f"{numbers.count(more, 'file')} in {rest} more"
        yield Text(f"… and {said} (use --top 0 or --format ndjson)", style="dim")

    def _listed(self, kind: str, width: int) -> Iterator[Text]:
        records = self._problems[kind]
        if not records:
            return
        yield Text()
        yield Text(kind, style="bold red" if kind == "failed" else "bold dim")
        paths = [clean(record.path) for record in records]
        widest = min(max(Text(path).cell_len for path in paths), max(20, width * 2 // 5))
        reason = width - widest - 4
        for record, path in zip(records, paths, strict=True):
            layout = (aligned.Column("", widest), aligned.Column("", max(MIN_REASON, reason)))
            cells = (Text(numbers.middle(path, widest)), untrusted(record.reason, "dim"))
            yield aligned.line(cells, layout, indent=2)
        more = self._counts[kind] - len(records)
        if more:
            yield Text(f"  … and {more:,} more {kind} (--format ndjson lists all)", style="dim")


def _everywhere(rows: list[Row]) -> list[str]:
    """The notices that nearly all files have, in nearly all rows; they are taken from the rows:
    said once, they are read."""
    in_rows, in_files = Counter(code for row in rows for code in row.noticed), _noticed(rows)
    least = max(LEAST_ROWS, math.ceil(MOST * len(rows)))
    least_files = MOST * sum(row.counted for row in rows)
    found = [c for c, n in in_rows.items() if n >= least and in_files[c] >= least_files]
    for row in rows:
        row.noticed = {code: n for code, n in row.noticed.items() if code not in found}
    return found


def _noticed(rows: Iterable[Row]) -> Counter[str]:
    """How many files have each notice, of those that were counted."""
    counts = Counter[str]()
    for row in rows:
        counts.update(row.noticed)
    return counts


def _legend(rows: list[Row], everywhere: list[str], *, counted: bool) -> Iterator[Text]:
    """The notices that are said once above the table.

    Args:
        counted: there is no column for the others: how many files have each.
    """
    if everywhere:
        named = ", ".join(clean(code) for code in everywhere)
        yield Text(f"Notices of nearly all files below: {named}", style="dim")
    counts = _noticed(rows) if counted else Counter[str]()
    if counts:
        ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        named = ", ".join(f"{clean(code)} {n:,}" for code, n in ordered[:MAX_NOTICES])
        more = len(counts) - MAX_NOTICES
        named += f" and {more} more" if more > 0 else ""
        least = "at least " if any(row.counted < row.files for row in rows) else ""
        said = f"Notices of files below: {least}{named} (wider terminals say whose)"
        yield Text(said, style="dim")


def _table(rows: list[Row], groups: Mapping[str, Group], width: int) -> Iterator[Text]:
    """Notices that are said once, the header, and a line for each row."""
    everywhere = _everywhere(rows)
    alikes = [groups.get(row.group or "") for row in rows]
    columns = {
        _CHECKED: any(row.checked for row in rows),
        _MADE: any(row.identified for row in rows),
        _NEAREST: any(row.nearest for row in rows),
        _SHARED: any(group is not None and group.flagged for group in alikes),
        _NOTICES: any(row.noticed for row in rows),
    }
    closest = any(row.closest for row in rows)
    for narrow in (None, _NEAREST, _SHARED, _CLOSEST, _NOTICES):
        closest &= narrow != _CLOSEST
        if narrow in columns:
            columns[narrow] = False
        kept = [i for i in range(len(_TITLES)) if columns.get(i, True)]
        whole = [_cells(*pair, closest) for pair in zip(rows, alikes, strict=True)]
        cells = [[row_cells[i] for i in kept] for row_cells in whole]
        layout = aligned.columns([_TITLES[i] for i in kept], cells, _NUMERIC)
        room = width - aligned.width_of(layout, 2) + layout[_FILE].width
        if room >= min(layout[_FILE].width, MIN_FILE):
            break
        spared = layout[-1].width - max(0, min(layout[_FILE].width, WHOLE_FILE) - room)
        # The column `nearest` is worth the end of long notices, `alike in` is not.
        least = {None: 2 * MIN_NOTICES, _CLOSEST: MIN_NOTICES}.get(narrow)
        if least is not None and columns[_NOTICES] and spared >= least:
            room += layout[-1].width - spared
            layout[-1] = aligned.Column(layout[-1].title, spared)
            break
    yield Text()
    yield from _legend(rows, everywhere, counted=not columns[_NOTICES])
    for spare in _SPARE:  # a terminal would break a wider line
        if room >= MIN_CUT_FILE or spare not in kept:
            continue
        place = kept.index(spare)
        room += layout[place].width + 2
        del kept[place], layout[place]
        for row_cells in cells:
            del row_cells[place]
    layout[_FILE] = aligned.Column("file", min(layout[_FILE].width, max(room, MIN_CUT_FILE)))
    yield aligned.header(layout)
    across = aligned.width_of(layout, 2)
    yield aligned.rule(across)
    below = bool(rows[0].flagged)
    for row, row_cells in zip(rows, cells, strict=True):
        if below and not row.flagged:
            below = False
            yield aligned.rule(across, said="not flagged")
        yield aligned.line([_file(row, layout[_FILE].width), *row_cells[1:]], layout)


def _cells(row: Row, group: Group | None, closest: bool) -> list[Text]:
    """The cells of a row: those of its most urgent file, and what its group differs in."""
    style = "bold red" if row.flagged else ""
    style = _STYLES.get(row.label, style)
    if row.label == facts.UNKNOWN and not row.flagged:
        style = "magenta"
    verdict = untrusted(row.label, style, MAX_LABEL)
    if group is not None and len(group.labels) > 1:
        verdict.append(f" {group.labels.get(row.label, 0):,} of {group.files:,}", style="cyan")
    if closest and row.closest:
        verdict.append(f" (closest: {clean(row.closest, MAX_LABEL)})", style="yellow")
    if row.known_as:
        verdict.append(f" (index: {clean(row.known_as, MAX_LABEL)})", style="bold red")
    calm = "dim" if row.label == BENIGN else ""
    hottest = Text("-", style="dim")
    if row.region is not None:
        hottest = Text.assemble((row.region, calm), (f" {numbers.share(row.share)}", "dim"))
    entropy = "" if row.entropy is None else f"{row.entropy:.2f}"
    return [
        _file(row, None),
        Text(_scores(row, group), style="bold red" if row.flagged else "dim"),
        verdict,
        hottest,
        Text(numbers.size(row.size), style=calm),
        Text("packed?", style="yellow") if row.packed else Text(entropy, style=calm),
        Text(row.checked or "", style=calm),
        untrusted(row.nearest or "", "dim" if row.alien else calm, MAX_LABEL),
        untrusted(row.made, calm, MAX_MADE),
        Text(_shared(group), style="cyan"),
        Text(_notices(row), style="dim"),
    ]


def _file(row: Row, width: int | None) -> Text:
    """The path, its middle cut to fit, and how many files the row stands for."""
    files = f" x{row.files:,}" if row.files > 1 else ""
    path = clean(row.path)
    if width is not None:
        path = numbers.middle(path, width - len(files))
    return Text.assemble(path, (files, "bold cyan"), no_wrap=True)


def _scores(row: Row, group: Group | None) -> str:
    """The score of a row, behind the lowest of its group where that is another."""
    own = numbers.score(row.score)
    low = own if group is None else numbers.score(group.lowest)
    return own if low == own else f"{low}-{own}"


def _notices(row: Row) -> str:
    """The notices of the files of a row; of one that not all have, how many: `efi 2`. `2+`: at
    least, since not all files were counted."""
    more = "+" if row.counted < row.files else ""
    parts = [
        clean(code) + ("" if n == row.files else f" {n:,}{more}")
        for code, n in row.notices().items()
    ]
    left = len(parts) - MAX_CODES
    return ", ".join(parts[:MAX_CODES]) + (f" and {left} more" if left > 0 else "")


def _shared(group: Group | None) -> str:
    """What the files of a group with a flagged one share, in short."""
    return clean(alike(group), MAX_SHARED) if group is not None and group.flagged else ""


def _summary_line(summary: Summary, kept: int) -> Text:
    """Args: kept: files whose result was kept from an earlier scan."""

    def number(value: int, noun: str, style: str) -> tuple[str, str]:
        return f"{value:,} {noun}", style if value else "dim"

    parts: list[str | tuple[str, str]] = [
        (numbers.count(summary.files, "file"), "bold"),
        number(summary.flagged, "flagged", "bold red"),
        number(summary.failed, "failed", "bold yellow"),
        number(summary.skipped, "skipped", ""),
    ]
    if summary.known:
        parts.append(number(summary.known, "known good", "green"))
    if kept:
        parts.append(f"{kept:,} kept from an earlier scan")
    elif summary.seconds > 0:  # the time of a killed scan is unknown
        speed = summary.files / summary.seconds
        parts.append((f"{speed:,.0f} files/s" if speed >= 10 else f"{speed:.1f} files/s", ""))
    return Text("  ").join(Text.assemble(part) for part in parts)
