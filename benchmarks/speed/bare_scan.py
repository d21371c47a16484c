"""`maltriage scan` without evidence, for speed/scan.py: what the evidence costs is the rest.

    python -m benchmarks.speed.bare_scan scan ...

Takes the arguments of `maltriage`. The graph is cut at the logits, so that no map is worked out,
and records have no account of the score. There is no such option: a verdict comes with evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from maltriage.cli.entry import main
from maltriage.report.documents.evidence import Evidence
from maltriage.triage import methods, session
from maltriage.triage.session import CHOOSE, Outputs


class _Whatever:
    """A label that is the one which was asked for, whichever that was."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


def logits_alone(
    self: session.Session,
    samples: Sequence[dict[str, Any]],
    target: int = CHOOSE,
    against: int = CHOOSE,
    kinds: object = None,
) -> Outputs:
    views = self.card.views
    images = {view.name: np.stack([s[view.name].pixels for s in samples]) for view in views}
    count = len(samples)
    nothing = np.zeros((count, 0), dtype=np.float32)
    return Outputs(
        logits=self.logits(images),
        heat={},
        baseline=nothing,
        explained=np.full((count, 2), _Whatever(), dtype=object),
        embedding=nothing,
    )


def no_evidence(*_: object) -> tuple[Evidence, list[Any]]:
    return Evidence("none", "", None, False, 0.0, 0.0, 0.0, [], 0.0, [], []), []


if __name__ == "__main__":
    session.Session.run = logits_alone  # type: ignore[method-assign]
    methods.Explainer.evidence = no_evidence  # type: ignore[assignment,method-assign]
    main()
