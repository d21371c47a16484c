"""Fetch the clean programs that the model that ships was trained, calibrated and tested with.

    python benchmarks/goodware.py FOLDER [--part PART] [--archives CACHE] [--malware ROOT]
    python benchmarks/goodware.py FOLDER --write-manifest

`goodware.csv` beside this script names packages of Debian, Windows wheels and npm packages, their
versions, the digest of each archive, and the part that it belongs to; a package belongs to one
part only. The programs in them are unpacked to FOLDER/<part>/<kind>-<platform>-<package>/, each
under its sha256, so that no two are equal: one that two packages hold is the first one's. Of a
package come at most as many as `LIMITS` says for its part, or the row itself, the first by
sha256. `train` gets native PE32 alone: the malware is 32-bit, and 64 bits must not mean clean.
`index` is for the index of clean programs alone (`maltriage prevalence build`), beside `train` and
`calibration`.

Beside the programs of a part lies `labels.csv`, with a column `source` (debian, wine, npm,
wheels), so that `train --root FOLDER/<part>` takes it.

`goodware-files.csv` lists every file with its format and maker. What is unpacked is held against
it, and only what it lists is kept; `--write-manifest` writes it anew. A package that is gone or
changed is named at the end; the others are there all the same. `--malware` names a folder whose
`manifest.csv` has a column `sha256`: a program that is in it is refused.

A platform such as `win32-py27` is a wheel for that Python: the old ones were built with the
compilers of their day. Debian's packages need `apt-get` and `dpkg-deb`, and for `i386` that
architecture (`dpkg --add-architecture i386 && apt-get update`); npm's need `npm`. Nothing that is
unpacked is ever run, nor any script of a package.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path

MANIFEST = Path(__file__).with_name("goodware.csv")
FILES = Path(__file__).with_name("goodware-files.csv")
COLUMNS = ("part", "kind", "platform", "package", "version", "sha256", "limit")
FILE_COLUMNS = ("part", "package", "kind-platform", "format", "sha256", "size", "maker")
# The order decides whose a program is that packages of two parts hold.
LIMITS = {"train": 60, "calibration": 150, "test": 150, "index": 150}
SUFFIXES = {"debian": ".deb", "npm": ".tgz", "wheel": ".whl"}
MIN_BYTES = 512
MAX_BYTES = 30_000_000

# The fields of a PE file, from the signature on.
_MACHINE = 4
_OPTIONAL = 24
_SUBSYSTEM = _OPTIONAL + 68
_DIRECTORIES = {0x10B: _OPTIONAL + 96, 0x20B: _OPTIONAL + 112}
_CLR = 14
_NATIVE = 1
_EFI = range(10, 14)

Row = dict[str, str]
Key = tuple[str, str, str]


def label(row: Row) -> str:
    """The name of a row's folder."""
    return f"{row['kind']}-{row['platform']}-{row['package'].replace('/', '-')}"


def command(row: Row) -> list[str]:
    """The command that downloads the archive of a row into the folder that it is run in."""
    name, version, platform = row["package"], row["version"], row["platform"]
    if row["kind"] == "debian":
        return ["apt-get", "download", "-q", f"{name}:{platform}={version}"]
    if row["kind"] == "npm":
        return ["npm", "pack", "--silent", "--ignore-scripts", f"{name}@{version}"]
    platform, _, python = platform.partition("-py")
    # For this one pip takes the ABI of another system if it is not told.
    abi = ("--abi", "cp27m", "--abi", "none") if python == "27" else ()
    return [
        *(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"),
        *("--python-version", python or "3.11", "--platform", platform, *abi),
        f"{name}=={version}",
    ]


def download(row: Row, folder: Path) -> Path:
    """Download the archive of a row into a folder, unless it is there.

    Raises:
        ValueError: it is not to be had, or not the one of the manifest.
    """
    archive = folder / (row["sha256"] + SUFFIXES[row["kind"]])
    if not archive.exists():
        with tempfile.TemporaryDirectory(dir=folder) as empty:
            done = subprocess.run(
                command(row), cwd=empty, capture_output=True, text=True, check=False
            )
            found = list(Path(empty).iterdir())
            if done.returncode or len(found) != 1:
                raise ValueError((done.stderr.strip().splitlines() or ["not found"])[-1])
            found[0].replace(archive)
    if hashlib.sha256(archive.read_bytes()).hexdigest() != row["sha256"]:
        archive.unlink()
        raise ValueError("the archive is another one than in the manifest")
    return archive


def members(archive: Path) -> Iterator[bytes]:
    """The contents of the regular files in an archive that are as long as a program may be."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            for info in wheel.infolist():
                if MIN_BYTES <= info.file_size <= MAX_BYTES:
                    yield wheel.read(info)
        return
    if archive.suffix == ".deb":
        unpack = ["dpkg-deb", "--fsys-tarfile", str(archive)]
        data = subprocess.run(unpack, capture_output=True, check=True).stdout
    else:
        data = archive.read_bytes()
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            if member.isfile() and MIN_BYTES <= member.size <= MAX_BYTES:
                file = tar.extractfile(member)
                assert file is not None
                yield file.read()


def kind_of(data: bytes) -> str | None:
    """`dotnet`, `driver`, `efi`, `pe32` or `pe32+`; None if it is no PE file."""
    try:
        (pe,) = struct.unpack_from("<I", data, 60)
        if data[:2] != b"MZ" or data[pe : pe + 4] != b"PE\0\0":
            return None
        (magic,) = struct.unpack_from("<H", data, pe + _OPTIONAL)
        (subsystem,) = struct.unpack_from("<H", data, pe + _SUBSYSTEM)
        if magic not in _DIRECTORIES:
            return None
        table = pe + _DIRECTORIES[magic]
        (count,) = struct.unpack_from("<I", data, table - 4)
        clr = struct.unpack_from("<I", data, table + 8 * _CLR)[0] if count > _CLR else 0
    except struct.error:
        return None
    if clr:
        return "dotnet"
    if subsystem == _NATIVE:
        return "driver"
    if subsystem in _EFI:
        return "efi"
    return "pe32" if magic == 0x10B else "pe32+"


def digests(data: bytes) -> set[str]:
    """The sha256 of a program, and that which it has in a set whose files are disarmed."""
    disarmed = bytearray(data)
    (pe,) = struct.unpack_from("<I", data, 60)
    for field in (_MACHINE, _SUBSYSTEM):
        disarmed[pe + field : pe + field + 2] = b"\0\0"
    return {hashlib.sha256(data).hexdigest(), hashlib.sha256(disarmed).hexdigest()}


def choose(row: Row, archive: Path, taken: Collection[str]) -> dict[str, bytes]:
    """The programs of an archive by sha256: those of its part, not taken, within its limit."""
    found = {
        hashlib.sha256(data).hexdigest(): data
        for data in members(archive)
        if (format := kind_of(data)) and (row["part"] != "train" or format == "pe32")
    }
    limit = int(row.get("limit") or LIMITS[row["part"]])
    return {digest: found[digest] for digest in sorted(found.keys() - taken)[:limit]}


def entry(row: Row, digest: str, data: bytes) -> Row:
    """The line of a file in the list."""
    maker = "wine" if row["package"].startswith("libwine") else "other"
    place = f"{row['kind']}-{row['platform']}"
    format = kind_of(data) or ""
    values = (row["part"], row["package"], place, format, digest, str(len(data)), maker)
    return dict(zip(FILE_COLUMNS, values, strict=True))


SOURCES = {"debian": "debian", "npm": "npm", "wheel": "wheels"}
"""Whose clean programs they are: a column of the table of each part."""


def write_labels(folder: Path, lines: list[Row]) -> None:
    """Write `labels.csv`, so that a part is a folder that `train --root` takes."""
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "family", "source", "package"))
        for line in sorted(lines, key=lambda line: (line["package"], line["sha256"])):
            place = f"{line['kind-platform']}-{line['package'].replace('/', '-')}"
            kind = line["kind-platform"].partition("-")[0]
            source = "wine" if line["maker"] == "wine" else SOURCES[kind]
            path = f"{place}/{line['sha256']}.exe"
            writer.writerow((path, "benign", source, line["package"]))


def key_of(row: Row) -> Key:
    """What a row of the manifest and the lines of its files have in common."""
    place = row.get("kind-platform") or f"{row['kind']}-{row['platform']}"
    return row["part"], row["package"], place


def read(path: Path) -> list[Row]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_list(lines: list[Row]) -> None:
    lines.sort(key=lambda line: (list(LIMITS).index(line["part"]), *line.values()))
    with FILES.open("w", newline="") as file:
        writer = csv.DictWriter(file, FILE_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


class Fetch:
    """One run over the manifest: what it kept, and what was wrong."""

    def __init__(self, target: Path, malware: set[str], rewrite: bool) -> None:
        self.target, self.malware, self.rewrite = target, malware, rewrite
        self.lines: list[Row] = []
        self.wrong: list[str] = []
        self.listed = defaultdict[Key, dict[str, Row]](dict)
        for line in [] if rewrite else read(FILES):
            self.listed[key_of(line)][line["sha256"]] = line
        self.owners = {digest: key for key, found in self.listed.items() for digest in found}

    def package(self, row: Row, archives: Path) -> None:
        """Unpack the programs of one package that are its own."""
        key, name = key_of(row), label(row)
        place = self.target / row["part"] / name
        own = self.listed.pop(key, {})
        taken = {digest for digest, owner in self.owners.items() if owner != key}
        try:
            found = choose(row, download(row, archives), taken)
        except (ValueError, OSError, subprocess.SubprocessError, zipfile.BadZipFile) as error:
            self.wrong.append(f"missing: {name} {row['version']}: {error}")
            return
        for digest in own.keys() - found.keys():
            self.wrong.append(f"missing: {name}: {digest} is in the list and not in the package")
        for digest, data in found.items():
            line = entry(row, digest, data)
            file = place / f"{digest}.exe"
            if self.malware & digests(data):
                self.wrong.append(f"refused: {file.relative_to(self.target)} is malware")
            elif not self.rewrite and own.get(digest) != line:
                self.wrong.append(f"differs: {name}: {digest} is not so in the list")
            else:
                place.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
                self.lines.append(line)
                self.owners[digest] = key

    def finish(self) -> None:
        """Name what is listed of no package, and what lies in the folder besides."""
        for part, package, place in self.listed:
            self.wrong.append(f"differs: {part} {place} {package} is in the list of files alone")
        for file in sorted(self.target.glob("*/*/*.exe")):
            owner = self.owners.get(file.stem)
            folder = owner and f"{owner[0]}/{owner[2]}-{owner[1].replace('/', '-')}"
            if folder != file.parent.relative_to(self.target).as_posix():
                self.wrong.append(f"differs: {file.relative_to(self.target)} belongs elsewhere")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--archives", type=Path, help="keep the archives here, and use them")
    parser.add_argument("--malware", type=Path, help="refuse what this folder's manifest.csv has")
    parser.add_argument("--part", choices=LIMITS, action="append", help="fetch this part alone")
    parser.add_argument("--write-manifest", action="store_true", help="write the list of files")
    args = parser.parse_args()
    if args.write_manifest and args.part:
        parser.error("the list holds all parts")
    malware = {row["sha256"] for row in read(args.malware / "manifest.csv")} if args.malware else ()
    if args.malware and not malware:
        parser.error(f"{args.malware / 'manifest.csv'} has no sha256")
    run = Fetch(args.folder, set(malware), args.write_manifest)
    for row in read(MANIFEST):
        if args.part and row["part"] not in args.part:
            run.listed.pop(key_of(row), None)
            continue
        with tempfile.TemporaryDirectory() as empty:
            archives = args.archives or Path(empty)
            archives.mkdir(parents=True, exist_ok=True)
            run.package(row, archives)
    run.finish()
    if args.write_manifest and not run.wrong:
        write_list(run.lines)
    parts = Counter(line["part"] for line in run.lines)
    for part in parts:
        write_labels(args.folder / part, [line for line in run.lines if line["part"] == part])
    for part, count in sorted(parts.items()):
        print(f"{part}: {count} programs")
    for line in run.wrong:
        print(line, file=sys.stderr)
    return 1 if run.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
