"""The digest of the plotting code in the cache key of a corpus.

The modules are listed one by one. A forgotten version number would train a net on pixels that
`scan` no longer makes. A digest of whole folders would prepare every corpus again after a
change to code that no pixel depends on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

PLOTTING = (
    "maltriage.sample.bounds",
    "maltriage.sample.byteplot",
    "maltriage.sample.cell_sums",
    "maltriage.sample.views.counted",
    "maltriage.source.decode",
    "maltriage.sample.geometry",
    "maltriage.sample.hexdump",
    "maltriage.sample.layout",
    "maltriage.sample.made_with",
    "maltriage.sample.mapped",
    "maltriage.sample.native",
    "maltriage.sample.notices",
    "maltriage.sample.pe",
    "maltriage.sample.views.scattered",
    "maltriage.probe.prepare",
    "maltriage.sample.views.view_kind",
    "maltriage.sample.views",
    "maltriage.sample.views.words",
    "maltriage.corpus.rows",
    "maltriage.corpus.twins",
)
"""Modules that the arrays of a corpus depend on, from a file's bytes to the stored row. The row
has the marks of a file (packed, installer), too."""

TRANSFORMING = (
    "maltriage.probe.transform",
    "maltriage.probe.transform.append",
    "maltriage.probe.transform.donors",
    "maltriage.probe.transform.headers",
    "maltriage.probe.transform.program",
    "maltriage.probe.transform.rebuild",
    "maltriage.probe.transform.sections",
    "maltriage.probe.transform.worker",
)
"""Modules that the arrays of changed copies depend on, besides `PLOTTING`."""


def fingerprint(modules: Iterable[str] = PLOTTING) -> bytes:
    """SHA-256 of the names and sources of modules, in the order given.

    Raises:
        ModuleNotFoundError: a module has moved and the list was not updated.
    """
    digest = hashlib.sha256()
    for name in modules:
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(name, name=name)
        digest.update(name.encode() + b"\0")
        digest.update(hashlib.sha256(Path(spec.origin).read_bytes()).digest())
    return digest.digest()
