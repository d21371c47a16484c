"""Runs a bundle's graph: ONNX Runtime on the CPU, or on a GPU."""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from maltriage.bundle import Bundle
from maltriage.errors import MaltriageError
from maltriage.logs import logger
from maltriage.sample.byteplot import View
from maltriage.triage.binding import Bound
from maltriage.triage.graph import Graph
from maltriage.triage.shared_views import Lean
from maltriage.work.cores import cores

_log = logger(__name__)
Device = Literal["auto", "cpu", "cuda"]
Float32 = npt.NDArray[np.float32]

CUDA_OPTIONS = {"cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"}
"""Batches are of one size, but a session of a few files must not wait for cuDNN to try all of its
algorithms; and memory grows by the amount requested, not by doubling."""

CHOOSE = -1
"""As target: the graph chooses the label to explain; as against: the mean of all labels."""


@dataclass(frozen=True)
class Outputs:
    """The graph's outputs for a batch of B samples; see `maltriage.bundle` for their meaning."""

    logits: Float32
    heat: dict[str, Float32]
    baseline: Float32
    explained: npt.NDArray[np.int64]
    embedding: Float32
    gradcam: dict[str, Float32] = field(default_factory=dict)
    """Maps of the views in which it differs from `heat`."""


class Session:
    """Runs a bundle. Make one and keep it: loading costs more than many batches.

    Args:
        bundle: verified by `maltriage.bundle.load`.
        device: `auto` takes CUDA where a device answers, else the CPU.
        threads: for one operator on the CPU; 0: one for each core this process may use.
        batch: samples in most batches; on a GPU all are made that large.

    `device` is the device in use, `note` the reason for the CPU although a GPU answers.

    Raises:
        MaltriageError: `cuda` was requested and is missing, or the graph does not load.
    """

    def __init__(
        self, bundle: Bundle, device: Device = "auto", threads: int = 0, batch: int = 16
    ) -> None:
        import onnxruntime as ort

        began = time.monotonic()
        self.bundle = bundle
        self.card = bundle.card
        ort.disable_telemetry_events()
        self._options = ort.SessionOptions()
        self._options.log_severity_level = 4  # its warnings are for model authors
        self._options.intra_op_num_threads = threads or cores()
        # Idle threads that spin would take cores from the workers.
        self._options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._providers: list[Any] = ["CPUExecutionProvider"]
        if device != "cpu" and cuda_answers(ort):
            self._providers.insert(0, ("CUDAExecutionProvider", CUDA_OPTIONS))
            # Errors there are reported once, below, and not by ONNX Runtime's own log.
            ort.set_default_logger_severity(4)
        elif device == "cuda":
            raise MaltriageError("no CUDA device answers here (--device cpu runs without)")
        self._session = self._opened(bundle.model)
        self._lean: Lean | None = None
        self.device = "cuda" if "CUDA" in self._session.get_providers()[0] else "cpu"
        self.note: str | None = None
        if self.device != "cuda" and len(self._providers) > 1:
            what = "a CUDA device answers, but ONNX Runtime cannot use it"
            if device == "cuda":
                raise MaltriageError(what)
            self.note = f"{what}: on the CPU instead (extra `gpu`?)"
            self._providers = ["CPUExecutionProvider"]
        self._bound = Bound.of(self._session, "cuda", batch) if self.device == "cuda" else None
        self._shapes = {
            output.name: tuple(output.shape[1:]) for output in self._session.get_outputs()
        } | {"logits": (len(self.card.labels),), "explained": (2,)}
        """Shape for one sample; an entry that is not a number is an open axis."""
        _log.info(
            "model %s %s on %s, ONNX Runtime %s, loaded in %.2f s",
            self.card.name,
            self.card.weights_sha256[:12],
            self.device,
            ort.__version__,
            time.monotonic() - began,
        )

    def _opened(self, model: bytes) -> Graph:
        try:
            return Graph(model, self._options, self._providers)
        except Exception as error:  # ONNX Runtime's own kinds derive from Exception only
            raise MaltriageError(self._failed("load", error)) from error

    def _failed(self, what: str, error: Exception) -> str:
        first = str(error).strip().partition("\n")[0]
        return f"{self.bundle.path}: the graph does not {what}: {first}"

    def load_lean(self) -> Lean:
        """Load the part of the graph that gives the logits alone, which `logits` runs.

        Raises:
            MaltriageError: it does not load.
        """
        if self._lean is None:
            self._lean = Lean(self.bundle.model, self.card.views, self._opened)
        return self._lean

    def logits(
        self,
        images: Mapping[str, npt.NDArray[np.uint8]],
        rows: Mapping[str, npt.NDArray[np.int64]] | None = None,
    ) -> Float32:
        """The logits of V variants, without computing any map.

        Args:
            images: by view, [U, *spec.shape]: the different ones.
            rows: by view, [V], the index of each variant's image; None: its own index.

        Returns:
            Shape (V, K); as from `run`, up to the last digits, which depend on the batch.

        Raises:
            MaltriageError: the graph fails.
        """
        lean = self.load_lean()
        if rows is None:
            rows = {name: np.arange(len(pixels)) for name, pixels in images.items()}
        try:
            return lean.run(images, rows)
        except Exception as error:
            raise MaltriageError(self._failed("run", error)) from error

    def run(
        self,
        samples: Sequence[dict[str, View]],
        target: int = CHOOSE,
        against: int = CHOOSE,
        kinds: Sequence[str | None] | None = None,
    ) -> Outputs:
        """Run a batch.

        Args:
            samples: the views of each sample, by name.
            target: index of the label to explain; CHOOSE: the graph's choice by the card's
                threshold (a flagged sample's family against benign, else the top label).
            against: index of the label to explain it against; CHOOSE: the mean of all.
            kinds: `Layout.kind` of each sample, for its threshold; None: unknown.
        """
        count = len(samples)
        limit = self.card.threshold
        limits = [np.inf if limit is None else limit.at(kind) for kind in kinds or [None] * count]
        images = {
            view.name: np.stack([sample[view.name].pixels for sample in samples])
            for view in self.card.views
        }
        return self.answer(images, limits, target, against)

    def answer(
        self,
        images: Mapping[str, npt.NDArray[np.uint8]],
        limits: Sequence[float],
        target: int | Sequence[int] = CHOOSE,
        against: int = CHOOSE,
    ) -> Outputs:
        """Run a batch of images.

        Args:
            images: by view, [B, *spec.shape].
            limits: threshold of each sample, [B]; see `maltriage.bundle`.
            target, against: as in `run`; a target of each sample, [B], or one for all.

        Raises:
            MaltriageError: the graph fails, or returns shapes other than declared.
        """
        count = len(limits)
        feed: dict[str, npt.NDArray[Any]] = {
            view.name: images[view.name] for view in self.card.views
        }
        feed["target"] = np.full(count, target, dtype=np.int64)
        feed["against"] = np.full(count, against, dtype=np.int64)
        feed["threshold"] = np.array(limits, dtype=np.float32)
        runner: Bound | Graph = self._bound or self._session
        try:
            values = runner.run([*self._shapes], feed)
        except Exception as error:  # as above; where memory runs out, too
            raise MaltriageError(self._failed("run", error)) from error
        found = dict(zip(self._shapes, values, strict=True))
        for name, shape in self._shapes.items():
            sizes = found[name].shape
            if len(sizes) != 1 + len(shape) or any(
                isinstance(known, int) and size != known
                for size, known in zip(sizes, (count, *shape), strict=True)
            ):
                raise MaltriageError(f"{self.bundle.path}: {name} has the shape {sizes}")
        return Outputs(
            logits=found["logits"],
            heat={view.name: found[f"heat_{view.name}"] for view in self.card.views},
            baseline=found["baseline"],
            explained=found["explained"],
            embedding=found["embedding"],
            gradcam={
                view.name: found[f"gradcam_{view.name}"]
                for view in self.card.views
                if f"gradcam_{view.name}" in found
            },
        )


def cuda_answers(ort: Any) -> bool:
    """Whether the driver reports a device: the provider is listed even without one."""
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        return False
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return False
    if count.value and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # CUDA and cuDNN wheels of the extra `gpu`, where installed
    return count.value > 0
