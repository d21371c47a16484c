"""Which part of a file carries the score, on files that a net has never seen.

    python -m benchmarks.quality.where_heat_lies RUN ROOT [ROOT ...] --margin M

RUN is a cross-validation of a net with two questions (`train --split source=... --out RUN`), the
roots are those of its dataset. Each file is explained by the net of its fold, which was not
trained on it: the log odds of malware, as the account of `explain` divides them over regions.
Printed for malware that reaches the margin, and for clean files that do not: how often the region
with the most |heat| is of a kind, and the median of the share of |heat| on all regions of it.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from maltriage import bundle as bundles
from maltriage.bundle import BENIGN
from maltriage.corpus.datasets import open_dataset
from maltriage.metrics import margins
from maltriage.probe.prepare import PrepareOptions, prepare
from maltriage.sample.errors import SampleError
from maltriage.triage.evidence import divide, parts_of
from maltriage.triage.session import Session

KINDS = ("header", "section", "overlay", "other")
Shares = npt.NDArray[np.float64]
Said = tuple[bool, float, int, Shares]
"""Of a file: whether it is clean, its margin, the kind of its hottest region, and the share of
|heat| of each kind."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("roots", type=Path, nargs="+")
    parser.add_argument("--dataset", default="vx-zoo")
    parser.add_argument("--margin", type=float, required=True, help="from which a file is flagged")
    asked = parser.parse_args()
    files = {
        Path(sample.path).name.split(".")[0]: (sample.path, sample.label == BENIGN)
        for sample in open_dataset(asked.dataset, asked.roots).samples
    }
    jobs = []
    for folder in sorted(asked.run.glob("fold-*")):
        split = msgspec.json.decode((folder / "split.json").read_bytes())
        held = [files[sha] for sha, part in split["samples"] if part == "test" and sha in files]
        (model,) = folder.glob("*.onnx")
        jobs += [(model, held[start::8]) for start in range(8)]
    found: dict[str, list[tuple[int, Shares]]] = defaultdict(list)
    with ProcessPoolExecutor() as pool:
        for part in pool.map(explained, *zip(*jobs, strict=True)):
            for clean, margin, hottest, shares in part:
                if clean == (margin < asked.margin):
                    name = "clean, not flagged" if clean else "malware, flagged"
                    found[name].append((hottest, shares))
    for name, rows in sorted(found.items()):
        print(f"{name}: {len(rows):,} files")
        first, values = np.array([row[0] for row in rows]), np.stack([row[1] for row in rows])
        for number, kind in enumerate(KINDS):
            kinds = values[:, number]
            print(
                f"  {kind:8s} hottest region of {np.mean(first == number):6.1%},"
                f" median share {np.median(kinds):6.1%}"
            )


def explained(model: Path, files: list[tuple[str, bool]]) -> list[Said]:
    """The answers for some files; not a generator, which no process can send."""
    return list(_explained(Session(bundles.load(model), "cpu", 1), files))


def _explained(session: Session, files: list[tuple[str, bool]]) -> Iterator[Said]:
    card = session.card
    if card.clean is None:
        raise SystemExit("a net of one question: it has no log odds of malware")
    family = next(i for i in range(len(card.labels)) if i != card.clean)
    for path, clean in files:
        try:
            sample = prepare(path, PrepareOptions(card.views))
        except SampleError:
            continue
        said = session.run([sample.views], family, card.clean)
        heat = {name: grids[0] for name, grids in said.heat.items()}
        shares = np.zeros(len(KINDS))
        regions = divide(sample, parts_of(sample, heat)).regions
        kinds = [KINDS.index(r.kind if r.kind in KINDS else "other") for r in regions]
        parts = np.abs([region.share for region in regions])
        np.add.at(shares, kinds, parts)
        margin = float(margins(said.logits.astype(float), card.clean)[0])
        yield clean, margin, kinds[int(parts.argmax())], shares


if __name__ == "__main__":
    main()
