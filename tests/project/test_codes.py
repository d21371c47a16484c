"""docs/reference/codes.md lists the codes of all records without a result."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "codes.md"
CODE_AT = {"SampleError": 0, "LimitError": 0, "Rejected": 1, "Failed": 1, "Skipped": 1}
"""Where each has its code among its arguments."""
FAILED_AT = {"Rejected": 3}
NOT_IN_RECORDS = {
    "kept": "takes the place of a record that is known",
    "not-applicable": "counted by `robustness`, which writes no such records",
}
Functions = ast.FunctionDef | ast.AsyncFunctionDef


def listed() -> dict[str, set[str]]:
    """The codes of the page's two tables, by the type of their records."""
    _, skipped, errors = PAGE.read_text("utf-8").split("\n## ")
    found = {}
    for kind, part in (("skipped", skipped), ("error", errors)):
        first = re.findall(r"^\| (`[^|]+) \|", part, re.MULTILINE)
        found[kind] = set(re.findall(r"`([\w-]+)`", " ".join(first)))
    return found


def values(node: ast.expr, module: str, inside: ast.AST | None) -> Iterator[str]:
    """The texts that an expression may have; none where it passes on another error's code."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.Name(id=name) if name.isupper():
            yield getattr(importlib.import_module(module), name)
        case ast.Name(id=name):
            for step in ast.walk(inside) if inside is not None else ():
                if isinstance(step, ast.Assign):
                    yield from assigned(step, name, module)
        case ast.Call(func=ast.Attribute(value=ast.Dict(values=each))):  # {...}.get(key, usual)
            for one in (*each, *node.args[1:]):
                yield from values(one, module, None)


def assigned(step: ast.Assign, name: str, module: str) -> Iterator[str]:
    for target in step.targets:
        if isinstance(target, ast.Name) and target.id == name:
            yield from values(step.value, module, None)
        elif isinstance(target, ast.Tuple) and isinstance(step.value, ast.Tuple):
            for part, value in zip(target.elts, step.value.elts, strict=True):
                if isinstance(part, ast.Name) and part.id == name:
                    yield from values(value, module, None)


def kind_of(call: ast.Call, name: str) -> str:
    if name in ("Failed", "Skipped"):
        return "error" if name == "Failed" else "skipped"
    at = FAILED_AT.get(name)
    failed = next((each.value for each in call.keywords if each.arg == "failed"), None)
    if at is not None and len(call.args) > at:
        failed = call.args[at]
    return "error" if isinstance(failed, ast.Constant) and failed.value is True else "skipped"


def in_code() -> Iterator[tuple[str, str]]:
    """(code, type of its record) of each call that makes such a record, or the error for it."""
    for path in sorted((ROOT / "maltriage").rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        around: dict[ast.AST, ast.AST] = {}
        for function in ast.walk(tree):  # the outer ones first
            if isinstance(function, Functions):
                around.update(dict.fromkeys(ast.walk(function), function))
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
                at = CODE_AT.get(call.func.id)
                if at is not None and len(call.args) > at:
                    for code in values(call.args[at], module, around.get(call)):
                        yield code, kind_of(call, call.func.id)


def test_the_page_lists_every_code() -> None:
    found = {"skipped": set[str](), "error": set[str]()}
    for code, kind in in_code():
        if code not in NOT_IN_RECORDS:
            found[kind].add(code)
    assert found == listed()


@pytest.mark.parametrize("code", sorted(NOT_IN_RECORDS))
def test_codes_that_no_record_has_are_in_the_code(code: str) -> None:
    assert code in {name for name, _ in in_code()}


def test_codes_are_found_where_they_are_computed() -> None:
    """By a mapping, by an assignment before, by a constant of the module or of another."""
    found = {code for code, _ in in_code()}
    assert {"unreadable", "timeout", "archive-time", "known-good"} <= found
