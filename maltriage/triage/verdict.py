"""Derives from logits a verdict, and the question that its evidence answers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from maltriage.bundle import BENIGN, OTHER, Card
from maltriage.metrics import margins
from maltriage.report.documents.facts import SUSPICIOUS, UNKNOWN, score_of
from maltriage.report.documents.record import Ranked, Verdict, finite
from maltriage.sample.types import Layout, Notice
from maltriage.triage.novelty import Novelty
from maltriage.triage.prediction_sets import SetRule

EVEN = 0.5
"""P(benign) up to which a file is not called benign."""

WITH_HEADERS = ("pe", "png")
"""Formats of files that have headers; a byteplot of a program has those of the program."""

MIN_SHARE = 0.05
"""Share of the malware in training below which a kind of file is outside of it."""


@dataclass(frozen=True)
class Question:
    """The label that the evidence explains, and the one against it (None: the mean of all).

    `clean` is the label of clean files in a model with two questions: the score of it, and of what
    is explained against it, is the log odds of malware. None: the model has one question.
    """

    label: int
    against: int | None = None
    clean: int | None = None

    @property
    def is_odds(self) -> bool:
        """Whether the score is the log odds of malware, or of a clean file."""
        return self.clean is not None and self.clean in (self.label, self.against)

    def score(self, logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """The explained score of each sample: of logits (..., K), shape (...)."""
        if self.clean is not None and self.is_odds:
            wide = np.asarray(logits, dtype=np.float64)
            odds = margins(wide.reshape(-1, wide.shape[-1]), self.clean).reshape(wide.shape[:-1])
            return -odds if self.label == self.clean else odds
        scores = np.asarray(logits[..., self.label], dtype=np.float64)
        return scores if self.against is None else scores - logits[..., self.against]


def probabilities(logits: npt.NDArray[np.floating], card: Card) -> npt.NDArray[np.float64]:
    """Softmax over the last axis at the card's temperature (1 where uncalibrated)."""
    scaled = np.asarray(logits, dtype=np.float64) / (card.temperature or 1.0)
    scaled = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(scaled / scaled.sum(axis=-1, keepdims=True))


def has_headers(kind: str | None, format: str) -> bool:
    """Whether a file may be flagged: its headers could be read, or its format has none.

    Args:
        kind: `Layout.kind` of the file.
        format: of the file, such as `pe`.
    """
    return kind is not None or format not in WITH_HEADERS


def is_outside(kind: str | None, card: Card) -> bool:
    """Whether hardly any malware in training was of this kind (`Layout.kind`)."""
    kinds = card.training.malware_kinds
    total = sum(kinds.values())
    return kind is not None and total > 0 and kinds.get(kind, 0) < MIN_SHARE * total


def outside_training(layout: Layout, card: Card) -> list[Notice]:
    """The notice for a file of a kind that hardly any malware in training was of.

    A net that has only seen 32-bit malware can take "64-bit" for "clean".
    """
    kind = layout.kind
    if kind is None or not is_outside(kind, card):
        return []
    kinds = card.training.malware_kinds
    count, total = kinds.get(kind, 0), sum(kinds.values())
    seen = f"{count:,} of the {total:,} malware files that the model learned from are"
    text = f"{_KINDS[kind]}: {seen} of this kind, so the verdict says little, whichever it is."
    return [Notice("outside-training", text)]


def unlike_training(verdict: Verdict, layout: Layout, card: Card) -> list[Notice]:
    """The notice for a file that is like nothing that the model learned, by its novelty.

    A file of a kind outside of training has the notice on that alone.
    """
    score, stats = verdict.novelty, card.open_set
    if score is None or stats is None or score <= stats.limit or is_outside(layout.kind, card):
        return []
    text = (
        f"Like nothing that the model learned: novelty {score:+.2f}, where {stats.acceptance:.0%}"
        f" of the files of its labels that it had not seen have at most {stats.limit:+.2f}. The"
        " verdict may be a mere guess."
    )
    return [Notice("unlike-training", text)]


_KINDS = {
    "pe32": "32-bit (PE32)",
    "pe32+": "64-bit (PE32+)",
    ".net": "A .NET assembly",
    "efi": "An EFI image",
}


def decide(
    logits: npt.NDArray[np.floating],
    card: Card,
    kind: str | None = None,
    rule: SetRule | None = None,
    novelty: Novelty | None = None,
    *,
    readable: bool = True,
) -> tuple[Verdict, Question]:
    """The verdict on one sample.

    Args:
        logits: shape (K,), uncalibrated.
        card: of the bundle.
        kind: `Layout.kind` of the sample, for its threshold.
        rule: of its prediction set; None: it has none. Files of a kind outside of training have
            none either, and no family is named.
        novelty: scores how little it resembles known files; None: not scored. Without both the
            likeliest family is named.
        readable: whether its headers could be read; without, it is `unknown` and not flagged.

    Raises:
        MaltriageError: a logit is not a number.
    """
    finite(float(np.abs(logits).max()))
    shares = probabilities(logits, card)
    order, share = np.argsort(-shares, kind="stable").tolist(), shares.tolist()
    top = order[0]
    flagged = score = None
    limit = card.threshold.at(kind) if card.threshold and readable else None
    if card.benign is not None:
        score = float(margins(np.asarray(logits, dtype=np.float64)[None], card.benign)[0])
        if limit is not None:
            flagged = score >= limit
    malicious = next(i for i in order if i != card.benign)
    closest = next((i for i in order if card.labels[i] not in (BENIGN, OTHER)), malicious)
    label = card.labels[top]
    # The scores of sets are from the kinds in training: for another kind they guarantee nothing.
    outside = rule is not None and is_outside(kind, card)
    rule = None if outside else rule
    members = None if rule is None else rule.members(shares)
    strange = None if novelty is None else float(novelty.score(logits))
    named = readable and label != OTHER and not outside
    named = named and (rule is None or members is None or rule.names(members, shares, card.benign))
    if novelty is not None and strange is not None:
        named = named and strange <= novelty.stats.limit
    if not readable:
        label = UNKNOWN
    elif top == card.benign:
        label = SUSPICIOUS if flagged else label if share[top] > EVEN else UNKNOWN
    elif flagged is False or not named:
        label = UNKNOWN
    verdict = Verdict(
        label=label,
        closest=None if label == card.labels[top] else card.labels[closest],
        probability=1.0 - share[top] if label == SUSPICIOUS else share[top],
        calibrated=card.temperature is not None and readable and not is_outside(kind, card),
        flagged=flagged,
        margin=score,
        threshold=limit,
        fpr=card.threshold.fpr if card.threshold else None,
        goodware=card.threshold.goodware if card.threshold else None,
        ranked=[Ranked(card.labels[i], share[i]) for i in order],
        set=None if members is None else [card.labels[i] for i in order if members[i]],
        coverage=None if rule is None else rule.coverage,
        novelty=strange,
        novelty_limit=None if novelty is None else novelty.stats.limit,
        goodware_files=_files_behind(card, kind),
        score=score_of(score, limit),
    )
    # The account is of what the score is of: malware against benign, wherever that is undecided.
    doubtful = flagged or (flagged is False and label == UNKNOWN)
    question = Question(malicious, card.benign) if doubtful else Question(top)
    return verdict, replace(question, clean=card.clean)


def _files_behind(card: Card, kind: str | None) -> int | None:
    """Number of clean files that the threshold of this kind was set on; None: not known.

    A card has the number of all clean files, not that of a kind with a threshold of its own.
    """
    limit = card.threshold
    return None if limit is None or kind in limit.kinds else limit.files or None


def asked(
    question: Question,
    logits: npt.NDArray[np.floating],
    label: int | None = None,
    against: int | None = None,
) -> Question:
    """The question that the evidence answers, if the user's differs from the verdict's.

    Args:
        question: of the verdict.
        logits: of the sample, shape (K,).
        label: to explain; None: the verdict's. If that is `against` itself, the likeliest of the
            other labels.
        against: label to explain it against; None: the mean of all labels for a named `label`,
            else the verdict's.
    """
    if against is None:
        return question if label is None else replace(question, label=label, against=None)
    if label is None:
        others = np.where(np.arange(len(logits)) == against, -np.inf, logits)
        label = int(others.argmax()) if question.label == against else question.label
    return replace(question, label=label, against=against)
