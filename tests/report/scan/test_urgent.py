"""The rows that are kept are those that sorting all results would give."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from report.factories import make_result, make_verdict

from maltriage.report.documents import facts
from maltriage.report.documents.record import Result
from maltriage.report.scan.urgent import MostUrgentRows


def result(content: int, group: int | None) -> Result:
    verdict = make_verdict("icedid", 0.9, content / 7, 1.0)
    name = None if group is None else f"group {group}"
    return msgspec.structs.replace(make_result(f"{content}.exe", verdict), group=name)


@given(
    contents=st.lists(st.integers(0, 40), max_size=80),
    limit=st.integers(0, 6),
    kinds=st.sampled_from([None, 3, 10]),
)
def test_the_most_urgent_groups_are_kept(
    contents: list[int], limit: int, kinds: int | None
) -> None:
    """Without groups, the most urgent contents, and how many files have them."""
    kept, best = MostUrgentRows(limit), dict[str, list[Result]]()
    for content in contents:
        found = result(content, None if kinds is None else content * 7 % kinds)
        kept.add(found)
        best.setdefault(found.group or found.sha256, []).append(found)
    firsts = sorted(best.values(), key=lambda files: min(map(facts.urgency, files)))
    wanted = [min(map(facts.urgency, files)) for files in firsts][: limit or None]
    rows = kept.rows()
    assert [row.key for row in rows] == wanted
    assert kept.seen == len(contents)
    if kinds is None or not limit:
        assert [row.files for row in rows] == [len(files) for files in firsts][: limit or None]
