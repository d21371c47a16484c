"""A file and what transformations make of it, as a scan would see the changed files."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus.synthetic import write_dump
from hostile.make import byteplot, sample

from maltriage.probe.prepare import Prepared, PrepareOptions, prepare
from maltriage.probe.transform import TRANSFORMS
from maltriage.probe.transform.donors import Draw
from maltriage.probe.transform.program import Program
from maltriage.probe.transform.worker import appended, transformed
from maltriage.sample.errors import SampleError
from maltriage.sample.mapped import release
from maltriage.sample.views import known_views
from maltriage.source import samples

OPTIONS = PrepareOptions(known_views())
NAMES = ("append-random-50", "rename-sections", "append-benign-10", "strip-certificate")


def pixels(found: Prepared) -> dict[str, bytes]:
    return {name: view.pixels.tobytes() for name, view in found.views.items()}


def test_it_is_what_a_scan_of_the_changed_file_sees(tmp_path: Path) -> None:
    data = sample("gui-x86.exe")
    path, other = tmp_path / "a.exe", tmp_path / "changed.exe"
    path.write_bytes(data)
    (tmp_path / "donor.exe").write_bytes(sample("library-x64.dll"))
    donors = [str(path), str(tmp_path / "donor.exe")]
    found = transformed(str(path), NAMES, donors, OPTIONS, 5)
    known = prepare(str(path), OPTIONS)
    assert pixels(found.plain) == pixels(known)
    assert found.plain.layout == known.layout
    assert found.changed["strip-certificate"] == "no certificate"
    for name in NAMES[:3]:
        draw = Draw(5, known.identity.sha256, name, donors[1:])
        other.write_bytes(TRANSFORMS[name].apply(Program(data), draw))
        wanted, made = prepare(str(other), OPTIONS), found.changed[name]
        assert isinstance(made, Prepared)
        assert pixels(made) == pixels(wanted)
        assert (made.layout, made.identity) == (wanted.layout, wanted.identity)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.exe", "changed.exe", "donor.exe"]


def test_a_picture_of_a_program_is_changed_like_it(tmp_path: Path) -> None:
    data = sample("gui-x86.exe")
    (tmp_path / "a.png").write_bytes(byteplot(data, 64))
    (tmp_path / "a.exe").write_bytes(data + bytes(-len(data) % 64))
    picture, program = (
        transformed(str(tmp_path / name), tuple(TRANSFORMS), (), OPTIONS, 0)
        for name in ("a.png", "a.exe")
    )
    for name, made in program.changed.items():
        other = picture.changed[name]
        if isinstance(made, str):
            assert made == other
        else:
            assert isinstance(other, Prepared)
            assert pixels(other) == pixels(made)
            assert other.format == "png"
    assert program.changed["append-benign-1"] == "no benign files to take bytes from"


def test_what_has_no_headers(tmp_path: Path) -> None:
    write_dump(tmp_path / "a.bytes", sample("gui-x86.exe"))
    (tmp_path / "b.exe").write_bytes(b"MZ" + b"\x90" * 300)
    for name in ("a.bytes", "b.exe"):
        found = transformed(str(tmp_path / name), ("append-zeros-1",), (), OPTIONS, 0)
        assert found.changed == {"append-zeros-1": "no PE headers"}
    with pytest.raises(SampleError):
        transformed(str(tmp_path / "missing"), ("append-zeros-1",), (), OPTIONS, 0)


@pytest.mark.parametrize("mapped", [False, True])
def test_bytes_behind_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mapped: bool) -> None:
    monkeypatch.setattr(samples, "MAP_BYTES", 1 if mapped else 1 << 20)
    data = sample("gui-x86.exe")
    path, other = tmp_path / "a.exe", tmp_path / "b.exe"
    path.write_bytes(data)
    digest = prepare(str(path), OPTIONS).identity.sha256
    found = appended(str(path), digest, [b"x" * 5000, b"y"], OPTIONS)
    for made, more in zip(found, (b"x" * 5000, b"y"), strict=True):
        other.write_bytes(data + more)
        assert pixels(made) == pixels(prepare(str(other), OPTIONS))
        release()  # a file that is mapped cannot be written on Windows
    with pytest.raises(SampleError) as caught:
        appended(str(other), digest, [b"x"], OPTIONS)
    assert (caught.value.code, caught.value.failed) == ("changed", True)
    cut = tmp_path / "c.exe"
    cut.write_bytes(sample("truncated-x86.exe"))
    digest = prepare(str(cut), OPTIONS).identity.sha256
    with pytest.raises(SampleError) as caught:
        appended(str(cut), digest, [b"x"], OPTIONS)
    assert (caught.value.code, caught.value.failed) == ("not-applicable", False)
