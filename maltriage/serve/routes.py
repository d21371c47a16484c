"""The routes of `maltriage serve`, and the server that answers them."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from maltriage.errors import MaltriageError
from maltriage.files.decoding import decoded
from maltriage.logs import logger
from maltriage.report import html
from maltriage.report.sanitize import clean
from maltriage.serve.guard import HEADERS, Guard
from maltriage.serve.scans import BusyError, EndingError, Finished, Scans

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

_log = logger(__name__)

MAX_NAME = 512
"""Characters of the name of an upload."""
MAX_PATHS = 1 << 20
"""Bytes of a list of paths."""
UPLOAD_SECONDS = 120.0
"""Time that an upload may take."""
IDLE_SECONDS = 10.0
"""Time for which a connection may wait without a whole request, about."""
CONNECTIONS = 32
"""Connections at once; more are refused."""


class Paths(msgspec.Struct, forbid_unknown_fields=True):
    """What to scan of this machine."""

    paths: list[str]


_paths = msgspec.json.Decoder(Paths)


class _RefusedError(Exception):
    """A request that gets an error as its answer."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


def application(scans: Scans, guard: Guard) -> Starlette:
    """The application: an upload form, scans of uploads and of paths, and their results."""
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import Response
    from starlette.routing import Route

    def answer(content: bytes, kind: str, status: int = 200, **headers: str) -> Response:
        return Response(content, status, {**HEADERS, **headers}, kind)

    def failed(status: int, reason: str, **headers: str) -> Response:
        body = msgspec.json.encode({"error": clean(reason, MAX_NAME)})
        asks = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
        return answer(body, "application/json", status, **asks, **headers)

    def document(finished: Finished, status: int = 200) -> Response:
        place = {"Location": f"/scans/{finished.name}"} if status == 201 else {}
        return answer(finished.document, "application/json", status, **place)

    async def upload(request: Request) -> Response:
        name = request.query_params.get("name") or "upload"
        if len(name) > MAX_NAME:
            raise _RefusedError(400, "the name is too long")
        if request.headers.get("content-type", "").startswith("multipart/"):
            reason = "a form: send the file as the body, e.g. curl --data-binary @FILE"
            raise _RefusedError(415, reason)
        with scans.place():
            data = await _body(request, scans.max_size)
            if not data:
                raise _RefusedError(400, "no bytes: send the file as the body of the request")
            return document(await run_in_threadpool(scans.of_bytes, data, name), 201)

    async def paths(request: Request) -> Response:
        try:
            asked = decoded(await _body(request, MAX_PATHS), _paths)
        except msgspec.MsgspecError as error:
            raise _RefusedError(400, f'not {{"paths": [...]}}: {error}') from error
        if not asked.paths or any("\0" in path for path in asked.paths):
            raise _RefusedError(400, "no paths")
        try:
            with scans.place():
                return document(await run_in_threadpool(scans.of_paths, asked.paths), 201)
        except PermissionError as error:
            reason = f"{error}: in no folder of --allow"
            raise _RefusedError(403, reason) from error

    def found(request: Request) -> Finished:
        finished = scans.find(request.path_params["name"])
        if finished is None:
            raise _RefusedError(404, "no such scan, or it is not kept any more")
        return finished

    async def as_json(request: Request) -> Response:
        return document(found(request))

    async def as_page(request: Request) -> Response:
        return answer(found(request).page, "text/html; charset=utf-8")

    async def form(request: Request) -> Response:
        page = html.render("serve", asks=True, most=scans.max_size >> 20)
        return answer(page.encode(), "text/html; charset=utf-8")

    async def health(request: Request) -> Response:
        if scans.trouble is not None:
            return failed(503, f"the last scan failed: {scans.trouble}")
        return answer(b'{"status":"ok"}', "application/json")

    def guarded(
        handler: Callable[[Request], Any], *, open_to_all: bool = False
    ) -> Callable[[Request], Any]:
        async def handle(request: Request) -> Response:
            refused = guard.refusal(request, open_to_all=open_to_all)
            if refused is not None:
                return failed(*refused)
            try:
                response: Response = await handler(request)
            except _RefusedError as error:
                return failed(error.status, error.reason)
            except (BusyError, EndingError) as error:
                return failed(503, str(error))
            except MaltriageError as error:
                return failed(500, str(error))
            return response

        async def logged(request: Request) -> Response:
            began = time.monotonic()
            response = await handle(request)
            took = time.monotonic() - began
            # Not its path: that of a result lets in whoever has it.
            _log.info("%s: %d in %.2f s", handler.__name__, response.status_code, took)
            return response

        return logged

    async def missing(request: Request, error: Exception) -> Response:
        return failed(404, "no such page")

    async def wrong_method(request: Request, error: Exception) -> Response:
        allowed = (getattr(error, "headers", None) or {}).get("Allow", "")
        return failed(405, f"not by this method, by {allowed}", Allow=allowed)

    return Starlette(
        routes=[
            Route("/", guarded(form, open_to_all=True), methods=["GET"]),
            Route("/health", guarded(health, open_to_all=True), methods=["GET"]),
            Route("/scan", guarded(upload), methods=["POST"]),
            Route("/scan-paths", guarded(paths), methods=["POST"]),
            # A browser follows a link without a token; the name is 122 random bits.
            Route("/scans/{name:str}", guarded(as_page, open_to_all=True), methods=["GET"]),
            Route("/scans/{name:str}/json", guarded(as_json, open_to_all=True), methods=["GET"]),
        ],
        exception_handlers={404: missing, 405: wrong_method},
    )


async def _body(request: Request, limit: int) -> bytes:
    """The body of a request, in memory.

    Raises:
        _RefusedError: it has more than `limit` bytes, or does not come in time.
    """
    from starlette.requests import ClientDisconnect

    said = request.headers.get("content-length", "0")
    if said.isdigit() and int(said) > limit:
        raise _RefusedError(413, f"more than {limit} bytes")
    data = bytearray()
    try:
        async with asyncio.timeout(UPLOAD_SECONDS):
            async for piece in request.stream():
                data += piece
                if len(data) > limit:
                    raise _RefusedError(413, f"more than {limit} bytes")
    except TimeoutError as error:
        raise _RefusedError(408, "the upload took too long") from error
    except ClientDisconnect as error:
        raise _RefusedError(400, "the upload was cut off") from error
    return bytes(data)


def listening(host: str, port: int) -> socket.socket:
    """A socket on the loopback device; port 0: any that is free.

    Raises:
        MaltriageError: the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        # On Windows the other option would let any program listen here as well.
        alone = getattr(socket, "SO_EXCLUSIVEADDRUSE", None)
        found.setsockopt(socket.SOL_SOCKET, alone or socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen()  # who asks from now on waits for the server to start
    except OSError as error:
        found.close()
        raise MaltriageError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return found


def serve_on(at: socket.socket, app: Starlette, stop: Callable[[], bool]) -> None:
    """Answer until `stop` returns true; what is asked by then is still answered, by 503 where its
    scan is not complete."""
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Prompt(H11Protocol):
        """A connection that is closed where no request is under way for `IDLE_SECONDS`: silent
        ones, or half a header, would keep all others out."""

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.idle = False
            self._look()

        def _look(self) -> None:
            idle = self.cycle is None or self.cycle.response_complete
            if idle and self.idle:
                self.transport.close()
            elif not self.transport.is_closing():
                self.idle = idle
                self.loop.call_later(IDLE_SECONDS / 2, self._look)

    class Server(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield  # the command has handlers of its own

    config = uvicorn.Config(
        app,
        access_log=False,
        log_level="warning",
        lifespan="off",
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=10,
        server_header=False,
        date_header=False,
        ws="none",
        http=Prompt,
    )
    server = Server(config)

    async def run() -> None:
        async def watch() -> None:
            while not stop():
                await asyncio.sleep(0.1)
            server.should_exit = True

        watching = asyncio.create_task(watch())
        await server.serve(sockets=[at])
        watching.cancel()

    asyncio.run(run())
