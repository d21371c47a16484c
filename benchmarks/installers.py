"""Build installers and self-extractors of clean programs, to train and to test with.

    python -m benchmarks.installers FOLDER --goodware GOODWARE --archives CACHE [--write-manifest]

Malware in installers is in every collection of malware, clean installers hardly in any of clean
programs. `goodware.py` fetches the programs; here the tools that pack them are run over them.
`installers.csv` beside this script says which installer of which programs goes to which part: the
parts `train` and `test` hold programs of the same parts of GOODWARE, so no program is in both. The
tools (column `tool`) are

- `nsis`: NSIS 3.10 with the stubs that its makers build, from a wheel;
- `nsis-debian`: NSIS as Debian builds it, whose stubs are other code (package `nsis`);
- `7z`: 7-Zip's self-extractor before an archive (package `7zip`);
- `pyinstaller`: PyInstaller's loader before an archive (`pip install pyinstaller`).

What is built is held against the digests in the list: with the versions named in `VERSIONS` the
same bytes come out each time. `--write-manifest` writes the list anew. Beside the installers of a
part lies `labels.csv`, so that `train --root FOLDER/<part>` takes it; the tool is in its column
`packer`, because an installer hides what is in it as a packer does. Nothing that is built, and none
of the programs, is ever run.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

from benchmarks.goodware import Row, download, read

MANIFEST = Path(__file__).with_name("installers.csv")
COLUMNS = ("part", "tool", "options", "programs", "sha256", "size")
LABELS = ("path", "family", "source", "package", "packer")
VERSIONS = {"makensis": "v3.08-3+deb12u1", "7zz": "22.01", "PyInstaller": "6.22.3"}
COUNTS = {
    "train": {"nsis": 40, "nsis-debian": 24, "7z": 16, "pyinstaller": 16},
    "test": {"nsis": 24, "nsis-debian": 16, "7z": 12, "pyinstaller": 12},
}
"""How many installers of each tool a part has."""
MOST_BYTES = 4_000_000
"""What is packed into one installer, at most: enough for several programs, and built fast."""

NSIS = {
    "kind": "wheel",
    "platform": "win_amd64-py312",
    "package": "smol-nsis",
    "version": "0.0.16",
    "sha256": "2b2f7e9ae183c8312e97a3c9b6e03c30adeb6cf37faabf87755d8dd993f82979",
}
SFX = ("train", "npm-any-7zip", "4984e805b6343c49de08cc97165f82a2b6bf736836aa10ff361ac90a63ff9ac0")
LOADERS = {
    "window": (
        "calibration",
        "wheel-win32-pyinstaller",
        "d20d0b8d340db32ef51a69329345a1b232b0b01d9b3b69da791f2c37da9b3387",
    ),
    "console": (
        "calibration",
        "wheel-win32-pyinstaller",
        "ac5f54c03b97ae0394fdf80d65ded181b139ac79a77898bad9e157b7a115ac9e",
    ),
}
"""Where the stubs lie in GOODWARE."""

PAGES = """
!include "MUI2.nsh"
!insertmacro MUI_PAGE_WELCOME
!insertmacro MUI_PAGE_DIRECTORY
!insertmacro MUI_PAGE_INSTFILES
!insertmacro MUI_LANGUAGE "English"
"""
PLAIN_PAGES = """
Page directory
Page instfiles
"""


def options_of(tool: str, number: int) -> str:
    """How the installer of that number is made by a tool: each choice at its own pace."""

    def one(*choices: str, pace: int = 1) -> str:
        return choices[number // pace % len(choices)]

    if tool == "7z":
        return f"{one('lzma2', 'lzma')} {one('solid', 'each', pace=2)}"
    if tool == "pyinstaller":
        return one("window", "console")
    return " ".join(
        (
            one("lzma", "zlib", "bzip2"),
            one("solid", "each", pace=2),
            one("unicode", "ansi", pace=4),
            one("modern", "plain", pace=5),
            one("admin", "user", pace=3),
            one("version", "unversioned", pace=7),
        )
    )


def nsis_script(options: str, name: str, programs: list[Path], target: Path) -> str:
    """The script of an installer, with an uninstaller as most have one."""
    compressor, solid, charset, pages, level, version = options.split()
    lines = [
        f"Unicode {'true' if charset == 'unicode' else 'false'}",
        f"SetCompressor {'/SOLID ' if solid == 'solid' else ''}{compressor}",
        "SetDateSave off",
        f"RequestExecutionLevel {level}",
        f'Name "{name}"',
        f'OutFile "{target}"',
        f'InstallDir "$PROGRAMFILES\\{name}"',
        PAGES if pages == "modern" else PLAIN_PAGES,
    ]
    if version == "version":
        lines.append("VIProductVersion 1.2.3.4")
        for key in ("ProductName", "FileDescription", "CompanyName", "LegalCopyright"):
            lines.append(f'VIAddVersionKey {key} "{name}"')
        lines.append('VIAddVersionKey FileVersion "1.2.3.4"')
    lines += ["Section", "SetOutPath $INSTDIR"]
    lines += [f'File "/oname=part{n}.dll" "{program}"' for n, program in enumerate(programs)]
    key = f"Software\\Microsoft\\Windows\\CurrentVersion\\Uninstall\\{name}"
    lines += [
        'WriteUninstaller "$INSTDIR\\uninstall.exe"',
        f'WriteRegStr HKLM "{key}" DisplayName "{name}"',
        f'WriteRegStr HKLM "{key}" UninstallString "$INSTDIR\\uninstall.exe"',
        f'CreateShortCut "$SMPROGRAMS\\{name}.lnk" "$INSTDIR\\part0.dll"',
        "SectionEnd",
        "Section Uninstall",
        'RMDir /r "$INSTDIR"',
        f'DeleteRegKey HKLM "{key}"',
        "SectionEnd",
    ]
    return "\n".join(lines) + "\n"


class Tools:
    """The tools that pack programs, and where their parts lie."""

    def __init__(self, goodware: Path, archives: Path, empty: Path) -> None:
        self.goodware, self.empty = goodware, empty
        self.nsis = empty / "nsis"
        with zipfile.ZipFile(download(NSIS, archives)) as wheel:
            (name,) = (name for name in wheel.namelist() if name.endswith(".tar.xz"))
            with wheel.open(name) as packed, tarfile.open(fileobj=packed, mode="r:xz") as tar:
                tar.extractall(self.nsis, filter="data")
        (self.nsis,) = (stubs.parent for stubs in self.nsis.rglob("Stubs"))

    def stub(self, place: tuple[str, str, str]) -> bytes:
        part, package, digest = place
        return (self.goodware / part / package / f"{digest}.exe").read_bytes()

    def build(self, tool: str, options: str, name: str, programs: list[Path]) -> bytes:
        """An installer of programs.

        Raises:
            OSError: a tool or a stub is not there.
            subprocess.CalledProcessError: a tool failed.
        """
        target = self.empty / "built.7z"
        target.unlink(missing_ok=True)  # 7-Zip would add to it
        if tool.startswith("nsis"):
            script = self.empty / "script.nsi"
            script.write_text(nsis_script(options, name, programs, target))
            place = {} if tool == "nsis-debian" else {"NSISDIR": str(self.nsis)}
            # Debian's stubs say when they were filled.
            setting = os.environ | place | {"SOURCE_DATE_EPOCH": "0"}
            subprocess.run(
                ["makensis", "-V1", str(script)], env=setting, check=True, capture_output=True
            )
            return target.read_bytes()
        if tool == "7z":
            method, solid = options.split()
            subprocess.run(
                [
                    *("7zz", "a", "-t7z", "-mtm-", "-mmt1", f"-m0={method}"),
                    *(f"-ms={'on' if solid == 'solid' else 'off'}", str(target)),
                    *map(str, programs),
                ],
                check=True,
                capture_output=True,
            )
            return self.stub(SFX) + target.read_bytes()
        from PyInstaller.archive.writers import CArchiveWriter

        entries = [(f"part{n}.dll", str(file), True, "b") for n, file in enumerate(programs)]
        CArchiveWriter(str(target), entries, "python313.dll")
        return self.stub(LOADERS[options]) + target.read_bytes()


def programs_of(goodware: Path, part: str) -> dict[str, int]:
    """Packages of a part, in an order of no meaning, and how many programs are packed of each."""
    found = {}
    for folder in (goodware / part).iterdir():
        sizes = [file.stat().st_size for file in sorted(folder.glob("*.exe"))]
        while sum(sizes) > MOST_BYTES:
            sizes.pop()
        # The tools' own parts in an installer would be no other program's.
        if sizes and "nsis" not in folder.name:
            found[folder.name] = min(len(sizes), 8)
    return dict(
        sorted(found.items(), key=lambda item: hashlib.sha256(item[0].encode()).hexdigest())
    )


def new_list(goodware: Path) -> Iterator[Row]:
    """The rows of a list to be, without digests."""
    for part, counts in COUNTS.items():
        packages = cycle(programs_of(goodware, part).items())
        for tool, count in counts.items():
            for number in range(count):
                package, programs = next(packages)
                yield {
                    "part": part,
                    "tool": tool,
                    "options": options_of(tool, number),
                    "programs": f"{programs} of {package}",
                }


def write_labels(folder: Path, rows: list[Row]) -> None:
    """Write `labels.csv`, so that a part is a folder that `train --root` takes."""
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(LABELS)
        for row in rows:
            package = row["programs"].partition(" of ")[2]
            path = f"{row['sha256']}.exe"
            writer.writerow((path, "benign", "installers", package, row["tool"]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--goodware", type=Path, required=True, help="what goodware.py has made")
    parser.add_argument("--archives", type=Path, help="keep the wheel of NSIS here, and use it")
    parser.add_argument("--write-manifest", action="store_true", help="write the list anew")
    args = parser.parse_args()
    rows = list(new_list(args.goodware)) if args.write_manifest else read(MANIFEST)
    wrong: list[str] = []
    built: list[Row] = []
    with tempfile.TemporaryDirectory() as empty:
        archives = args.archives or Path(empty)
        tools = Tools(args.goodware, archives, Path(empty))
        for row in rows:
            many, _, package = row["programs"].partition(" of ")
            found = sorted((args.goodware / row["part"] / package).glob("*.exe"))
            name = package.rpartition("-")[2]
            what = f"{row['part']}: {row['tool']} of {row['programs']}"
            try:
                data = tools.build(row["tool"], row["options"], name, found[: int(many)])
            except (OSError, ImportError, subprocess.CalledProcessError) as error:
                wrong.append(f"missing: {what}: {error}")
                continue
            facts = {"sha256": hashlib.sha256(data).hexdigest(), "size": str(len(data))}
            if not args.write_manifest and row["sha256"] != facts["sha256"]:
                versions = ", ".join(f"{tool} {version}" for tool, version in VERSIONS.items())
                wrong.append(f"differs: {what}: the list was written with {versions}")
                continue
            built.append(row | facts)
            place = args.folder / row["part"]
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{facts['sha256']}.exe").write_bytes(data)
    if args.write_manifest and not wrong:
        with MANIFEST.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(built)
    for part, count in Counter(row["part"] for row in built).items():
        write_labels(args.folder / part, [row for row in built if row["part"] == part])
        print(f"{part}: {count} installers")
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
