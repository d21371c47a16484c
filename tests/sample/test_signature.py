"""Signatures in certificate tables, and whether a file is what was signed."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import numpy as np
import pytest
from hostile.make import sample
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


def places(data: bytes | bytearray) -> tuple[int, int, int]:
    """Where the checksum, the directory entry and the certificate table begin."""
    headers = read_headers(bytes(data))
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


def forged(data: bytes) -> bytes:
    """A changed program, in whose signature the digest of the program as it is now was written."""
    headers = read_headers(data)
    assert headers is not None
    changed = bytearray(data)
    changed[0x500] ^= 1
    old, new = (image_digest(bytes(one), headers, "sha256") for one in (data, changed))
    assert changed.count(old) == 1
    return bytes(changed).replace(old, new)


def test_a_digest_that_was_written_anew_is_not_signed() -> None:
    assert as_signed(forged(sample(SIGNED))) is False


@pytest.mark.parametrize("step", range(0, 400, 7))
def test_a_damaged_signature_is_never_taken_for_one_that_matches(step: int) -> None:
    """The table is changed at one place after the other, behind the head that says what it is."""
    data = bytearray(sample(SIGNED))
    start = places(data)[2] + 40
    at = start + step * (len(data) - 16 - start) // 400
    data[at] ^= 0x41
    program = bytearray(data)
    program[0x500] ^= 1
    assert as_signed(bytes(program)) is not True
    # Names in a certificate are covered by its own signature, which nobody verified.
    assert as_signed(bytes(data)) in (True, False, None)


def test_a_signature_that_is_not_the_first_entry() -> None:
    """Windows reads the first: what LIEF finds behind it says nothing."""
    data = sample(SIGNED)
    _, entry, table = places(data)
    x509 = struct.pack("<IHH", 16, 0x200, 1) + bytes(8)
    broken = struct.pack("<IHH", 32, 0x200, 2) + data[table + 8 : table + 32]
    for first in (x509, broken):
        other = bytearray(data[:table] + first + data[table:])
        struct.pack_into("<I", other, entry + 4, len(other) - table)
        assert as_signed(bytes(other)) is None


def test_a_table_before_the_headers_end() -> None:
    """A directory that says that all of the file is its certificate table covers nothing."""
    data = bytearray(sample(SIGNED))
    for at in (0, 8, 200, places(data)[2] - 8, len(data) - 4, len(data) + 100, 0xFFFFFFFF):
        struct.pack_into("<I", data, places(sample(SIGNED))[1], at)
        assert as_signed(bytes(data)) is None


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
