"""Names of compilers, packers and installers by Detect It Easy, through its Python binding.

The library and its signatures are those of the package `die-python`. It runs scripts over hostile
bytes, so it is called in a worker only. The bytes are given in memory: a member of an archive, or
the program in a byteplot, lies in no file of its own.
"""

from __future__ import annotations

import importlib.util
from functools import cache

import msgspec

from maltriage.files.decoding import decoded
from maltriage.sample.types import Tool, ToolKind

PACKAGE = "die-python"
MAX_BYTES = 64 * 1024 * 1024
"""Bytes from the start of a file that are looked at: the binding takes eight times as many."""
MAX_TOOLS, MAX_TEXT = 24, 96
_NAMES = {"Nullsoft Scriptable Install System": "NSIS"}
"""Our names of what it calls otherwise."""
_KINDS: dict[str, ToolKind] = {
    "packer": "packer",
    ".net compressor": "packer",
    "protector": "protector",
    "cryptor": "protector",
    "crypter": "protector",
    ".net obfuscator": "protector",
    "virtual machine": "protector",
    "installer": "installer",
    "sfx": "installer",
    "joiner": "installer",
    "compiler": "compiler",
    "language": "language",
    "library": "library",
    "linker": "linker",
    "tool": "tool",
}
"""Types of Detect It Easy that name a tool; others are of an overlay, a signature, a format."""


class _Value(msgspec.Struct):
    type: str
    name: str
    version: str = ""


class _Detect(msgspec.Struct):
    values: list[_Value] = []
    parentfilepart: str = ""


class _Answer(msgspec.Struct):
    detects: list[_Detect] = []


_answer = msgspec.json.Decoder(_Answer)


def installed() -> bool:
    """Whether the extra `identify` is installed."""
    return importlib.util.find_spec("die") is not None


def detected(data: bytes) -> list[Tool]:
    """What Detect It Easy says of a program, in its order; empty if it says nothing or is not
    installed."""
    try:
        import die
    except ImportError:  # on another machine of a cluster
        return []
    _load_signatures()
    # bytes are refused, a bytearray is taken
    answer = die.scan_memory(bytearray(data[:MAX_BYTES]), die.ScanFlags.RESULT_AS_JSON)
    return tools_of(answer or "{}")


@cache
def _load_signatures() -> None:
    """Read the signatures once in a process. Named with each call they are read with each."""
    import die

    die.load_database(str(die.database_path))


def tools_of(answer: str) -> list[Tool]:
    """The tools in an answer of Detect It Easy in JSON; empty if it cannot be read."""
    try:
        found = decoded(answer, _answer)
    except msgspec.MsgspecError:
        return []
    tools = []
    for value in (value for detect in found.detects for value in detect.values):
        kind = _KINDS.get(value.type.lower())
        if kind is not None and value.name not in ("", "Unknown"):
            name = _NAMES.get(value.name, value.name)[:MAX_TEXT]
            tools.append(Tool(kind, name, value.version[:MAX_TEXT] or None, "die"))
    return tools[:MAX_TOOLS]
