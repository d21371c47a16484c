"""The page of a scan, driven as a reader drives it, at a size that scans have."""

from __future__ import annotations

from random import Random

import msgspec
import pytest
from browser.conftest import Open
from playwright.sync_api import Page, expect
from report.factories import (
    make_checked,
    make_failed,
    make_result,
    make_scan,
    make_similar,
    make_skipped,
    make_summary,
    make_verdict,
)
from report.pages import BREAKOUT
from report.screens import Item, written

from maltriage.report import numbers
from maltriage.report.documents.record import Group
from maltriage.sample.types import Notice

MANY = 5_000
NODES = 6_000
"""Elements in the document at most, however many files there are."""


def page_of(records: list[Item], **summary: object) -> bytes:
    return written("html", [*records, make_summary(**summary)])


@pytest.fixture(scope="module")
def many() -> bytes:
    """5,000 files in 40 folders, a third of them flagged, each with a size of its own."""
    random, records = Random(7), []
    for number in range(MANY):
        label = random.choice(("icedid", "bifrose", "maze", "benign", "benign", "benign"))
        flagged = label != "benign" and random.random() < 0.7
        margin = 1.3 + random.random() * 8 if flagged else -random.random() * 8
        verdict = make_verdict(label, 0.4 + random.random() * 0.6, margin)
        if not flagged and label != "benign":
            verdict = msgspec.structs.replace(verdict, label="unknown", closest=label)
        path = f"corpus/{number % 40:02d}/sample_{number:05d}.exe"
        records.append(make_result(path, verdict, size=1_000_000 + number))
    return page_of([*records], files=MANY, flagged=1_650)


def paths(page: Page) -> list[str]:
    links = page.locator("#rows th a")
    found: list[str] = links.evaluate_all("links => links.map((link) => link.title)")
    return found


def test_numbers_are_rounded_as_the_table_rounds_them(opened: Open) -> None:
    """Also halfway between two, where Python takes the even one and `toFixed` the larger."""
    sizes = [209_408, 210_432, 1_280, 1_792, 1_305, 10_188, 10_189, 999, 1_023_488, 3 << 20, 0]
    entropies = [6.125, 6.375, 1.005, 2.675, 7.995, 8.0, 0.0, 4.5, 5.555, 0.125, 0.375]
    records: list[Item] = []
    for number, (size, entropy) in enumerate(zip(sizes, entropies, strict=True)):
        result = make_result(f"{number:02d}.exe", size=size)
        sections = [r for r in result.layout.regions if r.kind == "section"]
        regions = [msgspec.structs.replace(sections[0], entropy=entropy)]
        layout = msgspec.structs.replace(result.layout, regions=regions)
        records.append(msgspec.structs.replace(result, layout=layout, notices=[]))
    page, _ = opened(page_of(records, files=len(records)))
    page.get_by_role("button", name="file", exact=True).click()
    cells = page.locator("#rows td.spare").all_text_contents()
    assert cells[0::2] == [numbers.size(size) for size in sizes]
    assert cells[1::2] == [f"{entropy:.2f}" for entropy in entropies]


def test_five_thousand_files_stay_usable(opened: Open, many: bytes) -> None:
    page, _ = opened(many)
    status = page.locator("#status")
    expect(status).to_have_text("5,000 of 5,000 listed")
    assert page.locator("#rows tr").count() == 100
    assert page.evaluate("document.querySelectorAll('*').length") < NODES
    first = paths(page)
    page.get_by_role("button", name="size").click()
    assert paths(page)[0].endswith("sample_04999.exe")
    page.get_by_role("button", name="size").click()
    assert paths(page) == [f"corpus/{n % 40:02d}/sample_{n:05d}.exe" for n in range(100)]
    expect(page.get_by_role("columnheader", name="size")).to_have_attribute(
        "aria-sort", "descending"
    )
    page.get_by_role("button", name="Next").click()
    assert paths(page)[0].endswith("sample_00100.exe")
    expect(page.locator("#where")).to_have_text("101 to 200 of 5,000")
    page.get_by_label("Find").fill("CORPUS/07 sample_")
    expect(status).to_have_text("125 of 5,000 listed")
    assert paths(page)[0].endswith("sample_00007.exe")
    page.get_by_label("flagged only").check()
    scores = page.locator("#rows td:nth-of-type(2)").all_text_contents()
    assert all(50 <= int(score) < 100 for score in scores)
    page.get_by_label("Find").fill("no such file")
    expect(page.locator("#where")).to_have_text("no file like this")
    page.get_by_label("Find").fill("")
    page.get_by_label("flagged only").uncheck()
    page.get_by_role("button", name="#").click()
    assert paths(page) == first
    for number in range(60):  # opening files leaves nothing behind
        page.evaluate(f"location.hash = 'file-{number}'")
    expect(page.locator("#panel h2")).to_have_text("corpus/19/sample_00059.exe")
    assert page.evaluate("document.querySelectorAll('*').length") < NODES


def test_counts_and_verdicts(opened: Open) -> None:
    page, _ = opened(page_of(make_scan(), interrupted=True))
    counts = page.locator("#counts")
    expect(counts).to_contain_text("8files4flagged0look clean0unknown1failed2skipped")
    said = page.locator("#remarks li").all_text_contents()
    assert said == ["files below cases/2024-117/", "Interrupted: this is not the whole scan."]
    assert page.locator("#rows th a").first.inner_text().startswith("attachments/quarterly/")
    assert paths(page)[0].endswith("Überweisung.exe")
    assert len(paths(page)) == 9
    verdicts = page.get_by_role("group", name="Verdicts")
    verdicts.get_by_role("button", name="skipped 2").click()
    assert [path.rpartition("/")[2] for path in paths(page)] == ["notes.txt", "photo.png"]
    verdicts.get_by_role("button", name="failed 1").click()
    expect(page.locator("#rows")).to_contain_text("permission denied")
    verdicts.get_by_role("button", name="all 9").click()
    page.get_by_label("Find").fill("closest bifrose")
    assert paths(page) == []
    page.get_by_label("Find").fill("bifrose")
    assert [path.rpartition("/")[2] for path in paths(page)] == ["svch0st.exe"]
    expect(page.locator("#rows")).to_contain_text("suspicious closest: bifrose")


def test_evidence_of_a_file_by_link_key_and_address(opened: Open) -> None:
    notices, similar = (("packed?", "looks packed"),), make_similar(0.0312, label="gbot")
    checked = make_checked("b/checked.exe", notices=notices, similar=similar)
    text = page_of([make_result("a/first.exe", make_verdict("maze", 0.99, 9.0)), checked])
    page, _ = opened(text)
    link = page.get_by_role("link", name="first.exe")
    link.focus()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("link", name="checked.exe")).to_be_focused()
    page.keyboard.press("Enter")
    panel = page.get_by_role("complementary", name="Evidence of one file")
    expect(panel.locator("h2")).to_be_focused()
    expect(panel.get_by_role("row", name=".rsrc section")).to_contain_text("-0.421contradicted")
    expect(panel.get_by_role("listitem").last).to_contain_text("0.031 gbot")
    for part in (
        "looks packed",
        "margin +3.412, threshold +1.204, set on clean files so that at most 1% are flagged",
        "in all, for icedid against benign",
        "01ac00-01b000",
    ):
        expect(panel).to_contain_text(part)
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    expect(page.get_by_role("link", name="checked.exe")).to_be_focused()
    again, _ = opened(text, "#file-0")
    expect(again.locator("#panel h2")).to_have_text("a/first.exe")
    again.get_by_role("button", name="Close the evidence").click()
    expect(again.locator("#panel")).to_be_hidden()


def test_keys_go_from_file_to_file_as_the_table_has_them(opened: Open, many: bytes) -> None:
    page, _ = opened(many)
    page.get_by_role("button", name="size").click()
    page.get_by_label("flagged only").check()
    order = paths(page)
    page.get_by_role("button", name="Next").click()
    order += paths(page)
    page.get_by_role("button", name="Previous").click()
    page.locator("#rows a").nth(97).click()
    heading, row = page.locator("#panel h2"), page.locator("#rows tr.open")
    expect(heading).to_have_text(order[97])
    for key, at in (("ArrowDown", 98), ("j", 99), ("ArrowDown", 100), ("j", 101), ("k", 100)):
        page.keyboard.press(key)
        expect(heading).to_have_text(order[at])
        expect(heading).to_be_focused()
        expect(row.locator("a")).to_have_attribute("title", order[at])
        expect(row).to_be_in_viewport()
    expect(page.locator("#where")).to_contain_text("101 to 200")
    page.keyboard.press("ArrowUp")
    expect(heading).to_have_text(order[99])
    expect(page.locator("#where")).to_contain_text("1 to 100")
    expect(page.locator("#panel .place")).to_contain_text("100 of ")
    # A letter that is typed into the filter is no command.
    page.get_by_label("Find").press_sequentially("jk")
    expect(heading).to_have_text(order[99])
    page.get_by_label("Find").fill("")
    # From a row the focus stays in the table, and the panel follows all the same.
    row.locator("a").focus()
    page.keyboard.press("ArrowUp")
    expect(heading).to_have_text(order[98])
    expect(row.locator("a")).to_be_focused()
    page.keyboard.press("Escape")
    for at in (99, 100):
        page.keyboard.press("ArrowDown")
        expect(page.locator(f'#rows a[title="{order[at]}"]')).to_be_focused()
    expect(page.locator("#panel")).to_be_hidden()


def test_keys_stop_at_the_ends_and_at_a_file_that_is_filtered_out(opened: Open) -> None:
    page, _ = opened(page_of([make_result(f"{n}.exe") for n in range(2)]), "#file-1")
    heading = page.locator("#panel h2")
    page.keyboard.press("ArrowDown")
    expect(heading).to_have_text("1.exe")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    expect(heading).to_have_text("0.exe")
    page.get_by_label("Find").fill("1.exe")
    heading.focus()
    page.keyboard.press("ArrowDown")
    expect(heading).to_have_text("1.exe")


def test_the_strip_of_a_panel_lies_over_the_file(opened: Open) -> None:
    result = make_result("a.exe")
    page, _ = opened(page_of([result]), "#file-0")
    strip = page.get_by_role("img", name="in the order of the file")
    titles = strip.locator("title").all_text_contents()
    assert titles[0] == ".text, section, 0400-02ac00: entropy 6.52, contribution +1.982"
    assert titles[-4] == "hot range 01ac00-01b000 in .text: contribution +0.812"
    assert len(titles) == len(result.evidence.regions) + len(result.evidence.hot)
    spans = {}
    for region, rect in zip(titles, strip.locator(".region").all(), strict=False):
        box = float(rect.get_attribute("x") or 0), float(rect.get_attribute("width") or 0)
        spans[region.split(",")[0]] = box
    for region in result.evidence.regions:
        start, width = spans[region.name]
        assert start == pytest.approx(700 * region.start / result.size, abs=1.1)
        assert width == pytest.approx(700 * (region.end - region.start) / result.size, abs=1.1)


def test_groups_lead_to_their_files_and_to_the_one_to_look_at(opened: Open) -> None:
    alike, other = "ab12cd34ef56", "0123456789ab"
    names = ("x/a.exe", "x/b.exe", "y/c.exe")
    records = [make_result(name, group=alike) for name in names]
    records += [make_result("z/d.exe", group=other), make_result("z/e.exe", group="ffff00001111")]
    groups = [
        Group(alike, 3, 2, 3, "y/c.exe", "00" * 32, {"icedid": 3}, ["imphash 0a1b"], 62.0, 98.0),
        # Its most urgent file is one that the page counts and does not list.
        Group(other, 2, 2, 0, "not/listed.exe", "11" * 32, {"benign": 2}, ["code"]),
    ]
    text = page_of([*records], groups=groups)
    page, _ = opened(text)
    page.get_by_role("link", name="groups of similar files 2").click()
    expect(page.locator("#files-view")).to_be_hidden()
    row = page.get_by_role("row", name="3 files, 2 different")
    for part in ("score 62 to 98", "icedid 3", "imports", "y/c.exe"):
        expect(row).to_contain_text(part)
    expect(page.get_by_role("row", name="2 files").last).to_contain_text("not/listed.exe")
    row.get_by_role("link", name="y/c.exe").click()
    panel = page.locator("#panel")
    expect(panel.locator("h2")).to_have_text("y/c.exe")
    panel.get_by_role("link", name="3 files, 2 different alike: imports").click()
    expect(panel).to_be_hidden()
    assert sorted(paths(page)) == list(names)
    expect(page.locator("#within")).to_contain_text(f"group {alike}: 3 files, 2 different")
    expect(page.locator("#status")).to_have_text("3 of 5 listed")
    page.locator("#within").get_by_role("link", name="all files").click()
    expect(page.locator("#within")).to_be_hidden()
    assert len(paths(page)) == 5
    # The address of a group is a link that can be kept; a file that is like no other has none.
    again, _ = opened(text, f"#group-{other}")
    assert paths(again) == ["z/d.exe"]
    again.get_by_role("link", name="files", exact=True).click()
    again.locator('#rows a[title="z/e.exe"]').click()
    expect(again.locator("#panel h2")).to_have_text("z/e.exe")
    assert again.locator("#panel dt", has_text="group").count() == 0
    bare, _ = opened(page_of([make_result()]), "#groups")
    expect(bare.locator("#views")).to_be_hidden()
    assert len(paths(bare)) == 1


def test_paper_has_all_rows_and_no_controls(opened: Open, many: bytes) -> None:
    page, _ = opened(many)
    page.get_by_label("Find").fill("corpus/07 sample_")
    expect(page.locator("#status")).to_have_text("125 of 5,000 listed")
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert len(paths(page)) == 125
    expect(page.locator("#paper")).to_have_text(
        "125 of 5,000 files, by score, with corpus/07 sample_"
    )
    for name in ("#find", "#verdicts", "#next", "#theme"):
        expect(page.locator(name)).to_be_hidden()
    page.emulate_media(media="screen")
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert len(paths(page)) == 100
    expect(page.locator("#paper")).to_be_hidden()
    # The browser asks for the rows itself when it prints.
    sheets = []
    for words, rows in (("corpus/00 sample_", 125), ("corpus/0 sample_00", 250)):
        page.get_by_label("Find").fill(words)
        expect(page.locator("#status")).to_have_text(f"{rows} of 5,000 listed")
        sheets.append(page.pdf(format="A4").count(b"/Type /Page\n"))
        assert len(paths(page)) == 100
    assert sheets[1] > 1.5 * sheets[0]


@pytest.mark.parametrize("width", [800, 400])
def test_nothing_is_cut_on_a_narrow_screen(opened: Open, width: int) -> None:
    long = "attachments/" + "0123456789abcdef" * 4 + ".png"
    notices = (("packed?", "looks packed"), ("disarmed", "x"), ("entry-outside", "x"))
    closest = make_verdict("unknown", 0.4, 2.0, closest="teslacrypt")
    records = [make_result(long, closest, notices=notices), make_result("b/short.exe")]
    text = page_of([*records, make_failed("c/" + "d" * 90)])
    page, _ = opened(text, viewport={"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wider = "all => all.filter((e) => e.scrollWidth > e.clientWidth + 1).map((e) => e.outerHTML)"
    assert page.locator(".scroll, .files th, .files td").evaluate_all(wider) == []
    row = page.locator("#rows tr", has_text="0123456789abcdef")
    for part in ("attachments/", "packed?", "entry-outside", "teslacrypt"):
        expect(row.get_by_text(part).locator("visible=true").first).to_be_visible()


def test_a_hostile_sample_runs_nothing(opened: Open) -> None:
    verdict = make_verdict(BREAKOUT, closest=BREAKOUT)
    result = make_result(BREAKOUT, verdict, notices=((BREAKOUT, BREAKOUT),))
    regions = [msgspec.structs.replace(r, name=BREAKOUT) for r in result.evidence.regions]
    hot = [msgspec.structs.replace(h, region=BREAKOUT) for h in result.evidence.hot]
    evidence = msgspec.structs.replace(result.evidence, regions=regions, hot=hot, label=BREAKOUT)
    result = msgspec.structs.replace(result, evidence=evidence, notices=[Notice("x", BREAKOUT)])
    problems = [make_failed(BREAKOUT, reason=BREAKOUT), make_skipped("</script>", reason=BREAKOUT)]
    page, seen = opened(page_of([result, *problems]))
    page.locator("#rows a").first.click()
    shown = r"</script><script>alert(1)</script><!-- <img src=x onerror=alert(1)> \u202e\u2028"
    expect(page.locator("#panel h2")).to_have_text(shown)
    page.get_by_role("button", name="skipped").click()
    expect(page.locator("#rows")).to_contain_text(shown)
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 3
    assert seen.errors == []


def test_a_page_that_is_not_whole_and_one_without_scripts_say_so(opened: Open) -> None:
    text = page_of(make_scan())
    whole = text[: text.index(b"</script>\n<script", text.index(b'id="files"'))]
    page, _ = opened(whole)
    expect(page.locator("#unfinished")).to_be_visible()
    silent, _ = opened(text, java_script_enabled=False)
    expect(silent.get_by_text("--format csv")).to_be_visible()
