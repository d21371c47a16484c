"""Changed copies of a corpus's samples, to train on beside the samples themselves.

No transformation appends benign content: it would come from files that another fold of a
cross-validation holds back.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from maltriage.corpus import array_store
from maltriage.corpus.corpus import Corpus, Variants
from maltriage.corpus.fingerprint import PLOTTING, TRANSFORMING, fingerprint
from maltriage.corpus.rows import in_order, view_columns, view_values
from maltriage.files.places import cache_dir, path_text
from maltriage.probe.prepare import Prepared, PrepareOptions
from maltriage.probe.transform.worker import transformed
from maltriage.sample.errors import SampleError
from maltriage.source.archive.limits import Archives
from maltriage.source.reading import Reading
from maltriage.work.cores import cores

TRANSFORMS = (
    "append-random-10",
    "append-random-50",
    "pad-sections",
    "wipe-headers",
    "add-empty-section",
    "file-alignment",
    "strip-overlay",
)
"""Transformations that a net is trained with."""
SEED = 0
"""Seed of the transformations: not part of a recipe, so that all its seeds see the same files."""


def with_variants(
    corpus: Corpus,
    names: tuple[str, ...] = TRANSFORMS,
    *,
    jobs: int | None = None,
    folder: Path | None = None,
) -> Corpus:
    """The corpus with changed copies of its samples, from the cache if they are there.

    Args:
        names: of transformations that take no bytes of benign files.
        jobs: worker processes; None: one for each core.
        folder: of the cache; None: the user's.
    """
    if corpus.variants is not None and corpus.variants.names == names:
        return corpus
    columns = {"sample": ("i8", ()), "variant": ("i8", ()), **view_columns(corpus.views)}
    place = (folder or cache_dir() / "corpus") / _key(corpus, names)
    stored = array_store.read(place, columns)
    if stored is None:
        jobs = jobs or cores()
        try:
            stored = _prepare_all(corpus, names, columns, jobs, place)
        except array_store.StoreError:  # prepared again next time
            stored = _prepare_all(corpus, names, columns, jobs, None)
    _, arrays = stored
    rows = np.full((len(corpus), len(names)), -1, dtype=np.int64)
    rows[arrays["sample"], arrays["variant"]] = np.arange(len(arrays["sample"]))
    found = Variants(
        names,
        rows,
        {view.name: arrays[f"view-{view.name}"] for view in corpus.views},
        {v.name: arrays[f"present-{v.name}"] for v in corpus.views if v.along},
    )
    return replace(corpus, variants=found)


def _key(corpus: Corpus, names: tuple[str, ...]) -> str:
    """Digest of everything the arrays depend on."""
    what = (array_store.LAYOUT_VERSION, "variants", SEED, names, corpus.views, corpus.sha256)
    digest = hashlib.sha256(msgspec.json.encode(what))
    digest.update(fingerprint((*PLOTTING, *TRANSFORMING)))
    return digest.hexdigest()


def _prepare_all(
    corpus: Corpus,
    names: tuple[str, ...],
    columns: array_store.Columns,
    jobs: int,
    place: Path | None,
) -> tuple[array_store.Manifest, array_store.Arrays]:
    """Change and prepare every sample, into a folder or (None) into memory; raises StoreError."""
    formats = tuple(sorted(set(corpus.formats)))
    reading = Reading(formats=formats, archives=Archives(), unmapped=corpus.unmapped)
    with array_store.Builder(place, columns, len(corpus) * len(names)) as builder:
        count = 0
        arguments = (names, (), PrepareOptions(corpus.views, **vars(reading)), SEED)
        for i, made in enumerate(in_order(transformed, corpus.paths, arguments, jobs)):
            if isinstance(made, SampleError):
                continue
            for variant, name in enumerate(names):
                if isinstance(copy := made.changed[name], Prepared):
                    row = view_values(copy, corpus.views)
                    builder.append({"sample": i, "variant": variant, **row})
                    count += 1
        manifest = array_store.Manifest(
            dataset=f"{corpus.dataset}, changed copies",
            root=path_text(corpus.root),
            goodware=None,
            views=tuple(view.name for view in corpus.views),
            files=count,
            rejects=(),
        )
        return manifest, builder.commit(manifest)
