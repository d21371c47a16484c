"""What the main process does to the world: it writes outputs and the cache, and nothing else.

Workers write nothing at all: tests/sample/test_isolation.py.
"""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from corpus.synthetic import zipped
from hostile.make import sample

from maltriage.work import seccomp

SCRIPT = """
import atexit, os, sys
sys.dont_write_bytecode = True
seen = []
FOR_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
PLACES = {"os.mkdir": 0, "os.rename": 1, "os.link": 1, "os.symlink": 1, "sqlite3.connect": 0}

def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)) and arguments[2] & FOR_WRITING:
        seen.append(arguments[0])
    elif event in PLACES:
        seen.append(arguments[PLACES[event]])
    elif event == "tempfile.mkstemp":
        seen.append(arguments[0])

def tell():
    with os.fdopen(REPORT, "w") as report:
        report.write("\\n".join(os.path.abspath(os.fsdecode(path)) for path in seen))

if __name__ == "__main__":
    REPORT = int(sys.argv.pop(1))
    sys.addaudithook(hook)
    atexit.register(tell)
    from maltriage.cli.entry import main
    main()
"""


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.exe").write_bytes(sample("console-x86.exe"))
    (folder / "b.exe").write_bytes(sample("dotnet.exe") + sample("gui-x86.exe"))
    (folder / "c.zip").write_bytes(zipped({"x.exe": sample("console-x86.exe")}))
    return folder


def written(tmp_path: Path, *arguments: object) -> list[Path]:
    """What a command opens to write, or makes, by path."""
    (tmp_path / "run.py").write_text(SCRIPT)
    temporary = Path(tempfile.mkdtemp(dir="/tmp"))  # a short path: see `work.forkserver`
    read, write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "run.py"), str(write), *map(str, arguments)],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=[write],
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "TMPDIR": str(temporary),
        },
    )
    os.close(write)
    with os.fdopen(read) as report:
        lines = report.read().splitlines()
    _, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, b"")
    temporary.rmdir()  # which is empty
    found = [Path(line) for line in lines]
    # Python tries whether it can write there, and the socket of its server has two folders.
    by_python = [path for path in found if path.is_relative_to(temporary)]
    assert len(by_python) <= 3
    return [path for path in found if path not in by_python]


def outside(found: list[Path], *folders: Path) -> list[Path]:
    """But for the null device, and memory that processes share, which has no sample's bytes."""
    harmless = (Path(os.devnull), Path("/dev/shm"), *folders)
    return [path for path in found if not any(path.is_relative_to(place) for place in harmless)]


@pytest.mark.skipif(sys.platform != "linux", reason="paths of shared memory as on Linux")
def test_nothing_but_outputs_and_the_cache(tmp_path: Path, inputs: Path) -> None:
    out, cache = tmp_path / "out", tmp_path / "cache"
    out.mkdir()
    scan = ("scan", inputs, "--carve", "--exit-zero", "-q", "--verify")
    outputs = [part for name in ("a.ndjson", "b.html", "c.csv") for part in ("-o", out / name)]
    found = written(tmp_path, *scan, *outputs, "--cache", cache)
    for place in (out, cache):
        assert any(path.is_relative_to(place) for path in found)
    assert outside(found, out, cache) == []
    explain = ("explain", inputs / "a.exe", "--exit-zero", "--png", out / "a.png")
    assert outside(written(tmp_path, *explain), out) == []
    assert {path.name for path in tmp_path.iterdir()} == {
        "in",
        "out",
        "cache",
        "run.py",
    }


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_a_scan_that_is_killed_leaves_no_temporary_file(tmp_path: Path) -> None:
    """And what it leaves of its outputs is gone once they are whole, a day later."""
    (tmp_path / "in").mkdir()
    for number in range(100):
        (tmp_path / "in" / f"{number}.exe").write_bytes(sample("console-x86.exe") + bytes([number]))
    temporary, out = Path(tempfile.mkdtemp(dir="/tmp")), tmp_path / "out"
    out.mkdir()
    command = [sys.executable, "-m", "maltriage", "scan", "in", "-q", "--no-cache"]
    command += ["-o", "out/a.ndjson", "-o", "out/b.html"]
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "TMPDIR": str(temporary),
    }
    scan = subprocess.Popen(command, cwd=tmp_path, env=environment)
    part, end = out / "a.ndjson.part", time.monotonic() + 60
    while not (part.exists() and part.stat().st_size) and time.monotonic() < end:
        time.sleep(0.02)
    assert list(temporary.iterdir())
    scan.kill()
    assert scan.wait(timeout=60) == -signal.SIGKILL
    end = time.monotonic() + 60
    while list(temporary.iterdir()) and time.monotonic() < end:
        time.sleep(0.02)
    temporary.rmdir()  # which is empty
    left = {path.name for path in out.iterdir()}
    assert left == {"a.ndjson.part", "b.html.part"}
    os.utime(part, (0, 0))
    environment["TMPDIR"] = str(tmp_path)
    subprocess.run([*command, "--exit-zero"], cwd=tmp_path, env=environment, check=True)
    assert {path.name for path in out.iterdir()} == {"a.ndjson", "b.html", "b.html.part"}


WITHOUT_NETWORK = """
import ctypes, os, struct, sys
from maltriage.work.seccomp import ALLOW, MACHINES

KILL, INTERNET = 0x80000000, (2, 10)  # AF_INET, AF_INET6
machine = MACHINES[os.uname().machine]
steps = [(0x20, 0, 0, 0), (0x15, 0, 4, machine.calls["socket"]), (0x20, 0, 0, 16)]
steps += [(0x15, 1, 0, INTERNET[0]), (0x15, 0, 1, INTERNET[1])]
steps += [(0x06, 0, 0, KILL), (0x06, 0, 0, ALLOW)]
code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))

class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_void_p))

libc, zero = ctypes.CDLL(None), ctypes.c_ulong(0)
given = Program(len(steps), ctypes.cast(code, ctypes.c_void_p))
assert libc.prctl(38, ctypes.c_ulong(1), zero, zero, zero) == 0
assert libc.prctl(22, ctypes.c_ulong(2), ctypes.byref(given), zero, zero) == 0
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def without_network(tmp_path: Path, *arguments: object) -> int:
    """Run Python where whoever opens a socket of the internet is killed; its exit code.

    Home is an empty folder, which must stay empty.
    """
    (tmp_path / "without.py").write_text(WITHOUT_NETWORK)
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    names = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "ORT_DISABLE_TELEMETRY")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment |= {"HOME": str(home), "TMPDIR": str(home)}
    environment |= {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, tmp_path / "without.py", *map(str, arguments)],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        timeout=120,
        check=False,
    )
    assert list(home.rglob("*")) == []
    return done.returncode


KEEP_A_SESSION = """
import sys, time
from maltriage import bundle
from maltriage.triage.session import Session
session = Session(bundle.load(bundle.resolve(None)))
time.sleep(20)
"""


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in seccomp.MACHINES, reason="needs seccomp"
)
def test_nothing_touches_the_network(tmp_path: Path, inputs: Path) -> None:
    """Nor is anything left in the user's folders for a library to send later."""
    assert without_network(tmp_path, "-c", "import socket; socket.socket()") == -signal.SIGSYS
    for command in (("scan", inputs, "--no-cache"), ("explain", inputs / "a.exe")):
        program = ("-m", "maltriage", *command, "--exit-zero")
        assert without_network(tmp_path, *program) == 0, command


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in seccomp.MACHINES, reason="needs seccomp"
)
def test_nothing_touches_the_network_later(tmp_path: Path) -> None:
    """As ONNX Runtime would, some seconds after it was imported."""
    assert without_network(tmp_path, "-c", KEEP_A_SESSION) == 0
