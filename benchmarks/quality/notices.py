"""How often each notice is given in folders of files, and which rules said packed.

    python -m benchmarks.quality.notices FOLDER [FOLDER ...] --limit 700

Draws files with a seed, prepares them as a scan does, without a model, and prints a table in
Markdown: the share of the files of each folder that carry a notice.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from maltriage.probe.prepare import PrepareOptions, prepare
from maltriage.sample.errors import SampleError
from maltriage.source.files import Found, WalkOptions, walk


def notices_of(path: str) -> set[str] | None:
    """Codes of a file's notices, and the rules that said packed; None: it is no sample."""
    try:
        prepared = prepare(path, PrepareOptions(()))
    except SampleError:
        return None
    found = {notice.code for notice in prepared.notices}
    for notice in prepared.notices:
        if notice.code == "packed?":
            rules = notice.text[notice.text.index("(") + 1 : notice.text.rindex(")")]
            found |= {f"packed?: {' '.join(rule.split()[:1])}" for rule in rules.split("; ")}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--limit", type=int, default=700, help="files of each folder")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    counts, sizes = [], []
    with ProcessPoolExecutor(1) as pool:  # a sample is parsed in a process of its own
        for folder in options.folders:
            found = walk([str(folder)], WalkOptions())
            paths = sorted(one.path for one in found if isinstance(one, Found))
            random.Random(options.seed).shuffle(paths)
            seen = [one for one in pool.map(notices_of, paths[: options.limit]) if one is not None]
            counts.append(Counter(code for codes in seen for code in codes))
            sizes.append(len(seen))
    print(f"| notice | {' | '.join(str(folder) for folder in options.folders)} |")
    print("|---|" + "---|" * len(sizes))
    print(f"| files | {' | '.join(map(str, sizes))} |")
    for code in sorted(set().union(*counts)):
        pairs = zip(counts, sizes, strict=True)
        cells = (f"{count[code] / max(1, size):.1%}" for count, size in pairs)
        print(f"| `{code}` | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
