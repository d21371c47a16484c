"""Candidates of real and of damaged programs."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile.make import CASES, Pe, byteplot, sample
from hypothesis import given, settings
from hypothesis import strategies as st
from probe.inspect import builds

from maltriage.probe.common import FORMAT, About, Prevalence, pieces, text_keys
from maltriage.probe.inspect.image import Image
from maltriage.probe.inspect.snap import Range
from maltriage.probe.inspect.worker import InspectOptions
from maltriage.probe.rule import gather as gathering
from maltriage.probe.rule.gather import Candidate, Known, candidates, dense, gather, telling
from maltriage.probe.rule.pattern import Pattern
from maltriage.sample.errors import SampleError
from maltriage.sample.layout import make_layout
from maltriage.sample.pe import read_headers


def everything(data: bytes) -> list[Range]:
    """Each region of a file as one range."""
    regions = make_layout(data, read_headers(data))[0].regions
    return [Range(region.start, region.end, region.start, region) for region in regions]


def of(data: bytes, kind: str) -> list[Candidate]:
    found = candidates(data, everything(data), parse=True)
    return [candidate for candidate in found if candidate.kind == kind]


def is_in(pattern: Pattern, data: bytes) -> bool:
    """Whether a pattern is in bytes, by a regular expression."""
    kept = pattern.mask or b"\xff" * len(pattern.data)
    pairs = zip(pattern.data, kept, strict=True)
    return re.search(
        b"".join(re.escape(bytes([b])) if k else b"." for b, k in pairs), data, re.DOTALL
    ) is not None  # fmt: skip


@pytest.mark.parametrize("name", ["gui-x86.exe", "console-x64.exe", "dotnet.exe", "packed-x86.exe"])
def test_what_is_found_lies_where_it_is_said_to(name: str) -> None:
    data = sample(name)
    found = candidates(data, everything(data), parse=True)
    assert len(found) == len({candidate.pattern for candidate in found}) > 5
    header = make_layout(data, read_headers(data))[0].regions[0]
    for candidate in found:
        end = candidate.offset + len(candidate.pattern.data)
        assert data[candidate.offset : end] == candidate.pattern.data
        assert candidate.offset >= header.end
        assert candidate.kind == "string" or telling(candidate.pattern)
        assert candidate.pattern.mask[:1] in (b"", b"\xff")


@pytest.mark.parametrize("bits", [32, 64])
def test_code_is_found_in_a_program_that_is_linked_elsewhere(bits: int) -> None:
    """The same source at another address with other distances: the same patterns."""
    there = builds.program(bits)
    moved = builds.program(bits, "-Wl,--image-base,0x10000000", "-Wl,--section-alignment,0x4000")
    patterns = [candidate.pattern for candidate in of(there, "code")]
    assert len(patterns) > 20
    wild = [pattern for pattern in patterns if 0 in pattern.mask]
    assert len(wild) > 10
    assert sum(is_in(pattern, moved) for pattern in wild) > 0.9 * len(wild)
    # And not because nothing matters: with all bytes they are not there.
    exact = [Pattern("hex", pattern.data) for pattern in wild]
    assert sum(is_in(pattern, moved) for pattern in exact) < 0.5 * len(wild)


def test_instructions_are_cut_as_objdump_has_them() -> None:
    data = builds.program(32)
    image = Image(data)
    known = builds.instructions(32)
    names = {"ret": "ret", "push": "push", "call": "call", "lea": "lea"}
    seen = 0
    for candidate in of(data, "code"):
        section = image.section_at(candidate.offset)
        assert section is not None
        rva = section.rva + candidate.offset - section.start
        first = candidate.text[0].split()[0]
        if first in names and candidate.pattern.mask[:1] == b"\xff":
            assert known[image.base + rva].startswith(names[first])
            seen += 1
    assert seen > 5


def test_il_keeps_the_table_of_a_token_and_not_its_row() -> None:
    found = of(builds.assembly(), "il")
    calls = [c for c in found if any(line.startswith("call") for line in c.text)]
    assert calls
    for candidate in calls:
        gaps = [len(gap) for gap in re.findall(rb"\0+", candidate.pattern.mask)]
        assert gaps
        assert all(gap % 3 == 0 for gap in gaps)


def test_strings_of_any_program_are_none() -> None:
    data = sample("gui-x86.exe")
    shown = {c.text[0] for kind in ("string",) for c in of(data, kind)}
    assert "Argument domain error (DOMAIN)" in shown
    assert not shown & {"KERNEL32.dll", "GetProcAddress", "VS_VERSION_INFO", "StringFileInfo"}
    assert not [text for text in shown if "DOS mode" in text or "mingw" in text.lower()]


def test_wide_strings_are_text_and_others_bytes() -> None:
    data = sample("gui-x86.exe")
    wide = [c for c in of(data, "string") if c.pattern.form == "wide"]
    assert "maltriage authors" in {c.text[0] for c in wide}
    text = "привет из ресурсов".encode("utf-16le")
    at = data.index("maltriage authors".encode("utf-16le"))
    cyrillic = data[:at] + text[:34] + data[at + 34 :]
    (one,) = [c for c in of(cyrillic, "string") if c.text[0].startswith("привет")]
    assert one.pattern.form == "hex"


@pytest.mark.parametrize("encoding", ["ascii", "utf-16le"])
def test_a_text_of_any_program_is_no_code(encoding: str) -> None:
    """Compilers such as Delphi put texts between functions; those left out are no code either."""
    data = bytearray(sample("console-x64.exe"))
    section = next(s for s in read_headers(data).sections if s.executable)  # type: ignore[union-attr]
    raw = "kernel32.dll".encode(encoding)
    places = range(section.start + 64, section.start + 1024, 128)
    for at in places:
        data[at : at + len(raw) + 2] = raw + b"\0\0"
    found = of(bytes(data), "code")
    spans = [(c.offset, c.offset + len(c.pattern.data)) for c in found]
    assert any(low < places[-1] and high > places[0] for low, high in spans)
    assert not any(low < at + len(raw) and at < high for low, high in spans for at in places)


def test_code_without_a_word_is_no_text() -> None:
    """Registers that are saved, a division by ten, and zeros that are pushed."""
    data = bytearray(sample("console-x86.exe"))
    section = next(s for s in read_headers(data).sections if s.executable)  # type: ignore[union-attr]
    pushed = bytes.fromhex("8b01 ff5034") + b"j\0" * 5 + bytes.fromhex("6a01 ffd0 8b4df4 85c9 c3")
    divided = bytes.fromhex("f7ef c1ff1f 89d1 c1f902 29f9 741c bf") + b"gfff" + b"f\x90\xc3"
    saved = b"AWAVAUATUWVSH" + bytes.fromhex("83ec48 8b45f8 c3")
    for at, code in ((64, pushed), (128, divided), (192, saved)):
        data[section.start + at : section.start + at + 64] = (b"\x90" * 16 + code).ljust(
            64, b"\xcc"
        )
    patterns = [c.pattern.data for c in of(bytes(data), "code")]
    for part in (b"j\0" * 5, b"gfff", saved[:13]):
        assert any(part in pattern for pattern in patterns), part


@pytest.mark.parametrize(
    "raw",
    [
        b"".join(b"d%d=\0\0\0&" % i for i in range(11, 43)),
        b"://\0/\0\0\0GET \0\0\0\0 HTTP/1.1\r\nAccept: */*\r\nUser-" * 4,
        "POST;ID=42;UID".encode("utf-16le") * 8,
        bytes.fromhex("feffffeefdfffefeffb5c0f8") * 20,
    ],
    ids=["fields", "a request", "wide", "a table"],
)
def test_text_and_tables_among_code_are_no_code(raw: bytes) -> None:
    pe = Pe(sample("console-x86.exe"))
    start, _ = pe.raw(0)
    pe.data[start : start + len(raw)] = raw
    end = start + len(raw)
    found = of(pe.bytes(), "code")
    inside = [c for c in found if c.offset + len(c.pattern.data) <= end]
    assert inside == []


def test_names_of_imports_in_a_row_without_their_hints() -> None:
    found = of(sample("console-x86.exe"), "imports")
    assert found
    for candidate in found:
        assert len(candidate.text[0].split(", ")) == 3
        assert candidate.pattern.mask.count(0) == 4  # two hints; the first is left out


@pytest.mark.parametrize("case", sorted(CASES))
def test_hostile_files(case: str) -> None:
    data = CASES[case]()
    if data[:2] == b"MZ":
        found = candidates(data, everything(data), parse=True)
        assert len(found) <= gathering.MAX_CANDIDATES


@settings(max_examples=25)
@given(st.binary(max_size=600), st.integers(0, 3000))
def test_damage_anywhere(raw: bytes, at: int) -> None:
    data = bytearray(sample("gui-x86.exe"))
    data[at : at + len(raw)] = raw
    for candidate in candidates(bytes(data), everything(bytes(data)), parse=True):
        end = candidate.offset + len(candidate.pattern.data)
        assert bytes(data[candidate.offset : end]) == candidate.pattern.data


def test_each_range_has_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "MAX_CANDIDATES", 40)
    data = sample("gui-x86.exe")
    ranges = [item for item in everything(data) if item.region.kind == "section"][:4]
    found = candidates(data, ranges, parse=True)
    assert len(found) <= 40
    assert len({candidate.range for candidate in found}) > 2
    assert sum(candidate.range == 0 for candidate in found) <= 10


def test_padding_and_counters_tell_nothing() -> None:
    assert not telling(Pattern("hex", bytes(32)))
    assert not telling(Pattern("hex", b"\x90\x90\x90\xcc" * 8))
    assert not telling(Pattern("hex", bytes(range(8))))
    assert not telling(Pattern("hex", bytes(range(24)), b"\xff\xff\xff\0" * 6))
    assert telling(Pattern("hex", bytes(range(24))))


def test_a_picture_is_the_program_in_it(tmp_path: Path) -> None:
    data = sample("gui-x86.exe")
    path = tmp_path / "a.png"
    path.write_bytes(byteplot(data))
    padded = data.ljust(-(-len(data) // 256) * 256, b"\0")
    ranges = everything(data)
    how = InspectOptions(hashlib.sha256(padded).hexdigest())
    assert gather(str(path), ranges, how) == candidates(padded, ranges, parse=True)


def test_another_file_by_now(tmp_path: Path) -> None:
    path = tmp_path / "a.exe"
    path.write_bytes(Pe().bytes())
    with pytest.raises(SampleError, match="changed"):
        gather(str(path), [], InspectOptions("0" * 64))


def test_what_is_packed_makes_no_pattern_of_a_lone_file() -> None:
    """Bytes of one file that are encrypted are in no other; what else it has stays."""
    noise = b"".join(hashlib.sha256(bytes([n])).digest() for n in range(32))
    data = sample("gui-x86.exe") + noise
    ranges = everything(data)
    assert ranges[-1].region.kind == "overlay"
    together = candidates(data, ranges, parse=True)
    lone = candidates(data, ranges, parse=True, lone=True)
    last = len(ranges) - 1
    assert any(item.range == last for item in together)
    assert not any(item.range == last and item.kind == "data" for item in lone)
    assert [item for item in together if item.range != last] == [
        item for item in lone if item.range != last
    ]


def test_tables_of_small_numbers_are_no_patterns() -> None:
    """Language codes and addresses, as in every C runtime: no index can know them."""
    table = b"".join(bytes([n, 4 + n // 9, 0, 0]) for n in range(1, 9))
    assert not dense(table)
    repeated = bytes.fromhex("0a4c0000 8c1a0000 5b9d0000 6f340000 e8720000")  # half of it zero
    assert not dense(repeated)
    assert dense(hashlib.sha256(b"a").digest())
    assert not dense(b"")


def test_what_an_index_knows_is_no_candidate() -> None:
    """A text by itself, and code among known code, which need not be known itself."""
    code = b"".join(hashlib.sha256(bytes([n])).digest() for n in range(200))
    said = b"\0a text of some words\0another text of mine\0"
    data = code + said
    keys = np.unique(pieces(code[:3000] + code[3064:])[1])
    told = np.unique(text_keys([b"a text of some words"]))
    index = Prevalence(About(FORMAT, 9, 1, 2, 2), keys | np.uint64(3), told | np.uint64(3))

    def candidate(kind: Any, at: int, size: int, text: str = "") -> Candidate:
        form: Any = "ascii" if text else "hex"
        return Candidate(Pattern(form, data[at : at + size]), kind, at, 0, (text,))

    known = candidate("string", len(code) + 1, 20, "a text of some words")
    own = candidate("string", len(code) + 22, 20, "another text of mine")
    inside = candidate("code", 3010, 30)
    far = candidate("data", 20, 32)
    assert Known(data, index).without([known, own, inside, far]) == [own]
    nothing = Prevalence(index.about, keys[:0], told[:0])
    assert Known(data, nothing).without([known, own, inside]) == [known, own, inside]
