"""What the maps of several nets say: how alike they are, and whose cumulative map explains most.

    python -m benchmarks.studies.maps VX-MINI WIDE --work FOLDER --keep FILE
    python -m benchmarks.studies.maps --keep FILE                    # print the tables
    python -m benchmarks.studies.maps --keep FILE --picture OUT.png  # the maps of all families

FOLDER is that of studies/nets.py; the nets are those whose fold 0 is there. All see the same
files: malware of named families that fold 0 holds back, two to eight a family.

A map is the HiResCAM of a file's own family against the mean of all labels, added up over 64 pieces
of the file of equal length, where positive, and divided by its sum. The *cumulative map* of a
family is the mean over its other files, by one net or by both nets of a pair (Brosolo et al. 2025,
arXiv 2503.02441, who do not say how pairs are joined).

- **Likeness**: structural similarity of two nets' cumulative maps on the plane of the byteplot,
  16 x 16, mean over the families.
- **Deletion**: a quarter of a file, the pieces of most heat, is replaced by bytes drawn from the
  file, and every net is asked again. What is counted is the loss of the probability of the file's
  family, mean over the files and over the nets that ask, less the same loss for pieces that were
  drawn at random (three times).
- **Does a net that explains better classify better?** Rank correlation over the nets of macro-F1 on
  these files and the loss by a file's own map, asked of its own net; 95 % intervals by bootstrap
  over the files.

FILE keeps what each answer was, so tables and picture come of it alone.
"""

from __future__ import annotations

import argparse
import base64
import json
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.studies.nets import MIN_SAMPLES, NETS, family_f1
from maltriage import bundle as bundles
from maltriage.assess.explanations.running_moments import plane_of
from maltriage.bundle import BENIGN, OTHER
from maltriage.corpus.datasets import open_dataset
from maltriage.corpus.load import load_corpus
from maltriage.corpus.predictions import PREDICTIONS_FILE, load_predictions
from maltriage.files.atomic import write_file
from maltriage.metrics import COMMON, bootstrap, rank_correlation, ssim
from maltriage.probe.mask import Variant
from maltriage.triage.evidence import heat_on, parts_of
from maltriage.triage.maps import mapped
from maltriage.triage.masking import run_masked
from maltriage.triage.options import Progress, ScanOptions, work_of
from maltriage.triage.session import Session
from maltriage.triage.verdict import probabilities
from maltriage.work.cores import cores
from maltriage.work.workers import Workers

PIECES, KEPT, A_FAMILY, DRAWS = 64, 16, 8, 3
FOLD, SEED = 0, 0
RANDOM, OWN = "random", "own"

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def packed(values: npt.NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=np.float16).tobytes()).decode()


def unpacked(text: str, shape: tuple[int, ...]) -> Floats:
    return np.frombuffer(base64.b64decode(text), np.float16).astype(np.float64).reshape(shape)


def held_back(path: Path, roots: list[Path]) -> dict[str, str]:
    """Path and family of the files to ask about, from the predictions of a fold."""
    found = load_predictions(path)
    corpus = load_corpus(open_dataset("vx-zoo", roots, MIN_SAMPLES), ())
    places = dict(zip(corpus.sha256, corpus.paths, strict=True))
    by_family: dict[str, list[str]] = defaultdict(list)
    for sha256, truth in sorted(zip(found.sha256, found.truth.tolist(), strict=True)):
        family = found.labels[truth]
        if family not in (BENIGN, OTHER) and len(by_family[family]) < A_FAMILY:
            by_family[family].append(places[sha256])
    return {path: family for family, paths in by_family.items() if len(paths) > 1 for path in paths}


class Asked:
    """A net, its maps of the files, and how the workers prepare them."""

    def __init__(self, path: Path, files: dict[str, str], workers: Workers) -> None:
        self.bundle = bundles.load(path)
        self.options = ScanOptions(jobs=1, threads=1)
        self.session = Session(self.bundle, "cpu", 1)
        self.workers = workers
        labels = self.bundle.card.labels
        wanted = {path: labels.index(family) for path, family in files.items()}
        self.label = wanted
        self.prepared: dict[str, Any] = {}
        self.heat: dict[str, Floats] = {}
        self.plane: dict[str, Floats] = {}
        self.right: dict[str, int] = {}
        for item in mapped(wanted, self.session, workers, self.options, progress=Progress()):
            edges = np.linspace(0, item.prepared.identity.size, PIECES + 1).astype(np.int64)
            heat = heat_on(
                parts_of(item.prepared, item.maps), np.stack((edges[:-1], edges[1:]), axis=1)
            )
            path_ = item.prepared.path
            self.prepared[path_] = item.prepared
            self.heat[path_] = shared(heat)
            maps = {name: grid.astype(np.float64) for name, grid in item.maps.items()}
            self.plane[path_] = shared(plane_of(item.prepared, maps))
            self.right[path_] = int(item.logits.argmax())

    def losses(self, path: str, orders: npt.NDArray[np.int64]) -> Floats:
        """Loss of the probability of the file's family, [n], for pieces [n, KEPT] that go."""
        prepared = self.prepared[path]
        edges = np.linspace(0, prepared.identity.size, PIECES + 1).astype(np.int64)
        variants = [Variant((), "histogram")]
        variants += [
            Variant(
                tuple((int(edges[i]), int(edges[i + 1])) for i in sorted(row)), "histogram", SEED
            )
            for row in orders.tolist()
        ]
        work = work_of(self.bundle, self.options)
        logits = run_masked(self.session, self.workers, prepared, variants, work)
        found = probabilities(logits, self.bundle.card)[:, self.label[path]]
        return np.asarray(found[0] - found[1:])


def shared(heat: Floats) -> Floats:
    """Positive heat, divided by its sum."""
    warm = heat.clip(min=0.0)
    return np.asarray(warm / max(float(warm.sum()), 1e-12))


def ask(roots: list[Path], work: Path) -> dict[str, Any]:
    """All that tables and picture are made of."""
    places = {net: work / net / f"seed-{SEED}" / f"fold-{FOLD}" for net in NETS}
    names = [net for net in NETS if (places[net] / f"{net}.onnx").exists()]
    files = held_back(places[names[0]] / PREDICTIONS_FILE, roots)
    with Workers(cores(), 60.0) as workers:
        nets = {name: Asked(places[name] / f"{name}.onnx", files, workers) for name in names}
        paths = [path for path in files if all(path in net.heat for net in nets.values())]
        order = Orders(nets, paths, files)
        losses = {}
        for name, net in nets.items():
            rows = [net.losses(path, at) for path, at in zip(paths, order.pieces, strict=True)]
            losses[name] = packed(np.array(rows))
            print(f"{name}: asked about {len(paths)} files", flush=True)
    first = next(iter(nets.values()))
    families = sorted(set(files.values()))
    return {
        "nets": names,
        "labels": list(first.bundle.card.labels),
        "sha256": [first.prepared[path].identity.sha256[:16] for path in paths],
        "family": [families.index(files[path]) for path in paths],
        "families": families,
        "sources": order.sources,
        "guess": {name: [net.right[path] for path in paths] for name, net in nets.items()},
        "planes": {
            name: packed(
                np.stack(
                    [
                        np.mean([net.plane[p] for p in paths if files[p] == family], axis=0)
                        for family in families
                    ]
                )
            )
            for name, net in nets.items()
        },
        "losses": losses,
    }


class Orders:
    """Which pieces go, by source of the map: [files, sources, KEPT]."""

    def __init__(self, nets: dict[str, Asked], paths: list[str], files: dict[str, str]) -> None:
        names = list(nets)
        pairs = [f"{a}+{b}" for a, b in combinations(names, 2)]
        own = [f"{OWN} {name}" for name in names]
        self.sources = [*names, *pairs, *own, *(f"{RANDOM} {i}" for i in range(DRAWS))]
        generator = np.random.default_rng(SEED)
        sums = {
            name: {
                family: sum((net.heat[p] for p in paths if files[p] == family), np.zeros(PIECES))
                for family in set(files.values())
            }
            for name, net in nets.items()
        }
        rows = []
        for path in paths:
            others = {n: sums[n][files[path]] - net.heat[path] for n, net in nets.items()}
            maps = [others[name] for name in names]
            maps += [others[a] + others[b] for a, b in combinations(names, 2)]
            maps += [net.heat[path] for net in nets.values()]
            maps += [generator.random(PIECES) for _ in range(DRAWS)]
            rows.append([np.argsort(-heat, kind="stable")[:KEPT] for heat in maps])
        self.pieces = np.array(rows)


class Answers:
    """What a kept file says, as figures of any draw of its files."""

    def __init__(self, kept: dict[str, Any]) -> None:
        self.names, self.sources, self.families = kept["nets"], kept["sources"], kept["families"]
        family = kept["family"]
        self.count = len(family)
        shape = (self.count, len(self.sources))
        losses = {name: unpacked(kept["losses"][name], shape) for name in self.names}
        drawn = [i for i, source in enumerate(self.sources) if source.startswith(RANDOM)]
        self.gain = {
            n: found - found[:, drawn].mean(axis=1)[:, None] for n, found in losses.items()
        }
        self.all = np.mean(list(self.gain.values()), axis=0)
        self.truth = np.array([kept["labels"].index(self.families[i]) for i in family])
        self.guess = {name: np.array(kept["guess"][name]) for name in self.names}
        grids = (len(self.families), *COMMON)
        self.planes = {name: unpacked(kept["planes"][name], grids) for name in self.names}

    def f1(self, name: str, at: Ints) -> float:
        return family_f1(self.truth[at], self.guess[name][at], sorted(set(self.truth.tolist())))

    def own(self, name: str, at: Ints) -> float:
        """By the map of each file, asked of the net that made it."""
        return float(self.gain[name][at, self.sources.index(f"{OWN} {name}")].mean())

    def cumulative(self, source: str, at: Ints) -> float:
        """By the cumulative map of a net or a pair, asked of all nets."""
        return float(self.all[at, self.sources.index(source)].mean())

    def rank(self, at: Ints) -> float:
        each = [[of(name, at) for name in self.names] for of in (self.f1, self.own)]
        found = rank_correlation(*each)
        return float("nan") if found is None else found

    def alike(self, first: str, second: str) -> float:
        """Structural similarity of the cumulative maps of two nets, mean over the families."""
        both = zip(self.planes[first], self.planes[second], strict=True)
        return float(np.mean([ssim(a, b) for a, b in both]))

    def shown(self, figure: Callable[[Ints], float], sign: str = "") -> str:
        found = bootstrap(figure, self.count)
        return f"{found.value:{sign}.3f} ({found.low:{sign}.3f} to {found.high:{sign}.3f})"


def tables(answers: Answers) -> str:
    nets = answers.names
    lines = [
        f"{answers.count} files of {len(answers.families)} families, {len(nets)} nets, fold {FOLD}",
        "",
        "| net | macro-F1 | loss by its own map | loss by its cumulative map, all nets asked |",
        "|---|---|---|---|",
    ]
    for name in nets:
        figures = (partial(answers.f1, name), partial(answers.own, name))
        cells = [answers.shown(figure) for figure in (*figures, partial(answers.cumulative, name))]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [
        "",
        "| pair | likeness | loss by its cumulative map, all nets asked |",
        "|---|---|---|",
    ]
    everything = np.arange(answers.count)
    pairs = [(a, b, f"{a}+{b}") for a, b in combinations(nets, 2)]
    for a, b, source in sorted(pairs, key=lambda row: -answers.cumulative(row[2], everything)):
        loss = answers.shown(partial(answers.cumulative, source))
        lines.append(f"| {a} and {b} | {answers.alike(a, b):+.2f} | {loss} |")
    if len(nets) > 2:
        rank = answers.shown(answers.rank, "+")
        lines += [
            "",
            f"rank correlation of macro-F1 and loss by own maps, {len(nets)} nets: {rank}",
        ]
    return "\n".join(lines)


def picture(answers: Answers, path: Path) -> None:
    """The cumulative maps of all families by all nets; first bytes at the top."""
    from matplotlib.figure import Figure

    names, families = answers.names, answers.families
    figure = Figure(figsize=(1.1 * len(names) + 1.6, 0.62 * len(families)), dpi=100)
    cells = figure.subplots(len(families), len(names), squeeze=False)
    for (row, family), (column, name) in product(enumerate(families), enumerate(names)):
        cell = cells[row][column]
        cell.imshow(answers.planes[name][row], cmap="magma", vmin=0, aspect="auto")
        cell.set_xticks([])
        cell.set_yticks([])
        if row == 0:
            cell.set_title(name, fontsize=9)
        if column == 0:
            cell.set_ylabel(family, fontsize=8, rotation=0, ha="right", va="center")
    figure.tight_layout(pad=0.3)
    figure.savefig(path, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("roots", type=Path, nargs="*")
    parser.add_argument("--work", type=Path, help="folder of the runs of studies/nets.py")
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    if options.roots:
        if options.work is None:
            parser.error("name the folder of the runs with --work")
        text = json.dumps(ask(options.roots, options.work), separators=(",", ":"))
        write_file(options.keep, (text.replace('],"', '],\n"') + "\n").encode())
    answers = Answers(json.loads(options.keep.read_text("utf-8")))
    print(tables(answers))
    if options.picture is not None:
        picture(answers, options.picture)


if __name__ == "__main__":
    main()
