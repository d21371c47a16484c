"""The origin of a net: its data, split and recipe."""

from __future__ import annotations

from collections import Counter

from maltriage.bundle import BENIGN
from maltriage.corpus.corpus import Corpus
from maltriage.corpus.split_file import SplitFile
from maltriage.files.places import path_text
from maltriage.learn.fit.checkpoint import Origin
from maltriage.learn.nets import entry
from maltriage.learn.runs.options import RunOptions
from maltriage.sample.types import FORMATS, Format


def origin_of(corpus: Corpus, options: RunOptions, divided: SplitFile) -> Origin:
    """The origin of a run, for checkpoint and card."""
    return Origin(
        net=options.fit.net,
        labels=corpus.labels,
        views=corpus.views,
        dataset=corpus.dataset,
        root=path_text(corpus.root),
        more_roots=tuple(path_text(root) for root in corpus.more_roots),
        goodware=None if corpus.goodware is None else path_text(corpus.goodware),
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
        two_questions=entry(options.fit.net).two_questions and BENIGN in corpus.labels,
    )


def _input(corpus: Corpus) -> tuple[Format, ...]:
    """The input formats of a net trained on these samples.

    A byteplot PNG gives the same images as its program, so a net trained on one reads both.
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
