"""Checks the installation and the machine by trying everything: `maltriage doctor`."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import numpy as np

from maltriage import bundle as bundles
from maltriage.bundle import MAX_BUNDLE_BYTES, Bundle, added
from maltriage.errors import MaltriageError
from maltriage.files.places import config_file
from maltriage.files.private import trouble
from maltriage.probe.common import SHIPPED
from maltriage.probe.inspect.worker import MAX_EXCERPTS
from maltriage.report.documents.doctor import (
    Examination,
    Extra,
    Isolation,
    Limit,
    Model,
    Place,
    Runtime,
)
from maltriage.sample import native
from maltriage.similar import index_file
from maltriage.similar.search import open_index
from maltriage.source.archive import limits as archives
from maltriage.source.reading import MAX_FILE_BYTES
from maltriage.triage.options import ScanOptions, model_threads
from maltriage.triage.session import Session
from maltriage.version import __version__, version_of
from maltriage.work import isolation
from maltriage.work.attempts import ALL, achieved
from maltriage.work.cores import cores
from maltriage.work.isolation import memory_for
from maltriage.work.workers import Workers, reason_of

DISTRIBUTION = "maltriage"
NOT_SHOWN = frozenset(("test", "bench", "fuzz", "dev", "docs", "gpu"))
"""Extras for work on maltriage itself, and `gpu`, whose packages depend on the machine: the device
of the model shows whether it works."""
ASKED_WITHIN = 60.0
"""Seconds within which a worker must answer."""
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:.*\bextra == ['\"]([^'\"]+)['\"])?")


def examine(named: str | None, places: dict[str, Path]) -> Examination:
    """Try everything that a scan needs. Nothing is written.

    Args:
        named: the bundle, a file or a name; None: the default.
        places: folders that are written to, by purpose.
    """
    problems: list[str] = []
    bundle = _bundle(named, problems)
    problems += [str(e) for _, e in added.records() if isinstance(e, MaltriageError)]
    clean_programs = bundles.models_dir() / SHIPPED
    if clean_programs.exists() and bundles.data_standing(clean_programs).state != "published":
        problems.append(f"{clean_programs}: {bundles.data_standing(clean_programs).text}")
    packages, extras = _packages()
    looked_at = [_place(what, path) for what, path in places.items()]
    config = config_file()  # a wrong one ends every command, this one too
    looked_at.append(Place(what="config file", path=str(config), exists=config.exists()))
    problems += [f"{p.what}: {p.path}: {p.trouble}" for p in looked_at if p.trouble]
    return Examination(
        version=__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        packages=packages,
        extras=extras,
        model=None if bundle is None else _model(bundle, problems),
        runtime=_runtime(bundle, problems),
        isolation=_isolation(problems),
        limits=_limits(),
        places=looked_at,
        problems=problems,
    )


def _bundle(named: str | None, problems: list[str]) -> Bundle | None:
    try:
        return bundles.load(bundles.resolve(named))
    except MaltriageError as error:
        problems.append(str(error))
        return None


def _model(bundle: Bundle, problems: list[str]) -> Model:
    path, files, index_standing = None, 0, None
    standing = bundles.standing_of(bundle)
    if bundles.ships(bundle.path) and standing.state != "published":
        problems.append(f"{bundle.path}: {standing.text}")
    try:
        searcher = open_index(bundle, None)
        beside = index_file.beside(bundle)
        if searcher is not None and beside is not None:
            path, files = str(beside), len(searcher.index.sha256)
            index_standing = bundles.index_standing(beside).text
    except MaltriageError as error:
        problems.append(str(error))
    card = bundle.card
    return Model(
        name=card.name,
        path=bundle.path,
        weights_sha256=card.weights_sha256,
        labels=len(card.labels),
        standing=standing.text,
        index=path,
        index_files=files,
        index_standing=index_standing,
    )


def _runtime(bundle: Bundle | None, problems: list[str]) -> Runtime:
    """Run an empty sample, so that a device that does not really work is found."""
    import onnxruntime as ort

    device = None
    if bundle is not None:
        try:
            session = Session(bundle, threads=1, batch=1)
            views = bundle.card.views
            nothing = {view.name: np.zeros((1, *view.shape), dtype=np.uint8) for view in views}
            logits = session.answer(nothing, [np.inf]).logits
            device = session.device
            if session.note:
                problems.append(session.note)
            if not np.isfinite(logits).all():
                problems.append(f"{bundle.path}: the model returns values that are not finite")
        except Exception as error:  # ONNX Runtime's own kinds derive from Exception only
            text = str(error).strip() or type(error).__name__  # such as MemoryError
            problems.append(f"the model does not run: {text.splitlines()[0]}")
    return Runtime(
        providers=list(ort.get_available_providers()),
        device=device,
        cores=cores(),
        threads=model_threads(ScanOptions()),
        kernel="numpy" if native.kernel is None else "compiled",
    )


def _isolation(problems: list[str]) -> Isolation | None:
    """The isolation that a worker reports."""
    with Workers(1, ASKED_WITHIN) as workers:
        try:
            found = workers.submit(achieved).result(timeout=ASKED_WITHIN)
        except Exception as error:  # a worker can fail in any way
            problems.append(f"workers do not start: {reason_of(error, ASKED_WITHIN).reason}")
            return None
    if isolation.IS_LINUX and found.missing:
        problems.append(f"workers are not isolated here: {', '.join(found.missing)}")
    return Isolation(
        held=[name for name in ALL if name not in found.missing],
        missing=found.missing,
        memory=found.memory,
        seccomp=found.seccomp,
        landlock=found.landlock,
    )


def _limits() -> list[Limit]:
    options = ScanOptions()
    return [
        Limit(name="file", value=MAX_FILE_BYTES, unit="bytes", option="--max-size"),
        Limit(name="time for a file", value=options.timeout, unit="s", option="--timeout"),
        Limit(
            name="memory of a worker",
            value=memory_for(MAX_FILE_BYTES),
            unit="bytes",
            option="--max-size",
        ),
        Limit(
            name="files in an archive",
            value=archives.MAX_MEMBERS,
            unit="",
            option="--max-members",
        ),
        Limit(
            name="unpacked of an archive",
            value=archives.MAX_UNPACKED,
            unit="bytes",
            option="--max-unpacked",
        ),
        Limit(name="ratio of an archive", value=archives.MAX_RATIO, unit="", option="--max-ratio"),
        Limit(
            name="archives in archives",
            value=archives.MAX_NESTING,
            unit="levels",
            option="--max-nesting",
        ),
        Limit(
            name="time for an archive", value=archives.MAX_SECONDS, unit="s", option="--max-time"
        ),
        Limit(name="excerpts of a file", value=MAX_EXCERPTS, unit="bytes"),
        Limit(name="bundle", value=MAX_BUNDLE_BYTES, unit="bytes"),
    ]


def _packages() -> tuple[dict[str, str | None], list[Extra]]:
    """Versions of the packages that maltriage requires, and of those of its extras."""
    base: dict[str, str | None] = {}
    extras: dict[str, dict[str, str | None]] = {}
    for name, extra in _required():
        if extra is None:
            base[name] = version_of(name)
        elif extra not in NOT_SHOWN:
            extras.setdefault(extra, {})[name] = version_of(name)
    return base, [Extra(name=name, packages=found) for name, found in sorted(extras.items())]


def _required() -> Iterator[tuple[str, str | None]]:
    """Required packages, each with its extra; None: no extra."""
    try:
        needed = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:  # run from its sources
        return
    for line in needed:
        found = _REQUIREMENT.match(line)
        if found:
            yield found[1], found[2]


def _place(what: str, path: Path) -> Place:
    try:
        exists = path.exists()
        trouble = _trouble(path)
    except OSError as error:
        exists, trouble = False, error.strerror or str(error)
    return Place(what=what, path=str(path), exists=exists, trouble=trouble)


def _trouble(path: Path) -> str | None:
    """Why a folder cannot be written to or made; None: it can."""
    if path.exists():
        can_write = os.access(path, os.W_OK | os.X_OK)
        return trouble(path) or (None if can_write else "not writable")
    above = next((folder for folder in path.absolute().parents if folder.exists()), None)
    if above is None or not os.access(above, os.W_OK | os.X_OK):
        return "does not exist and cannot be made"
    return None
