"""The metadata files in a run's folder: its options, its environment and its epochs."""

from __future__ import annotations

import csv
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import torch

import maltriage
from maltriage.corpus.corpus import Corpus
from maltriage.files.atomic import replace_text, write_file
from maltriage.files.decoding import decoded
from maltriage.learn.fit.checkpoint import Epoch
from maltriage.learn.runs.options import RunOptions
from maltriage.report.documents.record import encode
from maltriage.version import version_of

PACKAGES = ("numpy", "torch", "torchvision", "timm", "safetensors", "onnx", "onnxscript")
"""Packages whose versions affect a run."""
GIT_SECONDS = 5.0


def write_config(options: RunOptions, corpus: Corpus, path: Path) -> None:
    """Write the options and data of a run as JSON. Paths are as the user gave them."""
    given = asdict(options)
    fit, guide = given.pop("fit"), given.pop("guide")
    del given["folder"], given["command"]
    data = {
        "dataset": corpus.dataset,
        "root": corpus.root,
        "more_roots": corpus.more_roots,
        "goodware": corpus.goodware,
        "min_samples": corpus.min_samples,
        "samples": len(corpus),
        "labels": corpus.labels,
        "views": [view.name for view in corpus.views],
    }
    _write(path, {"run": given, "data": data, "fit": fit, "guide": guide})


def write_environment(options: RunOptions, path: Path) -> None:
    """Write hardware and versions of a run as JSON; a resumed run extends the list.

    It does not name the user or the machine.
    """
    try:
        earlier = decoded(path.read_bytes(), msgspec.json.Decoder(dict[str, Any]))
        sittings = list(earlier["sittings"])
    except (OSError, msgspec.MsgspecError, KeyError, TypeError):
        sittings = []
    _write(path, {"sittings": [*sittings, _environment(options)]})


def named_threads(path: Path) -> int:
    """The number of threads that the user gave a run, by its configuration; 0: none."""
    try:
        found = decoded(path.read_bytes(), msgspec.json.Decoder(dict[str, Any]))["fit"]["threads"]
    except (OSError, msgspec.MsgspecError, KeyError, TypeError):
        return 0
    return found if isinstance(found, int) and found > 0 else 0


def _environment(options: RunOptions) -> dict[str, Any]:
    seed = options.fit.seed
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return {
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": options.command,
        "maltriage": maltriage.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": {name: version_of(name) for name in PACKAGES},
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": options.fit.threads or torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(number) for number in range(gpus)],
        "cuda": torch.version.cuda if gpus else None,
        # Every step draws from its own stream, keyed by (seed, epoch, step) and, if several
        # processes share a batch, by the process. No other process loads data.
        "seeds": {"python": seed, "numpy": seed % 2**32, "torch": seed},
    }


def _processor() -> str:
    """Name of the processor, if the system has it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line)
    return next(names, platform.processor())


def _commit() -> str | None:
    """The commit of the running checkout, with `-dirty` if files differ; None: no checkout."""
    root = Path(maltriage.__file__).resolve().parents[1]
    if not (root / ".git").exists():  # installed below another repository, say
        return None
    command = ("git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40")
    try:
        done = subprocess.run(
            [*command, "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def write_metrics(history: Sequence[Epoch], path: Path) -> None:
    """Write the epochs of a run as CSV, a row each."""
    with replace_text(path) as file:
        writer = csv.writer(file)
        writer.writerow(Epoch.__struct_fields__)
        writer.writerows(msgspec.structs.astuple(row) for row in history)


def _write(path: Path, document: dict[str, Any]) -> None:
    """Write JSON atomically; bytes of paths that are not UTF-8 are escaped."""
    text = encode(msgspec.to_builtins(document, enc_hook=str))
    write_file(path, msgspec.json.format(text, indent=1) + b"\n")
