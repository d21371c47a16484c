"""Patterns of families on the screen, on a page and as a picture: same words, nothing that acts."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from report.families import bundle, document, family, two
from report.pages import assert_sealed
from report.screens import console_of, hidden, printed

from maltriage.errors import MaltriageError
from maltriage.report.studies import patterns, patterns_grid, patterns_words
from maltriage.report.studies.patterns_page import render_page


def test_places_in_words() -> None:
    places = [patterns_words.place(each) for each in family("zeus").ranges]
    assert places == [
        "-0x40..-0x20",
        "COFF TimeDateStamp",
        "PE signature to COFF X",
        "12..25 % of file",
    ]
    (first, *_) = family("zeus").ranges
    across = msgspec.structs.replace(first, end=32)
    assert patterns_words.place(across) == "-0x40..0x20"


def test_the_screen() -> None:
    console = console_of(200)
    patterns.render(two(), console, details=True)
    text = printed(console)
    assert not hidden(text)
    assert "part all: 2,400 files of 2 families" in text
    assert "1 file could not be measured" in text
    lines = text.splitlines()
    row = next(line for line in lines if line.startswith("zeus "))
    # Files, right, alike; kinds that have a column; what is on others.
    assert row.split()[1:7] == ["1,200", "1,100", "-", "60.0%", "30.0%", "10.0%"]
    assert "zeus: 2 files without any heat" in text
    assert "mean SSIM 0.250" in text
    assert "header +50%, code -40%" in text
    assert "net and third: no family in common" in text
    assert "nearest to the mean: 0.987  " + "ab" * 32 in text
    assert "header COFF TimeDateStamp" in text
    short = console_of(200)
    patterns.render(two(), short)
    assert "nearest to the mean" not in printed(short)


def test_what_to_know_first() -> None:
    seen = msgspec.structs.replace(bundle("net", "zeus"), seen=True, unknown_labels={})
    assert next(patterns_words.remarks(seen)).startswith("the model was trained on these files")
    held = msgspec.structs.replace(seen, seen=False, part="out of fold", missing=2, unreadable=0)
    assert list(patterns_words.remarks(held)) == [
        "2 files in no fold, or missing",
        "zeus: 2 files without any heat",
    ]


def test_the_page() -> None:
    text = render_page(two())
    parts = assert_sealed(text)
    pictures = [attributes["alt"] for tag, attributes in parts.elements if tag == "img"]
    # The scale, and of each of the three patterns the plane and a window.
    assert len(pictures) == 1 + 3 * 2
    assert "not known to it" in text
    assert "header +50%, code -40%" in text
    assert "<script>alert" not in text
    assert "COFF TimeDateStamp" in text


def test_the_picture(tmp_path: Path) -> None:
    picture = patterns_grid.draw_grid(two()).convert("RGB")
    height = picture.size[1]
    assert picture.size[0] > 2 * patterns_grid.STRIP_WIDTH
    taller = patterns_grid.draw_grid(document(bundle("net", *(f"f{i}" for i in range(9)))))
    assert taller.size[1] > 3 * height / 2
    pixels = np.asarray(picture).astype(int)
    warm = (pixels[..., 0] > pixels[..., 2] + 80).sum()
    cold = (pixels[..., 2] > pixels[..., 0] + 80).sum()
    assert warm > 100
    assert cold > 100
    patterns_grid.write_grid(two(), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(MaltriageError, match="cannot write"):
        patterns_grid.write_grid(two(), tmp_path / "gone" / "a.png")


def test_too_large_a_picture() -> None:
    many = [f"f{i}" for i in range(600)]
    with pytest.raises(
        MaltriageError, match=r"the picture is too large for .*: choose with --family"
    ):
        patterns_grid.draw_grid(document(bundle("net", *many)))


def test_a_strongest_cell_is_in_the_colour_of_heat() -> None:
    pixels = patterns_grid.coloured([[1.0, 0.0, -0.5]])
    (warm, none, cold) = pixels[0]
    assert warm[0] > warm[2]
    assert cold[2] > cold[0]
    assert max(none) < 30
    assert patterns_grid.coloured([[0.0, 0.0]])[0][0] == none
