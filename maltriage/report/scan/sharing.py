"""What formats for other organisations (STIX, MISP) say of a result."""

from __future__ import annotations

import ntpath
import os

from maltriage.report import numbers
from maltriage.report.documents import facts
from maltriage.report.documents.record import Result, path_fields, path_of
from maltriage.report.sanitize import MAX_SHOWN, clean
from maltriage.sample.types import OTHER
from maltriage.source.archive.names import inner_name


def file_name(result: Result) -> str | None:
    """The name of the file without its folder, which says something of whoever scanned it."""
    path = path_of(result)
    path = inner_name(path) or path
    name = path.rpartition("/")[2]
    if os.sep == "\\" or ntpath.splitdrive(path)[0] or "/" not in path:
        name = name.rpartition("\\")[2]  # elsewhere it is part of a name
    return clean(path_fields(name)[0], MAX_SHOWN) or None


def label(result: Result) -> str:
    return clean(result.verdict.label, facts.MAX_LABEL)


def said(result: Result) -> str:
    """The verdict in short: `icedid, score 93`, and the label that the index has the file with."""
    known = facts.known_as_malware(result)
    index = f"; in the index of labelled files as {clean(known, facts.MAX_LABEL)}" if known else ""
    return f"{label(result)}, score {numbers.score(facts.score(result.verdict))}{index}"


def family(result: Result) -> str | None:
    """The family that a flagged file is named, or else that the index has it with; None: none."""
    verdict = result.verdict
    if verdict.flagged and verdict.label not in (facts.SUSPICIOUS, facts.UNKNOWN):
        return label(result)
    known = facts.known_malware(result)
    return None if known in (None, OTHER) else clean(known, facts.MAX_LABEL)


def signature(result: Result) -> str:
    """What a scanner would call the file: its family, or the label of the verdict that flags it."""
    return family(result) or (label(result) if result.verdict.flagged else "malware")


def why(result: Result) -> str:
    """The verdict and what decided, in a sentence."""
    hot, made = facts.hottest(result), facts.made_with(result)
    where = f"; hottest region {clean(facts.region_name(hot.name), facts.MAX_LABEL)}" if hot else ""
    tools = f"; made with {clean(made, MAX_SHOWN)}" if made else ""
    return f"{said(result)} of 100, flagged from 50 on{where}{tools}"
