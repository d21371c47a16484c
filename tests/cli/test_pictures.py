"""`explain --png` and `--svg` as processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hostile.make import CASES, sample
from PIL import Image
from report.factories import make_failed, make_result
from report.screens import written


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "a.exe"
    path.write_bytes(sample("gui-x86.exe"))
    return path


def test_pictures_come_beside_the_result(run_cli: Any, program: Path, tmp_path: Path) -> None:
    plain = run_cli("explain", program, "-f", "json")
    png, svg = tmp_path / "a.png", tmp_path / "a.svg"
    done = run_cli("explain", program, "-f", "json", "--png", png, "--svg", svg)
    assert (done.returncode, done.stderr) == (plain.returncode, b"")
    assert len(done.stdout) == pytest.approx(len(plain.stdout), abs=200)
    with Image.open(png) as image:
        assert image.format == "PNG"
    texts = [element.text for element in ElementTree.parse(svg).iter()]
    assert ".text" in texts
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.exe", "a.png", "a.svg"]
    # The same picture comes from what was saved, without the program.
    report = tmp_path / "r.json"
    report.write_bytes(done.stdout)
    program.unlink()
    before = png.read_bytes(), svg.read_bytes()
    assert run_cli("explain", report, "--png", png, "--svg", svg).returncode == 0
    assert (png.read_bytes(), svg.read_bytes()) == before


def test_a_hostile_section_name_is_drawn_as_text(run_cli: Any, tmp_path: Path) -> None:
    path, svg = tmp_path / "a.exe", tmp_path / "a.svg"
    path.write_bytes(CASES["section_named_markup"]())
    assert run_cli("explain", path, "--svg", svg, "--exit-zero").returncode == 0
    assert any("[/red]" in (e.text or "") for e in ElementTree.parse(svg).iter())


def test_wrong_use_writes_nothing(run_cli: Any, program: Path, tmp_path: Path) -> None:
    before = program.read_bytes()
    scanned = tmp_path / "scan.ndjson"
    scanned.write_bytes(written("ndjson", [make_result()]))
    for arguments, message in (
        ((program, "--png", "no/such/a.png"), f"cannot write {Path('no/such/a.png')}: no "),
        ((program, "--svg", tmp_path), "a folder"),
        ((program, program, "--yara", "x.yar", "--svg", "x"), "--png and --svg draw one file"),
        ((program, "--svg", "x", "--png", "x"), "--png and --svg name the same file: x"),
        ((program, "--png", "x.svg"), "x.svg: the ending is that of another format"),
        ((program, "--png", program), "a sample, which would be overwritten"),
        ((program, "--png", "x", "--method", "occlusion"), "the method occlusion has none"),
        ((scanned, "--png", "x"), "no picture: the record of cases/2024-117/invoice_0481.exe has"),
    ):
        done = run_cli("explain", *arguments)
        assert (done.returncode, done.stdout) == (2, b"")
        assert message in done.stderr.decode()
        assert done.stderr.count(b"\n") == 1
        assert not (tmp_path / "x").exists()
    assert program.read_bytes() == before


def test_a_file_that_cannot_be_explained_has_no_picture(run_cli: Any, tmp_path: Path) -> None:
    report = tmp_path / "r.json"
    report.write_bytes(written("ndjson", [make_failed()]))
    done = run_cli("explain", report, "--png", "x.png")
    assert done.returncode == 3
    assert not (tmp_path / "x.png").exists()
