"""The interface between `walk` and the readers of all kinds of archives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from maltriage.sample.errors import SampleError
from maltriage.source.archive.limits import Budget

HEAD_BYTES = 512
"""First bytes of a file, from which a reader decides whether it is wanted."""
PIECE = 1024 * 1024
"""Bytes unpacked at once, between two checks of the budget."""


@dataclass(frozen=True)
class Entry:
    """A file in an archive. `data` is None for a file that is not wanted or has an `error`.

    `number` is its place in the archive, where reading resumes later.
    """

    number: int
    name: str
    data: bytes | None = None
    error: SampleError | None = None


MAX_NAME = 4096
"""Characters of a name; what is behind them is cut."""


class Names:
    """Names of the files of one archive as they are shown, each once: `x`, `x#2`, `x#3`.

    Raw bytes that are not UTF-8 become lone surrogates, as in the path of any file of POSIX.
    """

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def __call__(self, name: str | bytes) -> str:
        shown = name.decode(errors="surrogateescape") if isinstance(name, bytes) else name
        shown = shown[:MAX_NAME]
        count = self._seen[shown] = self._seen.get(shown, 0) + 1
        if count == 1:
            return shown
        while (other := f"{shown}#{count}") in self._seen:
            count += 1
        self._seen[shown] = count
        self._seen[other] = 1
        return other


@dataclass(frozen=True)
class Opening:
    """An archive, and the options to read it with.

    `kind` names its kind. `name` is its own, by which a file in it is called that has none.
    `max_size` is that of any file in it, in bytes. `select` says by its name whether a file matters
    at all, `wanted` by name and first bytes whether all of it is read. Entries before `start` are
    passed by, and those before `paid` are not charged to the budget.
    """

    file: BinaryIO
    kind: str
    name: str
    max_size: int
    budget: Budget
    wanted: Callable[[str, bytes], bool]
    select: Callable[[str], bool] = lambda name: True
    start: int = 0
    paid: int = 0

    def begin(self, number: int) -> None:
        """Charge for one entry from here on, or for none.

        Raises:
            LimitError: there are too many.
        """
        self.budget.counting = number >= self.paid
        self.budget.member()

    def too_large(self, size: int | None = None) -> SampleError:
        """The error of a file above the limit; `size` where it is known."""
        what = "" if size is None else f"{size} bytes, "
        reason = f"{what}above the limit of {self.max_size} (--max-size lifts it)"
        return SampleError("too-large", reason)

    def read(
        self,
        number: int,
        name: str,
        read: Callable[[int], bytes],
        *,
        whole: bool = False,
        charge: bool = True,
    ) -> Entry:
        """The entry of a file that `read(size)` gives chunk by chunk, an empty one at its end.

        Args:
            whole: read all of it even where it is not wanted.
            charge: takes the number of bytes read, for the budget.

        Raises:
            LimitError: too much was unpacked.
        """
        head = b""
        while len(head) < HEAD_BYTES and (piece := read(HEAD_BYTES - len(head))):
            head += piece
        spend = self.budget.spend if charge else _free
        spend(len(head))
        wanted = self.wanted(name, head)
        if not wanted and not whole:
            return Entry(number, name)
        pieces, size = [head], len(head)
        while piece := read(PIECE):
            spend(len(piece))
            size += len(piece)
            if size > self.max_size:
                return Entry(number, name, error=self.too_large() if wanted else None)
            if wanted:
                pieces.append(piece)
        return Entry(number, name, b"".join(pieces) if wanted else None)


def _free(size: int) -> None:
    """A charge that is ignored."""


def sealed(tried: int) -> SampleError:
    """The error of an archive, or file in it, that no password opens."""
    return SampleError(
        "password",
        f"encrypted with another password than the {tried} tried (--password names more), or"
        " damaged",
        failed=True,
    )


def damaged(error: Exception) -> SampleError:
    """The error of a damaged archive: the libraries raise many kinds."""
    text = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")
    return SampleError("damaged-archive", f"a damaged archive ({text[:200]})", failed=True)
