"""No string of a document reaches a terminal as it is, whichever field it is in.

Documents are made from their types alone, with a hostile text in every field that can hold one; so
a field or a renderer that is new is tried without a line here.
"""

from __future__ import annotations

import importlib
import inspect
import io
import pkgutil
import types
import typing
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec
import pytest
from report.screens import FORMATS
from rich.console import Console
from rich.text import Text

import maltriage.report
from maltriage.cli.console import make_console
from maltriage.report.documents.record import Failed, Result, Skipped, Summary
from maltriage.report.formats import RenderOptions, open_renderer

HOSTILE = "\x1b]52;c;aGk=\x07\x9b31m\u202e[/red][bold]\n=cmd()<script>"
NOT_PRINTED = {"\x1b]", "\x07", "\x9b", "\u202e"}


@pytest.fixture(autouse=True)
def _a_terminal_like_that_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rich keeps a style's codes for the first depth of colours that it was printed in."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")


def hostile(kind: Any, depth: int = 0) -> Any:
    """A value of a type, with the hostile text wherever text may stand."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is str or kind is Any:
        return HOSTILE
    if kind in (int, float, bool):
        return kind(1)
    if kind is bytes:
        return HOSTILE.encode()
    if kind is type(None) or depth > 12:
        return None
    if origin is Literal:
        return arguments[0]
    if origin in (typing.Union, types.UnionType):
        return hostile(next(a for a in arguments if a is not type(None)), depth + 1)
    if origin in (list, Sequence):
        return [hostile(arguments[0], depth + 1)] * 2
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is ...:
            return (hostile(arguments[0], depth + 1),) * 2
        return tuple(hostile(each, depth + 1) for each in arguments)
    if origin in (dict, Mapping):
        value = hostile(arguments[1], depth + 1)
        return defaultdict(lambda: value, {hostile(arguments[0], depth + 1): value})
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = typing.get_type_hints(kind)
        names = kind.__struct_fields__
        return kind(**{name: hostile(hints[name], depth + 1) for name in names})
    if isinstance(kind, type) and hasattr(kind, "__dataclass_fields__"):
        hints = typing.get_type_hints(kind)
        return kind(**{name: hostile(hints[name], depth + 1) for name in hints})
    raise TypeError(kind)


def screens() -> dict[str, tuple[Callable[[Any, Console], None], Any]]:
    """Every `render(document, console)` in the package, with the type of its document."""
    found = {}
    for module in pkgutil.walk_packages(maltriage.report.__path__, "maltriage.report."):
        render = getattr(importlib.import_module(module.name), "render", None)
        if not inspect.isfunction(render) or render.__module__ != module.name:
            continue
        names = list(inspect.signature(render).parameters)
        hints = typing.get_type_hints(render)
        if len(names) == 2 and hints.get(names[1]) is Console:
            found[module.name.rpartition(".")[2]] = render, hints[names[0]]
    return found


def printed(write: Callable[[Console], None]) -> str:
    out = io.StringIO()
    write(make_console("always", width=400, file=out))
    return out.getvalue()


@pytest.mark.parametrize("name", screens())
def test_a_screen(name: str) -> None:
    render, kind = screens()[name]
    shown = printed(lambda console: render(hostile(kind), console))
    assert shown
    assert not {mark for mark in NOT_PRINTED if mark in shown}


def test_a_renderer_that_forgets() -> None:
    shown = printed(lambda console: console.print("a", HOSTILE, Text(HOSTILE, "red")))
    assert not {mark for mark in NOT_PRINTED if mark in shown}
    # Rich itself takes the bell away.
    assert shown.count("\\x1b]52;c;aGk=\\x9b31m\\u202e[/red][bold]") == 2
    assert "\x1b[31m" in shown  # what Rich adds is still there


def test_there_are_screens() -> None:
    assert len(screens()) > 8


@pytest.mark.parametrize("form", ["table", "explain"])
@pytest.mark.parametrize("kind", [Result, Skipped, Failed])
def test_a_record(form: str, kind: Any) -> None:
    def write(console: Console) -> None:
        options = RenderOptions(0, show_skipped=True)
        renderer = open_renderer(FORMATS[form], io.BytesIO(), options, console)
        renderer.write(hostile(kind))
        renderer.finish(hostile(Summary))

    assert not {mark for mark in NOT_PRINTED if mark in printed(write)}
