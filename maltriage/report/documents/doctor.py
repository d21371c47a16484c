"""The document of `maltriage doctor`."""

from __future__ import annotations

import msgspec


class Extra(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An extra: its packages with their versions; None: not installed."""

    name: str
    packages: dict[str, str | None]

    @property
    def is_there(self) -> bool:
        return None not in self.packages.values()


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The bundle that was examined, by default that of `scan`, and its index."""

    name: str
    path: str
    weights_sha256: str
    labels: int
    standing: str
    """How it stands to the published bundles: published, different, or not one of them."""
    index: str | None = None
    index_files: int = 0
    index_standing: str | None = None


class Runtime(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the model runs: `device` is found by running it, None if it does not run."""

    providers: list[str]
    """Providers in this build of ONNX Runtime, with or without a device."""
    device: str | None
    cores: int
    threads: int
    """Threads of the model in a scan."""
    kernel: str
    """What reads a file's bytes: `compiled`, or `numpy`, equal and slower, where nothing was."""


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A cap of a scan. `option` lifts it; None: there is no option."""

    name: str
    value: float
    unit: str
    option: str | None = None


class Isolation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The isolation of a worker, as it found by trying; see docs/reference/isolation.md."""

    held: list[str]
    missing: list[str]
    memory: int | None
    """Most bytes of memory; None: no cap."""
    seccomp: bool
    landlock: int
    """Version of Landlock; 0: none."""


class Place(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A folder or file that is written to, or read if it exists. `trouble`: why it cannot be."""

    what: str
    path: str
    exists: bool
    trouble: str | None = None


class Examination(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The state of the installation. `problems` has a line for each problem."""

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
