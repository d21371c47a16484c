from __future__ import annotations

import io
import random
import re
import tracemalloc
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report.factories import (
    make_checked,
    make_checks,
    make_failed,
    make_result,
    make_scan,
    make_similar,
    make_skipped,
    make_summary,
    make_verdict,
    sha256_of,
)
from report.screens import console_of, hidden, printed, screen
from report.snapshots import check
from rich.cells import cell_len

from maltriage.cli.console import make_console
from maltriage.report.documents import facts
from maltriage.report.documents.evidence import RegionHeat
from maltriage.report.documents.record import Failed, Group, Result, Skipped, Summary, Timing
from maltriage.report.formats import RenderOptions
from maltriage.report.scan.table import DEFAULT_TOP, MAX_PROBLEMS, TableRenderer
from maltriage.sample.types import Region
from maltriage.similar.groups import grouped

HOSTILE = "[/red]\x1b[31m\x1b]52;c;eA==\x07\u202e\x00\nsecond line\x9b=cmd()"
ANY = st.text(st.characters(codec=None, exclude_categories=()), max_size=40)


def files(text: str) -> list[str]:
    """First words of the rows between the header's rule and the next empty line."""
    body = text.split("─\n", 1)[1].split("\n\n", 1)[0]
    return [line.split()[0] for line in body.splitlines() if line and line[0] not in " …─"]


def table(text: str) -> list[str]:
    """The lines of the table, from its header on."""
    lines = text.splitlines()
    return lines[next(i for i, line in enumerate(lines) if line.startswith("file ")) :]


def cells(text: str, title: str) -> dict[str, str]:
    """The cells of a column that begin below its title, by file, whatever stands beside it."""
    header, _, *rows = table(text)
    column = header.index(f"  {title}") + 2
    rows = [row for row in rows[: rows.index("")] if not row.startswith("─")]
    return {row.split()[0]: row[column:].split("  ")[0].strip() for row in rows}


@pytest.mark.parametrize("width", [30, 40, 50])
def test_a_narrow_table_leaves_columns_out(width: int) -> None:
    """The file, the score and the verdict stay."""
    text = screen("table", [make_result(), make_summary()], width=width)
    header, _, row, *_ = table(text)
    assert header.split()[:3] == ["file", "score", "verdict"]
    assert "entropy" not in header
    assert cell_len(row) <= width
    assert cell_len(header) <= width


@pytest.mark.parametrize("width", [80, 100, 120, 160])
def test_golden(width: int) -> None:
    text = screen("table", [*make_scan(), make_summary()], width=width)
    check(f"table-{width}.txt", text)
    assert all(cell_len(line) <= width for line in text.splitlines())


def test_golden_in_ascii() -> None:
    scan = [r for r in make_scan() if r.path.isascii()]
    check("table-ascii.txt", screen("table", [*scan, make_summary()], encoding="ascii"))


def test_golden_colours() -> None:
    check("table-100-colour.txt", screen("table", [*make_scan(), make_summary()], None, 100, True))


def test_words_alone_tell_what_colours_tell() -> None:
    text = screen("table", [*make_scan(), make_summary()], width=160)
    rows = {line.split()[0]: line for line in text.splitlines() if line.startswith("cases/")}
    assert "  60  suspicious (closest: bifrose) " in rows["cases/2024-117/svch0st.exe"]
    assert "  42  maze " in rows["cases/2024-117/下载/安装程序.exe"]
    assert re.search(r"  [0-4]?\d  unknown  ", rows["cases/2024-117/odd.bin"])
    (packed,) = [row for row in rows.values() if " packed?  " in row]
    assert "  disarmed" in packed


def test_order() -> None:
    verdicts = {
        "sure-benign": make_verdict("benign", 0.99, -7.0),
        "unsure-benign": make_verdict("benign", 0.55, 0.2),
        "family-below": make_verdict("maze", 0.5, 0.9),
        "family-lower": make_verdict("agent", 0.6, 0.5),
        "suspicious-high": make_verdict("suspicious", 0.4, 1.9, closest="icedid"),
        "suspicious-low": make_verdict("suspicious", 0.4, 1.3, closest="icedid"),
        "flagged-low": make_verdict("icedid", 0.99, 1.5),
        "flagged-high": make_verdict("icedid", 0.40, 9.0),
    }
    records = [make_result(name, verdict) for name, verdict in verdicts.items()]
    expected = ["flagged-high", "suspicious-high", "flagged-low", "suspicious-low"]
    expected += ["family-below", "family-lower", "unsure-benign", "sure-benign"]
    for seed in range(5):
        random.Random(seed).shuffle(records)
        text = screen("table", [*records, make_summary()])
        assert files(text) == expected
        rows = [line for line in table(text)[2:] if line.startswith(tuple(verdicts))]
        scores = [int(line.split()[1]) for line in rows]
        assert scores == sorted(scores, reverse=True)
        assert [score >= 50 for score in scores] == [True] * 4 + [False] * 4


def test_files_that_are_not_judged_come_last_and_have_no_score() -> None:
    unreadable = make_verdict("unknown", 0.9, 8.0, None, fpr=0.01)
    records = [make_result("odd", unreadable), make_result("a", make_verdict("benign", 0.99, -7.0))]
    text = screen("table", [*records, make_summary(flagged=0)])
    assert files(text) == ["a", "odd"]
    assert re.search(r"^odd +-  unknown", text, re.MULTILINE)


def test_results_that_were_kept_have_no_speed() -> None:
    kept = Timing(0.0, 0.0, stored=True)
    records = [make_result("a", timing=kept), make_result("b", timing=kept), make_result("c")]
    text = screen("table", [*records, make_summary(files=3, flagged=3)], width=120)
    last = text.splitlines()[-1]
    assert last == "3 files  3 flagged  1 failed  2 skipped  2 kept from an earlier scan"


def test_all_skipped_files_are_listed_where_everything_is() -> None:
    records = [make_skipped(f"s{n:02}") for n in range(25)]
    for top, more in ((None, True), (0, False)):
        options = RenderOptions(top=top, show_skipped=True)
        text = screen("table", [*records, make_summary(skipped=25)], options)
        assert ("s24" in text, "more skipped" in text) == (not more, more)


def test_a_strip_says_what_became_of_all_files() -> None:
    counts = {"families": {"icedid": 3, "maze": 1}, "clean": 2, "unknown": 1, "unjudged": 1}
    skipped = {"not-pe": 8, "too-large": 3, "archive-time": 1}
    summary = make_summary(**counts, skipped=12, skipped_by=skipped, known=5)
    first, second, *_ = screen("table", [make_result(), summary], width=160).splitlines()
    assert first == "4 of 8 files flagged: icedid 3, maze 1"
    assert second == (
        "2 look clean  1 unknown: leaning to malware, but not flagged  1 not judged  5 known good"
        "  1 failed  12 skipped: 8 not PE, 3 too large, 1 archive time"
    )
    clean = make_result("c", make_verdict("benign", 0.99, -7.0), (("outside-training", "x"),))
    line = screen("table", [clean, make_summary(flagged=0, clean=1)], width=160).splitlines()[1]
    assert line.startswith("1 looks clean: 1 of kinds that the model hardly knows  ")
    many = make_summary(families={f"family{n:02d}": 1 for n in range(12)})
    line = screen("table", [make_result(), many], width=300).splitlines()[0]
    assert line.endswith("family07 1, 4 more labels")


@pytest.mark.parametrize("count", [20, 21])
def test_many_files_none_of_which_is_flagged_are_not_listed(count: int) -> None:
    verdict = make_verdict("benign", 0.9, -3.0)
    records = [make_result(f"f{n}", verdict, sha256=sha256_of(str(n))) for n in range(count)]
    summary = make_summary(files=count, flagged=0, clean=count)
    text = screen("table", [*records, summary])
    assert text.startswith(f"Nothing flagged in {count} files.\n{count} look clean")
    assert ("f3 " in text) == (count == 20)
    assert ("--top 50 lists the first of them." in text) == (count == 21)
    asked = screen("table", [*records, summary], RenderOptions(top=50))
    assert len(files(asked)) == count


def test_what_does_not_look_clean_is_listed_though_nothing_is_flagged() -> None:
    clean = make_verdict("benign", 0.9, -3.0)
    doubt = make_verdict("unknown", 0.6, 0.2, closest="blackhole")
    records = [make_result(f"c{n}", clean, sha256=sha256_of(f"c{n}")) for n in range(30)]
    some = [make_result(f"u{n}", doubt, sha256=sha256_of(f"u{n}")) for n in range(3)]
    summary = make_summary(files=33, flagged=0, clean=30, unknown=3)
    text = screen("table", [*records, *some, summary])
    assert sorted(files(text)) == ["u0", "u1", "u2"]
    assert "… and 30 more" in text
    assert "blackhole" not in text  # the closest family of what is not flagged says nothing
    many = [make_result(f"u{n}", doubt, sha256=sha256_of(f"u{n}")) for n in range(25)]
    summary = make_summary(files=55, flagged=0, clean=30, unknown=25)
    text = screen("table", [*records, *many, summary])
    assert len(files(text)) == 20
    assert "… and 35 more" in text


def test_a_notice_of_nearly_all_files_is_said_once() -> None:
    common, rare = ("signed", "x"), (".net", "y")
    records = [make_result(f"f{n}", notices=(common,), sha256=sha256_of(str(n))) for n in range(9)]
    records += [make_result("last", notices=(rare,), sha256=sha256_of("last"))]
    text = screen("table", [*records, make_summary()], width=140)
    assert text.count("signed") == 1
    assert "\nNotices of nearly all files below: signed\n" in text
    assert text.count(".net") == 1
    few = screen("table", [*records[:3], make_summary()], width=140)
    assert few.count("signed") == 3


def test_order_without_a_threshold_is_by_probability() -> None:
    records = [
        make_result(f"p{p}", make_verdict("icedid", p / 100, None, None)) for p in (30, 90, 60)
    ]
    text = screen("table", [*records, make_summary(flagged=0)])
    assert files(text) == ["p90", "p60", "p30"]
    assert "The model has no threshold: nothing is flagged by it." in text
    assert re.search(r" -  icedid", text)


def test_equal_files_are_one_row_whatever_the_order() -> None:
    copies = [make_result(f"copy{i}.exe", sha256=sha256_of("one")) for i in range(1200)]
    records = [*copies, make_result("other.exe")]
    texts = set()
    for seed in range(3):
        random.Random(seed).shuffle(records)
        texts.add(screen("table", [*records, make_summary()]))
    (text,) = texts
    assert files(text) == ["copy0.exe", "other.exe"] or files(text) == ["other.exe", "copy0.exe"]
    assert "copy0.exe x1,200" in text


def _random_results(count: int, distinct: int) -> list[Result]:
    """Results of `distinct` different samples, made cheaply from one."""
    base = make_result()
    light = msgspec.structs.replace(base.evidence, hot=[], views=[])
    chance = random.Random(7)
    verdicts = []
    for _ in range(distinct):
        probability, margin = chance.random(), chance.uniform(-8, 8)
        label = chance.choice(["icedid", "benign", "maze"])
        verdicts.append(make_verdict(label, probability, margin))
    picks = [chance.randrange(distinct) for _ in range(count)]
    return [
        msgspec.structs.replace(
            base,
            path=f"f{index}",
            sha256=f"{pick:064x}",
            verdict=verdicts[pick],
            evidence=light,
        )
        for index, pick in enumerate(picks)
    ]


@pytest.mark.parametrize("top", [1, 7, 50])
def test_a_bounded_table_is_the_head_of_the_whole_one(top: int) -> None:
    records = _random_results(3000, 900)
    whole = screen("table", [*records, make_summary()], RenderOptions(top=0), 200)
    head = screen("table", [*records, make_summary()], RenderOptions(top=top), 200)
    rows = [line.split() for line in table(whole)[2 : 2 + top]]
    assert [line.split() for line in table(head)[2 : 2 + top]] == rows
    shown = sum(int(row[1][1:]) if row[1][0] == "x" else 1 for row in rows)
    assert f"… and {3000 - shown:,} more (use --top 0 or --format ndjson)" in head
    assert "more (use" not in whole


def test_memory_does_not_grow_with_the_scan() -> None:
    base = make_result()
    verdicts = [make_verdict("icedid", 0.5, margin / 10) for margin in range(1000)]
    renderer = TableRenderer(io.BytesIO(), RenderOptions(), console := console_of(120))

    def feed(start: int, count: int) -> None:
        for index in range(start, start + count):
            verdict = verdicts[index * 7919 % 1000]
            path, sha256 = f"file-{index:06}", f"{index:064x}"
            renderer.write(msgspec.structs.replace(base, path=path, sha256=sha256, verdict=verdict))
            renderer.write(make_failed(path))

    feed(0, 5_000)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    feed(5_000, 95_000)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 200_000
    renderer.finish(make_summary(files=100_000, failed=100_000))
    text = printed(console)
    assert len(files(text)) == DEFAULT_TOP
    assert f"… and {100_000 - DEFAULT_TOP:,} more" in text
    assert f"… and {100_000 - MAX_PROBLEMS:,} more failed" in text


def test_nothing_to_show() -> None:
    text = screen("table", [make_skipped(), make_summary(files=0, flagged=0, failed=0, skipped=1)])
    assert text.startswith("No file was triaged.\n1 skipped")
    assert "0 files  0 flagged  0 failed  1 skipped" in text


def test_skipped_files_are_listed_when_asked_for() -> None:
    records = [*make_scan(), make_summary()]
    assert "neither a PE file" not in screen("table", records)
    text = screen("table", records, RenderOptions(show_skipped=True))
    assert "\nskipped\n  cases/2024-117/notes.txt  neither a PE file nor a byteplot PNG\n" in text


def test_an_interrupted_scan_says_so() -> None:
    assert "not the whole scan" in screen("table", [make_summary(interrupted=True)])


def test_scores_that_say_little_are_counted() -> None:
    result = make_result(verdict=make_verdict(calibrated=False))
    assert "The score of 1 file says little: the model is not calibrated." in screen(
        "table", [result, make_summary()]
    )


def test_entropy_is_the_highest_of_a_section_and_the_hottest_region_speaks_for_it() -> None:
    result = make_result()
    assert facts.entropy(result) == 7.91  # the overlay has 7.99
    top = facts.hottest(result)
    assert top is not None
    assert top.name == ".text"
    unparsed = [Region("unparsed", "unparsed", 0, 9, None, 3.3)]
    layout = msgspec.structs.replace(result.layout, regions=unparsed)
    cold = [RegionHeat("unparsed", "unparsed", 0, 9, 3.3, -1.0, -1.0)]
    evidence = msgspec.structs.replace(result.evidence, regions=cold)
    result = msgspec.structs.replace(result, layout=layout, evidence=evidence)
    assert facts.entropy(result) == 3.3
    assert facts.hottest(result) is None
    assert "  90  icedid   -  " in screen("table", [result, make_summary()])


def test_what_a_file_resembles_where_there_is_room() -> None:
    records = [
        make_result("a.exe", similar=make_similar(0.0312, 0.5)),
        make_result("b.exe", similar=make_similar(0.0312, known_as="maze")),
        make_result("c.exe", similar=make_similar()),
        make_result("d.exe"),
        make_summary(),
    ]
    nearest = cells(screen("table", records, width=120), "nearest")
    assert nearest == {"a.exe": "icedid 0.031", "b.exe": "=maze", "c.exe": "", "d.exe": ""}
    # It is the first to go where paths need the room; what matters of it is a notice as well.
    long = make_result(
        "x" * 40, notices=(("in-index", "x"),), similar=make_similar(known_as="maze")
    )
    text = screen("table", [long, make_summary()], width=86)
    assert "nearest" not in text
    assert "  in-index" in text
    assert "nearest" not in screen("table", [*make_scan(), make_summary()], width=200)


@pytest.mark.parametrize(("width", "kept"), [(136, True), (130, False)])
def test_long_notices_are_cut_before_the_nearest_file_goes(width: int, kept: bool) -> None:
    """As long as half of them is left."""
    many = tuple((f"notice-{n}", "x") for n in range(6))
    long = make_result("x" * 40, notices=many, similar=make_similar(0.0312, 0.5))
    (head, _, row, *_) = table(screen("table", [long, make_summary()], width=width))
    assert ("nearest" in head) == kept
    assert ("icedid 0.031" in row) == kept
    assert "notice-0" in row


@pytest.mark.parametrize("colour", [False, True])
def test_hostile_strings_do_nothing(colour: bool) -> None:
    region = RegionHeat(HOSTILE, "section", 0, 9, 1.0, 9.0, 1.0)
    similar = make_similar(0.1, label=HOSTILE, known_as=HOSTILE)
    verdict = make_verdict(HOSTILE)
    result = make_result(HOSTILE, verdict, ((HOSTILE, HOSTILE),), similar=similar)
    evidence = msgspec.structs.replace(result.evidence, regions=[region])
    records = [
        msgspec.structs.replace(result, evidence=evidence),
        make_failed(HOSTILE, reason=HOSTILE),
        make_skipped(HOSTILE, reason=HOSTILE),
        make_summary(),
    ]
    options = RenderOptions(show_skipped=True)
    text = screen("table", records, options, 200, colour)
    assert "[/red]" in text
    assert "\\x1b]52;c;eA==\\x07" in text
    assert "\nsecond line" not in text
    # Rich's own colour codes are the only escapes.
    assert hidden(text) <= ({"\x1b"} if colour else set())
    assert "\x1b]" not in text
    assert "\x1b[31m\\x1b" not in text


@given(ANY, ANY, ANY, st.sampled_from([80, 100, 120]))
def test_any_string_gives_one_row_within_the_width(
    path: str, label: str, code: str, width: int
) -> None:
    similar = make_similar(0.1, label=label)
    result = make_result(path, make_verdict(label), ((code, code),), similar=similar)
    text = screen("table", [result, make_failed(path, reason=code), make_summary()], width=width)
    assert not hidden(text)
    body = text.split("─\n", 1)[1]
    assert len(body.split("\n\nfailed\n")[0].splitlines()) in (1, 2)


def test_saved_to_a_file_it_is_plain(tmp_path: Path) -> None:
    target = tmp_path / "table.txt"
    with target.open("w", encoding="utf-8") as stream:
        console = make_console(file=stream)
        renderer = TableRenderer(io.BytesIO(), RenderOptions(), console)
        for record in make_scan():
            renderer.write(record)
        renderer.finish(make_summary())
    text = target.read_text("utf-8")
    assert "\x1b" not in text
    assert "attachments/quarterly/Rechnung_2024-11_Überweisung.exe" in text
    assert not [line for line in text.splitlines() if line != line.rstrip()]


@pytest.mark.parametrize("name", ["", "  "])
def test_a_region_without_a_name_says_so(name: str) -> None:
    result = make_result()
    blank = RegionHeat(name, "section", 0, result.size, 6.0, 1.0, 1.0)
    hot = [msgspec.structs.replace(item, region=name) for item in result.evidence.hot]
    evidence = msgspec.structs.replace(result.evidence, regions=[blank], hot=hot)
    result = msgspec.structs.replace(result, evidence=evidence)
    assert "(unnamed) 100.0%" in screen("table", [result, make_summary()])
    assert screen("explain", [result]).count("(unnamed)") == 2 + len(hot)


def test_files_that_the_model_was_not_made_for_are_no_silent_skips() -> None:
    reason = "a hex dump, where the model was made for a PE file"
    records = [make_skipped(code="input", reason=reason), *make_scan(), make_summary()]
    assert f"\n1 file skipped: {reason}.\n" in screen("table", records)
    assert "skipped:" not in screen("table", [*make_scan(), make_summary()])


def test_a_column_says_how_the_evidence_stood_its_test() -> None:
    """Only where a file was tested; a copy that was not does not hide it."""
    checked = make_checked("a.exe", sha256=sha256_of("a"))
    copy = make_result("b.exe", sha256=sha256_of("a"))
    other = make_result("c.exe", make_verdict("benign", 0.9, -4.0))
    for first, second in ((checked, copy), (copy, checked)):
        text = screen("table", [first, other, second, make_summary()], width=140)
        assert [*cells(text, "checked").values()][:2] == ["5/7 +0.71", ""]
    assert "checked" not in screen("table", [copy, other, make_summary()], width=140)
    evidence = checked.evidence
    unranked = msgspec.structs.replace(make_checks(evidence), rank_correlation=None)
    evidence = msgspec.structs.replace(evidence, checks=unranked)
    text = screen("table", [msgspec.structs.replace(checked, evidence=evidence), make_summary()])
    assert "5/7" in text
    assert "+0.71" not in text


def grouped_scan() -> list[Result | Skipped | Failed | Summary]:
    """A scan with a group of three flagged files, two copies, and a file like no other."""
    first = make_result("in/a.exe", make_verdict("icedid", 0.98, 6.0))
    near = make_result("in/deep/b.exe", make_verdict("unknown", 0.41, 2.0, closest="icedid"))
    copy = msgspec.structs.replace(first, path="in/copy of a.exe")
    alone = make_result("in/c.exe", make_verdict("phorpiex", 0.97, 5.0))
    clean = make_result("in/d.exe", make_verdict("benign", 0.99, -6.0))
    results = [first, near, copy, alone, clean, msgspec.structs.replace(clean, path="in/e.exe")]
    alike = (first, near, copy)
    bits = {id(r): "00" * 32 if r in alike else r.sha256 for r in results}
    none = {"imphash": None, "rich_hash": None}
    signed = [
        msgspec.structs.replace(
            r, embedding_digest=bits[id(r)], identity=msgspec.structs.replace(r.identity, **none)
        )
        for r in results
    ]
    summary = make_summary(files=6, flagged=4, failed=0, skipped=0, clean=2)
    return list(grouped([*signed, summary]))


@pytest.mark.parametrize("width", [80, 120])
def test_golden_groups(width: int) -> None:
    text = screen("table", grouped_scan(), width=width)
    check(f"table-groups-{width}.txt", text)
    assert all(cell_len(line) <= width for line in text.splitlines())


def test_groups_that_are_not_listed_are_counted() -> None:
    text = screen("table", grouped_scan(), RenderOptions(top=1), 100)
    assert "in/a.exe x3" in text
    assert "… and 3 files in 2 rows more" in text


@pytest.mark.parametrize("width", [40, 50, 60, 80, 100, 120, 160, 200, 300])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    """Rows are cut to it, and sentences go on below."""
    odd = make_verdict("unknown", 0.41, None, closest="bifrose", calibrated=False)
    cut = make_skipped(code="archive-members", reason="more than 10,000 files in it")
    summary = make_summary(families={f"family{n}": n for n in range(12)}, known=3, interrupted=True)
    refused = make_skipped(code="input", reason="a hex dump, and this model reads programs alone")
    records = [*make_scan(), make_result("odd.exe", odd), cut, refused, summary]
    for scan in (records, grouped_scan()):
        for top in (None, 2):
            options = RenderOptions(top=top, show_skipped=True)
            text = screen("table", scan, options, width)
            assert max(map(cell_len, text.splitlines())) <= width


def test_malware_of_no_family_is_called_malware() -> None:
    result = make_result("a.exe", similar=make_similar(0.284, label="_other"))
    text = screen("table", [result, make_summary()], width=140)
    assert "  malware 0.284" in text
    assert "_other" not in text


def test_notices_are_those_of_all_files_of_a_group() -> None:
    """The most urgent file alone does not speak for the others."""
    efi, driver, signed = ("efi", "x"), ("driver", "y"), ("signed", "z")
    noticed = ((signed,), (signed, efi), (signed, efi, driver))
    urgent = [make_verdict(margin=margin) for margin in (6.0, 5.0, 4.0)]
    records = [
        make_result(f"{n}.exe", verdict, notices, group="g")
        for n, (verdict, notices) in enumerate(zip(urgent, noticed, strict=True))
    ]
    for order in (records, records[::-1]):
        wide = screen("table", [*order, make_summary()], width=160)
        assert "0.exe x3" in wide
        assert "  signed, efi 2, driver 1\n" in wide
    scan = [*records, make_result("b.exe", notices=(efi,)), make_summary()]
    narrow = " ".join(screen("table", scan, width=50).split())
    assert "Notices of files below: efi 3, signed 3, driver 1 (wider" in narrow


def test_what_the_index_has_as_malware_is_not_among_the_clean_files() -> None:
    """It comes right behind what is flagged, with its label, and is counted in a line."""
    noticed = (("outside-training", "x"), ("in-index", "y"))
    known = [
        make_result(
            f"{name}.exe",
            make_verdict("benign", 0.99, margin),
            noticed,
            similar=make_similar(known_as=label),
        )
        for name, label, margin in (
            ("a", "maze", -6.0),
            ("b", "_other", -5.0),
            ("c", "benign", -4.0),
        )
    ]
    flagged = make_result("d.exe", similar=make_similar(known_as="gbot"))
    near = make_result("e.exe", make_verdict("unknown", 0.6, 1.0, closest="maze"))
    text = screen("table", [*known, flagged, near, make_summary()], width=160)
    rows = {line.split()[0]: line for line in table(text) if ".exe" in line}
    assert list(rows) == ["d.exe", "b.exe", "a.exe", "e.exe", "c.exe"]
    assert "benign (index: maze) " in rows["a.exe"]
    assert "benign (index: malware) " in rows["b.exe"]
    assert "index:" not in rows["c.exe"] + rows["d.exe"] + rows["e.exe"]
    assert rows["a.exe"].endswith("  in-index, outside-training")
    said = (
        "2 files that are not flagged are malware by the index of labelled files: malware 1, maze 1"
    )
    assert text.splitlines()[1] == said


def test_a_file_that_is_not_judged_has_no_score() -> None:
    """Of a model without a threshold either: 50 would mean flagged."""
    lone = make_result("a.exe", make_verdict("icedid", 0.9, 3.0, None))
    (_, _, row, *_) = table(screen("table", [lone, make_summary()], width=100))
    assert row.split()[:3] == ["a.exe", "-", "icedid"]


def test_notices_of_files_that_were_not_counted() -> None:
    """A group that fell out of the table and came back has the notices of its later files."""
    efi, copy = ("efi", "x"), "0" * 64
    last = make_result("last.exe", make_verdict(margin=9.0), (efi,), group="g", sha256=copy)
    urgent = [make_verdict(margin=margin) for margin in (3.0, 5.0)]
    early, other = make_result("early.exe", urgent[0], group="g"), make_result("o.exe", urgent[1])
    group = Group("g", 3, 2, 3, "last.exe", copy, {"icedid": 3}, ["code"])
    summary = make_summary(groups=[group], group_count=2)
    options = RenderOptions(top=1)
    text = screen("table", [early, other, last, last, summary], options, 160)
    assert "  efi 2+\n" in text
    assert "at least efi 2 (" in screen("table", [early, other, last, last, summary], options, 60)
