"""The script that fetches clean programs: its manifests, and what it does with a package."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import io
import re
import sys
import tarfile
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from hostile.make import sample

SCRIPT = Path(__file__).resolve().parents[3] / "benchmarks" / "goodware.py"
PARTS = ["train", "calibration", "test", "index"]
CONSOLE, GUI, LONG = "console-x86.exe", "gui-x86.exe", "console-x64.exe"


def sha(name: str) -> str:
    return hashlib.sha256(sample(name)).hexdigest()


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def rows() -> list[dict[str, str]]:
    return read(SCRIPT.with_suffix(".csv"))


def files() -> list[dict[str, str]]:
    return read(SCRIPT.with_name("goodware-files.csv"))


def product(package: str) -> str:
    """What must not be split: a name, however it is written, or a scope of npm."""
    name = package.partition("/")[0] if package.startswith("@") else package
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture
def goodware() -> ModuleType:
    spec = importlib.util.spec_from_file_location("goodware", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


Run = Callable[..., int]


@pytest.fixture
def run(goodware: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the script on packages of given programs: (part, name, programs, limit)."""
    monkeypatch.setattr(goodware, "MANIFEST", tmp_path / "goodware.csv")
    monkeypatch.setattr(goodware, "FILES", tmp_path / "goodware-files.csv")

    def download(row: dict[str, str], folder: Path) -> Path:
        wheel = tmp_path / f"{row['package']}.whl"
        if not wheel.exists():
            raise ValueError("no such version")
        return wheel

    monkeypatch.setattr(goodware, "download", download)

    def script(packages: list[tuple[str, str, tuple[str, ...], str]], *options: str) -> int:
        lines = [",".join(goodware.COLUMNS)]
        for part, name, programs, limit in packages:
            lines.append(f"{part},wheel,win32,{name},1,0,{limit}")
            if not programs:
                (tmp_path / f"{name}.whl").unlink(missing_ok=True)
                continue
            with zipfile.ZipFile(tmp_path / f"{name}.whl", "w") as archive:
                archive.writestr("read.me", "MZ no program" * 100)
                for number, program in enumerate((*programs, programs[0])):
                    archive.writestr(f"{number}.pyd", sample(program))
        (tmp_path / "goodware.csv").write_text("\n".join(lines) + "\n")
        monkeypatch.setattr(sys, "argv", ["goodware.py", str(tmp_path / "out"), *options])
        return goodware.main()

    return script


def unpacked(folder: Path) -> set[str]:
    return {file.relative_to(folder / "out").as_posix() for file in folder.glob("out/*/*/*")}


def test_a_package_belongs_to_one_part_alone() -> None:
    parts = defaultdict(set)
    for row in rows():
        assert re.fullmatch("[0-9a-f]{64}", row["sha256"])
        assert row["version"]
        assert row["kind"] in ("debian", "npm", "wheel")
        parts[product(row["package"])].add(row["part"])
    # The index is made of these two parts as well.
    several = [found for found in parts.values() if len(found) > 1]
    assert all(found in ({"train", "index"}, {"calibration", "index"}) for found in several)
    assert set().union(*parts.values()) == set(PARTS)
    assert len(parts) >= 150


def test_the_manifests_are_in_order_and_name_nothing_twice(goodware: ModuleType) -> None:
    def place(row: dict[str, str]) -> tuple[int, str, str, str]:
        return PARTS.index(row["part"]), row["kind"], row["package"], row["platform"]

    assert list(goodware.LIMITS) == PARTS
    assert rows() == sorted(rows(), key=place)
    assert len({goodware.label(row) for row in rows()}) == len(rows())
    assert len({row["sha256"] for row in rows()}) == len(rows())
    lines = files()
    assert lines == sorted(lines, key=lambda line: (PARTS.index(line["part"]), *line.values()))
    assert len({line["sha256"] for line in lines}) == len(lines)
    assert {goodware.key_of(line) for line in lines} == {goodware.key_of(row) for row in rows()}


def test_no_package_goes_beyond_its_limit(goodware: ModuleType) -> None:
    counts = Counter(goodware.key_of(line) for line in files())
    for row in rows():
        assert counts[goodware.key_of(row)] <= int(row["limit"] or goodware.LIMITS[row["part"]])
        assert int(row["limit"] or 0) <= (400 if row["package"] == "libwine" else 150)
    train = Counter(line["package"] for line in files() if line["part"] == "train")
    assert max(train.values()) <= 60


def test_the_parts_hold_what_the_figures_need() -> None:
    counts = Counter((line["part"], line["format"], line["maker"]) for line in files())
    assert len(files()) >= 3000
    assert {key[1:] for key in counts if key[0] == "train"} == {("pe32", "other")}
    assert {key[0] for key in counts if key[2] == "wine"} == {"test"}
    assert counts["train", "pe32", "other"] >= 500
    assert counts["calibration", "pe32", "other"] >= 200
    assert counts["test", "pe32", "other"] >= 250
    for part in ("calibration", "test"):
        formats = {key[1] for key in counts if key[0] == part}
        assert formats == {"pe32", "pe32+", "dotnet", "driver", "efi"}


def test_the_format_is_read_from_the_headers(goodware: ModuleType) -> None:
    efi = bytearray(sample(LONG))
    at = int.from_bytes(efi[60:64], "little") + 24 + 68
    efi[at] = 10
    assert goodware.kind_of(bytes(efi)) == "efi"
    assert goodware.kind_of(sample(CONSOLE)) == "pe32"
    assert goodware.kind_of(sample(LONG)) == "pe32+"
    assert goodware.kind_of(sample("dotnet.exe")) == "dotnet"
    assert goodware.kind_of(sample("driver-x64.sys")) == "driver"
    assert goodware.kind_of(b"MZ" + bytes(600)) is None
    assert goodware.kind_of(sample(CONSOLE)[:100]) is None


def test_every_kind_of_archive_is_read_in_memory(goodware: ModuleType, tmp_path: Path) -> None:
    archive = tmp_path / "a.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, data in (("package/a.exe", sample(GUI)), ("package/short", b"MZ")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    assert list(goodware.members(archive)) == [sample(GUI)]


def test_an_archive_is_asked_for_by_its_version(goodware: ModuleType) -> None:
    def ask(kind: str, platform: str) -> str:
        row = {"kind": kind, "platform": platform, "package": "name", "version": "1"}
        return " ".join(goodware.command(row))

    assert ask("debian", "i386") == "apt-get download -q name:i386=1"
    assert ask("npm", "any") == "npm pack --silent --ignore-scripts name@1"
    assert "--python-version 3.11 --platform win32 name==1" in ask("wheel", "win32")
    assert "--python-version 34 --platform win32 name==1" in ask("wheel", "win32-py34")
    assert "27 --platform win32 --abi cp27m --abi none name==1" in ask("wheel", "win32-py27")


def test_an_archive_is_kept_and_held_against_its_digest(
    goodware: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = "import sys; open('x.whl', 'w').write('abc'); sys.exit(0)"
    monkeypatch.setattr(goodware, "command", lambda row: [sys.executable, "-c", fetch])
    row = {"kind": "wheel", "sha256": hashlib.sha256(b"abc").hexdigest()}
    archive = goodware.download(row, tmp_path)
    assert archive.read_text() == "abc"
    monkeypatch.setattr(goodware, "command", lambda row: [sys.executable, "-c", "1 / 0"])
    assert goodware.download(row, tmp_path) == archive
    archive.write_text("abd")
    with pytest.raises(ValueError, match="another one"):
        goodware.download(row, tmp_path)
    with pytest.raises(ValueError, match="ZeroDivisionError"):
        goodware.download(row, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_training_gets_native_32_bit_alone_and_a_program_lies_in_one_part(
    run: Run, tmp_path: Path
) -> None:
    both = (CONSOLE, LONG, "dotnet.exe", "driver-x64.sys")
    packages = [("train", "a", both, ""), ("calibration", "b", both, ""), ("test", "c", both, "")]
    assert run(packages, "--write-manifest") == 0
    assert unpacked(tmp_path) == {
        f"train/wheel-win32-a/{sha(CONSOLE)}.exe",
        *(f"calibration/wheel-win32-b/{sha(name)}.exe" for name in both[1:]),
    }
    lines = read(tmp_path / "goodware-files.csv")
    assert {(line["part"], line["format"]) for line in lines} == {
        ("train", "pe32"),
        *(("calibration", format) for format in ("pe32+", "dotnet", "driver")),
    }
    assert lines[0] == {
        "part": "train",
        "package": "a",
        "kind-platform": "wheel-win32",
        "format": "pe32",
        "sha256": sha(CONSOLE),
        "size": str(len(sample(CONSOLE))),
        "maker": "other",
    }


def test_a_row_has_its_own_limit(run: Run, tmp_path: Path) -> None:
    programs = (CONSOLE, GUI, "library-x64.dll")
    assert run([("test", "a", programs, "2")], "--write-manifest") == 0
    first = sorted(sha(name) for name in programs)[:2]
    assert unpacked(tmp_path) == {f"test/wheel-win32-a/{digest}.exe" for digest in first}


def test_a_package_that_is_gone_costs_only_itself(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packages = [("train", "a", (CONSOLE, GUI), ""), ("test", "b", (CONSOLE, LONG), "")]
    assert run(packages, "--write-manifest") == 0
    assert run(packages) == 0
    assert capsys.readouterr().err == ""
    for file in tmp_path.glob("out/*/*/*"):
        file.unlink()
    gone = [("train", "a", (), ""), packages[1]]
    before = (tmp_path / "goodware-files.csv").read_text()
    assert run(gone) == 1
    said = capsys.readouterr()
    assert said.out == "test: 1 programs\n"
    assert said.err == "missing: wheel-win32-a 1: no such version\n"
    # What both hold stays training's, and is not the test's because training has lost it.
    assert unpacked(tmp_path) == {f"test/wheel-win32-b/{sha(LONG)}.exe"}
    assert run(gone, "--write-manifest") == 1
    assert (tmp_path / "goodware-files.csv").read_text() == before


def test_one_part_can_be_fetched_alone(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packages = [("train", "a", (CONSOLE,), ""), ("test", "b", (CONSOLE, LONG), "")]
    assert run(packages, "--write-manifest") == 0
    for file in tmp_path.glob("out/*/*/*"):
        file.unlink()
    capsys.readouterr()
    assert run(packages, "--part", "test") == 0
    assert capsys.readouterr().out == "test: 1 programs\n"
    assert unpacked(tmp_path) == {f"test/wheel-win32-b/{sha(LONG)}.exe"}
    with pytest.raises(SystemExit):
        run(packages, "--part", "test", "--write-manifest")


def test_what_is_not_as_listed_is_named(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = ("test", "a", (CONSOLE, GUI), ""), ("test", "b", (LONG,), "")
    assert run([a, b], "--write-manifest") == 0
    assert run([("test", "a", (CONSOLE, "dotnet.exe"), "")]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"missing: wheel-win32-a: {sha(GUI)} is in the list and not in the package",
        f"differs: wheel-win32-a: {sha('dotnet.exe')} is not so in the list",
        "differs: test wheel-win32 b is in the list of files alone",
    ]
    stray = tmp_path / "out" / "train" / "wheel-win32-a" / f"{sha(CONSOLE)}.exe"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(sample(CONSOLE))
    assert run([a, b]) == 1
    name = stray.relative_to(tmp_path / "out")
    assert capsys.readouterr().err == f"differs: {name} belongs elsewhere\n"


def test_malware_is_refused(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    disarmed = bytearray(sample(GUI))
    pe = int.from_bytes(disarmed[60:64], "little")
    for at in (pe + 4, pe + 24 + 68):
        disarmed[at : at + 2] = bytes(2)
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "manifest.csv").write_text(
        f"path,sha256\na,{sha(CONSOLE)}\nb,{hashlib.sha256(disarmed).hexdigest()}\n"
    )
    packages = [("test", "a", (CONSOLE, GUI, LONG), "")]
    assert run(packages, "--write-manifest", "--malware", str(bad)) == 1
    assert sorted(capsys.readouterr().err.splitlines()) == [
        f"refused: test/wheel-win32-a/{digest}.exe is malware"
        for digest in sorted((sha(CONSOLE), sha(GUI)))
    ]
    assert unpacked(tmp_path) == {f"test/wheel-win32-a/{sha(LONG)}.exe"}
    with pytest.raises(SystemExit):
        run(packages, "--malware", str(tmp_path / "nothing"))
