"""Occlusion: windows cover the file, effects are kept, and masking what matters shows."""

from __future__ import annotations

from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile.make import byteplot, sample
from hypothesis import given
from hypothesis import strategies as st

from maltriage import bundle as bundles
from maltriage.bundle import Bundle
from maltriage.report.documents.evidence import Evidence
from maltriage.report.documents.record import Failed, Result
from maltriage.sample.types import Layout, Region
from maltriage.triage import occlusion
from maltriage.triage.occlusion import ALIGNED, OVERLAP, STEPS, RangeGeometry, Windows, spread
from maltriage.triage.options import ScanOptions
from maltriage.triage.pipeline import scan


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return bundles.load(bundles.resolve(None))


def occluded(path: Path, bundle: Bundle, **options: object) -> Evidence:
    scanning = ScanOptions(device="cpu", jobs=1, methods=("occlusion",), **options)  # type: ignore[arg-type]
    result = next(iter(scan([str(path)], bundle, scanning)))
    assert isinstance(result, Result)
    return result.evidence


def layout_of(sizes: list[int]) -> Layout:
    edges = [0, *accumulate(sizes)]
    regions = [Region("r", "section", a, b) for a, b in pairwise(edges)]
    return Layout("none", None, None, False, None, regions, {})


SIZES = st.lists(st.integers(0, 200_000), min_size=1, max_size=9).filter(any)


@given(SIZES)
def test_each_byte_lies_in_as_many_windows_of_its_region(sizes: list[int]) -> None:
    layout = layout_of(sizes)
    windows = Windows.over(layout)
    size = sum(sizes)
    assert windows.stride % ALIGNED == 0
    assert len(windows.ranges) <= STEPS + 2 * len(sizes)
    starts, ends = np.array(windows.ranges).T
    assert (starts < ends).all()
    edges = np.unique(np.concatenate(([0, size], starts, ends)))
    for middle in (edges[:-1] + edges[1:]) / 2:
        assert int(((starts <= middle) & (middle < ends)).sum()) == OVERLAP
    for start, end in windows.ranges:
        assert any(r.start <= start and end <= r.end for r in layout.regions)


def test_very_many_regions_are_slid_over_as_one() -> None:
    assert Windows.over(layout_of([10] * (STEPS + 1))).pieces == ((0, 10 * (STEPS + 1)),)
    assert len(Windows.over(layout_of([10] * STEPS)).pieces) == STEPS


@given(SIZES, st.integers(0, 2**32))
def test_effects_are_kept(sizes: list[int], seed: int) -> None:
    """Of the file, and of each region the effects of its own windows."""
    layout = layout_of(sizes)
    windows = Windows.over(layout)
    found = np.random.default_rng(seed).normal(size=len(windows.ranges))
    geometry, heat = spread(windows, found)
    assert isinstance(geometry, RangeGeometry)
    scale = np.abs(found).sum()
    assert abs(heat.sum() - found.sum() / OVERLAP) <= 1e-9 * scale
    starts = np.array([start for start, _ in windows.ranges])
    for region in layout.regions:
        inside = (region.start <= starts) & (starts < region.end)
        low, high = geometry.integrate(heat, np.array([region.start, region.end]))
        assert abs(high - low - found[inside].sum() / OVERLAP) <= 1e-9 * scale


def test_heat_lies_where_the_effect_was() -> None:
    windows = Windows(((0, 1000),), 64)
    found = np.zeros(len(windows.ranges))
    found[5] = 3.0  # the bytes from 256 on: the first window ends with the first stride
    assert windows.ranges[5] == (256, 384)
    geometry, heat = spread(windows, found)
    np.testing.assert_allclose(
        geometry.integrate(heat, np.array([256, 320, 384, 1000])), [0.0, 0.75, 1.5, 1.5]
    )


@pytest.mark.parametrize("name", ["gui-x86.exe", "overlay-x86.exe"])
def test_an_account_of_bytes(samples_dir: Path, bundle: Bundle, name: str) -> None:
    evidence = occluded(samples_dir / name, bundle)
    parts = [region.contribution for region in evidence.regions]
    scale = sum(map(abs, parts))
    assert abs(sum(parts) - evidence.total) <= 1e-6 * scale
    assert abs(evidence.padding) <= 1e-9 * scale
    assert (evidence.method, evidence.additive, evidence.same_as) == ("occlusion", False, [])
    assert (evidence.views, evidence.plane) == ([], None)
    assert evidence.occluded is not None
    layout = layout_of([region.end - region.start for region in evidence.regions])
    assert evidence.occluded.windows == len(Windows.over(layout).ranges)
    assert evidence.hot


def test_the_seed_draws_the_bytes(samples_dir: Path, bundle: Bundle) -> None:
    path = samples_dir / "gui-x86.exe"
    first, again, other = (occluded(path, bundle, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert [region.contribution for region in first.regions] != [
        region.contribution for region in other.regions
    ]
    assert other.occluded is not None
    assert other.occluded.seed == 1


def test_a_program_and_its_picture_are_one(tmp_path: Path, bundle: Bundle) -> None:
    data = sample("gui-x86.exe")
    (tmp_path / "a.exe").write_bytes(data)
    (tmp_path / "b.png").write_bytes(byteplot(data, 64))
    program, picture = (occluded(tmp_path / name, bundle) for name in ("a.exe", "b.png"))
    assert program.regions == picture.regions
    assert program.hot == picture.hot


def test_a_label_against_another(samples_dir: Path, bundle: Bundle) -> None:
    """Effects are of the score that is explained: of a difference, the difference of effects."""
    path = samples_dir / "gui-x86.exe"
    first, second = (occluded(path, bundle, label=name) for name in ("bifrose", "hupigon"))
    both = occluded(path, bundle, label="bifrose", against="hupigon")
    expected = [
        one.contribution - other.contribution
        for one, other in zip(first.regions, second.regions, strict=True)
    ]
    assert [region.contribution for region in both.regions] == pytest.approx(expected, abs=1e-4)


def test_a_file_that_changes_meanwhile(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.exe"
    path.write_bytes(sample("gui-x86.exe"))
    honest = occlusion.effects

    def late(*arguments: Any) -> np.ndarray:
        path.write_bytes(sample("console-x86.exe"))
        return honest(*arguments)

    monkeypatch.setattr(occlusion, "effects", late)
    scanning = ScanOptions(device="cpu", jobs=1, methods=("occlusion",))
    record = next(iter(scan([str(path)], bundle, scanning)))
    assert isinstance(record, Failed)
    assert record.code == "changed"
