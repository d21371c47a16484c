"""Groups the files of a scan that are alike, record by record, without a second pass.

A file joins the first group that one of these signs points to, the surest sign first:

* the same content;
* code: at least `Limits.code` of its pieces are those of a file of the group;
* import table and Rich header: both hashes are equal;
* TLSH, where it was computed: a distance of at most `Limits.tlsh`;
* the model: at most `Limits.bits` bits of the two embedding digests differ.

Otherwise it begins a group of its own. A group never merges with another, so the group of a record
is final when it is written, and is the same each time, since records come in the order of the walk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from maltriage.report.documents import facts
from maltriage.report.documents.groups import GroupList, GroupMembers, Member
from maltriage.report.documents.record import Group, Record, Result, Summary
from maltriage.sample.code_digest import VALUE_BYTES, VALUES, shared
from maltriage.similar.digest import BITS
from maltriage.similar.near import NearEmbeddings, NearTlsh
from maltriage.similar.tlsh_distance import distances, parsed


@dataclass(frozen=True)
class Limits:
    """How alike two files of a group have to be, by sign."""

    code: float = 0.25
    """Share of the pieces of code, at least."""
    bits: int = 20
    """Bits of embedding digests that differ, of 256, at most: an angle of about 14 degrees."""
    built: bool = True
    """Whether equal import tables and Rich headers are a sign."""
    tlsh: int = 60
    """Distance of TLSH digests, at most, where records have them."""


MAX_GROUPS = 1000
"""Groups in a summary, the most urgent first."""
FOUND_BY = 8
"""Values, the smallest, that a code digest is found by: half of its memory, and 9 of 10 digests
that share a quarter."""
MAX_HAVING = 64
"""Code digests that are found by one value: a value of more is code that many programs have."""
ID_DIGITS = 12
MAX_VALUE = 80
"""Characters of a value that all files of a group share."""
_VALUE = 2 * VALUE_BYTES


def grouped(records: Iterable[Record]) -> Iterator[Record]:
    """The records, each result with its group, and the summary with the groups."""
    groups = Groups()
    for record in records:
        if isinstance(record, Result):
            yield groups.put(record)
        elif isinstance(record, Summary):
            yield groups.into(record)
        else:
            yield record


def ungrouped(records: Iterable[Record]) -> Iterator[Record]:
    """The records, none with a group."""
    for record in records:
        grouped_before = isinstance(record, Result) and record.group is not None
        yield msgspec.structs.replace(record, group=None) if grouped_before else record


def listed(records: Iterable[Record], top: int) -> GroupList:
    """The groups of two or more files with their members, the most urgent first.

    Args:
        records: of one or more scans; groups that they have are made anew.
        top: most groups of the list; 0: all.
    """
    groups, members = Groups(), dict[str, list[tuple[tuple[int, float, str], Member]]]()
    for record in records:
        if isinstance(record, Result):
            group, verdict = groups.put(record).group or "", record.verdict
            score, flagged = facts.score(verdict), verdict.flagged
            member = Member(record.path, record.sha256, verdict.label, score, flagged)
            members.setdefault(group, []).append((facts.urgency(record), member))
    several = groups.several()
    found = [
        GroupMembers(group, [member for _, member in sorted(members[group.id], key=_urgency)])
        for group in several[: top or None]
    ]
    files = sum(map(len, members.values()))
    alone = files - sum(group.files for group in several)
    return GroupList(files, alone, len(several), found)


def _urgency(member: tuple[tuple[int, float, str], Member]) -> tuple[tuple[int, float, str], str]:
    return member[0], member[1].path


@dataclass(slots=True)
class _Members:
    """What is known of the files of a group."""

    id: str
    code: str | None
    bits: npt.NDArray[np.uint64] | None
    tlsh: npt.NDArray[np.uint8] | None
    """Digests of its first file, which the others are compared with."""
    same: dict[str, str]
    """Fields of the identity that all files have with the same value."""
    best: tuple[int, float, str]
    path: str
    path_b64: str | None
    labels: dict[str, int]
    files: int = 0
    contents: int = 0
    flagged: int = 0
    all_code: bool = True
    all_model: bool = True
    all_tlsh: bool = True
    lowest: float | None = None
    highest: float | None = None


class Groups:
    """The groups of one scan so far."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._members = list[_Members]()
        self._by_content = dict[int, int]()
        self._by_imports = dict[str, int]()
        self._codes = list[tuple[str, int]]()
        """Code digests that files are compared with, each with its group."""
        self._by_code = dict[str, int | list[int]]()
        """Numbers of code digests, one or several, by each of their first values."""
        self._embeddings = NearEmbeddings(self._limits.bits)
        self._tlsh = NearTlsh(self._limits.tlsh)

    def put(self, result: Result) -> Result:
        """The result with its group."""
        content = hash(result.sha256)  # 64 bits: a million contents take half the memory
        number = self._by_content.get(content)
        new = number is None
        if number is None:
            number = self._by_content[content] = self._joined(result)
        members = self._members[number]
        self._count(members, result, new=new)
        return msgspec.structs.replace(result, group=members.id)

    def into(self, summary: Summary) -> Summary:
        """The summary with the groups."""
        return msgspec.structs.replace(
            summary,
            groups=self.several(MAX_GROUPS),
            group_count=len(self._members),
            flagged_groups=sum(members.flagged > 0 for members in self._members),
        )

    def several(self, most: int | None = None) -> list[Group]:
        """The groups of two or more files, the most urgent first, `most` of them."""
        found = [members for members in self._members if members.files > 1]
        found.sort(key=lambda members: members.best)
        return [_group(members) for members in found[:most]]

    def _joined(self, result: Result) -> int:
        """The number of the group that a new content joins, or begins."""
        code, bits = _code(result), _bits(result.embedding_digest)
        imports, rich = result.identity.imphash, result.identity.rich_hash
        built = f"{imports}{rich}" if imports and rich and self._limits.built else None
        by_code = self._like_code(code) if code else None
        by_model = self._embeddings.nearest(bits) if bits is not None else None
        tlsh = parsed(result.identity.tlsh)
        by_tlsh = self._tlsh.nearest(tlsh) if tlsh is not None else None
        number = by_code
        if number is None and built is not None:
            number = self._by_imports.get(built)
        if number is None:
            number = by_tlsh if by_tlsh is not None else by_model
        if number is None:
            number = len(self._members)
            self._members.append(_begun(result, code, bits))
        # What its own digest would not find yet is found from now on.
        if code and by_code is None:
            self._find_by(code)
            self._codes.append((code, number))
        if bits is not None and by_model is None:
            self._embeddings.add(bits, number)
        if tlsh is not None and by_tlsh is None:
            self._tlsh.add(tlsh, number)
        if built is not None:
            self._by_imports.setdefault(built, number)
        return number

    def _find_by(self, code: str) -> None:
        """Have the next code digest found by its first values."""
        number = len(self._codes)
        for at in range(0, min(len(code), FOUND_BY * _VALUE), _VALUE):
            value = code[at : at + _VALUE]
            having = self._by_code.get(value)
            if having is None:
                self._by_code[value] = number
            elif isinstance(having, int):
                self._by_code[value] = [having, number]
            elif len(having) < MAX_HAVING:
                having.append(number)

    def _like_code(self, code: str) -> int | None:
        met = set[int]()
        for at in range(0, len(code), _VALUE):
            having = self._by_code.get(code[at : at + _VALUE], ())
            met.update((having,) if isinstance(having, int) else having)
        best = max(((shared(code, self._codes[n][0]), -n) for n in met), default=(0.0, 0))
        return self._codes[-best[1]][1] if best[0] >= self._limits.code else None

    def _count(self, members: _Members, result: Result, *, new: bool) -> None:
        """Count a file of a group; `new`: its content was not seen before."""
        members.files += 1
        members.flagged += bool(result.verdict.flagged)
        label = result.verdict.label
        members.labels[label] = members.labels.get(label, 0) + 1
        score = facts.score(result.verdict)  # a content has two where a threshold was changed
        if score is not None:
            members.lowest = score if members.lowest is None else min(members.lowest, score)
            members.highest = score if members.highest is None else max(members.highest, score)
        urgency = facts.urgency(result)
        if urgency < members.best:
            members.best, members.path, members.path_b64 = urgency, result.path, result.path_b64
        if not new:
            return
        members.contents += 1
        if members.contents == 1:
            return
        # What the files before it do not share, all of them do not, whatever this one has.
        if members.same:
            signs = _signs(result)
            members.same = {n: v for n, v in members.same.items() if signs.get(n) == v}
        if members.all_code:
            code, first = _code(result), members.code
            members.all_code = bool(code and first and shared(code, first) >= self._limits.code)
        if members.all_model:
            members.all_model = self._near(_bits(result.embedding_digest), members.bits)
        if members.all_tlsh:
            tlsh, other = parsed(result.identity.tlsh), members.tlsh
            members.all_tlsh = (
                tlsh is not None
                and other is not None
                and (int(distances(tlsh, other[None])[0]) <= self._limits.tlsh)
            )

    def _near(
        self, one: npt.NDArray[np.uint64] | None, other: npt.NDArray[np.uint64] | None
    ) -> bool:
        if one is None or other is None:
            return False
        return int(np.bitwise_count(one ^ other).sum()) <= self._limits.bits


def _code(result: Result) -> str | None:
    """The code digest; a saved report may come from anywhere and hold a longer text."""
    digest = result.identity.code_digest
    return digest[: VALUES * _VALUE] if digest else None


def _bits(digest: str | None) -> npt.NDArray[np.uint64] | None:
    """The words of an embedding digest; None for anything else: a report may come from anywhere."""
    try:
        data = bytes.fromhex(digest or "")
    except ValueError:
        return None
    return np.frombuffer(data, dtype=">u8").astype(np.uint64) if len(data) == BITS // 8 else None


def _begun(result: Result, code: str | None, bits: npt.NDArray[np.uint64] | None) -> _Members:
    return _Members(
        id=result.sha256[:ID_DIGITS],
        code=code,
        bits=bits,
        tlsh=parsed(result.identity.tlsh),
        same=_signs(result),
        best=facts.urgency(result),
        path=result.path,
        path_b64=result.path_b64,
        labels={},
    )


def _signs(result: Result) -> dict[str, str]:
    """What a file may share with others, by name, the most telling first."""
    identity, version = result.identity, result.identity.version
    signs = {
        "imphash": identity.imphash,
        "rich_hash": identity.rich_hash,
        "pdb_path": identity.pdb_path,
        "signer": identity.signer,
        "original_name": version and version.original_name,
        "product": version and version.product,
        "company": version and version.company,
        "made_with": facts.made_with(result),
    }
    return {name: value for name, value in signs.items() if value and value.strip()}


def _group(members: _Members) -> Group:
    told = []
    if members.contents == 1:
        told = ["copies"]
    else:
        told += ["code"] if members.all_code else []
        told += ["tlsh"] if members.all_tlsh else []
        told += ["model"] if members.all_model else []
        told += [f"{name} {value[:MAX_VALUE]}" for name, value in members.same.items()]
    ordered = sorted(members.labels.items(), key=lambda item: (-item[1], item[0]))
    return Group(
        id=members.id,
        files=members.files,
        contents=members.contents,
        flagged=members.flagged,
        path=members.path,
        sha256=members.best[2],
        labels=dict(ordered),
        shared=told,
        lowest=facts.rounded(members.lowest),
        highest=facts.rounded(members.highest),
        path_b64=members.path_b64,
    )
