"""Hashes of a file on a page: which names are hashes, and where one can be looked up."""

from __future__ import annotations

import re

NAMES = ("sha256", "md5", "sha1", "tlsh", "imphash", "rich hash")
"""Names of hashes in the facts of a file: a page has a button that copies each."""
LOOKUPS = (
    ("VirusTotal", "https://www.virustotal.com/gui/file/{sha256}"),
    ("MalwareBazaar", "https://bazaar.abuse.ch/sample/{sha256}/"),
)
"""Sites that tell what they know of a SHA-256. A page links to them and asks them nothing itself:
who clicks tells the site that this file is looked at."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


def lookups(sha256: str) -> list[tuple[str, str]]:
    """Name and address of each site; none for what is no SHA-256, as in an edited record."""
    if not _SHA256.fullmatch(sha256):
        return []
    return [(name, address.format(sha256=sha256)) for name, address in LOOKUPS]
