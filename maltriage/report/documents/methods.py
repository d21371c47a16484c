"""The registry of methods of explanation, one object per method.

A new method is a file with its function and a line in `METHODS`. Options, headings, units and
refusals read the registry. It lies here because records name methods and screens name their units.
The functions are imported only when they are needed.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Method:
    """A method of explanation. The defaults hold for unknown methods."""

    name: str
    explain: str = ""
    """module:function. A function of `triage` takes an `Explainer`, an `Asked` and this object, and
    returns evidence and its parts. One of `learn` (`checkpoint`) takes a net and returns a
    `Mapper`: see `maltriage.triage.methods`."""
    title: str = "{name} of {score}"
    """Title of its numbers if they do not sum to the score."""
    unit: str = "a unit of the method"
    """Unit of its heat."""
    remark: str = "The method is not additive: its heat is in a unit of its own."
    """Remark below numbers that do not sum to the score."""
    additive: bool = False
    """Whether the heat sums to the score if the model is additive."""
    checkpoint: bool = False
    """Whether it needs the net itself: a checkpoint and PyTorch."""
    maps: bool = True
    """Whether it gives a map of each view, which can be drawn over the byteplot."""

    def load(self) -> Any:
        """The function that `explain` names."""
        module, _, attribute = self.explain.partition(":")
        return getattr(importlib.import_module(module), attribute)


def _of_graph(name: str) -> Method:
    """A method whose maps come from the forward pass of the logits."""
    return Method(
        name,
        "maltriage.triage.methods:by_graph",
        title="gradient of {score}, times activation",
        unit="points of log odds",
        remark="This net is not additive: the heat does not add up to the log odds.",
        additive=True,
    )


_OCCLUSION = "Effects of masking are not additive: they do not add up to the log odds."
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
"""Methods by name, in the order of help and messages. The first is the default."""
DEFAULT = next(iter(METHODS))
ADDITIVE = tuple(name for name, method in METHODS.items() if method.additive)
"""Methods of the graph, whose maps come from the forward pass of the logits."""
FROM_BUNDLE = tuple(name for name, method in METHODS.items() if not method.checkpoint)
FROM_CHECKPOINT = tuple(name for name, method in METHODS.items() if method.checkpoint)


def known(name: str) -> Method:
    """The method of a name; the defaults for an unknown one, as in a newer record."""
    return METHODS.get(name, Method(name))
