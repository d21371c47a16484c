"""A bundle whose score is a known sum over known bytes, with a map that is true, or that lies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from maltriage import bundle as bundles
from maltriage.corpus.corpus import Corpus
from maltriage.corpus.predictions import Predictions, fold_folder, save_predictions
from maltriage.corpus.split_file import manifest_sha256
from maltriage.sample.views import WindowSpec

CELLS, CELL = 128, 32
WINDOW = WindowSpec("head", "head", length=CELLS * CELL)
LABELS = ("icedid", "maze")


def weights(*runs: tuple[int, int, float]) -> npt.NDArray[np.float32]:
    """Weight of each cell of the window: of cells [first, end) the one given, else 0."""
    found = np.zeros(CELLS, dtype=np.float32)
    for first, end, value in runs:
        found[first:end] = value
    return found


def plant(
    path: Path, score: npt.NDArray[np.float32], heat: npt.NDArray[np.float32] | None = None
) -> bundles.Bundle:
    """Write a bundle that is additive by construction, and read it back.

    The logit of the first label is the sum over the first 4,096 bytes of byte / 255 times the
    weight of its cell, that of the second label its negative.

    Args:
        score: weight of each cell, [CELLS].
        heat: weights that the map goes by; None: those of the score, and the map is true.
    """
    heat = score if heat is None else heat
    constants = {
        "first": np.array([0]),
        "one": np.array([1]),
        "axis": np.array([1]),
        "cells": np.array([-1, 1, CELLS, CELL]),
        "row": np.array([-1, CELLS]),
        "each": np.array([3]),
        "all": np.array([1]),
        "zero": np.array(0),
        "two": np.array(2.0, dtype=np.float32),
        "plus": np.array(1.0, dtype=np.float32),
        "scale": np.array(1 / 255, dtype=np.float32),
        "score_weights": score,
        "heat_weights": heat,
    }
    nodes = [
        helper.make_node("Slice", ["head", "first", "one", "axis"], ["bytes"]),
        helper.make_node("Cast", ["bytes"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["values", "scale"], ["shares"]),
        helper.make_node("Reshape", ["shares", "cells"], ["grouped"]),
        helper.make_node("ReduceSum", ["grouped", "each"], ["sums"], keepdims=0),
        helper.make_node("Reshape", ["sums", "row"], ["flat"]),
        helper.make_node("Mul", ["flat", "score_weights"], ["parts"]),
        helper.make_node("ReduceSum", ["parts", "all"], ["logit"], keepdims=1),
        helper.make_node("Neg", ["logit"], ["other"]),
        helper.make_node("Concat", ["logit", "other"], ["logits"], axis=1),
        helper.make_node("ArgMax", ["logits"], ["top"], axis=1, keepdims=0),
        helper.make_node("Less", ["target", "zero"], ["unset"]),
        helper.make_node("Where", ["unset", "top", "target"], ["chosen"]),
        helper.make_node("Cast", ["chosen"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["number", "two"], ["doubled"]),
        helper.make_node("Sub", ["plus", "doubled"], ["sign"]),
        helper.make_node("Unsqueeze", ["sign", "axis"], ["signs"]),
        helper.make_node("Unsqueeze", ["signs", "axis"], ["turned"]),
        helper.make_node("Mul", ["sums", "heat_weights"], ["warm"]),
        helper.make_node("Mul", ["warm", "turned"], ["heat_head"]),
        helper.make_node("Cast", ["target"], ["limit"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["limit", "limit"], ["baseline"]),
        helper.make_node("Unsqueeze", ["chosen", "axis"], ["left"]),
        helper.make_node("Unsqueeze", ["against", "axis"], ["right"]),
        helper.make_node("Concat", ["left", "right"], ["explained"], axis=1),
        helper.make_node("Identity", ["logit"], ["embedding"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "planted",
        [
            value("head", TensorProto.UINT8, ["B", 2, CELLS * CELL]),
            value("target", TensorProto.INT64, ["B"]),
            value("against", TensorProto.INT64, ["B"]),
            value("threshold", TensorProto.FLOAT, ["B"]),
        ],
        [
            value("logits", TensorProto.FLOAT, ["B", 2]),
            value("heat_head", TensorProto.FLOAT, ["B", 1, CELLS]),
            value("baseline", TensorProto.FLOAT, ["B"]),
            value("explained", TensorProto.INT64, ["B", 2]),
            value("embedding", TensorProto.FLOAT, ["B", 1]),
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    card = msgspec.structs.replace(
        bundles.load(bundles.resolve(None)).card,
        name="planted",
        labels=LABELS,
        views=(WINDOW,),
        threshold=None,
        temperature=None,
        conformal=None,
        open_set=None,
        additive=True,
        two_questions=False,
        receptive_field_bytes={"head": CELL},
    )
    bundles.save(model, card, path)
    return bundles.load(path)


def cross_validate(
    run: Path, nets: Sequence[bundles.Bundle], corpus: Corpus, held: Sequence[Sequence[int]]
) -> bundles.Bundle:
    """Write bundles as the folds of a run, and the last one also as the net that ships.

    Args:
        nets: of each fold.
        held: of each fold, numbers of the samples that it held back.
    """
    training = msgspec.structs.replace(
        nets[-1].card.training, folds=len(nets), manifest_sha256=manifest_sha256(corpus)
    )
    for fold, (net, own) in enumerate(zip(nets, held, strict=True)):
        folder = fold_folder(run, fold)
        folder.mkdir(parents=True)
        bundles.with_card(
            net, msgspec.structs.replace(net.card, training=training), folder / "net.onnx"
        )
        save_predictions(
            Predictions(
                recipe="planted",
                seed=0,
                labels=LABELS,
                sha256=tuple(corpus.sha256[i] for i in own),
                truth=np.zeros(len(own), dtype=np.int64),
                fold=np.full(len(own), fold),
                added=np.zeros(len(own), dtype=bool),
                logits=np.zeros((len(own), len(LABELS))),
            ),
            folder / "predictions.csv",
        )
    card = msgspec.structs.replace(nets[-1].card, training=training)
    bundles.with_card(nets[-1], card, run / "model.onnx")
    return bundles.load(run / "model.onnx")
