"""What is fuzzed: functions of bytes that fail only where this package is wrong.

Each takes any bytes, lets through the errors that the function under test is documented to raise,
and asserts what must hold of its answer. `Target.seeds` are inputs to begin from, `words` a
dictionary. `run.py` drives them with atheris, `test_targets.py` with a few mutations.
"""

from __future__ import annotations

from fuzz import archives, inputs, samples, text

TARGETS = {**samples.TARGETS, **archives.TARGETS, **inputs.TARGETS, **text.TARGETS}
SHARES = {
    "layout": 3,
    "byteplot": 1,
    "dump": 12,
    "contents": 10,
    "prepare": 0.3,
    "inspect": 0.3,
    "assembly": 1,
    "rule": 0.2,
    "mask": 0.2,
    "transform": 0.3,
    "archive": 2,
    "zip": 2,
    "seven": 2,
    "tar": 0.6,
    "stream": 2,
    "card": 15,
    "bundle": 1.5,
    "index": 1,
    "report": 13,
    "render": 0.2,
    "known": 1,
    "message": 14,
    "predictions": 6,
    "listing": 1,
    "text": 4,
    "urls": 6,
    "yara": 0.5,
}
"""Parts of a run's executions. A quick target has more of them, a slow one more of the time."""
