"""The front door as processes: help, imports, wrong use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from maltriage.cli import app as front
from maltriage.cli import entry
from maltriage.cli.stop import interrupt

COMMANDS = (
    "scan",
    "explain",
    "train",
    "export",
    "evaluate",
    "faithfulness",
    "patterns",
    "robustness",
    "compare",
    "calibrate",
    "models",
    "schema",
    "doctor",
    "datasets",
    "index",
)
HEAVY = ("torch", "torchvision", "timm", "pytorch_grad_cam", "matplotlib", "sklearn")


@pytest.mark.skipif(os.name == "nt", reason="a closed pipe as POSIX has it")
@pytest.mark.parametrize(
    "command",
    [
        *("--version", "--help", "scan --help", "schema", "models list", "datasets"),
        *("models show maltriage-evidence", "prevalence show"),
    ],
)
def test_a_reader_that_goes_away_is_no_flagged_file(command: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    arguments = [sys.executable, "-m", "maltriage", *command.split()]
    done = subprocess.run(arguments, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_help_and_version(run_cli) -> None:  # type: ignore[no-untyped-def]
    done = run_cli("--help")
    assert done.returncode == 0
    assert done.stderr == b""
    for command in COMMANDS:
        assert command.encode() in done.stdout
        assert run_cli(command, "--help").returncode == 0
    assert run_cli("--version").stdout.startswith(b"maltriage 0.")


@pytest.mark.parametrize("command", ["--help", "scan", "explain"])
def test_no_heavy_import(samples_dir: Path, tmp_path: Path, command: str) -> None:
    """`scan`, `explain` and `--help` import nothing of the extra `train`."""
    arguments = [command] if command == "--help" else [command, str(samples_dir / "gui-x86.exe")]
    code = (
        "import sys, atexit\n"
        "from maltriage.cli.entry import main\n"
        f"sys.argv = ['maltriage', *{arguments!r}]\n"
        "if __name__ == '__main__':\n"
        "    atexit.register(lambda: open('modules', 'w').write(' '.join(sys.modules)))\n"
        "    main()\n"
    )
    script = tmp_path / "run.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, check=False, timeout=120
    )
    assert done.returncode in (0, 1), done.stderr
    modules = set((tmp_path / "modules").read_text().split())
    run = "scan" if command == "--help" else command
    assert f"maltriage.cli.commands.{run}" in modules
    assert not modules & set(HEAVY)
    if command == "--help":
        assert not modules & {"numpy", "onnx", "onnxruntime", "lief", "pefile"}


def test_the_help_names_the_model_that_is_taken_by_default() -> None:
    from maltriage.bundle import DEFAULT_MODEL
    from maltriage.cli import options

    for option in (options.Model, options.Bundle):
        assert f"by default {DEFAULT_MODEL}." in option.__metadata__[0].help  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scan"], b"nothing to scan"),
        (["scan", "--model", "none", "."], b"no such model: none"),
        (["scan", "--model", "README", "."], b"no such model"),
        (["scan", "--files-from", "gone", "."], b"cannot read gone"),
        (["group", "gone.ndjson"], b"cannot read gone.ndjson: No such file or directory"),
        (["scan", "--null", "."], b"--null says how the list of --files-from is written"),
        (["scan", "--device", "cuda", "."], b"no CUDA device"),
        (["explain", "."], b"a folder"),
        (["models", "gone"], b"no such model"),
        (["evaluate", "maltriage-evidence", "--dataset", "nope"], b"no such dataset"),
        (["evaluate", "maltriage-evidence"], b"vx-zoo"),
    ],
)
def test_wrong_use_is_one_line_and_code_2(run_cli, arguments: list[str], message: bytes) -> None:  # type: ignore[no-untyped-def]
    done = run_cli(*arguments, env={"CUDA_VISIBLE_DEVICES": ""})
    assert done.returncode == 2
    assert done.stdout == b""
    assert message in done.stderr
    assert done.stderr.startswith(b"maltriage: ")
    assert done.stderr.count(b"\n") == 1


def test_an_empty_list_is_nothing_triaged(run_cli: Any, tmp_path: Path) -> None:
    done = run_cli("scan", "--files-from", "-", "-q", "-o", "x.ndjson", cwd=tmp_path)
    assert done.returncode == 3
    assert done.stderr == b"maltriage: --files-from -: nothing was triaged: it is empty\n"
    (summary,) = map(json.loads, (tmp_path / "x.ndjson").read_bytes().splitlines())
    assert (summary["type"], summary["files"]) == ("summary", 0)


def test_a_wrong_value_is_told_without_the_words_of_a_library(run_cli: Any, tmp_path: Path) -> None:
    done = run_cli("explain", "x", "-f", "csv")
    assert (done.returncode, b"Value error" in done.stderr) == (2, False)
    assert b"'csv' is not one of 'table', 'json', 'html', 'offsets'" in done.stderr
    (tmp_path / "c.toml").write_text("[explain]\nformat = 'csv'\n")
    done = run_cli("--config", tmp_path / "c.toml", "explain", "x")
    assert b"[explain] format: 'csv' is not one of" in done.stderr


@pytest.mark.parametrize(
    "arguments", [["scan", "--format", "xml", "."], ["scan", "--jobs", "-1", "."], ["nope"]]
)
def test_usage_errors_are_code_2(run_cli, arguments: list[str]) -> None:  # type: ignore[no-untyped-def]
    done = run_cli(*arguments)
    assert done.returncode == 2
    assert done.stdout == b""


def test_a_file_that_is_no_bundle(run_cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "x.onnx").write_bytes(b"not a model")
    done = run_cli("scan", "--model", "x.onnx", ".")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"not an ONNX file" in done.stderr
    if os.name != "nt":  # where no name has such a character
        (tmp_path / "x\x1b[31m.onnx").write_bytes(b"not a model")
    assert b"\x1b" not in run_cli("scan", "--model", "x\x1b[31m.onnx", ".").stderr


def test_an_error_is_no_longer_than_a_screen(run_cli: Any) -> None:
    done = run_cli("explain", "x", "--class", "a" * 100_000)
    assert done.returncode == 2
    assert len(done.stderr.decode()) == len("maltriage: \n") + front.MAX_LINE
    assert done.stderr.decode().endswith("a…\n")


def test_models(run_cli) -> None:  # type: ignore[no-untyped-def]
    assert b"maltriage-evidence" in run_cli("models").stdout
    card = json.loads(run_cli("models", "maltriage-evidence", "--json").stdout)
    assert card["labels"][0] == "benign"
    shown = run_cli("models", "maltriage-evidence").stdout.decode()
    assert "weights_sha256" in shown
    assert card["weights_sha256"] in shown


def test_schema(run_cli) -> None:  # type: ignore[no-untyped-def]
    published = Path(__file__).resolve().parents[2] / "docs" / "schema"
    (path,) = published.glob("*.json")
    assert json.loads(run_cli("schema").stdout) == json.loads(path.read_text())


@pytest.mark.parametrize(("before", "after"), [(None, "1"), ("3", "3")])
def test_numpy_gets_one_thread_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, before: str | None, after: str
) -> None:
    monkeypatch.setattr(front, "application", lambda only: lambda **_: None)
    monkeypatch.setattr(interrupt, "listen", lambda: None)
    monkeypatch.setattr(os, "environ", {} if before is None else {"OPENBLAS_NUM_THREADS": before})
    with pytest.raises(SystemExit) as end:
        entry.main()
    assert end.value.code == 0
    assert os.environ["OPENBLAS_NUM_THREADS"] == after


def test_a_fault_of_its_own(run_cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """No exit code that means something else, and nothing of a sample that a terminal acts on."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "sitecustomize.py").write_text(
        "import maltriage.bundle\n"
        "def load(path):\n"
        "    raise KeyError('\\x1b]52;c;ZXZpbA==\\x07 \\u202e')\n"
        "maltriage.bundle.load = load\n"
    )
    path = os.pathsep.join([str(tmp_path / "broken"), os.environ.get("PYTHONPATH", "")])
    done = run_cli("scan", tmp_path, env={"PYTHONPATH": path})
    assert (done.returncode, done.stdout) == (2, b"")
    said = done.stderr.decode()
    assert said.startswith("maltriage: internal error; please report these lines:\nTraceback")
    assert "in load" in said
    assert said.replace("\n", "").isprintable()


def test_one_command_is_the_same_alone_and_among_all() -> None:
    """Only what is asked for is made, which starts faster."""
    every = typer.main.get_command(front.application()).commands  # type: ignore[attr-defined]
    assert tuple(every) == front.COMMANDS
    for name in front.COMMANDS:
        alone = typer.main.get_command(front.application(name)).commands  # type: ignore[attr-defined]
        assert list(alone) == [name]
        assert [p.name for p in alone[name].params] == [p.name for p in every[name].params]


def test_a_scan_imports_no_other_command() -> None:
    code = (
        "import sys; from maltriage.cli.app import run; sys.argv = ['maltriage', 'scan', '-h'];"
        " run(); print(sorted(m for m in sys.modules if m.startswith('maltriage.cli.commands.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout.splitlines()[-1] == b"['maltriage.cli.commands.scan']"


FEW = "too few descriptors (ulimit -n): Too many open files"
LITTLE = "too little memory, or address space (ulimit -v)"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(24, "Too many open files"), FEW),
        (ImportError("x.so: Too many open files"), FEW),
        (MemoryError(), LITTLE),
        (OSError(12, "Cannot allocate memory"), LITTLE),
        (ImportError("x.so: failed to map segment from shared object"), LITTLE),
    ],
)
def test_what_the_system_lacks_is_no_fault_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, said: str
) -> None:
    def refuse(only: str | None) -> None:
        raise error

    monkeypatch.setattr(front, "application", refuse)
    assert front.run() == 2
    assert capsys.readouterr().err == f"maltriage: {said}\n"
