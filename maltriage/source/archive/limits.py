"""Caps on reading archives, and the budget that counts against them."""

from __future__ import annotations

from dataclasses import dataclass, field

from maltriage.sample.errors import SampleError

PASSWORDS = ("infected", "malware", "virus")
"""Passwords tried by default; collections use them so that no sample is opened by mistake."""
MAX_MEMBERS = 10_000
"""Files read in an archive and the archives in it; `--max-members` lifts it."""
MAX_UNPACKED = 1024 * 1024 * 1024
"""Bytes unpacked of an archive and the archives in it; `--max-unpacked` lifts it."""
MAX_RATIO = 250
"""Bytes unpacked for each byte of the archive, beyond `RATIO_FROM`; `--max-ratio` lifts it."""
RATIO_FROM = 64 * 1024 * 1024
"""Bytes up to which the ratio is not checked: programs are padded with zeros."""
MAX_NESTING = 4
"""Archives inside each other, the outermost one included; `--max-nesting` lifts it."""
MAX_SECONDS = 600.0
"""Time that workers may spend on an archive and the archives in it; `--max-time` lifts it."""


@dataclass(frozen=True)
class Archives:
    """Options of opening archives. `passwords` are tried in their order. `carve`: most programs
    taken out of each program; 0: none are searched. `seconds`: see `MAX_SECONDS`."""

    passwords: tuple[str, ...] = PASSWORDS
    members: int = MAX_MEMBERS
    unpacked: int = MAX_UNPACKED
    ratio: int = MAX_RATIO
    nesting: int = MAX_NESTING
    carve: int = 0
    seconds: float = field(default=MAX_SECONDS, repr=False)  # no record depends on it


class LimitError(SampleError):
    """A cap was hit: the rest of the file on disk is not read."""


class Budget:
    """The budget left for one file on disk.

    `counting` is off while an archive is read again up to the end of the last chunk, which was
    charged already.
    """

    def __init__(self, limits: Archives, packed: int, members: int = 0, unpacked: int = 0) -> None:
        self.limits, self.packed = limits, packed
        self.members, self.unpacked = members, unpacked
        self.counting = True

    def member(self) -> None:
        """Charge one more file.

        Raises:
            LimitError: there are too many.
        """
        if not self.counting:
            return
        if self.members >= self.limits.members:
            reason = f"files after the first {self.members} in it are left out"
            raise LimitError("archive-members", f"{reason} (--max-members lifts the limit)")
        self.members += 1

    def spend(self, size: int) -> None:
        """Charge `size` more unpacked bytes.

        Raises:
            LimitError: there are too many, or too many for the size of the file on disk.
        """
        if not self.counting:
            return
        self.unpacked += size
        if self.unpacked > self.limits.unpacked:
            raise self.too_much()
        if self.unpacked > max(RATIO_FROM, self.limits.ratio * self.packed):
            raise LimitError(
                "archive-ratio",
                f"{self.packed} bytes that unpack to more than {self.limits.ratio} times as many:"
                " the rest of it is left out (--max-ratio lifts the limit)",
            )

    def too_much(self) -> LimitError:
        """The error of too many bytes unpacked."""
        return LimitError(
            "archive-size",
            f"it unpacks to more than {self.limits.unpacked} bytes: the rest of it is left out"
            " (--max-unpacked lifts the limit)",
        )
