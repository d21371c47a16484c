from __future__ import annotations

import io
import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from report.factories import (
    REGIONS,
    make_checked,
    make_failed,
    make_result,
    make_scan,
    make_similar,
    make_skipped,
    make_summary,
    make_verdict,
)
from report.pages import BREAKOUT, Parts, assert_sealed
from report.screens import Item, console_of, hidden, written

from maltriage.report.documents.evidence import RegionHeat
from maltriage.report.documents.record import Group
from maltriage.report.formats import SCAN, RenderOptions, open_renderer
from maltriage.report.scan import page
from maltriage.sample.types import Notice


def page_of(*records: Item, **summary: Any) -> str:
    return written("html", [*records, make_summary(**summary)]).decode()


def files(parts: Parts) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """What the page has of each file: of its row, and of its panel."""
    lines = [json.loads(line) for line in parts.data["files"].strip().splitlines()]
    return list(zip(lines[::2], lines[1::2], strict=True))


def test_every_record_is_in_the_page_with_its_evidence() -> None:
    parts = assert_sealed(page_of(*make_scan(), make_checked("checked.exe")))
    found = files(parts)
    states = [row["state"] for row, _ in found]
    assert [states.count(state) for state in ("result", "failed", "skipped")] == [9, 1, 2]
    row, panel = found[-1]
    assert (row["label"], row["flagged"], row["region"]) == ("icedid", True, ".text")
    assert row["checked"].startswith("5/7")
    regions = {region[0]: region for region in panel["regions"]}
    assert {name: regions[name][5] for name, *_ in REGIONS} == {r[0]: r[-1] for r in REGIONS}
    assert regions[".rsrc"][6:] == [-0.421, "contradicted"]
    padding, total, bias, logit = panel["sums"]
    assert sum(r[5] for r in panel["regions"]) + padding == pytest.approx(total, abs=1e-3)
    assert total + bias == pytest.approx(logit, abs=1e-3)
    assert json.loads(parts.data["end"])["summary"]["files"] == 8


@pytest.mark.parametrize(
    ("label", "said"), [("maze", "maze"), ("_other", "malware"), ("benign", None)]
)
def test_what_the_index_has_as_malware_is_said(label: str, said: str | None) -> None:
    known = make_similar(known_as=label)
    calm = make_result("a", make_verdict("benign", 0.99, -7.0), similar=known)
    rows = [row for row, _ in files(assert_sealed(page_of(calm, make_result("b", similar=known))))]
    assert [row["index"] for row in rows] == [said, None]
    assert "PE32" in rows[0]["kind"]


def test_what_a_file_resembles() -> None:
    records = [make_result(similar=make_similar(0.0312)), make_result(similar=make_similar())]
    parts = assert_sealed(page_of(*records, make_result()))
    near, empty, none = (panel["similar"] for _, panel in files(parts))
    assert [found[:2] for found in near["nearest"]] == [["0.031", "icedid"]]
    assert near["said"] is None
    assert (empty["nearest"], empty["said"]) == ([], "No other file is in the index.")
    assert none is None


def test_records_are_written_as_they_come() -> None:
    """Nothing is held back: memory does not grow with the scan."""
    stream = io.BytesIO()
    renderer = open_renderer(SCAN["html"], stream, RenderOptions(top=1), console_of(80))
    lengths = []
    for number in range(4):
        renderer.write(make_result(f"{number}.exe"))
        lengths.append(len(stream.getvalue()))
    steps = [after - before for before, after in pairwise(lengths)]
    assert len(set(steps)) == 1
    assert 1000 < steps[0] < 3000


def test_an_empty_scan_is_a_page() -> None:
    parts = assert_sealed(page_of(files=0, flagged=0))
    assert files(parts) == []


def test_past_the_limit_what_is_not_flagged_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "MAX_UNFLAGGED", 2)
    monkeypatch.setattr(page, "MAX_SKIPPED", 1)
    clean = [make_result(f"{i}.exe", make_verdict("benign", 0.9, -5.0)) for i in range(4)]
    flagged = [make_result(f"flagged-{i}.exe") for i in range(4)]
    skipped = [make_skipped(f"{i}.txt") for i in range(3)]
    text = page_of(*clean, *flagged, make_failed(), make_failed(), *skipped)
    states = [(row["state"], row.get("flagged")) for row, _ in files(Parts(text))]
    assert [states.count(s) for s in (("result", False), ("result", True))] == [2, 4]
    assert [states.count(s) for s in (("failed", None), ("skipped", None))] == [2, 1]
    remarks = json.loads(Parts(text).data["end"])["remarks"]
    assert remarks == [
        "Not listed here: 2 unflagged files more (--format ndjson has all).",
        "Not listed here: 2 skipped files more (--format ndjson has all).",
    ]


def test_what_is_to_know_of_the_whole_is_said() -> None:
    verdict = make_verdict(threshold=None, calibrated=False)
    data = Parts(page_of(make_result(verdict=verdict))).data
    remarks = json.loads(data["end"])["remarks"]
    assert len(remarks) == 2
    assert "no threshold" in remarks[0]
    assert "says little" in remarks[1]
    assert json.loads(data["files"].splitlines()[2])["calibrated"] is False


def test_names_that_say_something_else_are_remarked_on() -> None:
    parts = assert_sealed(page_of(make_result("a.jpg"), make_skipped("b.exe", code="not-pe")))
    assert json.loads(parts.data["end"])["remarks"] == [
        "1 program named like something else: a.jpg",
        "1 file named like a program, but not PE: b.exe",
    ]


def test_files_without_a_threshold_are_counted_beside_that_of_the_others() -> None:
    unread = make_result("headers only.exe", make_verdict("unknown", margin=1.0, flagged=None))
    others = [make_result(), make_result("b.exe", make_verdict("maze"))]
    (remark,) = json.loads(Parts(page_of(unread, *others)).data["end"])["remarks"]
    assert remark == (
        "1 file has no threshold and is not judged: the headers cannot be read."
        " The others have one: set on clean files so that at most 1% are flagged: clean-set."
    )
    sets = [make_verdict(goodware=f"set {i}") for i in range(page.MAX_THRESHOLDS + 1)]
    records = [make_result(f"{i}.exe", verdict) for i, verdict in enumerate(sets)]
    (remark,) = json.loads(Parts(page_of(unread, unread, *records)).data["end"])["remarks"]
    assert remark.startswith("2 files have no threshold and are not judged")
    assert "panel of each" in remark


def test_groups_are_in_the_page_once_in_words() -> None:
    group = Group(
        "ab12cd34ef56", 3, 2, 1, "a.exe", "00" * 32, {"icedid": 2, BREAKOUT: 1},
        ["imphash 0a1b", f"signer {BREAKOUT}"], lowest=12.9, highest=98.2,
    )  # fmt: skip
    parts = assert_sealed(page_of(make_result("a.exe", group=group.id), groups=[group]))
    end = json.loads(parts.data["end"])
    assert end["summary"]["groups"] is None
    (found,) = end["groups"]
    assert (found["id"], found["files"], found["contents"]) == (group.id, 3, 2)
    assert found["spread"] == "score 12 to 98"
    assert found["labels"].startswith("icedid 2, </script>")
    assert found["alike"].startswith("imports, signer </script>")
    assert files(parts)[0][0]["group"] == group.id
    assert json.loads(Parts(page_of(make_result())).data["end"])["groups"] == []


def test_words_on_a_threshold_are_in_the_page_once() -> None:
    other = make_result("c.exe", make_verdict(fpr=0.005))
    data = Parts(page_of(make_result(), make_result("b.exe"), other)).data
    assert json.loads(data["end"])["alarms"] == [
        "set on clean files so that at most 1% are flagged: clean-set",
        "set on clean files so that at most 0.5% are flagged: clean-set",
    ]
    assert [json.loads(line)["alarms"] for line in data["files"].strip().splitlines()[1::2]] == [
        0,
        0,
        1,
    ]


def test_many_regions_are_folded_and_none_of_their_heat_is_lost() -> None:
    regions = [RegionHeat(f"s{i}", "section", i, i + 1, 1.0, 0.5 + i, 0.0) for i in range(100)]
    result = make_result()
    evidence = msgspec.structs.replace(result.evidence, regions=regions)
    ((_, panel),) = files(Parts(page_of(msgspec.structs.replace(result, evidence=evidence))))
    count, rest = panel["folded"]
    assert count + len(panel["regions"]) == 100
    assert rest + sum(r[5] for r in panel["regions"]) == pytest.approx(
        sum(0.5 + i for i in range(100))
    )
    assert panel["regions"][0][0] == "s99"


def test_a_panel_has_the_prediction_set() -> None:
    verdict = make_verdict(set=["icedid", "maze"], coverage=0.9, novelty=2.0, novelty_limit=1.5)
    (_, some), (_, none) = files(Parts(page_of(make_result(verdict=verdict), make_result("b.exe"))))
    assert some["novelty"].startswith("+2.00, above the limit +1.50")
    assert none["novelty"] is None
    assert (some["set"], none["set"]) == ("icedid, maze (coverage 90%)", None)


def test_a_hostile_sample_is_text_and_nothing_else() -> None:
    verdict = make_verdict(BREAKOUT, closest=BREAKOUT, set=[BREAKOUT], coverage=0.9)
    result = make_result(BREAKOUT, verdict, sha256=BREAKOUT)
    similar = make_similar(0.1, label=BREAKOUT, distance=BREAKOUT)
    result = msgspec.structs.replace(result, similar=similar)
    regions = [msgspec.structs.replace(r, name=BREAKOUT) for r in result.evidence.regions]
    evidence = msgspec.structs.replace(result.evidence, regions=regions, label=BREAKOUT)
    notices = [Notice(BREAKOUT, BREAKOUT * 100)]
    result = msgspec.structs.replace(result, evidence=evidence, notices=notices)
    text = page_of(result, make_failed(BREAKOUT, reason=BREAKOUT))
    parts = assert_sealed(text)
    assert not hidden(text)
    assert [tag for tag, _ in parts.elements].count("script") == 3
    (_, panel), _ = files(parts)
    assert page.MAX_NOTICE - 10 < len(panel["notices"][0][1]) <= page.MAX_NOTICE
