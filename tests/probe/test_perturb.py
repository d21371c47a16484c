"""Changes to a sample that say nothing of what it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hostile.make import byteplot, sample
from hypothesis import given
from hypothesis import strategies as st
from sample.chosen import default_views

from maltriage.probe.perturb import APPENDED, MIN_PADDING, Perturbed, padding_ranges, perturbed
from maltriage.probe.prepare import Prepared, PrepareOptions, prepare
from maltriage.sample.errors import SampleError
from maltriage.sample.mapped import release
from maltriage.sample.types import Layout, Region
from maltriage.sample.views import known_views
from maltriage.source import samples

OPTIONS = PrepareOptions(known_views())


def changed(path: Path, seed: int = 0, options: PrepareOptions = OPTIONS) -> Perturbed:
    prepared = prepare(str(path), options)
    return perturbed(str(path), prepared.identity.sha256, prepared.layout, options, seed)


def pixels(found: Prepared | dict) -> dict[str, bytes]:
    views = found.views if isinstance(found, Prepared) else found
    return {name: view.pixels.tobytes() for name, view in views.items()}


@pytest.mark.parametrize("mapped", [False, True])
def test_appended_bytes_are_those_of_a_longer_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mapped: bool
) -> None:
    """Plotted from memory, a file with bytes appended is the file that has them on disk."""
    monkeypatch.setattr(samples, "MAP_BYTES", 1 if mapped else 1 << 20)
    data = sample("gui-x86.exe")
    path = tmp_path / "a.exe"
    path.write_bytes(data)
    found = changed(path, 3)
    count = round(len(data) * APPENDED)
    drawn = np.random.default_rng(3).integers(0, len(data), count)
    release()  # a file that is mapped cannot be written on Windows
    path.write_bytes(data + np.frombuffer(data, dtype=np.uint8)[drawn].tobytes())
    longer = prepare(str(path), OPTIONS)
    assert pixels(found.appended) == pixels(longer)
    assert {n: v.geometry for n, v in found.appended.items()} == {
        n: v.geometry for n, v in longer.views.items()
    }


def test_only_padding_is_other(tmp_path: Path) -> None:
    path = tmp_path / "a.exe"
    data = sample("gui-x86.exe")
    path.write_bytes(data)
    before = prepare(str(path), OPTIONS)
    found = changed(path)
    ranges = padding_ranges(data, before.layout)
    assert ranges
    assert found.padded is not None
    assert pixels(found.padded) != pixels(before)
    for name, view in before.views.items():
        after = found.padded[name]
        if name in ("body", "words", "entropy"):  # of the whole file
            continue
        assert after.geometry == view.geometry
        start = view.geometry.start
        moved = np.flatnonzero(after.pixels[0] != view.pixels[0]) + start
        assert all(any(a <= at < b for a, b in ranges) for at in moved)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=5))
def test_padding_is_zero_bytes_at_the_end_of_a_region(parts: list[tuple[int, int]]) -> None:
    data, regions = b"", []
    for code, zeros in parts:
        start = len(data)
        data += b"\x90" * code + bytes(zeros)
        regions.append(Region("r", "section", start, len(data)))
    layout = Layout("none", None, None, False, None, regions, {})
    expected, at = [], 0
    plotted = len(data.rstrip(b"\0"))
    for code, zeros in parts:
        start, end = at + code, min(at + code + zeros, plotted)
        if end - start >= MIN_PADDING:
            expected.append((start, end))
        at += code + zeros
    assert padding_ranges(data, layout) == tuple(expected)


def test_a_file_without_padding(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(byteplot(b"MZ" + b"\x90" * 5000, 64))
    assert changed(path).padded is None


def test_a_program_and_its_picture_are_one(tmp_path: Path) -> None:
    data = sample("gui-x86.exe")
    (tmp_path / "a.exe").write_bytes(data)
    (tmp_path / "b.png").write_bytes(byteplot(data, 64))
    program, picture = (changed(tmp_path / name) for name in ("a.exe", "b.png"))
    assert pixels(program.appended) == pixels(picture.appended)
    assert program.padded is not None
    assert picture.padded is not None
    assert pixels(program.padded) == pixels(picture.padded)


def test_seeds_and_change(tmp_path: Path) -> None:
    path = tmp_path / "a.exe"
    path.write_bytes(sample("gui-x86.exe"))
    options = PrepareOptions(default_views())
    prepared = prepare(str(path), options)
    first, again, other = (changed(path, seed, options) for seed in (0, 0, 1))
    assert pixels(first.appended) == pixels(again.appended) != pixels(other.appended)
    path.write_bytes(sample("console-x86.exe"))
    with pytest.raises(SampleError) as caught:
        perturbed(str(path), prepared.identity.sha256, prepared.layout, options, 0)
    assert (caught.value.code, caught.value.failed) == ("changed", True)
