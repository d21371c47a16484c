"""Computes only the logits of many images that share most of their views.

ONNX Runtime runs a whole graph even for few of its outputs, so the maps are cut off. The rest is
cut again where views meet: variants of a sample with different masks share most of their windows,
and the net's output for each window is computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from maltriage.sample.views import ViewSpec

Array = npt.NDArray[Any]

BATCH = 32
"""Images in one forward pass. More are no faster on a CPU, and take more memory."""
_LOGITS = "logits"


@dataclass(frozen=True)
class _Trunk:
    """The part of a graph that depends on one view: it gives the tensors `outputs`."""

    session: Any
    outputs: list[str]


class Lean:
    """The part of a graph that gives the logits.

    Args:
        model: an ONNX model as `maltriage.bundle` describes it.
        views: its images.
        opened: makes a session of ONNX Runtime from a model.
    """

    def __init__(
        self, model: bytes, views: Sequence[ViewSpec], opened: Callable[[bytes], Any]
    ) -> None:
        import onnx
        from onnx.utils import Extractor

        names = [view.name for view in views]
        extractor = Extractor(onnx.load_model_from_string(model))

        def part(inputs: list[str], outputs: list[str]) -> Any:
            return opened(extractor.extract_model(inputs, outputs).SerializeToString())

        self._trunks: dict[str, _Trunk] = {}
        self._inputs: list[str] = []
        """Inputs of the head: for a view without a trunk its images."""
        for name, outputs in _meetings(extractor, names).items():
            if outputs != [name]:
                self._trunks[name] = _Trunk(part([name], outputs), outputs)
            self._inputs += outputs
        self._head = None if self._inputs == [_LOGITS] else part(self._inputs, [_LOGITS])

    def run(self, images: Mapping[str, Array], rows: Mapping[str, Array]) -> Array:
        """Logits of V variants; see `maltriage.triage.session.Session.logits`."""
        found: dict[str, tuple[Array, Array]] = {}
        for name, pixels in images.items():
            if trunk := self._trunks.get(name):
                parts = [
                    trunk.session.run(trunk.outputs, {name: pixels[at : at + BATCH]})
                    for at in range(0, len(pixels), BATCH)
                ]
                for output, values in zip(trunk.outputs, zip(*parts, strict=True), strict=True):
                    found[output] = np.concatenate(values), rows[name]
            else:
                found[name] = pixels, rows[name]
        if self._head is None:
            logits, row = found[_LOGITS]
            return np.asarray(logits[row])
        count = len(next(iter(rows.values())))
        outputs = [
            self._head.run(
                [_LOGITS],
                {
                    name: values[row[at : at + BATCH]]
                    for name, (values, row) in found.items()
                    if name in self._inputs
                },
            )[0]
            for at in range(0, count, BATCH)
        ]
        return np.concatenate(outputs)


def _meetings(extractor: Any, views: list[str]) -> dict[str, list[str]]:
    """By view, the tensors that depend on it alone and meet those of other views.

    A view whose tensors are not one row an image is not cut off: its images are the input. A view
    that the logits do not depend on is left out.
    """
    behind: dict[str, frozenset[str]] = {name: frozenset((name,)) for name in views}
    meeting: dict[str, dict[str, None]] = {name: {} for name in views}
    needed = {node.output[0] for node in extractor.extract_model(views, [_LOGITS]).graph.node}
    for node in extractor.graph.node:
        if node.output[0] not in needed:
            continue
        sources = [behind.get(name, frozenset()) for name in node.input]
        together = frozenset().union(*sources)
        behind |= dict.fromkeys(node.output, together)
        if len(together) > 1 or _LOGITS in node.output:
            alone = [*zip(node.input, sources, strict=True)]
            if len(together) == 1:
                alone = [(_LOGITS, together)]
            for name, source in alone:
                if len(source) == 1:
                    meeting[next(iter(source))][name] = None
    return {
        view: list(tensors)
        if all(_a_row_an_image(extractor.value_infos.get(name)) for name in tensors)
        else [view]
        for view, tensors in meeting.items()
        if tensors
    }


def _a_row_an_image(info: Any) -> bool:
    """Whether the first axis of a tensor is that of the batch."""
    import onnx

    if info is None:
        return False
    kind = info.type.tensor_type
    shape = kind.shape.dim
    return bool(
        kind.elem_type == onnx.TensorProto.FLOAT and shape and shape[0].dim_param == "batch"
    )
