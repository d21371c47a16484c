"""Labelled files, and the bundle that is asked about them: out of fold the one of their fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from maltriage.assess.verdicts.calibrate import fold_bundles
from maltriage.bundle import Bundle
from maltriage.corpus.corpus import Corpus


@dataclass(frozen=True)
class Group:
    """Pairs of path and label, and the bundle that is asked about them."""

    bundle: Bundle
    samples: Sequence[tuple[str, str]]


def by_fold(
    run: Path, bundle: Bundle, corpus: Corpus, samples: Sequence[tuple[str, str]]
) -> tuple[list[Group], int]:
    """The samples by the fold that held them back, and how many of them none did.

    Args:
        run: folder of the cross-validation of `bundle`.
        corpus: that the samples are from.

    Raises:
        MaltriageError: see `fold_bundles`.
    """
    sha256 = dict(zip(corpus.paths, corpus.sha256, strict=True))
    groups, left = [], list(samples)
    for part, said in fold_bundles(run, bundle):
        held = set(said.sha256)
        groups.append(Group(part, [s for s in left if sha256.get(s[0]) in held]))
        left = [s for s in left if sha256.get(s[0]) not in held]
    return groups, len(left)
