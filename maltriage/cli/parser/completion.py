"""Completion in zsh that offers something at the first TAB of a shell.

The file that Typer writes is loaded as the function `_maltriage` at the first TAB. It only defines
and registers the function that completes, which zsh calls from the second TAB on.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from maltriage.errors import MaltriageError

ASKED = frozenset(("--install-completion", "--show-completion"))
_CALL = """
if [[ "${funcstack[1]}" == "_%(prog_name)s" ]]; then
  %(complete_func)s "$@"
fi
"""


VARIABLE = "_MALTRIAGE_COMPLETE"
"""With `source_zsh` the program prints the script of zsh, whichever shell it is called from."""


def is_asked(arguments: Sequence[str]) -> bool:
    """Whether the script of a shell is asked for.

    Raises:
        MaltriageError: a word stands behind the option, such as the name of another shell, which
            Typer would pass over.
    """
    asked = bool(arguments) and arguments[0] in ASKED
    if asked and len(arguments) > 1:
        raise MaltriageError(
            f"{arguments[0]} is for the shell that it is called from, and takes no name;"
            f" {VARIABLE}=source_zsh maltriage prints the script of zsh (or bash, fish)"
        )
    return asked or os.environ.get(VARIABLE, "").startswith("source_")


def complete_at_once() -> None:
    """Let the script for zsh call its function where it is loaded for a completion."""
    from typer import _completion_classes, _completion_shared

    scripts = getattr(_completion_shared, "_completion_scripts", {})
    if "zsh" in scripts and "funcstack" not in scripts["zsh"]:
        scripts["zsh"] += _CALL
        _completion_classes.ZshComplete.source_template = scripts["zsh"]
