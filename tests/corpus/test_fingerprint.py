"""The list of modules that decide what is plotted is whole, and nothing else is on it."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path

import pytest

from maltriage.corpus.fingerprint import PLOTTING, TRANSFORMING, fingerprint

NO_PIXELS = {
    "maltriage.corpus.array_store": "keeps arrays as they are; its own version is in the key",
    "maltriage.sample.code_digest": "says which programs are alike",
    "maltriage.sample.errors": "says why there is no sample",
    "maltriage.sample.identity": "hashes and names",
    "maltriage.sample.signature": "whether a signature matches its file",
    "maltriage.source.archive.by_libarchive": "says why there is no sample",
    "maltriage.source.archive.closed": "says why there is no sample",
    "maltriage.source.archive.limits": "what is too much to be one",
    "maltriage.source.known": "lists of known files, which no dataset has",
    "maltriage.source.reading": "formats and `unmapped`, which are in the key by their values",
    "maltriage.source.samples": "bytes as they lie on the disk",
    "maltriage.sample.types": "plain data",
    "maltriage.work.workers": "runs what it is given",
    "maltriage.work.window": "answers in the order of their jobs",
    "maltriage.probe.detect_it_easy": "names of tools",
}
"""Modules that plotting code imports and no pixel depends on, each with its reason."""

COMPILED = "maltriage.sample._kernel"
# Where it was not compiled, the name that is left of its import is that of its folder.
NO_PIXELS[COMPILED if find_spec(COMPILED) else "maltriage.sample"] = (
    "says what NumPy says, bit by bit (tests/sample/test_native.py)"
)


def imports_of(name: str) -> set[str]:
    """The modules of the package that a module imports, wherever in it."""
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    found = set[str]()
    for node in ast.walk(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if is_module(inner) else node.module)
    return {module for module in found if module.partition(".")[0] == "maltriage"}


def is_module(name: str) -> bool:
    try:
        return name.startswith("maltriage.") and find_spec(name) is not None
    except ModuleNotFoundError:  # its parent is no package
        return False


@pytest.mark.parametrize("name", [*PLOTTING, *TRANSFORMING])
def test_what_plotting_code_imports_is_listed_or_told_apart(name: str) -> None:
    """A module that moves has no spec; one that is imported anew must be judged."""
    unjudged = imports_of(name) - {*PLOTTING, *TRANSFORMING, *NO_PIXELS}
    assert not unjudged, f"{name}: does a pixel depend on {', '.join(sorted(unjudged))}?"


def test_nothing_is_told_apart_that_is_not_there() -> None:
    assert not {*PLOTTING, *TRANSFORMING} & NO_PIXELS.keys()
    imported = set[str]().union(*map(imports_of, (*PLOTTING, *TRANSFORMING)))
    assert imported >= NO_PIXELS.keys()


def test_a_module_that_moved_is_an_error() -> None:
    with pytest.raises(ModuleNotFoundError, match="gone"):
        fingerprint(("maltriage.sample.gone",))


def test_the_digest_depends_on_the_modules() -> None:
    assert fingerprint(PLOTTING) == fingerprint()
    assert fingerprint(PLOTTING[1:]) != fingerprint()
