"""What specs say of themselves, and what a view of a new kind gets from `ViewKind`."""

from __future__ import annotations

import subprocess
import sys
from typing import ClassVar

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from maltriage.bundle.card import views_problem
from maltriage.sample.byteplot import Bytes, View
from maltriage.sample.geometry import WindowGeometry
from maltriage.sample.views import (
    BodySpec,
    EntropySpec,
    ViewSpec,
    WindowSpec,
    WordsSpec,
    byteplot,
    called,
    known_views,
    program_end,
)
from maltriage.sample.views.view_kind import ViewKind


class Start(ViewKind, frozen=True, tag="start"):
    """The first bytes of a file."""

    along: ClassVar[bool] = True
    length: int = 4
    name: str = "start"

    @property
    def shape(self) -> tuple[int, ...]:
        return (2, self.length)

    @property
    def fits(self) -> bool:
        return self.length > 0

    def plot(self, raw: Bytes, anchors: object, width: int | None = None) -> View:
        present = min(self.length, len(raw))
        pixels = np.zeros(self.shape, dtype=np.uint8)
        pixels[0, :present], pixels[1, :present] = raw[:present], 1
        return View(pixels, WindowGeometry(0, present, self.length))


def test_a_new_kind_is_plotted_again_where_it_shows_what_changed() -> None:
    raw = np.arange(1, 9, dtype=np.uint8)
    view = Start().plot(raw, {})
    raw[3:6] = 0
    assert Start().replotted(raw, [(4, 6)], view, {}) is view.pixels
    assert Start().replotted(raw, [(3, 6)], view, {})[0].tolist() == [1, 2, 3, 0]
    assert (Start().fixed, Start().anchor, Start().before) == (False, None, 0)


def test_a_card_is_held_to_what_a_new_kind_says_of_its_sizes() -> None:
    """As the first of the views, and behind one that fits."""
    for others in ((), (BodySpec(),)):
        assert views_problem((*others, Start())) is None
        problem = "view 'start' has an impossible size or channel"
        assert views_problem((*others, Start(length=-5))) == problem


def test_which_views_can_be_made_of_which() -> None:
    body, window = BodySpec(), WindowSpec("code", "code")
    assert body.picks(BodySpec(channels=("high", "mean"))) == [4, 0]
    assert body.picks(body) == [0, 1, 2, 3, 4]
    assert byteplot().picks(body) is None
    assert body.picks(BodySpec(size=32)) is None
    assert body.picks(window) is window.picks(body) is None
    assert window.picks(WindowSpec("code", "code")) == [0, 1]
    assert window.picks(WindowSpec("code", "code", before=1)) is None
    assert [called(view) for view in (body, byteplot(32), window)] == ["body", "byteplot", "code"]


def test_cards_of_before_are_read() -> None:
    text = (
        '[{"kind":"body","size":64,"channels":["mean"],"name":"body"},'
        '{"kind":"window","name":"code","anchor":"code","before":0,"length":4096,"fixed":false}]'
    )
    views = msgspec.json.decode(text, type=list[ViewSpec])
    assert views == [byteplot(), WindowSpec("code", "code")]
    assert msgspec.json.encode(views).decode() == text


def test_how_views_are_read() -> None:
    """Views of other kinds may stand among these."""
    for view in known_views():
        assert view.along + view.counted + view.picture == 1
        if isinstance(view, WindowSpec):
            assert view.along
        if isinstance(view, WordsSpec | EntropySpec):
            assert view.counted
        if isinstance(view, BodySpec):
            assert view.picture


def test_where_a_program_ends() -> None:
    anchors = {"last_section": 40, "overlay": 70, "certificate": 90, "code": 8}
    assert program_end(anchors, 100) == 70
    assert program_end({**anchors, "overlay": 95}, 100) == 90
    assert program_end({"last_section": 40}, 100) == 100
    # A certificate ahead of a section is a lie, and a file without sections is no program.
    assert program_end({**anchors, "certificate": 20}, 100) == 70
    assert program_end({"overlay": 70}, 100) == 100
    assert program_end({}, 100) == 100


@given(st.binary(min_size=1, max_size=2000), st.binary(max_size=3000), st.data())
def test_nothing_behind_a_program_counts(
    program: bytes, behind: bytes, data: st.DataObject
) -> None:
    """Not even a word that ends the program and goes on behind it, nor a mask there."""
    program, behind = program + b"program", b"behind" + behind + b"a word"
    anchors = {"last_section": 0, "overlay": len(program)}
    raw = np.frombuffer(program + behind, dtype=np.uint8)
    start = data.draw(st.integers(0, len(raw) - 1))
    ranges = [(start, data.draw(st.integers(start + 1, len(raw))))]
    changed = raw.copy()
    changed[slice(*ranges[0])] ^= 0x55
    for spec in (WordsSpec(slots=9, program=True), EntropySpec(cells=5, program=True)):
        whole = msgspec.structs.replace(spec, program=False)
        alone, view = whole.plot(raw[: len(program)], {}), spec.plot(raw, anchors)
        assert np.array_equal(view.pixels, alone.pixels)
        assert view.geometry == alone.geometry
        assert np.array_equal(whole.plot(raw, {}).pixels, whole.plot(raw, anchors).pixels)
        again = spec.replotted(changed, ranges, view, anchors)
        assert np.array_equal(again, spec.plot(changed, anchors).pixels)


@given(
    st.binary(min_size=1, max_size=2000), st.integers(0, 1024), st.binary(min_size=1, max_size=900)
)
def test_padding_ahead_of_an_overlay_counts_no_more_than_at_the_end_of_a_file(
    program: bytes, zeros: int, behind: bytes
) -> None:
    """A file's last zeros are cut, so whoever appends a byte must not bring them back."""
    program += b"\x01"
    raw = np.frombuffer(program + bytes(zeros) + behind, dtype=np.uint8)
    anchors = {"last_section": 0, "overlay": len(program) + zeros}
    for spec in (WordsSpec(slots=9, program=True), EntropySpec(cells=5, program=True)):
        alone, view = spec.plot(raw[: len(program)], {}), spec.plot(raw, anchors)
        assert np.array_equal(view.pixels, alone.pixels)
        assert view.geometry == alone.geometry


def test_specs_cost_nothing_to_import() -> None:
    code = "import sys, maltriage.sample.views; assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
