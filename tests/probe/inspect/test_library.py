"""Functions of libraries, by FLIRT signatures made of a sample's own functions."""

from __future__ import annotations

from pathlib import Path

import pytest

from maltriage.errors import MaltriageError
from maltriage.probe.inspect import functions, library, tables
from maltriage.probe.inspect.image import Image
from maltriage.probe.inspect.snap import Range
from maltriage.probe.inspect.worker import look
from maltriage.sample.layout import make_layout
from maltriage.sample.pe import read_headers

flirt = pytest.importorskip("flirt", reason="the extra `identify` is not installed")


def bodies(data: bytes) -> list[tuple[int, int]]:
    """The functions of a program that are long enough to be named."""
    image = Image(data, True)
    assert image.architecture is not None
    assert image.headers is not None
    section = next(s for s in image.headers.sections if s.executable)
    found = functions.find(
        image, section, tables.exports(image), image.architecture[0], section.start
    )
    things = [found.around(start) for start in found.starts]
    return [(t.start, t.end) for t in things if t is not None and t.end - t.start >= 64]


def pattern(data: bytes, start: int, end: int, name: str) -> str:
    """A line of a .pat file: the first 32 bytes, no checksum, and the length."""
    return f"{data[start : start + 32].hex().upper()} 00 0000 {end - start:04X} :0000 {name}"


def write(folder: Path, *lines: str) -> Path:
    (folder / "1_some_msvc_rtf_32.pat").write_text("\n".join((*lines, "---")) + "\n")
    return folder


def test_a_function_is_named_in_the_range_that_it_is_in(samples_dir: Path, tmp_path: Path) -> None:
    data = (samples_dir / "console-x86.exe").read_bytes()
    start, end = bodies(data)[0]
    signatures = library.read(write(tmp_path, pattern(data, start, end, "_memmove")))
    region = make_layout(data, read_headers(data))[0].region_at(start)
    assert region is not None
    here = Range(start + 4, start + 40, start + 4, region)
    (found,) = look(data, [here], parse=True, snap=True, signatures=signatures)
    assert found.content is not None
    assert [(f.offset, f.name, f.library) for f in found.content.library] == [
        (start, "_memmove", "MSVC runtime")
    ]
    (plain,) = look(data, [here], parse=True, snap=True)
    assert plain.content is not None
    assert plain.content.library == []


def test_two_names_for_the_same_bytes_are_none(samples_dir: Path, tmp_path: Path) -> None:
    data = (samples_dir / "console-x86.exe").read_bytes()
    start, end = bodies(data)[0]
    lines = [pattern(data, start, end, name) for name in ("_memmove", "_memcpy")]
    both = library.read(write(tmp_path, *lines))
    assert both.name(data, start, end) is None
    (tmp_path / "one").mkdir()
    one = library.read(write(tmp_path / "one", lines[0]))
    assert one.name(data, start, end) is not None
    assert one.name(data, start, start + library.MIN_BYTES - 1) is None  # short ones are alike
    assert one.name(bytes(len(data)), start, end) is None


def test_what_is_no_signature_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MaltriageError, match="no FLIRT signatures"):
        library.read(tmp_path)
    with pytest.raises(MaltriageError, match="no FLIRT signatures"):
        library.read(tmp_path / "missing.sig")
    (tmp_path / "a.sig").write_bytes(b"IDASGN\x0a" + bytes(100))
    with pytest.raises(MaltriageError, match=r"a\.sig: no FLIRT signatures"):
        library.read(tmp_path)
