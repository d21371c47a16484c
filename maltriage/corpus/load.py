"""Prepares the samples of a dataset as arrays, and caches them for the next run.

Worker processes read the samples with the function that `scan` uses. The cache key (see
`array_store`) covers the files (path, size, time of change), the requested views and the code
that makes them, so a stale cache cannot be mistaken for a fresh one. The cache is optional:
unreadable caches are prepared again, and unwritable ones are held in memory.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from maltriage.bundle import BENIGN
from maltriage.corpus import array_store, twins
from maltriage.corpus.corpus import MARKS, Corpus
from maltriage.corpus.datasets.base import Dataset, count_notice, sort_labels
from maltriage.corpus.datasets.columns import CODE_GROUP, column_names
from maltriage.corpus.fingerprint import fingerprint
from maltriage.corpus.rows import Row, in_order, view_columns, view_values
from maltriage.errors import MaltriageError
from maltriage.files.places import cache_dir, path_text
from maltriage.logs import logger
from maltriage.probe.prepare import Prepared, PrepareOptions, prepare
from maltriage.sample.errors import SampleError
from maltriage.sample.geometry import BodyGeometry
from maltriage.sample.types import Notice
from maltriage.sample.views import ViewSpec
from maltriage.source.archive.limits import Archives
from maltriage.source.reading import Reading
from maltriage.version import version_of
from maltriage.work.cores import cores

Progress = Callable[[int, int], None]
"""Called with the number of samples done and the total."""

_log = logger(__name__)


def load_corpus(
    dataset: Dataset,
    views: tuple[ViewSpec, ...],
    *,
    jobs: int | None = None,
    progress: Progress | None = None,
    folder: Path | None = None,
    conflicts: bool = False,
) -> Corpus:
    """The corpus of a dataset, from the cache if it is there.

    Args:
        dataset: the files to prepare. Files that give no sample become notices.
        views: the requested views, with unique names.
        jobs: worker processes; None: one for each core.
        progress: called after each sample.
        folder: of the cache; None: the user's.
        conflicts: allow files labelled both benign and malware (for `datasets check`).

    Raises:
        MaltriageError: fewer than two families are left, or a file is both benign and malware.
    """
    place = (folder or cache_dir() / "corpus") / _key(dataset, views)
    stored = array_store.read(place, _columns(views))
    notices = list[Notice]()
    _log.info("%s: %s %s", dataset.root, "prepared anew in" if stored is None else "kept in", place)
    if stored is None:
        jobs = jobs or cores()
        try:
            stored = _prepare_all(dataset, views, jobs, progress, place)
        except array_store.StoreError as error:
            notices.append(
                Notice(
                    "no-cache",
                    f"held in memory and prepared again next time: cannot write {place.parent}"
                    f" ({error}); MALTRIAGE_CACHE names another folder",
                )
            )
            stored = _prepare_all(dataset, views, jobs, progress, None)
    corpus = _corpus(dataset, views, *stored)
    if not conflicts:
        notices += _conflict_notices(corpus)
    return replace(corpus, notices=(*corpus.notices, *notices))


def _columns(views: tuple[ViewSpec, ...]) -> array_store.Columns:
    """Columns of a sample: signs of near duplicates, `view-<name>`, `present-<name>`."""
    side = twins.VIEWS[0].size
    columns: dict[str, tuple[str, tuple[int, ...]]] = {
        "sha256": ("U64", ()),
        "size": ("i8", ()),
        "kind": ("U8", ()),
        "format": ("U8", ()),
        "marks": ("U32", ()),
        "entry": ("U32", ()),
        "width": ("i8", ()),
        "plane": ("u1", (side, side)),
    }
    return {**columns, **view_columns(views)}


def _corpus(
    dataset: Dataset,
    views: tuple[ViewSpec, ...],
    manifest: array_store.Manifest,
    stored: array_store.Arrays,
) -> Corpus:
    left_out = {reject.index for reject in manifest.rejects}
    samples = [sample for i, sample in enumerate(dataset.samples) if i not in left_out]
    labels = sort_labels(sample.label for sample in samples)
    if len(labels) < 2:
        raise MaltriageError(
            f"{dataset.root}: fewer than two families with readable samples "
            f"({len(left_out)} files could not be used)"
        )
    own = len(dataset.samples) - dataset.goodware_samples
    place = {label: i for i, label in enumerate(labels)}
    sha256 = tuple(stored["sha256"].tolist())
    columns = {
        name: tuple(sample.columns.get(name, "") for sample in samples)
        for name in column_names(samples)
    }
    return Corpus(
        dataset=dataset.name,
        root=dataset.root,
        goodware=dataset.goodware,
        goodware_samples=dataset.goodware_samples - sum(index >= own for index in left_out),
        min_samples=dataset.min_samples,
        labels=labels,
        views=views,
        paths=tuple(sample.path for sample in samples),
        sha256=sha256,
        sizes=stored["size"],
        label=np.array([place[sample.label] for sample in samples], dtype=np.int64),
        first_seen=np.array([sample.first_seen for sample in samples], dtype="datetime64[s]"),
        kinds=tuple(stored["kind"].tolist()),
        signs=twins.Signs(
            sha256,
            tuple(stored["entry"].tolist()),
            stored["width"],
            stored["plane"],
            columns.get(CODE_GROUP, ()),
        ),
        rows=np.arange(len(samples)),
        arrays={view.name: stored[f"view-{view.name}"] for view in views},
        present={v.name: stored[f"present-{v.name}"] for v in views if v.along},
        rejects=manifest.rejects,
        notices=tuple(_notices(dataset, labels, manifest.rejects)),
        formats=tuple(stored["format"].tolist()),
        unmapped=dataset.unmapped,
        columns=columns,
        marks=tuple(frozenset(marks.split()) for marks in stored["marks"].tolist()),
        more_roots=dataset.more_roots,
    )


def _notices(
    dataset: Dataset, labels: tuple[str, ...], rejects: tuple[array_store.Reject, ...]
) -> Iterator[Notice]:
    yield from dataset.notices
    reasons = dict[str, tuple[str, list[str]]]()
    for reject in rejects:
        names = reasons.setdefault(reject.code, (reject.reason, []))[1]
        names.append(dataset.samples[reject.index].path)
    for code, (reason, names) in reasons.items():
        yield count_notice(code, reason, names)
    for label in dataset.labels:
        if label not in labels:
            yield Notice("empty-family", f"left out, no readable samples: {label}")


def same_bytes(corpus: Corpus) -> list[list[int]]:
    """Groups of samples with the same bytes, each as sample numbers."""
    numbers = dict[str, list[int]]()
    for i, digest in enumerate(corpus.sha256):
        numbers.setdefault(digest, []).append(i)
    return [same for same in numbers.values() if len(same) > 1]


def conflicts_of(corpus: Corpus) -> list[list[int]]:
    """The groups of `same_bytes` with different labels."""
    return [same for same in same_bytes(corpus) if len(set(corpus.label[same].tolist())) > 1]


def _conflict_notices(corpus: Corpus) -> Iterator[Notice]:
    """The notice on files with several families.

    Raises:
        MaltriageError: a file is both benign and malware, so a net could only learn doubt.
    """
    found = conflicts_of(corpus)
    if not found:
        return
    for same in found:
        labels = [corpus.labels[corpus.label[i]] for i in same]
        if BENIGN in labels:
            one = labels.index(BENIGN)
            other = next(n for n, label in enumerate(labels) if label != BENIGN)
            a, b = sorted((one, other))
            raise MaltriageError(
                f"the same file is {labels[a]} and {labels[b]}: {corpus.paths[same[a]]},"
                f" {corpus.paths[same[b]]}"
            )
    first = found[0]
    text = ", ".join(f"{corpus.paths[i]} ({corpus.labels[corpus.label[i]]})" for i in first)
    many = "file is" if len(found) == 1 else "files are"
    yield Notice(
        "label-conflict", f"{len(found):,} {many} labelled with different families: {text}"
    )


def _key(dataset: Dataset, views: tuple[ViewSpec, ...]) -> str:
    """Digest of everything the arrays depend on; labels are not part of it."""
    what = (array_store.LAYOUT_VERSION, views, twins.VIEWS, dataset.formats, dataset.unmapped)
    digest = hashlib.sha256(msgspec.json.encode(what))
    for package in ("lief", "pefile", "numpy", "pillow"):
        digest.update(f"{package} {version_of(package) or 'none'}\n".encode())
    digest.update(fingerprint())
    for sample in dataset.samples:
        try:
            status = os.stat(sample.path)
            stamp = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:
            stamp = "missing"
        digest.update(os.fsencode(os.path.abspath(sample.path)) + f"\0{stamp}\n".encode())
    return digest.hexdigest()


def _row_of(prepared: Prepared, views: tuple[ViewSpec, ...]) -> Row:
    """What is kept of one sample."""
    body, entry = (prepared.views[spec.name] for spec in twins.VIEWS)
    assert isinstance(body.geometry, BodyGeometry)
    row: Row = {
        "sha256": prepared.identity.sha256,
        "size": prepared.identity.size,
        "kind": prepared.layout.kind or "",
        "format": prepared.format,
        "marks": " ".join(sorted({n.code for n in prepared.notices} & set(MARKS))),
        "entry": twins.entry_sign(entry),
        "width": body.geometry.width,
        "plane": body.pixels[0],
    }
    return row | view_values(prepared, views)


def _prepare_all(
    dataset: Dataset,
    views: tuple[ViewSpec, ...],
    jobs: int,
    progress: Progress | None,
    place: Path | None,
) -> tuple[array_store.Manifest, array_store.Arrays]:
    """Prepare every sample, into a folder or (None) into memory; raises StoreError."""
    count = len(dataset.samples)
    reading = Reading(formats=dataset.formats, archives=Archives(), unmapped=dataset.unmapped)
    rejects = list[array_store.Reject]()
    with array_store.Builder(place, _columns(views), count) as builder:
        paths = [sample.path for sample in dataset.samples]
        options = PrepareOptions(views + twins.VIEWS, **vars(reading))
        for i, made in enumerate(in_order(prepare, paths, (options,), jobs)):
            if isinstance(made, SampleError):
                rejects.append(array_store.Reject(i, made.code, made.reason, made.failed))
            else:
                builder.append(_row_of(made, views))
            if progress is not None:
                progress(i + 1, count)
        manifest = array_store.Manifest(
            dataset=dataset.name,
            root=path_text(dataset.root),
            goodware=None if dataset.goodware is None else path_text(dataset.goodware),
            views=tuple(view.name for view in views),
            files=count,
            rejects=tuple(rejects),
        )
        return manifest, builder.commit(manifest)
