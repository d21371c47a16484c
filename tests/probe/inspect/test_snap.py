"""Edges move to sensible places; ranges never overlap, never leave a region, never vanish."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from maltriage.probe.inspect.image import Thing
from maltriage.probe.inspect.snap import SNAP_IN, SNAP_OUT, Range, Snapped, snapped
from maltriage.sample.types import Region

REGION = Region(".text", "section", 1000, 9000, 0x1000)


def snap(start: int, end: int, *things: Thing) -> Snapped:
    (item,) = snapped([Range(start, end, start, REGION)], lambda item, edge: list(things))
    return item


def test_edges_go_to_the_nearer_end_of_what_they_cut() -> None:
    item = snap(2000, 2256, Thing(1900, 2040), Thing(2200, 2300))
    assert (item.range.start, item.range.end) == (2040, 2300)
    assert (item.before, item.after) == (-40, 44)
    item = snap(2000, 2256, Thing(1900, 2100), Thing(2200, 2312))
    assert (item.range.start, item.range.end, item.before, item.after) == (1900, 2312, 100, 56)


def test_as_far_as_is_allowed_and_no_further() -> None:
    assert snap(2000, 2256, Thing(2000 - SNAP_OUT, 2200)).before == SNAP_OUT
    assert snap(2000, 2256, Thing(2000 - SNAP_OUT - 1, 2200)).before == 0
    assert snap(2000, 2256, Thing(1000, 2000 + SNAP_IN)).before == -SNAP_IN
    assert snap(2000, 2256, Thing(1000, 2000 + SNAP_IN + 1)).before == 0
    both = snap(2000, 2256, Thing(1960, 2040))
    assert both.before == 40  # outwards where both ends are as near


def test_the_first_thing_that_helps_is_taken() -> None:
    far, near = Thing(0, 9999), Thing(1990, 2100)
    assert snap(2000, 2256, far, near).before == 10
    assert snap(2000, 2256, Thing(1950, 2100), near).before == 50


def test_what_begins_at_an_edge_is_not_cut() -> None:
    item = snap(2000, 2256, Thing(2000, 2256), Thing(2256, 2300), Thing(1990, 2000))
    assert (item.before, item.after) == (0, 0)


def test_a_far_end_inwards_is_no_reason_to_shrink() -> None:
    item = snap(2000, 2020, Thing(1000, 9000))
    assert (item.range.start, item.range.end) == (2000, 2020)


def test_a_range_keeps_a_byte() -> None:
    item = snap(2000, 2001, Thing(1000, 2030), Thing(1999, 2500))
    assert item.range.start < item.range.end


def test_two_that_cut_one_thing_are_one() -> None:
    """The focus is that of the hotter, which comes first, and so is the place in the list."""
    ranges = [
        Range(3000, 3100, 3050, REGION),
        Range(2400, 2500, 2450, REGION),
        Range(2000, 2300, 2200, REGION),
    ]
    things = [Thing(2200, 2430)]
    (hottest, merged) = snapped(ranges, lambda item, edge: things)
    assert hottest.range == ranges[0]
    assert (merged.range.start, merged.range.end, merged.range.focus) == (2000, 2500, 2450)
    assert (merged.before, merged.after) == (0, 0)


def test_neighbours_of_two_regions_stay_apart() -> None:
    other = Region(".data", "section", 9000, 9900, 0x9000)
    ranges = [Range(8900, 9000, 8900, REGION), Range(9000, 9100, 9000, other)]
    found = snapped(ranges, lambda item, edge: [Thing(8000, 9900)])
    assert [item.range for item in found] == ranges


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Range], list[Thing]]:
    """Ranges that do not overlap in three regions, and things anywhere."""
    cuts = sorted(draw(st.lists(st.integers(1, 2999), min_size=2, max_size=2, unique=True)))
    edges = [0, *cuts, 3000]
    regions = [Region(str(i), "section", edges[i], edges[i + 1]) for i in range(3)]
    marks = draw(st.lists(st.integers(0, 3000), max_size=12, unique=True).map(sorted))
    marks = sorted({*marks, *cuts})
    ranges = []
    for start, end in pairwise(marks):
        region = next(r for r in regions if r.start <= start < r.end)
        if draw(st.booleans()):
            ranges.append(Range(start, end, draw(st.integers(start, end - 1)), region))
    spans = st.tuples(st.integers(0, 2990), st.integers(1, 600))
    things = [Thing(at, at + size) for at, size in draw(st.lists(spans, max_size=12))]
    return draw(st.permutations(ranges)), things


@given(cases())
def test_invariants(case: tuple[list[Range], list[Thing]]) -> None:
    ranges, things = case

    def inside(item: Range, edge: int) -> list[Thing]:
        low, high = item.region.start, item.region.end
        return [Thing(max(t.start, low), min(t.end, high)) for t in things]

    found = snapped(ranges, inside)
    ordered = sorted((item.range for item in found), key=lambda r: r.start)
    for first, second in pairwise(ordered):
        assert first.end <= second.start
        assert not (first.end == second.start and first.region == second.region)
    originals = {item.start for item in ranges}, {item.end for item in ranges}
    for item in found:
        place = item.range
        assert place.region.start <= place.start < place.end <= place.region.end
        assert place.start <= place.focus < place.end
        assert place.start + item.before in originals[0]
        assert place.end - item.after in originals[1]
        assert -SNAP_IN <= item.before <= SNAP_OUT
        assert -SNAP_IN <= item.after <= SNAP_OUT
    # What is lost of a range is at most what its edges may move inwards, and nothing is invented:
    # each found range has at least one of those asked for in it, or what is left of one.
    assert len(found) <= len(ranges)
    for asked in ranges:
        if asked.end - asked.start > 2 * SNAP_IN:
            middle = (asked.start + asked.end) // 2
            assert any(r.start <= middle < r.end for r in ordered)
