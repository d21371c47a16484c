"""The options of a run, given by the user or read from a checkpoint."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from maltriage.corpus.corpus import Corpus
from maltriage.corpus.splits import KINDS, check_folds, make_fold, values_of
from maltriage.errors import MaltriageError
from maltriage.learn.fit.checkpoint import State
from maltriage.learn.fit.recipe import FitOptions
from maltriage.learn.heat.guide import GuideOptions
from maltriage.learn.nets import entry
from maltriage.sample.views import (
    BYTEPLOT,
    DEFAULT,
    ViewSpec,
    byteplot,
    known_views,
)


@dataclass(frozen=True)
class RunOptions:
    """The name and folder of a run, and the split of the corpus."""

    folder: Path
    name: str
    fit: FitOptions
    split: str = "grouped"
    split_seed: int = 0
    folds: int = 0
    """Folds of the run's cross-validation; 0: training, validation and test."""
    fold: int | None = None
    """The fold to hold back; None: none, every sample is for training."""
    split_file: Path | None = None
    """A stored split; the four fields before are then ignored."""
    guide: GuideOptions | None = None
    """Guide of the net's tokens; None: all tokens are used."""
    command: tuple[str, ...] = ()
    """The user's command line, for the record."""

    def check_name(self) -> None:
        """Raise MaltriageError if the name cannot be that of a file."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.name):
            raise MaltriageError(f"name {self.name}: letters, digits, dots, dashes only")


def with_folds(options: RunOptions, corpus: Corpus) -> RunOptions:
    """The options with the folds that a split by a column has.

    Raises:
        MaltriageError: one of the folds that the run trains cannot be, or the options contradict.
    """
    if options.split_file is not None:
        return options
    if options.split in KINDS:
        if options.folds:
            check_folds(corpus, options.split, options.split_seed, options.folds)
        return options
    count = len(values_of(corpus, options.split))
    if options.folds not in (0, count):
        raise MaltriageError(
            f"--split {options.split} makes {count} folds, one of each value: leave out --folds"
        )
    if options.fit.patience:
        raise MaltriageError(f"--patience needs one validation part: not with {options.split}")
    if options.fold is not None:  # another that cannot be is the matter of other processes
        make_fold(corpus, options.split, options.split_seed, count, options.fold)
    else:
        check_folds(corpus, options.split, options.split_seed, count)
    return replace(options, folds=count)


def views_for(options: FitOptions) -> tuple[ViewSpec, ...]:
    """The views that a net is trained on: those named, or else the net's defaults.

    Raises:
        MaltriageError: unknown net or view, views that the net cannot read, or a bad size.
    """
    if options.image_size % 8 or not 16 <= options.image_size <= 1024:
        raise MaltriageError(
            f"image size {options.image_size}: must be a multiple of 8 from 16 to 1024"
        )
    net = entry(options.net)
    names = options.views or net.views or DEFAULT
    choices: dict[str, ViewSpec] = {BYTEPLOT: byteplot(options.image_size)}
    choices |= {view.name: view for view in known_views(options.image_size)}
    strange = [name for name in names if name not in choices]
    if strange or options.views == ():
        raise MaltriageError(f"views must be some of {', '.join(choices)}: {', '.join(strange)}")
    chosen = tuple(view for name, view in choices.items() if name in names)
    fixed = [view.name for view in chosen if view.fixed]
    if len({view.name for view in chosen}) < len(chosen):
        raise MaltriageError(f"{BYTEPLOT} is the first channel of body: name one of them")
    if net.body and not any(view.picture for view in chosen):
        raise MaltriageError(f"net {options.net} reads a picture: name {BYTEPLOT} or body")
    strange = [v.name for v in chosen if v.fixed and not (net.counted if v.counted else net.fixed)]
    if strange:
        raise MaltriageError(f"net {options.net} cannot read {', '.join(strange)}")
    if len(fixed) == len(chosen):
        raise MaltriageError(f"{', '.join(fixed)}: name a view besides that a net can learn")
    return chosen


def fit_options(state: State, **others: Any) -> FitOptions:
    """The options stored in a checkpoint, with others that do not affect the weights."""
    try:
        return msgspec.convert(state.origin.recipe | others, FitOptions)
    except msgspec.ValidationError as error:
        raise MaltriageError(f"a checkpoint of another recipe: {error}") from error


def guide_options(state: State) -> GuideOptions | None:
    """The guide options stored in a checkpoint."""
    guide = state.origin.guide
    if guide is None:
        return None
    teachers = tuple(Path(teacher.path) for teacher in guide.teachers)
    kind: Any = guide.kind
    cam: Any = guide.cam or "hirescam"
    return GuideOptions(kind, guide.keep, cam, teachers)
