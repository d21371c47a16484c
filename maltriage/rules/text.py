"""A YARA rule as text. Text of a sample or a bundle is escaped: see `quoted`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from maltriage.probe.inspect.strings import ELLIPSIS
from maltriage.probe.rule.pattern import quoted
from maltriage.report import numbers
from maltriage.report.documents.facts import region_name
from maltriage.report.sanitize import clean
from maltriage.rules.types import Chosen, Facts, Group
from maltriage.version import __version__

MAX_COMMENT = 160
"""Characters of the comment on a string."""
MAX_COMMENTED = 8
"""Instructions of a string that are shown."""
MAX_HITS = 200
"""Hits that are named."""
PREFIX = "maltriage_"
_NO_NAME = re.compile(r"[^A-Za-z0-9_]+")
_MAX_NAME = 64


def rule_name(family: str) -> str:
    """An identifier of YARA for a family: never empty, never a keyword, at most 74 characters."""
    return PREFIX + (_NO_NAME.sub("_", family).strip("_")[:_MAX_NAME] or "family")


def rule_text(groups: Sequence[Group], facts: Facts) -> str:
    """The rule: the required number of strings of one group, in a file of a size like those of
    the samples."""
    # With an underscore, so that no group's name is a prefix of another's.
    heads = [f"g{number}_" for number in range(1, len(groups) + 1)]
    named = [
        (head, [(f"{head}{i:02d}", item) for i, item in enumerate(group.strings, 1)])
        for head, group in zip(heads, groups, strict=True)
    ]
    every = [pair for _, pairs in named for pair in pairs]
    lines = [f"rule {rule_name(facts.family)}", "{", "    meta:"]
    meta = _meta(facts)
    meta += [(f"evidence_{name}", _where(item, len(facts.samples))) for name, item in every]
    for head, group in zip(heads, groups, strict=True):
        meta.append((f"condition_{head.rstrip('_')}", _why(group)))
    lines += [f"        {key} = {_text(value)}" for key, value in meta]
    lines += ["    strings:"]
    for name, item in every:
        lines += [f"        // {line}" for line in _comments(item)]
        lines += [f"        ${name} = {item.candidate.pattern.yara()}"]
    wanted = [f"{g.least} of (${head}*)" for head, g in zip(heads, groups, strict=True)]
    any_of = wanted[0] if len(wanted) == 1 else f"({' or '.join(wanted)})"
    begins = "uint16(0) == 0x5A4D and " if facts.programs else ""
    condition = f"        {begins}filesize <= {facts.largest} and {any_of}"
    return "\n".join([*lines, "    condition:", condition, "}", ""])


def _meta(facts: Facts) -> list[tuple[str, str]]:
    of_each = [(f"sample_{i}", sha256) for i, sha256 in enumerate(facts.samples, 1)]
    made = [(name, sha256) for name, sha256 in of_each if sha256 not in facts.left_out]
    out = [(name, sha256) for name, sha256 in of_each if sha256 in facts.left_out]
    called = f", explained for {facts.family} as asked" if facts.asked else f" of {facts.family}"
    return [
        ("author", f"maltriage {__version__}"),
        ("description", f"Hot bytes of {numbers.count(len(made), 'file')}{called}"),
        ("asked" if facts.asked else "family", facts.family),
        *([("verdicts", _verdicts(facts))] if facts.verdicts else []),
        ("date", facts.date),
        ("model", facts.model),
        ("model_sha256", facts.model_sha256),
        *made,
        *((f"{name}_left_out", sha256) for name, sha256 in out),
        *_trial(facts),
    ]


def _verdicts(facts: Facts) -> str:
    """`benign 3, unknown 1`."""
    return ", ".join(f"{label} {number}" for label, number in facts.verdicts)


def _trial(facts: Facts) -> Iterator[tuple[str, str]]:
    """What the rule was tried on, and every hit."""
    yield (
        "goodware",
        "none" if facts.clean is None else f"no match in {numbers.count(facts.clean, 'file')}",
    )
    for number, (built, count) in enumerate(facts.alike, 1):
        are = "is" if count == 1 else "are"
        yield f"goodware_alike_{number}", f"{count:,} of these {are} {built}, as samples are"
    for warning in warnings(facts):
        yield "warning", warning
    if facts.recall is None:
        yield "recall", "not measured: no other files of the family"
    else:
        yield "recall", f"{facts.recall[0]:,} of {facts.recall[1]:,} other files of the family"
    wrong = sum(label != facts.family for label, _ in facts.hits)
    if facts.others:
        yield "other_families", f"{wrong:,} of {facts.others:,} files"
    for number, (label, sha256) in enumerate(facts.hits[:MAX_HITS], 1):
        yield f"hit_{number}", f"{label} {sha256}"
    if len(facts.hits) > MAX_HITS:
        yield "hits", f"and {len(facts.hits) - MAX_HITS:,} more"


def warnings(facts: Facts) -> list[str]:
    """Why the rule may match clean programs all the same, is a draft, or has a family's name
    that no verdict gave."""
    found = []
    if facts.asked:
        found.append(f"{facts.family} was asked for, the verdicts are {_verdicts(facts)}")
    found += [
        f"no clean file was tried that is {built}" for built, count in facts.alike if not count
    ]
    if len(facts.samples) - len(facts.left_out) == 1:
        found.append("made of one file: its strings may be of this file alone")
    return found


def _where(item: Chosen, count: int) -> str:
    where = item.evidence
    return (
        f"{item.candidate.kind} at 0x{item.candidate.offset:x} of sample_{where.file + 1}, in "
        f"{len(item.files)} of {count}; range 0x{where.range[0]:x}-0x{where.range[1]:x} of "
        f"{region_name(where.region)}, heat {where.contribution:+.3f}, "
        f"{where.status or 'not checked'}"
    )


def _why(group: Group) -> str:
    """The number of strings that a file must have, and its derivation."""
    samples = ", ".join(f"sample_{number + 1}" for number in group.files)
    return (
        f"{group.least} of {len(group.strings)}; of {samples} the one with the fewest has "
        f"{group.fewest}"
    )


def _comments(item: Chosen) -> list[str]:
    """Disassembly of a string, on ASCII comment lines that it cannot leave; for text nothing."""
    if item.candidate.pattern.form != "hex":
        return []
    shown = [_ascii(clean(line, MAX_COMMENT)) for line in item.candidate.text[:MAX_COMMENTED]]
    more = len(item.candidate.text) - len(shown)
    return [*shown, f"and {more} more"] if more else shown


def _ascii(line: str) -> str:
    """A cleaned line with all but ASCII written as the \\xNN of its UTF-8, as `quoted` does it; an
    ellipsis, which says that a text was cut, as three full stops."""
    raw = line.replace(ELLIPSIS, "...").encode("utf-8", "backslashreplace")
    return "".join(chr(byte) if byte < 0x80 else f"\\x{byte:02x}" for byte in raw)


def _text(value: str) -> str:
    return quoted(clean(value).encode("utf-8", "backslashreplace"))
