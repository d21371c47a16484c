"""Whether two versions of maltriage say the same of the same files, byte for byte.

    python -m benchmarks.speed.same_records OLD_CHECKOUT FOLDER...

Both versions scan each folder in a process of its own, with the Python that runs this. Records are
compared as they were written, but for versions and times. Then the new version opens what the old
one made: kept results, a saved report, bundles, an index. The exit code is 1 where
anything differs.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

NEW = Path(__file__).resolve().parents[2]
VARYING = re.compile(
    rb'"(version|seconds|prepare_ms|model_ms)":("[^"]*"|[-+.e\d]+)|"stored":(true|false)'
)
PROGRAMS = frozenset((".exe", ".dll", ".png"))
MANNERS = (("--batch-size", "1"), ("--batch-size", "1", "--hashes", "--jobs", "1", "--carve"))
"""In larger batches, which depend on what is ready, figures may move in their last digits."""
SHOWN = 5
"""Records that differ which are named."""


def run(checkout: Path, *arguments: str, expected: Sequence[int] = (0, 1, 3)) -> bytes:
    """What a version writes to stdout; raises SystemExit where it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "maltriage", *arguments],
        env={**os.environ, "PYTHONPATH": str(checkout)},
        cwd=checkout,
        capture_output=True,
        check=False,
    )
    if done.returncode not in expected:
        command = " ".join(arguments)
        raise SystemExit(f"{checkout}: {command}: {done.returncode}\n{done.stderr.decode()}")
    return done.stdout


def settled(output: bytes) -> list[bytes]:
    """Lines of a result, without what differs between two runs of one version."""
    return VARYING.sub(b"", output).splitlines()


def compare(name: str, old: Sequence[bytes], new: Sequence[bytes]) -> bool:
    """Print how two results differ; whether they are the same."""
    differ = [(a, b) for a, b in zip(old, new, strict=False) if a != b]
    same = not differ and len(old) == len(new)
    print(f"{name}: {len(old)} and {len(new)} lines, {'the same' if same else 'they differ'}")
    for a, b in differ[:SHOWN]:
        try:
            print(f"  {json.loads(a).get('path')}")
        except ValueError:
            print(f"  {a[:200]!r}\n  {b[:200]!r}")
    return same


def opened(old: Path, folder: str, work: Path) -> bool:
    """Whether the new version reads what the old one left."""
    report, store = work / "old.ndjson", work / "store"
    run(old, "scan", folder, "--cache", str(store), "-o", str(report))
    again = run(NEW, "scan", folder, "--cache", str(store), "-f", "ndjson")
    stored = again.count(b'"stored":true')
    results = again.count(b'"type":"result"')
    print(f"kept results: {stored} of {results} taken from the old store")
    same = stored == results or stored == 0  # a store of another version is not asked
    same &= compare("saved report", settled(report.read_bytes()), settled(again))
    shown = run(NEW, "scan", str(report), "-f", "ndjson")
    same &= compare("shown again", settled(report.read_bytes()), settled(shown))
    for bundle in sorted((old / "models").glob("*.onnx")):
        there = run(NEW, "models", str(bundle))
        same &= compare(
            bundle.name, run(old, "models", str(bundle)).splitlines(), there.splitlines()
        )
    index, shipped = work / "index.npz", old / "models" / "maltriage-evidence.index.npz"
    grown = ("--root", folder, "--label", "mine", "-o", str(index))
    run(old, "index", "add", str(shipped), *grown)
    mine = b'"mine"' in run(NEW, "index", "info", str(index), "-f", "json")
    print(f"index: {'read' if mine else 'NOT read'}")
    same &= mine
    one = next(str(path) for path in sorted(Path(folder).rglob("*")) if path.suffix in PROGRAMS)
    explain = ("explain", one, "-f", "json")
    same &= compare(f"explain {one}", settled(run(old, *explain)), settled(run(NEW, *explain)))
    return same


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("old", type=Path, help="checkout of the version before")
    parser.add_argument("folders", nargs="+")
    chosen = parser.parse_args()
    old = chosen.old.resolve()
    folders = [str(Path(folder).resolve()) for folder in chosen.folders]
    same = True
    for folder in folders:
        for more in MANNERS:
            scan = ("scan", folder, "-f", "ndjson", "--no-cache", *more)
            found = [settled(run(checkout, *scan)) for checkout in (old, NEW)]
            same &= compare(f"{folder} {' '.join(more)}", *found)
    with tempfile.TemporaryDirectory() as work:
        same &= opened(old, folders[0], Path(work))
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
