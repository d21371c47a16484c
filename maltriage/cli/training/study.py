"""The options of `compare`: the cells of the study, and the recipe of each net."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maltriage.errors import MaltriageError

if TYPE_CHECKING:
    from maltriage.corpus.corpus import Corpus
    from maltriage.corpus.datasets.base import Dataset
    from maltriage.corpus.study import Cell
    from maltriage.learn.fit.recipe import FitOptions

EPOCHS = 30
MOST = {"epochs": 100_000, "batch-size": 4096}
"""Largest number that a net can be given, by option."""


@dataclass
class Study:
    """A comparison of nets: its options, and the samples of each net once they are read."""

    out: Path
    nets: list[str]
    seeds: int
    folds: int
    epochs: dict[str, int]
    batches: dict[str, int]
    params: dict[str, Any]
    fits: dict[str, FitOptions] = field(default_factory=dict)
    """Recipe of each net; empty: nothing is trained."""
    corpora: dict[str, Corpus] = field(default_factory=dict)

    @property
    def cells(self) -> list[Cell]:
        """All nets of a seed come before the next seed, so that partial studies compare all."""
        from maltriage.corpus.study import Cell

        numbers = range(self.folds) if self.folds else (None,)
        return [
            Cell(net, seed, fold)
            for seed in range(self.seeds)
            for net in self.nets
            for fold in numbers
        ]


def named_nets(text: str) -> list[str]:
    from maltriage.learn.nets import NETS, entry

    names = list(NETS) if text == "all" else [name.strip() for name in text.split(",")]
    for name in names:
        entry(name)  # raises MaltriageError
    if len(set(names)) < len(names):
        raise MaltriageError(f"--nets {text}: a net is named twice")
    return names


def numbers_by_net(
    option: str, text: str | None, usual: dict[str, int], least: int
) -> dict[str, int]:
    """A number for each net, from `30`, `30,mcnn=5` or `mcnn=5`; `usual` for the others."""
    everyone: int | None = None
    named = dict[str, int]()
    for part in () if text is None else text.split(","):
        net, equals, number = part.strip().rpartition("=")
        if not (number.isascii() and number.isdigit() and least <= int(number) <= MOST[option]):
            raise MaltriageError(
                f"--{option} {text}: {part!r} is neither a number from {least} to"
                f" {MOST[option]} nor NET=NUMBER"
            )
        if not equals:
            if everyone is not None:
                raise MaltriageError(f"--{option} {text}: two numbers for all nets")
            everyone = int(number)
        elif net not in usual:
            raise MaltriageError(f"--{option} {text}: no net {net} here ({', '.join(usual)})")
        elif net in named:
            raise MaltriageError(f"--{option} {text}: two numbers for net {net}")
        else:
            named[net] = int(number)
    return {net: named.get(net, everyone or number) for net, number in usual.items()}


def recipes(study: Study, data: Dataset) -> dict[str, FitOptions]:
    """The recipe of each net; wrong use is found before anything is read."""
    from maltriage.learn.fit.devices import pick_device
    from maltriage.learn.fit.recipe import FitOptions
    from maltriage.learn.nets import entry
    from maltriage.learn.runs.options import views_for

    params = study.params
    pick_device(str(params["accelerator"]))  # type: ignore[arg-type]
    named = None if params["views"] is None else tuple(params["views"].split(","))
    fits = {}
    for net in study.nets:
        fits[net] = FitOptions(
            net=net,
            image_size=params["image_size"],
            views=data.views(None if named is None else tuple(name.strip() for name in named)),
            epochs=study.epochs[net],
            batch_size=study.batches[net],
            learning_rate=entry(net).learning_rate,
            precision=str(params["precision"]),  # type: ignore[arg-type]
            accelerator=str(params["accelerator"]),  # type: ignore[arg-type]
            threads=params["threads"] or None,
        )
        fits[net].check()
        views_for(fits[net])
    return fits


def wanted_of(study: Study, cell: Cell) -> dict[str, Any] | None:
    """The recipe and split that the card of a cell must have; None: any."""
    if not study.fits:
        return None
    split = {name: study.params[name] for name in ("split", "split_seed")}
    return split | {"folds": study.folds} | replace(study.fits[cell.net], seed=cell.seed).recipe()
