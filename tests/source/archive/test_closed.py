"""Containers that are not opened are named, and ordinary files are not taken for one."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maltriage.probe.members import Chunk, ChunkOptions, prepare_members
from maltriage.probe.prepare import PrepareOptions
from maltriage.sample.errors import SampleError
from maltriage.sample.views import byteplot
from maltriage.source.archive import by_libarchive
from maltriage.source.archive.closed import closed_kind
from maltriage.source.archive.limits import Archives
from maltriage.source.reading import Reading
from maltriage.source.samples import read_sample

REASON = ", which is not opened: programs in it were not looked at"


def ole(clsid: bytes, sector: int = 3, shift: int = 9) -> bytes:
    """An OLE file with a root entry alone, whose CLSID is given."""
    head = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".ljust(0x1E, b"\0") + struct.pack("<H", shift)
    head = head.ljust(0x30, b"\0") + struct.pack("<I", sector)
    root = "Root Entry".encode("utf-16-le").ljust(80, b"\0") + clsid + b"\0" * 32
    return head.ljust((sector + 1) << shift, b"\0") + root


def guid(first: int) -> bytes:
    return struct.pack("<I", first) + bytes.fromhex("00000000c000000000000046")


def image(standard: bytes, begins: bytes = b"") -> bytes:
    return begins.ljust(0x8000, b"\0") + b"\1" + standard + b"\1" + b"\0" * 100


CONTAINERS = {
    "a.rar": (b"Rar!\x1a\x07\x00 of version 4", "a RAR archive"),
    "b.rar": (b"Rar!\x1a\x07\x01\x00 of version 5", "a RAR archive"),
    "a.cab": (b"MSCF\0\0\0\0 and more", "a cabinet file (CAB)"),
    "a.ace": (b"\1\2\3\4\5\6\7**ACE** and more", "an ACE archive"),
    "a.arj": (b"\x60\xea\x2b\x00\x22\x0b\x01\x0b\x10\x00\x02 and more", "an ARJ archive"),
    "a.lzh": (b"\x24\x8a-lh5-\x10\x00", "an LZH archive"),
    "a.z": (b"\x1f\x9d\x90 and more", "a file of compress (.Z)"),
    "a.lzma": (b"\x5d\0\0\x80\0" + b"\xff" * 8 + b"\0 and more", "an LZMA file"),
    "a.msi": (ole(guid(0x000C1084)), "an installer (MSI)"),
    "a.msp": (ole(guid(0x000C1086), sector=0, shift=12), "an installer (MSI)"),
    "a.vhd": (b"conectix and more", "a disk image (VHD)"),
    "a.vhdx": (b"vhdxfile and more", "a disk image (VHDX)"),
    "a.wim": (b"MSWIM\0\0\0 and more", "a Windows image (WIM)"),
    "invoice": (image(b"CD001"), "an ISO image"),
    "hybrid.ISO": (image(b"CD001", b"\x33\xed boots from USB"), "an ISO image"),
    "a.udf": (image(b"BEA01"), "a disk image (UDF)"),
}
ORDINARY = {
    "letter.doc": ole(guid(0x00020906)),
    "cut-off.msi": ole(guid(0x000C1084))[:600],
    "zeros.iso": bytes(0x9000),
    "short.iso": bytes(64),
    "gzip-like": b"\x1f\x9d\x00 another flag",
    "text": b"-lh5- is a method of LHA",
    "note": b"`\xea",
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_it_is_named(tmp_path: Path, name: str) -> None:
    data, called = CONTAINERS[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SampleError) as caught:
        read_sample(str(tmp_path / name))
    error = caught.value
    assert (error.code, error.failed) == ("container", False)
    assert error.reason.startswith(called + REASON)


@pytest.mark.parametrize("name", ORDINARY)
def test_other_files_are_not(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(ORDINARY[name])
    with pytest.raises(SampleError) as caught:
        read_sample(str(tmp_path / name))
    assert caught.value.code == "not-pe"


def test_a_large_one_is_named_unread(tmp_path: Path) -> None:
    path = tmp_path / "large.iso"
    with path.open("wb") as file:
        file.write(image(b"CD001"))
        file.truncate(1 << 30)
    with pytest.raises(SampleError, match="an ISO image"):
        read_sample(str(path), Reading(max_size=1 << 20))


def test_in_an_archive(tmp_path: Path, samples_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a record of its own, and programs beside them are found."""
    monkeypatch.setattr(by_libarchive, "library", lambda: None)
    with zipfile.ZipFile(tmp_path / "mail.zip", "w") as archive:
        for name, (data, _) in CONTAINERS.items():
            archive.writestr(name, data)
        for name, data in ORDINARY.items():
            archive.writestr(name, data)
        archive.write(samples_dir / "console-x86.exe", "x.exe")
    options = PrepareOptions((byteplot(16),), archives=Archives())
    path = str(tmp_path / "mail.zip")
    found = prepare_members(path, options, ChunkOptions(100, 60.0))
    assert isinstance(found, Chunk)
    said = {item.path.partition("!")[2]: item for item in found.items}
    # An image whose first bytes are empty is known by its name alone in an archive.
    named = CONTAINERS.keys() - {"invoice"}
    assert said.keys() == {*named, "x.exe", ""}
    assert {getattr(said[name], "code", None) for name in named} == {"container"}
    assert getattr(said[""], "reason", "").startswith(f"{len(ORDINARY) + 1} of the ")


@given(st.binary(max_size=200), st.sampled_from(["", "x.iso", "x.msi"]))
def test_any_bytes(data: bytes, name: str) -> None:
    file = io.BytesIO(data)

    def at(start: int, size: int) -> bytes:
        file.seek(start)
        return file.read(size)

    assert closed_kind(name, at) in {None, *(called for _, called in CONTAINERS.values())}
