"""Prepares a file as it is and after changes to it, as a scan does."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from maltriage.probe.prepare import Prepared, PrepareOptions, prepare_contents
from maltriage.probe.transform import TRANSFORMS
from maltriage.probe.transform.donors import Draw
from maltriage.probe.transform.program import NotApplicableError, Program
from maltriage.sample.errors import SampleError
from maltriage.source.decode import Contents
from maltriage.source.samples import read_again, read_sample


@dataclass(frozen=True)
class Transformed:
    """A sample, and by name of transformation the changed sample or the reason for none."""

    plain: Prepared
    changed: dict[str, Prepared | str]


def transformed(
    path: str, names: Sequence[str], donors: Sequence[str], options: PrepareOptions, seed: int
) -> Transformed:
    """Read a file once, change it in memory, and prepare the results.

    A PNG's pixels are changed as if they were the file. Unchanged bytes are prepared too: the
    transformation applied and had nothing to change.

    Args:
        path: of the file.
        names: of transformations, among `TRANSFORMS`.
        donors: paths of benign files; the file itself is never used.
        options: with which it is prepared.
        seed: of all random choices, with the file's SHA-256 and the transformation's name.

    Raises:
        SampleError: the file gives no sample; see `read_sample`.
    """
    contents = read_sample(path, options)
    plain = prepare_contents(path, contents, options)
    others = [donor for donor in donors if donor != path]
    digest = hashlib.sha256(contents.complete).hexdigest()
    found: dict[str, Prepared | str] = {}
    for name in names:
        draw = Draw(seed, digest, name, others)
        try:
            if contents.format not in ("pe", "png"):
                raise NotApplicableError("no PE headers")
            data = TRANSFORMS[name].apply(Program(contents.data), draw)
        except NotApplicableError as error:
            found[name] = str(error)
        else:
            found[name] = prepare_contents(path, Contents(data, contents.format), options)
    return Transformed(plain, found)


def appended(
    path: str, sha256: str, more: Sequence[bytes], options: PrepareOptions
) -> list[Prepared]:
    """A file with each of several runs of bytes appended.

    Args:
        path: of the file.
        sha256: of its bytes when it was prepared.
        more: bytes to append, which came from no sample.
        options: with which it was prepared.

    Raises:
        SampleError: it gives no sample any more, or has other bytes; or nothing can be appended to
            it (code `not-applicable`).
    """
    contents = read_again(path, options, sha256)
    try:
        Program(contents.data).body_end()
    except NotApplicableError as error:
        raise SampleError("not-applicable", str(error)) from error
    data = contents.data[:]  # of a mapped file a copy, which can be added to
    return [
        prepare_contents(path, Contents(data + part, contents.format), options) for part in more
    ]
