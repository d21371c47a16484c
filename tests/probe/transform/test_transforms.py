"""What is changed, and that nothing else is: read back by LIEF, not by what made the change."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hostile.make import CASES, Pe, sample
from hypothesis import given
from hypothesis import strategies as st
from probe.transform.programs import PE, Plan, bodies, build, plans

from maltriage.probe.transform import SHARES, TRANSFORMS
from maltriage.probe.transform.donors import Draw, donor_words
from maltriage.probe.transform.program import DEBUG, NotApplicableError, Program
from maltriage.probe.transform.rebuild import debug_entries
from maltriage.sample.layout import make_layout
from maltriage.sample.pe import Headers, read_headers

PROGRAMS = (
    "console-x64.exe",
    "console-x86.exe",
    "debug-x86.exe",
    "dotnet.exe",
    "driver-x64.sys",
    "gui-x86.exe",
    "library-x64.dll",
    "overlay-x86.exe",
    "packed-x86.exe",
    "signed-x64.exe",
)
CHANGE_BODIES = {"wipe-debug", "wipe-headers", "pack-proxy"}
ADD = {"add-empty-section", "add-benign-section"}


@pytest.fixture(scope="module")
def donor(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("donor") / "donor.exe"
    path.write_bytes(sample("library-x64.dll"))
    return str(path)


def headers(data: bytes) -> Headers:
    found = read_headers(data)
    assert found is not None
    assert found.parser == "lief"
    return found


def change(name: str, data: bytes, donor: str | None = None, seed: int = 0) -> bytes:
    draw = Draw(seed, "ab" * 32, name, [donor] if donor else [])
    return TRANSFORMS[name].apply(Program(data), draw)


def changed(name: str, data: bytes, donor: str | None = None) -> bytes | None:
    try:
        return change(name, data, donor)
    except NotApplicableError:
        return None


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("name", TRANSFORMS)
def test_programs_of_real_linkers(name: str, program: str, donor: str) -> None:
    """The parser finds the sections, what is mapped of them, and the names that are imported."""
    data = sample(program)
    after = changed(name, data, donor)
    if after is None:
        assert name in {
            "wipe-rich",
            "wipe-debug",
            "wipe-checksum",
            "wipe-timestamp",
            "strip-overlay",
            "strip-certificate",
            "wipe-headers",
            "add-empty-section",
            "add-benign-section",
        }
        return
    old, new = headers(data), headers(after)
    added = len(new.sections) - len(old.sections)
    assert added == (name in ADD)
    if name not in CHANGE_BODIES:
        # But for places in the file that the debug directory names.
        now, was = _without_pointers(after), _without_pointers(data)
        assert list(bodies(now, new))[: len(old.sections)] == bodies(was, old)
        assert new.binary.imports is not None
        imported = [[e.name for e in lib.entries] for lib in old.binary.imports]
        assert [[e.name for e in lib.entries] for lib in new.binary.imports] == imported
    assert [(s.rva, s.virtual_size) for s in new.sections[: len(old.sections)]] == [
        (s.rva, s.virtual_size) for s in old.sections
    ]
    _, notices = make_layout(after, new)
    assert {n.code for n in notices} <= {n.code for n in make_layout(data, old)[1]}


def _without_pointers(data: bytes) -> bytes:
    program = Program(data)
    for entry in debug_entries(program):
        program.put_long(entry + 24, 0)
    return bytes(program.data)


@given(plans(), st.sampled_from(sorted(TRANSFORMS)))
def test_programs_of_any_layout(donor: str, plan: Plan, name: str) -> None:
    data = build(plan)
    before = headers(data)
    after = changed(name, data, donor)
    if after is None:
        return
    found = headers(after)
    was, now = bodies(data, before), bodies(after, found)
    if name == "pack-proxy":
        # What is deflated is what the section table says, zeros at the end included.
        for s, t in zip(before.sections, found.sections, strict=True):
            body = zlib.decompressobj().decompress(after[t.start : t.start + t.size])
            assert body == data[s.start : s.start + s.size]
    else:
        assert now[: len(was)] == was
    assert [s.name for s in found.sections][: len(was)] == [s.name for s in before.sections] or (
        name == "rename-sections"
    )
    layout, notices = make_layout(after, found)
    assert not [n for n in notices if n.code in ("overlapping-sections", "truncated")]
    if plan.certificate and name != "strip-certificate":
        (own,) = [r for r in layout.regions if r.kind == "certificate"]
        assert after[own.start : own.end] == plan.certificate
    starts = [s.start for s in found.sections]
    assert all(start % Program(after).file_alignment == 0 for start in starts)
    if plan.overlay and name != "strip-overlay":
        assert plan.overlay in after[max(s.start + s.size for s in found.sections) :]
    for gap in plan.gaps[: len(plan.sections) - 1]:
        assert gap in after


@pytest.mark.parametrize("kind", ["zeros", "random", "benign"])
@pytest.mark.parametrize("percent", SHARES)
def test_what_is_appended(kind: str, percent: int, donor: str) -> None:
    data = sample("console-x86.exe")
    after = change(f"append-{kind}-{percent}", data, donor)
    more = after[len(data) :]
    assert after.startswith(data)
    assert len(more) == round(len(data) * percent / 100)
    if kind == "zeros":
        assert not any(more)
    elif kind == "benign":
        other = sample("library-x64.dll").rstrip(b"\0")
        whole, rest = divmod(len(more), len(other))
        assert more == other * whole + other[len(other) - rest :]
    else:
        counts = np.bincount(np.frombuffer(more, dtype=np.uint8), minlength=256)
        assert counts.max() < 6 * len(more) / 256 + 20


def test_bytes_of_benign_files_are_their_ends(tmp_path: Path) -> None:
    (tmp_path / "a.exe").write_bytes(b"MZ" + b"a" * 3000 + bytes(500))
    (tmp_path / "b.exe").write_bytes(b"MZ" + b"b" * 2000)
    (tmp_path / "no").write_bytes(b"no program")
    donors = [str(tmp_path / name) for name in ("a.exe", "b.exe", "no", "missing")]
    assert Draw(0, "00" * 32, "n", donors[:1]).benign(3000) == b"a" * 3000
    found = Draw(0, "00" * 32, "n", donors).benign(20_000)
    assert len(found) == 20_000
    assert {part[:1] for part in found.replace(b"MZ", b" ").split()} == {b"a", b"b"}
    assert found == Draw(0, "00" * 32, "n", donors).benign(20_000)
    assert found != Draw(1, "00" * 32, "n", donors).benign(20_000)
    for none in ([], donors[2:]):
        with pytest.raises(NotApplicableError, match="benign"):
            Draw(0, "00" * 32, "n", none).benign(10)


def test_names_are_other_names() -> None:
    data = sample("gui-x86.exe")
    old, new = headers(data), headers(change("rename-sections", data))
    assert not {s.name for s in old.sections} & {s.name for s in new.sections}
    assert change("rename-sections", data, seed=1) != change("rename-sections", data, seed=2)


def test_fields_that_are_wiped() -> None:
    pe = Pe().pe
    data = Pe().put("<I", pe + 8, 1_700_000_000).put("<I", pe + 24 + 64, 4711).bytes()
    for name, at in (("wipe-timestamp", pe + 8), ("wipe-checksum", pe + 24 + 64)):
        after = bytearray(change(name, data))
        assert struct.unpack_from("<I", data, at)[0]
        assert after[at : at + 4] == bytes(4)
        after[at : at + 4] = data[at : at + 4]
        assert after == data
        with pytest.raises(NotApplicableError):
            change(name, change(name, data))


def test_the_rich_header() -> None:
    key = b"\x11\x22\x33\x44"
    records = struct.pack("<4I", *(0x01020304 ^ 0x44332211 for _ in range(4)))
    start = bytes(a ^ b for a, b in zip(b"DanS", key, strict=True))
    data = bytearray(build(Plan((b"code",), (b"",))))
    # The PE signature lies at 0x80, so there is room behind the DOS header.
    rich = start + records + b"Rich" + key
    data[0x48 : 0x48 + len(rich)] = rich
    after = change("wipe-rich", bytes(data))
    data[0x48 : 0x48 + len(rich)] = bytes(len(rich))
    assert after == bytes(data)


def test_the_debug_directory() -> None:
    data = sample("debug-x86.exe")
    path = b"maltriage-sample.pdb"
    assert path in data
    for name in ("wipe-debug", "wipe-headers"):
        after = change(name, data)
        assert path not in after
        assert "debug" not in headers(after).directories
        assert len(after) == len(data)


def test_a_debug_directory_in_the_headers_is_left_alone() -> None:
    """Found by fuzzing: a section that maps the headers had `MZ` wiped."""
    program = Program(sample("debug-x86.exe"))
    row, at = program.rows[0], program.directory_at(DEBUG)
    assert at is not None
    program.put_long(row.at + 20, 0)
    program.put_long(at, row.rva)
    with pytest.raises(NotApplicableError, match="no debug directory"):
        change("wipe-debug", bytes(program.data))
    assert change("wipe-headers", bytes(program.data))[:2] == b"MZ"


def test_the_debug_directory_moves_with_its_data() -> None:
    data = sample("debug-x86.exe")
    after = change("pad-sections", data)
    for found in (headers(data), headers(after)):
        assert found.binary.codeview_pdb.filename == "maltriage-sample.pdb"
    program = Program(after)
    (entry,) = debug_entries(program)
    at = program.long(entry + 24)
    assert at != Program(data).long(debug_entries(Program(data))[0] + 24)
    assert b"maltriage-sample.pdb" in after[at : at + program.long(entry + 16)]


def test_room_between_sections() -> None:
    data = sample("console-x86.exe")
    after = change("pad-sections", data)
    placed = [s for s in headers(data).sections if s.size]
    assert len(after) == len(data) + 4096 * (len(placed) - 1)
    gaps = [r for r in make_layout(after, headers(after))[0].regions if r.kind == "gap"]
    assert [gap.size for gap in gaps] == [4096] * (len(placed) - 1)


def test_alignment_there_and_back() -> None:
    data = sample("console-x86.exe")
    wide = change("file-alignment", data)
    assert Program(wide).file_alignment == 0x1000
    narrow = change("file-alignment", wide)
    assert Program(narrow).file_alignment == 0x200
    assert len(narrow) < len(wide)
    assert bodies(narrow, headers(narrow)) == bodies(data, headers(data))


def test_a_section_with_benign_content(donor: str) -> None:
    data = build(Plan((b"one" * 300, b"two" * 300), (b"", b""), b"overlay", b"c" * 64))
    after = change("add-benign-section", data, donor)
    found = headers(after)
    new = found.sections[-1]
    assert (
        sample("library-x64.dll")
        .rstrip(b"\0")
        .endswith(after[new.start : new.start + new.size][-500:])
    )
    assert new.size == 4096
    assert not new.executable
    assert Program(after).long(Program(after).image_size_at) == new.rva + 0x1000
    assert after[new.start + new.size :].startswith(b"overlay")


def test_no_room_for_a_section(donor: str) -> None:
    data = bytearray(build(Plan((b"one",), (b"",))))
    at = Program(bytes(data)).headers_end
    data[at + 39] = 1
    for name in ADD:
        with pytest.raises(NotApplicableError, match="no room in the section table"):
            change(name, bytes(data), donor)


def test_what_lies_behind_the_sections() -> None:
    plan = Plan((b"one",), (b"",), b"overlay", b"c" * 64)
    data = build(plan)
    stripped = change("strip-overlay", data)
    assert b"overlay" not in stripped
    assert stripped.endswith(plan.certificate)
    unsigned = change("strip-certificate", data)
    assert unsigned.rstrip(b"\0").endswith(b"overlay")
    assert Program(unsigned).certificate() is None
    alone = change("strip-overlay", unsigned)
    assert alone == build(Plan((b"one",), (b"",)))
    with pytest.raises(NotApplicableError, match="no overlay"):
        change("strip-overlay", alone + bytes(100))
    symbols = bytearray(unsigned)
    struct.pack_into("<II", symbols, PE + 12, len(alone), 3)
    assert change("strip-overlay", bytes(symbols)) == alone


def test_the_words_that_most_benign_files_have_are_appended(tmp_path: Path) -> None:
    texts = (
        b"alpha BRAVO charlie",
        b"bravo charlie \0d\0e\0l\0t\0a\0",
        b"charlie bravo alpha1",
        b"lonely words are here",
    )
    donors = []
    for number, text in enumerate(texts):
        donors.append(str(tmp_path / f"{number}.exe"))
        Path(donors[-1]).write_bytes(sample("gui-x86.exe")[:64] + b"\0" + text)
    draw = Draw(0, "ab" * 32, "append-words-10", donors)
    assert draw.benign_words(3) == b"bravo charlie alpha"
    assert donor_words(donors[1]) == {b"bravo", b"charlie", b"delta"}
    with pytest.raises(NotApplicableError, match="too few words"):
        draw.benign_words(40)
    with pytest.raises(NotApplicableError, match="no benign files"):
        Draw(0, "ab" * 32, "append-words-10").benign_words(1)


def test_a_file_that_is_cut_gets_nothing_appended() -> None:
    with pytest.raises(NotApplicableError, match="before its sections do"):
        change("append-random-10", sample("truncated-x86.exe"))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", TRANSFORMS)
def test_malformed_files(case: str, name: str, donor: str) -> None:
    """Whatever is in a file, either bytes come of it or the reason why none do."""
    data = CASES[case]()
    try:
        program = Program(data)
    except NotApplicableError:
        return
    try:
        after = TRANSFORMS[name].apply(program, Draw(0, "ab" * 32, name, [donor]))
    except NotApplicableError:
        return
    assert len(after) < 3 * len(data) + (1 << 20)


@given(st.integers(0, 500), st.binary(min_size=4, max_size=4), st.sampled_from(sorted(TRANSFORMS)))
def test_headers_with_any_field_broken(donor: str, at: int, value: bytes, name: str) -> None:
    data = bytearray(sample("debug-x86.exe"))
    data[60 + at : 64 + at] = value
    after = None
    try:
        after = change(name, bytes(data), donor)
    except NotApplicableError:
        return
    assert len(after) < 3 * len(data) + (1 << 20)
