"""Folders of data and caches on this machine; the only reader of the user's config file."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from maltriage.errors import MaltriageError

CONFIG_NAME = "config.toml"
CONFIG_VARIABLE = "MALTRIAGE_CONFIG"
DATA = "data"
"""The one key of the config file that is no table of a command's options."""
MAX_CONFIG = 1 << 16
"""Most bytes of the config file: its reader takes the square of what a name of many parts has."""
_ESCAPED = re.compile(r"\\u(dc[89a-f][0-9a-f])")


def _home(variable: str, fallback: str) -> Path:
    """A base folder of the XDG specification (an empty variable counts as unset)."""
    value = os.environ.get(variable)
    if value:
        return Path(value)
    try:
        return Path.home() / fallback
    except RuntimeError:  # a user without an account, as in many containers, and without HOME
        return Path(os.devnull) / fallback  # nothing can exist there, so nothing is kept


def _expanded(text: str) -> Path:
    """A path whose `~` is a home; one of nobody stays, as in a shell."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def config_file() -> Path:
    """Path of the user's config file, whether it exists or not."""
    named = os.environ.get(CONFIG_VARIABLE)
    if named:
        return _expanded(named)
    return _home("XDG_CONFIG_HOME", ".config") / "maltriage" / CONFIG_NAME


def cache_dir() -> Path:
    """Folder for whatever can be computed again: `$MALTRIAGE_CACHE`, else the XDG cache."""
    named = os.environ.get("MALTRIAGE_CACHE")
    return Path(named) if named else _home("XDG_CACHE_HOME", ".cache") / "maltriage"


def models_dir() -> Path:
    """Folder of the bundles that the user added: `$MALTRIAGE_MODELS`, else in the XDG data."""
    named = os.environ.get("MALTRIAGE_MODELS")
    return Path(named) if named else _home("XDG_DATA_HOME", ".local/share") / "maltriage" / "models"


def read_config() -> dict[str, Any]:
    """What the config file says; nothing if there is none.

    Raises:
        MaltriageError: it cannot be read, or `$MALTRIAGE_CONFIG` names none.
    """
    path = config_file()
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG + 1)
    except OSError as error:
        # One in a folder that may not be entered (/root, say, in a container) is nobody's here.
        if os.environ.get(CONFIG_VARIABLE) or os.path.lexists(path):
            raise MaltriageError(f"cannot read config {path}: {error.strerror}") from error
        return {}
    if len(data) > MAX_CONFIG:
        raise MaltriageError(f"cannot read config {path}: it has more than {MAX_CONFIG:,} bytes")
    import tomllib  # not for the many commands that find no file

    try:
        return tomllib.loads(data.decode())
    except (RecursionError, ValueError) as error:  # of UTF-8, TOML, or a number without end
        raise MaltriageError(f"cannot read config {path}: {error}") from error


def configured_data() -> Path | None:
    """The folder of datasets that the config file names (key `data`), if any.

    Raises:
        MaltriageError: the config file is there and cannot be read.
    """
    path = config_file()
    data = read_config().get(DATA)
    if data is None:
        return None
    if not isinstance(data, str) or not data or "\0" in data:
        raise MaltriageError(f"config {path}: `data` must be the path of a folder")
    return _expanded(data)


def data_places(dataset: str) -> list[tuple[Path, str]]:
    """Folders to look for a dataset in, in order, when the user names none.

    Returns:
        Pairs of a folder and the source of its name.
    """
    places = []
    named = os.environ.get("MALTRIAGE_DATA")
    if named:
        places.append((Path(named) / dataset, "$MALTRIAGE_DATA"))
    configured = configured_data()
    if configured is not None:
        places.append((configured / dataset, str(config_file())))
    places.append((Path("data") / dataset, "the current folder"))
    return places


def path_text(path: Path) -> str:
    """An absolute path as text of a document; bytes that are not UTF-8 become, say, `\\udcff`."""
    return str(path.absolute()).encode("utf-8", "backslashreplace").decode()


def path_of(text: str) -> Path:
    """The path that `path_text` wrote: with the escaped bytes where no file has the text's name."""
    if os.path.exists(text):
        return Path(text)
    return Path(_ESCAPED.sub(lambda found: chr(int(found[1], 16)), text))
