"""Only the bytes that are masked change, and only where they are seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from corpus.synthetic import write_dump
from hostile.make import byteplot, sample
from hypothesis import given
from hypothesis import strategies as st

from maltriage.probe.mask import (
    MASKS,
    Mask,
    MaskedViews,
    Variant,
    mask_views,
    masked,
    masked_bytes,
)
from maltriage.probe.prepare import PrepareOptions, prepare
from maltriage.sample.byteplot import Bytes, body_bands, disarmed_ranges, plot, plotted
from maltriage.sample.errors import SampleError
from maltriage.sample.geometry import BodyGeometry
from maltriage.sample.views import BodySpec, ViewSpec, WindowSpec, known_views

ANCHORS = {"code": 700, "pe32": 128, "resource": 2000}


def images(views: MaskedViews, variant: int) -> dict[str, Bytes]:
    return {name: pixels[0] for name, pixels in views.batch(variant, variant + 1).items()}


def assert_same(first: dict[str, Bytes], second: dict[str, Bytes]) -> None:
    assert list(first) == list(second)
    for name, pixels in first.items():
        np.testing.assert_array_equal(pixels, second[name], err_msg=name)


FILES = st.builds(
    lambda seed, size, program, zeros: (
        (sample("console-x86.exe")[:512] if program else b"")
        + np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8).tobytes()
        + bytes(zeros)
    ),
    st.integers(0, 99),
    st.integers(0, 40_000),
    st.booleans(),
    st.integers(0, 700),
)
RANGES = st.lists(st.tuples(st.integers(0, 42_000), st.integers(-5, 9_000)), max_size=5).map(
    lambda pairs: tuple((start, start + length) for start, length in pairs)
)
SPECS = st.sampled_from(
    [
        known_views(64),
        (BodySpec(size=32, channels=("mean",)), WindowSpec("head", "head")),
        (BodySpec(size=7), WindowSpec("tail", "tail", length=300)),
        (BodySpec(size=100, channels=("spread", "high")),),
    ]
)


@given(FILES, RANGES, st.sampled_from(MASKS), st.integers(0, 9), SPECS)
def test_images_are_those_of_the_changed_bytes(
    data: bytes,
    ranges: tuple[tuple[int, int], ...],
    mask: Mask,
    seed: int,
    specs: tuple[ViewSpec, ...],
) -> None:
    """What is made again in part is, bit by bit, what plotting all of the bytes gives."""
    raw = plotted(data)
    # A view as wide as the file shows each byte that was made, so the bytes can be read back.
    whole = (WindowSpec("whole", "head", length=len(raw) + 1), *specs)
    views = mask_views(data, ANCHORS, whole, [Variant(ranges, mask, seed), Variant((), mask)])
    found = images(views, 0)
    changed = found.pop("whole")[0, : len(raw)]
    np.testing.assert_array_equal(masked_bytes(data, Variant(ranges, mask, seed)), changed)
    assert_same(found, _pixels(changed, specs, len(raw)))
    assert_same({**images(views, 1)}, _pixels(raw, whole, len(raw)))
    allowed = np.zeros(len(raw), dtype=bool)
    for start, end in ranges:
        allowed[start : max(start, end)] = True
    for start, end in disarmed_ranges(data):
        allowed[start:end] = False
    np.testing.assert_array_equal(changed[~allowed], raw[~allowed])
    if mask == "zeros":
        assert not changed[allowed].any()


def _pixels(raw: Bytes, specs: tuple[ViewSpec, ...], length: int) -> dict[str, Bytes]:
    assert len(raw) == length
    return {name: view.pixels for name, view in plot(raw, ANCHORS, specs).items()}


@given(
    st.integers(1, 30_000), st.integers(1, 1100), st.integers(1, 70), st.integers(0, 70), st.data()
)
def test_a_part_of_the_body_is_that_part_of_the_whole(
    length: int, width: int, size: int, first: int, data: st.DataObject
) -> None:
    raw = np.random.default_rng(length).integers(0, 256, length, dtype=np.uint8)
    spec, geometry = BodySpec(size=size), BodyGeometry(length, width)
    first = min(first, size - 1)
    end = data.draw(st.integers(first + 1, size))
    whole = body_bands(raw, spec.size, spec.planes, geometry)
    part = body_bands(raw, spec.size, spec.planes, geometry, (first, end))
    np.testing.assert_array_equal(part, whole[:, first:end])


def test_what_stands_in_the_place_of_bytes() -> None:
    raw = np.frombuffer(b"a" * 6000 + b"b" * 2000 + bytes(range(1, 201)) * 10, dtype=np.uint8)
    data, whole = raw.tobytes(), (WindowSpec("whole", "head", length=len(raw)),)

    def changed(mask: Mask, seed: int = 0) -> Bytes:
        views = mask_views(data, {}, whole, [Variant(((1000, 9000),), mask, seed)])
        return images(views, 0)["whole"][0, 1000:9000]

    assert not changed("zeros").any()
    np.testing.assert_array_equal(np.sort(changed("shuffle")), np.sort(raw[1000:9000]))
    assert (changed("shuffle") != raw[1000:9000]).any()
    shares = np.bincount(changed("histogram"), minlength=256) / 8000
    np.testing.assert_allclose(shares, np.bincount(raw, minlength=256) / len(raw), atol=0.02)
    for mask in ("shuffle", "histogram"):
        np.testing.assert_array_equal(changed(mask, 3), changed(mask, 3))
        assert (changed(mask, 3) != changed(mask, 4)).any()


def test_a_large_range_is_drawn_from_the_histogram_too() -> None:
    raw = np.random.default_rng(0).choice([7, 8, 9, 200], 3_000_000, p=[0.6, 0.25, 0.1, 0.05])
    raw[[4, 5, 2_499_999, 2_500_000]] = 1
    data = raw.astype(np.uint8).tobytes()
    whole = (WindowSpec("whole", "head", length=len(data)),)
    views = mask_views(data, {}, whole, [Variant(((5, 2_500_000),), "histogram", 3)])
    changed = images(views, 0)["whole"][0]
    shares = np.bincount(changed[5:2_500_000], minlength=256) / 2_499_995
    np.testing.assert_allclose(shares[[7, 8, 9, 200]], [0.6, 0.25, 0.1, 0.05], atol=0.01)
    assert shares.sum() == pytest.approx(shares[[7, 8, 9, 200]].sum())
    same = (changed[:2_500_000] == raw[:2_500_000]).mean()
    assert same == pytest.approx(0.6**2 + 0.25**2 + 0.1**2 + 0.05**2, abs=0.01)
    np.testing.assert_array_equal(changed[2_500_000:], raw[2_500_000:])
    assert (changed[[4, 5, 2_499_999, 2_500_000]] == 1).tolist() == [True, False, False, True]


def test_each_byte_of_a_small_range_is_shuffled() -> None:
    data = bytes(range(1, 201))
    found = [masked_bytes(data, Variant(((0, 200),), "shuffle", seed)) for seed in range(9)]
    assert (np.stack(found) != np.frombuffer(data, np.uint8)).any(axis=0).all()


def test_a_large_range_is_shuffled_all_over() -> None:
    """Every part of it gets bytes from every other, and each byte stays as often as it was."""
    raw = np.arange(1_000_003) // 4096 % 251 + 1
    data = raw.astype(np.uint8).tobytes()
    whole = (WindowSpec("whole", "head", length=len(data)),)
    views = mask_views(data, {}, whole, [Variant(((3, 999_999),), "shuffle", 3)])
    changed = images(views, 0)["whole"][0]
    np.testing.assert_array_equal(np.sort(changed), np.sort(raw))
    np.testing.assert_array_equal(
        changed[[0, 1, 2, -4, -3, -2, -1]], raw[[0, 1, 2, -4, -3, -2, -1]]
    )
    for part in np.array_split(changed[3:980_000], 12):
        assert len(np.unique(part)) > 220


@pytest.mark.parametrize("mask", MASKS)
def test_a_masked_end_moves_nothing(mask: Mask) -> None:
    """With its last bytes zero a file would be plotted shorter: a masked one is not."""
    data = bytes(range(1, 251)) * 100
    specs = (BodySpec(), WindowSpec("tail", "tail", length=1000))
    views = mask_views(data, {}, specs, [Variant(((20_000, 25_000),), mask)])
    tail = images(views, 0)["tail"]
    assert tail[1].all()
    before = plot(plotted(data), {}, specs)["body"].pixels
    np.testing.assert_array_equal(images(views, 0)["body"][:, :40], before[:, :40])


def test_fields_that_are_zeroed_stay_zero() -> None:
    data = sample("console-x86.exe")
    specs = (WindowSpec("whole", "head", length=len(data)),)
    views = mask_views(data, {}, specs, [Variant(((0, 512),), "histogram", 1)])
    changed = images(views, 0)["whole"][0]
    assert (changed[:512] != plotted(data)[:512]).sum() > 100
    fields = disarmed_ranges(data)
    assert [end - start for start, end in fields] == [2, 4, 2]
    assert not any(changed[start:end].any() for start, end in fields)


def test_equal_images_are_kept_once() -> None:
    data = sample("gui-x86.exe")
    code = {"code": 1024}
    variants = [Variant(((0, 0),), "zeros"), Variant(((9000, 9100),), "shuffle")] * 3
    views = mask_views(data, code, known_views(), variants)
    assert len(views) == 6
    assert len(views.images["code"]) == 1
    assert len(views.images["body"]) == 4
    assert views.batch(2, 5)["code"].shape == (3, 2, 4096)
    none = mask_views(data, code, known_views(), [])
    assert len(none) == 0
    assert none.batch(0, 32)["body"].shape == (0, 5, 64, 64)


OPTIONS = PrepareOptions(known_views(), formats=("pe", "png", "bytes"))


@pytest.mark.parametrize("wrapping", ["pe", "png", "bytes", "picture"])
def test_every_kind_of_sample_can_be_masked(tmp_path: Path, wrapping: str) -> None:
    """Nothing masked is what `prepare` gave; something masked is seen where it lies."""
    data = sample("gui-x86.exe")
    path, options = tmp_path / "a", OPTIONS
    if wrapping == "pe":
        path.write_bytes(data)
    elif wrapping == "bytes":
        write_dump(path, data)
    else:
        path.write_bytes(byteplot(data, 100))
    if wrapping == "picture":
        options = PrepareOptions((BodySpec(),), formats=("picture",))
    known = prepare(str(path), options)
    variants = [Variant((), "zeros"), *(Variant(((0, 4096),), mask, 5) for mask in MASKS)]
    views = masked(str(path), known.identity.sha256, known.layout.anchors, options, variants)
    assert_same(images(views, 0), {name: view.pixels for name, view in known.views.items()})
    for variant in (1, 2, 3):
        assert (images(views, variant)["body"] != known.views["body"].pixels).any()


def test_a_file_that_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.exe"
    path.write_bytes(sample("gui-x86.exe"))
    known = prepare(str(path), OPTIONS)
    path.write_bytes(sample("gui-x86.exe") + b"x")
    with pytest.raises(SampleError) as caught:
        masked(str(path), known.identity.sha256, known.layout.anchors, OPTIONS, [])
    assert (caught.value.code, caught.value.failed) == ("changed", True)
    path.unlink()
    with pytest.raises(SampleError) as caught:
        masked(str(path), known.identity.sha256, known.layout.anchors, OPTIONS, [])
    assert caught.value.code == "not-found"
