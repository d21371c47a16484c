"""The signature in a file: whether there is one, and whether it matches the file.

A signature has a digest of the file: of all bytes but the checksum, the certificate table, and the
entry of that table among the data directories (Windows Authenticode Portable Executable Signature
Format, "Calculating the PE Image Hash"). The digest is signed with the key of a certificate in the
same table. Whose certificate that is, nobody asks here.
"""

from __future__ import annotations

import contextlib
import hashlib
import struct
from itertools import pairwise
from typing import Any

from maltriage.sample.byteplot import pe_offset
from maltriage.sample.pe import Headers

_PKCS7, _REVISIONS = 2, (0x100, 0x200)
_SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")
"""Type and revisions of a WIN_CERTIFICATE that holds a signature, and the object identifier that
its content begins with."""
_HEAD_BYTES = 8 + 1 + 5 + len(_SIGNED_DATA)
_CHECKSUM, _ENTRY_32, _ENTRY_64 = 24 + 64, 24 + 128, 24 + 144
"""From the PE signature: where the checksum is, and the entry of the certificate table."""
_DIGESTS = {"MD5": "md5", "SHA_1": "sha1", "SHA_256": "sha256", "SHA_384": "sha384"}
_DIGESTS["SHA_512"] = "sha512"
"""Kinds of digests, as LIEF and as hashlib name them."""
_PART = 1 << 24


def has_signature(data: bytes, headers: Headers) -> bool:
    """Whether the certificate table of a file begins with a signature."""
    at, _ = headers.directories.get("certificate", (0, 0))
    return bool(at) and is_signature(data[at : at + _HEAD_BYTES])


def is_signature(head: bytes) -> bool:
    """Whether a certificate table begins with a signature: a WIN_CERTIFICATE with the `SignedData`
    of PKCS #7, in DER that fits into it. A table of zeros, text or noise does not."""
    if len(head) < 10:
        return False
    length, revision, kind = struct.unpack_from("<IHH", head)
    if revision not in _REVISIONS or kind != _PKCS7 or head[8] != 0x30:
        return False
    content, more = head[9], 0
    if content > 0x80:  # so many bytes of a length follow
        more = content - 0x80
        content = int.from_bytes(head[10 : 10 + more], "big")
    begin = 10 + more
    fits = more <= 4 and begin + content <= length
    return fits and head[begin : begin + len(_SIGNED_DATA)] == _SIGNED_DATA


def is_as_signed(data: bytes, headers: Headers) -> bool | None:
    """Whether the signature of a file matches it: the digest in it is that of the file, and was
    signed with the key of the signature's own certificate.

    Args:
        data: the whole file.
        headers: of the same file.

    Returns:
        None: there is no signature at the start of the certificate table that LIEF reads and can
        check, or the file was disarmed, which changes it.
    """
    return None if headers.disarmed else matches(data, headers)


def matches(data: bytes, headers: Headers) -> bool | None:
    """As `is_as_signed`, of a file that was disarmed too."""
    binary = headers.binary
    if headers.parser != "lief" or binary is None or not has_signature(data, headers):
        return None
    with contextlib.suppress(Exception):  # of whatever a malformed signature does to a parser
        if binary.has_signatures:
            return _matches(data, headers, binary.signatures[0])
    return None


def _matches(data: bytes, headers: Headers, signature: Any) -> bool | None:
    import lief

    at, raw = headers.directories["certificate"][0] + 8, bytes(signature.raw_der)
    if bytes(data[at : at + len(raw)]) != raw:  # LIEF passed over the one that Windows reads
        return None
    digest = bytes(signature.content_info.digest)
    kind = _DIGESTS[signature.content_info.digest_algorithm.name]
    if image_digest(data, headers, kind) != digest:
        return False
    flags = lief.PE.Signature.VERIFICATION_FLAGS
    found = signature.check(lief.PE.Signature.VERIFICATION_CHECKS.SKIP_CERT_TIME)
    if found & (flags.BAD_DIGEST | flags.BAD_SIGNATURE):
        return False
    return True if found == flags.OK else None


def image_digest(data: bytes, headers: Headers, kind: str) -> bytes:
    """The digest of a PE file that a signature has.

    Args:
        data: the whole file.
        headers: of the same file.
        kind: of the digest, as hashlib names it.
    """
    pe = pe_offset(data)
    assert pe is not None
    at, size = headers.directories.get("certificate", (0, 0))
    table = (at, at + size) if at else (len(data), len(data))
    entry = pe + (_ENTRY_64 if headers.bits == 64 else _ENTRY_32)
    left_out = [(pe + _CHECKSUM, pe + _CHECKSUM + 4), (entry, entry + 8), table]
    found = hashlib.new(kind, usedforsecurity=False)
    for (_, start), (end, _) in pairwise([(0, 0), *left_out, (len(data), len(data))]):
        for part in range(start, end, _PART):  # of a mapped file a slice is a copy
            found.update(data[part : min(part + _PART, end)])
    return found.digest()
