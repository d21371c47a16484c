"""Labelled files, and the nets that are asked about them: files that those had not seen, if asked.

The folder of a cross-validation has a net for each fold, which that net had not seen; of a model
that was trained on a part, the split that its card describes says which files it had not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from maltriage import bundle as bundles
from maltriage.bundle import Bundle
from maltriage.corpus.corpus import Corpus
from maltriage.corpus.datasets.base import Dataset
from maltriage.corpus.load import load_corpus
from maltriage.corpus.predictions import (
    PREDICTIONS_FILE,
    Predictions,
    fold_folder,
    load_predictions,
)
from maltriage.corpus.splits import (
    SPLIT_FILE,
    SplitFile,
    make_split,
    manifest_sha256,
    read_split,
    twins_in_training,
)
from maltriage.errors import MaltriageError

Samples = Sequence[tuple[str, str]]
"""Pairs of path and label."""


@dataclass(frozen=True)
class Group:
    """Samples, and the bundle that is asked about them."""

    bundle: Bundle
    samples: Samples

    @property
    def known(self) -> list[tuple[str, str]]:
        """The samples of labels that the bundle knows."""
        labels = self.bundle.card.labels
        return [sample for sample in self.samples if sample[1] in labels]

    @property
    def unknown(self) -> Counter[str]:
        """How many samples there are of each label that it does not know."""
        labels = self.bundle.card.labels
        return Counter(label for _, label in self.samples if label not in labels)


@dataclass(frozen=True)
class Held:
    """What a model is measured on: its own files, or out of fold those of each fold's net."""

    model: Bundle
    groups: Sequence[Group]
    part: str
    """`all`, a part of a split, or `out of fold`."""
    seen: bool = False
    """Whether the model was trained on these very files, as far as can be known."""
    missing: int = 0
    """Of a cross-validation, files that no fold held back."""
    duplicates: int | None = None
    """Files of a part whose very bytes are in training; None: not known."""
    near_twins: int | None = None
    left_out: dict[str, int] = field(default_factory=dict)
    """Files that a split by time has in no part, by why."""

    def __len__(self) -> int:
        """How many files are asked about."""
        return sum(len(group.samples) for group in self.groups)

    @property
    def unknown(self) -> Counter[str]:
        return sum((group.unknown for group in self.groups), Counter[str]())


class Hints(NamedTuple):
    """What a command offers instead of a part that cannot be told."""

    seen: str = "name its run with --folds"
    other_data: str = ""


def hold_back(
    bundle: Bundle,
    data: Dataset,
    *,
    folds: Path | None = None,
    split_file: Path | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Held:
    """The files of a dataset that a bundle, or the net of their fold, had not seen; all of them
    where neither a cross-validation nor a split is named.

    Args:
        folds: run of the bundle's cross-validation.
        split_file: of the bundle's run, instead of `folds`; its test part is meant.
        limit: so many files, drawn by `seed` with each label's share; None: all of them.

    Raises:
        MaltriageError: see `part_of` and `fold_bundles`.
    """
    if split_file is not None:
        found = part_of(bundle, data, "test", split_file)
        (own,) = found.groups
        return replace(found, groups=[Group(bundle, stratified(own.samples, limit, seed))])
    corpus = load_corpus(data, ())
    samples = stratified(samples_of(data), limit, seed)
    if folds is not None:
        return out_of_fold(folds, bundle, corpus, samples)
    return all_of(bundle, corpus, samples)


def samples_of(data: Dataset) -> list[tuple[str, str]]:
    """Path and label of each file of a dataset."""
    return [(sample.path, sample.label) for sample in data.samples]


def all_of(bundle: Bundle, corpus: Corpus, samples: Samples) -> Held:
    """Samples of a corpus, whether the bundle was trained on it or not."""
    seen = manifest_sha256(corpus) == bundle.card.training.manifest_sha256
    return Held(bundle, [Group(bundle, samples)], "all", seen)


def part_of(
    bundle: Bundle,
    data: Dataset,
    part: str,
    split_file: Path | None = None,
    hints: Hints = Hints(),  # noqa: B008 - it cannot be changed
) -> Held:
    """A part of the split that the bundle was trained with, made again or read from a file.

    Args:
        part: a name of `PARTS`.

    Raises:
        MaltriageError: see `split_of`.
    """
    _check_unseen(bundle, split_file, hints)  # before the corpus is read
    corpus = load_corpus(data, ())
    divided = split_of(bundle, corpus, split_file, hints)
    parts = divided.parts
    at = np.flatnonzero(parts == part)
    samples = [(corpus.paths[i], corpus.labels[corpus.label[i]]) for i in at]
    duplicates, near = twins_in_training(corpus, parts, part)
    return Held(
        bundle,
        [Group(bundle, samples)],
        part,
        duplicates=duplicates,
        near_twins=near,
        left_out=divided.left_out,
    )


def split_of(
    bundle: Bundle,
    corpus: Corpus,
    split_file: Path | None = None,
    hints: Hints = Hints(),  # noqa: B008
) -> SplitFile:
    """How a corpus was split to train a bundle.

    Args:
        split_file: the split.json of its run; None: made again from the card.

    Raises:
        MaltriageError: the bundle is of other data or of another split, or has seen it all.
    """
    _check_data(bundle, corpus, hints)
    _check_unseen(bundle, split_file, hints)
    training = bundle.card.training
    if split_file is None:
        divided = make_split(corpus, training.split, training.split_seed)  # type: ignore[arg-type]
        return _checked(bundle, divided, "it cannot be made again: name it with --split-file")
    return _checked(bundle, read_split(split_file, corpus), f"{split_file} is another one")


def _check_unseen(bundle: Bundle, split_file: Path | None, hints: Hints) -> None:
    training = bundle.card.training
    if training.folds and not (split_file and training.split_sha256):
        raise MaltriageError(f"{bundle.path} has seen every sample: {hints.seen}")


def _check_data(bundle: Bundle, corpus: Corpus, hints: Hints) -> None:
    if manifest_sha256(corpus) != bundle.card.training.manifest_sha256:
        raise MaltriageError(
            f"{corpus.root} is not the data that {bundle.path} was trained on (clean files of"
            f" --goodware included), so what it had not seen is unknown{hints.other_data}"
        )


def _checked(bundle: Bundle, divided: SplitFile, hint: str) -> SplitFile:
    if bundle.card.training.split_sha256 not in ("", divided.sha256):
        raise MaltriageError(f"{bundle.path} was trained with a split of its own; {hint}")
    return divided


def out_of_fold(run: Path, bundle: Bundle, corpus: Corpus, samples: Samples) -> Held:
    """Samples of a corpus by the fold that held them back.

    Args:
        run: folder of the cross-validation of `bundle`.

    Raises:
        MaltriageError: see `fold_bundles`.
    """
    sha256 = dict(zip(corpus.paths, corpus.sha256, strict=True))
    groups, left = [], list(samples)
    for part, said in fold_bundles(run, bundle):
        held = set(said.sha256)
        groups.append(Group(part, [s for s in left if sha256.get(s[0]) in held]))
        left = [s for s in left if sha256.get(s[0]) not in held]
    return Held(bundle, groups, "out of fold", missing=len(left))


def fold_splits(run: Path, bundle: Bundle, corpus: Corpus) -> list[tuple[Bundle, SplitFile]]:
    """The bundle of each fold of a cross-validation, and how a corpus was split for it.

    Raises:
        MaltriageError: see `fold_bundles`; or the corpus is another one, or a fold's split is
            missing, or not its own.
    """
    _check_data(bundle, corpus, Hints())
    found = []
    for fold, (part, _) in enumerate(fold_bundles(run, bundle)):
        path = fold_folder(run, fold) / SPLIT_FILE
        found.append((part, _checked(part, read_split(path, corpus), f"{path} is another one")))
    return found


def fold_bundles(run: Path, bundle: Bundle) -> list[tuple[Bundle, Predictions]]:
    """Bundle and predictions of each fold of a bundle's cross-validation.

    Args:
        run: folder of the cross-validation.

    Raises:
        MaltriageError: a fold is missing, or of other data or another recipe.
    """
    training = bundle.card.training
    found = []
    for fold in range(training.folds):
        folder = fold_folder(run, fold)
        paths = sorted(folder.glob("*.onnx"))
        if len(paths) != 1:
            raise MaltriageError(f"{folder}: no bundle of this fold")
        part = bundles.load(paths[0])
        other = part.card.training
        if (other.manifest_sha256, _as_asked(other.recipe)) != (
            training.manifest_sha256,
            _as_asked(training.recipe),
        ):
            raise MaltriageError(f"{paths[0]}: of other data or another recipe than the model")
        found.append((part, load_predictions(folder / PREDICTIONS_FILE)))
    if not found:
        raise MaltriageError(f"{bundle.path}: not from a cross-validation")
    return found


def _as_asked(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe without what came of it: each fold's net has teachers of its own, of the same
    nets and views, and they choose other tokens. What early cards do not state is filled in.
    """
    recipe = {**_LATER, **recipe}
    guide = recipe.get("guide")
    if not isinstance(guide, dict):
        return recipe
    asked = {key: value for key, value in guide.items() if key not in _FOUND}
    teachers = [{**teacher, "weights_sha256": None} for teacher in guide.get("teachers") or []]
    return {**recipe, "guide": {**asked, "teachers": teachers}}


_FOUND = ("kept", "similarity")
"""What a guide notes of the maps of its teachers."""
_LATER: dict[str, Any] = {
    "optimizer": "adamw",
    "schedule": "onecycle",
    "warmup": 0.3,
    "clip_norm": 0.0,
    "class_weights": "sqrt",
    "augment": True,
    "harden": False,
    "patience": 0,
    "pretrained": None,
    "devices": 1,
}
"""What every training did before it could be chosen and cards said so."""


def stratified(samples: Samples, limit: int | None, seed: int) -> list[tuple[str, str]]:
    """Some of the samples, each label with its share and at least one, in their order.

    Args:
        limit: how many; where there are more labels than that, one of each. None: all.
    """
    if limit is None or limit >= len(samples):
        return list(samples)
    generator = np.random.default_rng(seed)
    by_label: dict[str, list[int]] = {}
    for i, (_, label) in enumerate(samples):
        by_label.setdefault(label, []).append(i)
    share = limit / len(samples)
    wanted = {label: max(1, int(len(rows) * share)) for label, rows in by_label.items()}
    # What rounding down left goes to those that lost most by it.
    rest = sorted(by_label, key=lambda label: wanted[label] - len(by_label[label]) * share)
    for label in rest[: max(0, limit - sum(wanted.values()))]:
        wanted[label] += 1
    kept = [
        int(i)
        for label, rows in by_label.items()
        for i in generator.permutation(rows)[: wanted[label]]
    ]
    return [samples[i] for i in sorted(kept)]
