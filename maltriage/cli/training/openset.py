"""`maltriage evaluate --open-set`: nets trained without one family, and their answers to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from maltriage.cli.bars import ShowTick, bar, between_bars
from maltriage.cli.training.extra import need_torch
from maltriage.errors import MaltriageError

if TYPE_CHECKING:
    from rich.console import Console

    from maltriage.assess.verdicts.openset import LeftOut
    from maltriage.corpus.corpus import Corpus
    from maltriage.corpus.datasets.base import Dataset
    from maltriage.learn.runs.openset import Without
    from maltriage.learn.runs.options import RunOptions
    from maltriage.report.documents.openset import OpenSetReport

STRANGERS = "added clean files"
"""The name for files of `--goodware`; no net is trained on them here."""


@dataclass(frozen=True)
class Protocol:
    """Recipe of the nets, and the folder for them."""

    folder: Path
    net: str
    views: str | None
    epochs: int
    precision: str
    jobs: int
    device: Any

    def run(self, data: Dataset, console: Console, *, quiet: bool) -> OpenSetReport:
        """Train the nets that are missing, and measure all.

        Raises:
            MaltriageError: no torch, or too few samples; see `train`.
            typer.Exit: after Ctrl-C.
        """
        need_torch("--open-set")
        from maltriage.assess.verdicts.openset import open_set
        from maltriage.bundle import BENIGN
        from maltriage.cli.stop.ending import stopping
        from maltriage.corpus.load import load_corpus
        from maltriage.learn.fit.recipe import FitOptions
        from maltriage.learn.nets import entry
        from maltriage.learn.runs.options import RunOptions, views_for

        kind = entry(self.net)
        fit = FitOptions(
            net=self.net,
            views=None if self.views is None else tuple(n.strip() for n in self.views.split(",")),
            epochs=self.epochs,
            batch_size=kind.batch_size,
            learning_rate=kind.learning_rate,
            precision=self.precision,  # type: ignore[arg-type]
        )
        with bar(console, "reading samples", enabled=not quiet) as show:
            corpus = load_corpus(data, views_for(fit), jobs=self.jobs or None, progress=show)
        own = len(corpus) - corpus.goodware_samples
        families = [label for label in corpus.labels if label != BENIGN]
        if len(families) < 2:
            raise MaltriageError("--open-set needs two or more families: it leaves one out")
        import numpy as np

        strangers = {STRANGERS: np.arange(own, len(corpus))} if own < len(corpus) else {}
        options = RunOptions(self.folder, self.net, fit)
        with stopping() as stop:
            nets = self._nets(corpus, own, families, options, console, quiet, stop)
            try:
                report = open_set(corpus, nets, strangers, device=self.device)
            except MaltriageError:
                if not stop():  # stopped: the error is only about nets not trained yet
                    raise
            if stop():
                raise typer.Exit(stop.exit_code)
            return report

    def _nets(
        self,
        corpus: Corpus,
        own: int,
        families: list[str],
        options: RunOptions,
        console: Console,
        quiet: bool,
        stop: Callable[[], bool],
    ) -> Iterator[LeftOut]:
        """Yield one net after the other; the bar is hidden while a net is measured."""
        import numpy as np

        from maltriage import bundle as bundles
        from maltriage.assess.verdicts.openset import LeftOut
        from maltriage.learn.runs.openset import train_without

        # Added files come last, so row numbers of the samples hold for the whole corpus.
        samples = corpus.take(np.arange(len(corpus)) < own)

        def begin(show: ShowTick) -> Iterator[Without]:
            return train_without(
                samples,
                families,
                options,
                progress=lambda label, now: show(now.tick, f"without {label}, "),
                stop=stop,
            )

        for done in between_bars(console, not quiet, begin):
            yield LeftOut(done.label, bundles.load(done.bundle), done.train, done.test)
