from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from report.factories import (
    make_checked,
    make_contents,
    make_evidence,
    make_failed,
    make_identity,
    make_plane,
    make_result,
    make_similar,
    make_summary,
    make_verdict,
)
from report.pages import BREAKOUT, assert_sealed
from report.screens import hidden, written

from maltriage.errors import MaltriageError
from maltriage.report.documents.evidence import (
    Agreement,
    Compared,
    HotRange,
    MethodHeat,
    RegionHeat,
    ViewHeat,
)
from maltriage.report.documents.record import Ranked, Result
from maltriage.report.explain import score_table
from maltriage.report.explain.page import Scale, explanation
from maltriage.report.formats import RenderOptions
from maltriage.sample.types import Notice, VersionInfo


def page_of(result: Result, **options: Any) -> str:
    return explanation(result, RenderOptions(**options))


def words(text: str) -> str:
    """What a reader sees, without markup, data and blanks."""
    text = re.sub(r"<(script|style)\b.*?</\1>", " ", text, flags=re.S)
    return " ".join(re.sub("<[^>]*>", " ", text).split())


def with_evidence(result: Result, **changes: Any) -> Result:
    evidence = msgspec.structs.replace(result.evidence, **changes)
    return msgspec.structs.replace(result, evidence=evidence)


def test_a_page_answers_what_it_is_whether_flagged_which_bytes_and_whether_checked() -> None:
    text = page_of(make_checked(plane=True))
    parts = assert_sealed(text)
    seen = words(text)
    assert "icedid score 90 of 100 92.1% flagged checked: 5 of 7 claims supported" in seen
    assert "hottest region .text (46.3%)" in seen
    assert (
        "margin +3.412, threshold +1.204, set on clean files so that at most 1% are flagged" in seen
    )
    for name, contribution in ((".text", "+1.982"), (".rsrc", "+1.244"), ("overlay", "-0.365")):
        assert re.search(
            rf"{re.escape(name)} \w+ [0-9a-f]+-[0-9a-f]+ .*?{re.escape(contribution)}", seen
        )
    assert "contradicted" in seen
    assert set(parts.data) == {"strip-data", "plot-data"}
    assert seen.index(".text section") < seen.index(".rsrc section") < seen.index(".data section")


def test_the_words_of_the_checks_are_explained_as_on_the_screen() -> None:
    result = make_checked()
    seen = words(page_of(result))
    assert result.evidence.checks is not None
    assert score_table.LEGEND in seen
    for status, said in score_table.legend(result.evidence.checks):
        assert f"{status} {said}" in seen
    assert score_table.LEGEND not in words(page_of(make_result()))


def test_image_views_that_add_nothing_are_one_line() -> None:
    views = [ViewHeat("words", 1.5, None, None)]
    views += [ViewHeat(name, 0.0, 0, 4096) for name in ("body", "entry", "import")]
    seen = words(page_of(with_evidence(make_result(), views=views)))
    assert "words the whole file +1.500 3 image views: 0 " in seen
    assert "By view" not in words(page_of(with_evidence(make_result(), views=[])))


def test_sums_stand_below_the_column_they_sum() -> None:
    seen = words(page_of(make_result()))
    assert re.search(
        r"total: all bytes and padding \+3\.2\d\d baseline \+ bias: what no byte", seen
    )
    apart = words(page_of(with_evidence(make_result(), additive=False)))
    assert "baseline + bias" not in apart
    assert "does not add up to the log odds" in apart


def test_top_folds_tables_and_loses_no_heat() -> None:
    result = make_result(plane=True)
    seen = words(page_of(result, top=3))
    assert "4 more regions" in seen
    assert "1 more range, +0.041 together" in seen
    assert ".reloc section" not in seen
    assert ".reloc section" in words(page_of(result, top=0))


def test_every_content_of_a_hot_range_is_there() -> None:
    result = make_result()
    hot = [
        msgspec.structs.replace(result.evidence.hot[0], content=found)
        for found in make_contents().values()
    ]
    seen = words(page_of(with_evidence(result, hot=hot)))
    for part in (
        "code at sub_41b800",
        "guessed processor: x86",
        "WININET.dll!Open",
        "IL of A.B::C",
        "RCDATA PAYLOAD",
        "Optional AddressOfEntryPoint",
        "SOFTWARE\\Run",
        ".NET stream #US",
        "A.dll : Open and 3 more",
        "DllRegisterServer",
        "55 8b ec 83 ec 18 53 56",
    ):
        assert part in seen, part


def test_fields_of_headers_unfold() -> None:
    result = make_result()
    content = make_contents()["header"]
    hot = [msgspec.structs.replace(result.evidence.hot[0], content=content)]
    result = with_evidence(result, hot=hot)
    summary = "<details><summary>header fields: 2 with heat, strongest Optional Address"
    assert summary in page_of(result)
    assert "COFF Machine" in words(page_of(result))
    assert summary.replace("<details>", "<details open>") in page_of(result, verbose=True)


def test_similar_files() -> None:
    seen = words(page_of(make_result(similar=make_similar(0.03124, 0.2))))
    assert "Similar files the nearest of 1,532 labelled files, by centred-cosine" in seen
    assert "distance label sha256 0.031 icedid" in seen
    assert "No other file is in the index." in words(page_of(make_result(similar=make_similar())))
    assert "Similar files" not in words(page_of(make_result()))


def test_the_prediction_set() -> None:
    some = make_result(
        verdict=make_verdict(set=["icedid", "maze"], coverage=0.9, novelty=2.0, novelty_limit=1.5)
    )
    assert "icedid, maze (coverage 90%)" in page_of(some)
    assert "+2.00, above the limit +1.50" in page_of(some)
    assert "novelty" not in page_of(make_result())
    assert "(coverage" not in page_of(make_result())


def test_a_hostile_sample_is_text_and_nothing_else() -> None:
    verdict = make_verdict(BREAKOUT, closest=BREAKOUT, goodware=BREAKOUT, set=[BREAKOUT])
    verdict = msgspec.structs.replace(verdict, ranked=[Ranked(BREAKOUT, 0.9)])
    result = make_checked(BREAKOUT, verdict=verdict, plane=True)
    evidence = result.evidence
    regions = [msgspec.structs.replace(r, name=BREAKOUT) for r in evidence.regions]
    hot = [msgspec.structs.replace(h, region=BREAKOUT, hex="zz") for h in evidence.hot]
    heat = MethodHeat(BREAKOUT, [BREAKOUT], 1.0, 0.0, [1.0] * len(regions))
    compared = Compared([heat, heat], [Agreement(BREAKOUT, BREAKOUT, None)])
    identity = make_identity(
        BREAKOUT, 1, pdb_path=BREAKOUT, version=VersionInfo(BREAKOUT, BREAKOUT, BREAKOUT)
    )
    result = msgspec.structs.replace(
        with_evidence(
            result,
            regions=regions,
            hot=hot,
            label=BREAKOUT,
            against=BREAKOUT,
            method=BREAKOUT,
            compared=compared,
            views=[msgspec.structs.replace(evidence.views[0], name=BREAKOUT)],
        ),
        sha256=BREAKOUT,
        identity=identity,
        similar=make_similar(0.1, label=BREAKOUT, distance=BREAKOUT),
        notices=[Notice(BREAKOUT, BREAKOUT)],
    )
    text = page_of(result, top=3)
    parts = assert_sealed(text)
    assert not hidden(text)
    tags = [tag for tag, _ in parts.elements]
    assert tags.count("script") == 3
    assert tags.count("img") == 2
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    assert r"\u202e" in words(text)


@pytest.mark.parametrize(
    ("plane", "said"),
    [
        (None, "No picture"),
        (msgspec.structs.replace(make_plane(), pixels="?"), "Picture left out: its pixels"),
        (msgspec.structs.replace(make_plane(), length=None), "does not say which bytes"),
    ],
)
def test_what_the_record_does_not_have_is_said(plane: Any, said: str) -> None:
    text = page_of(with_evidence(make_result(), plane=plane))
    assert said in words(text)
    # Nothing can be lit where no bytes are known to be shown.
    assert 'aria-pressed="false">.text' not in text
    assert_sealed(text)


def test_an_empty_file_and_one_without_heat() -> None:
    region = RegionHeat("", "unparsed", 0, 0, 0.0, 0.0, 0.0)
    result = msgspec.structs.replace(make_result(), size=0)
    bare = make_evidence(regions=[region], hot=[], views=[], total=0.0, padding=0.0)
    for evidence in (bare, msgspec.structs.replace(bare, regions=[])):
        assert_sealed(page_of(msgspec.structs.replace(result, evidence=evidence)))


def test_a_range_without_bytes_and_without_place() -> None:
    hot = [HotRange(0, 16, "?", None, 0.5, None)]
    seen = words(page_of(with_evidence(make_result(), hot=hot)))
    assert "0000-0010" in seen.replace("000000-000010", "0000-0010")
    assert "rva" not in seen.split("Hot ranges")[1].split("Which view")[0]


def test_bars_share_one_zero_and_end_at_the_edges() -> None:
    scale = Scale.over([3.0, -1.0])
    assert scale.zero == 25
    assert scale.bar(3.0) == (25, 75)
    assert scale.bar(-1.0) == (0, 25)
    assert Scale.over([0.0]).bar(0.0) == (0, 0)


def test_a_page_explains_one_file() -> None:
    with pytest.raises(MaltriageError, match="one by one"):
        written("explain-page", [make_result(), make_result()])
    with pytest.raises(MaltriageError, match="permission denied"):
        written("explain-page", [make_failed()])
    assert written("explain-page", [make_result(), make_summary()]).endswith(b"</html>\n")
