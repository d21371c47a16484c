"""Words for groups of similar files, and the screen of `maltriage group`."""

from __future__ import annotations

import math

from rich.console import Console
from rich.text import Text

from maltriage.report import aligned, numbers
from maltriage.report.documents.groups import GroupList, Member
from maltriage.report.documents.record import Group
from maltriage.report.sanitize import clean, untrusted

MAX_VALUE = 40
MAX_LABEL = 24
MAX_LABELS = 8
_WORDS = {
    "copies": "equal bytes",
    "code": "code",
    "tlsh": "TLSH",
    "model": "how the model sees them",
    "imphash": "imports",
    "rich_hash": "Rich header",
    "pdb_path": "PDB path",
    "signer": "signer",
    "original_name": "original name",
    "product": "product",
    "company": "company",
    "made_with": "made with",
}
_SHOWN = ("pdb_path", "signer", "original_name", "product", "company", "made_with")
"""Signs whose value says more than that it is equal."""


def alike(group: Group, *, values: bool = False) -> str:
    """What all files of a group share, in words.

    Args:
        values: with the values of names, which come from the samples.
    """
    parts = []
    for sign in group.shared:
        name, _, value = sign.partition(" ")
        words = _WORDS.get(name, clean(name))
        shown = values and name in _SHOWN
        parts.append(f"{words} {clean(value, MAX_VALUE)}" if shown else words)
    return ", ".join(parts) or "each with the first in another way"


def labels(group: Group) -> str:
    """The labels of a group with the number of its files."""
    counted = list(group.labels.items())
    shown = ", ".join(f"{clean(name, MAX_LABEL)} {n:,}" for name, n in counted[:MAX_LABELS])
    more = len(counted) - MAX_LABELS
    return shown + (f", {numbers.count(more, 'more label')}" if more > 0 else "")


def spread(group: Group) -> str:
    """The lowest and the highest score of a group, whole numbers as the table has them."""
    if group.lowest is None or group.highest is None:
        return "no score"
    low, high = math.floor(group.lowest), math.floor(group.highest)
    return f"score {low} to {high}" if low != high else f"score {low}"


def render(found: GroupList, console: Console, members: int) -> None:
    """Print the groups.

    Args:
        members: files of a group that are listed, at most; 0: all.
    """
    for listed in found.groups:
        console.print(_heading(listed.group), soft_wrap=False)
        shown = listed.members[: members or None]
        lines = [_member(member, console.width) for member in shown]
        aligned.emit(console, lines)
        more = len(listed.members) - len(shown)
        if more:
            console.print(Text(f"    … and {more:,} more (--members 0 lists all)", style="dim"))
        console.print()
    several = numbers.count(found.groups_found, "group")
    in_groups = numbers.count(found.files - found.alone, "file")
    said = f"{in_groups} in {several}, {numbers.count(found.alone, 'file')} like no other."
    if len(found.groups) < found.groups_found:
        top = len(found.groups)
        first = "The first one is" if top == 1 else f"The first {top:,} are"
        said += f" {first} listed (--top 0: all)."
    console.print(Text(said, style="bold"))


def _heading(group: Group) -> Text:
    style = "bold red" if group.flagged else "bold"
    said = Text(f"{group.id}  {numbers.count(group.files, 'file')}", style=style)
    said.append(f"  {labels(group)}  {spread(group)}", style="")
    said.append(f"  alike: {alike(group, values=True)}", style="cyan")
    return said


def _member(member: Member, width: int) -> Text:
    score = Text(numbers.score(member.score), style="bold red" if member.flagged else "dim")
    label = untrusted(member.label, "", MAX_LABEL)
    layout = [
        aligned.Column("", 4, right=True),
        aligned.Column("", MAX_LABEL // 2),
        aligned.Column("", max(20, width - 24)),
    ]
    path = Text(numbers.middle(clean(member.path), layout[-1].width))
    return aligned.line((score, label, path), layout, indent=2)
