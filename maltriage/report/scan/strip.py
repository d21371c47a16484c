"""What a scan found, in a few lines above its table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from rich.text import Text

from maltriage.report import numbers
from maltriage.report.documents.record import Summary
from maltriage.report.sanitize import clean

MAX_FAMILIES, MAX_REASONS = 8, 6
MAX_LABEL = 24
REASONS = {
    "not-pe": "not PE",
    "container": "not opened (RAR, ISO, CAB, ...)",
    "not-byteplot": "not a byteplot",
    "empty": "empty",
    "too-large": "too large",
    "symlink": "a link",
    "special-file": "no regular file",
    "input": "of a format that the model does not read",
    "password": "password unknown",
    "members": "archive with other files too",
}
"""Why files are skipped, in words, by code; other codes are words themselves."""


def strip(summary: Summary, known: Mapping[str, int], outside: int) -> Iterator[Text]:
    """The lines: what is flagged, what else is malware, and what became of all other files.

    Args:
        known: files that are not flagged, by the label of malware that the index has them with.
        outside: files that look clean, and of whose kind the model learned hardly any malware.
    """
    yield _flagged(summary)
    if known:
        yield _known(known)
    hardly = f"{outside:,} of kinds that the model hardly knows" if outside else ""
    parts = [
        _part(summary.clean, "look clean" if summary.clean > 1 else "looks clean", hardly),
        _part(summary.unknown, "unknown", "leaning to malware, but not flagged"),
        _part(summary.unjudged, "not judged"),
        _part(summary.known, "known good"),
        _part(summary.failed, "failed", style="bold yellow"),
        _part(summary.skipped, "skipped", reasons(summary.skipped_by)),
    ]
    others = [part for part in parts if part is not None]
    if others:
        yield Text("  ").join(others)


def reasons(skipped_by: Mapping[str, int]) -> str:
    """Reasons of skipped files with their numbers: `8 no program, 3 too large`."""
    return _named(((REASONS.get(c, c.replace("-", " ")), n) for c, n in skipped_by.items()))


def _flagged(summary: Summary) -> Text:
    many = numbers.count(summary.files, "file")
    if not summary.files:
        return Text("No file was triaged.", style="bold")
    if not summary.flagged:
        style = "bold" if summary.known_malware else "bold green"
        return Text(f"Nothing flagged in {many}.", style=style)
    said = Text(f"{summary.flagged:,} of {many} flagged", style="bold red")
    if summary.flagged_groups and summary.flagged_groups < summary.flagged:
        said.append(f", {summary.flagged_groups:,} unlike each other")
    if summary.families:
        said.append(": " + _labels(summary.families))
    return said


def _labels(counted: Mapping[str, int]) -> str:
    ordered = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{clean(label, MAX_LABEL)} {n:,}" for label, n in ordered[:MAX_FAMILIES]]
    more = len(ordered) - MAX_FAMILIES
    return ", ".join(shown + ([numbers.count(more, "more label")] if more > 0 else []))


def _known(known: Mapping[str, int]) -> Text:
    files = sum(known.values())
    which = "that is not flagged is" if files == 1 else "that are not flagged are"
    many, named = numbers.count(files, "file"), _labels(known)
    return Text(f"{many} {which} malware by the index of labelled files: {named}", "bold red")


def _part(count: int, noun: str, why: str = "", style: str = "") -> Text | None:
    if not count:
        return None
    return Text(f"{count:,} {noun}" + (f": {why}" if why else ""), style=style)


def _named(counted: Iterable[tuple[str, int]]) -> str:
    ordered = sorted(counted, key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{n:,} {clean(name)}" for name, n in islice(ordered, MAX_REASONS))
    rest = sum(n for _, n in ordered[MAX_REASONS:])
    return shown + (f", {rest:,} for other reasons" if rest else "")
