"""`explain --png` and `--svg`: pictures beside the result, as files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from maltriage.errors import MaltriageError, cannot_write
from maltriage.report.documents.methods import known

if TYPE_CHECKING:
    from maltriage.report.documents.record import Result


@dataclass(frozen=True)
class Pictures:
    """The picture files that the user named. Each is written whole or not at all."""

    png: Path | None
    svg: Path | None

    def check(self, read: Sequence[str]) -> None:
        """Find wrong use before the work.

        Args:
            read: the files that are explained.

        Raises:
            MaltriageError: a folder does not exist, both pictures are one file, several files
                are explained, or one of them would be overwritten.
        """
        for path in self._paths():
            if path.is_dir() or not path.parent.is_dir():
                why = "a folder" if path.is_dir() else f"no folder {path.parent}"
                raise MaltriageError(f"cannot write {path}: {why}")
            if len(read) > 1:
                raise MaltriageError("--png and --svg draw one file")
            if path.exists() and os.path.exists(read[0]) and os.path.samefile(path, read[0]):
                raise MaltriageError(f"{path}: the explained file would be overwritten")
        for picture, other in ((self.png, ".svg"), (self.svg, ".png")):
            if picture is not None and picture.suffix.lower() == other:
                raise MaltriageError(f"{picture}: the ending is that of another format")
        if self.png is not None and self.png == self.svg:
            raise MaltriageError(f"--png and --svg name the same file: {self.png}")

    def check_method(self, method: str) -> None:
        """Raise MaltriageError if evidence by `method` has no picture."""
        if self._paths() and not known(method).maps:
            raise MaltriageError(f"no picture: the method {method} has none; take another one")

    def write(self, result: Result) -> None:
        """Draw a result.

        Raises:
            MaltriageError: there is nothing to draw, or a file cannot be written.
        """
        if not self._paths():
            return
        from maltriage.report.draw.png import png
        from maltriage.report.draw.scene import scene
        from maltriage.report.draw.svg import svg

        drawn = scene(result)
        for path, draw in ((self.png, png), (self.svg, svg)):
            if path is not None:
                write_picture(path, draw(drawn))

    def _paths(self) -> list[Path]:
        return [path for path in (self.png, self.svg) if path is not None]


def write_picture(path: Path, data: bytes) -> None:
    """Write a picture, whole or not at all."""
    from maltriage.files.atomic import write_file

    try:
        write_file(path, data)
    except OSError as error:
        raise cannot_write(path, error) from error
