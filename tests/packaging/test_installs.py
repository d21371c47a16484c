"""The wheel in empty environments, by each installer: it scans, explains and makes rules offline.

Installing takes the index that the installers are configured with.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "samples"
TRAIN_ONLY = ("torch", "torchvision", "timm", "grad-cam", "matplotlib")

pytestmark = pytest.mark.slow

Install = Callable[[Path, Path], Path]
"""Takes the wheel and an empty folder; gives the program."""


def run(*command: str | Path, good: tuple[int, ...] = (0,), **variables: str) -> str:
    # PYTHONPATH may name the sources, which would then run in place of what is installed.
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT.anchor,
        env={**own, **variables},
    )
    assert done.returncode in good, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


def offline() -> tuple[str, ...]:
    """What goes before a command so that it has no network, where that can be had."""
    command = ("unshare", "--net", "--map-root-user")
    if shutil.which("unshare") is None:
        return ()
    found = subprocess.run([*command, "true"], capture_output=True, check=False)
    return command if found.returncode == 0 else ()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    run(*pip, "wheel", "-q", "--no-deps", "-w", folder, ROOT)
    (path,) = folder.iterdir()
    return path


def by_pip(what: Path | str, folder: Path, *how: str) -> Path:
    venv.create(folder, with_pip=True)
    binaries = folder / ("Scripts" if sys.platform == "win32" else "bin")
    pip = [binaries / "python", "-m", "pip", "--disable-pip-version-check"]
    run(*pip, "install", "-q", *how, what)
    return binaries / "maltriage"


def by_pipx(wheel: Path, folder: Path) -> Path:
    pipx = shutil.which("pipx")
    if pipx is None:
        pytest.skip("no pipx")
    homes = {"PIPX_HOME": str(folder / "home"), "PIPX_BIN_DIR": str(folder / "bin")}
    run(pipx, "install", "--python", sys.executable, wheel, **homes)
    return folder / "bin" / "maltriage"


def by_uv(wheel: Path, folder: Path) -> Path:
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        pytest.skip("no uv")
    homes = {"UV_TOOL_DIR": str(folder / "tools"), "UV_TOOL_BIN_DIR": str(folder / "bin")}
    run(uv, "tool", "install", "--python", sys.executable, wheel, **homes)
    return folder / "bin" / "maltriage"


@pytest.mark.parametrize("install", [by_pip, by_pipx, by_uv])
def test_an_install_scans_and_explains(wheel: Path, tmp_path: Path, install: Install) -> None:
    program = install(wheel, tmp_path / "own")
    own = {"MALTRIAGE_MODELS": str(tmp_path / "models"), "MALTRIAGE_CACHE": str(tmp_path / "cache")}

    def maltriage(*arguments: str | Path, good: tuple[int, ...] = (0,)) -> str:
        return run(*offline(), program, *arguments, good=good, **own)

    assert "console-x64.exe,result" in maltriage("scan", "-f", "csv", SAMPLES, good=(0, 1))
    assert "No problems." in maltriage("doctor")
    explained = maltriage("explain", SAMPLES / "gui-x86.exe", good=(0, 1))
    assert "code and data that clean programs have" in explained  # by the index in the wheel
    assert "Similar files" not in explained
    listed = maltriage("models")
    for file in ("maltriage-camvit.onnx", "maltriage-evidence.onnx"):
        assert f"not installed: maltriage models add models/{file}" in listed
    maltriage("models", "add", ROOT / "models" / "maltriage-camvit.onnx")
    index = "maltriage-evidence-int8.index.npz"
    assert f"index not installed: maltriage models add models/{index}" in listed
    maltriage("models", "add", ROOT / "models" / index)
    explained = maltriage("explain", SAMPLES / "gui-x86.exe", good=(0, 1))
    assert "Similar files" in explained
    scan = ("scan", "-f", "csv", SAMPLES / "gui-x86.exe", "--model", "maltriage-camvit")
    assert "maltriage-camvit" in maltriage(*scan, good=(0, 1))
    assert maltriage("models", "verify").count("as it was published or added") == 3


def test_a_base_install_has_no_torch_and_with_yara_makes_rules(wheel: Path, tmp_path: Path) -> None:
    program = by_pip(f"{wheel}[yara]", tmp_path / "own")
    installed = run(program.with_name("python"), "-m", "pip", "list", "--format", "freeze").lower()
    assert "\nyara-x==" in installed
    assert not [name for name in TRAIN_ONLY if f"\n{name}==" in f"\n{installed}"]
    files = [SAMPLES / f"{name}.exe" for name in ("gui-x86", "console-x86", "overlay-x86")]
    rule = ("--class", "icedid", "--yara", tmp_path / "a.yar")
    run(*offline(), program, "explain", *files, *rule, "--prevalence", "none", good=(0, 1))
    assert "rule maltriage_icedid" in (tmp_path / "a.yar").read_text()
    # By default a rule has no string that clean programs have, and here all are such.
    how = (*offline(), program, "explain", *files, *rule)
    said = run("sh", "-c", '"$@" 2>&1', "sh", *how, good=(2,))
    assert "share nothing in their hot ranges that clean programs lack" in said


def test_an_install_in_place_has_all_models(tmp_path: Path) -> None:
    program = by_pip(ROOT, tmp_path / "own", "-e")
    listed = run(program, "models", MALTRIAGE_MODELS=str(tmp_path / "models"))
    assert "not installed" not in listed
    for name in ("maltriage-camvit", "maltriage-evidence", "maltriage-evidence-int8"):
        assert f"{name}  " in listed
    scan = ("scan", "-f", "csv", SAMPLES / "gui-x86.exe", "--model", "maltriage-evidence")
    assert "gui-x86.exe,result" in run(program, *scan, good=(0, 1))
