"""Running moments of the maps of a family's samples, in constant memory."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, get_args

import numpy as np
import numpy.typing as npt

from maltriage.bundle import Card
from maltriage.errors import MaltriageError
from maltriage.metrics import COMMON, Floats
from maltriage.probe.prepare import Prepared
from maltriage.report.documents.patterns import PartKind
from maltriage.sample.geometry import BodyGeometry, width_for
from maltriage.sample.header_fields import PE32_FIELDS, names_in
from maltriage.sample.regrid import onto_plane, regrid
from maltriage.sample.types import Layout
from maltriage.sample.views import ViewSpec
from maltriage.triage.evidence import heat_on, parts_of
from maltriage.triage.maps import Mapped

KINDS: tuple[PartKind, ...] = get_args(PartKind)
SLOT_BYTES = 256
"""About the bytes of a window in one slot, as in the blocks of hot ranges."""
PARTS = 16
"""Equal parts of a file, for which the heat of a counted view is summed."""
HEADER_ANCHOR = "pe32"
"""Anchor of the window with the fields of a PE header."""


class Moments:
    """Running mean and standard deviation of arrays of one shape (Welford 1962)."""

    def __init__(self, shape: int | tuple[int, ...]) -> None:
        self.count = 0
        self.mean = np.zeros(shape)
        self._squares = np.zeros(shape)

    def add(self, values: Floats) -> None:
        self.count += 1
        before = values - self.mean
        self.mean += before / self.count
        self._squares += before * (values - self.mean)

    @property
    def sd(self) -> Floats | None:
        """Standard deviation over n - 1; None with fewer than two arrays."""
        if self.count < 2:
            return None
        return np.asarray(np.sqrt(self._squares / (self.count - 1)))


@dataclass(frozen=True)
class Slot:
    """Bytes whose heat is summed over a family; see `RecurringRange`."""

    view: str
    start: float
    end: float
    fields: tuple[str, ...] = ()


@dataclass(frozen=True)
class Frame:
    """The layout of a bundle's maps in one vector of D numbers, view after view.

    Slot i is the sum over [bounds[i], bounds[i + 1]).
    """

    card: Card
    shapes: dict[str, tuple[int, int]]
    spans: dict[str, slice]
    slots: tuple[Slot, ...]
    bounds: npt.NDArray[np.intp]

    @classmethod
    def of(cls, card: Card, maps: Mapping[str, npt.NDArray[Any]]) -> Frame:
        """The frame of a bundle, from the maps of any sample."""
        shapes = {
            view.name: (PARTS, 1) if view.counted else maps[view.name].shape[:2]
            for view in card.views
        }
        spans, slots, bounds, at = {}, list[Slot](), list[int](), 0
        for view in card.views:
            h, w = shapes[view.name]
            spans[view.name] = slice(at, at + h * w)
            if not view.along:  # by the share of the file, or of the plot, that lies ahead
                slots += [Slot(view.name, i / h, (i + 1) / h) for i in range(h)]
                bounds += range(at, at + h * w, w)
            elif view.anchor == HEADER_ANCHOR and not view.before and w == view.shape[-1]:
                # A slot per header field, which analysts know.
                fields = [each for each in PE32_FIELDS if each.start < w]
                slots += [Slot(view.name, f.start, f.end, (f.name,)) for f in fields]
                bounds += [at + f.start for f in fields]
            else:
                header, size = view.anchor == HEADER_ANCHOR, view.shape[-1] / w
                step = 1 if header else max(1, round(SLOT_BYTES / size))
                for i in range(0, w, step):
                    start, end = i * size - view.before, min(i + step, w) * size - view.before
                    inside = names_in(int(start), int(end)) if header else []
                    slots.append(Slot(view.name, start, end, tuple(inside)))
                bounds += range(at, at + w, step)
            at += h * w
        return cls(card, shapes, spans, tuple(slots), np.array(bounds, dtype=np.intp))

    @property
    def size(self) -> int:
        return sum(h * w for h, w in self.shapes.values())


def kinds_of(layout: Layout) -> list[PartKind]:
    """The kind of bytes of each region of a layout; see `PartKind`."""
    found: list[PartKind] = [
        "data" if region.kind == "section" else region.kind for region in layout.regions
    ]
    # The last name wins: code that also holds a directory is code.
    wanted: tuple[tuple[str, PartKind], ...] = (
        ("import", "imports"),
        ("resource", "resources"),
        ("entry", "code"),
        ("code", "code"),
    )
    for anchor, kind in wanted:
        at = layout.anchors.get(anchor)
        for i, region in enumerate(layout.regions):
            if at is not None and region.kind == "section" and region.start <= at < region.end:
                found[i] = kind
    return found


def kind_shares(prepared: Prepared, maps: Mapping[str, Floats]) -> Floats:
    """The share of positive heat on each of `KINDS`; zeros without positive heat.

    The sign is that of a whole cell.
    """
    warm = {name: grid.clip(min=0) for name, grid in maps.items()}
    total = sum(float(grid.sum()) for grid in warm.values())
    found = np.zeros(len(KINDS))
    if total <= 0:
        return found
    regions = prepared.layout.regions
    if regions:
        ranges = np.array([(region.start, region.end) for region in regions], dtype=np.int64)
        heat = heat_on(parts_of(prepared, warm), ranges)
        places = [KINDS.index(kind) for kind in kinds_of(prepared.layout)]
        np.add.at(found, places, heat / total)
    found[KINDS.index("padding")] = max(0.0, 1.0 - float(found.sum()))
    return found


def plane_of(prepared: Prepared, maps: Mapping[str, Floats]) -> Floats:
    """The heat of all views at their bytes' positions in the byteplot, on the grid `COMMON`."""
    maps = dict(maps)
    geometries = {name: prepared.views[name].geometry for name in maps}
    size = prepared.identity.size
    plane = BodyGeometry(size, width_for(size))
    found = np.zeros(COMMON)
    for name, geometry in geometries.items():
        if isinstance(geometry, BodyGeometry):
            plane = geometry
            found += regrid(maps.pop(name), COMMON)
    for name, heat in maps.items():
        found += onto_plane(heat, geometries[name], plane, COMMON)
    return found


def _by_place(view: ViewSpec, prepared: Prepared, heat: Floats) -> Floats:
    """A map whose cells have the same places in every file: that of a counted view in `PARTS`."""
    if not view.counted:
        return heat
    places = prepared.views[view.name].geometry
    edges = np.linspace(0, places.present, PARTS + 1).astype(np.int64)
    return np.diff(places.integrate(heat, edges))[:, None]


class Spill:
    """Rows of numbers on disk, in an unnamed file that is deleted when it is closed."""

    def __init__(self) -> None:
        # Unbuffered, so that closing writes nothing and cannot fail.
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed by __exit__
        self._width = 0

    def append(self, row: npt.NDArray[np.float32]) -> int:
        """Append a row and return its number. All rows are as long as the first.

        Raises:
            MaltriageError: the disk is full.
        """
        self._width = len(row)
        at = self._file.seek(0, 2)
        try:
            if self._file.write(row.tobytes()) < row.nbytes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            where = tempfile.gettempdir()
            raise MaltriageError(f"cannot keep maps in {where}: {error.strerror}") from error
        return at // (4 * self._width)

    def rows(self, numbers: Sequence[int]) -> Iterator[Floats]:
        """Rows by their numbers, one at a time."""
        for number in numbers:
            self._file.seek(4 * self._width * number)
            data = self._file.read(4 * self._width)
            yield np.frombuffer(data, dtype=np.float32).astype(np.float64)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()


@dataclass
class Tally:
    """The sums over one family."""

    frame: Frame
    maps: Moments = field(init=False)
    slots: Moments = field(init=False)
    positive: npt.NDArray[np.int64] = field(init=False)
    """Number of samples with positive heat, by slot."""
    plane: Moments = field(init=False)
    body: Moments = field(init=False)
    """Heat of the body view only, on the grid of `plane`."""
    kinds: Moments = field(init=False)
    contributions: Moments = field(init=False)
    """Contributions by view, in the unit of the score."""
    shares: Moments = field(init=False)
    """Shares of the positive heat by view."""
    present: npt.NDArray[np.int64] = field(init=False)
    samples: list[tuple[str, str, int]] = field(default_factory=list)
    """sha256, path and number of the spilled maps of each sample."""
    right: int = 0
    cold: int = 0

    def __post_init__(self) -> None:
        views, slots = len(self.frame.card.views), len(self.frame.slots)
        self.maps, self.slots = Moments(self.frame.size), Moments(slots)
        self.plane, self.body, self.kinds = Moments(COMMON), Moments(COMMON), Moments(len(KINDS))
        self.contributions, self.shares = Moments(views), Moments(views)
        self.positive = np.zeros(slots, dtype=np.int64)
        self.present = np.zeros(views, dtype=np.int64)

    def add(self, item: Mapped, spill: Spill) -> None:
        """Add a sample; its maps are spilled for `alike` and the exemplars."""
        prepared, views = item.prepared, self.frame.card.views
        maps = {view.name: np.asarray(item.maps[view.name], dtype=np.float64) for view in views}
        self.contributions.add(np.array([maps[view.name].sum() for view in views]))
        by_place = [_by_place(view, prepared, maps[view.name]) for view in views]
        flat = np.concatenate([grid.ravel() for grid in by_place])
        size = float(np.abs(flat).sum())
        self.cold += size == 0
        flat /= size or 1.0
        maps = {name: grid / (size or 1.0) for name, grid in maps.items()}
        warm = np.array([maps[view.name].clip(min=0).sum() for view in views])
        self.shares.add(warm / (float(warm.sum()) or 1.0))
        self.maps.add(flat)
        slots = np.add.reduceat(flat, self.frame.bounds)
        self.slots.add(slots)
        self.positive += slots > 0
        body = {v.name: maps[v.name] for v in views if v.picture}
        self.plane.add(plane_of(prepared, maps))
        self.body.add(plane_of(prepared, body))
        self.kinds.add(kind_shares(prepared, maps))
        for i, view in enumerate(views):
            geometry = prepared.views[view.name].geometry
            self.present[i] += geometry.whole or geometry.present > 0
        self.right += int(item.logits.argmax()) == item.label
        number = spill.append(flat.astype(np.float32))
        self.samples.append((prepared.identity.sha256, prepared.path, number))
