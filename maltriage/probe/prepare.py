"""Prepares a file for a bundle and a report. Runs in worker processes."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from maltriage.sample.byteplot import Short, View, made_view, make_views
from maltriage.sample.code_digest import code_digest
from maltriage.sample.errors import SampleError
from maltriage.sample.identity import identify
from maltriage.sample.layout import dump_layout, make_layout
from maltriage.sample.made_with import Carried, carried, in_order, made_with
from maltriage.sample.notices import observe
from maltriage.sample.pe import Headers, read_headers
from maltriage.sample.signature import is_as_signed
from maltriage.sample.types import (
    KNOWN_GOOD,
    MAX_VIEWS,
    Format,
    Identity,
    Layout,
    Notice,
    Region,
    Tool,
)
from maltriage.sample.views import ViewSpec
from maltriage.source.decode import Contents
from maltriage.source.known import KnownList, find_known
from maltriage.source.reading import Reading
from maltriage.source.samples import read_sample


@dataclass(frozen=True)
class PrepareOptions(Reading):
    """`views` as the card lists them; `hashes`: also md5, sha1 and TLSH; `identify`: also what
    Detect It Easy says that the file was made with.

    `known`: lists of known good files, which give no sample, or with `analyse_known` a notice.
    `bare`: why no table behind the headers may be read; None: all may.
    """

    views: tuple[ViewSpec, ...]
    hashes: bool = False
    identify: bool = False
    known: tuple[KnownList, ...] = ()
    analyse_known: bool = False
    bare: str | None = None


@dataclass(frozen=True)
class Prepared:
    """A sample without its bytes: small enough to send between processes."""

    path: str
    format: Format
    identity: Identity
    layout: Layout
    notices: list[Notice]
    views: dict[str, View]
    milliseconds: float
    file: str | None = None
    """SHA-256 of the file in hex; for a PNG it differs from that of its pixels."""
    in_part: int | None = None
    """Bytes that were read; None: all of them."""

    def __reduce__(self) -> tuple[Any, ...]:
        # All but a path, which may be no UTF-8, as one string: a pickle's opcodes are read slowly.
        views = {name: view.short for name, view in self.views.items()}
        file = None if self.file == self.identity.sha256 else self.file
        report = (self.format, self.identity, self.layout, self.notices)
        return made_prepared, (
            self.path,
            msgspec.msgpack.encode((*report, views, self.milliseconds, file, self.in_part)),
        )

    @property
    def read(self) -> int:
        """Number of bytes, from the file's start, that were read."""
        return self.identity.size if self.in_part is None else self.in_part


MAX_REGIONS = 10_000
"""Of a sample: no layout has as many."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PACKED = msgspec.msgpack.Decoder(
    tuple[
        Format,
        Identity,
        Layout,
        list[Notice],
        Annotated[dict[str, Short], msgspec.Meta(max_length=MAX_VIEWS)],
        float,
        str | None,
        Annotated[int, msgspec.Meta(gt=0)] | None,
    ]
)


def made_prepared(path: str, packed: bytes) -> Prepared:
    """A sample as a worker sent it.

    Raises:
        Exception: values of other types, or regions that are none of the file.
    """
    report = _PACKED.decode(packed)
    format, identity, layout, notices, short, milliseconds, file, in_part = report
    file = identity.sha256 if file is None else file
    if not (
        isinstance(path, str)
        and all(_DIGEST.fullmatch(digest) for digest in (identity.sha256, file))
        and identity.size > 0
        and (in_part is None or in_part <= identity.size)
        and len(layout.regions) <= MAX_REGIONS
        and all(0 <= part.start <= part.end <= identity.size for part in layout.regions)
    ):
        raise ValueError("no sample")
    views = {name: made_view(*view) for name, view in short.items()}
    return Prepared(path, format, identity, layout, notices, views, milliseconds, file, in_part)


@dataclass(frozen=True)
class Same:
    """A file only read and hashed, since a record of its content is kept.

    `file` is the SHA-256 of the file in hex, `record` the kept record, `row` its row if its time of
    use is old, else 0.
    """

    path: str
    file: str
    record: bytes
    row: int


@dataclass(frozen=True)
class Again:
    """A file of an archive with the content of an earlier one, `of`, a path in that archive."""

    path: str
    of: str
    milliseconds: float


def digest_of(contents: Contents) -> str:
    """SHA-256 in hex of the file; for a PNG it differs from that of its pixels."""
    return contents.file or hashlib.sha256(contents.complete).hexdigest()


def _in_part(
    contents: Contents, layout: Layout, notices: list[Notice]
) -> tuple[Layout, list[Notice]]:
    """Layout and notices of a program that was read in part, with the rest of it as a region."""
    if contents.whole is None:
        return layout, notices
    end, size = len(contents.data), len(contents.whole)
    rest = Region("(not read)", "gap", end, size)
    text = (
        f"Only its first {end:,} bytes of {size:,} were read (--max-size lifts the limit);"
        " all of it was hashed."
    )
    known = [notice for notice in notices if notice.code != "truncated"]  # of what was read
    regions = [*layout.regions, rest]
    return msgspec.structs.replace(layout, regions=regions), [Notice("in-part", text), *known]


def _tools(
    data: bytes, headers: Headers, inside: Carried | None, options: PrepareOptions
) -> list[Tool]:
    """What a program was made with. Where a file took its worker along, its headers alone say."""
    by_headers = made_with(data, headers, inside)
    if not options.identify or options.bare is not None:
        return by_headers
    from maltriage.probe.detect_it_easy import detected

    return in_order([*detected(data), *by_headers])


def prepare_contents(
    path: str,
    contents: Contents,
    options: PrepareOptions,
    start: float | None = None,
    digest: str | None = None,
) -> Prepared:
    """Hash, parse and plot the contents of one file, or contents made in memory.

    Args:
        path: of the sample, for its record.
        start: time when reading it began, by `time.perf_counter`; None: now.
        digest: the result of `digest_of`, if known already.

    Raises:
        SampleError: it is known good (a skip).
    """
    start = time.perf_counter() if start is None else start
    digests = {} if digest is None or contents.file else {"sha256": digest}
    match = find_known(contents.complete, options.known, digests) if options.known else None
    if match and not options.analyse_known:
        raise SampleError(KNOWN_GOOD, f"known good: {match}")
    # A dump has no headers; bytes that look like some are not the program's own.
    headers = None if contents.dump else read_headers(contents.data, bare=options.bare is not None)
    tools, inside, as_signed = list[Tool](), None, None
    if contents.dump:
        layout, notices = dump_layout(contents.dump)
    else:
        layout, notices = make_layout(contents.data, headers)
        if headers is not None:
            inside = carried(contents.data, layout)
            tools = _tools(contents.data, headers, inside, options)
            if contents.file is None:
                as_signed = is_as_signed(contents.complete, headers)
        notices += observe(contents.data, headers, layout, tools, inside, as_signed)
        layout, notices = _in_part(contents, layout, notices)
    if contents.format == "picture":
        notices = [Notice("picture", "Its pixels are no program's bytes: offsets count pixels.")]
    if options.bare is not None:
        text = (
            f"Its tables could not be read ({options.bare}): names, imports and signer are missing."
        )
        notices = [*notices, Notice("headers-only", text)]
    if match:
        notices = [*notices, Notice(KNOWN_GOOD, f"Known good: {match}.")]
    identity = identify(
        contents.complete, headers, hashes=options.hashes, digests=digests, as_signed=as_signed
    )
    if contents.format != "picture":
        code = code_digest(contents.data, headers)
        identity = msgspec.structs.replace(identity, made_with=tools, code_digest=code)
    return Prepared(
        path=path,
        format=contents.format,
        identity=identity,
        layout=layout,
        notices=notices,
        views=make_views(contents.data, layout.anchors, options.views, contents.width),
        milliseconds=(time.perf_counter() - start) * 1e3,
        file=contents.file or identity.sha256,
        in_part=None if contents.whole is None else len(contents.data),
    )


Finish = Callable[[str, Contents, PrepareOptions, float], Prepared | Same]
"""Turns a file's contents into the worker's answer: `prepare_contents`, or less if the file is
known."""


def prepare(path: str, options: PrepareOptions) -> Prepared:
    """Read, hash, parse and plot one file.

    Raises:
        SampleError: it gives no sample; see `read_sample`. It is known good (a skip).
    """
    start = time.perf_counter()
    contents = read_sample(path, options)
    return prepare_contents(path, contents, options, start)


def prepare_file(path: str, options: PrepareOptions, finish: Finish) -> Prepared | Same:
    """As `prepare`, but `finish` may do less.

    Raises:
        SampleError: it gives no sample; see `read_sample`. It is known good (a skip).
    """
    start = time.perf_counter()
    contents = read_sample(path, options)
    return finish(path, contents, options, start)
