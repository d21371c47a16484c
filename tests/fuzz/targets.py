"""What is fuzzed: functions of bytes that fail only where this package is wrong.

Each takes any bytes, lets through the errors that the function under test is documented to raise,
and asserts what must hold of its answer. `Target.seeds` are inputs to begin from, `words` a
dictionary. `run.py` drives them with atheris, `test_targets.py` with a few mutations.
"""

from __future__ import annotations

from fuzz import archives, inputs, samples, text

TARGETS = {**samples.TARGETS, **archives.TARGETS, **inputs.TARGETS, **text.TARGETS}
SHARES = {
    "layout": 5,
    "byteplot": 1,
    "dump": 10,
    "contents": 9,
    "prepare": 1,
    "inspect": 1,
    "assembly": 2,
    "rule": 0.4,
    "mask": 0.4,
    "transform": 0.6,
    "archive": 2,
    "zip": 2,
    "seven": 2.5,
    "nsis": 2.0,
    "upx": 0.5,
    "nrv": 6,
    "tar": 1,
    "stream": 2,
    "card": 9,
    "bundle": 4,
    "index": 2,
    "report": 10,
    "render": 1,
    "known": 2,
    "message": 12,
    "predictions": 6,
    "listing": 2,
    "text": 4,
    "urls": 6,
    "yara": 0.5,
}
"""Parts of a run's executions. A quick target has more of them, a slow one more of the time."""
