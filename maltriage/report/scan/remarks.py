"""What is to know of a scan as a whole, in sentences below its table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.text import Text

from maltriage.report import numbers
from maltriage.report.documents import facts
from maltriage.report.documents.record import FileRecord, Result, Summary
from maltriage.report.sanitize import clean
from maltriage.sample.types import BENIGN
from maltriage.source.archive.names import inner_name

CARVED = "!carved@"
"""In the path of a program in another one."""
MAX_NAMED = 3
"""Most files that a sentence names."""
PROGRAMS = frozenset("com cpl dll drv efi exe ocx scr sys".split())
"""Endings of programs."""
OTHERS = frozenset(
    "avi bmp csv doc docx gif htm html ico jpeg jpg json log mp3 mp4 odt otf pdf png ppt pptx rtf"
    " svg tif tiff ttf txt wav webp xls xlsx xml zip".split()
)
"""Endings of files that are no programs, and that nobody takes for one."""


_UNCALIBRATED = {
    "outside-training": "the model learned from hardly any malware of {their} kind"
    " (outside-training)",
    "uncalibrated": "the model is not calibrated",
}
"""Why a score says little, by a name of the reason."""


_OPENED_BY = {
    "--carve with libarchive": "--carve looks into where",
    "--carve": "--carve looks into",
}
"""What opens an installer, and how its notice says so; the first that it does counts."""
MAX_SHELLS = 1000
"""Installers whose paths are kept, to name the first of them."""
_UNPACKED_BY = "--carve unpacks"
"""How the notice of a packed program says that."""


@dataclass
class Named:
    """How many files there are of a sort, and the first of them by name."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, path: str) -> None:
        self.count += 1
        self.first = sorted([*self.first, path])[:MAX_NAMED]

    def __str__(self) -> str:
        more = self.count - len(self.first)
        return ", ".join(map(clean, self.first)) + (f" and {more:,} more" if more else "")


class Remarks:
    """Counts what is remarked on, record by record."""

    def __init__(self) -> None:
        self.known = Counter[str]()
        """Files that are not flagged, by the label of malware that the index has them with."""
        self.kept = 0
        """Files whose result was kept from an earlier scan."""
        self.outside = 0
        """Files that look clean, and of whose kind the model learned hardly any malware."""
        self._refused = Named()
        self._why_refused = ""
        self._cut_short: dict[str, tuple[int, str]] = {}
        """Number of files that were only read in part, by code, and the first reason."""
        self._no_threshold = False
        self._uncalibrated = Counter[str]()
        """Files whose score says little, by the reason."""
        self._unjudged, self._renamed, self._no_programs = Named(), Named(), Named()
        self._shells = dict[int, tuple[str, str]]()
        """Installers that are not flagged, by `hash` of the path: what opens them, and the path, of
        the first `MAX_SHELLS`."""
        self._packed = set[int]()
        """Programs that could be unpacked, likewise."""
        self._looked_into = set[int]()
        """Programs in which others were found, or trouble, likewise."""

    def add(self, record: FileRecord) -> None:
        carrier, inside, _ = record.path.partition(CARVED)
        if inside:
            self._looked_into.add(hash(carrier))
        if isinstance(record, Result):
            self._add_result(record)
        elif record.code == "input":
            self._refused.add(record.path)
            self._why_refused = self._why_refused or record.reason
        elif record.code in facts.CUT_SHORT:
            count, reason = self._cut_short.get(record.code, (0, f"{record.path}: {record.reason}"))
            self._cut_short[record.code] = count + 1, reason
        elif record.code == "not-pe" and _ending(record.path) in PROGRAMS:
            self._no_programs.add(record.path)

    def _add_result(self, record: Result) -> None:
        verdict = record.verdict
        self.kept += record.timing.stored
        if not facts.judged(verdict):
            self._unjudged.add(record.path)
            self._no_threshold |= not facts.unread(record)
        if not verdict.calibrated and not facts.unread(record):
            outside = facts.outside(record)
            self._uncalibrated["outside-training" if outside else "uncalibrated"] += 1
        shell = next((item.text for item in record.notices if item.code == "installer"), None)
        if shell is not None and not verdict.flagged:
            way = next((way for way, said in _OPENED_BY.items() if said in shell), "")
            path = record.path if len(self._shells) < MAX_SHELLS else ""
            self._shells[hash(record.path)] = way, path
        if any(item.code == "packed?" and _UNPACKED_BY in item.text for item in record.notices):
            self._packed.add(hash(record.path))
        if record.format == "pe" and _ending(record.path) in OTHERS:
            self._renamed.add(record.path)
        known = facts.known_as_malware(record)
        if known is not None and not verdict.flagged:
            self.known[known] += 1
        elif verdict.label == BENIGN and facts.outside(record):
            self.outside += 1

    def of_names(self) -> Iterator[str]:
        """The sentences on files whose name says something else than their content."""
        if self._renamed.count:
            many = numbers.count(self._renamed.count, "program")
            yield f"{many} named like something else: {self._renamed}"
        if self._no_programs.count:
            many = numbers.count(self._no_programs.count, "file")
            yield f"{many} named like a program, but not PE: {self._no_programs}"

    def of_shells(self) -> Iterator[str]:
        """The sentence on installers that nobody looked into."""
        shells = [found for key, found in self._shells.items() if key not in self._looked_into]
        ways, many = Counter(way for way, _ in shells), len(shells)
        named = Named(many, sorted(path for _, path in shells if path)[:MAX_NAMED])
        # Where --carve was given it found no program in those that it opens by itself.
        able = [
            way for way in _OPENED_BY if ways[way] and (way != "--carve" or not self._looked_into)
        ]
        which = "it" if many == 1 else "them" if len(able) == 1 and ways[able[0]] == many else ""
        how = ", ".join(f"{way} looks into {which or f'{ways[way]:,} of them'}" for way in able)
        how = f" ({how})" if how else ""
        if many == 1:
            yield (
                "1 installer that is not flagged is judged by its shell, and not by what it"
                f" carries{how}: {named}"
            )
        elif many:
            yield (
                f"{many:,} installers that are not flagged are judged by their shells, and not by"
                f" what they carry{how}: {named}"
            )

    def of_packed(self) -> Iterator[str]:
        """The sentence on packed programs that nobody unpacked."""
        if many := len(self._packed - self._looked_into):
            is_, its, it = ("is", "its", "it") if many == 1 else ("are", "their", "them")
            programs = numbers.count(many, "program")
            # Where --carve was given, these could not be unpacked.
            how = "" if self._looked_into else f" (--carve unpacks {it})"
            yield f"{programs} packed with UPX {is_} judged by {its} packed bytes{how}."

    def of_scores(self) -> Iterator[str]:
        """The sentences on files whose score was not fitted to files like them."""
        for reason, why in _UNCALIBRATED.items():
            if count := self._uncalibrated[reason]:
                files, their = numbers.count(count, "file"), "its" if count == 1 else "their"
                yield f"The score of {files} says little: {why.format(their=their)}."

    def lines(self, summary: Summary) -> Iterator[Text]:
        """The sentences, those first that an analyst must not miss."""
        if summary.interrupted:
            yield Text("Interrupted: this is not the whole scan.", style="yellow")
        for said in self.of_names():
            yield Text(said, style="yellow")
        for said in (*self.of_shells(), *self.of_packed()):
            yield Text(said, style="yellow")
        if self._refused.count:
            said = f"{numbers.count(self._refused.count, 'file')} skipped: {self._why_refused}."
            yield Text(clean(said), style="yellow")
        for code, (count, reason) in sorted(self._cut_short.items()):
            rest = f" (and {numbers.count(count - 1, 'more file')})" if count > 1 else ""
            yield Text(clean(f"{code}: {reason}{rest}."), style="yellow")
        if self._no_threshold:
            yield Text("The model has no threshold: nothing is flagged by it.", style="dim")
        elif self._unjudged.count:
            many = numbers.count(self._unjudged.count, "file")
            said = f"{many} not judged, whose headers cannot be read: {self._unjudged}"
            yield Text(said, style="dim")
        for said in self.of_scores():
            yield Text(said, style="dim")


def _ending(path: str) -> str:
    name = (inner_name(path) or path).replace("\\", "/").rpartition("/")[2]
    return name.rpartition(".")[2].lower() if "." in name else ""
