"""What all tests share: isolation from the user's caches and settings, samples, the program."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import settings
from warm import Warm

ROOT = Path(__file__).resolve().parents[1]
SAY_HOW_TO_PRINT = ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS", "LINES")
CACHES = (
    *("MALTRIAGE_CACHE", "MALTRIAGE_MODELS", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"),
    *("APPDATA", "LOCALAPPDATA"),
)

# Before anything imports torch: processes beside each other, of many threads each, take longer.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Looking for circles among the objects of all tests and libraries over and over takes a quarter of
# the time of what makes many objects, such as an export.
gc.set_threshold(50_000, 20, 20)

# Tests share few cores with each other: a time limit for each example would fail at random.
settings.register_profile("maltriage", deadline=None)
settings.load_profile("maltriage")

RunCli = Callable[..., "subprocess.CompletedProcess[bytes]"]


def pytest_collection_finish() -> None:
    """What was collected stays to the end: there is no circle to be found in it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _own_environment(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No test reads or writes the user's cache, configuration or data, or knows a terminal."""
    for name in list(os.environ):
        if name.startswith("MALTRIAGE_") or name in SAY_HOW_TO_PRINT:
            monkeypatch.delenv(name)
    own = tmp_path_factory.mktemp("home")
    for name in CACHES:
        monkeypatch.setenv(name, str(own / name.lower()))
    # One for all tests of a process: matplotlib looks through every font where it is empty.
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path_factory.getbasetemp() / "matplotlib"))


@pytest.fixture(scope="session")
def samples_dir() -> Path:
    """The folder of sample programs that belongs to the repository."""
    return ROOT / "samples"


@pytest.fixture(scope="session")
def vx_mini() -> Path:
    """The folder of real byteplots, which is not part of the repository."""
    return _named("MALTRIAGE_VX_MINI", _VX_MINI, "manifest.csv")


@pytest.fixture(scope="session")
def big2015_sample() -> Path:
    """The folder of real hex dumps, which is not part of the repository."""
    return _named("MALTRIAGE_BIG2015_SAMPLE", _BIG2015_SAMPLE, "trainLabels.csv")


# Read before the fixture above hides the variables from the tests.
_VX_MINI = os.environ.get("MALTRIAGE_VX_MINI")
_BIG2015_SAMPLE = os.environ.get("MALTRIAGE_BIG2015_SAMPLE")


def _named(variable: str, folder: str | None, file: str) -> Path:
    if not folder:
        pytest.skip(f"no data: {variable} names its folder")
    if not Path(folder, file).is_file():
        pytest.skip(f"no data: {variable} names {folder}, which has no {file}")
    return Path(folder)


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """A process with maltriage loaded, and with a server of workers, to fork others from."""
    process = Warm("maltriage", "maltriage.work.forkserver:start_ahead")
    yield process
    process.close()


@pytest.fixture
def run_cli(tmp_path: Path, warm: Warm) -> RunCli:
    """Runs `maltriage ARGUMENTS` as a process of its own and waits for its end.

    It is forked from a warm one where that makes no difference: see `warm.py`.

    Takes the arguments (str, bytes or paths) and, by name: `cwd` (default: an empty folder),
    `stdin` (bytes, default empty), `env` (variables to add; None takes one away) and `timeout`
    in seconds, past which the test fails. Gives a CompletedProcess with stdout and stderr as
    bytes; an exit code other than 0 is no error here.
    """

    def run(
        *arguments: str | bytes | os.PathLike[str],
        cwd: Path | None = None,
        stdin: bytes = b"",
        env: Mapping[str, str | None] | None = None,
        timeout: float = 120.0,
    ) -> subprocess.CompletedProcess[bytes]:
        variables: dict[str, str | None] = {**os.environ, **(env or {})}
        environment = {name: value for name, value in variables.items() if value is not None}
        if sys.platform == "win32":  # else a code page, which lacks most characters
            environment.setdefault("PYTHONIOENCODING", "utf-8")
        texts = [os.fsdecode(argument) for argument in arguments]
        if "--engine" not in texts and warm.suits(environment):
            return warm.run(texts, cwd or tmp_path, environment, stdin, timeout)
        done = subprocess.run(
            [sys.executable, "-m", "maltriage", *texts],
            cwd=cwd or tmp_path,
            env=environment,
            input=stdin,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        if sys.platform == "win32":  # lines of text end there in two characters
            done.stderr = done.stderr.replace(b"\r\n", b"\n")
            if b"\0" not in done.stdout:
                done.stdout = done.stdout.replace(b"\r\n", b"\n")
        return done

    return run
