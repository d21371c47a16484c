"""The document of `maltriage group`: groups of similar files with their members."""

from __future__ import annotations

import msgspec

from maltriage.report.documents.record import Group


class Member(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of a group; `score` is that of `facts.score`."""

    path: str
    sha256: str
    label: str
    score: float | None
    flagged: bool | None


class GroupMembers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A group and its files, the most urgent first."""

    group: Group
    members: list[Member]


class GroupList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The groups of two or more files of a scan, the most urgent first.

    `files` counts all results, `alone` those that are like no other, `groups_found` all groups of
    two or more: the list may have fewer (`--top`).
    """

    files: int
    alone: int
    groups_found: int
    groups: list[GroupMembers]
