"""The pages of the reference that are taken from the code say what the code says."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
import typer

from maltriage import version
from maltriage.cli.app import application
from maltriage.report.documents.schema import json_schema

ROOT = Path(__file__).resolve().parents[2]
RENEW = "make reference"


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / ".ci" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_commands_is_what_the_program_says(reference: ModuleType) -> None:
    assert reference.COMMANDS.read_text("utf-8") == reference.commands(), RENEW


def test_the_fields_of_the_schema_are_those_of_the_structs(reference: ModuleType) -> None:
    page = reference.SCHEMA.read_text("utf-8")
    assert reference.BEGIN in page
    assert page == reference.schema(page), RENEW


def test_the_schema_lists_every_struct_of_a_record(reference: ModuleType) -> None:
    """So that each type that a field has leads to its table."""
    listed = [name for names in reference.STRUCTS.values() for name in names]
    assert sorted(listed) == sorted({*json_schema()["$defs"]} - {"Record"})
    page = reference.SCHEMA.read_text("utf-8")
    links = set(re.findall(r"\]\(#([\w-]+)\)", page))
    heads = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    assert links - {head.lower().replace(" ", "-") for head in heads} == set()


def test_every_option_has_a_row(reference: ModuleType) -> None:
    """One of each command that has panels, and of one in a group of commands."""
    page = reference.commands()
    for command in ("scan", "explain", "train"):
        _, _, rest = page.partition(f"## maltriage {command}\n")
        part, _, _ = rest.partition("\n## ")
        options = typer.main.get_command(application(command)).commands[command].params  # type: ignore[attr-defined]
        names = [p.opts[0] for p in options if p.param_type_name == "option" and not p.hidden]
        assert len(names) > 10
        assert [name for name in names if name not in part] == []
    assert "## maltriage index add\n" in page


def test_the_changelog_has_the_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert f"\n## {version.__version__} - " in text
    assert text.index("## Unreleased") < text.index(f"## {version.__version__}")
