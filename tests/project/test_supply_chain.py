"""What an install can be held against is what pyproject.toml, constraints.txt and models/ are."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from maltriage.bundle.digests import DATA_LIST, LIST, published, published_data

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / ".ci"))
import digests
import requirements

ROOT = requirements.ROOT
PAGE = ROOT / "docs" / "understanding" / "supply-chain.md"


def pip(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_requirements_have_the_versions_that_are_tested() -> None:
    lines = requirements.CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    tested = {requirements.normal(name): version for name, version in pins.items()}
    found = {name: version for name, (version, _) in requirements.read().items()}
    assert found == {name: tested[name] for name in found}


def test_requirements_are_all_that_an_install_without_extras_needs() -> None:
    try:
        tree = requirements.tree()
    except PackageNotFoundError as error:
        pytest.skip(f"not installed: {error.name}")
    needed = {name for needs in tree.values() for name in needs}
    assert set(requirements.read()) == needed
    assert {"lief", "numpy", "mdurl"} <= needed  # of ours, and of theirs


def test_requirements_name_no_place() -> None:
    text = requirements.REQUIREMENTS.read_text(encoding="utf-8")
    assert text.startswith(requirements.HEAD)
    packages = text.removeprefix(requirements.HEAD)
    assert not [word for word in ("://", "--index", "--extra", "--find", "@") if word in packages]


@pytest.mark.slow
def test_pip_takes_the_requirements_and_no_other_file(tmp_path: Path) -> None:
    how = ("install", "--dry-run", "--ignore-installed", "--require-hashes", "-q")
    done = pip(*how, "--only-binary", ":all:", "-r", requirements.REQUIREMENTS)
    assert done.returncode == 0, done.stderr
    version, _ = requirements.read()["mdurl"]
    (tmp_path / "other.txt").write_text(f"mdurl=={version} --hash=sha256:{'0' * 64}\n")
    done = pip(*how, "-r", tmp_path / "other.txt")
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr


def test_published_digests_are_those_of_the_models() -> None:
    assert LIST.read_bytes() == digests.text(digests.entries())
    assert DATA_LIST.read_bytes() == digests.text(digests.data())
    known = {entry.sha256: entry.name for entry in published()}  # of this version or one before
    for path in (ROOT / "models").glob("*.onnx"):
        assert known.get(hashlib.sha256(path.read_bytes()).hexdigest()) == path.stem


def test_published_digests_are_in_the_documents() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for entry in published():
        for digest in (entry.sha256, entry.index_sha256):
            assert digest is None or f"`{digest}`" in page
    assert published_data()
    for data in published_data():
        assert f"| `{data.file}` | {data.version} | `{data.sha256}` |" in page


def test_the_bill_of_materials_is_what_is_tested_and_ships() -> None:
    pytest.importorskip("cyclonedx", reason="needs cyclonedx-python-lib")
    import sbom

    try:
        made = sbom.make()
    except (PackageNotFoundError, ValueError) as error:
        pytest.skip(f"not the tested set: {error}")
    assert sbom.SBOM.read_text(encoding="utf-8") == made
    listed = {part["name"] for part in json.loads(made)["components"]}
    models = {name for name in sbom.in_the_wheel() if name != "NOTICE"}
    assert {(ROOT / "models" / name).is_file() for name in models} == {True}
    assert listed == set(requirements.read()) | models
    places = {part["ref"]: part.get("dependsOn", []) for part in json.loads(made)["dependencies"]}
    assert "maltriage-evidence-int8.onnx" in places["maltriage"]
    assert [ref for needs in places.values() for ref in needs if "/pycryptodomex@" in ref]


def test_the_bill_of_materials_is_cyclonedx() -> None:
    pytest.importorskip("cyclonedx", reason="needs cyclonedx-python-lib")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    validator = JsonStrictValidator(SchemaVersion.V1_6)
    text = (ROOT / "maltriage.cdx.json").read_text(encoding="utf-8")
    assert validator.validate_str(text) is None
    wrong = json.loads(text)
    wrong["components"][0]["type"] = "malware"
    assert validator.validate_str(json.dumps(wrong)) is not None
