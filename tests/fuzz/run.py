"""Fuzz one target, or all in turn, with atheris (extra `fuzz`), going on from a corpus on disk.

    python tests/fuzz/run.py TARGET|all [--seconds 60] [--total N] [--corpus DIR]

Without --total each target has one turn. With it they take turns until all runs on DIR together
have made N executions, divided by the targets' shares; a run that is killed loses a turn at most.
DIR has, besides TARGET/ (inputs that cover something new, minimised as they double), found/ (what
crashes, hangs, or takes long) and executions.json (counts that add up over runs).
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[2])]

PARSERS = ["pefile", "dnfile", "dncil", "py7zr", "pyzipper", "PIL", "tarfile", "zipfile"]
"""Instrumented beside this package; what is not Python cannot be (LIEF, zlib, Pillow's decoder)."""
LIMITS = ["-timeout=60", "-rss_limit_mb=4096", "-report_slow_units=2", "-print_final_stats=1"]
LEAST_MERGED = 200
"""Files of a corpus that are not minimised yet."""
MOST_FAILED = 3
"""Turns in a row that may fail before a target is left out."""


@dataclass
class Count:
    """What all turns of a target came to; `kept` files were left by its last minimisation."""

    executions: int = 0
    seconds: float = 0.0
    turns: int = 0
    edges: int = 0
    kept: int = LEAST_MERGED // 2


class Corpus:
    """A folder with the corpus of each target, and the counts of all runs on it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._log = folder, folder / "executions.json"
        (folder / "found").mkdir(parents=True, exist_ok=True)
        known = json.loads(self._log.read_text()) if self._log.exists() else {}
        self.counts = {name: Count(**count) for name, count in known.items()}

    def arguments(self, name: str, *, begin: bool) -> list[str]:
        """What libFuzzer is told of a target: corpus, dictionary, longest input, findings.

        Args:
            begin: from the seeds too, most of which a minimised corpus covers.
        """
        from fuzz.targets import TARGETS

        target, own = TARGETS[name], self.folder / name
        seeds, words = self.folder / "seeds" / name, self.folder / "seeds" / f"{name}.dict"
        for needed in (own, seeds):
            needed.mkdir(parents=True, exist_ok=True)
        begin |= not any(own.iterdir())
        for number, seed in enumerate(target.seeds() if begin else ()):
            (seeds / f"{number:03d}").write_bytes(seed)
        quoted = ["".join(f"\\x{byte:02x}" for byte in word) for word in target.words]
        words.write_text("".join(f'"{word}"\n' for word in quoted))
        found = f"-artifact_prefix={self.folder}/found/{name}-"
        options = [found, f"-max_len={target.longest}", *([f"-dict={words}"] if quoted else [])]
        return [str(own), *([str(seeds)] if begin else []), *options]

    def count(self, name: str) -> Count:
        return self.counts.setdefault(name, Count())

    def save(self) -> None:
        new = self._log.with_suffix(".new")
        new.write_text(json.dumps({n: asdict(c) for n, c in self.counts.items()}, indent=1))
        new.replace(self._log)

    def turn(self, name: str, seconds: int, runs: int) -> str:
        """Fuzz a target for so many seconds or executions; what failed of what it said, or ''."""
        count = self.count(name)
        limits = [f"-max_total_time={seconds}", f"-runs={runs}", f"-seed={count.turns + 1}"]
        began = time.monotonic()
        arguments = self.arguments(name, begin=count.turns == 0)
        code, said = _child(name, [*arguments, *limits, *LIMITS])
        numbers = re.findall(r"(?:number_of_executed_units: |^#)(\d+)", said, re.MULTILINE)
        covered = [int(edges) for edges in re.findall(r"cov: (\d+)", said)]
        count.executions += int(numbers[-1]) if numbers else 0
        count.seconds = round(count.seconds + time.monotonic() - began, 1)
        count.edges = max([count.edges, *covered])
        count.turns += 1
        if len([*(self.folder / name).iterdir()]) >= 2 * count.kept:
            self._minimise(name, count)
        self.save()
        return said[-4000:] if code else ""

    def _minimise(self, name: str, count: Count) -> None:
        """Keep of a corpus what covers as much as all of it."""
        folder, *rest = self.arguments(name, begin=True)
        new = self.folder / "least"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        code, _ = _child(name, ["-merge=1", str(new), folder, *rest, *LIMITS])
        least = {file.name for file in new.iterdir()}
        if code or not least:
            return
        shutil.copytree(new, folder, dirs_exist_ok=True)  # a kill from here on loses nothing
        for old in Path(folder).iterdir():
            if old.name not in least:
                old.unlink()
        count.kept = max(len(least), LEAST_MERGED // 2)

    def line(self, name: str) -> str:
        """What a target came to, as a row of a table."""
        count, files = self.counts[name], [*(self.folder / name).iterdir()]
        found = len([*(self.folder / "found").glob(f"{name}-*")])
        size = sum(file.stat().st_size for file in files) / 1e6
        rate = count.executions / max(count.seconds, 1)
        return (f"{name:12s}{count.executions:>11,d} executions {rate:>8,.0f}/s {count.edges:>6d} "
                f"edges {len(files):>6,d} inputs {size:5.1f} MB {found:>3d} found")  # fmt: skip


def one(name: str, arguments: list[str]) -> None:
    """Run a target in this process, until libFuzzer ends it."""
    import atheris

    logging.disable()  # dnfile warns of much
    with atheris.instrument_imports(include=["maltriage", *PARSERS]):
        from fuzz.targets import TARGETS

        target = TARGETS[name]
        for seed in target.seeds():  # imports what is imported on first use
            target.run(seed)

    def entry(data: bytes) -> None:
        target.run(data)

    # To minimise, libFuzzer starts its first argument anew by the shell.
    again = shlex.join([sys.executable, str(HERE), name, "--child"])
    atheris.Setup([again, *arguments], entry)
    atheris.Fuzz()


def _child(name: str, arguments: list[str]) -> tuple[int, str]:
    command = [sys.executable, str(HERE), name, "--child", *arguments]
    shared = Path("/dev/shm")  # memory, where the system has that
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        where = {**os.environ, "TMPDIR": folder}  # libFuzzer ends the process before it tidies up
        found = subprocess.run(command, capture_output=True, env=where, check=False)
    return found.returncode, found.stderr.decode("utf-8", "replace")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("target")
    parser.add_argument("--seconds", type=int, default=60, help="of a turn")
    parser.add_argument("--total", type=int, default=0, help="executions of all runs; 0: one turn")
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options, rest = parser.parse_known_args()
    if options.child:
        one(options.target, rest)
        return 0
    from fuzz.targets import SHARES, TARGETS

    corpus = Corpus(options.corpus or Path(tempfile.mkdtemp(prefix="maltriage-fuzz-")))
    names = list(TARGETS) if options.target == "all" else [options.target]
    shares = sum(SHARES[name] for name in names)
    goals: dict[str, float] = {name: options.total * SHARES[name] / shares for name in names}
    failed = dict.fromkeys(names, 0)

    def left(name: str) -> int:
        """Executions to go; of one turn, any number."""
        if not options.total:
            return -1
        return max(0, round(goals[name]) - corpus.count(name).executions)

    def done(name: str) -> float:
        return corpus.count(name).executions / max(goals[name], 1)

    while names := [name for name in names if failed[name] < MOST_FAILED and left(name)]:
        for name in sorted(names, key=done):
            said = corpus.turn(name, options.seconds, left(name))
            failed[name] = failed[name] + 1 if said else 0
            _say(f"{corpus.line(name)}{': FAILED' if said else ''}\n{said}".rstrip())
        if not options.total:
            break
    for name in corpus.counts if options.total else ():
        _say(corpus.line(name))
    every = sum(count.executions for count in corpus.counts.values())
    _say(f"{every:,d} executions in all; corpus: {corpus.folder}")
    return 1 if any(failed.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
