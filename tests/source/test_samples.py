from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import pytest
from hostile.make import CASES, byteplot, sample

from maltriage.sample.errors import SampleError
from maltriage.sample.types import FORMATS, Format
from maltriage.source.reading import Reading
from maltriage.source.samples import read_again, read_sample


@pytest.mark.parametrize(
    ("data", "code", "failed"),
    [
        (b"", "empty", False),
        (b"M", "not-pe", False),
        (b"plain text in a file called .exe", "not-pe", False),
        (CASES["png_rgb"](), "not-byteplot", False),
        (byteplot(b"a grey picture of something else"), "not-byteplot", False),
        (byteplot(sample("console-x86.exe"))[:300], "damaged-png", True),
    ],
)
def test_what_is_no_sample(tmp_path: Path, data: bytes, code: str, failed: bool) -> None:
    path = tmp_path / "file.exe"
    path.write_bytes(data)
    with pytest.raises(SampleError) as caught:
        read_sample(str(path))
    assert (caught.value.code, caught.value.failed) == (code, failed)
    again = pickle.loads(pickle.dumps(caught.value))  # it crosses processes
    assert (again.code, again.reason, again.failed) == (code, caught.value.reason, failed)


FULL = b" ".join([b"4D 5A"] * 8) + b"\r\n"


@pytest.mark.parametrize(
    ("name", "data", "code", "failed"),
    [
        ("a.bytes", FULL + b"zz", "damaged-dump", True),
        ("a.bytes", b"no dump, whatever its name says", "damaged-dump", True),
        ("a.txt", FULL + FULL[:-8], "", False),
        ("a.txt", b"10 20 30\n" * 20, "not-pe", False),
        ("a.bytes", b"\x00\x01binary", "not-pe", False),
        ("a.bytes", b"\xff\xfe4\x00D\x00", "not-pe", False),
        ("a.bytes", b"", "empty", False),
        ("A.BYTES", b"00401000 55 8B", "", False),
    ],
)
def test_hex_dumps_by_name_or_first_line(
    tmp_path: Path, name: str, data: bytes, code: str, failed: bool
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    if not code:
        contents = read_sample(str(path))
        assert contents.format == "bytes"
        assert contents.dump is not None
        assert contents.data == contents.dump.data != b""
        return
    with pytest.raises(SampleError) as caught:
        read_sample(str(path))
    assert (caught.value.code, caught.value.failed) == (code, failed)
    if failed:
        assert "line" in caught.value.reason


def test_a_program_named_like_a_dump_is_a_program(tmp_path: Path) -> None:
    path = tmp_path / "a.bytes"
    path.write_bytes(sample("console-x86.exe"))
    assert read_sample(str(path)).format == "pe"


@pytest.mark.parametrize(
    ("data", "formats", "found"),
    [
        (b"MZ", ("bytes",), "input"),
        (b"MZ", ("pe", "png"), "pe"),
        (FULL, ("pe", "png"), "input"),
        (byteplot(b"MZ"), ("bytes",), "input"),
        (byteplot(b"MZ"), ("picture",), "picture"),
        (byteplot(b"grey"), ("picture",), "picture"),
        (byteplot(b"grey"), ("pe", "png"), "not-byteplot"),
        (byteplot(b"grey"), ("bytes",), "not-byteplot"),
    ],
)
def test_only_the_formats_that_are_asked_for(
    tmp_path: Path, data: bytes, formats: tuple[Format, ...], found: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    if found in FORMATS:
        assert read_sample(str(path), Reading(formats=formats)).format == found
        return
    with pytest.raises(SampleError) as caught:
        read_sample(str(path), Reading(formats=formats))
    assert (caught.value.code, caught.value.failed) == (found, False)


def test_limits_hold_for_files_and_for_pictures(tmp_path: Path) -> None:
    program = tmp_path / "big.exe"
    program.write_bytes(b"MZ" + bytes(1000))
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(byteplot(b"MZ" + bytes(1 << 20)))
    assert bomb.stat().st_size < 1 << 16
    for path, limit in ((program, 1000), (bomb, 1 << 16)):
        with pytest.raises(SampleError) as caught:
            read_sample(str(path), Reading(max_size=limit))
        assert caught.value.code == "too-large"


def test_a_picture_is_its_pixels(tmp_path: Path) -> None:
    data = sample("console-x86.exe")
    path = tmp_path / "plot.png"
    path.write_bytes(byteplot(data, width=77))
    contents = read_sample(str(path))
    assert contents.format == "png"
    assert contents.data.rstrip(b"\0") == data.rstrip(b"\0")


@pytest.mark.parametrize(
    ("now", "code", "how"),
    [
        (b"MZ and other bytes", "changed", "its bytes are others"),
        (b"", "changed", "an empty file"),
        (None, "not-found", "No such file"),
    ],
)
def test_a_file_that_is_another_when_it_is_read_again(
    tmp_path: Path, now: bytes | None, code: str, how: str
) -> None:
    path, data = tmp_path / "a.exe", sample("console-x86.exe")
    path.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    assert read_again(str(path), Reading(), digest).data == data
    path.unlink()
    if now is not None:
        path.write_bytes(now)
    with pytest.raises(SampleError) as caught:
        read_again(str(path), Reading(), digest)
    assert caught.value.failed
    assert caught.value.code == code
    assert how in caught.value.reason
