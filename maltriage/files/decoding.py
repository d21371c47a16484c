"""Decodes JSON that somebody else may have written: nothing but one kind of error comes of it."""

from __future__ import annotations

from typing import TypeVar

import msgspec

_T = TypeVar("_T")


class TooDeepError(msgspec.DecodeError):
    """Arrays or objects inside each other beyond what Python's stack holds."""


def decoded(data: bytes | str, decoder: msgspec.json.Decoder[_T]) -> _T:
    """The value of JSON.

    Raises:
        msgspec.MsgspecError: it is no JSON, of another form, not UTF-8, or nested too deeply
            (`TooDeepError`).
    """
    try:
        return decoder.decode(data)
    except RecursionError as error:
        raise TooDeepError("nested too deeply") from error
    except UnicodeError as error:
        raise msgspec.DecodeError(f"not UTF-8: {error}") from error
