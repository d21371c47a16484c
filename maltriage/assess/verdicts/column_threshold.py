"""Sets a threshold on the values of a column, such as sources, that were held back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from maltriage import metrics
from maltriage.assess.verdicts import grouped
from maltriage.assess.verdicts.calibrate import below_even_odds, files_needed, limit_at
from maltriage.assess.verdicts.column_answers import answers_of, plain_or_all
from maltriage.assess.verdicts.column_files import Files
from maltriage.corpus.predictions import Predictions
from maltriage.errors import MaltriageError
from maltriage.metrics import Floats, Ints
from maltriage.report.documents.calibration import RateFigures, ThresholdFigures, ValueThreshold

RATES = (0.001, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1)
"""Rates that a card has further thresholds for."""


def threshold_by(files: Files, found: Predictions, fpr: float) -> ThresholdFigures:
    """The threshold that keeps a rate on the clean files of each value held back.

    It is the highest of those that the values need, each for its own files. A value of fewer
    than 1 / fpr clean files needs one that none of them reaches. Packed files have no say, and are
    counted beside: what is packed hides what it is, and to flag no packed clean file would be to
    flag no packed malware.

    Args:
        found: predictions of a split by the column.

    Raises:
        MaltriageError: the folds are no values of the column, or there are too few clean files.
    """
    answers, held_back = answers_of(files, found, None)
    if not held_back:
        raise MaltriageError(
            f"{found.recipe}, seed {found.seed}: its folds are not the values of {files.column}"
        )
    value = files.value[answers.at]
    malware = files.malware[answers.at] & (value != "")
    deciding = plain_or_all(files, answers) & (value != "")
    packed = ~malware & ~deciding & (value != "")
    clean = {name: np.flatnonzero(deciding & (value == name)) for name in files.values}
    clean = {name: rows for name, rows in clean.items() if len(rows)}
    count = sum(map(len, clean.values()))
    if count < files_needed(fpr):
        raise MaltriageError(
            f"{count} clean files held back: a rate of {fpr:g} needs {files_needed(fpr)} (3 / rate)"
        )
    own = {name: limit_at(answers.margin[rows].tolist(), fpr) for name, rows in clean.items()}
    limit, others = max(own.values()), _without(own)
    flagged = answers.margin >= limit
    values = list[ValueThreshold]()
    for name, rows in clean.items():
        groups = files.group[answers.at[rows]]
        row = grouped.counted(flagged[rows], groups)
        new = grouped.counted(answers.margin[rows] >= others[name], groups) if others else None
        assert row is not None
        values.append(
            ValueThreshold(
                *(name, own[name], row.files, row.groups, row.hits, row.rate),
                without=None if new is None else new.rate,
            )
        )
    hits = int(flagged[deciding].sum())
    return ThresholdFigures(
        margin=limit,
        fpr=fpr,
        goodware=f"clean files of each {files.column} held back: {', '.join(clean)}",
        files=count,
        flagged=hits,
        rate=metrics.clopper_pearson(hits, count),
        kinds=[],
        malware_like=[],
        unreadable=0,
        malware=int(malware.sum()),
        malware_flagged=int(flagged[malware].sum()),
        values=values,
        packed=int(packed.sum()),
        packed_flagged=int(flagged[packed].sum()),
        points=[*_points(clean, answers.margin, deciding, malware, packed)],
        warnings=below_even_odds(limit, {}),
    )


def _without(own: Mapping[str, float]) -> dict[str, float]:
    """The threshold of all values but one, by that one; none of a single value."""
    return {
        name: max(margin for other, margin in own.items() if other != name)
        for name in own
        if len(own) > 1
    }


def _points(
    clean: Mapping[str, Ints],
    margin: Floats,
    deciding: npt.NDArray[np.bool_],
    malware: npt.NDArray[np.bool_],
    packed: npt.NDArray[np.bool_],
) -> Iterator[RateFigures]:
    """The thresholds for `RATES`, but those that too few files show, and those below even odds.

    Args:
        clean: rows of the clean files of each value.
        margin, deciding, malware, packed: of all files, [n].
    """
    count = int(deciding.sum())
    for fpr in RATES:
        own = {name: limit_at(margin[rows].tolist(), fpr) for name, rows in clean.items()}
        limit = max(own.values())
        if count < files_needed(fpr) or limit < 0:
            continue
        new = [float((margin[clean[name]] >= at).mean()) for name, at in _without(own).items()]
        flagged = margin >= limit
        hits = int(flagged[deciding].sum())
        yield RateFigures(
            fpr=fpr,
            margin=limit,
            flagged=hits,
            rate=metrics.clopper_pearson(hits, count),
            malware_flagged=int(flagged[malware].sum()),
            packed_flagged=int(flagged[packed].sum()),
            worst=max(new, default=None),
        )
