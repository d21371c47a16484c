"""The most urgent results are held back, and no more of them than asked for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from report.factories import make_result, make_verdict

from maltriage.report.documents import facts
from maltriage.report.documents.record import Result
from maltriage.triage.most_urgent import Explained, MostUrgent
from maltriage.triage.verdict import Question


def explained(result: Result) -> Explained:
    return Explained(result, None, [], Question(0))  # type: ignore[arg-type]


MARGINS = (3.0, -1.0, 9.0, 0.5, 9.0, -7.0, 2.0)
RESULTS = st.lists(st.integers(0, len(MARGINS) - 1), max_size=30).map(
    lambda contents: [
        make_result(f"{i}", make_verdict("icedid", 0.9, MARGINS[content]), sha256=f"{content:064x}")
        for i, content in enumerate(contents)
    ]
)


@given(RESULTS, st.integers(1, 6))
def test_the_most_urgent_are_held(results: list[Result], limit: int) -> None:
    top = MostUrgent(limit)
    let_go = [given_back for r in results if (given_back := top.add(explained(r)))]
    held = [item.result for item in top.taken()]
    assert top.taken() == []
    paths = [r.path for r in held] + [item.result.path for item in let_go]
    assert sorted(paths) == sorted(r.path for r in results)
    # Of copies one, and of what is different the most urgent.
    assert [facts.urgency(r) for r in held] == sorted({facts.urgency(r) for r in results})[:limit]
