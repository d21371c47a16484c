"""The entry point. Slow imports happen only after the handler for Ctrl-C is set."""

from __future__ import annotations

import gc
import os
import sys

from maltriage.cli.stderr import never_fail
from maltriage.cli.stop import interrupt


def _reads_files(arguments: list[str]) -> bool:
    """Whether a command line surely reads files of this machine.

    The server that workers are forked from is then started first of all: until the first record
    nothing takes longer than its import of LIEF, and a second core has nothing else to do.
    """
    command, rest = arguments[:1], frozenset(arguments[1:])
    if rest & {"-h", "--help", "--engine"} or any("://" in argument for argument in rest):
        return False
    anew = bool(rest & {"--no-cache", "--refresh"})
    return command == ["explain"] or (command == ["scan"] and anew)


def _writes_files(arguments: list[str]) -> bool:
    """Whether a command line names files for its results, and stdout for none of them."""
    named = [
        argument.removeprefix("--output").removeprefix("-o").removeprefix("=") or following
        for argument, following in zip(arguments, [*arguments[1:], "-"], strict=True)
        if argument == "--output" or argument.startswith(("--output=", "-o"))
    ]
    return bool(named) and "-" not in named


def _hold_streams() -> bool:
    """Have the three standard streams open, on the null device where they are not: otherwise the
    next file that is opened would have the number of one, and get what is written to it.

    Returns:
        Whether there is a stdout to write results to.
    """
    given = sys.stdout is not None
    for name, flags, mode in (
        ("stdin", os.O_RDONLY, "r"),
        ("stdout", os.O_WRONLY, "w"),
        ("stderr", os.O_WRONLY, "w"),
    ):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, flags)
            os.set_inheritable(null, True)  # so that processes started from here have it, too
            setattr(sys, name, os.fdopen(null, mode, closefd=False))
    return given


def main() -> None:
    """Run the command line and end the process with its exit code."""
    # Before NumPy is loaded: its threads spin after each matrix product and take the cores from
    # the model and the workers. The products here are small.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    gc.set_threshold(10_000)  # imports make many objects, of which none goes
    interrupt.listen()
    given = _hold_streams()
    never_fail()
    if not given and not _writes_files(sys.argv[1:]):
        sys.stderr.write("maltriage: standard output is closed: there is no place for results\n")
        sys.exit(2)
    try:
        if _reads_files(sys.argv[1:]):
            from maltriage.work.forkserver import start_ahead

            start_ahead()
        from maltriage.cli.app import run

        code = run()
    except KeyboardInterrupt:
        code = interrupt.EXIT_INTERRUPTED
    if interrupt.asked() is not None:
        sys.stderr.write(interrupt.line())
    sys.exit(code)
