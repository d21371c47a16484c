"""Rows of prepared arrays: the stored values of a sample's views, and their workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy.typing as npt

from maltriage.corpus import array_store
from maltriage.probe.prepare import Prepared
from maltriage.sample.errors import SampleError
from maltriage.sample.views import ViewSpec
from maltriage.work import window
from maltriage.work.workers import Workers

SAMPLE_TIMEOUT = 120.0
"""Seconds for one sample; then its worker is killed and the sample is left out."""
_PENDING = 8
"""Samples in progress for each worker: bounds the memory of the queue."""

T = TypeVar("T")
Row = dict[str, npt.ArrayLike]
"""A value for each column."""


def view_columns(views: tuple[ViewSpec, ...]) -> array_store.Columns:
    """`view-<name>` for each view, and `present-<name>`, the bytes that exist in a window."""
    columns: dict[str, tuple[str, tuple[int, ...]]] = {}
    for spec in views:
        columns[f"view-{spec.name}"] = ("u1", spec.shape[1:] if spec.along else spec.shape)
        if spec.along:
            columns[f"present-{spec.name}"] = ("i8", ())
    return columns


def view_values(prepared: Prepared, views: tuple[ViewSpec, ...]) -> Row:
    """The values of `view_columns` for one sample."""
    row: Row = {}
    for spec in views:
        view = prepared.views[spec.name]
        row[f"view-{spec.name}"] = view.pixels[0] if spec.along else view.pixels
        if spec.along:
            row[f"present-{spec.name}"] = int(view.pixels[1].sum())
    return row


def in_order(
    function: Callable[..., T], paths: Sequence[str], arguments: tuple[object, ...], jobs: int
) -> Iterator[T | SampleError]:
    """Run `function(path, *arguments)` in worker processes; results in the order of the paths.

    A worker that dies or hangs costs only its sample.
    """
    with Workers(min(jobs, max(1, len(paths))), SAMPLE_TIMEOUT) as workers:
        submitted = ((path, workers.submit(function, path, *arguments)) for path in paths)
        for _, answer in window.in_order(submitted, jobs * _PENDING, SAMPLE_TIMEOUT):
            yield answer
