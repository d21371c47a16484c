"""URLs among paths: recognises them and hides their secrets. Importing this costs nothing.

A URL may hold credentials: a password, a token, a signature. So a URL that a user names is sealed
first: `shown` replaces it everywhere, in records, on screens and in the store, and the whole URL is
kept beside it, for requests to the server.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from maltriage.errors import MaltriageError
from maltriage.source.archive.names import SEPARATOR
from maltriage.source.stores import kind_of

HIDDEN = "…"
"""Replaces a value that is not shown."""

_SCHEME = r"[A-Za-z][A-Za-z0-9+.\-]+"  # two characters at least: C:// is a drive
_URL = re.compile(rf"{_SCHEME}(?:::{_SCHEME})*://")
_PARTS = re.compile(rf"({_SCHEME})://([^/?#]*)(.*)", re.DOTALL)
_CHAINED = re.compile(rf"^{_SCHEME}::|::{_SCHEME}://")
_IN_TEXT = re.compile(rf"{_SCHEME}://[^\s\"'<>]+")
_SECRET = re.compile(
    r"^x-(?:amz|goog|oss|cos|tos|ms)-|^(?:sig|pwd|jwt|sas|code|api)$"
    r"|signature|token|key|secret|pass|cred|auth|session",
    re.IGNORECASE,
)
"""Names of parameters whose values grant access, or say to whom and how long."""
_PLAIN = re.compile(
    r"^(?:md5|sha1|sha224|sha256|sha384|sha512|hash|digest|checksum|version-?id|generation|file|filename"
    r"|name|path)$",
    re.IGNORECASE,
)
"""Names of parameters whose values may look like a token but are none."""
_LIKE_TOKEN = re.compile(r"(?=.*[0-9])[A-Za-z0-9+/=_.~%-]{16,}")


@dataclass(frozen=True)
class Remote:
    """The permission to read URLs: without one the network is not touched.

    `secrets` maps each shown URL that hides something to the whole of it, and each server named
    with a user, for all URLs below it.
    """

    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)

    def whole(self, path: str) -> str:
        """The URL for requests to the server, from a shown path."""
        url, member = _cut(path)
        if url in self.secrets:
            return self.secrets[url] + member
        end = _after_host(url)
        return self.secrets.get(url[:end], url[:end]) + url[end:] + member


def is_url(path: str) -> bool:
    """Whether a path is a URL by its form, `scheme://`; files on the disk are not consulted."""
    return _URL.match(path) is not None


def is_chained(url: str) -> bool:
    """Whether a URL combines several, as fsspec reads them: `zip://x.exe::s3://bucket/a.zip`."""
    return _CHAINED.search(url) is not None


def has_wrong_user(url: str) -> bool:
    """Whether a URL has a user that its scheme does not allow."""
    parts = _PARTS.match(url)
    if parts is None or "@" not in parts[2]:
        return False
    kind = kind_of(scheme_of(url))
    return not (kind.user or (kind.container and ":" not in parts[2]))


def scheme_of(url: str) -> str:
    return url[: url.index(":")].lower()


def split_web(url: str) -> tuple[str, str | None]:
    """A web URL and the file in the archive there: the first `!` after the host divides."""
    file, member = _cut(url)
    return file, member[1:] if member else None


def shown(url: str) -> str:
    """A URL safe to show: without user and password, and without secret values.

    Values of parameters are secret by the parameter's name, or because they look like a token.
    """
    if is_chained(url):
        return "::".join(map(shown, url.split("::")))
    parts = _PARTS.fullmatch(url)
    if parts is None:
        return url
    scheme, host, rest = parts.groups()
    user, at, name = host.rpartition("@")
    if at and kind_of(scheme.lower()).container and ":" not in user:
        name = host
    place, *marked = re.split("([?#])", rest)
    for index in range(1, len(marked), 2):
        marked[index] = _parameters(marked[index])
    return f"{scheme}://{name}{place}{''.join(marked)}"


def seal(paths: Iterable[str]) -> tuple[list[str], Remote | None]:
    """Paths with each URL replaced by its shown form, and the URLs; None: there are none.

    Of two URLs that differ only in their secrets the second becomes `...#2`.

    Raises:
        MaltriageError: a server is named with two users.
    """
    names: list[str] = []
    secrets: dict[str, str] = {}
    any_url = False
    for path in paths:
        if not is_url(path):
            names.append(path)
            continue
        any_url = True
        url, member = _cut(path)
        name = shown(url)
        host, shown_host = url[: _after_host(url)], name[: _after_host(name)]
        if not kind_of(scheme_of(url)).single and host != shown_host:
            if secrets.setdefault(shown_host, host) != host:
                raise MaltriageError(f"{shown_host}: named with two users in one call")
        elif name != url:
            first, count = name, 1
            while secrets.setdefault(name, url) != url:
                count += 1
                name = f"{first}#{count}"
        names.append(name + member)
    return names, Remote(secrets) if any_url else None


def scrub(text: str) -> str:
    """The text of an error, with each URL in its shown form."""
    return _IN_TEXT.sub(lambda found: shown(found[0]), text)


def _cut(path: str) -> tuple[str, str]:
    """A path before the first `!` behind its host, and the rest."""
    at = path.find(SEPARATOR, _after_host(path))
    return (path, "") if at < 0 else (path[:at], path[at:])


def _after_host(url: str) -> int:
    parts = _PARTS.match(url)
    return parts.end(2) if parts else 0


def _parameters(query: str) -> str:
    return "&".join(map(_parameter, query.split("&")))


def _parameter(text: str) -> str:
    name, equals, value = text.partition("=")
    if not equals:
        return HIDDEN if _LIKE_TOKEN.fullmatch(name) else name
    if _PLAIN.match(name) or not value:
        return text
    secret = _SECRET.search(name) or _LIKE_TOKEN.fullmatch(value)
    return f"{name}={HIDDEN}" if secret else text
