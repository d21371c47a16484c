"""Programs inside programs: found by their headers, taken out whole, named by their place."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus.synthetic import zipped
from hostile.make import Pe, byteplot, sample
from paths import below

from maltriage.probe.members import Chunk, ChunkOptions, prepare_members
from maltriage.probe.prepare import Prepared, PrepareOptions
from maltriage.sample.errors import SampleError
from maltriage.sample.views import BodySpec
from maltriage.source import carve as carving
from maltriage.source.archive.limits import Archives
from maltriage.source.carve import Carved, carve, split_carved, take
from maltriage.source.files import Rejected
from maltriage.source.reading import Reading
from maltriage.source.samples import read_sample

CARRIER, X64, GUI = sample("console-x86.exe"), sample("console-x64.exe"), sample("gui-x86.exe")
BOTH = CARRIER + bytes(100) + X64 + b"MZ" * 50 + GUI
AT = (len(CARRIER) + 100, len(CARRIER) + 100 + len(X64) + 100)
NAMES = [f"carved@{at:#x}.exe" for at in AT]


def test_where_they_are() -> None:
    assert [item.start for item in carve(BOTH)] == list(AT)
    assert take(BOTH, AT[0]) == X64[: len(take(BOTH, AT[0]))]
    assert [*carve(CARRIER)] == []
    cut = CARRIER + X64[:-2000]
    assert [*carve(cut)] == [Carved(len(CARRIER), len(cut))]


@pytest.mark.parametrize("at_once", [997, 4096])
def test_wherever_a_piece_that_is_looked_through_ends(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(carving, "_AT_ONCE", at_once)
    assert [item.start for item in carve(BOTH)] == list(AT)


@pytest.mark.parametrize(
    "broken",
    [
        lambda pe: pe.put("<I", 60, 1 << 31),
        lambda pe: pe.put("4s", pe.pe, b"PE\1\0"),
        lambda pe: pe.put("<H", pe.pe + 24, 0x777),
        lambda pe: pe.put("<H", pe.pe + 6, 0),
        lambda pe: pe.put("<H", pe.pe + 6, 97),
        lambda pe: pe.put("<I", pe.pe + 24 + 60, 1 << 30),
    ],
)
def test_headers_that_are_not_plausible(broken) -> None:  # type: ignore[no-untyped-def]
    assert [*carve(CARRIER + broken(Pe()).bytes())] == []
    assert [*carve(CARRIER + Pe().bytes())] != []


def test_every_cut_is_survived() -> None:
    for size in range(0, 1024, 7):
        assert len([*carve(b"x" + X64[:size])]) <= 1


def test_paths() -> None:
    assert split_carved("a.zip!x.exe!carved@0x1a.exe") == ("a.zip!x.exe", 0x1A)
    for other in ("x.exe", "carved@0x1a.exe", "x!carved@1a.exe", "x!carved@0x1a.exe!y"):
        assert split_carved(other) is None


@pytest.mark.parametrize("wrap", [bytes, byteplot, lambda data: zipped({"in.exe": data})])
def test_they_are_samples(wrap, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "a"
    path.write_bytes(wrap(BOTH))
    prefix = "a!in.exe" if wrap not in (bytes, byteplot) else "a"
    work = PrepareOptions((BodySpec(64),), archives=Archives(carve=2))
    found = prepare_members(str(path), work, ChunkOptions(9, 60))
    assert isinstance(found, Chunk)
    names = [below(item.path, tmp_path) for item in found.items]
    assert names == [prefix, *(f"{prefix}!{name}" for name in NAMES)]
    for item in found.items[1:]:
        assert isinstance(item, Prepared)
        again = prepare_members(item.path, work, ChunkOptions(9, 60))
        assert isinstance(again, Prepared)
        assert again.identity == item.identity
    assert read_sample(found.items[1].path, Reading(archives=Archives())).data == take(BOTH, AT[0])
    with pytest.raises(SampleError) as caught:
        read_sample(f"{path}!carved@0x5.exe", Reading(archives=Archives()))
    assert caught.value.failed


def test_the_cap(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(BOTH)
    work = PrepareOptions((BodySpec(64),), archives=Archives(carve=1))
    found = prepare_members(str(tmp_path / "a"), work, ChunkOptions(9, 60))
    assert isinstance(found, Chunk)
    last = found.items[-1]
    assert isinstance(last, Rejected)
    assert (last.code, last.failed, len(found.items)) == ("carve-limit", False, 3)
    none = PrepareOptions((BodySpec(64),), archives=Archives())
    assert isinstance(prepare_members(str(tmp_path / "a"), none, ChunkOptions(9, 60)), Prepared)
