"""Runs a graph over buffers that stay on its device, in batches of one size.

Without them each run on a GPU allocates inputs and outputs anew, and each new batch size makes
cuDNN search for its algorithms again. The same code runs on the CPU, for tests only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
_TYPES = {
    "tensor(uint8)": np.uint8,
    "tensor(int64)": np.int64,
    "tensor(float)": np.float32,
}


class Bound:
    """Runs a session of ONNX Runtime on `device` in batches of `rows`. Threads may share it.

    Args:
        session: inputs and outputs have the batch as their first axis, and all other axes fixed.
        device: `cuda` or `cpu`, where the buffers are.
        rows: of every batch; a smaller one is padded with zeros, a larger one split.
    """

    def __init__(self, session: Any, device: str, rows: int) -> None:
        import onnxruntime as ort

        self._session, self._rows = session, rows
        self._binding = session.io_binding()
        self._lock = Lock()  # of its buffers
        self._inputs: dict[str, Any] = {}
        self._staged: dict[str, Array] = {}
        self._outputs: dict[str, Any] = {}
        for value in session.get_inputs():
            shape = (rows, *value.shape[1:])
            self._staged[value.name] = np.zeros(shape, dtype=_TYPES[value.type])
            self._inputs[value.name] = ort.OrtValue.ortvalue_from_shape_and_type(
                shape, _TYPES[value.type], device
            )
            self._binding.bind_ortvalue_input(value.name, self._inputs[value.name])
        for value in session.get_outputs():
            shape = (rows, *value.shape[1:])
            self._outputs[value.name] = ort.OrtValue.ortvalue_from_shape_and_type(
                shape, _TYPES[value.type], device
            )
            self._binding.bind_ortvalue_output(value.name, self._outputs[value.name])

    @classmethod
    def of(cls, session: Any, device: str, rows: int) -> Bound | None:
        """As the constructor; None where the graph leaves more axes than the batch open."""
        values = [*session.get_inputs(), *session.get_outputs()]
        fixed = all(
            value.type in _TYPES
            and len(value.shape) >= 1
            and all(isinstance(size, int) for size in value.shape[1:])
            for value in values
        )
        return cls(session, device, rows) if fixed else None

    def run(self, names: Sequence[str], feed: Mapping[str, Array]) -> list[Array]:
        """As `InferenceSession.run`: the outputs `names` of a batch of any size."""
        count = len(next(iter(feed.values())))
        with self._lock:
            parts = [self._part(names, feed, at) for at in range(0, count, self._rows)]
        return [np.concatenate(values) for values in zip(*parts, strict=True)]

    def _part(self, names: Sequence[str], feed: Mapping[str, Array], at: int) -> list[Array]:
        rows = 0
        for name, value in self._inputs.items():
            part = feed[name][at : at + self._rows]
            rows, staged = len(part), self._staged[name]
            staged[:rows] = part
            staged[rows:] = 0
            value.update_inplace(staged)
        self._binding.synchronize_inputs()
        self._session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()
        # A copy: on the CPU `numpy` may be the buffer itself, which the next batch overwrites.
        return [np.array(self._outputs[name].numpy()[:rows]) for name in names]
