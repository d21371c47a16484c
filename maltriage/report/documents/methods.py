"""Methods of explanation: one object a method, and one registry.

A new method is a file with its function and a line in `METHODS`. The choices of options, headings,
units and refusals read the registry. It lies here because records name methods and screens say
what their numbers are; the functions are imported where one is asked for, and importing this costs
nothing.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Method:
    """A method of explanation. The defaults are what can be said of one that is not known."""

    name: str
    explain: str = ""
    """module:function. Of `triage`, it takes an `Explainer`, what was `Asked` and this object, and
    gives evidence and its parts. Of `learn` (`checkpoint`), it takes a net and gives a `Mapper`:
    see `maltriage.triage.methods`."""
    title: str = "{name} of {score}"
    """What its numbers are, where they do not sum to the score."""
    unit: str = "a unit of the method"
    """Of its heat."""
    remark: str = "The method is not additive: the heat says where, in a unit of its own."
    """What is said below the sum of numbers that do not sum to the score."""
    additive: bool = False
    """Whether the heat sums to the score where the model is additive."""
    checkpoint: bool = False
    """Whether it asks the net itself, and so needs a checkpoint and PyTorch."""
    maps: bool = True
    """Whether it gives a map of each view, to be drawn over the byteplot."""

    def load(self) -> Any:
        """The function that `explain` names."""
        module, _, attribute = self.explain.partition(":")
        return getattr(importlib.import_module(module), attribute)


def _of_graph(name: str) -> Method:
    """A method whose maps come from the pass that gives the logits."""
    return Method(
        name,
        "maltriage.triage.methods:by_graph",
        title="gradient of {score}, times activation",
        unit="logit units",
        remark="This net is not additive: the heat says where, it does not sum to the logit.",
        additive=True,
    )


_OCCLUSION = "Effects of masking are not additive: they do not sum to the logit."
_CAMS = "maltriage.learn.heat.cams:"

METHODS = {
    method.name: method
    for method in (
        _of_graph("hirescam"),
        _of_graph("gradcam"),
        Method("occlusion", "maltriage.triage.occlusion:explain", remark=_OCCLUSION, maps=False),
        Method("gradcam++", _CAMS + "gradcam_plus_plus", checkpoint=True),
        Method("layercam", _CAMS + "layercam", checkpoint=True),
        Method("eigencam", _CAMS + "eigencam", checkpoint=True),
        Method("scorecam", _CAMS + "scorecam", checkpoint=True),
    )
}
"""By name, in the order that help and messages have them. The first is the one by default."""
DEFAULT = next(iter(METHODS))
ADDITIVE = tuple(name for name, method in METHODS.items() if method.additive)
"""Methods of the graph, which give their maps in the pass that gives the logits."""
FROM_BUNDLE = tuple(name for name, method in METHODS.items() if not method.checkpoint)
FROM_CHECKPOINT = tuple(name for name, method in METHODS.items() if method.checkpoint)


def known(name: str) -> Method:
    """What is known of a method; of a strange one, say of a record of another version, little."""
    return METHODS.get(name, Method(name))
