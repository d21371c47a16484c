"""The training options of `maltriage train`, named as in `maltriage.learn.fit.recipe.FitOptions`.

They are repeated here because that module takes too long to import for `--help`.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from maltriage.errors import MaltriageError

if TYPE_CHECKING:
    from maltriage.learn.heat.guide import GuideOptions
    from maltriage.learn.nets import Entry


OptimizerName = Literal["adamw", "adam", "sgd"]


ScheduleName = Literal["onecycle", "cosine"]


ClassWeightsName = Literal["none", "sqrt", "balanced", "effective"]


PrecisionName = Literal["float32", "bfloat16", "float16"]


AcceleratorName = Literal["auto", "cpu", "cuda"]


Epochs = Annotated[int, typer.Option(min=1, max=100_000, help="Passes over the data.")]
BatchSize = Annotated[
    int | None,
    typer.Option(min=2, max=4096, help="Samples in one step; by default that of the net."),
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of weights, order and augmentation.")]
Optimizer = Annotated[
    OptimizerName, typer.Option(help="Optimizer: adamw, adam, or sgd with momentum 0.9.")
]
LearningRate = Annotated[
    float | None,
    typer.Option(
        min=1e-8, max=1.0, help="Peak learning rate, e.g. 0.002; by default that of the net."
    ),
]
WeightDecay = Annotated[float, typer.Option(min=0, help="Weight decay, on all weights.")]
Schedule = Annotated[ScheduleName, typer.Option(help="Schedule of the learning rate.")]
Warmup = Annotated[
    float,
    typer.Option(
        min=0, max=0.99, help="Share of the steps in which the learning rate rises, e.g. 0.3."
    ),
]
ClipNorm = Annotated[
    float, typer.Option(min=0, help="Clip the gradient to this norm, e.g. 1.0; 0: do not.")
]
ClassWeights = Annotated[
    ClassWeightsName,
    typer.Option(
        help="Loss weight of a label with n samples: none 1, sqrt 1/sqrt(n), balanced 1/n,"
        " effective 1 over the effective number of samples."
    ),
]
LabelSmoothing = Annotated[
    float,
    typer.Option(min=0, max=0.9, help="Share of the target spread over all labels, e.g. 0.05."),
]
Mixup = Annotated[
    float,
    typer.Option(min=0, help="Alpha of mixup's beta distribution, e.g. 0.3; 0: no mixup."),
]
Augment = Annotated[bool, typer.Option(help="Augment training images at random.")]
CleanWeight = Annotated[
    float,
    typer.Option(
        min=0.01,
        max=1000.0,
        help="Weight of a clean file in tables of words and bytes, relative to malware.",
    ),
]
WordBound = Annotated[
    float | None,
    typer.Option(
        min=0.01,
        max=1000.0,
        help="Log odds that a file's words say for benign at most, e.g. 2; by default no bound.",
    ),
]
Harden = Annotated[
    bool,
    typer.Option(help="Also train on changed copies of files, e.g. with bytes appended."),
]
Ema = Annotated[
    float,
    typer.Option(min=0, max=0.99999, help="Decay of the averaged weights per step, e.g. 0.99."),
]
Patience = Annotated[
    int,
    typer.Option(
        min=0,
        help="Stop after this many epochs without a better validation macro-F1, e.g. 10, and"
        " export the best epoch; 0: train all epochs and export the last.",
    ),
]
Precision = Annotated[
    PrecisionName,
    typer.Option(help="Precision of training; bfloat16 is faster on hardware that has it."),
]
Accelerator = Annotated[
    AcceleratorName, typer.Option(help="Where to train; auto: CUDA if PyTorch finds it.")
]
Devices = Annotated[
    int,
    typer.Option(min=1, max=64, help="Processes that share each batch, one per device, e.g. 4."),
]
CheckpointMinutes = Annotated[
    float,
    typer.Option(
        min=0, help="Minutes between checkpoints, besides one after each epoch; 0: only those."
    ),
]

RECIPE = (
    *("epochs", "batch_size", "seed", "optimizer", "learning_rate", "weight_decay", "schedule"),
    *("warmup", "clip_norm", "class_weights", "label_smoothing", "mixup", "augment", "harden"),
    *("clean_weight", "word_bound"),
    *("ema", "patience", "precision", "devices", "pretrained"),
)
"""Options that must be the same when a run is resumed."""
FREE = ("accelerator", "checkpoint_minutes")
"""Options that may then differ."""


def as_fields(values: dict[str, Any], net: Entry) -> dict[str, Any]:
    """Fields of FitOptions from the values of a command's options; the net fills the defaults."""
    found = {name: values[name] for name in (*RECIPE, *FREE)}
    found["learning_rate"] = found["learning_rate"] or net.learning_rate
    found["batch_size"] = found["batch_size"] or net.batch_size
    return found


def run_folder(params: dict[str, Any], stray: list[str]) -> tuple[Path, bool]:
    """The folder of a run, and whether a run that it has goes on.

    A folder without a checkpoint, of a run that was stopped before, counts as empty. Wrong use is
    found here, before torch is imported.

    Args:
        stray: arguments that are no options, of which there must be none.
    """
    from maltriage.corpus.predictions import fold_folder
    from maltriage.files.places import path_text
    from maltriage.learn.runs.run_folder import is_free

    out, resume = params["out"], params["resume"]
    if stray and resume:
        raise MaltriageError(
            f"--resume names no folder, the run is that of --out: maltriage train --out {stray[0]}"
            " --resume"
        )
    if stray:
        raise MaltriageError(f"no argument of train: {stray[0]} (--root names the files)")
    if resume and out is None:
        raise MaltriageError("--resume needs the folder of the run: --out RUN")
    folder: Path = out or Path("runs") / datetime.now().strftime("%Y%m%d-%H%M%S")
    if path_text(folder) != str(folder.absolute()):  # safetensors reads no such file
        raise MaltriageError(f"--out {path_text(folder)}: the path of a run must be UTF-8")
    if resume:
        return folder, not is_free(folder)
    if not is_free(folder if params["fold"] is None else fold_folder(folder, params["fold"])):
        wrong = "is not empty" if folder.is_dir() else "is no folder"
        raise MaltriageError(f"{folder} {wrong}; name another --out, or go on with --resume")
    return folder, False


def begun(folder: Path) -> dict[str, Any]:
    """The options of a run when it began, by their names on the command line."""
    from maltriage.corpus.predictions import fold_folder
    from maltriage.corpus.split_file import SPLIT_FILE
    from maltriage.files.places import path_of
    from maltriage.learn.fit.checkpoint import LAST, load_checkpoint
    from maltriage.learn.runs.metadata import named_threads
    from maltriage.learn.runs.options import fit_options, guide_options
    from maltriage.learn.runs.run_folder import CONFIG_FILE

    # A cross-validation that stopped early has runs of folds only.
    runs = [folder, *sorted(folder.glob(fold_folder(Path(), "*").name))]
    run = next((run for run in runs if (run / LAST).exists()), folder)
    _, state = load_checkpoint(run)
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
            "root": [path_of(root) for root in (origin.root, *origin.more_roots)],
            "goodware": None if origin.goodware is None else path_of(origin.goodware),
            "min_samples": origin.min_samples,
            "allow_resized": "picture" in origin.input,
            "unmapped": origin.unmapped,
            "net": origin.net,
            "image_size": fit.image_size,
            "views": None if fit.views is None else ",".join(fit.views),
            "split": origin.split,
            "split_seed": origin.split_seed,
            # The run's folder has a copy of the split; the named file may be gone.
            "split_file": folder / SPLIT_FILE if origin.split_file else None,
            "folds": 0 if origin.split_file else origin.folds,
            "name": state.name,
            # With another number of them the weights would be others.
            "threads": named_threads(run / CONFIG_FILE),
        }
    )


def guide(values: dict[str, Any], named: dict[str, Any]) -> GuideOptions | None:
    """The options of the guide; wrong use is found here."""
    from maltriage.learn.heat.guide import WHOLE, GuideOptions

    kind, keep = str(values["guide"]), values["keep"]
    if kind == "none":
        misplaced = sorted({"keep", "cam", "teacher"} & set(named))
        if misplaced:
            raise MaltriageError(f"--{misplaced[0]} goes with a --guide")
        return None
    if values["net"] != "camvit":
        raise MaltriageError("--guide goes with --net camvit")
    if kind in WHOLE and "keep" not in named:
        keep = 1.0
    teachers = tuple(Path(path).absolute() for path in values["teacher"] or ())
    guide = GuideOptions(kind, keep, str(values["cam"]), teachers)  # type: ignore[arg-type]
    guide.check()
    return guide
