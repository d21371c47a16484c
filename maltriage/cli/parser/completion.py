"""Completion in zsh that offers something at the first TAB of a shell.

The file that Typer writes is loaded as the function `_maltriage` at the first TAB. It only defines
and registers the function that completes, which zsh calls from the second TAB on.
"""

from __future__ import annotations

ASKED = frozenset(("--install-completion", "--show-completion"))
_CALL = """
if [[ "${funcstack[1]}" == "_%(prog_name)s" ]]; then
  %(complete_func)s "$@"
fi
"""


def complete_at_once() -> None:
    """Let the script for zsh call its function where it is loaded for a completion."""
    from typer import _completion_shared

    scripts = getattr(_completion_shared, "_completion_scripts", {})
    if "zsh" in scripts and "funcstack" not in scripts["zsh"]:
        scripts["zsh"] += _CALL
