"""From a dataset to arrays: every sample prepared once, and kept for the next run.

Samples are read in worker processes, by the function that `scan` uses. The result is
cached under a key over the files (path, size, time of change), the views wanted and the
code that makes them, so a stale cache cannot be mistaken for a fresh one. The cache is
never needed: what cannot be read or written is prepared again.
"""

from __future__ import annotations

import hashlib
import os
import uuid
import zipfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from maltriage import sample as sample_package
from maltriage.bundle import BENIGN
from maltriage.corpus import twins
from maltriage.corpus.datasets.base import Dataset, LabelledSample, count_notice, sort_labels
from maltriage.corpus.places import cache_dir
from maltriage.errors import MaltriageError
from maltriage.sample.byteplot import BodyGeometry, WindowGeometry
from maltriage.sample.prepare import PrepareOptions, prepare
from maltriage.sample.source import SampleError
from maltriage.sample.types import Format, Notice
from maltriage.sample.views import BodySpec, ViewSpec, WindowSpec
from maltriage.sample.workers import Workers, cores, reason_of

Bytes = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]
Progress = Callable[[int, int], None]
"""Called with how many samples are done and how many there are."""

SAMPLE_TIMEOUT = 120.0
"""Seconds for one sample, after which its worker is killed and the sample left out."""
KEPT_CACHES = 8
"""Prepared datasets kept on disk; the one written longest ago goes first."""
_PENDING = 8
"""Samples under way for each worker: bounds what waits in memory."""


@dataclass(frozen=True)
class Corpus:
    """The samples of a dataset as arrays; row i of each belongs to sample i.

    A body view is stored as it is, a window as its bytes [N, length] and how many of them
    exist (the others are zero); `pixels` gives both in the shape of their spec.
    """

    dataset: str
    root: Path
    goodware: Path | None
    goodware_samples: int
    labels: tuple[str, ...]
    views: tuple[ViewSpec, ...]
    paths: tuple[str, ...]
    sha256: tuple[str, ...]
    """Of the program's bytes, also where the file is a byteplot PNG."""
    label: Integers
    """Index into `labels`."""
    kinds: tuple[str, ...]
    """`Layout.kind` of each sample, empty where none could be read."""
    signs: twins.Signs
    arrays: dict[str, Bytes]
    """By view: uint8 [N, C, S, S] of a body, [N, length] of a window."""
    present: dict[str, Integers]
    """By window: how many of its bytes exist, [N]."""
    notices: tuple[Notice, ...]
    formats: tuple[Format, ...]
    """`Prepared.format` of each sample."""

    def __len__(self) -> int:
        return len(self.paths)

    def pixels(self, view: str, index: Integers | slice) -> Bytes:
        """The images of some samples, uint8 [n, *spec.shape]."""
        values = self.arrays[view][index]
        if view not in self.present:
            return values
        exists = np.arange(values.shape[1]) < self.present[view][index][:, None]
        return np.stack([values, exists.astype(np.uint8)], axis=1)


def load_corpus(
    dataset: Dataset,
    views: tuple[ViewSpec, ...],
    *,
    jobs: int | None = None,
    progress: Progress | None = None,
    folder: Path | None = None,
) -> Corpus:
    """The arrays of a dataset, from the cache where they are in it.

    Args:
        dataset: what to prepare. Files that give no sample become notices.
        views: views wanted, names unique.
        jobs: worker processes; None: one for each core.
        progress: told how far it is.
        folder: of the cache; None: that of the user.

    Raises:
        MaltriageError: fewer than two families are left.
    """
    place = (folder or cache_dir() / "corpus") / f"{_key(dataset, views)}.npz"
    stored = _read(place, views, len(dataset.samples))
    if stored is None:
        stored = _prepare_all(dataset, views, jobs or cores(), progress)
        _write(place, stored)
    return _corpus(dataset, views, stored)


# What is stored, under the names of the npz file: `index` [n] into dataset.samples, the
# signs of near twins, `view:<name>`, `present:<name>`, and `rejects` (JSON, as bytes).
_Stored = dict[str, npt.NDArray[Any]]


def _corpus(dataset: Dataset, views: tuple[ViewSpec, ...], stored: _Stored) -> Corpus:
    samples = [dataset.samples[i] for i in stored["index"]]
    labels = sort_labels(sample.label for sample in samples)
    notices = list(dataset.notices)
    rejects = msgspec.json.decode(stored["rejects"].tobytes(), type=list[tuple[int, str, str]])
    reasons = dict[str, tuple[str, list[str]]]()
    for index, code, reason in rejects:
        reasons.setdefault(code, (reason, []))[1].append(dataset.samples[index].path)
    notices += [count_notice(code, reason, names) for code, (reason, names) in reasons.items()]
    for label in dataset.labels:
        if label not in labels:
            notices.append(Notice("empty-family", f"left out, no readable samples: {label}"))
    if len(labels) < 2:
        raise MaltriageError(
            f"{dataset.root}: fewer than two families with readable samples "
            f"({len(rejects)} files could not be used)"
        )
    _refuse_both(samples, stored["sha256"].tolist())
    own = len(dataset.samples) - dataset.goodware_samples
    place = {label: i for i, label in enumerate(labels)}
    return Corpus(
        dataset=dataset.name,
        root=dataset.root,
        goodware=dataset.goodware,
        goodware_samples=int((stored["index"] >= own).sum()),
        labels=labels,
        views=views,
        paths=tuple(sample.path for sample in samples),
        sha256=tuple(stored["sha256"].tolist()),
        label=np.array([place[sample.label] for sample in samples], dtype=np.int64),
        kinds=tuple(stored["kind"].tolist()),
        signs=twins.Signs(
            tuple(stored["sha256"].tolist()),
            tuple(stored["entry"].tolist()),
            stored["width"],
            stored["plane"],
        ),
        arrays={view.name: stored[f"view:{view.name}"] for view in views},
        present={v.name: stored[f"present:{v.name}"] for v in views if isinstance(v, WindowSpec)},
        notices=tuple(notices),
        formats=tuple(stored["format"].tolist()),
    )


def _refuse_both(samples: list[LabelledSample], digests: list[str]) -> None:
    """A file that is benign and malware at once would teach a net nothing but doubt."""
    first = dict[str, LabelledSample]()
    for digest, sample in zip(digests, samples, strict=True):
        other = first.setdefault(digest, sample)
        if other.label != sample.label and BENIGN in (other.label, sample.label):
            raise MaltriageError(
                f"the same file is {other.label} and {sample.label}: {other.path}, {sample.path}"
            )


def _key(dataset: Dataset, views: tuple[ViewSpec, ...]) -> str:
    """Digest of everything the arrays depend on. Labels are not among it."""
    digest = hashlib.sha256(msgspec.json.encode((views, twins.VIEWS, dataset.formats)))
    for package in ("lief", "pefile", "numpy", "pillow"):
        digest.update(f"{package} {_version(package)}\n".encode())
    # The code that parses and plots counts as a whole: a version number that somebody
    # forgets to raise would train a net on pixels that `scan` no longer makes.
    for folder in sample_package.__path__:
        for source in sorted(Path(folder).glob("*.py")):
            digest.update(source.read_bytes())
    for sample in dataset.samples:
        try:
            status = os.stat(sample.path)
            stamp = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:
            stamp = "missing"
        digest.update(os.fsencode(os.path.abspath(sample.path)) + f"\0{stamp}\n".encode())
    return digest.hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


@dataclass(frozen=True)
class _Row:
    """One prepared sample as it comes back from a worker."""

    sha256: str
    kind: str
    format: Format
    entry: str
    width: int
    plane: Bytes
    pixels: dict[str, Bytes]
    present: dict[str, int]


def _prepare_row(path: str, views: tuple[ViewSpec, ...], formats: tuple[Format, ...]) -> _Row:
    """Prepare one sample. Runs in a worker; raises SampleError."""
    prepared = prepare(path, PrepareOptions(views=views + twins.VIEWS, formats=formats))
    pixels, present = dict[str, Bytes](), dict[str, int]()
    for spec in views:
        view = prepared.views[spec.name]
        if isinstance(view.geometry, WindowGeometry):
            pixels[spec.name], present[spec.name] = view.pixels[0], view.geometry.present
        else:
            pixels[spec.name] = view.pixels
    body, entry = (prepared.views[spec.name] for spec in twins.VIEWS)
    assert isinstance(body.geometry, BodyGeometry)
    return _Row(
        sha256=prepared.identity.sha256,
        kind=prepared.layout.kind or "",
        format=prepared.format,
        entry=twins.entry_sign(entry),
        width=body.geometry.width,
        plane=body.pixels[0],
        pixels=pixels,
        present=present,
    )


def _prepare_all(
    dataset: Dataset, views: tuple[ViewSpec, ...], jobs: int, progress: Progress | None
) -> _Stored:
    count = len(dataset.samples)
    body = twins.VIEWS[0]
    stored: _Stored = {
        "sha256": np.zeros(count, dtype="U64"),
        "kind": np.zeros(count, dtype="U8"),
        "format": np.zeros(count, dtype="U8"),
        "entry": np.zeros(count, dtype="U32"),
        "width": np.zeros(count, dtype=np.int64),
        "plane": np.zeros((count, body.size, body.size), dtype=np.uint8),
    }
    for spec in views:
        shape = spec.shape if isinstance(spec, BodySpec) else (spec.length,)
        stored[f"view:{spec.name}"] = np.zeros((count, *shape), dtype=np.uint8)
        if isinstance(spec, WindowSpec):
            stored[f"present:{spec.name}"] = np.zeros(count, dtype=np.int64)
    kept, rejects = list[int](), list[tuple[int, str, str]]()
    paths = [sample.path for sample in dataset.samples]
    for i, row in enumerate(_rows(paths, views, dataset.formats, jobs)):
        if isinstance(row, SampleError):
            rejects.append((i, row.code, row.reason))
        else:
            kept.append(i)
            stored["sha256"][i], stored["kind"][i] = row.sha256, row.kind
            stored["entry"][i], stored["format"][i] = row.entry, row.format
            stored["width"][i], stored["plane"][i] = row.width, row.plane
            for name, pixels in row.pixels.items():
                stored[f"view:{name}"][i] = pixels
            for name, present in row.present.items():
                stored[f"present:{name}"][i] = present
        if progress is not None:
            progress(i + 1, count)
    index = np.array(kept, dtype=np.int64)
    if len(kept) < count:
        stored = {name: values[index] for name, values in stored.items()}
    stored["index"] = index
    stored["rejects"] = np.frombuffer(msgspec.json.encode(rejects), dtype=np.uint8)
    return stored


def _rows(
    paths: list[str], views: tuple[ViewSpec, ...], formats: tuple[Format, ...], jobs: int
) -> Iterator[_Row | SampleError]:
    """The prepared samples in order. A worker that dies or hangs costs its sample only."""
    pending = deque[Future[_Row]]()
    todo = iter(paths)
    with Workers(min(jobs, max(1, len(paths))), SAMPLE_TIMEOUT) as workers:
        while True:
            while len(pending) < jobs * _PENDING and (path := next(todo, None)) is not None:
                pending.append(workers.submit(_prepare_row, path, views, formats))
            if not pending:
                break
            try:
                yield pending.popleft().result()
            except Exception as error:  # a fault in a parser must not end a whole run
                yield reason_of(error, SAMPLE_TIMEOUT)


def _read(place: Path, views: tuple[ViewSpec, ...], samples: int) -> _Stored | None:
    """A stored preparation, or None where there is none that fits."""
    needed = {"index", "sha256", "kind", "format", "entry", "width", "plane", "rejects"}
    needed |= {f"view:{view.name}" for view in views}
    needed |= {f"present:{view.name}" for view in views if isinstance(view, WindowSpec)}
    try:
        with np.load(place, allow_pickle=False) as archive:
            stored = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, KeyError):
        return None
    if not needed <= set(stored) or not (stored["index"] < samples).all():
        return None
    return stored


def _write(place: Path, stored: _Stored) -> None:
    """Store a preparation, whole or not at all; without room for it the run goes on."""
    part = place.with_name(f"{place.name}.{uuid.uuid4().hex}.part")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("wb") as file:
                np.savez(file, allow_pickle=False, **stored)
            part.replace(place)
        finally:
            part.unlink(missing_ok=True)
        known = sorted(place.parent.glob("*.npz"), key=lambda path: path.stat().st_mtime)
        for old in known[:-KEPT_CACHES]:
            old.unlink(missing_ok=True)
    except OSError:
        return
