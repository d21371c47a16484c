"""The document of `maltriage doctor`."""

from __future__ import annotations

import msgspec


class Extra(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An optional part: its packages with their versions; None: not installed."""

    name: str
    packages: dict[str, str | None]

    @property
    def is_there(self) -> bool:
        return None not in self.packages.values()


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The bundle that `scan` takes where none is named, and what it is compared with."""

    name: str
    path: str
    weights_sha256: str
    labels: int
    index: str | None = None
    index_files: int = 0


class Runtime(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the model runs: `device` as it was found by running it, None where it does not."""

    providers: list[str]
    """Those that ONNX Runtime was built with, whether a device answers or not."""
    device: str | None
    cores: int
    threads: int
    """Of the model, in a scan."""


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a scan keeps to. `option` lifts it; None: nothing does."""

    name: str
    value: float
    unit: str
    option: str | None = None


class Isolation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a worker found that it cannot do, by trying; see docs/security.md."""

    held: list[str]
    missing: list[str]
    memory: int | None
    """Bytes that it may take; None: as many as there are."""
    seccomp: bool
    landlock: int
    """Version; 0: none."""


class Place(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A folder or file that is written to, or read where it is there. `trouble`: why it cannot."""

    what: str
    path: str
    exists: bool
    trouble: str | None = None


class Examination(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What maltriage has here. `problems`: what does not work or does not hold, a line each."""

    version: str
    python: str
    platform: str
    packages: dict[str, str | None]
    extras: list[Extra]
    model: Model | None
    runtime: Runtime
    isolation: Isolation | None
    """None: no worker started."""
    limits: list[Limit]
    places: list[Place]
    problems: list[str]
