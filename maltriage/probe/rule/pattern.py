"""A byte pattern of a YARA rule."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Literal

Form = Literal["ascii", "wide", "hex"]
_PLAIN = frozenset(range(0x20, 0x7F)) - frozenset(b'"\\')


@dataclass(frozen=True)
class Pattern:
    """Bytes to look for: text of one byte a character, the same as UTF-16LE, or bytes with gaps.

    `data` are the bytes of a file in all three. A byte of `mask` is 0xFF for a fixed byte, 0 for
    any; without a mask all bytes are fixed. Only `hex` has one.
    """

    form: Form
    data: bytes
    mask: bytes = b""

    @property
    def fixed(self) -> bytes:
        """The fixed bytes, without the gaps."""
        if not self.mask:
            return self.data
        return bytes(value for value, kept in zip(self.data, self.mask, strict=True) if kept)

    @property
    def longest_run(self) -> int:
        """Longest run of fixed bytes, which a search can begin with."""
        if not self.mask:
            return len(self.data)
        return max((len(list(run)) for kept, run in groupby(self.mask) if kept), default=0)

    def yara(self) -> str:
        """The pattern as YARA text with its modifier, in printable ASCII for any bytes."""
        if self.form == "ascii":
            return f"{quoted(self.data)} ascii"
        if self.form == "wide":
            return f"{quoted(self.data[::2])} wide"
        mask = self.mask or b"\xff" * len(self.data)
        pairs = zip(self.data, mask, strict=True)
        return f"{{ {' '.join(f'{value:02X}' if kept else '??' for value, kept in pairs)} }}"


def trimmed(data: bytes, mask: bytes) -> Pattern:
    """A `hex` pattern without gaps at its ends, which YARA rejects."""
    mask = mask.rstrip(b"\0")
    start = len(mask) - len(mask.lstrip(b"\0"))
    return Pattern("hex", data[start : len(mask)], mask[start:])


def quoted(data: bytes) -> str:
    """A YARA text string of these bytes: a quote, a backslash and all but printable ASCII are
    written as \\xNN, so nothing in it can end the string or be invisible."""
    body = "".join(chr(byte) if byte in _PLAIN else f"\\x{byte:02x}" for byte in data)
    return f'"{body}"'
