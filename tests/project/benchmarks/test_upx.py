"""The script that packs clean programs: which it takes, and how they are labelled."""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
import sys
from pathlib import Path

import pytest

from benchmarks import upx
from maltriage.source.upx.packed import packed_by_upx
from maltriage.source.upx.unpack import MAX_IMAGE, unpack

STAND_IN = f"""#!{sys.executable}
import sys
*_, target, program = sys.argv[1:]
data = open(program, "rb").read()
if data.startswith(b"no"):
    sys.exit(2)
open(target, "wb").write(b"packed" + data)
"""
"""UPX refuses some programs; so does this."""


def part(folder: Path, contents: list[bytes]) -> Path:
    """A part of `goodware.py` with one package."""
    (folder / "package").mkdir(parents=True)
    rows = ["path,family,source,package"]
    for data in contents:
        path = f"package/{hashlib.sha256(data).hexdigest()}.exe"
        (folder / path).write_bytes(data)
        rows.append(f"{path},benign,wheels,package")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for UPX is a script with a shebang")
def test_as_many_of_a_package_as_are_wanted_and_upx_takes(tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text(STAND_IN)
    tool.chmod(0o755)
    big = [bytes([number]) * (upx.LEAST + 1) for number in range(5)]
    refused = [b"no" + data for data in big]
    clean = part(tmp_path / "clean", [*big, *refused, b"small"])
    found = list(upx.packed(clean, tmp_path / "packed", str(tool), 3))
    taken = sorted(hashlib.sha256(data).hexdigest() for data in big)[:3]
    assert [item.path.stem for item in found] == taken
    assert all(item.path.read_bytes()[6:] == item.program.read_bytes() for item in found)
    assert {(item.source, item.package) for item in found} == {("wheels", "package")}
    tool.write_text(f"#!{sys.executable}\nraise SystemExit(2)\n")
    again = list(upx.packed(clean, tmp_path / "packed", str(tool), 3))
    assert again == found, "what is packed is not packed again"


@pytest.mark.skipif(shutil.which("upx") is None, reason="needs UPX on the PATH")
def test_real_upx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = Path(__file__).parents[2] / "source/upx/programs"
    data = (programs / "gui-x86.nrv2e.exe").read_bytes()
    found = packed_by_upx(data)
    assert found is not None
    for name in ("train", "calibration", "test"):
        part(tmp_path / name, [unpack(data, found, MAX_IMAGE)])
    monkeypatch.setattr(sys, "argv", ["upx", str(tmp_path / "out"), "--goodware", str(tmp_path)])
    monkeypatch.setattr(upx, "LEAST", 1_000)
    upx.main()
    for name, count in (("train", 1), ("test", 1)):
        with (tmp_path / "out" / name / "labels.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert len({row["path"] for row in rows}) == count
        assert {(row["source"], row["packer"]) for row in rows} == {("wheels-upx", "UPX")}
        assert packed_by_upx((tmp_path / "out" / name / rows[0]["path"]).read_bytes()) is not None
