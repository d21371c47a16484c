"""The explain screen: one result, from the verdict to the bytes behind it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from rich.text import Text

from maltriage.report import aligned, numbers
from maltriage.report.aligned import INDENT
from maltriage.report.documents import facts
from maltriage.report.documents.evidence import Checks, Evidence
from maltriage.report.documents.opening import opening
from maltriage.report.documents.record import FileRecord, Result, Skipped, Summary, Verdict
from maltriage.report.explain import hot_ranges, methods, plane, score_table, similar, words
from maltriage.report.formats import RenderOptions
from maltriage.report.sanitize import clean, untrusted
from maltriage.sample.types import BENIGN, Tool

if TYPE_CHECKING:
    from rich.console import Console

MAX_WIDTH = 120
"""Most columns of the screen: longer lines are harder to read."""
MAX_RANKED = 5
MAX_NOTICES = 50
MAX_OPENING = 1000
MAX_ALARMS = 240
"""Most characters on the threshold, which names the goodware set."""
_BAR = 24
_DELPHI = "1992-06-19T22:22:17Z"
"""The stamp of programs by Delphi 4 to 2006, whenever they were built: 0x2A425E19."""
_SIGNED = {
    None: "unverified",
    True: "unverified; the signature matches the file",
    False: "unverified; the signature does not match the file",
}
_FORMATS = {"png": "byteplot PNG", "bytes": "hex dump", "picture": "picture"}


class ExplainRenderer:
    """Prints a screen for each result as it comes."""

    def __init__(self, stream: BinaryIO, options: RenderOptions, console: Console) -> None:
        self._options = options
        self._console = console
        self._first = True

    def write(self, record: FileRecord) -> None:
        if not self._first:
            aligned.emit(self._console, [Text()])
        self._first = False
        if isinstance(record, Result):
            aligned.emit(self._console, explanation(record, self._options, self._console))
            return
        state, style = ("skipped", "yellow") if isinstance(record, Skipped) else ("failed", "red")
        text = Text.assemble((state, style), "  ", untrusted(record.path), "  ")
        aligned.emit(self._console, [text.append_text(untrusted(record.reason, "dim"))])

    def finish(self, summary: Summary) -> None:
        if summary.interrupted:
            aligned.emit(self._console, [Text("Interrupted.", style="yellow")])


def explanation(result: Result, options: RenderOptions, console: Console) -> Iterator[Text]:
    """The lines of the screen.

    Args:
        options: `top` shortens the regions and the hot ranges, `width` sets the columns.
        console: console of the lines; the picture depends on its colours.
    """
    width = min(console.width, MAX_WIDTH)
    evidence = result.evidence

    def heading(title: str, remark: str = "") -> Iterator[Text]:
        text = Text.assemble((title, "bold"), "   ", (clean(remark), "dim"))
        yield from [Text(), *aligned.wrapped(text, console, width, 0)]

    yield from _header(result, console, width)
    if result.notices:
        yield from heading("Notices")
        yield from _notices(result, console, width)
    if result.similar is not None:
        yield from heading("Similar files", similar.remark(result.similar))
        yield from similar.lines(result.similar)
    exact = options.verbose
    yield from heading(*score_table.title(evidence, exact=exact))
    yield from score_table.regions(evidence, options.top, width, exact=exact)
    if evidence.checks is not None and facts.claims(evidence.checks):
        yield from _legend(evidence.checks, console, width)
    if evidence.compared is not None:
        yield from heading("Methods side by side", "share of each region, by method")
        yield from methods.side_by_side(evidence, evidence.compared, options.top)
    if evidence.views:
        yield from heading("By view", "the same total, divided over the views")
        yield from score_table.views(evidence, width)
    if evidence.words:
        yield from heading("Words", "a word counts once, wherever it stands")
        yield from words.lines(evidence, console, width)
    picture = _picture(evidence, console, width)
    if picture:
        yield from heading("The file as a byteplot", "heat of the view body over the bytes")
        yield from picture
    if evidence.hot:
        yield from heading("Hot ranges", "runs of bytes with the most heat, all views together")
        base = result.layout.image_base
        yield from hot_ranges.ranges(
            evidence, options.top, base, width, fields=options.verbose or options.top == 0
        )
    yield from heading("Identity")
    yield from _identity(result, console, width)


def _legend(checks: Checks, console: Console, width: int) -> Iterator[Text]:
    """What the words of the column `check` mean."""
    yield Text()
    yield from aligned.wrapped(Text(score_table.LEGEND, style="dim"), console, width, INDENT)
    said = score_table.legend(checks)
    yield from _fields(
        [(Text(a, style="dim"), Text(b, style="dim")) for a, b in said], console, width
    )


def _picture(evidence: Evidence, console: Console, width: int) -> list[Text]:
    """The byteplot with its heat; empty where it cannot be shown."""
    if evidence.plane is None:
        return []
    body, label = facts.of_body(evidence), facts.explained(evidence)
    return list(plane.drawing(evidence.plane, label, body, console, width))


def _header(result: Result, console: Console, width: int) -> Iterator[Text]:
    yield from aligned.wrapped(untrusted(result.path, "bold"), console, width, 0)
    yield aligned.rule(width)
    yield from aligned.wrapped(Text(clean(opening(result), MAX_OPENING)), console, width, 0)
    yield Text()
    yield _field("sha256", Text(clean(result.sha256)))
    yield _field("file", Text(kind_of(result)))
    yield _field("verdict", _verdict(result.verdict))
    yield from _flag(result, console, width)
    yield from _set(result, console, width)
    if result.evidence.checks is not None:
        first, *others = score_table.verdict_on(result.evidence.checks)
        yield _field("checked", Text(first))
        yield from (_field("", Text(other, style="dim")) for other in others)
    yield Text()
    yield from _ranked(result.verdict)


def _field(name: str, value: Text) -> Text:
    layout = (aligned.Column("", 8), aligned.Column("", value.cell_len))
    return aligned.line((Text(name, style="dim"), value), layout, 2, INDENT)


def _wrapped(name: str, value: Text, console: Console, width: int) -> Iterator[Text]:
    indent = INDENT + 10
    for i, part in enumerate(aligned.wrapped(value, console, width, indent)):
        yield _field("" if i else name, part[indent:])


def kind_of(result: Result) -> str:
    """Size, format and machine of the file, as a line of clean text."""
    layout = result.layout
    size = numbers.size(result.size, numbers.LONG_UNITS)
    exact = f" ({result.size:,} bytes)" if result.size >= 1024 else ""
    parts = [size + exact]
    parts += [_FORMATS[result.format]] if result.format in _FORMATS else []
    parts += ["PE32+" if layout.bits == 64 else "PE32"] if layout.bits else []
    named = layout.machine and layout.machine != "none"  # not in a disarmed file
    parts += [clean(layout.machine or "", 32)] if named else []
    parts += [".NET"] if layout.dotnet else []
    parts += ["EFI"] if layout.efi else []
    return ", ".join(parts)


def _verdict(verdict: Verdict) -> Text:
    text = untrusted(verdict.label, _verdict_style(verdict), 64)
    sure = numbers.probability(facts.shown_probability(verdict)) if verdict.calibrated else ""
    near = facts.near(verdict)
    if near:
        text.append(f" ({f'closest: {clean(near, 64)} {sure}'.rstrip()})", style="yellow")
    elif sure and not verdict.closest:
        text.append(f"  {sure}")
    score = facts.score(verdict)
    if score is not None:
        text.append(f"  score {numbers.score(score)} of 100", style="dim")
    return text


def _verdict_style(verdict: Verdict) -> str:
    if verdict.label == facts.SUSPICIOUS:
        return "bold yellow"
    if verdict.label == facts.UNKNOWN:
        return "bold magenta"
    if verdict.label == BENIGN:
        return "bold green"
    return "bold red" if verdict.flagged else "bold"


def _flag(result: Result, console: Console, width: int) -> Iterator[Text]:
    """Whether the file is flagged, with the margin, the threshold and what that was set on."""
    verdict = result.verdict
    if verdict.flagged is None:
        yield _field("flagged", Text(f"not judged: {facts.not_judged(result)}", style="dim"))
        return
    text = Text("yes", style="bold red") if verdict.flagged else Text("no")
    alarms = facts.false_alarms(verdict)
    said = []
    if verdict.margin is not None and verdict.threshold is not None:
        margin, threshold = numbers.signed(verdict.margin), numbers.signed(verdict.threshold)
        said.append(f"margin {margin}, threshold {threshold}")
    if alarms is not None:
        said.append(clean(alarms, MAX_ALARMS) if said else f"threshold {clean(alarms, MAX_ALARMS)}")
    if said:
        text.append(f"; {', '.join(said)}", style="not bold default")
    yield from _wrapped("flagged", text, console, width)


def _set(result: Result, console: Console, width: int) -> Iterator[Text]:
    """The prediction set and the novelty."""
    members = Text(facts.prediction_set(result.verdict) or "")
    if members:
        yield from _wrapped("set", members, console, width)
    strange = facts.novelty(result)
    if strange is not None:
        yield _field("novelty", Text(strange))


def _ranked(verdict: Verdict) -> Iterator[Text]:
    shown = sorted(verdict.ranked, key=lambda r: -r.probability)[:MAX_RANKED]
    rows = [
        [
            untrusted(r.label, "", 24),
            Text(numbers.probability(r.probability)),
            numbers.bar(r.probability, _BAR, "cyan"),
        ]
        for r in shown
    ]
    layout = aligned.columns(("", "", ""), rows, (1,))
    for cells in rows:
        yield aligned.line(cells, layout, 2, INDENT + 10)
    more = len(verdict.ranked) - len(shown)
    if more > 0:
        total = sum(r.probability for r in verdict.ranked)
        rest = max(0.0, total - sum(r.probability for r in shown))
        text = f"{numbers.count(more, 'more label')}, {numbers.probability(rest)} together"
        yield Text(" " * (INDENT + 10) + text, style="dim")


def _notices(result: Result, console: Console, width: int) -> Iterator[Text]:
    shown = result.notices[:MAX_NOTICES]
    fields = [(untrusted(n.code, "yellow", 24), untrusted(n.text, "", 400)) for n in shown]
    yield from _fields(fields, console, width)
    if len(result.notices) > len(shown):
        more = len(result.notices) - len(shown)
        yield Text(" " * INDENT + f"… {numbers.count(more, 'more notice')}", style="dim")


def _identity(result: Result, console: Console, width: int) -> Iterator[Text]:
    present = [(Text(n, style="dim"), untrusted(v)) for n, v in names_of(result).items()]
    yield from _fields(present, console, width)


def names_of(result: Result) -> dict[str, str]:
    """Known hashes and claims of the file, the model and the method. Sanitize them."""
    identity, version = result.identity, result.identity.version
    known = {
        "md5": identity.md5,
        "sha1": identity.sha1,
        "tlsh": identity.tlsh,
        "imphash": identity.imphash,
        "rich hash": identity.rich_hash,
        "made with": _tools(identity.made_with),
        "compiled": _claim(identity.compile_time, _dated(identity.compile_time)),
        "pdb path": identity.pdb_path,
        "company": version.company if version else None,
        "product": version.product if version else None,
        "file name": version.original_name if version else None,
        "signer": _claim(identity.signer, _SIGNED[identity.as_signed]),
        "model": f"{result.model.name} {result.model.weights_sha256[:12]}",
        "evidence": facts.method_name(result.evidence),
    }
    return {name: value for name, value in known.items() if value}


def _tools(tools: list[Tool]) -> str | None:
    """What the file was made with, and who says so."""
    named = ", ".join(f"{tool.text} ({tool.kind})" for tool in tools)
    if not named:
        return None
    by_die = any(tool.by == "die" for tool in tools)
    return f"{named}; by {'Detect It Easy' if by_die else 'its headers'}"


def _fields(pairs: list[tuple[Text, Text]], console: Console, width: int) -> Iterator[Text]:
    """Names and values in two columns; a long value is wrapped, never cut."""
    column = aligned.Column("", max(name.cell_len for name, _ in pairs))
    for name, value in pairs:
        start = aligned.line([name], [column], 2, INDENT)
        indent = INDENT + column.width + 2
        for part in aligned.wrapped(value, console, width, indent):
            start.append(" " * (indent - start.cell_len))
            yield start.append_text(part[indent:])
            start = Text(no_wrap=True)


def _dated(stamp: str | None) -> str:
    """What a time of compilation is worth."""
    return "what Delphi writes into any program" if stamp == _DELPHI else "a claim of the file"


def _claim(value: str | None, remark: str) -> str | None:
    return f"{value} ({remark})" if value else None
