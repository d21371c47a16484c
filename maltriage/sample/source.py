"""Where samples come from: walking folders, and reading one file. Read-only throughout."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch

from PIL import Image

from maltriage.sample.archive import ArchiveError, begins_like_archive, read_member
from maltriage.sample.hexdump import Dump, DumpError, begins_like_dump, parse_dump
from maltriage.sample.types import Format

MAX_FILE_BYTES = 256 * 1024 * 1024
"""Files above this are skipped; `--max-size` lifts it."""
Image.MAX_IMAGE_PIXELS = None  # Pillow's own guard is lower than the limit that users set
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
DUMP_SUFFIX = ".bytes"
HEAD_BYTES = 64
"""First bytes of a file that tell its format."""
PROGRAMS: tuple[Format, ...] = ("pe", "png", "bytes")
"""Formats whose bytes are those of a program. Where `picture` is asked for, every PNG is one."""
PART = ".part"
"""Ends the name of a file of results that is not whole yet."""
_CALLED: dict[Format, str] = {
    "pe": "a PE file",
    "png": "a byteplot PNG",
    "bytes": "a hex dump",
    "picture": "a grayscale picture",
}


@dataclass(frozen=True)
class WalkOptions:
    """What to look at below the given paths. `depth` 0: only the files of a folder itself.

    `results`: files that are written meanwhile, which are no samples where they lie in a folder
    that is walked, whole or not (`PART`).
    """

    depth: int | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    max_size: int = MAX_FILE_BYTES
    results: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """A file, with what `stat` says of it; None where nothing but its size is known of it."""

    path: str
    size: int
    modified_ns: int | None = None
    changed_ns: int = 0
    """When its bytes or its entry changed; on Windows when it was made. Since the epoch, as is
    `modified_ns`."""
    inode: int = 0


@dataclass(frozen=True)
class Rejected:
    """A path that is not read, with a stable code; `failed` where it should have been."""

    path: str
    code: str
    reason: str
    failed: bool


@dataclass(frozen=True)
class Contents:
    """The bytes of a sample: of a PE file as they are, of a PNG its pixels, of a dump its bytes.

    `width` is that of a picture whose pixels are no bytes: its rows mean something. `file` is the
    SHA-256 of the file in hex where its bytes are not `data`.
    """

    data: bytes
    format: Format
    dump: Dump | None = None
    width: int | None = None
    file: str | None = None


class SampleError(Exception):
    """This one file gives no sample; `failed` where it should have, else it is a skip."""

    def __init__(self, code: str, reason: str, *, failed: bool = False) -> None:
        super().__init__(code, reason, failed)
        self.code, self.reason, self.failed = code, reason, failed

    def __reduce__(self) -> tuple[object, ...]:
        return _sample_error, (self.code, self.reason, self.failed)


def _sample_error(code: str, reason: str, failed: bool) -> SampleError:
    return SampleError(code, reason, failed=failed)


def read_list(lines: bytes) -> list[str]:
    """Paths of a `--files-from` list, one a line; bytes that are not UTF-8 survive."""
    return [os.fsdecode(line.rstrip(b"\r")) for line in lines.split(b"\n") if line.strip()]


def walk(paths: Iterable[str], options: WalkOptions) -> Iterator[Found | Rejected]:
    """The files below `paths`, lazily, each folder in the order of its names.

    A symbolic link is followed where the user names it, and below that only if it stays
    inside the named folder and leads to no folder already seen. FIFOs, sockets and devices
    are never opened.
    """
    for path in paths:
        try:
            status = os.stat(path)
        except OSError as error:
            yield _failure(path, error)
            continue
        if stat.S_ISDIR(status.st_mode):
            seen = {(status.st_dev, status.st_ino)}
            yield from _walk_folder(path, os.path.realpath(path), 0, seen, options)
        else:
            yield _file(path, status, options)


def _walk_folder(
    folder: str, root: str, level: int, seen: set[tuple[int, int]], options: WalkOptions
) -> Iterator[Found | Rejected]:
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        yield _failure(folder, error)
        return
    for entry in entries:
        if any(fnmatch(entry.name, glob) or fnmatch(entry.path, glob) for glob in options.exclude):
            continue
        try:
            wrong = _wrong_link(entry.path, root) if entry.is_symlink() else None
            if wrong:
                yield Rejected(entry.path, "symlink", wrong, False)
                continue
            status = entry.stat()
        except OSError as error:
            yield _failure(entry.path, error)
            continue
        if stat.S_ISDIR(status.st_mode):
            key = (status.st_dev, status.st_ino)
            if key in seen:
                yield Rejected(entry.path, "symlink", "a link to a folder already seen", False)
            elif options.depth is None or level < options.depth:
                seen.add(key)
                yield from _walk_folder(entry.path, root, level + 1, seen, options)
        elif options.results and _is_result(entry.path, options.results):
            continue
        elif not options.include or any(fnmatch(entry.name, glob) for glob in options.include):
            yield _file(entry.path, status, options)


def _wrong_link(path: str, root: str) -> str | None:
    """Why a link below `root` is not followed, or None."""
    try:
        target = os.path.realpath(path, strict=True)
        inside = os.path.commonpath([target, root]) == root
    except ValueError:  # another drive
        inside = False
    except OSError:
        return "a link to nothing, or in a circle"
    return None if inside else "a link out of the folder"


def _is_result(path: str, results: tuple[str, ...]) -> bool:
    """Whether a file of a folder is one of `results`, or one of them that is not whole."""
    folder, name = os.path.split(path)
    for result in results:
        own_folder, own = os.path.split(result)
        unfinished = name.startswith(f"{own}.") and name.endswith(PART)
        if (name == own or unfinished) and os.path.samefile(folder or ".", own_folder or "."):
            return True
    return False


def _file(path: str, status: os.stat_result, options: WalkOptions) -> Found | Rejected:
    if not stat.S_ISREG(status.st_mode):
        return Rejected(path, "special-file", "not a regular file", False)
    if status.st_size > options.max_size:
        return Rejected(path, "too-large", _too_large(status.st_size, options.max_size), False)
    return Found(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def _too_large(size: int, limit: int) -> str:
    return f"{size} bytes, above the limit of {limit} (--max-size lifts it)"


def _failure(path: str, error: OSError) -> Rejected:
    code = {FileNotFoundError: "not-found", PermissionError: "unreadable"}.get(type(error), "io")
    return Rejected(path, code, error.strerror or str(error), True)


def sniff(path: str, head: bytes) -> Format | None:
    """The format of a file by its first `HEAD_BYTES` bytes, None where it is no sample.

    A PNG is `png` whether its pixels are a program's or not. A hex dump is told by its first
    line; by its name too, so that a damaged first line is an error and not a skip, unless
    what it holds is no text.
    """
    if head[:2] == b"MZ":
        return "pe"
    if head.startswith(PNG_MAGIC):
        return "png"
    named = path.lower().endswith(DUMP_SUFFIX) and head.isascii() and b"\0" not in head
    return "bytes" if begins_like_dump(head) or (head and named) else None


def read_sample(
    path: str,
    max_size: int = MAX_FILE_BYTES,
    formats: tuple[Format, ...] = PROGRAMS,
    archives: bool = False,
) -> Contents:
    """Read one file, which must be of one of `formats`.

    Args:
        path: of the file.
        max_size: of the file, and of what it unpacks to, in bytes.
        formats: that are wanted.
        archives: whether the one file in a password archive is a sample too.

    Raises:
        SampleError: it is no sample, of another format, empty or too large (a skip), or
            cannot be read.
    """
    # Without O_NONBLOCK, a FIFO put in the file's place after the walk would block here.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        with open(os.open(path, flags), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise SampleError("special-file", "not a regular file")
            head = file.read(HEAD_BYTES)
            if not head:
                raise SampleError("empty", "an empty file")
            packed = archives and begins_like_archive(head)
            format = None if packed else _wanted_format(path, head, formats)
            if status.st_size > max_size:
                raise SampleError("too-large", _too_large(status.st_size, max_size))
            file.seek(0)
            # Not without a size: a file that grows while it is read must not pass the limit.
            data = file.read(min(status.st_size, max_size) + 1)
    except OSError as error:
        rejected = _failure(path, error)
        raise SampleError(rejected.code, rejected.reason, failed=True) from error
    if len(data) > max_size:
        raise SampleError("too-large", _too_large(len(data), max_size))
    file_digest = None if format == "pe" else hashlib.sha256(data).hexdigest()
    if packed:
        try:
            data = read_member(data, max_size)
        except ArchiveError as error:
            raise SampleError(error.code, str(error), failed=error.failed) from error
        format = _wanted_format("", data[:HEAD_BYTES], formats)
    if format == "bytes":
        try:
            dump = parse_dump(data)
        except DumpError as error:
            raise SampleError(
                "damaged-dump", f"a damaged hex dump ({error})", failed=True
            ) from error
        return Contents(dump.data, "bytes", dump=dump, file=file_digest)
    if format == "pe":
        return Contents(data, "pe", file=file_digest)
    pixels, width = _png_pixels(data, max_size)
    if "picture" in formats:
        return Contents(pixels, "picture", width=width, file=file_digest)
    if pixels[:2] != b"MZ":
        raise SampleError("not-byteplot", "a PNG whose pixels do not begin like a PE file")
    _refuse_format("png", formats)
    return Contents(pixels, "png", file=file_digest)


def _wanted_format(path: str, head: bytes, formats: tuple[Format, ...]) -> Format:
    """The format of a sample by its first bytes; what a PNG is, its pixels tell later."""
    format = sniff(path, head)
    if format is None:
        raise SampleError("not-pe", "neither a PE file nor a byteplot PNG nor a hex dump")
    if format != "png":
        _refuse_format(format, formats)
    return format


def _refuse_format(format: Format, formats: tuple[Format, ...]) -> None:
    if format not in formats:
        wanted = " or ".join(_CALLED[name] for name in formats)
        raise SampleError("input", f"{_CALLED[format]}, where the model was made for {wanted}")


def _png_pixels(data: bytes, max_size: int) -> tuple[bytes, int]:
    """Pixels of a grayscale PNG, row-major, and its width."""
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            if picture.mode != "L" or getattr(picture, "n_frames", 1) != 1:
                raise SampleError("not-byteplot", "a PNG, but not 8-bit grayscale")
            if picture.width * picture.height > max_size:
                size = picture.width * picture.height
                raise SampleError("too-large", _too_large(size, max_size))
            return picture.tobytes(), picture.width
    except SampleError:
        raise
    except Exception as error:  # Pillow raises many kinds for a damaged file
        raise SampleError("damaged-png", f"a damaged PNG ({error})", failed=True) from error
