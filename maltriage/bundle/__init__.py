"""Bundles: trained models as they ship, each one ONNX file with its own card.

This is the contract between `learn`, which writes bundles, and `triage`, which runs them.

Graph inputs (batch axis dynamic):
    body        uint8 [B, C, S, S]
    <window>    uint8 [B, 2, N]      bytes and presence, one input per window
    target      int64 [B]            label to explain; -1: chosen in the graph, see below
    against     int64 [B]            label to explain it against; -1: the mean of all labels
    threshold   float32 [B]          with target -1: if the margin reaches it, the best label
                                     other than benign is explained against benign; otherwise
                                     (and always with +inf) the top label against the mean

Graph outputs:
    logits      float32 [B, K]       centred: they sum to zero over the labels, or over those of
                                     malware if the card says `two_questions`
    heat_<view> float32 [B, h, w]    signed HiResCAM of the explained score, minus the view's
                                     heat on an empty input (windows: h = 1)
    gradcam_<view>  float32 [B, h, w]  signed Grad-CAM, likewise; only if it differs
    baseline    float32 [B]          the explained score of an empty input
    explained   int64 [B, 2]         the target and against used
    embedding   float32 [B, D]

The explained score is `logits[target]`, or `logits[target] - logits[against]`. With `two_questions`
the score of any family against benign is the log odds of malware instead, logsumexp(logits of all
but benign) - logit(benign), and that of benign is the same with the other sign. In an `additive`
bundle it is exactly the sum of all heat plus `baseline`. In any other, heat is the gradient at
the input times the activation: it shows where the score is made and how strongly, but heat and
`baseline` do not sum to the score, and no output has the remainder. On an empty input all heat
is zero, in every bundle.
"""

from maltriage.bundle.card import (
    MAX_LABELS,
    Card,
    Conformal,
    OpenSet,
    OperatingPoint,
    Quantization,
    Threshold,
    Training,
)
from maltriage.bundle.file import (
    DEFAULT_MODEL,
    MAX_BUNDLE_BYTES,
    Bundle,
    at_rate,
    how_to_add,
    installed,
    load,
    missing,
    models_dir,
    packed,
    resolve,
    save,
    shipped,
    verified,
    with_card,
)
from maltriage.bundle.graph import weights_sha256
from maltriage.bundle.published import data_standing, index_standing, ships, standing_of
from maltriage.sample.types import BENIGN, OTHER

__all__ = [
    "BENIGN",
    "DEFAULT_MODEL",
    "MAX_BUNDLE_BYTES",
    "MAX_LABELS",
    "OTHER",
    "Bundle",
    "Card",
    "Conformal",
    "OpenSet",
    "OperatingPoint",
    "Quantization",
    "Threshold",
    "Training",
    "at_rate",
    "data_standing",
    "how_to_add",
    "index_standing",
    "installed",
    "load",
    "missing",
    "models_dir",
    "packed",
    "resolve",
    "save",
    "shipped",
    "ships",
    "standing_of",
    "verified",
    "weights_sha256",
    "with_card",
]
