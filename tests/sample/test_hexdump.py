"""Hex dumps: the vectorised parser against one that reads a line at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maltriage.sample import hexdump
from maltriage.sample.hexdump import Dump, DumpError, begins_like_dump, parse_dump

HEX = set(b"0123456789abcdefABCDEF")


def naive(text: bytes, unmapped: int = 0) -> Dump:
    """What a dump says, read without numpy and without a regular expression.

    Raises:
        ValueError: with the number of the first line that is wrong.
    """
    lines = text.rstrip(b" \r\n").split(b"\n")
    addressed = lines[0][2:3] not in (b"", b" ", b"\r")
    data, holes, blocks = bytearray(), 0, list[tuple[int, int]]()
    before = None
    for number, line in enumerate(lines, 1):
        line = line.removesuffix(b"\r").removesuffix(b" ")
        address = 16 * number
        if addressed:
            digits, space, line = line[:8], line[8:9], line[9:]
            if len(digits) != 8 or not set(digits) <= HEX or space != b" ":
                raise ValueError(number)
            address = int(digits, 16)
        pairs = line.split(b" ")
        if len(pairs) > 16 or any(
            pair != b"??" and (len(pair) != 2 or not set(pair) <= HEX) for pair in pairs
        ):
            raise ValueError(number)
        if before is not None and before[1] < 16 and address == before[0] + 16:
            raise ValueError(number - 1)
        if before is None or address != sum(before):
            blocks.append((len(data), address))
        before = address, len(pairs)
        holes += pairs.count(b"??")
        data += bytes(unmapped if pair == b"??" else int(pair, 16) for pair in pairs)
    return Dump(bytes(data), holes, tuple(blocks) if addressed else (), None, unmapped)


pairs = st.one_of(
    st.integers(0, 255).map(lambda value: b"%02X" % value),
    st.integers(0, 255).map(lambda value: b"%02x" % value),
    st.just(b"??"),
)


@st.composite
def dumps(draw: st.DrawFn) -> bytes:
    """Dumps of some blocks, each with a last line that may be shorter."""
    addressed = draw(st.booleans())
    ending = draw(st.sampled_from([b"\n", b"\r\n", b" \n", b" \r\n"]))
    text, at = bytearray(), draw(st.integers(0, 1 << 20))
    for _ in range(draw(st.integers(1, 4)) if addressed else 1):
        counts = [16] * draw(st.integers(0, 5)) + [draw(st.integers(1, 16))]
        for count in counts:
            text += b"%08X " % at if addressed else b""
            text += b" ".join(draw(pairs) for _ in range(count)) + ending
            at += count
        at += draw(st.sampled_from([0, 16, 4096])) * 16 if count == 16 else 16
    if draw(st.booleans()):
        del text[-len(ending) :]
    return bytes(text)


@given(dumps(), st.integers(1, 3), st.integers(0, 255))
def test_it_reads_what_the_naive_parser_reads(text: bytes, rows: int, unmapped: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hexdump, "_ROWS", rows)  # so that blocks end inside the dump
        hexdump._separators.cache_clear()
        try:
            assert parse_dump(text, unmapped) == naive(text, unmapped)
        finally:
            hexdump._separators.cache_clear()


def outcome(parse: Callable[[bytes], Dump], text: bytes) -> Dump | int:
    """What a parser reads, or the line that it refuses."""
    try:
        return parse(text)
    except DumpError as error:
        return error.line
    except ValueError as error:
        return int(error.args[0])


@given(dumps(), st.data())
def test_damage_is_told_by_its_line(text: bytes, data: st.DataObject) -> None:
    """One character replaced, added or taken away: the same bytes, or the same line is named."""
    place = data.draw(st.integers(0, len(text) - 1))
    size = data.draw(st.integers(0, 1))
    added = data.draw(st.sampled_from([b"", b"A", b"?", b" ", b"\n", b"\r", b"G", b"\0", b"\xff"]))
    text = text[:place] + added + text[place + size :]
    assert outcome(parse_dump, text) == outcome(naive, text)


def test_blocks_and_unmapped_bytes() -> None:
    full = b" ".join([b"AB"] * 15 + [b"??"])
    text = b"00401000 %s\n00401010 CC cc\n00402000 %s\n00402010 01\n\r\n" % (full, full)
    data = b"\xab" * 15 + b"\0"
    assert parse_dump(text) == Dump(
        data + b"\xcc\xcc" + data + b"\x01", 2, ((0, 0x401000), (18, 0x402000))
    )
    assert parse_dump(text, 0xEE).data.count(b"\xee") == 2


def test_a_dump_that_jumps_at_every_line_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hexdump, "MAX_BLOCKS", 3)
    found = parse_dump(b"".join(b"%08x 11 22\n" % (4096 * i) for i in range(5)))
    assert found.rest == 6
    assert found.blocks == ((0, 0), (2, 4096), (4, 8192))
    assert found.data == b"\x11\x22" * 5


FULL = b" ".join([b"00"] * 16)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b" \n\r\n", "line 1: no bytes"),
        (FULL + b"\n" + FULL[:-1] + b"\n" + FULL, "line 2: no line of a hex dump"),
        (FULL + b"\n\n" + FULL, "line 2: blank"),
        (FULL + b"\n00 1?\n" + FULL, "line 2: no line of a hex dump"),
        (FULL + b"\n00 11\n" + FULL, "line 2: 2 bytes, and the next line goes on after 16"),
        (FULL + b"\n00401000 " + FULL, "line 2: an address"),
        (b"00401000 " + FULL + b"\n" + FULL, "line 2: without the address that others have"),
        (b"00401000 %s\n0040101? %s" % (FULL, FULL), "line 2: no line of a hex dump"),
        (FULL + b" 00\n", "line 1: no line of a hex dump"),
        (b"00" * 1_000_000, "line 1: longer than a line of a hex dump"),
        (b"00401000\n", "line 1: no line of a hex dump"),
    ],
)
def test_what_is_wrong_with_a_line(text: bytes, said: str) -> None:
    with pytest.raises(DumpError, match=said.replace("?", r"\?")):
        parse_dump(text)


@pytest.mark.parametrize(
    ("head", "is_one"),
    [
        (FULL + b"\n", True),
        (b"00401000 " + FULL + b"\r\n", True),
        (b"00401000 " + b"?? " * 16 + b"\n", True),
        (FULL[:-3] + b"\n", False),
        (FULL, False),
        (b"10 20 30\n40 50 60\n", False),
        (b"00000000  " + FULL + b"  |................|\n", False),
    ],
)
def test_how_a_dump_begins(head: bytes, is_one: bool) -> None:
    assert begins_like_dump(head) is is_one


def test_real_dumps(big2015_sample: Path) -> None:
    paths = sorted(big2015_sample.glob("*.bytes"))
    assert len(paths) == 11
    for path in paths:
        text = path.read_bytes()
        found = parse_dump(text)
        assert found.data == bytes.fromhex(text.replace(b"??", b"00").decode())
        assert 2 * found.unmapped == text.count(b"?")
        lines = text.rstrip().split(b"\n")
        with_addresses = b"".join(
            b"%08X %s\r\n" % (0x401000 + 16 * i, line) for i, line in enumerate(lines)
        )
        again = parse_dump(with_addresses)
        assert (again.data, again.unmapped) == (found.data, found.unmapped)
        assert again.blocks == ((0, 0x401000),)
