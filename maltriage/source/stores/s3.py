"""Buckets of S3 and compatible stores, through s3fs.

Keys are taken literally: `s3://bucket/` and then the key, whatever is in it. s3fs's own paths
interpret versions and trailing slashes, and its files make an extra request each, so calls use
its `call_s3`, which has its settings, credentials and retries.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, TypeVar, cast

from maltriage.sample.errors import SampleError
from maltriage.source.stores.base import HEAD, PIECE, Entry, Ranged, failure, stamp

T = TypeVar("T")
CHANGED = "it changed while it was read"


def store(host: str) -> S3:
    """One for all buckets."""
    return S3()


class S3:
    """All buckets at the endpoint that the environment names."""

    parallel = True

    def __init__(self) -> None:
        import fsspec

        self._fs: Any = fsspec.get_filesystem_class("s3")(use_listings_cache=False)

    def status(self, url: str, whole: str) -> Entry | None:
        bucket, key = self._split(url)
        denied: SampleError | None = None
        if key and not key.endswith("/"):
            try:
                head = self._call("head_object", Bucket=bucket, Key=key)
                return _entry(url, _stated(head, "ContentLength", int), head)
            except SampleError as error:
                if error.code == "io":
                    raise
                denied = error
        prefix = f"{key.rstrip('/')}/" if key.strip("/") else key
        try:
            page = self._call("list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=1)
        except SampleError as error:
            raise denied or error from error
        if page.get("Contents") or not prefix:
            return None
        if denied is not None and denied.code != "not-found":
            raise denied
        raise SampleError("not-found", "no such key, nor one below it", failed=True)

    def is_file(self, url: str) -> bool:
        bucket, key = self._split(url)
        try:
            self._call("head_object", Bucket=bucket, Key=key)
        except SampleError as error:
            if error.code == "io":
                raise
            return False
        return True

    def pages(
        self, url: str, depth: int | None, skip: Callable[[str], bool]
    ) -> Iterator[list[Entry | SampleError]]:
        bucket, key = self._split(url)
        prefix = f"{key.rstrip('/')}/" if key.strip("/") else key
        root = url[: len(url) - len(key)] if key else f"{url.rstrip('/')}/"
        yield from self._below(bucket, prefix, root, depth, skip)

    def _below(
        self, bucket: str, prefix: str, root: str, depth: int | None, skip: Callable[[str], bool]
    ) -> Iterator[list[Entry | SampleError]]:
        """The files below a prefix in the order of their keys, page by page.

        Without a limit of levels one listing has all of it, and folders need not be known.
        """
        more: dict[str, str] = {"Delimiter": "/"} if depth is not None else {}
        while True:
            try:
                page = self._call("list_objects_v2", Bucket=bucket, Prefix=prefix, **more)
                found: list[tuple[str, Any, int | None]] = [
                    (_stated(item, "Key", str), item, _stated(item, "Size", int))
                    for item in page.get("Contents", ())
                ]
                if depth:
                    folders = page.get("CommonPrefixes", ())
                    found += [(_stated(item, "Prefix", str), item, None) for item in folders]
                    found.sort(key=lambda item: item[0].encode("utf-8", "surrogatepass"))
                if page.get("IsTruncated"):
                    more["ContinuationToken"] = _stated(page, "NextContinuationToken", str)
            except SampleError as error:
                yield [error]
                return
            files: list[Entry | SampleError] = []
            for name, item, size in found:
                if size is None:
                    assert depth is not None
                    if not skip(f"{root}{name[:-1]}"):
                        yield files
                        files = []
                        yield from self._below(bucket, name, root, depth - 1, skip)
                elif name.endswith("/") and not size:
                    continue  # an entry for a folder
                elif depth is not None or not _left_out(name, len(prefix), root, skip):
                    files.append(_entry(f"{root}{name}", size, item))
            yield files
            if not page.get("IsTruncated"):
                return

    def open(self, url: str, limit: int) -> tuple[BinaryIO, int]:
        bucket, key = self._split(url)
        first = io.BytesIO()
        try:
            tag, size = self._get(bucket, key, 0, HEAD, first)
        except SampleError as error:
            if error.code != "empty":
                raise
            tag, size = None, 0

        def fetch(start: int, end: int, out: io.BytesIO) -> None:
            self._get(bucket, key, start, end, out, tag)

        return cast(BinaryIO, Ranged(size, first.getvalue(), fetch)), size

    def _split(self, url: str) -> tuple[str, str]:
        """Bucket and key; a bucket may be the ARN of an access point, with slashes in it."""
        path = url[url.index("://") + 3 :]
        bucket: str = self._fs.split_path(f"{path}/x")[0]
        return bucket, path[len(bucket) + 1 :]

    def _call(self, method: str, **arguments: Any) -> Any:
        try:
            return self._fs.call_s3(method, **arguments)
        except Exception as error:  # of botocore, aiohttp and s3fs
            raise failure(error) from error

    def _get(
        self,
        bucket: str,
        key: str,
        start: int,
        end: int,
        out: io.BytesIO,
        tag: str | None = None,
    ) -> tuple[str | None, int]:
        """Write bytes [start, end) of an object, or up to its end; return its ETag and size.

        Raises:
            SampleError: it is `empty`, or its ETag is not `tag`.
        """
        from fsspec.asyn import sync
        from s3fs.core import S3_RETRYABLE_ERRORS

        same = {} if tag is None else {"IfMatch": tag}
        begin = out.tell()
        for attempt in range(self._fs.retries):
            try:
                answer = self._fs.call_s3(
                    "get_object", Bucket=bucket, Key=key, Range=f"bytes={start}-{end - 1}", **same
                )
                size = _whole_size(answer, start)
                wanted = min(end, size) - start
                out.seek(begin)
                out.truncate()
                sync(self._fs.loop, _body, answer["Body"], wanted, out)
            except S3_RETRYABLE_ERRORS as error:
                if attempt + 1 == self._fs.retries:
                    raise failure(error) from error
                continue
            except SampleError:
                raise
            except Exception as error:  # of botocore, aiohttp and s3fs
                code = _code(error)
                if code == "InvalidRange" and not start:
                    raise SampleError("empty", "an empty file") from error
                if code in ("PreconditionFailed", "InvalidRange"):
                    raise SampleError("io", CHANGED, failed=True) from error
                raise failure(error) from error
            if out.tell() - begin == wanted:
                return answer.get("ETag"), size
        raise SampleError("io", "the connection ended early", failed=True)


def _stated(said: Any, name: str, kind: type[T]) -> T:
    """A value of an answer that a server may leave out, or have twice, which gives a list.

    Raises:
        SampleError: it did.
    """
    value = said.get(name)
    if not isinstance(value, kind):
        raise SampleError("io", f"a store whose answer has no {name}", failed=True)
    return value


def _left_out(key: str, start: int, root: str, skip: Callable[[str], bool]) -> bool:
    """Whether a folder of a key, from its character `start` on, is skipped."""
    at = key.find("/", start)
    while at >= 0:
        if skip(f"{root}{key[:at]}"):
            return True
        at = key.find("/", at + 1)
    return False


async def _body(body: Any, wanted: int, out: io.BytesIO) -> None:
    """Write at most `wanted` bytes of an answer, even if more come."""
    end = out.tell() + wanted
    try:
        while out.tell() < end and (piece := await body.read(min(PIECE, end - out.tell()))):
            out.write(piece)
    finally:
        body.close()


def _whole_size(answer: Any, start: int) -> int:
    """The size of an object, from the answer with its range from `start` on."""
    total = str(answer.get("ContentRange", "")).rpartition("/")[2]
    if total.isdigit():
        return int(total)
    if start:  # it would be the file from its start
        raise SampleError("io", "a store that gives no ranges", failed=True)
    return int(answer["ContentLength"])


def _code(error: BaseException) -> str | None:
    """S3's code of an error."""
    for known in (error, error.__cause__):
        answer = getattr(known, "response", None)
        if isinstance(answer, dict):
            return str(answer.get("Error", {}).get("Code"))
    return None


def _entry(url: str, size: int, said: Any) -> Entry:
    return Entry(url, size, *stamp(said.get("LastModified"), said.get("ETag")))
