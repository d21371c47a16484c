"""What is added by one file and one line is found where it is used, and documented."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import pytest
import typer

from maltriage.cli import commands
from maltriage.cli.app import application
from maltriage.corpus.fingerprint import PLOTTING
from maltriage.probe.transform import TRANSFORMS
from maltriage.report.documents.methods import METHODS
from maltriage.report.formats import EXPLAIN, SCAN
from maltriage.report.scan.row import COLUMNS
from maltriage.report.scan.table import _TITLES
from maltriage.sample.views import ViewSpec, known_views
from maltriage.sample.views.view_kind import ViewKind

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
OF_CSV = re.compile(r"^\| (?:in )?CSV[^|]*\| the column `(\w+)`(.*)$", re.M)
"""A row of a document that says which column of CSV has something."""


def undocumented(names: Iterable[str], page: str) -> list[str]:
    text = next(DOCS.rglob(page)).read_text(encoding="utf-8")
    return [name for name in names if f"`{name}`" not in text]


def test_formats() -> None:
    for format in (*SCAN.values(), *EXPLAIN.values()):
        module, _, name = format.renderer.partition(":")
        assert hasattr(importlib.import_module(module), name)
    assert undocumented([*SCAN, *EXPLAIN], "outputs.md") == []


def test_formats_that_a_shell_offers() -> None:
    text = (DOCS / "how-to" / "shell.md").read_text(encoding="utf-8")
    (offered,) = re.findall(r"^\| `maltriage scan --format <TAB>` \| (.*) \|$", text, re.M)
    assert re.findall(r"`(\w+)`", offered) == list(SCAN)


def test_the_guide_names_the_reference_where_it_changes() -> None:
    """What a command's help lists is in `docs/reference/commands.md`."""
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for what in ("a net", "an output format", "a dataset", "a method of explanation", "a command"):
        (row,) = re.findall(rf"^\| {what} \|.*$", guide, re.M)
        assert "`make reference`" in row, what


def test_columns_of_the_table() -> None:
    text = (DOCS / "reference" / "columns.md").read_text(encoding="utf-8")
    assert [title for title in _TITLES if f"**{title}**" not in text] == []


def test_columns_that_documents_say_csv_has() -> None:
    """A column that only `--fields` gives is said to be asked for."""
    said = [row for page in DOCS.rglob("*.md") for row in OF_CSV.findall(page.read_text("utf-8"))]
    assert len(said) >= 2
    assert [name for name, rest in said if name not in COLUMNS and "--fields" not in rest] == []


@pytest.mark.parametrize("name", METHODS)
def test_methods_of_explanation(name: str) -> None:
    if METHODS[name].checkpoint:
        pytest.importorskip("torch", reason="needs the extra `train`")
    assert callable(METHODS[name].load())
    assert undocumented([name], "evidence.md") == []


def test_kinds_of_views() -> None:
    kinds = {kind for kind in ViewKind.__subclasses__() if kind.__module__.startswith("maltriage.")}
    assert set(get_args(ViewSpec)) == kinds  # cards of all kinds are read
    assert {type(view) for view in known_views()} == kinds  # `train --views` knows one of each
    assert {kind.__module__ for kind in kinds} <= set(PLOTTING)
    assert [kind for kind in kinds if "fits" not in vars(kind)] == []  # cards are held to it


def test_transformations() -> None:
    assert undocumented(TRANSFORMS, "transformations.md") == []


def test_commands() -> None:
    there = {module.name for module in pkgutil.iter_modules(commands.__path__)}
    assert set(typer.main.get_command(application()).commands) == there  # type: ignore[attr-defined]
    pages = [*DOCS.rglob("*.md"), ROOT / "README.md"]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    assert [name for name in there if f"maltriage {name}" not in text] == []


def test_registries_lie_where_the_guide_says() -> None:
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`([A-Z_]+)`(?: or `([A-Z_]+)`)? (?:of|in) `([\w/]+\.py)`", guide)
    assert len(named) > 8
    for *names, path in named:
        text = (ROOT / "maltriage" / path).read_text(encoding="utf-8")
        assert [name for name in names if name and not re.search(rf"^{name}\b", text, re.M)] == []
