"""Where a net comes from: what it was trained on, and how."""

from __future__ import annotations

from collections import Counter

from maltriage.bundle import BENIGN
from maltriage.corpus.corpus import Corpus
from maltriage.corpus.splits import SplitFile
from maltriage.learn.fit.checkpoint import Origin
from maltriage.learn.runs.options import RunOptions
from maltriage.sample.types import FORMATS, Format


def origin_of(corpus: Corpus, options: RunOptions, divided: SplitFile) -> Origin:
    """What checkpoint and card say of the samples, their division and the recipe."""
    return Origin(
        net=options.fit.net,
        labels=corpus.labels,
        views=corpus.views,
        dataset=corpus.dataset,
        root=str(corpus.root.absolute()),
        goodware=None if corpus.goodware is None else str(corpus.goodware.absolute()),
        manifest_sha256=divided.manifest_sha256,
        samples=len(corpus),
        goodware_samples=corpus.goodware_samples,
        split=divided.kind,
        split_seed=divided.seed,
        fractions=divided.fractions,
        folds=divided.folds,
        fold=divided.fold,
        split_file=options.split_file is not None,
        split_sha256=divided.sha256,
        min_samples=corpus.min_samples,
        malware_kinds=_malware_kinds(corpus),
        input=_input(corpus),
        unmapped=corpus.unmapped,
        recipe=options.fit.recipe(),
    )


def _input(corpus: Corpus) -> tuple[Format, ...]:
    """The formats that a net on these samples is for.

    A byteplot PNG is the program that it shows, and gives the same images: who has learned
    from the one reads the other.
    """
    found: set[Format] = set(corpus.formats)
    if found & {"pe", "png"}:
        found |= {"pe", "png"}
    return tuple(format for format in FORMATS if format in found)


def _malware_kinds(corpus: Corpus) -> dict[str, int]:
    kinds = Counter(
        kind
        for kind, label in zip(corpus.kinds, corpus.label, strict=True)
        if corpus.labels[label] != BENIGN and kind
    )
    return dict(sorted(kinds.items()))
