"""Decodes a file: its format by its first bytes, and the bytes of its program."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass

from maltriage.sample.errors import SampleError
from maltriage.sample.hexdump import Dump, DumpError, begins_like_dump, parse_dump
from maltriage.sample.types import Format
from maltriage.source.archive import by_libarchive
from maltriage.source.archive.closed import BY_LIBARCHIVE, CONTAINER, closed_kind
from maltriage.source.archive.limits import MAX_RATIO, RATIO_FROM
from maltriage.source.reading import Reading

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
DUMP_SUFFIX = ".bytes"
HEAD_BYTES = 64
"""First bytes of a file, from which its format is found."""
_CALLED: dict[Format, str] = {
    "pe": "a PE file",
    "png": "a byteplot PNG",
    "bytes": "a hex dump",
    "picture": "a grayscale picture",
}


@dataclass(frozen=True)
class Contents:
    """The bytes of a sample: a PE file's own, a PNG's pixels, a hex dump's decoded bytes.

    `width` is set for a picture whose pixels are not a file's bytes: its rows carry meaning.
    `file` is the SHA-256 of the file in hex where its bytes are not `data`. `whole`: all bytes of a
    program of which `data` is only the beginning; see `Reading.in_part`.
    """

    data: bytes
    format: Format
    dump: Dump | None = None
    width: int | None = None
    file: str | None = None
    whole: bytes | None = None

    @property
    def complete(self) -> bytes:
        """All bytes of the program."""
        return self.data if self.whole is None else self.whole


def sniff(path: str, head: bytes) -> Format | None:
    """The format of a file by its first `HEAD_BYTES` bytes, None where it is no sample.

    A PNG is `png` whether its pixels are a program's or not. A hex dump is recognised by its
    first line; by its name too, unless the file is not text, so that a damaged first line is an
    error and not a skip.
    """
    head = head[:HEAD_BYTES]
    if head[:2] == b"MZ":
        return "pe"
    if head.startswith(PNG_MAGIC):
        return "png"
    named = path.lower().endswith(DUMP_SUFFIX) and head.isascii() and b"\0" not in head
    return "bytes" if begins_like_dump(head) or (head and named) else None


def parse_contents(path: str, data: bytes, reading: Reading) -> Contents:
    """The decoded bytes of one file, which must be of one of the wanted formats.

    Args:
        path: of the file, or a name.
        data: all of it.

    Raises:
        SampleError: it is no sample, of another format, empty or too large (a skip), or damaged.
    """
    if not data:
        raise SampleError("empty", "an empty file")
    formats = reading.formats
    format = wanted_format(path, lambda start, size: data[start : start + size], formats)
    if format == "pe":
        return Contents(data, "pe")
    file = hashlib.sha256(data).hexdigest()
    if format == "bytes":
        try:
            dump = parse_dump(data, reading.unmapped)
        except DumpError as error:
            raise SampleError(
                "damaged-dump", f"a damaged hex dump ({error})", failed=True
            ) from error
        return Contents(dump.data, "bytes", dump=dump, file=file)
    pixels, width = _png_pixels(data, reading.max_size)
    if "picture" in formats:
        return Contents(pixels, "picture", width=width, file=file)
    if pixels[:2] != b"MZ":
        raise SampleError("not-byteplot", "a PNG whose pixels do not begin like a PE file")
    _refuse_format("png", formats)
    return Contents(pixels, "png", file=file)


def wanted_format(
    path: str, at: Callable[[int, int], bytes], formats: tuple[Format, ...]
) -> Format:
    """The format of a sample by its first bytes; a PNG's pixels decide its kind later.

    Args:
        at: the bytes of the file from an offset on, at most so many.

    Raises:
        SampleError: it is no sample, or of a format that is not wanted.
    """
    format = sniff(path, at(0, HEAD_BYTES))
    if format is None:
        closed = closed_kind(path, at)
        if closed is not None:
            reason = f"{closed}, which is not opened: programs in it were not looked at"
            if closed in BY_LIBARCHIVE and by_libarchive.library() is None:
                reason += " (libarchive and the extra `archives` open it)"
            raise SampleError(CONTAINER, reason)
        raise SampleError("not-pe", "neither a PE file nor a byteplot PNG nor a hex dump")
    if format != "png":
        _refuse_format(format, formats)
    return format


def _refuse_format(format: Format, formats: tuple[Format, ...]) -> None:
    if format not in formats:
        wanted = " or ".join(_CALLED[name] for name in formats)
        raise SampleError("input", f"{_CALLED[format]}, where the model was made for {wanted}")


def too_large(size: int, limit: int) -> str:
    """The reason of a skip."""
    return f"{size} bytes, above the limit of {limit} (--max-size lifts it)"


def _png_pixels(data: bytes, max_size: int) -> tuple[bytes, int]:
    """Pixels of a grayscale PNG, row-major, and its width."""
    from PIL import Image, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = None  # its own guard is lower than the limit that users set
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            if picture.mode != "L" or getattr(picture, "n_frames", 1) != 1:
                raise SampleError("not-byteplot", "a PNG, but not 8-bit grayscale")
            size = picture.width * picture.height
            if size > max_size:
                raise SampleError("too-large", too_large(size, max_size))
            if size > RATIO_FROM and size > MAX_RATIO * len(data):
                reason = f"a PNG of {len(data)} bytes that unpacks to {size}"
                raise SampleError("too-large", f"{reason}, more than {MAX_RATIO} times as many")
            return picture.tobytes(), picture.width
    except (SampleError, MemoryError):
        raise
    except UnidentifiedImageError as error:  # its text has an address in it
        raise SampleError("damaged-png", "a damaged PNG (its header)", failed=True) from error
    except Exception as error:  # Pillow raises many kinds for a damaged file
        raise SampleError("damaged-png", f"a damaged PNG ({error})", failed=True) from error
