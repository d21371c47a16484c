"""One program in several wrappings, through the function that training and scanning share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from corpus.synthetic import write_dump, write_png
from hostile.make import sample

from maltriage.probe.prepare import Prepared, PrepareOptions, prepare
from maltriage.sample.errors import SampleError
from maltriage.sample.views import known_views

VIEWS = known_views(32)


def prepared(path: Path) -> Prepared:
    return prepare(str(path), PrepareOptions(VIEWS, formats=("pe", "png", "bytes")))


@pytest.mark.parametrize("address", [None, 0x400000])
def test_a_dump_gives_the_images_of_its_bytes(tmp_path: Path, address: int | None) -> None:
    data = sample("console-x86.exe")
    (tmp_path / "plain.exe").write_bytes(data)
    program = prepared(tmp_path / "plain.exe")
    dump = prepared(write_dump(tmp_path / "a.bytes", data, address))
    assert (dump.format, dump.layout.parser, dump.layout.anchors) == ("bytes", "none", {})
    assert dump.identity.sha256 == program.identity.sha256
    assert dump.notices == []
    for name in ("body", "head", "tail"):
        np.testing.assert_array_equal(dump.views[name].pixels, program.views[name].pixels)
        assert dump.views[name].geometry == program.views[name].geometry
    # It says nothing of where code or a header is, though these bytes begin like a program.
    for name in ("header", "code", "import"):
        assert not dump.views[name].pixels.any()


def test_unknown_bytes_of_a_dump(tmp_path: Path) -> None:
    (tmp_path / "a.bytes").write_text("00401000 55 ?? 8B ??\n")
    dump = prepared(tmp_path / "a.bytes")
    assert dump.layout.unmapped == 2
    (notice,) = dump.notices
    assert (notice.code, notice.text[:5]) == ("unmapped", "50.0%")
    assert dump.views["head"].pixels[0, :5].tolist() == [0x55, 0, 0x8B, 0, 0]
    assert dump.views["head"].pixels[1, :5].tolist() == [1, 1, 1, 0, 0]  # trailing zeros are cut
    (again,) = prepare(
        str(tmp_path / "a.bytes"), PrepareOptions(VIEWS, formats=("bytes",), unmapped=255)
    ).notices
    assert again.text.endswith("read as 0xff.")
    (tmp_path / "b.bytes").write_text("?? ??\n")
    assert not prepared(tmp_path / "b.bytes").views["body"].pixels.any()


def test_a_picture_keeps_its_width(tmp_path: Path) -> None:
    pixels = bytes(range(1, 65)) * 48
    path = write_png(tmp_path / "a.png", pixels, width=64)
    options = PrepareOptions(VIEWS, formats=("picture",))
    picture = prepare(str(path), options)
    assert picture.format == "picture"
    assert [n.code for n in picture.notices] == ["picture"]
    assert picture.views["body"].geometry.width == 64  # type: ignore[union-attr]
    mean = picture.views["body"].pixels[0]
    assert (mean == mean[0]).all()  # its rows are equal, and at another width they would not be
    with pytest.raises(SampleError):
        prepared(path)
