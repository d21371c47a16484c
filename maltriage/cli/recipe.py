"""The options of `maltriage train` that say how a net is trained, by the names they have in
`maltriage.learn.fit.recipe.FitOptions`, and their defaults (importing that takes too long for
`--help`)."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from maltriage.learn.nets import Entry


class OptimizerName(StrEnum):
    adamw = "adamw"
    adam = "adam"
    sgd = "sgd"


class ScheduleName(StrEnum):
    onecycle = "onecycle"
    cosine = "cosine"


class ClassWeightsName(StrEnum):
    none = "none"
    sqrt = "sqrt"
    balanced = "balanced"
    effective = "effective"


class PrecisionName(StrEnum):
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class AcceleratorName(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


Epochs = Annotated[int, typer.Option(min=1, max=100_000, help="Passes over the data.")]
BatchSize = Annotated[
    int | None,
    typer.Option(min=2, max=4096, help="Samples in one step; by default what suits the net."),
]
Seed = Annotated[int, typer.Option(min=0, help="Of weights, order and augmentation.")]
Optimizer = Annotated[OptimizerName, typer.Option(help="adamw, adam, or sgd with momentum 0.9.")]
LearningRate = Annotated[
    float | None,
    typer.Option(min=1e-8, max=1.0, help="At its top; by default what suits the net."),
]
WeightDecay = Annotated[float, typer.Option(min=0, help="Of all weights.")]
Schedule = Annotated[ScheduleName, typer.Option(help="How the learning rate rises and falls.")]
Warmup = Annotated[
    float, typer.Option(min=0, max=0.99, help="Share of the steps in which the rate rises.")
]
ClipNorm = Annotated[float, typer.Option(min=0, help="Cut the gradient to this norm; 0: do not.")]
ClassWeights = Annotated[
    ClassWeightsName,
    typer.Option(
        help="A label of n samples counts for 1, 1/sqrt(n), 1/n, or 1 over their effective number."
    ),
]
LabelSmoothing = Annotated[
    float, typer.Option(min=0, max=0.9, help="Share of a label given to all of them.")
]
Mixup = Annotated[float, typer.Option(min=0, help="Of its beta distribution; 0: no mixup.")]
Augment = Annotated[bool, typer.Option(help="Change training images at random.")]
Harden = Annotated[
    bool,
    typer.Option(help="Train on changed copies of the files too: bytes appended, headers wiped."),
]
Ema = Annotated[
    float, typer.Option(min=0, max=0.99999, help="Decay of the averaged weights for each step.")
]
Patience = Annotated[
    int,
    typer.Option(
        min=0,
        help="Export the best epoch, by macro-F1 of the validation part, and end after so many"
        " epochs without a better one; 0: train all epochs, export the last.",
    ),
]
Precision = Annotated[
    PrecisionName, typer.Option(help="Of the training; bfloat16 is faster where it is built in.")
]
Accelerator = Annotated[
    AcceleratorName, typer.Option(help="Where to train; auto: CUDA where PyTorch finds it.")
]
Devices = Annotated[
    int, typer.Option(min=1, max=64, help="Processes that share each batch, a device for each.")
]
CheckpointMinutes = Annotated[
    float,
    typer.Option(min=0, help="Save at least so often, besides after each epoch; 0: do not."),
]

RECIPE = (
    *("epochs", "batch_size", "seed", "optimizer", "learning_rate", "weight_decay", "schedule"),
    *("warmup", "clip_norm", "class_weights", "label_smoothing", "mixup", "augment", "harden"),
    *("ema", "patience", "precision", "devices", "pretrained"),
)
"""The options that a run keeps when it is resumed; to be asked for again as they were."""
FREE = ("accelerator", "checkpoint_minutes")
"""Those that may be others then."""


def as_fields(values: dict[str, Any], net: Entry) -> dict[str, Any]:
    """Fields of FitOptions from the values of all options of the command; what was left to the
    net is as suits it."""
    found = {name: values[name] for name in (*RECIPE, *FREE)}
    found["learning_rate"] = found["learning_rate"] or net.learning_rate
    found["batch_size"] = found["batch_size"] or net.batch_size
    return {name: str(v) if isinstance(v, StrEnum) else v for name, v in found.items()}


def begun(folder: Path) -> dict[str, Any]:
    """The options that a run was begun with, by their names on the command line."""
    from maltriage.corpus.predictions import fold_folder
    from maltriage.corpus.splits import SPLIT_FILE
    from maltriage.learn.fit.checkpoint import LAST, load_checkpoint
    from maltriage.learn.runs.options import fit_options, guide_options

    # A cross-validation that stopped early has runs of folds only.
    runs = [folder, *sorted(folder.glob(fold_folder(Path(), "*").name))]
    _, state = load_checkpoint(next((run for run in runs if (run / LAST).exists()), folder))
    fit, origin, guide = fit_options(state), state.origin, guide_options(state)
    guided = {} if guide is None else {
        "guide": guide.kind,
        "keep": guide.keep,
        "cam": guide.cam,
        "teacher": list(guide.teachers),
    }  # fmt: skip
    return (
        guided
        | {name: getattr(fit, name) for name in RECIPE}
        | {
            "dataset": origin.dataset,
            "root": Path(origin.root),
            "goodware": None if origin.goodware is None else Path(origin.goodware),
            "min_samples": origin.min_samples,
            "allow_resized": "picture" in origin.input,
            "unmapped": origin.unmapped,
            "net": origin.net,
            "image_size": fit.image_size,
            "views": None if fit.views is None else ",".join(fit.views),
            "split": origin.split,
            "split_seed": origin.split_seed,
            # A run of a stored split has it in its folder, whatever became of the file.
            "split_file": folder / SPLIT_FILE if origin.split_file else None,
            "folds": 0 if origin.split_file else origin.folds,
            "name": state.name,
        }
    )
