"""samples/ holds what its manifest says, and each file is what it claims to be."""

from __future__ import annotations

import csv
import hashlib
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import pefile
import pytest

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
BESIDE = {"README.md", "build.py", "manifest.csv", "src"}
TOOLS = (
    "i686-w64-mingw32-gcc",
    "x86_64-w64-mingw32-gcc",
    "i686-w64-mingw32-windres",
    "mcs",
    "osslsigncode",
    "openssl",
)
NATIVE, GUI, CONSOLE = 1, 2, 3
DIRECTORY = {"resource": 2, "certificate": 4, "debug": 6, "dotnet": 14}


def manifest() -> dict[str, dict[str, str]]:
    with (SAMPLES / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def load(name: str) -> pefile.PE:
    return pefile.PE(data=(SAMPLES / name).read_bytes())


def directory(pe: pefile.PE, name: str) -> tuple[int, int]:
    entry = pe.OPTIONAL_HEADER.DATA_DIRECTORY[DIRECTORY[name]]
    return entry.VirtualAddress, entry.Size


def strings(pe: pefile.PE) -> dict[bytes, bytes]:
    tables = [t for e in pe.FileInfo[0] if e.Key == b"StringFileInfo" for t in e.StringTable]
    return dict(tables[0].entries)


def test_manifest_and_folder_list_the_same_files() -> None:
    there = {path.name for path in SAMPLES.iterdir() if path.name != "__pycache__"}
    assert there == set(manifest()) | BESIDE


def test_sources_are_sources() -> None:
    suffixes = {path.suffix for path in (SAMPLES / "src").iterdir()}
    assert suffixes == {".c", ".cs", ".rc", ".S"}


@pytest.mark.parametrize("name", manifest())
def test_bytes_are_those_of_the_manifest(name: str) -> None:
    data = (SAMPLES / name).read_bytes()
    assert hashlib.sha256(data).hexdigest() == manifest()[name]["sha256"]
    assert len(data) < 60_000
    assert f"`{name}`" in (SAMPLES / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "bits", "subsystem"),
    [
        ("console-x64.exe", 64, CONSOLE),
        ("console-x86.exe", 32, CONSOLE),
        ("damaged-x86.exe", 32, CONSOLE),
        ("debug-x86.exe", 32, CONSOLE),
        ("dotnet.exe", 32, CONSOLE),
        ("driver-x64.sys", 64, NATIVE),
        ("gui-x86.exe", 32, GUI),
        ("library-x64.dll", 64, CONSOLE),
        ("overlay-x86.exe", 32, CONSOLE),
        ("packed-x86.exe", 32, CONSOLE),
        ("signed-x64.exe", 64, CONSOLE),
        ("truncated-x86.exe", 32, CONSOLE),
    ],
)
def test_kind(name: str, bits: int, subsystem: int) -> None:
    pe = load(name)
    assert pe.OPTIONAL_HEADER.Magic == {32: 0x10B, 64: 0x20B}[bits]
    assert pe.FILE_HEADER.Machine == {32: 0x14C, 64: 0x8664}[bits]
    assert pe.OPTIONAL_HEADER.Subsystem == subsystem
    assert pe.is_dll() == name.endswith(".dll")
    assert (directory(pe, "dotnet")[1] > 0) == (name == "dotnet.exe")
    assert (directory(pe, "certificate")[1] > 0) == (name == "signed-x64.exe")


def test_every_sample_has_its_kind_tested() -> None:
    (mark,) = test_kind.pytestmark
    assert {case[0] for case in mark.args[1]} == set(manifest())


def test_gui_has_icon_dialog_and_version() -> None:
    pe = load("gui-x86.exe")
    kinds = {pefile.RESOURCE_TYPE.get(e.id) for e in pe.DIRECTORY_ENTRY_RESOURCE.entries}
    assert kinds == {"RT_ICON", "RT_GROUP_ICON", "RT_DIALOG", "RT_VERSION"}
    entries = strings(pe)
    assert entries[b"CompanyName"] == b"maltriage authors"
    assert entries[b"ProductName"] == b"maltriage samples"
    assert entries[b"OriginalFilename"] == b"gui-x86.exe"


def test_library_exports() -> None:
    symbols = load("library-x64.dll").DIRECTORY_ENTRY_EXPORT.symbols
    assert {s.name for s in symbols} == {b"sample_adler32", b"sample_name", b"sample_zeros"}


def test_driver_imports_from_the_kernel_only() -> None:
    imports = load("driver-x64.sys").DIRECTORY_ENTRY_IMPORT
    assert [(i.dll, [f.name for f in i.imports]) for i in imports] == [
        (b"ntoskrnl.exe", [b"DbgPrint"])
    ]


def test_dotnet_names_itself() -> None:
    assert strings(load("dotnet.exe"))[b"OriginalFilename"] == b"dotnet.exe"


def test_debug_directory_holds_a_pdb_path() -> None:
    (entry,) = load("debug-x86.exe").DIRECTORY_ENTRY_DEBUG
    assert entry.entry.PdbFileName.rstrip(b"\0") == b"maltriage-sample.pdb"


def test_overlay_is_text_that_compresses() -> None:
    data = (SAMPLES / "overlay-x86.exe").read_bytes()
    overlay = data[load("overlay-x86.exe").get_overlay_data_start_offset() :]
    assert data == (SAMPLES / "console-x86.exe").read_bytes() + overlay
    assert len(overlay) == 22_000
    assert overlay.isascii()
    assert len(zlib.compress(overlay)) < len(overlay) / 5


def test_packed_has_one_section_of_high_entropy() -> None:
    high = [s.Name for s in load("packed-x86.exe").sections if s.get_entropy() > 7.0]
    assert high == [b".pack\0\0\0"]
    section = next(s for s in load("packed-x86.exe").sections if s.Name == high[0])
    assert section.SizeOfRawData == 16_384
    assert section.get_entropy() > 7.9


def test_certificate_is_ours_and_ends_the_file() -> None:
    data = (SAMPLES / "signed-x64.exe").read_bytes()
    start, size = directory(load("signed-x64.exe"), "certificate")
    assert start + size == len(data)
    assert b"maltriage sample" in data[start:]


def test_truncated_ends_within_a_section() -> None:
    data = (SAMPLES / "truncated-x86.exe").read_bytes()
    text = load("truncated-x86.exe").sections[0]
    assert text.PointerToRawData < len(data) < text.PointerToRawData + text.SizeOfRawData
    assert (SAMPLES / "console-x86.exe").read_bytes().startswith(data)


def test_damaged_points_its_section_table_past_the_end() -> None:
    data = (SAMPLES / "damaged-x86.exe").read_bytes()
    pe = load("damaged-x86.exe")
    table = pe.DOS_HEADER.e_lfanew + 24 + pe.FILE_HEADER.SizeOfOptionalHeader
    assert pe.FILE_HEADER.NumberOfSections > 0
    assert table > len(data)


@pytest.mark.slow
def test_script_builds_the_same_bytes() -> None:
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    if _first_line("i686-w64-mingw32-gcc").split()[-1] != "12-win32":
        pytest.skip("another compiler than the one that samples/README.md names")
    command = [sys.executable, SAMPLES / "build.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _first_line(tool: str) -> str:
    command = [tool, "--version"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")[0]
