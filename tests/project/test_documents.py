"""Documents and docstrings name files and modules that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(path for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")))
ROOMS = "|".join(
    sorted(path.name for path in (ROOT / "maltriage").iterdir() if (path / "__init__.py").exists())
)
FILE = re.compile(r"`((?:[\w.-]+/)+[\w-]+\.(?:py|csv|json|toml|onnx|npz))`")
TEST = re.compile(r"`(test_\w+\.py)`")
MODULE = re.compile(rf"`(?:maltriage\.)?((?:{ROOMS})(?:\.[a-z_]+)+)(?:\.[A-Z_]\w*)?(?:\(\))?`")
WRITTEN = re.compile(r"^(out|runs|fold-|seed-|data|DIR|a|b|in)\b|test_\{|\*")
"""Files in examples, which a user makes."""


LINK = re.compile(r"\]\(([^)\s]+)\)|^\[[\w-]+\]: (\S+)$", re.M)


def is_there(path: str) -> bool:
    return (ROOT / path).exists() or (ROOT / "maltriage" / path).exists()


def is_module(dotted: str) -> bool:
    """Whether names from the left on are a module; the last one may be something in it."""
    for name in (dotted, dotted.rpartition(".")[0]):
        path = ROOT / "maltriage" / name.replace(".", "/")
        if path.with_suffix(".py").exists():
            text = path.with_suffix(".py").read_text("utf-8")
            return (
                name == dotted or re.search(rf"\b{dotted.rpartition('.')[2]}\b", text) is not None
            )
        if (path / "__init__.py").exists():
            return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_documents_name_what_is_there(page: Path) -> None:
    text = page.read_text("utf-8")
    if page.name == "CHANGELOG.md":  # what was true once
        return
    files = {name for name in FILE.findall(text) if not WRITTEN.search(name)}
    assert sorted(name for name in files if not is_there(name)) == []
    tests = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert sorted({name for name in TEST.findall(text) if name not in tests}) == []
    modules = {name for name in MODULE.findall(text) if not name.startswith("results.sqlite")}
    assert sorted(name for name in modules if not is_module(name)) == []


@pytest.mark.parametrize("name", sorted(path.name for path in ROOT.glob("*.md")))
def test_links_of_pages_beside_the_documents_lead_somewhere(name: str) -> None:
    """Links of docs/ are held by `tests/project/test_site.py`."""
    links = [first or second for first, second in LINK.findall((ROOT / name).read_text("utf-8"))]
    assert links
    local = [link.partition("#")[0] for link in links if "://" not in link]
    assert [link for link in local if not (ROOT / link).exists()] == []


def test_docstrings_name_modules_that_are_there() -> None:
    gone = []
    for path in sorted((ROOT / "maltriage").rglob("*.py")):
        for name in MODULE.findall(path.read_text("utf-8")):
            if not is_module(name):
                gone.append(f"{path.relative_to(ROOT)}: {name}")
    assert gone == []
