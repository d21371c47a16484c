"""The error of a file that gives no sample."""

from __future__ import annotations


class SampleError(Exception):
    """This file gives no sample: an error if `failed`, else a skip."""

    def __init__(self, code: str, reason: str, *, failed: bool = False) -> None:
        super().__init__(code, reason, failed)
        self.code, self.reason, self.failed = code, reason, failed

    def __reduce__(self) -> tuple[object, ...]:
        return _sample_error, (self.code, self.reason, self.failed)


def _sample_error(code: str, reason: str, failed: bool) -> SampleError:
    """One as a worker sent it; raises what wrong values raise."""
    if (type(code), type(reason), type(failed)) != (str, str, bool):
        raise TypeError("no error of a sample")
    return SampleError(code, reason, failed=failed)
