"""Options of reading a file, the same for every command and every worker that reads it again."""

from __future__ import annotations

from dataclasses import dataclass

from maltriage.sample.hexdump import UNMAPPED
from maltriage.sample.types import Format
from maltriage.source.archive.limits import Archives

MAX_FILE_BYTES = 256 * 1024 * 1024
"""Files above this are skipped or read in part; `--max-size` lifts it."""
MAX_IN_PART = 4 * 1024 * 1024 * 1024
"""Programs above this are skipped: Windows runs no larger ones."""
PROGRAMS: tuple[Format, ...] = ("pe", "png", "bytes")
"""Formats whose bytes are those of a program. Where `picture` is wanted, every PNG is one."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The options.

    `max_size`: of the file, and of its unpacked bytes. `formats`: those wanted; a file of another
    one gives no sample. `archives`: options of opening archives; None: they stay closed.
    `unmapped`: the byte, 0 to 255, that `??` of a hex dump is read as. `in_part`: of a program on
    the disk that is larger than `max_size` read its beginning, of that length; all of it is hashed.
    """

    max_size: int = MAX_FILE_BYTES
    formats: tuple[Format, ...] = PROGRAMS
    archives: Archives | None = None
    unmapped: int = UNMAPPED
    in_part: bool = False
