"""The container: what its files promise, and a scan in what they make.

The slow tests do the steps of the Containerfile in a Debian root that mmdebstrap makes, and scan
in it as a container engine would: another user, a root that is read-only, no network. They take
root, mmdebstrap and a network. No container engine has run here.
"""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from containerfile import CONTAINERFILE, FOLDER, ROOT, Bind, Stage, build, inside, read, words
from containerfile import tracked as files_below
from packaging.requirements import Requirement

MAX_MEGABYTES = 520
"""Of the unpacked root; 479 were measured."""
GPU, CPU = "onnxruntime-gpu", "onnxruntime"
NO_NETWORK = re.compile("could not resolve|unable to connect|temporary failure|could not connect")


@pytest.fixture(scope="module")
def stages() -> list[Stage]:
    return read(CONTAINERFILE.read_text(encoding="utf-8"))[1]


def versions(path: Path) -> dict[str, str]:
    """Versions of a list of packages with digests, by name."""
    text = path.read_text(encoding="utf-8")
    found = dict(re.findall(r"^([\w.-]+)==([^\s\\]+) \\$", text, re.MULTILINE))
    assert len(found) == text.count("==")
    return found


def test_the_base_has_a_version() -> None:
    base, stages = read(CONTAINERFILE.read_text(encoding="utf-8"))
    _, _, tag = base.rpartition(":")
    assert tag not in ("", "latest")
    assert [stage.name for stage in stages] == ["build", "1"]


def test_the_image_runs_the_command_as_nobody(stages: list[Stage]) -> None:
    last = stages[-1]
    user, _, group = (last.last("USER") or "").partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert [step.keyword for step in last.steps][-3:] == ["USER", "ENTRYPOINT", "CMD"]
    assert words(last.last("ENTRYPOINT") or "") == ["maltriage"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert last.pairs("LABEL")["org.opencontainers.image.licenses"] == project["license"]


def test_only_what_is_in_the_repository_is_copied(stages: list[Stage]) -> None:
    """And the list of what is sent to the engine lets all of it pass."""
    sent = (FOLDER / "Containerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    copied = [
        source
        for stage in stages
        for step in stage.steps
        if step.keyword == "COPY" and not step.text.startswith("--from=")
        for source in step.text.split()[:-1]
    ]
    assert len(copied) > 5
    for source in copied:
        assert files_below(source), source
        assert f"!{source}" in sent or (
            source.startswith("packaging/container/") and "!packaging/container/*.txt" in sent
        )
    assert sent[1] == "*"


def test_packages_are_those_that_are_tested_but_for_the_runtime() -> None:
    expected = versions(ROOT / "requirements.txt")
    expected[CPU] = expected.pop(GPU)
    assert versions(FOLDER / "requirements.txt") == expected


def test_the_build_has_what_the_package_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found = versions(FOLDER / "build.txt")
    wanted = [Requirement(line) for line in project["build-system"]["requires"]]
    assert wanted
    for one in wanted:
        assert found[one.name] in one.specifier


def test_compose_takes_every_right_away() -> None:
    yaml = pytest.importorskip("yaml")
    service: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))[
        "services"
    ]["scan"]
    assert service["network_mode"] == "none"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    samples = service["volumes"][0]
    assert (samples["target"], samples["read_only"]) == ("/samples", True)
    build_from = FOLDER / service["build"]["context"]
    assert (build_from / service["build"]["dockerfile"]).resolve() == CONTAINERFILE


def test_compose_is_what_its_schema_says() -> None:
    pytest.importorskip("check_jsonschema")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run(
        [*command, FOLDER / "compose.yaml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_too_little_shared_memory_for_standard_input(tmp_path: Path) -> None:
    """Container engines give 64 MiB; to write beyond them would end the process by SIGBUS."""
    spaces = ["--mount"] if os.geteuid() == 0 else ["--mount", "--user", "--map-root-user"]
    mount = "mount -t tmpfs -o size=1m tmpfs /dev/shm"
    told = shutil.which("unshare") or pytest.skip("no unshare")
    probe = subprocess.run([told, *spaces, "sh", "-c", mount], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("no file system may be mounted here")
    script = f'{mount}; exec "$0" -m maltriage scan -'
    done = subprocess.run(
        [told, *spaces, "sh", "-c", script, sys.executable],
        input=b"MZ" + bytes(3 << 20),
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr == (
        b"maltriage: standard input: no shared memory for it: No space left on device\n"
    )


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The root that the Containerfile makes."""
    if os.geteuid() != 0:
        pytest.skip("not root")
    if shutil.which("mmdebstrap") is None:
        pytest.skip("no mmdebstrap")
    base, stages = read(CONTAINERFILE.read_text(encoding="utf-8"))
    found = re.search(r"debian:(\w+)-slim", base)
    assert found is not None
    folder = tmp_path_factory.mktemp("container")
    archive = folder / "base.tar"
    made = subprocess.run(
        ["mmdebstrap", "--variant=apt", found[1], archive],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if made.returncode:
        if NO_NETWORK.search(made.stderr.lower()):
            pytest.skip("no network")
        pytest.fail(made.stderr[-2000:])
    yield build(archive, stages, folder)
    shutil.rmtree(folder, ignore_errors=True)


def contained(
    image: Path, stages: list[Stage], *arguments: str, cache: Path | None = None, **more: Any
) -> subprocess.CompletedProcess[bytes]:
    """A command in the image: read-only, without network, and with the samples at /samples."""
    last = stages[-1]
    binds = [Bind(ROOT / "samples", "/samples")]
    if cache is not None:
        binds.append(Bind(cache, "/cache", writable=True))
    more.setdefault("user", last.last("USER"))
    return inside(
        image,
        [*words(last.last("ENTRYPOINT") or ""), *arguments],
        binds=binds,
        environment=last.pairs("ENV"),
        cwd=last.last("WORKDIR") or "/",
        sealed=True,
        **more,
    )


def statuses(out: bytes) -> dict[str, tuple[str, str]]:
    """Status and label of each file of a scan as CSV."""
    read_rows = csv.DictReader(io.StringIO(out.decode("utf-8-sig"), newline=""))
    return {Path(row["path"]).name: (row["status"], row["label"]) for row in read_rows}


@pytest.mark.slow
def test_a_scan_in_the_container(
    image: Path, stages: list[Stage], tmp_path: Path, run_cli: Any
) -> None:
    """As the user of the image, and as one that the image does not know."""
    here = run_cli("scan", ROOT / "samples", "-f", "csv", "--exit-zero", "--no-cache")
    expected = statuses(here.stdout)
    assert expected["gui-x86.exe"][0] == "result"
    for user in (None, "12345:12345"):
        more = {} if user is None else {"user": user}
        cache = tmp_path / f"cache-{user}"
        cache.mkdir()
        cache.chmod(0o1777)  # as a new volume has it: a copy of the folder of the image
        arguments = ["scan", "/samples", "-f", "csv", "--exit-zero", "-v"]
        first = contained(image, stages, *arguments, cache=cache, **more)
        assert (first.returncode, statuses(first.stdout)) == (0, expected), first.stderr
        assert b"workers" in first.stderr
        again = contained(image, stages, *arguments, cache=cache, **more)
        assert (again.returncode, statuses(again.stdout)) == (0, expected), again.stderr
        assert b"workers" not in again.stderr  # all of it is in the volume


@pytest.mark.slow
def test_a_scan_without_a_volume_says_that_nothing_is_kept(
    image: Path, stages: list[Stage]
) -> None:
    done = contained(image, stages, "scan", "/samples", "-f", "csv", "--exit-zero")
    assert done.returncode == 0, done.stderr
    assert b"/cache" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.slow
def test_doctor_in_the_container(image: Path, stages: list[Stage], tmp_path: Path) -> None:
    """The isolation of workers needs no right of the container."""
    cache = tmp_path / "cache"
    cache.mkdir()
    cache.chmod(0o1777)
    inner = contained(image, stages, "doctor", cache=cache)
    assert inner.returncode == 0, inner.stdout + inner.stderr
    lines = inner.stdout.decode().splitlines()
    said = dict(line.split(None, 1) for line in lines if len(line.split(None, 1)) == 2)
    assert "seccomp" in said["by"]
    assert "missing" not in said
    assert "the compiled kernel" in inner.stdout.decode()
    assert f"{CPU} " in inner.stdout.decode()
    assert GPU not in inner.stdout.decode()
    assert lines[-1] == "No problems."


@pytest.mark.slow
def test_what_is_in_the_container(image: Path) -> None:
    """Neither a compiler nor pip, and no more than it takes."""
    for name in ("usr/bin/gcc", "usr/bin/pip3", "opt/maltriage/bin/pip", "build", "wheels", "src"):
        assert not (image / name).exists(), name
    done = subprocess.run(["du", "-sm", image], capture_output=True, text=True, check=True)
    size = int(done.stdout.split()[0])
    assert 200 < size < MAX_MEGABYTES
    bytecode = list((image / "opt/maltriage").rglob("maltriage/cli/__pycache__/*.pyc"))
    assert bytecode  # the root is read-only: it could not be written later
