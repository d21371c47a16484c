"""One signal ends a scan, whatever it waits for: the model, a file, or the reader of an output."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import psutil
import pytest
from hostile.make import sample

from maltriage import bundle as bundles

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM that is handled")
WAIT = 120.0
IN_TIME = 9.5
"""A container engine kills after ten seconds."""
ENDLESS = 1 << 62


def start(*arguments: object, stdout: Any = subprocess.PIPE) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "maltriage", *map(str, arguments)],
        stdout=stdout,
        stderr=subprocess.PIPE,
        bufsize=0,
    )


def ended(process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> tuple[float, bytes]:
    """Send one signal.

    Returns:
        The seconds that the process took to end, and its stderr.
    """
    family = psutil.Process(process.pid).children(recursive=True)
    began = time.monotonic()
    process.send_signal(number)
    assert process.wait(timeout=WAIT) == 130
    seconds = time.monotonic() - began
    assert process.stderr is not None
    errors = process.stderr.read()
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive
    return seconds, errors


def stopped(errors: bytes) -> bool:
    """Whether the last line says so; the lines before it say what was written."""
    *written, last = errors.splitlines()
    said = last.startswith(b"maltriage: stopped") and b"--resume" not in last
    return said and all(line.startswith(b"wrote ") for line in written)


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def looping(path: Path) -> Path:
    """The default bundle with a graph that does not end."""
    plain = bundles.load(bundles.resolve(None))
    model = onnx.load_model_from_string(plain.model)
    helper, types = onnx.helper, onnx.TensorProto
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["goes"]), helper.make_node("Abs", ["x"], ["y"])],
        "body",
        [
            helper.make_tensor_value_info("i", types.INT64, []),
            helper.make_tensor_value_info("go", types.BOOL, []),
            helper.make_tensor_value_info("x", types.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("goes", types.BOOL, []),
            helper.make_tensor_value_info("y", types.FLOAT, []),
        ],
    )
    nodes = [
        helper.make_node("Loop", ["times", "endless", "zero"], ["nothing"], body=body),
        helper.make_node("Add", ["threshold", "nothing"], ["later"]),
    ]
    for name, value in (
        ("endless", np.bool_(True)), ("times", np.int64(ENDLESS)), ("zero", np.float32(0)),
    ):  # fmt: skip
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(value), name))
    for node in model.graph.node:
        node.input[:] = ["later" if name == "threshold" else name for name in node.input]
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])
    bundles.save(model, plain.card, path)
    return path


def some(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:04d}.exe").write_bytes(sample("console-x86.exe"))
    return folder


def busy(process: subprocess.Popen[bytes]) -> None:
    """Wait until a process has loaded the model and runs it."""
    one = psutil.Process(process.pid)
    while sum(one.cpu_times()[:2]) < 5:
        time.sleep(0.1)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_model_that_runs_on(tmp_path: Path, number: int) -> None:
    model, out = looping(tmp_path / "m.onnx"), tmp_path / "out.ndjson"
    process = start("scan", some(tmp_path / "in", 3), "--model", model, "--no-cache", "-o", out)
    busy(process)
    seconds, errors = ended(process, number)
    assert (seconds < IN_TIME, stopped(errors)) == (True, True)
    (summary,) = records(out)
    assert (summary["interrupted"], summary["files"]) == (True, 0)


@pytest.mark.slow
def test_explain_with_a_model_that_runs_on(tmp_path: Path) -> None:
    model = looping(tmp_path / "m.onnx")
    process = start("explain", some(tmp_path / "in", 1) / "0000.exe", "--model", model)
    busy(process)
    seconds, errors = ended(process)
    assert (seconds < IN_TIME, stopped(errors)) == (True, True)


def stalled(process: subprocess.Popen[bytes]) -> None:
    """Wait until a process uses no time any more: it waits for its reader."""
    one, before = psutil.Process(process.pid), -1.0
    while True:
        used = sum(one.cpu_times()[:2])
        if used == before and used > 0.5:
            return
        before = used
        time.sleep(1)


def test_a_reader_that_stalls(tmp_path: Path) -> None:
    """The other output is whole, and says that the scan was interrupted."""
    out = tmp_path / "out.ndjson"
    arguments = ("-f", "ndjson", "--no-cache", "--batch-size", "1", "-o", out, "-o", "-")
    process = start("scan", some(tmp_path / "in", 200), *arguments)
    assert process.stdout is not None
    process.stdout.read(1)
    stalled(process)
    seconds, errors = ended(process)
    assert (seconds < IN_TIME, stopped(errors)) == (True, True)
    *found, summary = records(out)
    assert (summary["interrupted"], summary["files"]) == (True, len(found))
    assert 0 < len(found) < 200


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [("-f", "ndjson"), ("-f", "html"), ("-f", "json")])
def test_nothing_but_a_reader_that_stalls(tmp_path: Path, arguments: Sequence[str]) -> None:
    many = ("--no-cache", "--top", "0")
    process = start("scan", some(tmp_path / "in", 100), *arguments, *many)
    assert process.stdout is not None
    process.stdout.read(1)
    stalled(process)
    seconds, errors = ended(process)
    assert (seconds < IN_TIME, stopped(errors)) == (True, True)


@pytest.mark.slow
def test_a_named_pipe_whose_reader_stalls(tmp_path: Path) -> None:
    pipe, out = tmp_path / "pipe", tmp_path / "out.ndjson"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    process = start(
        "scan", some(tmp_path / "in", 200), "-f", "ndjson", "--no-cache", "-o", pipe, "-o", out
    )
    time.sleep(2)
    stalled(process)
    seconds, errors = ended(process)
    os.close(reader)
    assert (seconds < IN_TIME, stopped(errors)) == (True, True)
    assert records(out)[-1]["interrupted"]


@pytest.mark.slow
def test_output_and_messages_that_nobody_reads(tmp_path: Path) -> None:
    """As with `2>&1 | less`: even the last line cannot be written."""
    process = subprocess.Popen(
        [sys.executable, "-m", "maltriage", "scan", str(some(tmp_path / "in", 100)), "-f", "ndjson",
         "--no-cache", "-vv"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=0,
    )  # fmt: skip
    time.sleep(2)
    stalled(process)
    began = time.monotonic()
    process.terminate()
    assert process.wait(timeout=WAIT) == 130
    assert time.monotonic() - began < IN_TIME
