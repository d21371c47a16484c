"""Who may ask: a token, this machine's own names, and no other site in a browser."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from typing import TYPE_CHECKING

from maltriage.errors import MaltriageError

if TYPE_CHECKING:
    from starlette.requests import Request

MIN_TOKEN = 16
"""Characters of the shortest token."""
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def check_address(host: str) -> str:
    """The address to listen on, which must be one of the loopback device.

    Raises:
        MaltriageError: others could ask there, too.
    """
    name = {"localhost": "127.0.0.1"}.get(host, host)
    try:
        if ipaddress.ip_address(name).is_loopback:
            return name
    except ValueError:
        pass
    raise MaltriageError(f"--host {host}: no address of the loopback device, e.g. 127.0.0.1")


def check_token(token: str | None, where: str) -> str:
    """A token: the user's own, or a new one.

    Raises:
        MaltriageError: it is too short, or has characters that no header can have.
    """
    if token is None:
        return secrets.token_urlsafe(24)
    if len(token) < MIN_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise MaltriageError(
            f"{where}: a token has at least {MIN_TOKEN} printable ASCII characters and no space"
        )
    return token


class Guard:
    """Lets requests through that hold the token and come from no other site.

    The token is in no URL that is sent, and there is no cookie, which servers on other ports of
    this machine would get as well: it comes as `Authorization: Bearer TOKEN` alone.
    """

    def __init__(self, token: str, host: str, port: int) -> None:
        self._token = token.encode()
        literal = f"[{host}]" if ":" in host else host
        self.hosts = {f"{literal}:{port}", f"localhost:{port}"}

    def refusal(self, request: Request, *, open_to_all: bool = False) -> tuple[int, str] | None:
        """Status and reason for a request that is refused; None: it may go on.

        Args:
            open_to_all: whether it needs no token: a page without data, or one whose name nobody
                can guess.
        """
        # A page of another site whose name was made to lead here (DNS rebinding) has its own Host.
        if request.headers.get("host", "") not in self.hosts:
            return 421, "not a name of this server"
        origin = request.headers.get("origin")
        if origin is not None and origin.removeprefix("http://") not in self.hosts:
            return 403, "a request of another site"
        if not (open_to_all or self._holds(request)):
            return 401, "no token, or a wrong one: see what `maltriage serve` printed"
        return None

    def _holds(self, request: Request) -> bool:
        kind, _, value = request.headers.get("authorization", "").partition(" ")
        given = value.strip().encode("utf-8", "surrogateescape")
        return kind.lower() == "bearer" and hmac.compare_digest(given, self._token)
