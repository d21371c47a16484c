"""Servers on loopback that tests read from: of the web, and buckets that misbehave.

`moto` is the real thing for buckets; `Bucket` answers what moto does not: pages of a few keys,
refusals, keys that moto takes for paths, objects that are not what they were.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest

HAS_REMOTE = all(find_spec(name) for name in ("aiohttp", "fsspec", "s3fs"))
needs_remote = pytest.mark.skipif(not HAS_REMOTE, reason="the extra `remote` is not installed")


def credentials(port: int) -> dict[str, str]:
    """Variables with which S3 is at that port of this machine."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "AKIATESTS",
        "AWS_SECRET_ACCESS_KEY": "hush-hush",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "NO_PROXY": "127.0.0.1",
    }


@contextmanager
def moto() -> Iterator[int]:
    """moto's server of S3, as a process; gives its port."""
    if not (find_spec("moto") and find_spec("flask_cors")):
        pytest.skip("moto's server is not installed")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(600):
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/moto-api/"):
                break
            assert server.poll() is None, "moto's server did not start"
            time.sleep(0.05)
        yield port
    finally:
        server.terminate()
        server.wait()


@dataclass
class Page:
    """What a server answers for a path. `length`: what it says of the length; None: nothing."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | str | None = "true"
    head_status: int | None = None
    """Of HEAD, where it is another one."""
    hold: float = 0.0
    """Seconds before anything but HEAD is answered."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self.server.requests.append((self.command, self.path, dict(self.headers)))
        page = self.server.answer(self)
        status = page.status
        if self.command == "GET":
            self.server.over.wait(page.hold)
        if self.command == "HEAD" and page.head_status is not None:
            status = page.head_status
        self.send_response(status)
        for name, value in page.headers.items():
            self.send_header(name, value)
        length = len(page.body) if page.length == "true" else page.length
        if length is None:
            self.send_header("Connection", "close")
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(length))
            self.close_connection = length != len(page.body)
        self.end_headers()
        if self.command == "GET":
            with suppress(OSError):
                self.wfile.write(page.body)

    do_HEAD = do_GET  # noqa: N815 - the name that http.server asks for

    def log_message(self, *arguments: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, answer: Callable[[_Handler], Page]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.over = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has seen enough goes away, which is no error here."""


@contextmanager
def _serving(answer: Callable[[_Handler], Page]) -> Iterator[_Server]:
    server = _Server(answer)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()


class Site:
    """A web server: `pages` by path with its query, and what it was asked for."""

    def __init__(self, server: _Server, pages: dict[str, Page]) -> None:
        self.pages, self.requests = pages, server.requests
        self.host = f"127.0.0.1:{server.server_address[1]}"
        self.url = f"http://{self.host}"

    def asked(self, method: str = "GET") -> list[str]:
        return [path for command, path, _ in self.requests if command == method]


@contextmanager
def site() -> Iterator[Site]:
    pages: dict[str, Page] = {}
    with _serving(lambda handler: pages.get(handler.path, Page(b"none", 404))) as server:
        yield Site(server, pages)


class Bucket:
    """A server of S3 with one bucket, `bkt`, listed in pages of `page` keys.

    `denied`: keys, and prefixes of listings, that are refused with 403; `sizes`: what a listing
    says of a key's size; `once`: objects that are another one after their first range; `omitted`:
    an element that listings lack; `doubled`: one that they have twice.
    """

    def __init__(self, server: _Server) -> None:
        self.requests = server.requests
        self.port: int = server.server_address[1]
        self.objects: dict[str, bytes] = {}
        self.denied: set[str] = set()
        self.sizes: dict[str, int] = {}
        self.once: dict[str, bytes] = {}
        self.omitted = self.doubled = ""
        self.page = 3

    def listings(self) -> int:
        return sum("list-type" in path for _, path, _ in self.requests)

    def answer(self, handler: _Handler) -> Page:
        parts = urlsplit(handler.path)
        bucket, _, key = parts.path[1:].partition("/")
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if bucket != "bkt":
            return _error(404, "NoSuchBucket")
        if "list-type" in asked:
            return self._listing(asked)
        return self._object(unquote(key), handler)

    def _listing(self, asked: Mapping[str, str]) -> Page:
        prefix, delimiter = asked.get("prefix", ""), asked.get("delimiter")
        if prefix in self.denied:
            return _error(403, "AccessDenied")
        found: dict[str, bool] = {}
        for key in sorted(self.objects, key=str.encode):
            if not key.startswith(prefix):
                continue
            at = key.find(delimiter, len(prefix)) if delimiter else -1
            found[key if at < 0 else key[: at + 1]] = at < 0
        names = list(found)
        start = int(asked.get("continuation-token", "0"))
        most = min(self.page, int(asked.get("max-keys", "1000")))
        more = len(names) > start + most
        lines = []
        for name in names[start : start + most]:
            shown = escape(quote(name))
            size = self.sizes.get(name, len(self.objects.get(name, b"")))
            tag = _tag(self.objects.get(name, b""))
            lines.append(
                f"<Contents><Key>{shown}</Key><Size>{size}</Size><ETag>{escape(tag)}</ETag>"
                "<LastModified>2025-01-02T03:04:05.000Z</LastModified></Contents>"
                if found[name]
                else f"<CommonPrefixes><Prefix>{shown}</Prefix></CommonPrefixes>"
            )
        token = f"<NextContinuationToken>{start + most}</NextContinuationToken>" if more else ""
        body = (
            '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<EncodingType>url</EncodingType><IsTruncated>{str(more).lower()}</IsTruncated>"
            f"{token}{''.join(lines)}</ListBucketResult>"
        )
        if self.omitted:
            body = re.sub(f"<{self.omitted}>[^<]*</{self.omitted}>", "", body)
        if self.doubled:
            body = re.sub(f"(<{self.doubled}>[^<]*</{self.doubled}>)", r"\1\1", body)
        return Page(body.encode(), headers={"Content-Type": "application/xml"})

    def _object(self, key: str, handler: _Handler) -> Page:
        if not key:
            return Page()
        if key in self.denied:
            return _error(403, "AccessDenied")
        if key not in self.objects:
            return _error(404, "NoSuchKey")
        data = self.objects[key]
        headers = {"ETag": _tag(data), "Last-Modified": "Thu, 02 Jan 2025 03:04:05 GMT"}
        wanted = handler.headers.get("Range")
        if handler.headers.get("If-Match", _tag(data)) != _tag(data):
            return _error(412, "PreconditionFailed")
        if wanted is None:
            return Page(data, headers=headers)
        start, end = (int(text) for text in wanted.removeprefix("bytes=").split("-"))
        if start >= len(data):
            return _error(416, "InvalidRange")
        if key in self.once:
            self.objects[key] = self.once.pop(key)
        part = data[start : end + 1]
        headers["Content-Range"] = f"bytes {start}-{start + len(part) - 1}/{len(data)}"
        return Page(part, 206, headers)


@contextmanager
def bucket() -> Iterator[Bucket]:
    made: list[Bucket] = []

    def answer(handler: _Handler) -> Page:
        return made[0].answer(handler)

    with _serving(answer) as server:
        made.append(Bucket(server))
        yield made[0]


@contextmanager
def silent() -> Iterator[tuple[int, threading.Event]]:
    """A server that takes connections and never says a word; its port, and whether one came."""
    asked = threading.Event()
    held = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take() -> None:
            with suppress(OSError):
                while True:
                    held.append(server.accept()[0])
                    asked.set()

        threading.Thread(target=take, daemon=True).start()
        yield server.getsockname()[1], asked
        server.shutdown(socket.SHUT_RDWR)
    for connection in held:
        connection.close()


def _tag(data: bytes) -> str:
    return f'"{md5(data, usedforsecurity=False).hexdigest()}"'


def _error(status: int, code: str) -> Page:
    body = f"<Error><Code>{code}</Code><Message>{code} it says</Message></Error>"
    return Page(body.encode(), status, {"Content-Type": "application/xml"})


def client(port: int) -> Any:
    """s3fs at a port of this machine, to fill a bucket with."""
    import fsspec

    return fsspec.get_filesystem_class("s3")(
        key="a",
        secret="b",
        endpoint_url=f"http://127.0.0.1:{port}",
        client_kwargs={"region_name": "us-east-1"},
        skip_instance_cache=True,
    )
