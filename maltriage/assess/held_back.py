"""Pairs labelled files with the nets that held them back from training.

The folder of a cross-validation has a net for each fold. For a model trained on a part, the split
described in its card gives the held-back files.
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
from maltriage.corpus.split_file import SPLIT_FILE, SplitFile, manifest_sha256
from maltriage.corpus.splits import make_split, read_split, twins_in_training
from maltriage.errors import MaltriageError
from maltriage.similar.index_file import files_beside

Samples = Sequence[tuple[str, str]]
"""Pairs of path and label."""


@dataclass(frozen=True)
class Group:
    """Samples and the bundle to run on them."""

    bundle: Bundle
    samples: Samples

    @property
    def known(self) -> list[tuple[str, str]]:
        """The samples with labels that the bundle knows."""
        labels = self.bundle.card.labels
        return [sample for sample in self.samples if sample[1] in labels]

    @property
    def unknown(self) -> Counter[str]:
        """Number of samples by label that the bundle does not know."""
        labels = self.bundle.card.labels
        return Counter(label for _, label in self.samples if label not in labels)


@dataclass(frozen=True)
class Held:
    """The samples that a model is measured on, by bundle: its own, or those of each fold."""

    model: Bundle
    groups: Sequence[Group]
    part: str
    """`all`, a part of a split, or `out of fold`."""
    seen: bool = False
    """True if the model was trained on these files, as far as is known."""
    missing: int = 0
    """Files that no fold of a cross-validation held back."""
    duplicates: int | None = None
    """Files of a part with an exact duplicate in training; None: unknown."""
    near_twins: int | None = None
    in_index: int | None = None
    """Of all files: those in the model's own index, which is usually of its training files; None:
    unknown."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Files in no part of a split by time, by reason."""

    def __len__(self) -> int:
        """Number of files."""
        return sum(len(group.samples) for group in self.groups)

    @property
    def unknown(self) -> Counter[str]:
        return sum((group.unknown for group in self.groups), Counter[str]())


class Hints(NamedTuple):
    """Advice in a command's errors if the held-back files are unknown."""

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
    """The files of a dataset held back from a bundle or from the net of their fold; all files if
    neither a cross-validation nor a split is named.

    Args:
        folds: run of the bundle's cross-validation.
        split_file: of the bundle's run, instead of `folds`; its test part is used.
        limit: number of files, drawn by `seed` in proportion to the labels; None: all.

    Raises:
        MaltriageError: see `part_of`, `fold_bundles` and `all_of`.
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
    """All samples of a corpus, even if the bundle was trained on them.

    Raises:
        MaltriageError: the bundle's index cannot be read.
    """
    seen = manifest_sha256(corpus) == bundle.card.training.manifest_sha256
    group, indexed = Group(bundle, samples), files_beside(bundle)
    in_index = None
    if indexed is not None:
        sha256 = dict(zip(corpus.paths, corpus.sha256, strict=True))
        in_index = sum(sha256.get(path) in indexed for path, _ in group.known)
    return Held(bundle, [group], "all", seen, in_index=in_index)


def part_of(
    bundle: Bundle,
    data: Dataset,
    part: str,
    split_file: Path | None = None,
    hints: Hints = Hints(),  # noqa: B008 - immutable
) -> Held:
    """A part of the bundle's split, which is made again or read from a file.

    Args:
        part: a name of `PARTS`.

    Raises:
        MaltriageError: see `split_of`.
    """
    _check_unseen(bundle, split_file, hints)  # before reading the corpus
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
    """The split of a corpus that a bundle was trained with.

    Args:
        split_file: the split.json of its run; None: made again from the card.

    Raises:
        MaltriageError: the bundle is of other data or another split, or was trained on all of it.
    """
    _check_data(bundle, corpus, hints)
    _check_unseen(bundle, split_file, hints)
    training = bundle.card.training
    if split_file is None:
        divided = make_split(corpus, training.split, training.split_seed)
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
            f" --goodware included), so the held-back files are unknown{hints.other_data}"
        )


def _checked(bundle: Bundle, divided: SplitFile, hint: str) -> SplitFile:
    if bundle.card.training.split_sha256 not in ("", divided.sha256):
        raise MaltriageError(f"{bundle.path} was trained with a split of its own; {hint}")
    return divided


def out_of_fold(run: Path, bundle: Bundle, corpus: Corpus, samples: Samples) -> Held:
    """Samples of a corpus, grouped by the fold that held them back.

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
    """The bundle of each fold of a cross-validation with its split of a corpus.

    Raises:
        MaltriageError: see `fold_bundles`; or the corpus is another one, or a fold's split is
            missing or another one.
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
    """A recipe without its results: each fold's net has its own teachers, of the same nets and
    views, which choose other tokens. Fields missing in early cards are filled in.
    """
    recipe = {**_LATER, **recipe}
    guide = recipe.get("guide")
    if not isinstance(guide, dict):
        return recipe
    asked = {key: value for key, value in guide.items() if key not in _FOUND}
    teachers = [{**teacher, "weights_sha256": None} for teacher in guide.get("teachers") or []]
    return {**recipe, "guide": {**asked, "teachers": teachers}}


_FOUND = ("kept", "similarity")
"""Fields of a guide that depend on the maps of its teachers."""
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
"""Values of options that early cards do not have."""


def stratified(samples: Samples, limit: int | None, seed: int) -> list[tuple[str, str]]:
    """A stratified choice of samples, at least one of each label, in their order.

    Args:
        limit: number of samples; with more labels than that, one of each of the largest. None: all.
    """
    if limit is None or limit >= len(samples):
        return list(samples)
    generator = np.random.default_rng(seed)
    by_label: dict[str, list[int]] = {}
    for i, (_, label) in enumerate(samples):
        by_label.setdefault(label, []).append(i)
    share = limit / len(samples)
    wanted = {label: max(1, int(len(rows) * share)) for label, rows in by_label.items()}
    # The remainder of rounding down goes to the labels that lost most.
    rest = sorted(by_label, key=lambda label: wanted[label] - len(by_label[label]) * share)
    for label in rest[: max(0, limit - sum(wanted.values()))]:
        wanted[label] += 1
    # What small labels have beyond their share is taken from the largest ones.
    for _ in range(sum(wanted.values()) - limit):
        wanted[max(wanted, key=lambda label: _spare(wanted[label], len(by_label[label])))] -= 1
    kept = [
        int(i)
        for label, rows in by_label.items()
        for i in generator.permutation(rows)[: wanted[label]]
    ]
    return [samples[i] for i in sorted(kept)]


def _spare(wanted: int, files: int) -> tuple[int, int]:
    """The order in which labels give files back: one that has a single file last, the larger the
    label the later.
    """
    return wanted, files if wanted > 1 else -files
