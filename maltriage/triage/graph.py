"""A graph in ONNX Runtime whose loading and runs can be interrupted.

ONNX Runtime returns when it is done, however long a graph takes, and Python handles no signal in a
thread that waits for it. So it has a thread of its own: an exception in the waiting one, such as
KeyboardInterrupt, ends the run before its next node.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from threading import Thread
from typing import Any, TypeVar

import numpy.typing as npt

T = TypeVar("T")
Array = npt.NDArray[Any]

ENDS_WITHIN = 1.0
"""Seconds that an interrupted run is waited for."""
_LOOK = 0.2
"""Seconds after which a wait begins anew, so that a signal can be handled."""


class Graph:
    """A session of ONNX Runtime; of its methods those that are used here.

    Args:
        model: a serialized ONNX model.
        options: `onnxruntime.SessionOptions`.
        providers: in the order of preference.

    Raises:
        Exception: any of ONNX Runtime's.
    """

    def __init__(self, model: bytes, options: Any, providers: Sequence[Any]) -> None:
        import onnxruntime as ort

        self._run_options: Callable[[], Any] = ort.RunOptions
        self._session = _waited_for(
            lambda: ort.InferenceSession(
                model,
                options,
                providers=providers,
                # Falling back from the CPU to the CPU, it would print that on stdout.
                enable_fallback=len(providers) > 1,
            )
        )
        self.get_inputs = self._session.get_inputs
        self.get_outputs = self._session.get_outputs
        self.get_providers = self._session.get_providers
        self.io_binding = self._session.io_binding

    def run(self, names: Sequence[str], feed: Mapping[str, Array]) -> list[Array]:
        """The outputs `names` for the inputs `feed`."""
        options = self._run_options()
        found: list[Array] = _waited_for(lambda: self._session.run(names, feed, options), options)
        return found

    def run_with_iobinding(self, binding: Any) -> None:
        """Run over bound buffers."""
        options = self._run_options()
        _waited_for(lambda: self._session.run_with_iobinding(binding, options), options)


def _waited_for(call: Callable[[], T], options: Any = None) -> T:
    """The result of a call in a thread.

    Args:
        options: of a run: how to end it; None: the call cannot be ended, and is left behind.
    """
    result: Future[T] = Future()

    def do() -> None:
        try:
            result.set_result(call())
        except BaseException as error:
            result.set_exception(error)

    thread = Thread(target=do, daemon=True)
    thread.start()
    try:
        while sys.platform == "win32" and thread.is_alive():
            thread.join(_LOOK)  # there no signal ends a wait, but handlers run after it
        return result.result()
    except BaseException:
        if options is not None and thread.is_alive():
            options.terminate = True
            thread.join(ENDS_WITHIN)
        raise
