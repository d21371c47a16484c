"""Options of reading a file, the same for every command and every worker that reads it again."""

from __future__ import annotations

from dataclasses import dataclass

from maltriage.sample.hexdump import UNMAPPED
from maltriage.sample.types import Format
from maltriage.source.archive.limits import Archives

MAX_FILE_BYTES = 256 * 1024 * 1024
"""Files above this are skipped; `--max-size` lifts it."""
PROGRAMS: tuple[Format, ...] = ("pe", "png", "bytes")
"""Formats whose bytes are those of a program. Where `picture` is wanted, every PNG is one."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The options.

    `max_size`: of the file, and of its unpacked bytes. `formats`: those wanted; a file of another
    one gives no sample. `archives`: options of opening archives; None: they stay closed.
    `unmapped`: the byte, 0 to 255, that `??` of a hex dump is read as.
    """

    max_size: int = MAX_FILE_BYTES
    formats: tuple[Format, ...] = PROGRAMS
    archives: Archives | None = None
    unmapped: int = UNMAPPED
