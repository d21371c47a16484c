"""Groups of similar files: what makes them, and what the summary says of them."""

from __future__ import annotations

import random

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from report.factories import (
    make_failed,
    make_identity,
    make_result,
    make_skipped,
    make_summary,
    make_verdict,
    sha256_of,
)

from maltriage.report.documents.record import Result, Summary
from maltriage.sample.types import VersionInfo
from maltriage.similar.digest import BITS, embedding_digest
from maltriage.similar.groups import MAX_GROUPS, Groups, Limits, grouped, listed


def code_of(*values: int) -> str:
    return "".join(f"{value:08x}" for value in sorted(values))


def flipped(digest: str, bits: int) -> str:
    """A digest of which so many bits differ."""
    return f"{int(digest, 16) ^ ((1 << bits) - 1):064x}"


def some(seed: int | str) -> str:
    return random.Random(seed).randbytes(BITS // 8).hex()


def file(path: str, score: float = 3.0, embedding: str | None = None, **identity: object) -> Result:
    """A result like no other but for what is given."""
    verdict = make_verdict("icedid", 0.9, score, 1.0)
    sha256 = sha256_of(path)
    fields = {"imphash": None, "rich_hash": None, **identity}
    named = make_identity(sha256, 1000, **fields)  # type: ignore[arg-type]
    digest = some(path) if embedding is None else embedding
    return make_result(path, verdict, identity=named, embedding_digest=digest)


def ids(*results: Result, limits: Limits | None = None) -> list[str | None]:
    groups = Groups(limits)
    return [groups.put(result).group for result in results]


def test_files_like_no_other_are_groups_of_their_own() -> None:
    found = ids(*(file(f"{n}.exe") for n in range(20)))
    assert len(set(found)) == 20
    assert found[0] == sha256_of("0.exe")[:12]


def test_equal_code_makes_a_group() -> None:
    code = code_of(*range(16))
    third = code_of(*range(4), *range(100, 112))
    none = code_of(*range(1), *range(200, 215))
    first, second, other, apart = (
        file(name, code_digest=digest)
        for name, digest in (("a", code), ("b", code), ("c", third), ("d", none))
    )
    assert len(set(ids(first, second, other))) == 1
    assert len(set(ids(first, apart))) == 2


def test_a_content_with_two_scores_counts_with_both() -> None:
    """As in reports from before and after a threshold was changed."""
    low, high = file("a", 0.5), file("a", 9.0)
    for order in ((low, high), (high, low)):
        *_, summary = grouped([*order, make_summary()])
        assert isinstance(summary, Summary)
        (group,) = summary.groups or ()
        assert (group.files, group.contents) == (2, 1)
        assert group.lowest is not None
        assert group.highest is not None
        assert group.lowest < 50 < group.highest


def test_imports_and_rich_header_make_a_group_only_together() -> None:
    both = {"imphash": "1" * 32, "rich_hash": "2" * 32}
    assert len(set(ids(file("a", **both), file("b", **both)))) == 1
    assert len(set(ids(file("a", imphash="1" * 32), file("b", imphash="1" * 32)))) == 2
    assert len(set(ids(file("a", **both), file("b", imphash="1" * 32, rich_hash="3" * 32)))) == 2


def test_what_the_model_sees_alike_makes_a_group() -> None:
    digest, limit = some(0), Limits().bits
    near, far = file("b", embedding=flipped(digest, limit)), flipped(digest, limit + 1)
    assert len(set(ids(file("a", embedding=digest), near))) == 1
    assert len(set(ids(file("a", embedding=digest), file("b", embedding=far)))) == 2


def test_a_group_is_found_by_what_its_later_files_brought() -> None:
    """The second joins by its code and brings another embedding, which the third is like."""
    code, other = code_of(*range(16)), some(2)
    first = file("a", embedding=some(1), code_digest=code)
    second = file("b", embedding=other, code_digest=code)
    assert len(set(ids(first, second, file("c", embedding=other)))) == 1


def test_a_report_with_nonsense_for_digests_is_read() -> None:
    bad = file("a", embedding="nothing", code_digest="xyz" * 100_000)
    assert (
        len(set(ids(bad, file("b", embedding="ff"), file("c", embedding="", code_digest="")))) == 3
    )


@given(seed=st.integers(0, 10**6), count=st.integers(1, 40))
def test_the_nearest_group_is_joined(seed: int, count: int) -> None:
    """As comparing with every first file would have it."""
    rng = np.random.default_rng(seed)
    digests = [rng.bytes(BITS // 8).hex() for _ in range(4)]
    made = [flipped(digests[rng.integers(4)], int(rng.integers(40))) for _ in range(count)]
    found = ids(*(file(f"{n}", embedding=digest) for n, digest in enumerate(made)))
    firsts = list[tuple[int, str | None]]()
    for digest, group in zip(made, found, strict=True):
        far = [((int(digest, 16) ^ first).bit_count(), n) for n, (first, _) in enumerate(firsts)]
        near = [pair for pair in far if pair[0] <= Limits().bits]
        if near:
            assert group == firsts[min(near)[1]][1]
        else:
            assert all(group != other for _, other in firsts)
            firsts.append((int(digest, 16), group))


def test_records_keep_their_order_and_copies_are_counted() -> None:
    first = file("a.exe", 2.0)
    copy = msgspec.structs.replace(first, path="b.exe")
    near = file("c.exe", 5.0, embedding=first.embedding_digest, pdb_path="x.pdb")
    records = [first, make_skipped(), copy, make_failed(), near, file("d.exe", -3.0)]
    *found, summary = grouped([*records, make_summary()])
    assert [
        msgspec.structs.replace(r, group=None) if isinstance(r, Result) else r for r in found
    ] == records
    assert isinstance(summary, Summary)
    assert summary.groups is not None
    (group,) = summary.groups
    assert (summary.group_count, summary.flagged_groups) == (2, 1)
    assert (group.files, group.contents, group.flagged) == (3, 2, 3)
    assert (group.path, group.sha256, group.id) == ("c.exe", near.sha256, first.sha256[:12])
    assert group.labels == {"icedid": 3}
    assert group.shared[0] == "model"
    assert "signer CN=Better Software Ltd, C=GB" in group.shared
    assert not any(sign.startswith("pdb_path") for sign in group.shared)
    assert group.lowest is not None
    assert group.highest is not None
    assert 50 < group.lowest < group.highest


def test_copies_alone_are_said_to_be_copies() -> None:
    first = file("a.exe")
    *_, summary = grouped([first, msgspec.structs.replace(first, path="b.exe"), make_summary()])
    assert isinstance(summary, Summary)
    assert summary.groups is not None
    assert [group.shared for group in summary.groups] == [["copies"]]


def test_the_summary_has_the_most_urgent_groups() -> None:
    count, records = MAX_GROUPS + 5, list[Result]()
    for n in range(count):
        first = file(f"{n}", n / 100)
        records += [first, msgspec.structs.replace(first, path=f"{n} again")]
    *_, summary = grouped([*records, make_summary()])
    assert isinstance(summary, Summary)
    assert summary.groups is not None
    assert summary.group_count == count
    assert len(summary.groups) == MAX_GROUPS
    assert summary.groups[0].path == f"{count - 1}"


def test_members_are_listed_the_most_urgent_first() -> None:
    first = file("a", 2.0)
    near = file("b", 4.0, embedding=first.embedding_digest)
    found = listed([first, file("c"), near, make_summary()], top=0)
    assert (found.files, found.alone, found.groups_found) == (3, 1, 1)
    assert [member.path for member in found.groups[0].members] == ["b", "a"]
    assert listed([first, near], top=1).groups[0].group.files == 2


def test_digests_of_embeddings_tell_the_angle() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 100)).astype(np.float32)
    for angle in (0.0, 0.2, 0.5, 1.0):
        across = other - one * (one @ other) / (one @ one)
        turned = np.cos(angle) * one / np.linalg.norm(one)
        turned = turned + np.sin(angle) * across / np.linalg.norm(across)
        digests = (embedding_digest(one), embedding_digest(turned.astype(np.float32)))
        differ = (int(digests[0], 16) ^ int(digests[1], 16)).bit_count()
        assert abs(differ / BITS - angle / np.pi) < 0.08
    assert len(embedding_digest(one)) == BITS // 4


def test_near_tlsh_digests_make_a_group() -> None:
    digest = "T1" + "0A" * 35
    other = "T1" + "0A" * 34 + "0B"  # one bucket differs by one step
    far = "T1" + "0A" * 20 + "F5" * 15
    assert len(set(ids(file("a", tlsh=digest), file("b", tlsh=other)))) == 1
    assert len(set(ids(file("a", tlsh=digest), file("b", tlsh=far)))) == 2
    assert len(set(ids(file("a", tlsh=digest), file("b", tlsh="TNULL")))) == 2


def test_tlsh_digests_are_near_up_to_the_limit() -> None:
    """A distance of 60: each byte of 55 has four buckets that differ from 00 by one step."""
    first, near, far = (
        file(name, tlsh="T1" + "0A" * 3 + body.ljust(64, "0"))
        for name, body in (("a", ""), ("b", "55" * 15), ("c", "55" * 15 + "01"))
    )
    assert len(set(ids(first, near))) == 1
    assert len(set(ids(first, far))) == 2


def test_blank_names_are_not_shared() -> None:
    blank = VersionInfo(" ", "", "\t")
    first = file("a", version=blank)
    near = file("b", version=blank, embedding=first.embedding_digest)
    (found,) = listed([first, near], top=0).groups
    assert not any(
        sign.startswith(("product", "company", "original")) for sign in found.group.shared
    )


def test_names_are_shared_where_all_files_have_them() -> None:
    first = file("a", version=VersionInfo("Company", "Product", "name.dll"))
    near = file("b", version=first.identity.version, embedding=first.embedding_digest)
    without = file("c", version=None, embedding=first.embedding_digest)
    names = {"company Company", "product Product", "original_name name.dll"}
    for others, shared in (([near], names), ([without], set()), ([near, without], set())):
        (found,) = listed([first, *others], top=0).groups
        assert names & set(found.group.shared) == shared
