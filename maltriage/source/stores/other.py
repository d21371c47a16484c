"""Any other store of fsspec, through the interface that all its file systems share.

Folders are listed one at a time, the laziest way that these allow.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from maltriage.sample.errors import SampleError
from maltriage.source.stores.base import LEAST_AHEAD, PIECE, Entry, Ranged, failure, stamp
from maltriage.source.urls import scheme_of

MODIFIED = ("LastModified", "last_modified", "updated", "mtime", "modify", "modified")
"""Names that file systems give to the time of the last change."""
TAGS = ("ETag", "etag", "generation", "md5Hash", "content_md5", "crc32c")
"""Names that they give to a file's ETag."""


def store(host: str) -> Other:
    """The store of a host or bucket, with its scheme."""
    return Other(file_system(scheme_of(host)), host)


def file_system(scheme: str) -> Any:
    """The file system of fsspec for a scheme.

    Raises:
        ImportError: a package is not installed.
    """
    import fsspec

    return fsspec.get_filesystem_class(scheme)


@dataclass(frozen=True)
class _Folder:
    """A folder by its path and by its URL, and how many levels of folders in it are wanted."""

    path: str
    url: str
    depth: int | None


class Other:
    """A store by its URL: a file system of fsspec, with the server that the URL names."""

    def __init__(self, kind: Any, url: str) -> None:
        self._kind = kind
        try:
            self._fs: Any = kind(**kind._get_kwargs_from_urls(url))
        except Exception as error:  # it connects, or looks for credentials
            raise failure(error) from error
        self.parallel = bool(kind.async_impl)

    def status(self, url: str, whole: str) -> Entry | None:
        info = self._info(whole)
        return None if info.get("type") == "directory" else _entry(url, info)

    def is_file(self, url: str) -> bool:
        try:
            return bool(self._info(url).get("type") != "directory")
        except SampleError as error:
            if error.code == "io":
                raise
            return False

    def pages(
        self, url: str, depth: int | None, skip: Callable[[str], bool]
    ) -> Iterator[list[Entry | SampleError]]:
        root = self._path(url).rstrip("/")
        open_folders = [self._listed(_Folder(root, url.rstrip("/"), depth), skip)]
        while open_folders:  # no recursion: a store may be of any depth
            for item in open_folders[-1]:
                if isinstance(item, _Folder):
                    open_folders.append(self._listed(item, skip))
                    break
                yield item
            else:
                open_folders.pop()

    def _listed(
        self, at: _Folder, skip: Callable[[str], bool]
    ) -> Iterator[list[Entry | SampleError] | _Folder]:
        """The files of a folder, in pages, and between them the folders to go into."""
        folder = at.path
        try:
            found = self._fs.ls(folder, detail=True)
            self._fs.invalidate_cache()  # it would hold every folder until the end
        except Exception as error:  # of the file system's own library
            yield [failure(error)]
            return
        files: list[Entry | SampleError] = []
        for info in sorted(found, key=lambda info: str(info["name"])):
            name = str(info["name"]).rstrip("/")
            if not name.startswith(f"{folder}/"):
                continue  # an entry for the folder itself
            below = f"{at.url}{name[len(folder) :]}"
            if info.get("type") == "directory":
                if (at.depth is None or at.depth > 0) and not skip(below):
                    yield files
                    files = []
                    yield _Folder(name, below, None if at.depth is None else at.depth - 1)
            elif info.get("type") == "file":
                files.append(_entry(below, info))
        yield files

    def open(self, url: str, limit: int) -> tuple[BinaryIO, int]:
        path = self._path(url)
        try:
            file = self._fs.open(path, "rb", block_size=LEAST_AHEAD)
            size = file.seek(0, io.SEEK_END)
        except Exception as error:  # of the file system's own library
            raise failure(error) from error

        def fetch(start: int, end: int, out: io.BytesIO) -> None:
            left = end - start
            try:
                file.seek(start)
                while left and (piece := file.read(min(PIECE, left))):
                    left -= out.write(piece)
            except Exception as error:
                raise failure(error) from error
            if left:
                raise SampleError("io", "it changed while it was read", failed=True)

        return cast(BinaryIO, Ranged(size, b"", fetch, file.close)), int(size)

    def _info(self, url: str) -> Any:
        try:
            return self._fs.info(self._path(url))
        except Exception as error:
            raise failure(error) from error

    def _path(self, url: str) -> str:
        return str(self._kind._strip_protocol(url))


def _entry(url: str, info: Any) -> Entry:
    modified = next((info[name] for name in MODIFIED if info.get(name)), None)
    tags = [str(info[name]) for name in TAGS if info.get(name)]
    size = info.get("size")
    return Entry(url, None if size is None else int(size), *stamp(modified, " ".join(tags)))
