"""pyproject.toml declares what the code imports, no less and no more."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "maltriage"
IMPORTED_AS = {
    "backports.zstd": "backports",
    "die-python": "die",
    "grad-cam": "pytorch_grad_cam",
    "libarchive-c": "libarchive",
    "onnxruntime-gpu": "onnxruntime",
    "pillow": "PIL",
    "protobuf": "google",
    "py-tlsh": "tlsh",
    "pytest-xdist": "xdist",
    "python-flirt": "flirt",
    "scikit-learn": "sklearn",
}
BEHIND_OTHERS = {"matplotlib", "onnxscript", "pytorch_grad_cam"}
"""Not imported by learn: the charts of studies need the first, torch.onnx the second, and the
tests compare its maps with the third."""
NEWER_PYTHON = {"compression"}
"""Modules of a standard library that is newer than the oldest Python."""
FOR_MORE = (
    "archives",
    *("identify", "misp", "parquet", "ray", "remote", "serve", "stix", "study", "tlsh"),
    *("watch", "yara"),
)
"""Extras that add something to what is read and written, and where."""


def imports(files: list[Path]) -> set[str]:
    """Top-level names that the files import, anywhere in them, and that are not ours."""
    names = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - NEWER_PYTHON - {"maltriage"}


def declared(*extras: str) -> set[str]:
    """Import names of the base dependencies and of `extras`; the base alone is ``base``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = []
    for extra in extras:
        optional = project["optional-dependencies"]
        wanted += project["dependencies"] if extra == "base" else optional[extra]
    names = [re.split(r"[^A-Za-z0-9_.-]", line, maxsplit=1)[0].lower() for line in wanted]
    return {IMPORTED_AS.get(name, name.replace("-", "_")) for name in names}


def sources(learn: bool) -> list[Path]:
    files = [f for f in PACKAGE.rglob("*.py") if (PACKAGE / "learn" in f.parents) == learn]
    assert files
    return files


def test_base_is_what_the_code_without_learn_imports() -> None:
    assert imports(sources(learn=False)) - declared(*FOR_MORE) == declared("base")


def test_train_is_what_learn_imports_besides() -> None:
    train = declared("train")
    used = imports(sources(learn=True))
    assert used <= declared("base") | train
    assert train - used <= BEHIND_OTHERS


def test_no_dependency_twice() -> None:
    assert not declared("base") & (declared("train") | declared(*FOR_MORE))


@pytest.mark.parametrize("extra", ["test", "dev", "docs"])
def test_constraints_name_what_the_tests_run_with(extra: str) -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(pin) == 2 for pin in pins)
    pinned = {name.lower() for name, _ in pins}
    names = {IMPORTED_AS.get(name, name.replace("-", "_")) for name in pinned}
    assert declared("base", "train", extra) <= names
