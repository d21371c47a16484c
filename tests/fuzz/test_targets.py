"""The fuzz targets on their seeds and on mutations of them, the same ones each time."""

from __future__ import annotations

import importlib.util
import random
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz.targets import SHARES, TARGETS

RUNS = {"bundle": 60, "layout": 100, "byteplot": 60, "report": 100}
RUNS |= dict.fromkeys(("inspect", "prepare", "render", "rule", "mask", "transform", "tar"), 25)
RUNS |= dict.fromkeys(("archive", "zip", "seven", "stream", "assembly", "index", "known"), 80)
NEEDS = {"yara": "yara_x", "listing": "s3fs", "render": "pyarrow"}


def mutated(data: bytes, words: tuple[bytes, ...], drawn: random.Random) -> bytes:
    """A few changes: bytes set, numbers to their ends, words put in, parts cut, doubled, moved."""
    found = bytearray(data)
    for _ in range(drawn.randint(1, 6)):
        at = drawn.randrange(len(found) + 1)
        kind = drawn.randrange(6)
        if kind == 0 and found:
            found[min(at, len(found) - 1)] = drawn.randrange(256)
        elif kind == 1:
            size = drawn.choice((1, 2, 4, 8))
            value = drawn.choice((0, 1, (1 << 8 * size) - 1, 1 << (8 * size - 1)))
            found[at : at + size] = value.to_bytes(size, "little")
        elif kind == 2 and words:
            word = drawn.choice(words)
            found[at : at + len(word)] = word
        elif kind == 3:
            del found[at : at + drawn.randrange(1, 64)]
        elif kind == 4:
            found[at:at] = found[at : at + drawn.randrange(1, 256)]
        else:
            found[at:at] = drawn.randbytes(drawn.randrange(1, 32))
    return bytes(found)


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_mutations(name: str) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason="needs an extra")
    target = TARGETS[name]
    seeds = list(target.seeds())
    for data in (*seeds, b"", b"\0"):
        target.run(data)
    drawn = random.Random(name)
    for _ in range(RUNS.get(name, 300)):
        data = mutated(drawn.choice(seeds), target.words, drawn)
        try:
            target.run(data)
        except BaseException:
            sys.stderr.write(f"{name}: {data[:4096].hex()}\n")
            raise


def test_each_target_has_a_share() -> None:
    assert SHARES.keys() == TARGETS.keys()
    assert min(SHARES.values()) > 0


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="needs the extra `fuzz`")
def test_a_short_run_with_coverage(tmp_path: Path) -> None:
    script = Path(__file__).with_name("run.py")
    for total in ("3,000", "5,000"):  # the second goes on where the first ended
        command = [sys.executable, str(script), "text", "--total", total.replace(",", "")]
        command += ["--corpus", str(tmp_path)]
        found = subprocess.run(command, capture_output=True, timeout=300, check=False)
        assert found.returncode == 0, found.stdout.decode()
        assert f"{total} executions in all" in found.stdout.decode()
    assert len([*(tmp_path / "text").iterdir()]) > 1
