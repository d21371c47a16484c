from __future__ import annotations

import msgspec
import pytest
from report.factories import make_checked, make_contents, make_evidence

from maltriage.report.documents.evidence import Common, ViewHeat
from maltriage.report.explain.region_strip import (
    LARGE,
    MAX_STRINGS,
    SMALL,
    WIDTH,
    body_share,
    strip,
)
from maltriage.sample.findings import FoundString


def test_regions_and_hot_ranges_lie_over_the_file() -> None:
    result = make_checked()
    evidence = result.evidence
    shown = sorted(evidence.regions, key=lambda r: -abs(r.contribution))[:3]
    drawn = strip(evidence, shown, evidence.hot[:2], result.size, SMALL)
    assert [part.key for part in drawn.parts] == ["x0", "r0", "x2", "x3", "r1", "x5", "r2"]
    assert [part.light for part in drawn.parts][:2] == ["", "r0"]
    assert sum(part.width for part in drawn.parts) == pytest.approx(WIDTH, rel=0.01)
    assert [mark.key for mark in drawn.marks] == ["h0", "h1"]
    assert drawn.said.keys() == {p.key for p in drawn.parts} | {"h0", "h1"}
    for size in (SMALL, LARGE):
        drawn = strip(evidence, shown, [], result.size, size)
        tallest = max(drawn.parts, key=lambda part: part.height)
        assert (tallest.top, tallest.height) == (2 + size.regions, size.above)
        assert all(part.top + part.height <= size.marks_at for part in drawn.parts)


def test_what_is_said_is_made_of_the_record() -> None:
    result = make_checked()
    hot = list(result.evidence.hot)
    texts = [FoundString(0x60310 + i, "ascii", f"text {i}") for i in range(MAX_STRINGS + 2)]
    content = msgspec.structs.replace(make_contents()["strings"], strings=texts)
    hot[3] = msgspec.structs.replace(hot[3], content=content)
    regions = list(result.evidence.regions)
    common = Common(share=0.5, packages=3, of=10, contribution=0.1)
    regions[-1] = msgspec.structs.replace(regions[-1], common=common)
    evidence = msgspec.structs.replace(result.evidence, hot=hot, regions=regions)
    said = strip(evidence, regions, hot, result.size, LARGE).said
    strings = "strings: text 0, text 1, text 2, text 3, text 4, text 5 and 2 more"
    assert said["r6"] == [
        "overlay, overlay: 060200-064c00, 18K",
        "contribution -0.365, measured -0.313 supported, -8.5% of all; entropy 7.99",
        "50.0% of it is in clean programs, a typical byte of that in 3 of 10 packages",
        "hot ranges: 060300-060400 +0.041",
        strings,
    ]
    assert said["h3"][:2] == ["hot range 060300-060400, 256B in overlay", "contribution +0.041"]
    assert said["h3"][-1] == strings


@pytest.mark.parametrize(
    ("views", "share"),
    [
        ([], None),
        ([ViewHeat("words", 1.0, None, None)], None),
        ([ViewHeat("body", 0.0, None, None)], None),
        ([ViewHeat("body", -1.0, None, None), ViewHeat("words", 3.0, None, None)], 0.25),
    ],
)
def test_the_share_of_the_byteplot(views: list[ViewHeat], share: float | None) -> None:
    assert body_share(make_evidence(views=views)) == share
