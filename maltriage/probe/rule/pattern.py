"""A byte pattern, as it stands in a YARA rule."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Literal

Form = Literal["ascii", "wide", "hex"]
_PLAIN = frozenset(range(0x20, 0x7F)) - frozenset(b'"\\')


@dataclass(frozen=True)
class Pattern:
    """Bytes to look for: text of one byte a character, the same as UTF-16LE, or bytes with gaps.

    `data` are the bytes of a file in all three. A byte of `mask` is 0xFF where that of the file
    matters, 0 where it does not; without a mask all bytes matter. Only `hex` has one.
    """

    form: Form
    data: bytes
    mask: bytes = b""

    @property
    def fixed(self) -> bytes:
        """The bytes that matter, without what lies between them."""
        if not self.mask:
            return self.data
        return bytes(value for value, kept in zip(self.data, self.mask, strict=True) if kept)

    @property
    def longest_run(self) -> int:
        """Bytes that matter in a row, at most: what a search can begin with."""
        if not self.mask:
            return len(self.data)
        return max((len(list(run)) for kept, run in groupby(self.mask) if kept), default=0)

    def yara(self) -> str:
        """The pattern as YARA text with its modifier, in printable ASCII whatever the bytes are."""
        if self.form == "ascii":
            return f"{quoted(self.data)} ascii"
        if self.form == "wide":
            return f"{quoted(self.data[::2])} wide"
        mask = self.mask or b"\xff" * len(self.data)
        pairs = zip(self.data, mask, strict=True)
        return f"{{ {' '.join(f'{value:02X}' if kept else '??' for value, kept in pairs)} }}"


def trimmed(data: bytes, mask: bytes) -> Pattern:
    """A `hex` pattern without what does not matter at its ends, which YARA takes for an error."""
    mask = mask.rstrip(b"\0")
    start = len(mask) - len(mask.lstrip(b"\0"))
    return Pattern("hex", data[start : len(mask)], mask[start:])


def quoted(data: bytes) -> str:
    """A YARA text string of these bytes: what is no printable ASCII, a quote or a backslash is
    written as \\xNN, so nothing in it ends the string or hides from the eye."""
    body = "".join(chr(byte) if byte in _PLAIN else f"\\x{byte:02x}" for byte in data)
    return f'"{body}"'
