"""Recognises a saved report by its beginning, without reading more of it."""

from __future__ import annotations

import codecs
import re

from maltriage.errors import MaltriageError
from maltriage.files.regular import open_regular
from maltriage.report.scan.shape import written_with

HEAD_BYTES = 4096
"""First bytes of a file, by which a saved report is recognised."""
BEGIN = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*\{\s*"
    rb'(?:(?P<document>"records"\s*:\s*\[)|"type"\s*:\s*"(?:result|skipped|error|summary)")'
)
"""How a report begins; `document` if it is a single one."""


def is_report(path: str) -> bool:
    """Whether a file begins like a saved report. Only its head is read."""
    head = _head(path)
    if written_with(head, len(head) == HEAD_BYTES):
        return False
    return BEGIN.match(head) is not None or is_utf16(head)


def _head(path: str) -> bytes:
    """The first bytes of a regular file; empty for anything else."""
    try:
        with open_regular(path) as file:
            return file.read(HEAD_BYTES)
    except (MaltriageError, OSError):
        return b""


def refuse_other(path: str) -> None:
    """Raise MaltriageError if a file is output of `--fields` or `--ecs`, which is no report."""
    head = _head(path)
    option = written_with(head, len(head) == HEAD_BYTES)
    if option is not None:
        raise MaltriageError(
            f"{path}: not a saved report, since it was written with {option}; scan again without"
            " that option"
        )


def is_utf16(head: bytes) -> bool:
    """Whether a file is a report in UTF-16."""
    if not head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return False
    return BEGIN.match(head.decode("utf-16", "ignore").encode("utf-8", "ignore")) is not None
