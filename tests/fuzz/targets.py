"""What is fuzzed: functions of bytes that fail only where this package is wrong.

Each takes any bytes, lets through the errors that the function under test is documented to raise,
and asserts what must hold of its answer. `Target.seeds` are inputs to begin from, `words` a
dictionary. `run.py` drives them with atheris, `test_targets.py` with a few mutations.
"""

from __future__ import annotations

from fuzz import archives, inputs, samples, text

TARGETS = {**samples.TARGETS, **archives.TARGETS, **inputs.TARGETS, **text.TARGETS}
SHARES = {
    "layout": 4,
    "byteplot": 2,
    "dump": 8,
    "contents": 8,
    "prepare": 0.6,
    "inspect": 0.5,
    "assembly": 4,
    "rule": 0.5,
    "mask": 0.3,
    "transform": 0.5,
    "archive": 2,
    "zip": 2,
    "seven": 2,
    "tar": 1,
    "stream": 2,
    "card": 8,
    "bundle": 2,
    "index": 2,
    "report": 8,
    "render": 0.3,
    "known": 2,
    "message": 15,
    "predictions": 5,
    "listing": 3,
    "text": 8,
    "urls": 5,
    "yara": 1,
}
"""Parts of a run's executions. A quick target has more of them, a slow one more of the time."""
