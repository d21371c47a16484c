"""Password archives: their one file, in memory, and what is wrong with others."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus.synthetic import program, seven_zipped, write_png, zipped
from hypothesis import given
from hypothesis import strategies as st

from maltriage.sample.archive import ArchiveError, begins_like_archive, read_member
from maltriage.sample.source import SampleError, read_sample

LIMIT = 1 << 20
DATA = program(0, 0, size=2000)


@pytest.mark.parametrize("pack", [zipped, seven_zipped])
@pytest.mark.parametrize("password", ["infected", None])
def test_the_one_file(pack, password: str | None) -> None:  # type: ignore[no-untyped-def]
    archive = pack({"some/folder/x.exe": DATA}, password)
    assert begins_like_archive(archive[:8])
    assert read_member(archive, LIMIT) == DATA


def test_the_old_encryption_of_zip() -> None:
    """ZipCrypto, which most collections use; made by Info-ZIP's `zip -P infected`."""
    archive = bytes.fromhex(ZIP_CRYPTO)
    assert read_member(archive, LIMIT) == b"MZ, as if it were a program\n"


# printf 'MZ, as if it were a program\n' > x.exe; zip -P infected x.zip x.exe
ZIP_CRYPTO = (
    "504b03040a0009000000d394785d5761a8d6280000001c00000005001c00782e6578655554090003aed9056b"
    "aed9056b75780b000104000000000400000000fe249589ed3140bee182b0fc03f655d6db70ba476450b31811"
    "3ff689efc16d71e99e176945ca7bc2504b07085761a8d6280000001c000000504b01021e030a0009000000d3"
    "94785d5761a8d6280000001c000000050018000000000001000000a48100000000782e6578655554050003ae"
    "d9056b75780b000104000000000400000000504b050600000000010001004b000000770000000000"
)


def test_names_of_a_7z_file_may_be_encrypted() -> None:
    assert read_member(seven_zipped({"x.exe": DATA}, headers=True), LIMIT) == DATA


@pytest.mark.parametrize("pack", [zipped, seven_zipped])
def test_what_is_no_sample(pack) -> None:  # type: ignore[no-untyped-def]
    cases = {
        "archive": (pack({"a": DATA, "b": DATA}), False),
        "too-large": (pack({"a": bytes(LIMIT + 1)}), False),
        "damaged-archive": (pack({"a": DATA}, "secret"), True),
    }
    for code, (archive, failed) in cases.items():
        with pytest.raises(ArchiveError) as caught:
            read_member(archive, LIMIT)
        assert (caught.value.code, caught.value.failed) == (code, failed)


def test_a_size_that_is_a_lie() -> None:
    """The header says 10 bytes; no more than the limit is unpacked whatever it says."""
    archive = zipped({"a": bytes(LIMIT + 5000)}, None)
    size = (LIMIT + 5000).to_bytes(4, "little")
    assert archive.count(size) == 2
    with pytest.raises(ArchiveError) as caught:
        read_member(archive.replace(size, (10).to_bytes(4, "little")), LIMIT)
    assert caught.value.code in ("too-large", "damaged-archive")


@pytest.mark.parametrize("pack", [zipped, seven_zipped])
def test_a_sample_in_an_archive(pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    path = tmp_path / "sample"
    for inner in (DATA, write_png(tmp_path / "x.png", DATA, width=2048).read_bytes()):
        path.write_bytes(pack({"x": inner}))
        contents = read_sample(str(path), archives=True)
        assert contents.data[: len(DATA)] == DATA
        assert contents.format == ("pe" if inner == DATA else "png")
        with pytest.raises(SampleError) as caught:  # a scan opens none
            read_sample(str(path))
        assert (caught.value.code, caught.value.failed) == ("not-pe", False)
    for inner in (b"hello", pack({"x": DATA})):
        path.write_bytes(pack({"x": inner}))
        with pytest.raises(SampleError) as caught:
            read_sample(str(path), archives=True)
        assert caught.value.code == "not-pe"
    assert list((tmp_path / "here").iterdir()) == []  # nothing was written


PLAIN = (zipped({"x.exe": DATA[:300]}, None), seven_zipped({"x.exe": DATA[:300]}, None))


@given(
    at=st.integers(0, 10**6),
    value=st.integers(0, 255),
    cut=st.integers(0, 10**6),
    seven=st.booleans(),
)
def test_damaged_archives(at: int, value: int, cut: int, seven: bool) -> None:
    archive = bytearray(PLAIN[seven])
    archive[at % len(archive)] = value
    data = bytes(archive[: cut % (2 * len(archive))])
    try:
        found = read_member(data, LIMIT)
    except ArchiveError:
        return
    assert len(found) <= LIMIT
