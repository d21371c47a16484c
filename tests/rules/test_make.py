"""Rules of real programs: what they match, what they say, and when there is none."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
import yara_x
from corpus.synthetic import program
from hostile.make import byteplot, sample
from hypothesis import given, settings
from hypothesis import strategies as st

from maltriage import bundle as bundles
from maltriage.bundle import Bundle
from maltriage.errors import MaltriageError
from maltriage.probe.rule.gather import Candidate
from maltriage.probe.rule.pattern import Form, Pattern
from maltriage.report.documents.evidence import HOT_BLOCK, Status
from maltriage.report.documents.record import Result
from maltriage.rules import make as rules
from maltriage.rules.choose import (
    ENOUGH,
    LEAST,
    MANY,
    MAX_STRINGS,
    choose,
    choose_against,
)
from maltriage.rules.make import make_rule
from maltriage.rules.ranges import ranges_of
from maltriage.rules.text import rule_name, rule_text, warnings
from maltriage.rules.trial import Elsewhere, Trial, most
from maltriage.rules.types import Chosen, Evidence, Facts, Group, Rule, RuleOptions
from maltriage.triage.options import ScanOptions
from maltriage.triage.pipeline import scan
from maltriage.work.workers import Workers

MINGW = ("gui-x86.exe", "console-x86.exe", "overlay-x86.exe")
TODAY = datetime.date(2026, 1, 2).isoformat()


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return bundles.load(bundles.resolve(None))


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with Workers(1, 60.0) as pool:
        yield pool


def explained(paths: Sequence[Path], bundle: Bundle, checks: int | None = None) -> list[Result]:
    options = ScanOptions(label="torrentlocker", checks=checks, close=True, jobs=1, inspect=False)
    records = scan([str(path) for path in paths], bundle, options)
    return [record for record in records if isinstance(record, Result)]


def write(folder: Path, **files: bytes) -> list[Path]:
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in files]


def made(
    paths: Sequence[Path], bundle: Bundle, workers: Workers, goodware: Path | None = None
) -> Rule:
    options = RuleOptions(TODAY, None if goodware is None else str(goodware))
    return make_rule(explained(paths, bundle), bundle, workers, options)


def matches(rule: Rule, data: bytes) -> bool:
    return bool(yara_x.compile(rule.text).scan(data).matching_rules)


def test_a_rule_matches_its_files_and_not_the_goodware(
    tmp_path: Path, samples_dir: Path, bundle: Bundle, workers: Workers
) -> None:
    paths = [samples_dir / name for name in MINGW]
    clean = write(tmp_path / "good", a=sample("library-x64.dll"), b=sample("signed-x64.exe"))
    write(tmp_path / "good", text=b"no program")
    rule = made(paths, bundle, workers, clean[0].parent)
    assert (rule.facts.clean, rule.unread) == (2, 0)
    assert all(matches(rule, path.read_bytes()) for path in paths)
    assert not any(matches(rule, path.read_bytes()) for path in clean)
    (group,) = rule.groups
    assert group.files == (0, 1, 2)
    assert LEAST <= group.least <= group.fewest <= len(group.strings) <= MAX_STRINGS
    assert all(len(item.files) > 1 for item in group.strings)
    (compiled,) = yara_x.compile(rule.text).scan(paths[0].read_bytes()).matching_rules
    meta = dict(compiled.metadata)
    assert "family" not in meta
    assert meta["asked"] == "torrentlocker"
    assert meta["description"] == "Hot bytes of 3 files, explained for torrentlocker as asked"
    assert meta["verdicts"] == "benign 3"
    assert meta["model_sha256"] == bundle.card.weights_sha256
    assert meta["date"] == TODAY
    assert meta["goodware"] == "no match in 2 files"
    assert meta["recall"] == "not measured: no other files of the family"
    alone = "no clean file was tried that is 32-bit, made with MinGW"
    assert (meta["goodware_alike_1"], meta["warning"]) == (
        "0 of these are 32-bit, made with MinGW, as samples are",
        alone,
    )
    asked = "torrentlocker was asked for, the verdicts are benign 3"
    assert warnings(rule.facts) == [asked, alone]
    for path, number in zip(paths, (1, 2, 3), strict=True):
        assert meta[f"sample_{number}"] == explained([path], bundle)[0].sha256
    assert sum(key.startswith("evidence_") for key in meta) == len(group.strings)
    assert "not checked" in meta["evidence_g1_01"]


def test_what_the_goodware_has_is_left_out(
    tmp_path: Path, samples_dir: Path, bundle: Bundle, workers: Workers
) -> None:
    """A clean file of the same compiler is matched, unless it is among the goodware."""
    paths = [samples_dir / name for name in MINGW]
    clean = write(tmp_path / "good", a=sample("debug-x86.exe"))
    assert matches(made(paths, bundle, workers), clean[0].read_bytes())
    rule = made(paths, bundle, workers, clean[0].parent)
    assert rule.facts.alike == (("32-bit, made with MinGW", 1),)
    (_,) = warnings(rule.facts)  # that the family was asked for
    assert not matches(rule, clean[0].read_bytes())
    assert [matches(rule, path.read_bytes()) for path in paths] == [False, True, True]
    assert len(rule.facts.left_out) == 1
    with pytest.raises(MaltriageError, match="no two of the files share 2 strings that the clean"):
        made(paths, bundle, workers, samples_dir)


def test_a_file_is_not_told_from_itself(
    tmp_path: Path, samples_dir: Path, bundle: Bundle, workers: Workers
) -> None:
    clean = write(tmp_path / "good", a=sample("gui-x86.exe"))
    with pytest.raises(MaltriageError, match=r"gui-x86.exe has fewer than 2 strings"):
        made([samples_dir / "gui-x86.exe"], bundle, workers, clean[0].parent)


def test_one_file(samples_dir: Path, bundle: Bundle, workers: Workers) -> None:
    rule = made([samples_dir / "gui-x86.exe"], bundle, workers)
    assert matches(rule, sample("gui-x86.exe"))
    assert not matches(rule, sample("dotnet.exe"))
    assert (rule.facts.clean, rule.unread) == (None, 0)
    assert 'goodware = "none"' in rule.text
    asked, of_one = warnings(rule.facts)
    assert asked == "torrentlocker was asked for, the verdicts are benign 1"
    assert of_one == "made of one file: its strings may be of this file alone"


def test_files_that_share_nothing(
    tmp_path: Path, samples_dir: Path, bundle: Bundle, workers: Workers
) -> None:
    data = sample("gui-x86.exe")
    paths = write(tmp_path, **{"other.exe": data[:0x400] + data[:0x3FF:-1]})
    paths += [samples_dir / "dotnet.exe"]
    with pytest.raises(MaltriageError, match=r"no rule: .*share"):
        made(paths, bundle, workers)


def test_a_file_that_shares_nothing_is_left_out(
    tmp_path: Path, samples_dir: Path, bundle: Bundle, workers: Workers
) -> None:
    paths = write(tmp_path, **{"other.exe": program(1, 1)})
    paths += [samples_dir / name for name in MINGW[:2]]
    rule = made(paths, bundle, workers)
    assert [group.files for group in rule.groups] == [(1, 2)]
    assert not matches(rule, paths[0].read_bytes())
    assert all(matches(rule, path.read_bytes()) for path in paths[1:])
    (digest,) = rule.facts.left_out
    assert digest == hashlib.sha256(paths[0].read_bytes()).hexdigest()
    assert f'sample_1_left_out = "{digest}"' in rule.text
    assert 'description = "Hot bytes of 2 files, explained for torrentlocker as asked"' in rule.text


def test_what_other_families_have_is_left_out(
    tmp_path: Path, samples_dir: Path, bundle: Bundle, workers: Workers
) -> None:
    """Labelled files: a benign one is a clean file, one of the family shows recall, and of another
    family's files no more than a twentieth is matched."""
    paths = [samples_dir / name for name in MINGW]
    third, debug = sample(MINGW[2]) + b"x", sample("debug-x86.exe")
    (own,) = write(tmp_path / "own", **{"c.exe": third})
    (other,) = write(tmp_path / "other", **{"d.exe": debug})
    (far,) = write(tmp_path / "far", **{"e.exe": sample("library-x64.dll")})
    labels = {str(own): "torrentlocker", str(paths[0]): "torrentlocker", str(far): "benign"}

    def labelled(**more: str) -> Rule:
        options = RuleOptions(TODAY, labelled={**labels, **more})
        return make_rule(explained(paths, bundle), bundle, workers, options)

    before = labelled()
    assert matches(before, debug)
    assert before.facts.clean == 1
    rule = labelled(**{str(other): "maze"})
    assert not matches(rule, debug)
    assert (rule.facts.recall, rule.facts.others) == ((1, 1), 1)
    found = hashlib.sha256(third).hexdigest()
    assert rule.facts.hits == (("torrentlocker", found),)
    for line in (
        'recall = "1 of 1 other files of the family"',
        'other_families = "0 of 1 files"',
        f'hit_1 = "torrentlocker {found}"',
    ):
        assert line in rule.text


def test_files_of_other_families_within_the_limit_are_named(
    tmp_path: Path, samples_dir: Path, bundle: Bundle, workers: Workers
) -> None:
    """One file of twenty may match, and the rule says which."""
    paths = [samples_dir / name for name in MINGW[:2]]
    plain = {f"{n}.exe": sample("library-x64.dll") + bytes([n]) for n in range(19)}
    others = write(tmp_path / "other", **plain, **{"d.exe": sample("debug-x86.exe")})
    options = RuleOptions(TODAY, labelled=dict.fromkeys(map(str, others), "maze"))
    rule = make_rule(explained(paths, bundle), bundle, workers, options)
    digest = hashlib.sha256(sample("debug-x86.exe")).hexdigest()
    assert rule.facts.hits == (("maze", digest),)
    assert 'other_families = "1 of 20 files"' in rule.text
    assert f'hit_1 = "maze {digest}"' in rule.text


def test_a_byteplot_is_the_program_in_it(
    tmp_path: Path, samples_dir: Path, bundle: Bundle, workers: Workers
) -> None:
    plots = write(tmp_path / "a", **{f"{name}.png": byteplot(sample(name)) for name in MINGW})
    rule = made(plots, bundle, workers)
    assert all(matches(rule, sample(name)) for name in MINGW)
    assert not any(matches(rule, path.read_bytes()) for path in plots)


def test_the_same_files_give_the_same_bytes(
    samples_dir: Path, bundle: Bundle, workers: Workers
) -> None:
    paths = [samples_dir / name for name in MINGW]
    assert made(paths, bundle, workers).text == made(paths, bundle, workers).text


def test_supported_ranges_come_first(samples_dir: Path, bundle: Bundle, workers: Workers) -> None:
    """Nothing is made of a range whose claim masking contradicts, or that is negligible."""
    results = explained([samples_dir / name for name in MINGW], bundle, checks=0)
    rule = make_rule(results, bundle, workers, RuleOptions(TODAY))
    assert statuses(rule) <= {"supported", "weak", None}
    assert "supported" in statuses(rule)
    refused = [_all_checked(result, "contradicted") for result in results]
    with pytest.raises(MaltriageError, match="no rule"):
        make_rule(refused, bundle, workers, RuleOptions(TODAY))
    weak = [_all_checked(result, "weak") for result in results]
    rule = make_rule(weak, bundle, workers, RuleOptions(TODAY))
    assert (statuses(rule), rule.supported) == ({"weak"}, False)


def test_sections_have_their_own_heat_and_check(samples_dir: Path, bundle: Bundle) -> None:
    """A section gives strings unless its check contradicts it, and says what its check says;
    strings are ordered by the heat of a hot block in it."""
    (result,) = explained([samples_dir / "gui-x86.exe"], bundle, checks=0)
    checks = result.evidence.checks
    assert checks is not None
    regions = [
        msgspec.structs.replace(region, contribution=2.0)
        for region in result.evidence.regions
        if region.kind == "section" and region.end > region.start
    ]
    called: list[Status] = ["supported", "weak", "contradicted", "negligible"]
    checked = [
        msgspec.structs.replace(checks.regions[0], start=r.start, end=r.end, status=status)
        for r, status in zip(regions, called, strict=False)
    ]
    checks = msgspec.structs.replace(checks, regions=checked)
    evidence = msgspec.structs.replace(result.evidence, regions=regions, checks=checks, hot=[])
    result = msgspec.structs.replace(result, evidence=evidence)
    _, found = ranges_of(result, 3, whole=True)
    assert [origin.status for origin in found] == [
        "supported",
        "weak",
        "negligible",
        *[None] * (len(regions) - 4),
    ]
    assert {(origin.file, origin.contribution) for origin in found} == {(3, 2.0)}
    assert not any(origin.supported for origin in found)
    assert [origin.beside for origin in found[:4]] == [False, False, True, False]
    start, end = found[0].range
    assert found[0].heat == pytest.approx(2.0 * HOT_BLOCK / (end - start))


def statuses(rule: Rule) -> set[str | None]:
    return {item.evidence.status for group in rule.groups for item in group.strings}


def _all_checked(result: Result, status: str) -> Result:
    """The result with this status for every hot range, and only those that were checked."""
    checks = result.evidence.checks
    assert checks is not None
    hot = [msgspec.structs.replace(check, status=status) for check in checks.hot]
    places = {(check.start, check.end) for check in hot}
    kept = [item for item in result.evidence.hot if (item.start, item.end) in places]
    checks = msgspec.structs.replace(checks, hot=hot)
    evidence = msgspec.structs.replace(result.evidence, hot=kept, checks=checks)
    return msgspec.structs.replace(result, evidence=evidence)


def test_labels_that_make_no_rule(samples_dir: Path, bundle: Bundle, workers: Workers) -> None:
    first, second = explained([samples_dir / name for name in MINGW[:2]], bundle)

    def called(result: Result, label: str) -> Result:
        evidence = msgspec.structs.replace(result.evidence, label=label)
        return msgspec.structs.replace(result, evidence=evidence)

    for results, reason in (
        (
            [called(first, "bifrose"), second],
            r"several labels \(bifrose 1, torrentlocker 1\); --class",
        ),
        ([called(first, "benign"), called(second, "benign")], "look clean"),
        ([msgspec.structs.replace(first, format="picture")], "pixels"),
        ([], "no file"),
    ):
        with pytest.raises(MaltriageError, match=reason):
            make_rule(results, bundle, workers, RuleOptions(TODAY))


def test_a_family_that_verdicts_name_is_not_asked_for(
    samples_dir: Path, bundle: Bundle, workers: Workers
) -> None:
    """Nor is one that a verdict is closest to; both are explained without --class."""
    first, second = explained([samples_dir / name for name in MINGW[:2]], bundle)
    named = msgspec.structs.replace(first.verdict, label="torrentlocker", closest=None)
    unknown = msgspec.structs.replace(second.verdict, label="unknown", closest="torrentlocker")
    results = [
        msgspec.structs.replace(first, verdict=named),
        msgspec.structs.replace(second, verdict=unknown),
    ]
    rule = make_rule(results, bundle, workers, RuleOptions(TODAY))
    assert warnings(rule.facts) == []
    assert 'family = "torrentlocker"' in rule.text
    assert 'verdicts = "torrentlocker 1, unknown 1"' in rule.text
    assert "asked" not in rule.text


def test_a_file_that_changed(tmp_path: Path, bundle: Bundle, workers: Workers) -> None:
    (path,) = write(tmp_path / "a", **{"a.exe": sample("gui-x86.exe")})
    results = explained([path], bundle)
    path.write_bytes(sample("console-x86.exe"))
    with pytest.raises(MaltriageError, match="changed meanwhile"):
        make_rule(results, bundle, workers, RuleOptions(TODAY))


def test_goodware_without_a_program(
    tmp_path: Path, samples_dir: Path, bundle: Bundle, workers: Workers
) -> None:
    write(tmp_path / "good", text=b"no program", empty=b"")
    with pytest.raises(MaltriageError, match="no clean file"):
        made([samples_dir / "gui-x86.exe"], bundle, workers, tmp_path / "good")


def test_a_rule_that_misses_is_not_given(
    samples_dir: Path, bundle: Bundle, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The finished text is tried, whatever made it."""
    text = rules.rule_text
    paths = [samples_dir / "gui-x86.exe"]
    monkeypatch.setattr(rules, "rule_text", lambda *a: text(*a).replace("filesize <", "filesize >"))
    with pytest.raises(MaltriageError, match=r"it does not match .*gui-x86.exe"):
        made(paths, bundle, workers)
    monkeypatch.setattr(rules, "rule_text", lambda *a: text(*a) + "}")
    with pytest.raises(MaltriageError, match="does not compile"):
        made(paths, bundle, workers)


def test_a_finished_rule_in_the_goodware_is_not_given(
    tmp_path: Path, samples_dir: Path, bundle: Bundle, workers: Workers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    clean = write(tmp_path / "good", a=sample("dotnet.exe"))
    name = rule_name("torrentlocker")
    monkeypatch.setattr(rules, "rule_text", lambda *a: f"rule {name} {{ condition: true }}")
    with pytest.raises(MaltriageError, match="matches a clean file"):
        made([samples_dir / "console-x86.exe"], bundle, workers, clean[0].parent)


def string(
    raw: bytes, files: Sequence[int], range_at: int = 0, at: int | None = None, form: Form = "hex"
) -> Chosen:
    """A string of files; by default far from all others."""
    where = Evidence(min(files), (range_at, range_at + 256), ".text", 1.0, "supported")
    candidate = Candidate(Pattern(form, raw), "code", range_at, 0, ())
    at = int.from_bytes(raw, "big") * 1024 if at is None else at
    return Chosen(candidate, where, dict.fromkeys(files, at))


def strings(count: int, files: Sequence[int], first: int = 0) -> list[Chosen]:
    return [string(bytes([number] * 4), files) for number in range(first, first + count)]


def test_groups_are_files_that_share_enough() -> None:
    found = strings(5, (0, 1)) + strings(4, (1, 2), 10) + strings(1, (2, 3), 20)
    found += strings(6, (3,), 30) + strings(1, (4,), 40)
    choice = choose(found, 5)
    assert [(group.files, group.fewest) for group in choice.groups] == [((0, 1, 2), 4)]
    assert choice.left_out == (3, 4)
    (alone,) = choose(strings(3, (0,)), 1).groups
    assert (alone.files, alone.fewest) == ((0,), 3)


def test_strings_of_one_place_count_once() -> None:
    """Byte patterns that lie side by side in a file are one, unless it has no other; strings that
    overlap are one in any case, and texts are as many as there are."""
    far = [string(bytes([9, n] * 8), (0, 1), at=4096 * n) for n in (1, 2)]

    def run(count: int, step: int, form: Form = "hex") -> list[Chosen]:
        return [string(bytes([form == "hex", n] * 8), (0, 1), at=step * n, form=form)
                for n in range(count)]  # fmt: skip

    def offsets(*strings: Chosen) -> list[int]:
        (group,) = choose(strings, 2).groups
        assert group.fewest == len(group.strings)
        return sorted(item.offsets[0] for item in group.strings)

    assert offsets(*run(13, 16), *far) == [0, 4096, 8192]
    assert offsets(*run(40, 16), *far) == [0, 272, 544, 4096, 8192]
    assert offsets(*run(13, 16)) == [0, 16]
    assert offsets(*run(13, 16, "ascii"), *far) == [*range(0, 13 * 16, 16), 4096, 8192]
    assert offsets(*run(4, 4, "ascii"), *far) == [0, 4096, 8192]
    assert choose(run(4, 4), 2).groups == ()


def test_strings_are_of_many_ranges() -> None:
    hottest = strings(50, (0, 1))
    others = [string(bytes([100 + n] * 4), (0, 1), 4096) for n in range(10)]
    (group,) = choose([*hottest, *others], 2).groups
    assert len(group.strings) == MAX_STRINGS
    assert {id(item) for item in group.strings} >= {id(item) for item in others}


def test_a_file_has_places_that_overlap_in_others_only() -> None:
    """The second file has two strings that overlap what is taken, but only in the first file."""
    taken = [string(bytes([1, n] * 8), (0, 1), at=1024 * n) for n in range(5)]
    own = [string(bytes([2, n] * 8), (0, 2), at=1024 * n + 4) for n in range(2)]
    choice = choose([*taken, *own], 3)
    assert [group.files for group in choice.groups] == [(0, 1, 2)]
    assert choice.groups[0].fewest == 2


def test_a_file_that_has_one_place_leaves_the_others_their_rule() -> None:
    overlapping = [string(bytes([1, n] * 8), (1, 2), at=4 * n) for n in range(3)]
    choice = choose([*strings(5, (0, 1), 10), *overlapping], 3)
    assert [(group.files, group.fewest) for group in choice.groups] == [((0, 1), 5)]
    assert choice.left_out == (2,)


def test_strings_that_match_too_many_of_another_family_go() -> None:
    """The string that most of the wrong files have goes first, until few enough match."""
    shared, own = strings(3, (0, 1)), strings(2, (0, 1), 10)
    files = [Elsewhere("maze", str(n), frozenset()) for n in range(3)]
    others = {shared[0]: files, shared[1]: files[:2], own[0]: files[2:]}
    few = choose_against([*shared, *own], 2, MANY, others, {"maze": 3})
    assert few.groups[0].least == LEAST
    for file in files:
        has = [item for item in few.groups[0].strings if file in others.get(item, ())]
        assert len(has) < LEAST
    assert {id(item) for item in few.groups[0].strings} >= {id(shared[2]), id(own[1])}
    many = choose_against([*shared, *own], 2, MANY, others, {"maze": 60})
    assert len(many.groups[0].strings) == 5
    none = choose_against(shared[:2], 2, MANY, others, {"maze": 3})
    assert (none.groups, none.left_out) == ((), (0, 1))


def test_many_clean_files_make_two_strings_enough() -> None:
    found = strings(12, (0, 1))
    wanted = {tried: choose(found, 2, tried).groups[0].least for tried in (0, MANY - 1, MANY)}
    assert wanted == {0: 4, MANY - 1: 4, MANY: LEAST}


def test_many_files_that_share_little() -> None:
    """Each has what it takes, however many strings others have in common."""
    count = 60
    found = strings(100, range(10))
    found += [
        string(bytes([at, n, 7, 7]), (at, at + 1)) for at in range(9, count) for n in range(3)
    ]
    choice = choose(found, count + 1)
    assert choice.left_out == ()
    (group,) = choice.groups
    assert len(group.strings) <= ENOUGH * (count + 1)


@given(st.lists(st.frozensets(st.integers(0, 4), min_size=1), max_size=80))
def test_every_file_of_a_group_has_what_it_takes(files: list[frozenset[int]]) -> None:
    found = [
        string(number.to_bytes(4, "big"), sorted(some), number // 8 * 256)
        for number, some in enumerate(files)
    ]
    choice = choose(found, 5)
    grouped = [number for group in choice.groups for number in group.files]
    assert sorted([*grouped, *choice.left_out]) == [0, 1, 2, 3, 4]
    for group in choice.groups:
        assert len(group.strings) <= MAX_STRINGS
        members = set(group.files)
        assert all(len(item.files & members) >= 2 for item in group.strings)
        has = [sum(number in item.files for item in group.strings) for number in group.files]
        assert min(has) == group.fewest >= group.least >= LEAST
        assert group.fewest >= ENOUGH


@settings(max_examples=60)
@given(st.text(max_size=80), st.text(max_size=120), st.text(min_size=1, max_size=40))
def test_nothing_of_a_sample_leaves_its_place(family: str, listing: str, model: str) -> None:
    """Names, instructions and labels with quotes, comments and line breaks: still one rule."""
    hostile = ("*/ */ } rule b { condition: true }", "\n} rule c { condition: true } //", listing)
    hostile = (*hostile, "ldstr 'пароль…'")
    where = Evidence(0, (0, 9), f"\n\"{listing}'", 1.0, None)
    found = [
        Chosen(Candidate(Pattern("hex", bytes([n] * 5)), "code", 0, 0, hostile), where,
               {0: 512 * n})
        for n in range(3)
    ]  # fmt: skip
    facts = Facts(
        family,
        model,
        "0" * 64,
        TODAY,
        ("1" * 64,),
        (),
        4096,
        False,
        9,
        ((family, 0),),
        ((listing, "2" * 64),),
        (0, 1),
        1,
        ((listing, 1),),
        asked=True,
    )
    text = rule_text([Group((0,), tuple(found), 3, 3)], facts)
    results = yara_x.compile(text).scan(b"".join(item.candidate.pattern.data for item in found))
    (rule,) = results.matching_rules
    assert rule.identifier == rule_name(family)
    assert len(rule.patterns) == 3
    assert all(line.isprintable() for line in text.split("\n"))
    assert text.isascii()
    assert r"// ldstr '\xd0\xbf\xd0\xb0" in text
    assert "..." in text


def test_counts_and_names_of_metadata() -> None:
    """One file and thousands, and a section without a name."""
    where = Evidence(0, (0x100, 0x200), "", 1.0, None)
    found = [Chosen(Candidate(Pattern("hex", bytes([n] * 5)), "code", 0, 0), where, {0: n * 512})
             for n in range(2)]  # fmt: skip
    facts = Facts("maze", "net", "0" * 64, TODAY, ("1" * 64,), (), 4096, False, 4391,
                  (("32-bit", 1), ("64-bit", 1200)), others=1500)  # fmt: skip
    text = rule_text([Group((0,), tuple(found), 2, 2)], facts)
    for said in (
        'description = "Hot bytes of 1 file of maze"',
        'goodware = "no match in 4,391 files"',
        'goodware_alike_1 = "1 of these is 32-bit, as samples are"',
        'goodware_alike_2 = "1,200 of these are 64-bit, as samples are"',
        'other_families = "0 of 1,500 files"',
        "range 0x100-0x200 of (unnamed), heat +1.000, not checked",
    ):
        assert said in text


@pytest.mark.parametrize("family", ["", "all", "a-b c", "9", "Ω", "x" * 500, "rule", "_"])
def test_names_are_identifiers(family: str) -> None:
    yara_x.compile(f"rule {rule_name(family)} {{ condition: true }}")


def test_labelled_files_are_of_the_family_or_of_others() -> None:
    files = [Elsewhere(label, str(n), frozenset()) for n, label in enumerate(("maze", "zeus"))]
    trial = Trial(labelled=files)
    assert (trial.own("maze"), trial.others("maze")) == (files[:1], files[1:])
    assert [most(count) for count in (0, 19, 20, 39, 40)] == [0, 0, 1, 1, 2]
