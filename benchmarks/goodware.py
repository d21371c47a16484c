"""Fetch the clean programs that the model that ships was trained, calibrated and tested with.

    python benchmarks/goodware.py FOLDER

`goodware.csv` beside this script names packages of Debian and Windows wheels, their versions,
the digest of each archive, and the part that it belongs to; a package belongs to one part only.
The programs in them are unpacked to FOLDER/<part>/<kind>-<platform>-<package>/, at most
`MAX_FILES` of a package (the first by sha256), each under its sha256, so that no two are equal.
A package that is gone or changed is named at the end; the others are there all the same.

Debian's packages need `apt-get` and `dpkg-deb`, and for `i386` that architecture
(`dpkg --add-architecture i386 && apt-get update`). Nothing that is unpacked is ever run.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

MANIFEST = Path(__file__).with_name("goodware.csv")
COLUMNS = ("part", "kind", "platform", "package", "version", "sha256")
MAX_FILES = 150
MIN_BYTES = 512


def download(row: dict[str, str], folder: Path) -> Path:
    """Download the archive of a row into an empty folder.

    Raises:
        ValueError: it is not to be had, or not the one of the manifest.
    """
    name, version = row["package"], row["version"]
    if row["kind"] == "debian":
        command = ["apt-get", "download", "-q", f"{name}:{row['platform']}={version}"]
    else:
        command = [
            *(sys.executable, "-m", "pip", "download", "-q", "--no-deps"),
            *("--only-binary=:all:", "--python-version", "3.11", "--platform", row["platform"]),
            f"{name}=={version}",
        ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    archives = list(folder.iterdir())
    if done.returncode or len(archives) != 1:
        raise ValueError((done.stderr.strip().splitlines() or ["not found"])[-1])
    if hashlib.sha256(archives[0].read_bytes()).hexdigest() != row["sha256"]:
        raise ValueError("the archive is another one than in the manifest")
    return archives[0]


def members(archive: Path) -> Iterator[bytes]:
    """The contents of the regular files in a wheel or a Debian package."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            for info in wheel.infolist():
                if not info.is_dir():
                    yield wheel.read(info)
        return
    data = subprocess.run(["dpkg-deb", "--fsys-tarfile", archive], capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(data.stdout)) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isfile() else None
            if file is not None:
                yield file.read()


def programs(archive: Path) -> dict[str, bytes]:
    """The programs of an archive by sha256, at most `MAX_FILES`."""
    found = {
        hashlib.sha256(data).hexdigest(): data
        for data in members(archive)
        if data[:2] == b"MZ" and len(data) >= MIN_BYTES
    }
    return {digest: found[digest] for digest in sorted(found)[:MAX_FILES]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path)
    target: Path = parser.parse_args().folder
    with MANIFEST.open(newline="") as file:
        rows = list(csv.DictReader(file))
    missing, seen, counts = [], set[str](), dict[str, int]()
    for row in rows:
        label = f"{row['kind']}-{row['platform']}-{row['package']}"
        place = target / row["part"] / label
        try:
            with tempfile.TemporaryDirectory() as folder:
                found = programs(download(row, Path(folder)))
        except (ValueError, OSError, subprocess.SubprocessError, zipfile.BadZipFile) as error:
            missing.append(f"{label} {row['version']}: {error}")
            continue
        place.mkdir(parents=True, exist_ok=True)
        for digest in found.keys() - seen:
            (place / f"{digest}.exe").write_bytes(found[digest])
            counts[row["part"]] = counts.get(row["part"], 0) + 1
        seen |= found.keys()
    for part, count in sorted(counts.items()):
        print(f"{part}: {count} programs")
    for line in missing:
        print(f"missing: {line}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
