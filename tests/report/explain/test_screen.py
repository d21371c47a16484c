from __future__ import annotations

import re
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from report.factories import (
    make_check,
    make_checked,
    make_checks,
    make_contents,
    make_evidence,
    make_failed,
    make_identity,
    make_plane,
    make_result,
    make_similar,
    make_skipped,
    make_summary,
    make_verdict,
    sha256_of,
)
from report.screens import console_of, hidden, printed, screen
from report.snapshots import check
from rich.cells import cell_len

from maltriage.report.aligned import emit
from maltriage.report.documents import facts
from maltriage.report.documents.evidence import (
    Agreement,
    Checks,
    Compared,
    Evidence,
    HotRange,
    MethodHeat,
    Plane,
    RegionHeat,
    Status,
    ViewHeat,
)
from maltriage.report.documents.record import Neighbour, Ranked, Result, Similar
from maltriage.report.explain import findings, score_table
from maltriage.report.explain.findings import folded_fields
from maltriage.report.explain.screen import explanation
from maltriage.report.formats import RenderOptions
from maltriage.sample.findings import (
    ContentKind,
    FoundString,
    HeaderField,
    HotContent,
    ImportedNames,
    Instruction,
    Listing,
    ResourceRef,
)
from maltriage.sample.types import Notice, Region, VersionInfo

HOSTILE = "[/red]\x1b[31m\x1b]52;c;eA==\x07\u202e\x00\nsecond line\x9b=cmd()"
NOTICES = (
    ("packed?", ".rsrc has entropy 7.91 and fills a third of the file: read its heat with care"),
    ("disarmed", "Machine and Subsystem are zero, as SOREL-20M ships its samples"),
)


def shown(result: Result, width: int = 80, colour: bool = False, **options: Any) -> str:
    return screen("explain", [result], RenderOptions(**options), width, colour)


def with_evidence(**changes: Any) -> Result:
    result = make_result()
    return msgspec.structs.replace(result, evidence=make_evidence(**changes))


def part(text: str, title: str) -> str:
    """The lines of one part of the screen, without its title."""
    return text.split(f"\n{title}", 1)[1].split("\n", 1)[1].split("\n\n", 1)[0]


def amounts(text: str) -> dict[str, float]:
    """First word of each line of the account -> the first signed number in it."""
    found = {}
    for line in text.splitlines():
        number = re.search(r" ([+-]\d+\.\d{3}|0\.000)(?= |$)", line)
        if number:
            found[line.split()[0]] = float(number.group(1))
    return found


@pytest.mark.parametrize("width", [80, 120])
def test_golden(width: int) -> None:
    result = make_result(notices=NOTICES, plane=True, hashes=True)
    text = shown(result, width)
    check(f"explain-{width}.txt", text)
    assert all(cell_len(line) <= width for line in text.splitlines())


def test_golden_colours() -> None:
    result = make_result(notices=NOTICES)
    evidence = msgspec.structs.replace(result.evidence, plane=make_plane(12, 4))
    result = msgspec.structs.replace(result, evidence=evidence)
    check("explain-120-colour.txt", shown(result, 120, colour=True))


def test_the_legend_is_beside_the_picture_where_there_is_room() -> None:
    result = make_result(plane=True)
    wide, narrow = (shown(result, width, colour=True) for width in (120, 80))
    picture = [line for line in wide.splitlines() if "▀" in line]
    assert "speaks for icedid" in picture[3]
    assert not [line for line in narrow.splitlines() if "▀" in line and "speaks" in line]
    assert "speaks for icedid" in narrow


def test_golden_of_a_benign_file_with_little_known() -> None:
    bare = make_identity(
        sha256_of("x"), 97, imphash=None, rich_hash=None, compile_time=None, pdb_path=None,
        version=None, signer=None,
    )  # fmt: skip
    result = make_result("x.exe", make_verdict("benign", 0.988, -6.2), sha256=sha256_of("x"))
    result = msgspec.structs.replace(result, size=97, identity=bare)
    evidence = msgspec.structs.replace(result.evidence, hot=[], views=[])
    result = msgspec.structs.replace(result, evidence=evidence)
    check("explain-benign.txt", shown(result))


def test_golden_in_ascii() -> None:
    result = make_result(notices=NOTICES, plane=True)
    check("explain-ascii.txt", screen("explain", [result], encoding="ascii"))


@pytest.mark.parametrize("top", [None, 1, 2, 3, 0])
def test_the_account_adds_up_however_short_it_is(top: int | None) -> None:
    result = make_result()
    rows = amounts(part(shown(result, top=top), "What decided"))
    total, bias = rows.pop("total:"), rows.pop("baseline")
    logit = rows.pop("in")
    assert sum(rows.values()) == pytest.approx(total, abs=0.0005 * (len(rows) + 1))
    assert total + bias == pytest.approx(logit, abs=0.0016)
    assert logit == pytest.approx(result.evidence.logit, abs=0.0005)
    assert len(rows) == {None: 8, 1: 3, 2: 4, 3: 5, 0: 8}[top]


def test_the_rest_is_folded_with_its_sum() -> None:
    text = part(shown(make_result(), top=2), "What decided")
    assert "… 5 more regions" in text
    # What is not shown: overlay, .rdata, header, .data, .reloc.
    assert amounts(text)["…"] == pytest.approx(-0.003)
    whole = part(shown(make_result(), top=6), "What decided")
    assert "more regions" not in whole  # a fold of one row would save nothing


@pytest.mark.parametrize("width", [80, 120])
def test_golden_with_checks(width: int) -> None:
    text = shown(make_checked(), width)
    check(f"explain-checked-{width}.txt", text)
    assert all(cell_len(line) <= width for line in text.splitlines())


def test_measured_is_beside_what_is_claimed() -> None:
    text = part(shown(make_checked(), 120), "What decided")
    found = {line.split()[0]: line.split() for line in text.splitlines()}
    assert found[".rsrc"][5:9] == ["+1.244", "29.1%", "-0.421", "contradicted"]
    assert found[".text"][7:9] == ["+2.206", "supported*"]  # no room for controls
    narrow = part(shown(make_checked(), 80), "What decided")
    for name, row in found.items():
        if name.startswith("."):
            assert f" {row[7]} " in narrow
            assert row[8] in narrow


def test_the_verdict_says_whether_the_evidence_stood_its_test() -> None:
    text = shown(make_checked(), 120)
    head = text.split("\n\n")[1]
    assert "checked   rank correlation +0.71 of claimed and measured, over 7 regions" in head
    assert "of 7 claims: 5 supported, 1 weak, 1 contradicted; 2 more negligible" in head
    assert "* no room for controls: by sign, size and whether all masks agree" in head
    result = make_checked()
    few = make_checks(result.evidence, rank_correlation=None)
    few = msgspec.structs.replace(few, regions=few.regions[:1], hot=[])
    evidence = msgspec.structs.replace(result.evidence, checks=few)
    text = shown(msgspec.structs.replace(result, evidence=evidence), 120)
    assert "checked   1 region, too few for a rank correlation" in text
    assert "of 1 claim: 1 supported\n" in text
    assert "no room" not in text.split("\n\n")[0]
    assert "checked" not in shown(make_result())


def test_the_words_of_the_checks_are_explained_below_the_table() -> None:
    """Those that are there."""
    result = make_checked()
    text = "\n" + part(shown(result, 80), "  check:")
    for status in ("supported", "weak", "contradicted", "negligible"):
        assert re.search(rf"\n  {status} +{re.escape(facts.MEANINGS[status][:30])}", text)
    assert "\n  understated" not in text
    assert set(facts.MEANINGS) == set(get_args(Status))
    assert "check:" not in shown(make_result(), 80)


def test_a_hot_range_that_is_a_region_counts_once() -> None:
    result = make_checked()
    checks = result.evidence.checks
    assert checks is not None
    twice = msgspec.structs.replace(checks, hot=[*checks.hot, checks.regions[0]])
    evidence = msgspec.structs.replace(result.evidence, checks=twice)
    text = shown(msgspec.structs.replace(result, evidence=evidence), 120)
    assert "of 7 claims: 5 supported, 1 weak, 1 contradicted; 2 more negligible" in text
    assert facts.supports(twice) == facts.supports(checks)


def test_image_views_that_add_nothing_are_one_line() -> None:
    """As to whether a file is malware."""
    views = [msgspec.structs.replace(view, contribution=0.0) for view in make_evidence().views]
    views.append(ViewHeat("words", 1.5, None, None))
    text = part(shown(with_evidence(views=views)), "By view")
    assert "\n  7 image views: 0\n" in text
    assert "resource" not in text
    assert re.search(r"words +the whole file +\+1\.500", text)
    views[1] = msgspec.structs.replace(views[1], contribution=0.1)
    assert "image views" not in part(shown(with_evidence(views=views)), "By view")


def test_hot_ranges_that_were_not_checked_are_blank() -> None:
    text = part(shown(make_checked(), 120), "Hot ranges")
    assert "01ac00-01b000  1.0K  .text    1b800   41b800    +0.812    +0.731  supported" in text
    assert "000000-000100  256B  header       0   400000    +0.101\n" in text


def test_views_add_up_to_the_same_total() -> None:
    rows = amounts(part(shown(make_result()), "By view"))
    total = rows.pop("total")
    assert len(rows) == 7
    assert sum(rows.values()) == pytest.approx(total, abs=0.004)
    assert total == pytest.approx(make_result().evidence.total, abs=0.0005)


def test_a_window_that_the_file_does_not_have() -> None:
    views = make_evidence().views
    views = [msgspec.structs.replace(v, start=None, end=None) for v in views]
    text = part(shown(with_evidence(views=views)), "By view")
    assert text.count("not in this file") == 6
    assert text.count("the whole file") == 1


def test_a_net_that_is_not_additive_promises_no_sum() -> None:
    text = shown(with_evidence(additive=False, logit=7.5))
    assert "baseline" not in text
    assert "not additive" in text
    assert "What decided" not in text
    assert "Where the net looked   gradient of the log odds, times activation" in text
    assert re.search(r"log odds for icedid against benign +\+7\.500", text)


def test_rounding_is_confessed_only_where_it_shows() -> None:
    remark = "Rounded to three digits"
    kinds: list[RegionHeat] = [
        RegionHeat(f".s{i}", "section", i, i + 1, 1.0, 0.0004, 0.25) for i in range(4)
    ]
    off = with_evidence(regions=kinds, padding=0.0, total=0.0016, bias=0.0, logit=0.0016)
    assert remark in shown(off)
    even = with_evidence(regions=kinds[:1], padding=0.0, total=0.0004, bias=1.0, logit=1.0004)
    assert remark not in shown(even)


@pytest.mark.parametrize(
    ("result", "plain", "exact"),
    [
        (make_result(), "for icedid against benign", "logit(icedid) - logit(benign)"),
        (with_evidence(label="benign", against=None), "for benign", "logit(benign), centred"),
        (with_evidence(log_odds=True), "for malware", "log odds of malware"),
    ],
)
def test_what_is_explained_is_named(result: Result, plain: str, exact: str) -> None:
    """Plainly unless asked: "score" is another number, from 0 to 100."""
    text = shown(result)
    account = part(text, "What decided")
    assert "What decided   in points of log odds\n" in text
    assert re.search(rf"in all, {plain} +[+-]", account)
    assert "score" not in account
    assert exact not in text
    text = shown(result, verbose=True)
    assert f"What decided   in points of log odds: {exact}\n" in text
    assert re.search(rf"{re.escape(exact)} +[+-]", part(text, "What decided"))


def test_the_flag_states_its_threshold() -> None:
    flagged = " ".join(shown(make_result()).split())  # lines are wrapped
    said = "set on clean files so that at most 1% are flagged: clean-set"
    assert f"flagged yes; margin +3.412, threshold +1.204, {said}" in flagged
    below = shown(make_result(verdict=make_verdict("maze", 0.4, 0.9, fpr=0.001)))
    assert "flagged   no; margin +0.900, threshold +1.204, set on" in below
    assert "so that at most 0.1% are flagged: clean-set" in " ".join(below.split())
    name = "clean files of each source held back: " + ", ".join(f"source-{i}" for i in range(8))
    long = shown(make_result(verdict=make_verdict(goodware=name)))
    assert "are flagged, of each source held back: source-0" in " ".join(long.split())
    assert max(map(len, long.splitlines())) <= 80
    none = shown(make_result(verdict=make_verdict("maze", 0.4, None, None)))
    assert "flagged   not judged: the model has no benign label" in none
    none = shown(make_result(verdict=make_verdict("maze", 0.4, 3.0, None)))
    assert "flagged   not judged: the model has no threshold" in none
    suspicious = make_verdict("suspicious", 0.4, 1.9, closest="maze", calibrated=False)
    text = shown(make_result(verdict=suspicious))
    assert "verdict   suspicious (closest: maze)  score " in text
    # What the likeliest label has is not the closest family's.
    ranked = [Ranked("benign", 0.4), Ranked("maze", 0.11), Ranked("icedid", 0.49)]
    unknown = make_verdict("unknown", 0.4, -0.1, closest="maze", ranked=ranked)
    assert "verdict   unknown (closest: maze 11.0%)  score " in shown(make_result(verdict=unknown))


def test_the_prediction_set() -> None:
    assert "  set " not in shown(make_result())
    some = make_verdict("unknown", 0.31, closest="maze", set=["maze", "benign"], coverage=0.95)
    text = shown(make_result(verdict=some))
    assert "verdict   unknown (closest: maze 31.0%)" in text
    assert "flagged   yes" in text
    assert "  set       maze, benign (coverage 95%)\n" in text
    none = make_verdict("unknown", 0.31, closest="maze", set=[], coverage=0.9)
    text = shown(make_result(verdict=none))
    assert "  set       empty: nothing that the model knows fits (coverage 90%)\n" in text
    many = make_verdict(set=[f"family-{i:02}" for i in range(40)], coverage=0.9)
    lines = shown(make_result(verdict=many), width=60).splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("  set "))
    assert lines[first + 1].startswith(" " * 12 + "family-")
    assert "family-11 and 28 more (coverage 90%)" in " ".join(
        line.strip() for line in lines[first : first + 6]
    )


def test_novelty() -> None:
    assert "novelty" not in shown(make_result())
    known = make_verdict(novelty=-1.234, novelty_limit=1.5)
    assert "  novelty   -1.23, up to the limit +1.50\n" in shown(make_result(verdict=known))
    strange = make_verdict("unknown", 0.9, closest="maze", novelty=2.0, novelty_limit=1.5)
    other = make_result(verdict=strange, notices=(("outside-training", "x"),))
    said = "+2.00; the limit +1.50 was set on other kinds of files, and says nothing here"
    assert f"novelty   {said}\n" in shown(other)
    text = shown(make_result(verdict=strange))
    assert "novelty   +2.00, above the limit +1.50: like nothing that the model learned\n" in text


def test_only_what_exists_is_shown() -> None:
    text = shown(make_result())
    for absent in ("md5", "sha1", "tlsh", "Notices", "byteplot"):
        assert absent not in text
    assert "signer     CN=Better Software Ltd, C=GB (unverified)" in text


@pytest.mark.parametrize(
    ("as_signed", "said"),
    [
        (True, "(unverified; the signature matches the file)"),
        (False, "(unverified; the signature does not match the file)"),
    ],
)
def test_whether_a_file_is_what_was_signed(as_signed: bool, said: str) -> None:
    identity = msgspec.structs.replace(make_result().identity, as_signed=as_signed)
    text = shown(make_result(identity=identity))
    assert f"signer CN=Better Software Ltd, C=GB {said}" in " ".join(text.split())


def test_a_stamp_that_every_program_of_delphi_has_is_no_date() -> None:
    delphi = make_result(
        identity=make_identity("0" * 64, 4096, compile_time="1992-06-19T22:22:17Z")
    )
    said = "compiled   1992-06-19T22:22:17Z (what Delphi writes into any program)"
    assert said in " ".join(shown(delphi, 120).splitlines())
    assert "(a claim of the file)" in shown(make_result())


def test_a_hexdump_shows_the_first_bytes() -> None:
    text = part(shown(make_result()), "Hot ranges")
    assert "000000  4d 5a 90 00 03 00 00 00                           MZ......" in text
    assert "060300-060400  256B  overlay                    +0.041" in text
    hot = [HotRange(0, 4096, ".text", 0, 1.0, "41" * 4096)]
    assert part(shown(with_evidence(hot=hot)), "Hot ranges").count("AAAAAAAAAAAAAAAA") == 4
    for damaged in ("4", "zz", "\x1b"):
        hot = [HotRange(0, 16, ".text", 0, 1.0, damaged)]
        assert len(part(shown(with_evidence(hot=hot)), "Hot ranges").splitlines()) == 3


def with_contents(*names: str) -> Result:
    """A result whose hot ranges have these contents."""
    places = {".text": 0x1AC00, ".rsrc": 0x38100, "header": 0x0, "overlay": 0x60300}
    contents = make_contents()
    hot = [
        HotRange(
            start, start + 256, region, contents[name].rva, 1.0 - i / 10, "4d5a", contents[name]
        )
        for i, (name, (region, start)) in enumerate(zip(names, places.items(), strict=False))
    ]
    return with_evidence(hot=hot)


def test_contents_of_hot_ranges() -> None:
    result = with_contents("code", "resource", "header", "strings")
    check("explain-contents-100.txt", part(shown(result, 100), "Hot ranges"))
    others = with_contents("il", "metadata", "imports", "exports")
    check("explain-contents-more-100.txt", part(shown(others, 100), "Hot ranges"))


def test_a_listing_far_behind_its_start_names_the_function_once() -> None:
    """No start is known only where no function is named."""
    content = make_contents()["code"]
    assert content.code is not None
    far = msgspec.structs.replace(content.code, synchronised="none", start=0x17000)
    lone = msgspec.structs.replace(far, function=None, start=None)
    for listing, said in (
        (far, "sub_41b800+0x3c00 (decoded from here, not from its start), guessed"),
        (lone, "code (no start of a function known), guessed processor: x86, entropy"),
    ):
        changed = msgspec.structs.replace(content, code=listing)
        (line, *_) = findings.title(changed, 0x1AC00, 120, 0)
        assert said in line.plain


def test_a_guess_is_of_the_processor_and_not_of_what_is_code() -> None:
    content = make_contents()["code"]
    assert content.code is not None
    known = msgspec.structs.replace(content.code, guessed=False)
    for listing, said in (
        (content.code, "code at sub_41b800, guessed processor: x86, entropy"),
        (known, "x86 code at sub_41b800, entropy"),
    ):
        changed = msgspec.structs.replace(content, code=listing)
        (line, *_) = findings.title(changed, 0x1AC00, 120, 0)
        assert line.plain.startswith(said)


def test_where_edges_moved_from_and_where_instructions_begin_is_said() -> None:
    content = make_contents()["code"]
    edges = "edges moved from those of the hot blocks: start 12 bytes earlier, end 40 bytes later"
    behind = "instructions from the hottest bytes on, 1,592 bytes behind the start"
    still = msgspec.structs.replace(content, snapped=(0, 0))
    for found, start, said in (
        (content, 0x1AC00, [edges]),
        (content, 0x1AC00 - 1592, [edges, behind]),
        (still, 0x1AC00 - 1592, [behind]),
        (still, 0x1AC00 - 15, []),  # in the hexdump
    ):
        assert [line.plain for line in findings.title(found, start, 120, 0)][1:] == said


def test_a_string_that_begins_before_its_range_is_called_so() -> None:
    content = make_contents()["strings"]
    first, second = findings.lines(content, 0x60320, None, 6, 100, 0)
    assert first.plain == "060310  cmd.exe /c del %s  begins before the range"
    assert second.plain == "060330  SOFTWARE\\Run…  utf-16"


def test_contents_are_cut_unless_all_is_asked_for() -> None:
    text = part(shown(with_contents("code")), "Hot ranges")
    assert text.count("nop") == 2
    assert "… 7 more instructions" in text
    assert part(shown(with_contents("code"), top=0), "Hot ranges").count("nop") == 9


@pytest.mark.parametrize(
    ("top", "said"),
    [(None, "… 7 more instructions, then 1,203 bytes not listed"), (0, "… 1,203 bytes not listed")],
)
def test_what_is_behind_a_listing_is_counted(top: int | None, said: str) -> None:
    content = make_contents()["code"]
    assert content.code is not None
    longer = msgspec.structs.replace(content.code, left=1203)
    lines = findings.lines(msgspec.structs.replace(content, code=longer), 0x1AC00, top, 8, 100, 4)
    assert [line.plain.strip() for line in lines][-1] == said


def test_fields_of_headers_are_one_line_unless_asked_for() -> None:
    folded = part(shown(with_contents("header")), "Hot ranges")
    assert "header fields: 2 with heat, strongest Optional AddressOfEn… +0.400 (-v: all)" in folded
    assert "COFF Machine" not in folded
    for options in ({"verbose": True}, {"top": 0}):
        text = part(shown(with_contents("header"), **options), "Hot ranges")
        assert "COFF Machine" in text
        assert "(-v: all)" not in text
    content = make_contents()["header"]
    many = msgspec.structs.replace(content, fields=[*content.fields] * 20)
    lines = [line.plain for line in findings.lines(many, 0, None, 8, 100, 4)]
    assert sum("COFF Machine" in line for line in lines) == 20
    assert "more field" not in "".join(lines)
    plain = [msgspec.structs.replace(field, contribution=None) for field in content.fields]
    assert folded_fields(plain, 76) == "header fields: 4"


def test_contents_fit_the_screen() -> None:
    for names in (("code", "resource", "header", "strings"), ("il", "metadata", "imports")):
        lines = part(shown(with_contents(*names), 80), "Hot ranges").splitlines()
        assert max(map(len, lines)) <= 80


def test_hot_ranges_beyond_the_top_are_summed() -> None:
    text = part(shown(make_result(), top=1), "Hot ranges")
    assert "… 3 more ranges, +0.473 together" in text


def test_the_picture_needs_colours_and_room() -> None:
    result = make_result(plane=True)
    assert "The file as a byteplot" not in shown(result, 120)  # nor a heading without it
    assert "The file as a byteplot" in shown(result, 120, colour=True)
    assert "▀" not in shown(result, 30, colour=True)
    assert shown(result, 66, colour=True).count("▀") == 64 * 32
    assert shown(result, 50, colour=True).count("▀") == 48 * 24


def test_the_picture_has_the_colours_of_its_heat() -> None:
    picture = Plane(4, 2, "gICAgICAgIA=", 2, 1, [1.0, -0.5])
    text = shown(with_evidence(plane=picture), 120, colour=True)
    (line,) = [line for line in text.splitlines() if "▀" in line]
    colours = re.findall(r"38;2;(\d+);(\d+);(\d+);48", line)
    assert len(colours) == 4
    assert colours[0] == colours[1] != colours[2] == colours[3]
    warm, cold = tuple(map(int, colours[0])), tuple(map(int, colours[3]))
    assert warm[0] > warm[1] > warm[2]
    assert cold[0] < cold[1] < cold[2]


@pytest.mark.parametrize(
    "changes",
    [
        {"pixels": "no base64"},
        {"pixels": ""},
        {"width": 0},
        {"width": -64, "height": -64},
        {"width": 10**9, "height": 10**9},
        {"heat": []},
        {"heat_width": 10**9},
        {"heat_width": -16, "heat_height": -16},
    ],
)
def test_a_picture_that_contradicts_itself_is_left_out(changes: dict[str, Any]) -> None:
    picture = msgspec.structs.replace(make_plane(), **changes)
    text = shown(with_evidence(plane=picture), 120, colour=True)
    assert "The file as a byteplot" not in text
    assert "▀" not in text


def test_other_records_are_one_line() -> None:
    text = screen("explain", [make_failed(reason=HOSTILE), make_skipped(), make_summary()])
    assert text.splitlines()[0].startswith("failed  cases/2024-117/locked.exe  [/red]\\x1b[31m")
    assert text.splitlines()[2] == (
        "skipped  cases/2024-117/notes.txt  neither a PE file nor a byteplot PNG"
    )
    assert len(text.splitlines()) == 3


def test_similar_files() -> None:
    text = shown(make_result(similar=make_similar(0.03124, 0.2, 0.41)), 100)
    assert "Similar files   the nearest of 1,532 labelled files, by centred-cosine" in text
    assert f"     0.031  icedid  {sha256_of('near 0')}\n" in text
    assert f"     0.410  icedid  {sha256_of('near 2')}\n" in text
    assert "No other file" not in text
    assert "No other file is in the index." in shown(make_result(similar=make_similar()), 100)
    assert "Similar files" not in shown(make_result(), 100)


@pytest.mark.parametrize("colour", [False, True])
def test_hostile_strings_do_nothing(colour: bool) -> None:
    text = shown(_hostile(HOSTILE), 100, colour)
    assert hidden(text) <= ({"\x1b"} if colour else set())
    assert "[/red]" in text
    assert "\x1b]" not in text
    assert "\x1b[31m\\x1b" not in text
    assert "\nsecond line" not in text


@given(st.text(st.characters(codec=None, exclude_categories=()), max_size=40))
def test_any_string_can_stand_anywhere(text: str) -> None:
    assert not hidden(shown(_hostile(text), 80))


def _hostile(text: str) -> Result:
    """A result with `text` wherever a sample, a bundle or a saved document can put one."""
    result = make_result(text, make_verdict(text, closest=text), ((text, text),))
    evidence = msgspec.structs.replace(
        result.evidence,
        method=text,
        against=text,
        regions=[RegionHeat(text, "section", 0, 9, 1.0, 1.0, 1.0)],
        hot=[HotRange(0, 9, text, None, 1.0, text, content) for content in _contents(text)],
        views=[msgspec.structs.replace(result.evidence.views[0], name=text)],
        plane=msgspec.structs.replace(make_plane(), pixels=text),
    )
    identity = make_identity(
        text, 9, md5=text, sha1=text, tlsh=text, imphash=text, rich_hash=text,
        compile_time=text, pdb_path=text, version=VersionInfo(text, text, text), signer=text,
    )  # fmt: skip
    layout = msgspec.structs.replace(result.layout, machine=text, anchors={text: 1})
    model = msgspec.structs.replace(result.model, name=text, weights_sha256=text)
    return msgspec.structs.replace(
        result,
        sha256=text,
        evidence=evidence,
        identity=identity,
        layout=layout,
        model=model,
        similar=Similar(text, 1, text, 0.1, text, [Neighbour(text, text, 0.5)]),
    )


def _contents(text: str) -> list[HotContent]:
    """Contents with `text` in each string that a sample or a saved document can say."""
    item = Instruction(0, None, text, text, text, text)
    listing = Listing("x86", False, "export", text, 0, [item])
    parts: list[dict[str, Any]] = [
        {"kind": "code", "code": listing},
        {"kind": "il", "il": listing},
        {"kind": "metadata", "metadata": text},
        {"kind": "resource", "resource": ResourceRef(text, text, text, 0, 9)},
        {"kind": "header", "fields": [HeaderField(0, 2, text, text, 1.0)]},
        {
            "kind": "imports",
            "imports": [ImportedNames(text, [text])],
            "exports": [text],
            "strings": [FoundString(0, "ascii", text)],
        },
    ]
    common = {"rva": None, "va": None, "entropy": 1.0, "snapped": (0, 0), "focus": 0}
    return [HotContent(**common, notes=[text], **part) for part in parts]


NUMBER = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 1e-300, 1e308, -1e308]),
)
OFFSET = st.one_of(st.integers(0, 1 << 20), st.integers(-(1 << 63), (1 << 64) - 1))


CONTENT = st.builds(
    HotContent,
    kind=st.sampled_from(get_args(ContentKind)),
    rva=OFFSET,
    va=OFFSET,
    entropy=NUMBER,
    snapped=st.tuples(OFFSET, OFFSET),
    focus=OFFSET,
    code=st.builds(
        Listing,
        st.just("x64"),
        st.booleans(),
        st.just("none"),
        st.none(),
        OFFSET,
        st.lists(
            st.builds(Instruction, OFFSET, OFFSET, st.just("90"), st.just("nop"), st.just(""))
        ),
    ),
    fields=st.lists(st.builds(HeaderField, OFFSET, OFFSET, st.just("f"), st.just("v"), NUMBER)),
    strings=st.lists(st.builds(FoundString, OFFSET, st.just("ascii"), st.just("s"))),
)


@st.composite
def _results(draw: st.DrawFn) -> Result:
    """Results whose numbers are anything that JSON can say."""
    kinds = st.sampled_from(["section", "gap", "overlay"])
    heats = st.builds(RegionHeat, st.just(".x"), kinds, OFFSET, OFFSET, NUMBER, NUMBER, NUMBER)
    evidence: Evidence = msgspec.structs.replace(
        make_evidence(plane=True),
        total=draw(NUMBER),
        bias=draw(NUMBER),
        logit=draw(NUMBER),
        padding=draw(NUMBER),
        regions=draw(st.lists(heats, max_size=4)),
        hot=draw(
            st.lists(
                st.builds(
                    HotRange,
                    OFFSET,
                    OFFSET,
                    st.just("r"),
                    OFFSET,
                    NUMBER,
                    st.just("00"),
                    st.one_of(st.none(), CONTENT),
                ),
                max_size=3,
            )
        ),
        plane=msgspec.structs.replace(
            make_plane(8, 2), heat=draw(st.lists(NUMBER, min_size=4, max_size=4))
        ),
    )
    checks = [
        make_check(h.start, h.end, h.contribution, draw(NUMBER), "weak", draw(st.booleans()))
        for h in (*evidence.regions, *evidence.hot)
    ]
    found = Checks(0, draw(st.none() | NUMBER), 0.1, checks, checks)
    evidence = msgspec.structs.replace(evidence, checks=draw(st.sampled_from([None, found])))
    verdict = make_verdict("icedid", draw(NUMBER), draw(NUMBER), draw(NUMBER), fpr=draw(NUMBER))
    layout = msgspec.structs.replace(
        make_result().layout,
        image_base=draw(OFFSET),
        regions=[Region("r", "section", 0, draw(OFFSET), None, draw(NUMBER))],
    )
    size = draw(OFFSET)
    result = make_result(verdict=verdict, size=size)
    return msgspec.structs.replace(
        result, evidence=evidence, layout=layout, notices=[Notice("a", "b")]
    )


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(_results(), st.sampled_from([20, 80, 120]))
def test_any_numbers_make_both_screens(result: Result, width: int) -> None:
    console = console_of(width, colour=True)
    emit(console, explanation(result, RenderOptions(), console))
    assert printed(console).splitlines()
    assert screen("table", [result, make_summary(seconds=0.0)], width=width)


def test_methods_side_by_side() -> None:
    regions = make_evidence().regions
    own = [region.contribution for region in regions]
    heats = [
        MethodHeat("hirescam", ["gradcam"], sum(own), 0.0, own),
        MethodHeat(HOSTILE, [], 1.0, 0.0, [0.0] * (len(own) - 1) + [-1.0]),
    ]
    compared = Compared(heats, [Agreement("hirescam", HOSTILE, None)])
    text = part(shown(with_evidence(compared=compared), top=2), "Methods side by side")
    assert "hirescam = gradcam" in text
    assert "\x1b" not in text
    assert f"{len(own) - 2} more regions" in text
    assert "not defined" in text
    wide = part(shown(with_evidence(compared=compared), top=0, width=120), "Methods side by side")
    last = next(line for line in wide.splitlines() if line.split()[0] == "overlay")
    assert last.split()[-1] == "-100.0%"


def test_a_share_of_padding_is_printed_whole() -> None:
    """The rows below the regions may need more room than the regions do."""
    evidence = make_evidence(padding=-30.0)
    lines = [line.plain for line in score_table.regions(evidence, None, 120)]
    (padding,) = [line for line in lines if "padding (plotted" in line]
    assert "…" not in padding
    assert re.search(r"-\d\d\.\d%", padding)


def test_a_machine_that_is_not_known_is_not_named() -> None:
    layout = msgspec.structs.replace(make_result().layout, machine="none")
    text = screen("explain", [make_result(layout=layout), make_summary()], width=100)
    assert next(line for line in text.splitlines() if line.startswith("  file ")).endswith("PE32")
