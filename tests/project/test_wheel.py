"""What the wheel holds: the whole package, what its defaults need of models/, and no torch."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from email.parser import HeaderParser
from importlib.util import find_spec
from pathlib import Path

import pytest

import maltriage
from maltriage.bundle import DEFAULT_MODEL

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / ".ci"))
import man  # noqa: E402

SIZE_LIMIT = 12_000_000
MODELS = ("NOTICE", "clean-programs.npz", f"{DEFAULT_MODEL}.onnx")
TRAIN_ONLY = ("torch", "torchvision", "timm", "grad-cam", "matplotlib")

pytestmark = pytest.mark.slow


def run(*command: str | Path, good: tuple[int, ...] = (0,)) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT.anchor)
    assert done.returncode in good, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel() -> Iterator[Path]:
    # An environment that has what builds it needs no network.
    there = all(find_spec(name) for name in ("hatchling", "setuptools", "typer"))
    how = ["--no-build-isolation"] if there else []
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
        run(*pip, "wheel", "-q", "--no-deps", *how, "-w", folder, ROOT)
        (path,) = Path(folder).iterdir()
        yield path


def test_wheel_holds_the_package_and_the_models(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    package = ROOT / "maltriage"
    sources = (*package.rglob("*.py"), *(package / "report" / "templates").iterdir())
    code = {path.relative_to(ROOT).as_posix() for path in sources}
    models = {f"maltriage/models/{name}" for name in MODELS}
    manual = {name for name in names if ".data/data/share/man/man1/" in name}
    assert {Path(name).name for name in manual} == set(man.pages())
    names -= manual
    built = {name for name in names if name.endswith((".so", ".pyd"))}
    assert len(built) == ("abi3" in wheel.name), wheel.name  # without a compiler there is none
    names -= built
    stubs = {"maltriage/sample/_kernel.pyi"}
    assert names == code | models | stubs | {
        "maltriage/py.typed",
        "maltriage/bundle/published.json",
        "maltriage/bundle/published_data.json",
    }
    assert any(name.endswith("templates/page.css") for name in code)
    assert wheel.stat().st_size <= SIZE_LIMIT


def test_models_in_it_are_those_of_the_repository(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in MODELS:
            data = archive.read(f"maltriage/models/{name}")
            assert data == (ROOT / "models" / name).read_bytes(), name


def test_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = HeaderParser().parsestr(archive.read(name).decode())
        licences = {n.split(".dist-info/", 1)[1] for n in archive.namelist() if "/licenses/" in n}
    assert metadata["Version"] == maltriage.__version__
    # The weights in it are not under the licence of the code: models/NOTICE says so.
    assert metadata["License-Expression"] == "Apache-2.0 AND LicenseRef-maltriage-weights"
    assert licences == {"licenses/LICENSE", "licenses/models/NOTICE"}
    urls = dict(line.split(", ", 1) for line in metadata.get_all("Project-URL") or [])
    assert set(urls) == {"Homepage", "Documentation", "Source", "Issues", "Changelog"}
    assert all(url.startswith("https://") for url in urls.values())
    assert "Programming Language :: Python :: 3.14" in (metadata.get_all("Classifier") or [])
    needs = metadata.get_all("Requires-Dist") or []
    base = [line for line in needs if "extra ==" not in line]
    assert base
    assert not [line for line in base if line.startswith(TRAIN_ONLY)]


def test_the_package_index_would_take_it(wheel: Path) -> None:
    """Classifiers that exist, and a description that renders."""
    pytest.importorskip("twine", reason="needs twine")
    said = run(sys.executable, "-m", "twine", "--no-color", "check", "--strict", wheel)
    assert "PASSED" in said


def test_the_bill_of_materials_is_in_it(wheel: Path) -> None:
    """Where PEP 770 looks for it."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if ".dist-info/sboms/" in n)
        assert name.endswith(".dist-info/sboms/maltriage.cdx.json")
        assert archive.read(name) == (ROOT / "maltriage.cdx.json").read_bytes()
