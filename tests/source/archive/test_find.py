"""One file of an archive: the only one, as labelled collections have it, or one that is named."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from corpus.synthetic import program, seven_zipped, tarred, write_png, zipped
from hypothesis import given
from hypothesis import strategies as st

from maltriage.sample.errors import SampleError
from maltriage.source.archive.find import only_member, split_path
from maltriage.source.archive.kinds import kind_of_bytes
from maltriage.source.archive.limits import Archives
from maltriage.source.reading import Reading
from maltriage.source.samples import read_sample

LIMIT = 1 << 20
DATA = program(0, 0, size=2000)


def only(archive: bytes, limit: int = LIMIT) -> bytes:
    kind = kind_of_bytes(archive)
    assert kind is not None
    return only_member(io.BytesIO(archive), "a", len(archive), kind, Archives(), limit)[1]


@pytest.mark.parametrize("pack", [zipped, seven_zipped])
@pytest.mark.parametrize("password", ["infected", "virus", None])
def test_the_one_file(pack, password: str | None) -> None:  # type: ignore[no-untyped-def]
    assert only(pack({"some/folder/x.exe": DATA}, password)) == DATA


def test_the_old_encryption_of_zip() -> None:
    """ZipCrypto, which most collections use; made by Info-ZIP's `zip -P infected`."""
    archive = bytes.fromhex(ZIP_CRYPTO)
    assert only(archive) == b"MZ, as if it were a program\n"


# printf 'MZ, as if it were a program\n' > x.exe; zip -P infected x.zip x.exe
ZIP_CRYPTO = (
    "504b03040a0009000000d394785d5761a8d6280000001c00000005001c00782e6578655554090003aed9056b"
    "aed9056b75780b000104000000000400000000fe249589ed3140bee182b0fc03f655d6db70ba476450b31811"
    "3ff689efc16d71e99e176945ca7bc2504b07085761a8d6280000001c000000504b01021e030a0009000000d3"
    "94785d5761a8d6280000001c000000050018000000000001000000a48100000000782e6578655554050003ae"
    "d9056b75780b000104000000000400000000504b050600000000010001004b000000770000000000"
)


def test_names_of_a_7z_file_may_be_encrypted() -> None:
    assert only(seven_zipped({"x.exe": DATA}, headers=True)) == DATA


@pytest.mark.parametrize("pack", [zipped, seven_zipped])
def test_what_is_no_sample(pack) -> None:  # type: ignore[no-untyped-def]
    cases = {
        "archive": (pack({"a": DATA, "b": DATA}), False),
        "too-large": (pack({"a": bytes(LIMIT + 1)}), False),
        "password": (pack({"a": DATA}, "secret"), True),
        "damaged-archive": (pack({"a": DATA}, None)[:-8], True),
    }
    for code, (archive, failed) in cases.items():
        with pytest.raises(SampleError) as caught:
            only(archive)
        assert (caught.value.code, caught.value.failed) == (code, failed)


def test_a_size_that_is_a_lie() -> None:
    """The header says 10 bytes; no more than the limit is unpacked whatever it says."""
    archive = zipped({"a": bytes(LIMIT + 5000)}, None)
    size = (LIMIT + 5000).to_bytes(4, "little")
    assert archive.count(size) == 2
    with pytest.raises(SampleError) as caught:
        only(archive.replace(size, (10).to_bytes(4, "little")))
    assert caught.value.code in ("too-large", "damaged-archive")


@pytest.mark.parametrize("pack", [zipped, seven_zipped, tarred])
def test_a_sample_in_an_archive(pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    path = tmp_path / "sample"
    for inner in (DATA, write_png(tmp_path / "x.png", DATA, width=2048).read_bytes()):
        path.write_bytes(pack({"x": inner}))
        contents = read_sample(str(path), Reading(archives=Archives()))
        assert contents.data[: len(DATA)] == DATA
        assert contents.format == ("pe" if inner == DATA else "png")
        assert read_sample(f"{path}!x", Reading(archives=Archives())).data == contents.data
        for name in (str(path), f"{path}!x"):
            with pytest.raises(SampleError) as caught:  # where archives are not opened
                read_sample(name)
            assert caught.value.code == ("not-pe" if name == str(path) else "not-found")
    for inner in (b"hello", pack({"x": DATA})):
        path.write_bytes(pack({"x": inner}))
        with pytest.raises(SampleError) as caught:
            read_sample(str(path), Reading(archives=Archives()))
        assert caught.value.code == "not-pe"
    assert list((tmp_path / "here").iterdir()) == []  # nothing was written


def test_a_path_into_an_archive(tmp_path: Path) -> None:
    for name in ("a.zip", "odd!name.exe", "b"):
        (tmp_path / name).write_bytes(b"")
    root = f"{tmp_path}/"
    assert split_path(f"{root}a.zip!x!y.exe") == (f"{root}a.zip", "x!y.exe")
    assert split_path(f"{root}odd!name.exe") == (f"{root}odd!name.exe", None)
    assert split_path(f"{root}odd!name.exe!x") == (f"{root}odd!name.exe", "x")
    assert split_path(f"{root}none.zip!x") == (f"{root}none.zip!x", None)


def test_a_name_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(zipped({"x.exe": DATA}))
    for name in (f"{path}!y.exe", f"{path}!x.exe!z"):
        with pytest.raises(SampleError) as caught:
            read_sample(name, Reading(archives=Archives()))
        assert (caught.value.code, caught.value.failed) == ("not-found", True)
    (tmp_path / "b.exe").write_bytes(DATA)
    with pytest.raises(SampleError) as caught:
        read_sample(f"{tmp_path}/b.exe!x", Reading(archives=Archives()))
    assert caught.value.reason.endswith("is no archive")


PLAIN = (
    zipped({"x.exe": DATA[:300]}, None),
    seven_zipped({"x.exe": DATA[:300]}, None),
    tarred({"x.exe": DATA[:300]}, "gz"),
    tarred({"x.exe": DATA[:300]}, "zst"),
)


@given(
    at=st.integers(0, 10**6),
    value=st.integers(0, 255),
    cut=st.integers(0, 10**6),
    which=st.integers(0, len(PLAIN) - 1),
)
def test_damaged_archives(at: int, value: int, cut: int, which: int) -> None:
    archive = bytearray(PLAIN[which])
    archive[at % len(archive)] = value
    data = bytes(archive[: cut % (2 * len(archive))])
    kind = kind_of_bytes(data)
    if kind is None:
        return
    try:
        _, found = only_member(io.BytesIO(data), "a", len(data), kind, Archives(), LIMIT)
    except SampleError:
        return
    assert len(found) <= LIMIT
