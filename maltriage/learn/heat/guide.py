"""Guidance: the heat of trained nets (teachers) chooses the tokens of a vision transformer.

After Brosolo et al. 2025 (arXiv 2503.02441), who mask the images of a vision transformer by
cumulative heat maps of CNNs and of pairs of CNNs. The open parts of the paper do not say how maps
are normalised and pairs combined, so this was chosen:

- A teacher's map of an image is its HiResCAM or Grad-CAM of the true label against the mean of
  all labels, minus that of an empty input; its positive part is divided by its sum over all
  views (`heatmaps.shares`).
- The cumulative map of a label is the mean over its images in the *training part*. That of a
  teacher is the mean over the labels, so that large families do not dominate. That of several
  teachers is their mean. Maps are resampled to the student's grid of tokens by area.
- `cumulative` keeps the tokens of most heat, `inverse` (a control) those of least, `random`
  (another control) draws them by the seed of the run. All are constants of the exported graph.
- `instance` chooses by the signed map of each image. The true label is unknown there, so the
  label is the teacher's prediction, and the teacher is part of the graph.

Beyond the paper:

- `label` keeps the tokens of most heat in the cumulative map of the label that the teacher
  predicts; the teacher is part of the graph, its maps are not. The choice says what the teacher
  predicts: `label-random`, a control that says it too, draws the tokens of each label by the seed.
- `weighted` leaves nothing out: tokens of each image are multiplied by a weight between 0 and 2,
  the sigmoid of their signed heat. The teacher is part of the graph.
- `early` is `instance` in the first half of the training, and nothing afterwards.
- `attention` trains the last attention towards the positive map of each image, and leaves nothing
  out (after Zagoruyko and Komodakis 2017, arXiv 1612.03928). The nets of these two are plain ones.

A teacher must be trained on the training part of its student: same samples, same split, and in a
cross-validation the same fold held back. Otherwise the mask would leak the samples that the
student is measured on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import NamedTuple, get_args

import msgspec
import numpy as np
import torch
from torch import Tensor

from maltriage.corpus.predictions import fold_folder
from maltriage.errors import MaltriageError
from maltriage.files.atomic import replace_file
from maltriage.learn.fit.checkpoint import Guide, Origin, State, Teacher, load_checkpoint, part_of
from maltriage.learn.fit.data import Images, key
from maltriage.learn.fit.restore import EVAL_BATCH, restore_net
from maltriage.learn.heat.cam import ExplainedNet
from maltriage.learn.heat.chooser import BY_LABEL, INSIDE, TAUGHT, heat_of
from maltriage.learn.heat.guide_names import Cam, Kind
from maltriage.learn.heat.heatmaps import regrid, shares
from maltriage.learn.nets.base import Net
from maltriage.learn.nets.camvit import grid_of
from maltriage.metrics import COMMON, ssim
from maltriage.sample.views import ViewSpec

KINDS: tuple[str, ...] = get_args(Kind)
CAMS: tuple[str, ...] = get_args(Cam)
MIN_KEEP = 0.25
WHOLE = frozenset({"weighted", "attention"})
"""Guides that leave no token out."""


@dataclass(frozen=True)
class GuideOptions:
    """The kind of a guide, its teachers and the share of tokens kept."""

    kind: Kind
    keep: float = 0.5
    """Share of the tokens, from `MIN_KEEP` to 1."""
    cam: Cam = "hirescam"
    teachers: tuple[Path, ...] = ()
    """Checkpoints or folders of runs; with folds, folders of cross-validations."""

    def check(self) -> None:
        """Raise MaltriageError if the options make no guide."""
        if self.kind not in KINDS:
            raise MaltriageError(f"no such guide: {self.kind} (known: none, {', '.join(KINDS)})")
        if self.cam not in CAMS:
            raise MaltriageError(f"no such map: {self.cam} (known: {', '.join(CAMS)})")
        if not MIN_KEEP <= self.keep <= 1.0:
            raise MaltriageError(f"--keep {self.keep:g}: must be from {MIN_KEEP} to 1")
        if self.kind in WHOLE and self.keep < 1.0:
            raise MaltriageError(f"--guide {self.kind} keeps all tokens: --keep can only be 1")
        if self.kind == "random" and self.teachers:
            raise MaltriageError("--guide random is drawn by the seed: leave out --teacher")
        if self.kind != "random" and not self.teachers:
            raise MaltriageError(f"--guide {self.kind} needs a --teacher")


class Prepared(NamedTuple):
    """A guide with its teachers and maps."""

    guide: Guide
    teachers: tuple[Net, ...] | None = None
    """None if a checkpoint has them, they are gone, or there are none."""
    maps: dict[str, Tensor] = {}  # noqa: RUF012
    """Cumulative maps on the student's tokens by `<teacher>/<view>`, teachers counted from 1:
    [K, h, w]."""


def prepare(
    options: GuideOptions,
    origin: Origin,
    images: Images,
    train: Tensor,
    begun: Guide | None = None,
) -> Prepared:
    """The guide of a run, from its teachers and its training part.

    Args:
        options: checked here.
        origin: of the run, without its guide.
        images: of all samples.
        train: sample numbers of the training part.
        begun: the guide in the checkpoint of a resumed run, None for a new run. If it matches
            the options it is kept, and the teachers are not needed.

    Raises:
        MaltriageError: a teacher is missing, unfinished, guided itself, trained on other samples
            or another split than the student, or has views that the student lacks.
    """
    options.check()
    if origin.net != "camvit":
        raise MaltriageError("--guide goes with --net camvit")
    places = [_place(path, origin) for path in options.teachers]
    if begun is not None and _is_asked(begun, options):
        if not all(place.exists() for place in places):
            return Prepared(begun)
        loaded = [_load(place, origin) for place in places]
        digests = [_weights_sha256(tensors) for tensors, _ in loaded]
        if digests == [teacher.weights_sha256 for teacher in begun.teachers]:
            if begun.kind not in TAUGHT:
                return Prepared(begun)
            return Prepared(begun, _restored(loaded, places))
    grids = {view.name: grid_of(view) for view in origin.views}
    counts = {name: grid[0] * grid[1] for name, grid in grids.items()}
    tokens = sum(counts.values())
    guide = Guide(kind=options.kind, keep=options.keep, tokens=max(1, round(options.keep * tokens)))
    generator = torch.Generator().manual_seed(key(int(origin.recipe["seed"]), tokens))
    if options.kind == "random":
        return Prepared(_keeping(guide, counts, torch.randperm(tokens, generator=generator)))
    loaded = [_load(place, origin) for place in places]
    nets = _restored(loaded, places)
    teachers = tuple(
        Teacher(
            net=state.origin.net,
            views=state.origin.views,
            weights_sha256=_weights_sha256(tensors),
            path=str(path),
            clean=state.origin.clean,
        )
        for path, (tensors, state) in zip(options.teachers, loaded, strict=True)
    )
    _refuse_blind(teachers, origin.views)
    own = [cumulative(net, images, train, origin.views, options.cam) for net in nets]
    guide = msgspec.structs.replace(
        guide, cam=options.cam, teachers=teachers, similarity=likeness(own)
    )
    labels = len(origin.labels)
    maps = {
        f"{i}/{name}": regrid(found[name], grid) if name in found else torch.zeros(labels, *grid)
        for i, found in enumerate(own, 1)
        for name, grid in grids.items()
    }
    summed = torch.cat(
        [
            torch.stack([maps[f"{i}/{name}"] for i in range(1, len(own) + 1)]).sum(dim=0).flatten(1)
            for name in grids
        ],
        dim=1,
    )
    if options.kind in BY_LABEL:
        if options.kind == "label-random":
            summed = torch.rand(summed.shape, generator=generator)
        order = summed.argsort(dim=1, descending=True, stable=True)[:, : guide.tokens]
        by_label = tuple(tuple(row) for row in order.sort(dim=1).values.tolist())
        return Prepared(msgspec.structs.replace(guide, by_label=by_label), nets, maps)
    if options.kind in INSIDE | TAUGHT:
        return Prepared(guide, nets, maps)
    heat = summed.mean(dim=0)
    order = heat.argsort(descending=options.kind == "cumulative", stable=True)
    return Prepared(_keeping(guide, counts, order), nets, maps)


def expected(options: GuideOptions, begun: Guide | None) -> Guide:
    """The guide of a run that goes on, to compare with that in its checkpoint, teachers aside."""
    if begun is not None and _is_asked(begun, options):
        return begun
    return Guide(kind=options.kind, keep=options.keep, tokens=0, cam=options.cam)


def _is_asked(begun: Guide, options: GuideOptions) -> bool:
    """True if a guide matches the options, teachers aside."""
    return (
        begun.kind == options.kind
        and begun.keep == options.keep
        and begun.cam in (None, options.cam)
        and len(begun.teachers) == len(options.teachers)
    )


def cumulative(
    teacher: Net, images: Images, rows: Tensor, ours: tuple[ViewSpec, ...], cam: str
) -> dict[str, Tensor]:
    """Mean map of each label over some samples, on the teacher's own cells.

    Args:
        teacher: in eval mode.
        images: of all samples, with the views `ours`.
        rows: sample numbers.
        ours: views of the images, which include the teacher's.
        cam: `hirescam` or `gradcam`.

    Returns:
        By view of the teacher, [K, h, w]; all views of a label sum to 1, or to less if some
        images have no positive heat.
    """
    explained = ExplainedNet(teacher, None)
    labels = teacher.classifier.out_features
    totals: dict[str, Tensor] = {}
    with torch.no_grad():
        for part in rows.split(EVAL_BATCH):
            target = images.labels[part]
            found = shares(heat_of(explained, ours, images.batch(part), target, cam))
            for name, heat in found.items():
                if name not in totals:
                    totals[name] = torch.zeros(labels, *heat.shape[1:], dtype=torch.float64)
                totals[name].index_add_(0, target, heat.double())
    counts = torch.bincount(images.labels[rows], minlength=labels).clamp(min=1)
    return {name: total / counts[:, None, None] for name, total in totals.items()}


def save_maps(maps: dict[str, Tensor], labels: tuple[str, ...], path: Path) -> None:
    """Write cumulative maps and their `labels` as npz, atomically."""
    arrays = {name: found.float().numpy() for name, found in maps.items()}
    with replace_file(path) as file:
        np.savez_compressed(file, allow_pickle=False, labels=np.array(labels), **arrays)


def likeness(own: Sequence[dict[str, Tensor]]) -> dict[str, float]:
    """Structural similarity of the body maps of each pair of teachers on a common grid."""
    bodies = {
        i: regrid(found["body"].mean(dim=0), COMMON).double().numpy()
        for i, found in enumerate(own, 1)
        if "body" in found
    }
    return {f"{i}-{j}": ssim(bodies[i], bodies[j]) for i, j in combinations(bodies, 2)}


def _keeping(guide: Guide, counts: dict[str, int], order: Tensor) -> Guide:
    """The guide with the first tokens of an order over all views, by view."""
    kept = order[: guide.tokens].sort().values
    by_view, start = {}, 0
    for name, count in counts.items():
        own = kept[(kept >= start) & (kept < start + count)] - start
        by_view[name] = tuple(own.tolist())
        start += count
    return msgspec.structs.replace(guide, kept=by_view)


def _place(path: Path, origin: Origin) -> Path:
    """The folder of a run's teacher; for a fold's run, the teacher's run of that fold."""
    if origin.fold is not None and path.is_dir():
        return fold_folder(path, origin.fold)
    return path


def _load(path: Path, origin: Origin) -> tuple[dict[str, Tensor], State]:
    """Load the checkpoint of a teacher; refuse one that must not teach the run."""
    tensors, state = load_checkpoint(path)
    _refuse_other(path, state, origin)
    return tensors, state


def _restored(
    loaded: Sequence[tuple[dict[str, Tensor], State]], places: Sequence[Path]
) -> tuple[Net, ...]:
    return tuple(
        restore_net(tensors, state, place)
        for (tensors, state), place in zip(loaded, places, strict=True)
    )


def _weights_sha256(tensors: dict[str, Tensor]) -> str:
    """Digest of a checkpoint's averaged weights with their names, types and shapes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(part_of(tensors, "ema").items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


SAME = (
    *("dataset", "manifest_sha256", "labels", "split", "split_seed", "folds", "fold", "fractions"),
    "split_sha256",
)
"""Fields that the origins of teacher and student must share. An older version wrote no digest of
the parts."""


def _refuse_other(path: Path, state: State, origin: Origin) -> None:
    theirs = state.origin
    for field in SAME:
        a, b = getattr(theirs, field), getattr(origin, field)
        if a != b and (a or field != "split_sha256"):
            short = field in ("dataset", "split", "split_seed", "folds", "fold")
            how = f"{field} {a} instead of {b}" if short else f"other {field}"
            if field == "folds":
                how += f"; give the student --folds {a}" if a else "; leave out --folds"
            raise MaltriageError(
                f"{path}: the teacher was not trained on the student's training part: {how}"
            )
    if theirs.guide is not None:
        raise MaltriageError(f"{path}: a guided net cannot be a teacher")
    if path.is_dir() and state.finished is None:
        raise MaltriageError(f"{path}: the teacher's training is not finished")


def _refuse_blind(teachers: Sequence[Teacher], views: tuple[ViewSpec, ...]) -> None:
    """Refuse teachers with views that the student lacks, or that together lack one of its views."""
    ours = {view.name: view for view in views}
    for teacher in teachers:
        for view in teacher.views:
            own = ours.get(view.name)
            if own is None or own.picks(view) is None:
                raise MaltriageError(
                    f"{teacher.path}: the student does not have the teacher's view {view.name} in"
                    " the same form; train both with the same --views and --image-size"
                )
    unseen = set(ours) - {view.name for teacher in teachers for view in teacher.views}
    if unseen:
        raise MaltriageError(
            f"no teacher has the views {', '.join(sorted(unseen))}; leave them out of --views"
        )
