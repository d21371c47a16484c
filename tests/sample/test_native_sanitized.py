"""The kernel reads and writes nothing that is not its own: its tests again, with checks by GCC."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "maltriage" / "sample" / "_kernel.c"
TESTS = Path(__file__).with_name("test_native.py")
HEADERS = Path(sysconfig.get_path("include"))
PLUGIN = """
import sys
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location

name = "maltriage.sample._kernel"
spec = spec_from_file_location(name, {path!r}, loader=ExtensionFileLoader(name, {path!r}))
sys.modules[name] = module_from_spec(spec)
spec.loader.exec_module(sys.modules[name])
"""

pytestmark = pytest.mark.slow


def library(compiler: str, name: str) -> str | None:
    """The path of a library of the compiler, None where it has none."""
    asked = [compiler, f"-print-file-name={name}"]
    found = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    return found if os.path.isabs(found) else None


def test_no_byte_outside(tmp_path: Path) -> None:
    compiler = shutil.which("gcc")
    if compiler is None or sys.platform != "linux" or not (HEADERS / "Python.h").exists():
        pytest.skip("no gcc with Python's headers")
    # In this order; LIEF throws C++ exceptions, which the first one looks up when it is loaded.
    needed = [library(compiler, name) for name in ("libasan.so", "libubsan.so", "libstdc++.so.6")]
    if None in needed:
        pytest.skip("gcc has no sanitizers here")
    path = tmp_path / "_kernel.abi3.so"
    flags = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-std=c11", "-O1", "-g")
    building = [compiler, *flags, "-shared", "-fPIC", f"-I{HEADERS}", SOURCE, "-o", path, "-lm"]
    subprocess.run(building, check=True)
    (tmp_path / "sanitized.py").write_text(PLUGIN.format(path=str(path)))
    environment = {
        **os.environ,
        "LD_PRELOAD": " ".join(filter(None, needed)),
        "ASAN_OPTIONS": "detect_leaks=0",  # of Python itself
        "PYTHONPATH": str(tmp_path),
    }
    options = ("-q", "-p", "no:xdist", "-p", "no:cacheprovider", "-p", "sanitized")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, TESTS],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
