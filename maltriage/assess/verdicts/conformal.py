"""Prediction sets from out-of-fold predictions, and their measured coverage.

The scores of all folds go into the card. Coverage is measured by cross-fitting: temperature and
quantiles of each fold come from the other folds.
"""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from maltriage import metrics
from maltriage.bundle import BENIGN, OTHER, Conformal
from maltriage.corpus.predictions import Predictions
from maltriage.errors import MaltriageError
from maltriage.report.documents.evaluation import LabelCoverage, SetFigures
from maltriage.triage.prediction_sets import family_share, needed, ranks, rule_of

DEFAULT_COVERAGE = 0.9
NAMED_RIGHT = 0.9
"""Share of the scored samples that are named right, of those that are named."""
MAX_SCORES = 1000
"""Most scores of a label in a card."""
_DIGITS = 7


def fit(
    found: Predictions, temperature: float, source: str, coverage: float | None = None
) -> tuple[Conformal, SetFigures]:
    """The scores for a card and the coverage of the prediction sets; see `scores_of`."""
    asked = coverage or DEFAULT_COVERAGE
    return scores_of(found, temperature, asked, source), coverage_of(found, asked)


def scores_of(
    found: Predictions, temperature: float, coverage: float, source: str = ""
) -> Conformal:
    """The scores of samples, for a card.

    Args:
        found: out-of-fold logits.
        temperature: of the card.
        coverage: the default for users of the bundle.
        source: of the samples, in words.

    Raises:
        MaltriageError: the coverage is out of range.
    """
    probabilities = _probabilities(found, temperature)
    own = 1.0 - probabilities[np.arange(len(found)), found.truth]
    counts, scores = dict[str, int](), dict[str, tuple[float, ...]]()
    for i, label in enumerate(found.labels):
        # Rounded up: a quantile must not exclude the sample whose score it is.
        values = np.sort(np.ceil(own[found.truth == i] * 10**_DIGITS) / 10**_DIGITS).clip(0, 1)
        kept = values[ranks(len(values), min(len(values), MAX_SCORES)) - 1]
        counts[label], scores[label] = len(values), tuple(kept.round(_DIGITS).tolist())
    made = Conformal(
        coverage=coverage,
        temperature=temperature,
        source=source,
        counts=counts,
        scores=scores,
        named_from=_named_from(found, probabilities),
    )
    return msgspec.structs.replace(made, pooled=rule_of(made, found.labels, coverage).pooled)


def coverage_of(found: Predictions, coverage: float) -> SetFigures:
    """Coverage of prediction sets, with each fold's quantiles from the other folds.

    Raises:
        MaltriageError: a single fold, or the coverage is out of range.
    """
    folds = np.unique(found.fold).tolist()
    if len(folds) < 2:
        raise MaltriageError(f"{found.recipe}, seed {found.seed}: only one fold")
    shape, benign = (len(found), len(found.labels)), _benign(found)
    members, probabilities = np.zeros(shape, dtype=np.bool_), np.zeros(shape)
    named, pooled = np.zeros(len(found), dtype=np.bool_), set[str]()
    for fold in folds:
        at = found.fold == fold
        others = found.take(~at)
        temperature = metrics.temperature(others.logits, others.truth) or 1.0
        rule = rule_of(scores_of(others, temperature, coverage), found.labels, coverage)
        pooled |= set(rule.pooled)
        probabilities[at] = _probabilities(found.take(at), temperature)
        members[at] = rule.members(probabilities[at])
        pairs = zip(members[at], probabilities[at], strict=True)
        named[at] = [rule.names(m, p, benign) for m, p in pairs]
    return _figures(found, coverage, members, probabilities, named, pooled)


def _figures(
    found: Predictions,
    coverage: float,
    members: npt.NDArray[np.bool_],
    probabilities: metrics.Floats,
    named: npt.NDArray[np.bool_],
    pooled: set[str],
) -> SetFigures:
    rows, size = np.arange(len(found)), members.sum(axis=1)
    held, guess = members[rows, found.truth], probabilities.argmax(axis=1)
    nameless = [i for i, name in enumerate(found.labels) if name in (BENIGN, OTHER)]
    family, right = ~np.isin(guess, nameless), guess == found.truth
    return SetFigures(
        seed=found.seed,
        coverage=coverage,
        needed=needed(coverage),
        samples=len(found),
        held=metrics.clopper_pearson(int(held.sum()), len(found)),
        size=float(size.mean()),
        empty=int((size == 0).sum()),
        single=int((size == 1).sum()),
        single_right=int((held & (size == 1)).sum()),
        named=int((family & named).sum()),
        named_right=int((family & named & right).sum()),
        unnamed=int((family & ~named).sum()),
        unnamed_right=int((family & ~named & right).sum()),
        labels=[
            LabelCoverage(
                label=label,
                samples=int(at.sum()),
                held=metrics.clopper_pearson(int(held[at].sum()), int(at.sum())),
                size=float(size[at].mean()),
                pooled=label in pooled,
            )
            for label, at in ((n, found.truth == i) for i, n in enumerate(found.labels))
            if at.any()
        ],
    )


def _named_from(found: Predictions, probabilities: metrics.Floats) -> float:
    """See `Conformal.named_from`; 1 where no number of samples would be named right so often."""
    guess = probabilities.argmax(axis=1)
    nameless = [i for i, name in enumerate(found.labels) if name in (BENIGN, OTHER)]
    family = ~np.isin(guess, nameless)
    share = family_share(probabilities[family], _benign(found))
    order = np.argsort(-share, kind="stable")
    right = (guess == found.truth)[family][order].cumsum() / np.arange(1, len(order) + 1)
    enough = np.flatnonzero(right >= NAMED_RIGHT)
    return float(np.ceil(share[order[enough[-1]]] * 1e4) / 1e4) if len(enough) else 1.0


def _benign(found: Predictions) -> int | None:
    return found.labels.index(BENIGN) if BENIGN in found.labels else None


def _probabilities(found: Predictions, temperature: float) -> metrics.Floats:
    return np.exp(metrics.log_softmax(found.logits / temperature))
