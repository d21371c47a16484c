"""The screen of `maltriage doctor`."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from maltriage.report import numbers
from maltriage.report.documents.doctor import Examination, Limit, Runtime
from maltriage.report.sanitize import clean, untrusted

WORDS = {
    "memory": "limited memory",
    "core_dumps": "no core dumps",
    "outliving": "ends with the scan",
    "privileges": "gains no privileges",
    "inspection": "no inspection by others",
    "network": "no network",
    "writing": "writes no file",
    "programs": "starts no program",
    "signals": "no signals to others",
    "processes": "looks into no other process",
    "ipc": "no System V memory or queues",
    "scheduling": "no priorities of others",
    "terminal": "types into no terminal",
}
"""Parts of the isolation, in words for the user."""


def render(found: Examination, console: Console) -> None:
    """Print the examination."""
    console.print(Text(f"maltriage {found.version}", "bold"))
    table = _table()
    table.add_row("python", f"{found.python}, {found.platform}")
    there = [f"{name} {version}" for name, version in found.packages.items() if version]
    table.add_row("packages", _folded(", ".join(there)))
    for extra in found.extras:
        lacking = [name for name, version in extra.packages.items() if version is None]
        state = "installed" if extra.is_there else f"without {', '.join(lacking)}"
        table.add_row(f"extra {extra.name}", _folded(state))
    console.print(table)

    _heading(console, "model")
    table = _table()
    if found.model is not None:
        table.add_row("name", untrusted(f"{found.model.name}, {found.model.labels} labels"))
        table.add_row("digest", untrusted(found.model.weights_sha256))
        table.add_row("bundle", _folded(found.model.path))
        table.add_row("", _folded(found.model.standing))
        files = f" ({numbers.count(found.model.index_files, 'file')})" if found.model.index else ""
        table.add_row("index", _folded((found.model.index or "none") + files))
        if found.model.index_standing is not None:
            table.add_row("", _folded(found.model.index_standing))
    runtime = found.runtime
    table.add_row("runs on", f"{runtime.device or 'nothing'}, {_threads(runtime)}")
    table.add_row("bytes by", _KERNELS.get(runtime.kernel, _folded(runtime.kernel)))
    table.add_row("providers", _folded(", ".join(runtime.providers)))
    console.print(table)

    _heading(console, "isolation of workers")
    table = _table()
    if found.isolation is not None:
        held, missing = found.isolation.held, found.isolation.missing
        table.add_row("holds", ", ".join(WORDS.get(name, name) for name in held) or "nothing")
        if missing:
            table.add_row("missing", ", ".join(WORDS.get(name, name) for name in missing))
        landlock = found.isolation.landlock
        by = ["seccomp"] if found.isolation.seccomp else []
        by += [f"Landlock {landlock}"] if landlock else []
        by += ["limits"] if held else []
        table.add_row("by", ", ".join(by) or "nothing")
    console.print(table)

    _heading(console, "limits")
    table = _table()
    for limit in found.limits:
        lifted = f"  {limit.option}" if limit.option else ""
        table.add_row(limit.name, Text(_amount(limit)) + Text(lifted, "dim"))
    console.print(table)

    _heading(console, "places")
    table = _table()
    for place in found.places:
        state = place.trouble or ("" if place.exists else "not made yet")
        table.add_row(place.what, _folded(place.path) + Text(clean(f"  {state}"), "dim"))
    console.print(table)

    console.print()
    if not found.problems:
        console.print(Text("No problems.", "bold"))
    for problem in found.problems:
        console.print(Text("problem: ", "bold red") + untrusted(problem), overflow="fold")


def _heading(console: Console, text: str) -> None:
    console.print()
    console.print(Text(text, "bold"))


def _folded(text: str) -> Text:
    return Text(clean(text), overflow="fold")


def _table() -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 2), pad_edge=True)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    return table


_KERNELS = {
    "compiled": "the compiled kernel",
    "numpy": "NumPy, several times slower: nothing was compiled, or MALTRIAGE_NO_KERNEL is set",
}


def _threads(runtime: Runtime) -> str:
    cores = numbers.count(runtime.cores, "core")
    return f"{cores}, {numbers.count(runtime.threads, 'thread')} of them for the model"


def _amount(limit: Limit) -> str:
    if limit.unit == "bytes":
        return numbers.size(int(limit.value))
    return f"{limit.value:,g} {limit.unit}".rstrip()
