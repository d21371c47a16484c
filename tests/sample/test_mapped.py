"""Large files: mapped, they say what they say when they are read, and take no memory."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from maltriage import bundle as bundles
from maltriage.probe.prepare import Prepared, PrepareOptions, prepare
from maltriage.sample.byteplot import neutralize
from maltriage.sample.layout import make_layout
from maltriage.sample.mapped import is_mapped, mapped
from maltriage.sample.pe import read_headers
from maltriage.source import samples
from maltriage.source.samples import read_sample
from maltriage.work.workers import LOST, Workers, reason_of

SAMPLES = sorted((Path(__file__).parents[2] / "samples").glob("*.[esd][xyl][esl]"))
VIEWS = bundles.load(bundles.resolve(None)).card.views


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_a_mapped_file_is_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = PrepareOptions(VIEWS, hashes=True)
    read = prepare(str(path), options)
    plain = read_sample(str(path))
    monkeypatch.setattr(samples, "MAP_BYTES", 1)
    contents = read_sample(str(path))
    assert is_mapped(contents.data)
    assert contents.data[:] == plain.data
    found = prepare(str(path), options)
    same(read, found)
    assert path.read_bytes() == plain.data


def same(read: Prepared, found: Prepared) -> None:
    """As far as pefile reads what LIEF reads."""
    for name, view in read.views.items():
        assert (found.views[name].pixels == view.pixels).all()
        assert found.views[name].geometry == view.geometry
    for field in ("sha256", "md5", "sha1", "tlsh", "size", "imphash", "compile_time"):
        assert getattr(found.identity, field) == getattr(read.identity, field)
    assert found.layout.regions == read.layout.regions
    assert found.layout.anchors == read.layout.anchors
    assert found.layout.parser in ("pefile", "none")


def test_neutralised_in_memory_only(tmp_path: Path) -> None:
    path = tmp_path / "x.exe"
    data = SAMPLES[0].read_bytes()
    path.write_bytes(data)
    with path.open("rb") as file:
        whole = mapped(file)
    assert neutralize(whole)[:] == neutralize(data) != data
    assert whole[:] == path.read_bytes() == data


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_large_file_takes_no_memory(tmp_path: Path) -> None:
    """300 MB, most of it a hole that is no trailing zeros."""
    path = tmp_path / "large.exe"
    with path.open("wb") as file:
        file.write(SAMPLES[0].read_bytes())
        file.seek(300_000_000)
        file.write(b"end")
    with Workers(1, 120.0) as workers:
        workers.submit(prepare, str(SAMPLES[0]), PrepareOptions(VIEWS)).result()
        pid = workers.submit(os.getpid).result()
        before = anonymous(pid)
        work = workers.submit(prepare, str(path), PrepareOptions(VIEWS, max_size=1 << 30))
        most = before
        while not work.done():
            most = max(most, anonymous(pid))
            time.sleep(0.005)
        assert work.result().identity.size == 300_000_003
        assert workers.submit(os.getpid).result() == pid
        assert str(path) not in Path(f"/proc/{pid}/maps").read_text()  # so it can be deleted
        assert str(path) not in map(os.path.realpath, Path(f"/proc/{pid}/fd").iterdir())
    assert most - before < 30 << 20


def anonymous(pid: int) -> int:
    """Bytes of memory of its own that a process has."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) << 10
    return 0


def look_when_told(path: str, told: str) -> int:
    with open(path, "rb") as file:
        whole = mapped(file)
    while not os.path.exists(told):  # a worker may write nothing, so it cannot say that it is here
        time.sleep(0.01)
    return sum(whole[i] for i in range(0, len(whole), 4096))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_file_cut_short_under_its_mapping(tmp_path: Path) -> None:
    path, told = tmp_path / "cut.exe", tmp_path / "told"
    path.write_bytes(bytes(1 << 20))
    with Workers(1, 60.0) as workers:
        maps = Path(f"/proc/{workers.submit(os.getpid).result()}/maps")
        work = workers.submit(look_when_told, str(path), str(told))
        ends = time.monotonic() + 30
        while str(path) not in maps.read_text():
            assert time.monotonic() < ends
            assert not work.done()
            time.sleep(0.01)
        os.truncate(path, 100)
        told.touch()
        with pytest.raises(Exception) as raised:  # noqa: PT011 - whatever the pool makes of it
            work.result(timeout=60)
        assert reason_of(raised.value, 60.0).code in LOST
        again = workers.submit(len, b"abc")
        assert again.result() == 3


def test_headers_of_a_mapped_file_by_pefile(tmp_path: Path) -> None:
    path = tmp_path / "x.exe"
    path.write_bytes(SAMPLES[0].read_bytes())
    with path.open("rb") as file:
        whole = mapped(file)
    headers = read_headers(whole)
    assert headers is not None
    assert headers.parser == "pefile"
    layout, _ = make_layout(whole, headers)
    assert sum(region.size for region in layout.regions) == len(whole)
