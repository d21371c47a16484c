"""The options for archives, from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from maltriage.cli import options as opt
from maltriage.cli.parser.misplaced import refuse
from maltriage.errors import MaltriageError

if TYPE_CHECKING:
    from maltriage.source.archive.limits import Archives

_OPENED = tuple(
    "password password_file max_members max_unpacked max_ratio max_nesting max_time".split()
)


def archives(
    context: typer.Context,
    no_archives: bool,
    password: list[str] | None,
    password_file: Path | None,
    max_members: int,
    max_unpacked: int,
    max_ratio: int,
    max_nesting: int,
    max_time: float,
    carve: int = 0,
) -> Archives | None:
    """Join the options for archives; None: archives are not opened.

    Raises:
        MaltriageError: the file of passwords cannot be read or is not UTF-8, or options
            contradict each other or do nothing.
    """
    refuse(context, () if carve else ("max_carved",), "with --carve")
    refuse(context, _OPENED if no_archives else (), "without --no-archives")
    from maltriage.source.archive.limits import PASSWORDS, Archives

    if no_archives:
        if carve:
            raise MaltriageError("--no-archives or --carve, not both")
        return None
    named = [*(password or []), *(_listed(password_file) if password_file else [])]
    passwords = tuple(dict.fromkeys((*named, *PASSWORDS)))
    return Archives(
        passwords,
        max_members,
        max_unpacked * opt.MIB,
        max_ratio,
        max_nesting,
        carve,
        max_time,
    )


def _listed(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text("utf-8").splitlines() if line]
    except OSError as error:
        raise MaltriageError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise MaltriageError(f"{path}: passwords must be UTF-8 text, one a line") from error
