"""Files at http:// and https://, through the session of fsspec's HTTP file system.

A URL is a single file: links of a page are not followed. The answer is read as it comes, in one
stream and only as far as needed, since many servers give no ranges and none is reliable about
sizes. A compressed answer is not unpacked, so that it cannot bypass the limit.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast
from urllib.parse import quote

from maltriage.sample.errors import SampleError
from maltriage.source.stores.base import Entry, Streamed, failure, stamp

CONNECT_SECONDS, QUIET_SECONDS = 10.0, 30.0
"""Longest wait for a connection, and for the next bytes."""
HEAD_SECONDS = 10.0
"""Longest wait for the properties of a file; reading it does not need them."""
_AS_IT_IS = {"Accept-Encoding": "identity"}
_NO_ESCAPE = "%/:?#[]@!$&'()*+,;=-._~"


def store(host: str) -> Web:
    """One for all hosts."""
    return Web()


class Web:
    """All web servers. Credentials are those of a URL or of ~/.netrc, proxies the environment's.

    Args:
        same_scheme: refuse to be sent on from https:// to http://, or the other way.
    """

    parallel = True

    def __init__(self, *, same_scheme: bool = False) -> None:
        import aiohttp
        import fsspec
        from fsspec.config import conf

        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_SECONDS, sock_read=QUIET_SECONDS
        )
        chosen = {**conf.get("http", {}), **conf.get("https", {})}.get("client_kwargs", {})
        client = {"timeout": timeout, "trust_env": True, **chosen, "auto_decompress": False}
        if same_scheme:
            tracing = aiohttp.TraceConfig()
            tracing.on_request_redirect.append(_refuse_other_scheme)
            client["trace_configs"] = [*client.get("trace_configs", ()), tracing]
        self._fs: Any = fsspec.get_filesystem_class("http")(encoded=True, client_kwargs=client)

    def status(self, url: str, whole: str) -> Entry | None:
        """The properties from a HEAD request.

        Many servers answer it unlike a GET: only usable fields count.
        """
        from fsspec.asyn import sync

        try:
            status, headers = sync(self._fs.loop, self._head, whole, timeout=HEAD_SECONDS)
        except Exception:  # reading the file reports it
            return Entry(url, None)
        size = _length(headers)
        if status != 200 or size is None:
            return Entry(url, None)
        tag = headers.get("ETag", "")
        strong = None if tag.startswith("W/") else tag  # a weak one may stand for other bytes
        return Entry(url, size, *stamp(headers.get("Last-Modified"), strong))

    def is_file(self, url: str) -> bool:
        return True

    def pages(
        self, url: str, depth: int | None, skip: Callable[[str], bool]
    ) -> Iterator[list[Entry | SampleError]]:
        yield from ()

    def open(self, url: str, limit: int) -> tuple[BinaryIO, int]:
        from fsspec.asyn import sync

        loop = self._fs.loop
        try:
            answer = sync(loop, self._get, url)
        except Exception as error:  # of aiohttp
            raise failure(error) from error
        if answer.status != 200:
            answer.close()
            reason = f"{answer.status} {answer.reason or ''}".strip()
            raise failure(OSError(reason), answer.status)

        async def gather(size: int, out: io.BytesIO) -> None:
            end = out.tell() + size
            while out.tell() < end and (piece := await answer.content.read(end - out.tell())):
                out.write(piece)

        def more(size: int, out: io.BytesIO) -> None:
            try:
                sync(loop, gather, size, out)
            except Exception as error:  # of aiohttp
                raise failure(error) from error

        async def end() -> None:
            answer.close()

        file = Streamed(limit, more, _length(answer.headers), lambda: sync(loop, end))
        try:
            return cast(BinaryIO, file), file.whole_size()
        except BaseException:
            file.close()
            raise

    async def _head(self, url: str) -> tuple[int, Any]:
        session = await self._fs.set_session()
        async with session.head(
            self._address(url), allow_redirects=True, headers=_AS_IT_IS
        ) as said:
            return said.status, said.headers

    async def _get(self, url: str) -> Any:
        session = await self._fs.set_session()
        return await session.get(self._address(url), headers=_AS_IT_IS)

    def _address(self, url: str) -> Any:
        """The URL as written, since signatures cover it; only characters no URL has are escaped."""
        return self._fs.encode_url(quote(url, safe=_NO_ESCAPE))


async def _refuse_other_scheme(session: Any, context: Any, sent: Any) -> None:
    """Raises SampleError where an answer sends on to another scheme."""
    from urllib.parse import urlsplit

    headers = sent.response.headers
    scheme = urlsplit(headers.get("Location") or headers.get("URI") or "").scheme.lower()
    if scheme not in ("", sent.url.scheme):
        raise SampleError("io", f"it sends on to {scheme}://, which is refused", failed=True)


def _length(headers: Any) -> int | None:
    """Length of an answer by its headers; None where they lack it, or it is compressed."""
    text = headers.get("Content-Length", "")
    packed = headers.get("Content-Encoding", "identity") not in ("identity", "")
    return int(text) if text.isdecimal() and text.isascii() and not packed else None
