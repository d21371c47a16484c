"""What `train` says before and after a training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from maltriage.cli.bars import status

if TYPE_CHECKING:
    from rich.console import Console

    from maltriage.corpus.corpus import Corpus
    from maltriage.learn.runs.options import RunOptions
    from maltriage.learn.runs.train import Outcome


def tell_held_back(options: RunOptions, corpus: Corpus, console: Console) -> None:
    """Print a notice if a run without folds holds nothing back."""
    from maltriage.learn.runs.train import divide

    if options.folds or "test" in divide(corpus, options).parts:
        return
    why = (
        "too few files, or groups of near duplicates, which are kept together"
        if options.split_file is None
        else "the split has no test part"
    )
    console.print(f"note: nothing is held back, so there are no figures: {why}", soft_wrap=True)


def foretell(corpus: Corpus, options: RunOptions, console: Console) -> None:
    """Print what the training will take."""
    from maltriage.learn.runs.estimate import estimate
    from maltriage.report.numbers import count, duration

    with status(console, "timing a few steps", enabled=True):
        found = estimate(corpus, options)
    runs = "" if found.runs == 1 else f"{found.runs} nets, each "
    guide = "" if options.guide is None else ", without its guide"
    console.print(
        f"{count(found.samples, 'sample')}, {count(found.labels, 'label')}:"
        f" {runs}{count(found.epochs, 'epoch')}, {found.steps:,} steps in all;"
        f" about {duration(found.seconds)} on this machine{guide}",
        soft_wrap=True,
        highlight=False,
    )
    if found.emulated:
        console.print(
            f"note: this processor has no {options.fit.precision} instructions:"
            " --precision float32 is faster",
            soft_wrap=True,
        )


def report(outcome: Outcome, corpus: Corpus) -> None:
    """Print the closing block on stdout: the bundle and its scores."""
    import numpy as np

    from maltriage.corpus.split_file import LEFT_OUT
    from maltriage.report.sanitize import clean

    state, metrics = outcome.state, outcome.state.metrics
    typer.echo(f"bundle       {clean(str(outcome.bundle))}")
    typer.echo(
        f"trained on   {clean(state.origin.dataset)}: {state.origin.samples} samples,"
        f" {len(state.origin.labels)} labels, {state.epoch} epochs"
    )
    if outcome.divided.value is not None:
        typer.echo(f"without      {clean(state.origin.split)} {clean(outcome.divided.value)}")
    if "out_of_fold_samples" in metrics:
        typer.echo(
            f"out of fold  {metrics['out_of_fold_samples']:.0f} samples: accuracy"
            f" {metrics['out_of_fold_accuracy']:.3f}, macro-F1"
            f" {metrics['out_of_fold_macro_f1']:.3f}, calibration error"
            f" {metrics['out_of_fold_ece']:.3f} ({state.origin.folds} {state.origin.split} folds)"
        )
    if "test_samples" in metrics:
        added = metrics.get("test_added", 0.0)
        among = f", {added:.0f} of them added clean files" if added else ""
        typer.echo(
            f"held back    {metrics['test_samples']:.0f} samples{among}: accuracy"
            f" {metrics['test_accuracy']:.3f}, macro-F1 {metrics['test_macro_f1']:.3f}"
            f" ({state.origin.split} split)"
        )
    for part in ("test", "out_of_fold"):
        if f"{part}_near_twins" in metrics:
            typer.echo(
                f"twins        {metrics[f'{part}_duplicates']:.0f} of them have a duplicate in"
                f" training, {metrics[f'{part}_near_twins']:.0f} a near duplicate or duplicate"
            )
    left_out = outcome.divided.left_out
    if state.origin.split == "time" and state.origin.folds:
        left_out = {"undated": int(np.isnat(corpus.first_seen).sum())}
    for part, count in left_out.items():
        if count:
            typer.echo(f"left out     {count} samples {LEFT_OUT[part]}")
    if state.best_epoch is not None:
        typer.echo(f"best epoch   {state.best_epoch}, by macro-F1 of the validation part")
    if state.temperature is not None:
        typer.echo(f"temperature  {state.temperature:.3f}")
    if state.origin.guide is not None:
        guide = state.origin.guide
        when = " in the first half of the training" if guide.kind == "early" else ""
        typer.echo(
            f"guide        {guide.kind}: {guide.tokens} tokens of each image{when},"
            f" {metrics['flops'] / 1e6:.0f} million operations"
        )
        for pair, value in guide.similarity.items():
            typer.echo(f"             likeness of the teachers {pair}: SSIM {value:.3f}")
    typer.echo(f"try it       maltriage scan --model {clean(str(outcome.bundle))} PATH")
