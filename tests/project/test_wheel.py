"""What `pip install .` brings: the whole package with its models, and no torch."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
import zipfile
from collections.abc import Iterator
from email.parser import HeaderParser
from pathlib import Path

import pytest

import maltriage

ROOT = Path(__file__).resolve().parents[2]
SIZE_LIMIT = 40 << 20
TRAIN_ONLY = ("torch", "torchvision", "timm", "grad-cam", "matplotlib")

pytestmark = pytest.mark.slow


def run(*command: str | Path, good: tuple[int, ...] = (0,)) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT.anchor)
    assert done.returncode in good, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
        run(*pip, "wheel", "-q", "--no-deps", "-w", folder, ROOT)
        (path,) = Path(folder).iterdir()
        yield path


def test_wheel_holds_the_package_and_the_models(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    package = ROOT / "maltriage"
    sources = (*package.rglob("*.py"), *(package / "report" / "templates").iterdir())
    code = {path.relative_to(ROOT).as_posix() for path in sources}
    models = {f"maltriage/models/{p.name}" for p in (ROOT / "models").iterdir()}
    built = {name for name in names if name.endswith((".so", ".pyd"))}
    assert len(built) == ("abi3" in wheel.name), wheel.name  # without a compiler there is none
    names -= built
    stubs = {"maltriage/sample/_kernel.pyi"}
    assert names == code | models | stubs | {
        "maltriage/py.typed",
        "maltriage/bundle/published.json",
    }
    assert any(name.endswith(".onnx") for name in models)
    assert any(name.endswith("templates/page.css") for name in code)
    assert wheel.stat().st_size < SIZE_LIMIT


def test_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = HeaderParser().parsestr(archive.read(name).decode())
        licences = {n.split(".dist-info/", 1)[1] for n in archive.namelist() if "/licenses/" in n}
    assert metadata["Version"] == maltriage.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert licences == {"licenses/LICENSE", "licenses/models/NOTICE"}
    needs = metadata.get_all("Requires-Dist") or []
    base = [line for line in needs if "extra ==" not in line]
    assert base
    assert not [line for line in base if line.startswith(TRAIN_ONLY)]


def test_the_bill_of_materials_is_in_it(wheel: Path) -> None:
    """Where PEP 770 looks for it."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if ".dist-info/sboms/" in n)
        assert name.endswith(".dist-info/sboms/maltriage.cdx.json")
        assert archive.read(name) == (ROOT / "maltriage.cdx.json").read_bytes()


def test_base_install_scans_with_the_model_that_ships(wheel: Path) -> None:
    """In an environment of its own, from another folder than the repository."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        binaries = Path(folder, "Scripts" if sys.platform == "win32" else "bin")
        pip = [binaries / "python", "-m", "pip", "--disable-pip-version-check"]
        run(*pip, "install", "-q", wheel)
        installed = run(*pip, "list", "--format", "freeze").lower()
        assert "onnxruntime" in installed
        assert not [name for name in TRAIN_ONLY if f"\n{name}==" in f"\n{installed}"]
        scan = (binaries / "maltriage", "scan", "--format", "csv", ROOT / "samples")
        for model in ("maltriage-evidence", "maltriage-camvit"):
            out = run(*scan, "--model", model, good=(0, 1))
            assert "console-x64.exe" in out
            assert model in out
