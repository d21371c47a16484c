"""Signatures in certificate tables, and whether a file is what was signed."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import numpy as np
import pytest
from hostile.make import CASES, sample
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from maltriage.probe.prepare import PrepareOptions, prepare
from maltriage.sample.pe import read_headers
from maltriage.sample.signature import has_signature, image_digest, is_as_signed, is_signature

NOISE = random.Random(5).randbytes(2048)
SIGNED = "signed-x64.exe"


def as_signed(data: bytes) -> bool | None:
    headers = read_headers(data)
    return None if headers is None else is_as_signed(data, headers)


def places(data: bytes) -> tuple[int, int, int]:
    """Where the checksum, the directory entry and the certificate table begin."""
    headers = read_headers(data)
    assert headers is not None
    pe = struct.unpack_from("<I", data, 60)[0]
    return pe + 88, pe + 24 + 144, headers.directories["certificate"][0]


@pytest.mark.parametrize(
    ("at", "change"),
    [
        (6, b"\1\0"),  # X.509, which no loader looks at
        (4, b"\0\0"),  # no revision that there is
        (8, b"\x04"),  # no sequence
        (9, b"\x84\xff\xff\xff\xff"),  # longer than the certificate
        (12, b"\x06\x03"),  # another object identifier
        (8, NOISE[:1004]),
    ],
)
def test_a_certificate_table_that_holds_no_signature(
    samples_dir: Path, at: int, change: bytes
) -> None:
    data = (samples_dir / "signed-x64.exe").read_bytes()
    headers = read_headers(data)
    assert headers is not None
    start = headers.directories["certificate"][0] + at
    assert has_signature(data, headers)
    broken = data[:start] + change + data[start + len(change) :]
    headers = read_headers(broken)
    assert headers is not None
    assert not has_signature(broken, headers)


def test_the_head_of_a_signature_says_its_length_in_one_byte_to_five() -> None:
    for length in (b"\x7f", b"\x81\xff", b"\x82\1\0", b"\x83\0\1\0", b"\x84\0\0\1\0"):
        content = b"\x30" + length + bytes.fromhex("06092a864886f70d010702")
        head = struct.pack("<IHH", 1000, 0x200, 2) + content
        assert is_signature(head)
        assert not any(is_signature(head[:end]) for end in range(len(head)))
        assert not is_signature(struct.pack("<I", 100) + head[4:])


def test_signed_by_another_program(samples_dir: Path) -> None:
    """The sample was signed by osslsigncode."""
    assert as_signed((samples_dir / SIGNED).read_bytes()) is True
    assert as_signed((samples_dir / "console-x64.exe").read_bytes()) is None


@given(at=st.integers(0), mask=st.integers(1, 255))
def test_any_changed_byte_counts_but_those_that_a_signature_leaves_out(at: int, mask: int) -> None:
    data = bytearray(sample(SIGNED))
    checksum, entry, table = places(data)
    at %= table
    headers = read_headers(bytes(data))
    assert headers is not None
    kind = "sha256"
    whole = image_digest(bytes(data), headers, kind)
    data[at] ^= mask
    left_out = checksum <= at < checksum + 4 or entry <= at < entry + 8
    pe = struct.unpack_from("<I", sample(SIGNED), 60)[0]
    if at >= 2 and not 60 <= at < 64 and not pe <= at < pe + 26:  # else fields move
        assert (image_digest(bytes(data), headers, kind) == whole) == left_out


def test_what_lies_behind_the_table_counts() -> None:
    data = sample(SIGNED)
    checksum, _, table = places(data)
    assert as_signed(data + b"more") is False
    changed = bytearray(data)
    struct.pack_into("<I", changed, checksum, 0x1234567)
    assert as_signed(bytes(changed)) is True
    padded = bytearray(data + bytes(8))  # the table grew, as those of tagged installers do
    for at in (places(data)[1] + 4, table):
        struct.pack_into("<I", padded, at, struct.unpack_from("<I", padded, at)[0] + 8)
    assert as_signed(bytes(padded)) is True


def test_the_signature_of_another_file(samples_dir: Path) -> None:
    data = sample(SIGNED)
    table = data[places(data)[2] :]
    other = bytearray((samples_dir / "console-x86.exe").read_bytes())
    other += bytes(-len(other) % 8)
    pe = struct.unpack_from("<I", other, 60)[0]
    struct.pack_into("<II", other, pe + 24 + 128, len(other), len(table))
    assert as_signed(bytes(other + table)) is False


def test_a_file_that_was_cut_or_disarmed() -> None:
    data = sample(SIGNED)
    assert as_signed(data[: places(data)[2] + 100]) is None
    pe = struct.unpack_from("<I", data, 60)[0]
    disarmed = bytearray(data)
    struct.pack_into("<H", disarmed, pe + 4, 0)
    assert as_signed(bytes(disarmed)) is False
    struct.pack_into("<H", disarmed, pe + 92, 0)
    assert as_signed(bytes(disarmed)) is None


@given(st.data())
def test_a_damaged_signature_never_raises(draw: st.DataObject) -> None:
    data = bytearray(sample(SIGNED))
    start = places(data)[2]
    for _ in range(draw.draw(st.integers(1, 8))):
        data[draw.draw(st.integers(start, len(data) - 1))] = draw.draw(st.integers(0, 255))
    assert as_signed(bytes(data)) in (True, False, None)


@pytest.mark.parametrize("name", sorted(CASES))
def test_hostile_files(name: str) -> None:
    assert as_signed(CASES[name]()) is not True


def test_a_record_says_so(tmp_path: Path, samples_dir: Path) -> None:
    options = PrepareOptions(())
    whole = prepare(str(samples_dir / SIGNED), options)
    assert whole.identity.as_signed is True
    pixels = np.frombuffer(sample(SIGNED), dtype=np.uint8)
    width = 32  # the last row is padded, so that the pixels are not quite the file
    rows = np.pad(pixels, (0, -len(pixels) % width)).reshape(-1, width)
    Image.fromarray(rows).save(tmp_path / "a.png")
    plot = prepare(str(tmp_path / "a.png"), options)
    assert "signed" in {notice.code for notice in plot.notices}
    assert plot.identity.as_signed is None
    plain = prepare(str(samples_dir / "console-x64.exe"), options)
    assert plain.identity.as_signed is None
