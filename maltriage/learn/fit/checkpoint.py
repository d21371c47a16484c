"""Checkpoints: one safetensors file, with the state of the run as JSON in its header.

Tensors: `ema.<name>`, the averaged weights that are shipped; in `last` also `net.<name>`
and `optimizer.<parameter>.<name>`, for resuming. One file, replaced atomically, keeps weights
and state consistent.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import msgspec
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from maltriage.bundle import BENIGN
from maltriage.bundle.card import labels_problem, views_problem
from maltriage.corpus.datasets import MIN_SAMPLES
from maltriage.errors import MaltriageError
from maltriage.files.atomic import write_file
from maltriage.files.decoding import decoded
from maltriage.sample.hexdump import UNMAPPED
from maltriage.sample.types import Format
from maltriage.sample.views import ViewSpec

STATE_KEY = "maltriage.state"
STATE_VERSION = 1
MAX_TEACHERS = 16
_PICKLES = (b"\x80", b"PK\x03\x04")
"""First bytes of files written by torch.save, older and newer."""
_PICKLED = "a pickle, as torch.save writes it, which could run code and is never read"
LAST, BEST = "last.safetensors", "best.safetensors"


class Epoch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The result of one epoch: a row of metrics.csv. Scores are None without validation."""

    epoch: int
    """From 1."""
    loss: float
    learning_rate: float
    val_loss: float | None
    val_accuracy: float | None
    val_macro_f1: float | None
    seconds: float


class Teacher(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A trained net whose heat guides another one: enough to build its graph again."""

    net: str
    views: tuple[ViewSpec, ...]
    weights_sha256: str
    path: str
    """Path of its checkpoint at the time."""
    clean: int | None = None
    """See `Net.clean`."""


class Guide(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The tokens of a guided net and their choice: see `maltriage.learn.heat.guide`."""

    kind: str
    """See `maltriage.learn.heat.guide`."""
    keep: float
    """Share of the tokens that are kept."""
    tokens: int
    """Number of tokens kept."""
    cam: str | None = None
    """`hirescam` or `gradcam`; None without a teacher."""
    teachers: tuple[Teacher, ...] = ()
    kept: dict[str, tuple[int, ...]] = {}
    """Numbers of the kept tokens by view, the same for every image."""
    by_label: tuple[tuple[int, ...], ...] = ()
    """Of `label`: the tokens kept for each label, numbered over all views."""
    similarity: dict[str, float] = {}
    """Structural similarity of the teachers' cumulative body maps, by pair (`1-2`)."""


class Origin(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The data and recipe of a run. A run resumes only from a checkpoint of the same origin."""

    net: str
    labels: tuple[str, ...]
    views: tuple[ViewSpec, ...]
    dataset: str
    root: str
    more_roots: tuple[str, ...] = ()
    """Further folders of samples, after `root`."""
    goodware: str | None
    goodware_samples: int
    manifest_sha256: str
    samples: int
    split: str
    split_seed: int
    fractions: tuple[float, float, float]
    folds: int = 0
    """Folds of the run's cross-validation; 0: none."""
    fold: int | None = None
    """The fold held back; None: none."""
    split_file: bool = False
    """True if the split was read from a file."""
    split_sha256: str = ""
    """See `SplitFile.sha256`; empty in checkpoints of older versions."""
    min_samples: int = MIN_SAMPLES
    malware_kinds: dict[str, int] = {}
    input: tuple[Format, ...] = ("pe", "png")
    """See `Card.input`."""
    unmapped: int = UNMAPPED
    """See `Card.unmapped`."""
    recipe: dict[str, Any]
    """The options that affect the weights."""
    guide: Guide | None = None
    two_questions: bool = False
    """See `Net.two_questions`; false in checkpoints of older versions."""

    @property
    def clean(self) -> int | None:
        """See `Net.clean`."""
        return self.labels.index(BENIGN) if self.two_questions else None


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The state of a run, besides its tensors."""

    origin: Origin
    name: str
    state_version: int = STATE_VERSION
    epoch: int = 0
    """Epochs completed."""
    step: int = 0
    """Steps done of the next epoch."""
    loss_sum: float = 0.0
    """Sum of the losses of those steps."""
    seconds: float = 0.0
    """Time spent on those steps."""
    history: tuple[Epoch, ...] = ()
    temperature: float | None = None
    calibrated_on: str | None = None
    """The samples that the temperature was fitted to, in words."""
    metrics: dict[str, float] = {}
    finished: str | None = None
    """End of training, ISO 8601 UTC."""
    groups: list[dict[str, Any]] = []
    """Parameter groups of the optimizer."""
    scheduler: dict[str, Any] = {}
    scaler: dict[str, Any] = {}
    """State of the loss scaler for float16."""
    best_epoch: int | None = None
    """Epoch of `ema`, if a run with patience has ended and taken its best one."""


def save_checkpoint(path: Path, tensors: dict[str, Tensor], state: State) -> None:
    """Write a checkpoint atomically.

    Raises:
        MaltriageError: it cannot be written (no space left, say); an existing one stays.
    """
    metadata = {STATE_KEY: msgspec.json.encode(state).decode()}
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        write_file(path, save(held, metadata))
    except OSError as error:
        stays = "; the one before it stays" if path.exists() else ""
        raise MaltriageError(
            f"cannot write checkpoint {path}: {error.strerror or error}{stays}"
        ) from error


def _is_pickle(path: Path) -> bool:
    """True if a file begins like one written by torch.save."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(4).startswith(_PICKLES)
    return False


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], State]:
    """Read a checkpoint: a file, or the last one in a run's folder.

    Raises:
        MaltriageError: the checkpoint is missing, damaged or not one of maltriage.
    """
    path = path / LAST if path.is_dir() else path
    if not path.is_file():
        raise MaltriageError(f"no checkpoint {path}")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(STATE_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        what = "not a checkpoint" if not _is_pickle(path) else f"{_PICKLED}, not a checkpoint"
        raise MaltriageError(f"{path}: {what}: {error}") from error
    if text is None:
        raise MaltriageError(f"{path}: not a checkpoint of maltriage")
    try:
        state = decoded(text, msgspec.json.Decoder(State))
    except msgspec.MsgspecError as error:
        raise MaltriageError(f"{path}: a checkpoint this version cannot read: {error}") from error
    if state.state_version != STATE_VERSION:
        raise MaltriageError(
            f"{path}: checkpoint version {state.state_version}, "
            f"this maltriage reads {STATE_VERSION}"
        )
    problem = _problem(state.origin)
    if problem is not None:
        raise MaltriageError(f"{path}: a bad checkpoint: {problem}")
    return tensors, state


def _problem(origin: Origin) -> str | None:
    """What of a net cannot be, by the limits of a card; None: nothing."""
    teachers = origin.guide.teachers if origin.guide is not None else ()
    problem = labels_problem(origin.labels) or views_problem(origin.views)
    if problem is not None:
        return problem
    if origin.two_questions and BENIGN not in origin.labels:
        return "two questions need the label benign"
    if not isinstance(origin.recipe.get("seed"), int):
        return "a recipe without a seed"
    if len(teachers) > MAX_TEACHERS:
        return f"more than {MAX_TEACHERS} teachers"
    for teacher in teachers:
        problem = views_problem(teacher.views)
        if problem is None and not 0 <= (teacher.clean or 0) < len(origin.labels):
            problem = "a label that there is not"
        if problem is not None:
            return f"of a teacher: {problem}"
    return None


def part_of(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix.`, named without it."""
    head = prefix + "."
    return {name[len(head) :]: t for name, t in tensors.items() if name.startswith(head)}
