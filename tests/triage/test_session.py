"""Where a bundle runs: buffers of one size, and what is said where a GPU cannot be used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from maltriage import bundle as bundles
from maltriage.bundle import Bundle
from maltriage.errors import MaltriageError
from maltriage.report.documents.record import Failed
from maltriage.triage import session as module
from maltriage.triage.binding import Bound
from maltriage.triage.options import ScanOptions
from maltriage.triage.pipeline import scan
from maltriage.triage.session import Session

LABELS = len(bundles.load(bundles.resolve(None)).card.labels)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", params=["maltriage-evidence", "maltriage-camvit"])
def bundle(request: Any) -> Bundle:
    return bundles.load(bundles.resolve(request.param))


def feed(bundle: Bundle, count: int, seed: int = 0) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    images = {
        view.name: random.integers(0, 256, (count, *view.shape), dtype=np.uint8)
        for view in bundle.card.views
    }
    return images | {
        "target": random.integers(-1, 4, count),
        "against": random.integers(-1, 4, count),
        "threshold": random.normal(size=count).astype(np.float32),
    }


def test_bound_buffers_give_what_a_run_gives(bundle: Bundle) -> None:
    """Batches of other sizes too, one after the other, so that nothing of the last is left."""
    session = onnxruntime.InferenceSession(bundle.model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    bound = Bound.of(session, "cpu", 4)
    assert bound is not None
    for seed, count in enumerate((4, 1, 3, 9, 2)):
        asked = feed(bundle, count, seed)
        # Batches of one size: what a batch's size moves in the last digits is not what is tried.
        wanted = [
            session.run(
                names, {name: padded(values[at : at + 4]) for name, values in asked.items()}
            )
            for at in range(0, count, 4)
        ]
        got = bound.run(names, asked)
        for i, name in enumerate(names):
            expected = np.concatenate([part[i] for part in wanted])[:count]
            np.testing.assert_array_equal(got[i], expected, err_msg=name)


def padded(values: Any) -> Any:
    return np.concatenate([values, np.zeros((4 - len(values), *values.shape[1:]), values.dtype)])


def test_results_outlive_the_next_batch(bundle: Bundle) -> None:
    session = onnxruntime.InferenceSession(bundle.model, providers=["CPUExecutionProvider"])
    bound = Bound(session, "cpu", 2)
    first = bound.run(["logits"], feed(bundle, 2, 0))[0]
    kept = first.copy()
    bound.run(["logits"], feed(bundle, 2, 1))
    np.testing.assert_array_equal(first, kept)


def test_a_graph_that_leaves_more_open_is_not_bound() -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "n"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "n"])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9)
    assert isinstance(model, onnx.ModelProto)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    assert Bound.of(session, "cpu", 4) is None


def test_a_session_over_bound_buffers(bundle: Bundle) -> None:
    asked = feed(bundle, 6)
    images = {view.name: asked[view.name] for view in bundle.card.views}
    plain, other = Session(bundle, "cpu", 1), Session(bundle, "cpu", 1, batch=4)
    assert plain.note is None
    assert plain._bound is None
    other._bound = Bound.of(other._session, "cpu", 4)
    a, b = (each.answer(images, [0.0] * 6, 2) for each in (plain, other))
    np.testing.assert_allclose(a.logits, b.logits, atol=1e-5)
    for view in bundle.card.views:
        np.testing.assert_allclose(a.heat[view.name], b.heat[view.name], atol=1e-5)


cuda_works = "CUDAExecutionProvider" in onnxruntime.get_available_providers() and (
    module.cuda_answers(onnxruntime)
)
needs_no_gpu = pytest.mark.skipif(
    cuda_works or "CUDAExecutionProvider" not in onnxruntime.get_available_providers(),
    reason="needs ONNX Runtime's GPU build on a machine whose driver finds no device",
)


@needs_no_gpu
def test_a_gpu_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch, bundle: Bundle) -> None:
    monkeypatch.setattr(module, "cuda_answers", lambda ort: True)
    session = Session(bundle, "auto", 1)
    assert session.device == "cpu"
    assert session.note is not None
    assert "on the CPU instead" in session.note
    with pytest.raises(MaltriageError, match="cannot use it"):
        Session(bundle, "cuda", 1)


@needs_no_gpu
def test_a_scan_says_in_a_line_that_it_fell_back(tmp_path: Path) -> None:
    script = tmp_path / "fallen.py"
    script.write_text(
        "from maltriage.triage import session\n"
        "session.cuda_answers = lambda ort: True\n"
        "from maltriage.cli.entry import main\n"
        "if __name__ == '__main__':\n"
        "    main()\n"
    )
    sample = str(ROOT / "samples" / "console-x86.exe")
    command = [sys.executable, str(script), "scan", sample, "--no-cache", "--exit-zero"]
    found = subprocess.run(command, capture_output=True, timeout=120, check=False, cwd=ROOT)
    assert found.returncode == 0, found.stderr.decode()
    lines = found.stderr.decode().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("note: a CUDA device answers, but ONNX Runtime cannot use it")
    quiet = subprocess.run(
        [*command, "-q"], capture_output=True, timeout=120, check=False, cwd=ROOT
    )
    assert quiet.stderr == b""


def plus(tmp_path: Path, name: str, shape: list[int], value: float) -> Path:
    """The default bundle whose output `name` has an array of `shape` added, made as it runs."""
    model = onnx.load(bundles.resolve(None))
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = ["raw" if own == name else own for own in names]
    sizes = onnx.numpy_helper.from_array(np.array(shape, dtype=np.int64), "sizes")
    model.graph.initializer.append(sizes)
    constant = helper.make_tensor("value", TensorProto.FLOAT, [1], [value])
    model.graph.node.extend(
        [
            helper.make_node("ConstantOfShape", ["sizes"], ["more"], value=constant),
            helper.make_node("Add", ["raw", "more"], [name]),
        ]
    )
    path = tmp_path / "strange.onnx"
    bundles.save(model, bundles.load(bundles.resolve(None)).card, path)
    return path


def of_nothing(path: Path) -> Any:
    """What a bundle says of an image of zeros."""
    session = Session(bundles.load(path), "cpu", 1)
    images = {v.name: np.zeros((1, *v.shape), dtype=np.uint8) for v in session.card.views}
    return session.answer(images, [np.inf])


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("logits", [1 << 44, LABELS], "the graph does not run: "),
        ("logits", [7, 1, LABELS], rf"logits has the shape \(7, 1, {LABELS}\)"),
        ("heat_body", [3, 8, 8], r"heat_body has the shape \(3, 8, 8\)"),
    ],
)
def test_a_graph_that_fails_as_it_runs(
    tmp_path: Path, name: str, shape: list[int], said: str
) -> None:
    with pytest.raises(MaltriageError, match=said):
        of_nothing(plus(tmp_path, name, shape, 0.0))


def test_a_graph_of_no_utf8_prints_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Found by fuzzing: ONNX Runtime printed on stdout that it tries once more."""
    model = onnx.load(bundles.resolve(None))
    model.graph.node[0].op_type = "NoSuchOp"
    model = onnx.ModelProto.FromString(
        model.SerializeToString().replace(b"NoSuchOp", b"NoSuch\xff\xfe")
    )
    path = tmp_path / "strange.onnx"
    bundles.save(model, bundles.load(bundles.resolve(None)).card, path)
    with pytest.raises(MaltriageError, match=r"the graph does not load: 'utf-8' codec"):
        Session(bundles.load(path), "cpu", 1)
    assert capfd.readouterr() == ("", "")


def test_a_graph_that_fails_ends_the_command(run_cli: Any, tmp_path: Path) -> None:
    """By an exit code of its own: 1 would say that something is flagged."""
    path = plus(tmp_path, "logits", [1 << 44, LABELS], 0.0)
    for command in (("scan", "-f", "ndjson"), ("explain", "--no-verify")):
        done = run_cli(*command, "--model", path, ROOT / "samples" / "console-x86.exe")
        assert done.returncode == 2
        (line,) = done.stderr.decode().splitlines()
        assert line.startswith(f"maltriage: {path}: the graph does not run: ")


@pytest.mark.parametrize("name", ["logits", "heat_code", "baseline", "embedding"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.filterwarnings("error")  # they go to the user's stderr
def test_what_is_no_number_is_no_result(tmp_path: Path, name: str, value: float) -> None:
    bundle = bundles.load(plus(tmp_path, name, [1], value))
    options = ScanOptions(jobs=1, index=None)
    record, summary = scan([str(ROOT / "samples" / "console-x86.exe")], bundle, options)
    assert isinstance(record, Failed)
    assert (record.code, summary.failed) == ("model", 1)
    assert record.reason == "the model returned a value that is not a number"


def test_onnx_runtime_keeps_no_record_of_its_use(tmp_path: Path) -> None:
    """It would write an identifier and events into the user's folder, and send them."""
    home = tmp_path / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if "TELEMETRY" not in name}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    command = [sys.executable, "-m", "maltriage", "scan", str(ROOT / "samples"), "--no-cache", "-q"]
    found = subprocess.run(
        command, capture_output=True, timeout=120, check=False, cwd=ROOT, env=environment
    )
    assert found.returncode == 0, found.stderr.decode()
    assert not list(home.rglob("*"))
