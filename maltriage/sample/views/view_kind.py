"""The interface of a view: the base of the specs in `maltriage.sample.views`.

Importing this costs nothing; modules that make pixels are imported inside functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import msgspec

if TYPE_CHECKING:
    from maltriage.sample.byteplot import Bytes, View


class ViewKind(msgspec.Struct, frozen=True, tag_field="kind", forbid_unknown_fields=True):
    """A view as a card lists it. A subclass has a field `name` and a `tag`, which stays for good.

    Images are pictures, (C, S, S); where `along` is set (2, N), bytes in a row and a mask of those
    that exist; where `counted` is set (C, N), N things that the file holds, in no order that
    matters. Corpora, nets, export and checks use that and the geometry from `plot`.
    """

    along: ClassVar[bool] = False
    """Whether the view is read along the bytes; its maps have one row then."""
    counted: ClassVar[bool] = False
    """Whether the view shows things that are counted; its maps have one row then."""

    @property
    def picture(self) -> bool:
        """Whether images are pictures, with maps of several rows."""
        return not (self.along or self.counted)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image of this view, without the batch axis."""
        raise NotImplementedError

    @property
    def fits(self) -> bool:
        """Whether its sizes and channels are possible: a card may say anything. How many bytes all
        views of a card take is held by `maltriage.bundle.card`."""
        raise NotImplementedError

    @property
    def fixed(self) -> bool:
        """Whether a table reads the view, which is not learned in steps: as in a header, where the
        place of a byte tells its meaning, or where things are counted."""
        return self.counted

    @property
    def anchor(self) -> str | None:
        """The anchor of the layout that the view is placed at; None: it shows the whole file."""
        return None

    @property
    def before(self) -> int:
        """Bytes ahead of the anchor that the view begins with."""
        return 0

    def plot(self, raw: Bytes, anchors: Mapping[str, int], width: int | None = None) -> View:
        """The image of a file, and its geometry.

        Args:
            raw: the plotted bytes (`byteplot.plotted`).
            anchors: file offsets by anchor name, as `Layout.anchors`.
            width: of the byteplot; None: set by the file's size.
        """
        raise NotImplementedError

    def replotted(
        self,
        raw: Bytes,
        ranges: Sequence[tuple[int, int]],
        view: View,
        anchors: Mapping[str, int],
        width: int | None = None,
    ) -> Bytes:
        """`plot(raw, anchors, width).pixels`, updated from a view of nearly the same file.

        Args:
            ranges: of bytes; outside of them `raw` equals the file that `view` shows.

        Returns:
            The pixels of `view` themselves where it shows none of the ranges.
        """
        first, end = view.geometry.start, view.geometry.start + view.geometry.present
        if any(start < end and first < stop for start, stop in ranges):
            return self.plot(raw, anchors, width).pixels
        return view.pixels

    def picks(self, other: ViewKind) -> list[int] | None:
        """Channels of this view's images that equal the images of `other`; None: there are none."""
        return list(range(self.shape[0])) if self == other else None
