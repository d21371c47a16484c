"""Operands that a linker fills in, found by their values."""

from __future__ import annotations

import numpy as np
import pytest
from hostile.make import CASES, sample
from hypothesis import given, settings
from hypothesis import strategies as st

from maltriage.probe.operands import addresses_of, filled_in

IMAGE = range(0x401000, 0x480000)
WIDE = range(0x140001000, 0x140080000)


def filled(data: str, addresses: range = IMAGE) -> str:
    """The bytes, in hex, with those that are filled in as `??`."""
    raw = np.frombuffer(bytes.fromhex(data), dtype=np.uint8)
    found = filled_in(raw, 0, len(raw), addresses)
    return " ".join(
        "??" if hidden else f"{value:02x}" for value, hidden in zip(raw, found, strict=True)
    )


@pytest.mark.parametrize(
    ("data", "addresses", "shown"),
    [
        # push ebp; mov ebp, esp; push 0x402010; ret. nop; call near; ret
        ("55 8b ec 68 10 20 40 00 c3", IMAGE, "55 8b ec 68 ?? ?? ?? ?? c3"),
        ("90 e8 00 01 00 00 c3", IMAGE, "90 e8 ?? ?? ?? ?? c3"),
        # mov eax, [0x403000]; cmp eax, 0x1234567
        ("a1 00 30 40 00 3d 67 45 23 01", IMAGE, "a1 ?? ?? ?? ?? 3d 67 45 23 01"),
        # jne near; call far outside of the file
        ("0f 85 20 00 00 00 e8 00 00 00 70", IMAGE, "0f 85 ?? ?? ?? ?? e8 00 00 00 70"),
        # mov rax, [rip + 0x2000]
        ("48 8b 05 00 20 00 00 c3", WIDE, "48 8b 05 ?? ?? ?? ?? c3"),
        # a table of two addresses of 64 bits, and a number whose lower half is alike
        ("00 20 00 40 01 00 00 00", WIDE, "?? ?? ?? ?? 01 00 00 00"),
        ("00 20 00 40 02 00 00 00", WIDE, "00 20 00 40 02 00 00 00"),
        ("00 20 40 00", range(0), "00 20 40 00"),
        ("e8 00", IMAGE, "e8 00"),
    ],
)  # fmt: skip
def test_operands_are_found_by_their_values(data: str, addresses: range, shown: str) -> None:
    assert filled(data, addresses) == shown


def test_addresses_are_those_of_the_image() -> None:
    assert 0x401000 in addresses_of(sample("gui-x86.exe"))
    assert 0x400000 not in addresses_of(sample("gui-x86.exe"))
    assert 0x140001000 in addresses_of(sample("console-x64.exe"))
    assert not addresses_of(b"no program")


@pytest.mark.parametrize("case", CASES)
def test_hostile_files(case: str) -> None:
    data = CASES[case]()
    raw = np.frombuffer(data, dtype=np.uint8)
    assert len(filled_in(raw, 0, len(raw), addresses_of(data))) == len(raw)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=64), st.integers(0, 1 << 40), st.integers(0, 1 << 20))
def test_any_bytes_and_addresses(data: bytes, base: int, size: int) -> None:
    raw = np.frombuffer(data, dtype=np.uint8)
    found = filled_in(raw, 0, len(raw), range(base, base + size))
    assert found.dtype == bool
    assert found.shape == raw.shape
