"""Exports a trained net as a bundle, checked number by number against PyTorch."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from onnx import ModelProto
from torch import Tensor

from maltriage.bundle import Card, Training, packed, verified
from maltriage.errors import MaltriageError, cannot_write
from maltriage.files.atomic import write_file
from maltriage.learn.fit.checkpoint import Origin, State
from maltriage.learn.heat.cam import ExplainedNet, empty_views, traced
from maltriage.learn.nets.base import Net
from maltriage.logs import silenced
from maltriage.sample.views import ViewSpec
from maltriage.version import __version__

TOLERANCE = 1e-4
"""Tolerance as a share of the largest logit; for heat, of a sample's sum of |contributions|."""
ROUNDING = 1e-6
"""Absolute tolerance of a logit: an untrained net's logits are near zero, but are differences of
larger sums."""
NUDGE = 1e-5
"""Relative standard deviation of a nudge: far above the rounding of float32."""
OPSET = 18
_OUTPUT = "maltriage_output_"
CHECKED_BATCHES = (1, 17)


def make_card(net: Net, state: State) -> Card:
    """The card of a trained net; its digest is filled in when the bundle is written."""
    origin = state.origin
    return Card(
        name=state.name,
        created=state.finished or "",
        maltriage_version=__version__,
        net=origin.net,
        labels=origin.labels,
        views=origin.views,
        input=origin.input,
        unmapped=origin.unmapped,
        target_layer=net.target_layer,
        additive=net.additive,
        two_questions=net.clean is not None,
        receptive_field_bytes=net.receptive_field_bytes(),
        temperature=state.temperature,
        calibrated_on=state.calibrated_on,
        training=Training(
            dataset=origin.dataset,
            manifest_sha256=origin.manifest_sha256,
            samples=origin.samples,
            goodware_samples=origin.goodware_samples,
            split=origin.split,
            split_seed=origin.split_seed,
            split_sha256=origin.split_sha256,
            fractions=origin.fractions,
            folds=origin.folds,
            malware_kinds=origin.malware_kinds,
            seed=int(origin.recipe["seed"]),
            epochs=state.best_epoch or state.epoch,
            recipe=origin.recipe | _guide(origin),
        ),
        metrics=state.metrics,
        parameters=sum(parameter.numel() for parameter in net.parameters()),
    )


def _guide(origin: Origin) -> dict[str, Any]:
    """A run's guide for the card, without the paths of the teachers, which are private."""
    if origin.guide is None:
        return {}
    guide = dict(msgspec.to_builtins(origin.guide))
    del guide["by_label"]  # the graph has it, and a card has a limit
    for teacher in guide["teachers"]:
        del teacher["path"]
    return {"guide": guide}


def export_bundle(
    net: Net, state: State, path: Path, real: dict[str, Tensor] | None = None
) -> Card:
    """Write a bundle and compare it with PyTorch.

    Args:
        net: the trained net.
        state: of its run.
        path: of the bundle; untouched if the check fails.
        real: images of real samples by view, checked besides random and empty images.

    Raises:
        MaltriageError: the outputs of graph and net differ, or the file cannot be written.
    """
    card = make_card(net, state)
    with _one_thread():
        explained = ExplainedNet(net, card.benign)
        model = to_onnx(explained)
    made = packed(model, card, path)
    check(explained, verified(made.model, path).model, real)
    try:
        write_file(path, made.model)
    except OSError as error:
        raise cannot_write(path, error) from error
    return made.card


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Compute what is constant in a graph on one thread: the last digits of sums differ with the
    number, and with them the digest of a bundle that is exported again."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(count)


def to_onnx(explained: ExplainedNet) -> ModelProto:
    """The ONNX model of an explained net, with a dynamic batch axis."""
    views = explained.net.views
    device = next(explained.parameters()).device
    count = 3
    images = tuple(
        torch.zeros(count, *view.shape, dtype=torch.uint8, device=device) for view in views
    )
    choice = (
        torch.full((count,), -1, device=device),
        torch.full((count,), -1, device=device),
        torch.zeros(count, device=device),
    )
    batch = torch.export.Dim("batch", min=1)
    # The exporter writes to the terminal; its errors are raised, not written.
    with silenced(), contextlib.redirect_stdout(io.StringIO()):
        program = torch.onnx.export(
            traced(explained),
            (*images, *choice),
            dynamo=True,
            external_data=False,
            opset_version=OPSET,
            input_names=[*(view.name for view in views), "target", "against", "threshold"],
            output_names=[_OUTPUT + name for name in explained.output_names],
            dynamic_shapes=(tuple({0: batch} for _ in range(len(views) + 3)),),
            verbose=False,
        )
    if program is None:
        raise MaltriageError("the ONNX exporter gave no program")
    model = program.model_proto
    _strip(model)
    _name_outputs(model)
    return model


def _name_outputs(model: ModelProto) -> None:
    """Name the outputs, and rename inner values of the same name.

    The exporter names values after operators (`embedding`) even if an output has that name.
    """
    names = {value.name: value.name.removeprefix(_OUTPUT) for value in model.graph.output}
    names |= {name: f"inner_{name}" for name in names.values()}
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in (*model.graph.output, *model.graph.value_info, *model.graph.initializer):
        value.name = names.get(value.name, value.name)


def _strip(model: ModelProto) -> None:
    """Remove the exporter's notes beside the graph: stack traces with local paths."""
    model.doc_string = ""
    for owner in (model.graph, *model.functions):
        owner.doc_string = ""
        del owner.metadata_props[:]
        for node in owner.node:
            node.doc_string = ""
            del node.metadata_props[:]
        for value in (*owner.value_info, *getattr(owner, "initializer", ())):
            value.doc_string = ""
            del value.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output):
        value.doc_string = ""
        del value.metadata_props[:]


def check(explained: ExplainedNet, model: bytes, real: dict[str, Tensor] | None = None) -> None:
    """Compare an exported model with PyTorch on several inputs, batch sizes and targets.

    Raises:
        MaltriageError: an output differs by more than `TOLERANCE`.
    """
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    settings.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    views = explained.net.views
    generator = torch.Generator().manual_seed(0)
    for kind, images in _probes(views, real, generator).items():
        for count in CHECKED_BATCHES:
            rows = torch.arange(count) % len(images[views[0].name])
            inputs = {view.name: images[view.name][rows] for view in views}
            with torch.no_grad():
                stem = explained.stem(*inputs.values())
            for choice in _choices(explained, inputs, generator):
                with torch.no_grad():  # not inference_mode: heat may take a gradient
                    wanted = _named(explained, explained.answer(*stem, *choice))
                    scale = _contributions(explained, wanted)
                    steady = _steady(explained, stem, wanted, scale)
                named = dict(zip(("target", "against", "threshold"), choice, strict=True))
                feed = {name: value.numpy() for name, value in (inputs | named).items()}
                got = session.run(explained.output_names, feed)
                outputs = {
                    name: (a.numpy().astype(np.float64), np.asarray(b, dtype=np.float64))
                    for (name, a), b in zip(wanted.items(), got, strict=True)
                }
                case = f"{kind} input, batch of {count}"
                if kind == "random" and count > 1 and not steady.any():
                    raise MaltriageError(f"export check failed: no map is steady ({case})")
                _compare(outputs, scale.double().numpy(), steady.numpy(), case)


def _named(explained: ExplainedNet, outputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
    return dict(zip(explained.output_names, outputs, strict=True))


def _contributions(explained: ExplainedNet, found: dict[str, Tensor]) -> Tensor:
    """Sum of the absolute contributions to each sample's heat, [B].

    At least the largest logit: an empty input may leave only the difference of two equal
    scores, which is rounding and must not be compared with itself.
    """
    total = torch.maximum(found["baseline"].abs(), found["logits"].abs().amax(dim=1))
    for view in explained.net.views:
        total = total + found[f"heat_{view.name}"].abs().flatten(1).sum(dim=1)
    return total if explained.net.additive else total + explained.subtracted(found["explained"])


def _steady(
    explained: ExplainedNet, stem: list[Tensor], found: dict[str, Tensor], scale: Tensor
) -> Tensor:
    """True for samples whose maps do not depend on the runtime's rounding, bool [B].

    A gradient jumps where the input of a ReLU crosses zero. If a sample lies on such a step,
    PyTorch's own map changes for slightly nudged activations.
    """
    settled = torch.ones(len(scale), dtype=torch.bool)
    if explained.net.additive:
        return settled
    target, against = found["explained"].unbind(dim=1)
    generator = torch.Generator().manual_seed(0)
    noise = [NUDGE * torch.randn(tensor.shape, generator=generator) for tensor in stem]
    for sign in (1.0, -1.0):
        nudged = [
            t * (1.0 + sign * n) if t.is_floating_point() else t
            for t, n in zip(stem, noise, strict=True)
        ]
        moved = _named(explained, explained.answer(*nudged, target, against, found["baseline"]))
        for name in explained.output_names:
            if name.startswith(("heat_", "gradcam_")):
                change = (moved[name] - found[name]).abs().flatten(1).amax(dim=1)
                settled &= change <= TOLERANCE / 2 * scale
    return settled


def _compare(
    outputs: dict[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]],
    scale: npt.NDArray[Any],
    steady: npt.NDArray[np.bool_],
    case: str,
) -> None:
    """Raise MaltriageError if outputs of PyTorch and of the exported model differ.

    Args:
        outputs: expected and exported values by name.
        scale: see `_contributions`.
        steady: see `_steady`; the maps of other samples are not compared.
    """
    count = len(scale)
    for name, (wanted, got) in outputs.items():
        if wanted.shape != got.shape:
            raise MaltriageError(f"export check failed: {name} has another shape ({case})")
        difference = np.abs(wanted - got).reshape(count, -1).max(axis=1)
        if name == "explained":
            limit: Any = 0.0
        elif name in ("logits", "embedding"):
            limit = TOLERANCE * np.abs(wanted).max(axis=1)
            limit = limit + ROUNDING if name == "logits" else limit
        elif name == "baseline":
            limit = TOLERANCE * scale
        else:
            # An unsteady map is still checked: it cannot exceed the sum of all contributions.
            limit = np.where(steady, TOLERANCE, 1.0) * scale
        # Written so that nan fails, too.
        if not (difference <= limit).all():
            raise MaltriageError(
                f"export check failed: {name} differs from PyTorch by {difference.max():.3g}"
                f" ({case})"
            )


def _probes(
    views: tuple[ViewSpec, ...], real: dict[str, Tensor] | None, generator: torch.Generator
) -> dict[str, dict[str, Tensor]]:
    """Images for the check by kind: empty, random (windows of all lengths) and real."""
    count = max(CHECKED_BATCHES)
    noise = {}
    for view in views:
        values = torch.randint(0, 256, (count, *view.shape), dtype=torch.uint8, generator=generator)
        if view.along:
            size = view.shape[-1]
            length = torch.randint(0, size + 1, (count, 1), generator=generator)
            exists = torch.arange(size) < length
            values = torch.stack([values[:, 0] * exists, exists.to(torch.uint8)], dim=1)
        noise[view.name] = values
    probes = {"empty": empty_views(views), "random": noise}
    return probes | ({"real": real} if real else {})


def _choices(
    explained: ExplainedNet, inputs: dict[str, Tensor], generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Targets for the check: default ones with thresholds on both sides, and named ones."""
    count = len(next(iter(inputs.values())))
    labels = explained.net.classifier.out_features
    unset = torch.full((count,), -1)
    for margin in (float("inf"), float("-inf")):
        yield unset, unset, torch.full((count,), margin)
    target = torch.randint(0, labels, (count,), generator=generator)
    against = torch.randint(-1, labels, (count,), generator=generator)
    yield target, against, torch.zeros(count)
