"""Whether bytes of a section that may run are code: not text, not packed, not a table.

A linker puts texts and tables between functions, and a packer leaves a section of code with no code
in it. Any of that decodes as instructions, which say nothing and hide what is there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

WINDOW = 64
"""Bytes from the hottest ones on that are looked at: about what a listing shows."""
MIN_RUN, LONG_RUN = 6, 16
"""Characters of a text; of one that needs no word and no end. Code that saves its registers has up
to 13 letters in a row (`AWAVAUATUWVSH`)."""
MIN_LETTERS = 4
"""Different characters of a text: zeros that are pushed look like `jjjjj` in UTF-16."""
MOSTLY = 0.5
"""Share of texts from which bytes are text."""
FEW_OTHERS = 0.05
"""Share of bytes neither printable nor zero, up to which they are short texts and zeros."""
MOST_BITS = ((320, 6.4), (640, 6.5), (1024, 6.7), (1 << 62, 6.9))
"""Up to so many bytes, the bits per byte that code stays below. Of 5,118 functions of 120 clean
programs the highest were 6.24 in 256 bytes, 6.36 in 512, 6.47 in 1 KiB, and 6.89 in 4 KiB."""
NEAR, NEAR_BITS = 512, 0.1
"""So near behind the start of a function, code may have so many more: it is no chance there."""
ODD, FIRST = 2, 12
"""How many of the first instructions may not be such as compiled programs hardly have."""
RUN = 3
"""Bytes in a row, from the first on, that do not decode in no code."""

_PRINTABLE = frozenset(range(0x20, 0x7F)) | frozenset(b"\t\r\n")
_NARROW = re.compile(rb"[\x20-\x7e\t\r\n]{%d,}" % MIN_RUN)
_WIDE = re.compile(rb"(?:[\x20-\x7e\t\r\n]\0){%d,}" % MIN_RUN)
_WORD = re.compile(rb"[a-z]{4}")
_ODD = frozenset(
    "aaa aad aam aas arpl bound cli cmc cmpsd cmpsb daa das enter fbld fbstp hlt in insb insd int1"
    " into iretd iret jecxz jcxz lahf lds les loop loope loopne out outsb outsd popal"
    " popaw pushal pushaw retf salc sti xlatb .byte lcall ljmp rcl fisub fisubr ficom"
    " fidivr fnsave fldenv".split()
)


def texts(data: bytes, start: int, end: int) -> list[tuple[int, int]]:
    """Texts that share a byte with [start, end): places of printable runs that are no code."""
    low, high = max(0, start - WINDOW), min(len(data), end + WINDOW)
    found = []
    for match in _WIDE.finditer(data, low, high):
        if len(set(match.group())) > MIN_LETTERS:  # with the zero
            found.append(match.span())
    for match in _NARROW.finditer(data, low, high):
        run = match.group()
        ended = data[match.end() : match.end() + 1] == b"\0"
        told = ended or _WORD.search(run) or len(run) >= LONG_RUN
        if told and (len(set(run)) >= MIN_LETTERS or len(run) > 2 * LONG_RUN):
            found.append(match.span())
    return [span for span in found if span[0] < end and start < span[1]]


def is_text(data: bytes, start: int, end: int) -> bool:
    """Whether bytes begin in a text, are texts for the most part, or short texts with zeros
    between them."""
    places = texts(data, start, end)
    if any(low <= start < high for low, high in places):
        return True
    covered = set[int]()
    for low, high in places:
        covered.update(range(max(low, start), min(high, end)))
    size = end - start
    return size > 0 and (len(covered) >= MOSTLY * size or _pieces(data[start:end]))


def _pieces(raw: bytes) -> bool:
    """Whether bytes are short texts and the zeros between them."""
    printable = [byte for byte in raw if byte in _PRINTABLE]
    others = len(raw) - len(printable) - raw.count(0)
    return (
        len(raw) >= 2 * MIN_RUN
        and others <= FEW_OTHERS * len(raw)
        and len(printable) >= MOSTLY * len(raw)
        and len(set(printable)) > MIN_LETTERS
    )


def packed(bits: float, size: int, behind: int | None) -> bool:
    """Whether a range of `size` bytes has more bits per byte than code has.

    Args:
        behind: bytes from the last start of a function that is known; None: none is.
    """
    near = behind is not None and behind <= NEAR
    most = next(most for up_to, most in MOST_BITS if size <= up_to)
    return bits >= most + (NEAR_BITS if near else 0.0)


def undecoded(mnemonics: Sequence[str]) -> bool:
    """Whether a run of the first bytes does not decode: a table, such as one of pointers that are
    all -1 or 0."""
    return len(mnemonics) >= RUN and set(mnemonics[:RUN]) == {".byte"}


def odd(mnemonics: Sequence[str], first: int = FIRST, several: int = ODD) -> bool:
    """Whether `several` of the first instructions are such as compiled programs hardly have, or do
    not decode: a table, or encrypted code. Bytes in a row that do not decode count once, if others
    are before them: they may be the end of an instruction that the start of a function cuts."""
    if undecoded(mnemonics):
        return True
    bare = [mnemonic.split()[-1] for mnemonic in mnemonics[:first]]  # without `rep`, `lock`
    return sum(name in _ODD and name != before for before, name in pairwise(["", *bare])) >= several
