"""The benchmark beside other tools: what they are asked by, and what is left out."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.peers import peer_runs, peers
from benchmarks.peers.peer_runs import CommandOfAll, File, Missing, ProcessOfFile, Warm
from benchmarks.speed.measure import Run

EXTRACTOR = """
import os, time

class PEFeatureExtractor:
    dim = 3

    def feature_vector(self, data):
        print("what a tool prints is no answer")
        if data == b"odd":
            raise ValueError("no PE file")
        if data == b"slow":
            time.sleep(60)
        if data == b"deadly":
            os._exit(9)
        return [0.0] * self.dim
"""


@pytest.fixture
def extractor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Warm:
    """A tool of the name of EMBER2024's, for one kind of file each."""
    (tmp_path / "thrember.py").write_text(EXTRACTOR)
    about = tmp_path / "thrember-1.2.dist-info" / "METADATA"
    about.parent.mkdir()
    about.write_text("Metadata-Version: 2.1\nName: thrember\nVersion: 1.2\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return Warm(sys.executable, peers.WARM, "ember", {})


def written(folder: Path, *contents: str) -> list[str]:
    paths = []
    for number, content in enumerate(contents):
        path = folder / f"{number}.exe"
        path.write_text(content)
        paths.append(str(path))
    return paths


def kinds(files: list[File]) -> list[str]:
    return ["late" if f.late else "failed" if f.failed else "answered" for f in files]


def test_a_tool_that_stays_open(extractor: Warm, tmp_path: Path) -> None:
    assert extractor.opened() is extractor
    assert (extractor.version, extractor.said.partition(";")[0]) == ("thrember 1.2", "3 features")
    paths = written(tmp_path, "a program", "odd", "deadly", "slow", "a program, last")
    found = extractor.measure([*paths, *paths[:1]], 1.5, 2)
    expected = ["answered", "failed", "failed", "late", "answered", "answered"]
    assert kinds(found.alone) == kinds(found.every) == expected
    assert found.alone[3].wall == pytest.approx(1.5, abs=1)
    assert found.start > 0


def test_what_is_missing_is_said() -> None:
    gone = Warm(sys.executable, peers.WARM, "ember", {}).opened()
    assert gone == Missing("the package thrember is not installed there")
    nowhere = Warm("/no/such/python", peers.WARM, "ember", {}).opened()
    assert isinstance(nowhere, Missing)
    assert "FileNotFoundError" in nowhere.why


def test_a_process_a_file(tmp_path: Path) -> None:
    code = (
        "import sys, time; what = open(sys.argv[1]).read(); time.sleep(60 * (what == 'slow'));"
        "sum(range(3_000_000)); sys.exit(what == 'odd')"
    )
    tool = ProcessOfFile("tool 1", [sys.executable, "-c", code])
    found = tool.measure(written(tmp_path, "fine", "odd", "slow"), 2.0, 2)
    assert kinds(found.alone) == kinds(found.every) == ["answered", "failed", "late"]
    assert found.alone[0].cpu > 0.01


def test_a_command_of_all_counts_what_has_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def timed(command: list[str], lines: bytes = b"") -> Run:
        """Not the real one: it waits for all that runs below this process."""
        paths = lines.decode().splitlines()
        records = sum("odd" not in Path(path).read_text() for path in paths)
        return Run(1.0 + len(paths), 1.0, 2.0 + len(paths), 0, b'{"type":"result"}\n' * records)

    monkeypatch.setattr(peer_runs, "timed", timed)
    tool = CommandOfAll("tool 1", ["/bin/tool", "--quick"], by_stdin=True)
    found = tool.measure(written(tmp_path, "fine", "odd", "fine"), 2.0, 2)
    assert sorted(kinds(found.alone)) == ["answered", "answered", "failed"]
    assert (found.start, found.alone[0].wall, found.every_cpu, found.shared) == (2, 1, 1, True)
    assert tool.said == "one command for all files: tool --quick < PATHS"


def test_the_slow_ones_get_sizes_as_all_have(tmp_path: Path) -> None:
    paths = written(tmp_path, *("x" * size for size in range(100)))
    sizes = [Path(path).stat().st_size for path in peers.spread(paths, 4)]
    assert sizes == [12, 37, 62, 87]
    assert len(peers.spread(paths[:2], 4)) == 2


def test_the_table(
    extractor: Warm,
    tmp_path: Path,
    samples_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = extractor.opened()
    gone = Missing("the package flare-floss is not installed there")
    monkeypatch.setattr(peers, "adopt_orphans", lambda: None)
    monkeypatch.setattr(peers, "tools", lambda _: {"EMBER2024 features": found, "FLOSS": gone})
    monkeypatch.setattr(sys, "argv", ["peers.py", str(samples_dir), "--files", "2"])
    peers.main()
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if line.startswith("EMBER2024 features    ")][:1]
    assert line.split()[2] == "2"
    assert "thrember 1.2: 2,568 numbers for a classifier" in out
    assert "FLOSS                        LEFT OUT: the package flare-floss is not installed" in out
