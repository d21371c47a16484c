"""What int8 weights and activations would cost and gain: size, time, agreement with float.

    python benchmarks/quantize.py ROOT [--model MODEL] [--calibrate 64] [--compare 256]

ROOT is a labelled folder; every second of the files taken calibrates, the others are compared, so
that no file is on both sides. Convolutions become int8 (per channel) in ONNX Runtime's QDQ form;
everything else, the sums behind the heat too, stays float. Nothing is written.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from scan import readable

from maltriage import bundle as bundles
from maltriage.bundle import Bundle
from maltriage.sample.prepare import PrepareOptions, prepare

BATCH = 16
ROUNDS = 12
_NOTHING = 1e-5
"""Share of the sum of |heat| below which a view counts as one that the file lacks."""
Feed = dict[str, npt.NDArray[Any]]


class Batches(CalibrationDataReader):  # type: ignore[misc]
    """What the calibration reads."""

    def __init__(self, feeds: list[Feed]) -> None:
        self._left: Iterator[Feed] = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self._left, None)


def feeds_of(bundle: Bundle, paths: list[str]) -> list[Feed]:
    """Batches of the graph's inputs, as a scan of files without a threshold gives them."""
    options = PrepareOptions(bundle.card.views)
    found = []
    for at in range(0, len(paths) - BATCH + 1, BATCH):
        samples = [prepare(path, options).views for path in paths[at : at + BATCH]]
        feed: Feed = {
            view.name: np.stack([sample[view.name].pixels for sample in samples])
            for view in bundle.card.views
        }
        feed["target"] = feed["against"] = np.full(BATCH, -1, dtype=np.int64)
        feed["threshold"] = np.full(BATCH, np.inf, dtype=np.float32)
        found.append(feed)
    return found


def session(path: Path) -> Any:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads, settings.log_severity_level = 1, 4
    return ort.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("root")
    parser.add_argument("--model")
    parser.add_argument("--calibrate", type=int, default=64)
    parser.add_argument("--compare", type=int, default=256)
    options = parser.parse_args()
    bundle = bundles.load(bundles.resolve(options.model))
    paths = readable([options.root], 1 << 30)
    paths = paths[:: max(1, len(paths) // (2 * max(options.calibrate, options.compare)))]
    calibrate = feeds_of(bundle, paths[::2][: options.calibrate])
    compare = feeds_of(bundle, paths[1::2][: options.compare])
    with tempfile.TemporaryDirectory() as folder:
        plain, small = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
        plain.write_bytes(bundle.model)
        quantize_static(
            plain,
            small,
            Batches(calibrate),
            op_types_to_quantize=["Conv"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        sessions = {"float": session(plain), "int8": session(small)}
        sizes = {name: path.stat().st_size for name, path in (("float", plain), ("int8", small))}
    outputs = [output.name for output in sessions["float"].get_outputs()]
    results = {
        name: [dict(zip(outputs, each.run(outputs, feed), strict=True)) for feed in compare]
        for name, each in sessions.items()
    }
    least = dict.fromkeys(sessions, np.inf)
    for _ in range(ROUNDS):
        for name, each in sessions.items():
            start = time.thread_time()
            for feed in compare[:4]:
                each.run(outputs, feed)
            took = (time.thread_time() - start) / (BATCH * len(compare[:4])) * 1e3
            least[name] = min(least[name], took)
    count = BATCH * len(compare)
    print(f"{bundle.card.name} {bundle.card.weights_sha256[:16]}, onnxruntime {ort.__version__}")
    print(f"calibrated on {BATCH * len(calibrate)} files, compared on {count} others\n")
    print(f"{'':8s} {'kB':>8s} {'CPU ms/file':>12s}")
    for name in sessions:
        print(f"{name:8s} {sizes[name] / 1e3:8.0f} {least[name]:12.2f}")
    print(f"\nint8 is {least['float'] / least['int8']:.2f} times as fast")
    pairs = list(zip(results["float"], results["int8"], strict=True))
    same = sum(int((a["logits"].argmax(1) == b["logits"].argmax(1)).sum()) for a, b in pairs)
    print(f"the same label in {same} of {count}; largest difference of a logit "
          f"{max(float(abs(a['logits'] - b['logits']).max()) for a, b in pairs):.3f}")  # fmt: skip
    # A view that a file lacks has no heat, so what is there under int8 has nothing to agree with.
    floats, whole = [], np.zeros(count)
    for name in outputs:
        if name.startswith("heat_"):
            x, y = (np.concatenate([each[name] for each in results[of]]) for of in sessions)
            floats.append((name, x.reshape(count, -1), y.reshape(count, -1)))
            whole += abs(floats[-1][1]).sum(axis=1)
    stray = 0.0
    for name, x, y in floats:
        has = abs(x).sum(axis=1) > _NOTHING * whole
        rows = [
            float(np.corrcoef(one, other)[0, 1]) for one, other in zip(x[has], y[has], strict=True)
        ]
        stray = max(stray, float((abs(y).sum(axis=1) / whole)[~has].max(initial=0.0)))
        print(f"{name:20s} correlation in {len(rows)} files, median {np.median(rows):.4f}, "
              f"least {min(rows):.4f}")  # fmt: skip
    print(f"most heat that int8 puts on a view that has none: {stray:.1e} of the sum of |heat|")
    print(f"largest part of a score that int8 leaves unaccounted for: "
          f"{max(unaccounted(b) for _, b in pairs):.1e} of the sum of |heat|")  # fmt: skip


def unaccounted(found: dict[str, npt.NDArray[Any]]) -> float:
    """Score less heat and baseline, in shares of the sum of |heat|, the largest of a batch."""
    rows = np.arange(len(found["logits"]))
    target, against = found["explained"].T
    score = found["logits"][rows, target].astype(np.float64)
    score -= np.where(against < 0, 0.0, found["logits"][rows, np.maximum(against, 0)])
    heat = [v.reshape(len(rows), -1).astype(np.float64) for k, v in found.items() if "heat_" in k]
    total, scale = (sum(f(h).sum(axis=1) for h in heat) for f in (np.asarray, np.abs))
    return float((abs(score - total - found["baseline"]) / scale).max())


if __name__ == "__main__":
    main()
