"""Fuzz one target, or all, with atheris (extra `fuzz`), resuming from a corpus on disk.

    python tests/fuzz/run.py TARGET|all [--seconds 60] [--runs 0] [--corpus DIR] [--seed 1]

What is found is written to DIR/TARGET-crash-*; what covers something new to DIR/TARGET/.
Executions and coverage are printed by libFuzzer at the end, and kept in DIR/executions.json.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[2])]


def one(name: str, arguments: list[str]) -> None:
    """Run a target in this process, until libFuzzer ends it."""
    import atheris

    with atheris.instrument_imports(include=["maltriage", "pefile", "dnfile", "py7zr"]):
        from fuzz.targets import TARGETS
    target = TARGETS[name]

    def entry(data: bytes) -> None:
        target.run(data)

    atheris.Setup([sys.argv[0], *arguments], entry)
    atheris.Fuzz()


def prepared(name: str, corpus: Path) -> list[str]:
    """Seeds and dictionary of a target on disk, as arguments for libFuzzer."""
    from fuzz.targets import TARGETS

    target, folder = TARGETS[name], corpus / name
    folder.mkdir(parents=True, exist_ok=True)
    for i, seed in enumerate(target.seeds()):
        (folder / f"seed-{i:03d}").write_bytes(seed)
    words = corpus / f"{name}.dict"
    quoted = ("".join(f"\\x{byte:02x}" for byte in word) for word in target.words)
    words.write_text("".join(f'"{word}"\n' for word in quoted))
    return [str(folder), f"-dict={words}", f"-artifact_prefix={corpus}/{name}-"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("target")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--runs", type=int, default=0, help="at most so many executions; 0: any")
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options, rest = parser.parse_known_args()
    if options.child:
        one(options.target, rest)
        return 0
    from fuzz.targets import TARGETS

    corpus = options.corpus or Path(tempfile.mkdtemp(prefix="maltriage-fuzz-"))
    corpus.mkdir(parents=True, exist_ok=True)
    names = list(TARGETS) if options.target == "all" else [options.target]
    log = corpus / "executions.json"
    done = json.loads(log.read_text()) if log.exists() else {}
    failed = []
    for name in names:
        limits = [f"-max_total_time={options.seconds}", f"-seed={options.seed}"]
        limits += [f"-runs={options.runs}"] if options.runs else []
        limits += ["-timeout=60", "-rss_limit_mb=4096", "-max_len=20000", "-print_final_stats=1"]
        command = [sys.executable, str(HERE), name, "--child", *prepared(name, corpus), *limits]
        found = subprocess.run(command, capture_output=True, check=False)
        said = found.stderr.decode("utf-8", "replace")
        runs = re.findall(r"number_of_executed_units: (\d+)", said)
        covered = re.findall(r"cov: (\d+) ft: (\d+)", said)
        executed = int(runs[-1]) if runs else 0
        done[name] = done.get(name, 0) + executed
        log.write_text(json.dumps(done))
        state = "ok" if found.returncode == 0 else f"FAILED ({found.returncode})"
        cover = f"{covered[-1][0]} edges" if covered else "-"
        sys.stdout.write(f"{name:10s} {executed:10,d} executions, {done[name]:12,d} in all, "
                         f"{cover}: {state}\n")  # fmt: skip
        sys.stdout.flush()
        if found.returncode:
            failed.append(name)
            sys.stdout.write(said[-4000:])
    sys.stdout.write(f"corpus: {corpus}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
