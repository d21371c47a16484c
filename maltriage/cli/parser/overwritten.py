"""Refuses an output that is a file which another option or argument names as input, and files of
which the last alone would be taken."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from maltriage.errors import MaltriageError
from maltriage.files.atomic import is_part_of
from maltriage.files.places import config_file

OUTPUTS = ("output", "png", "svg", "yara")
"""Parameters of all commands that name files to write."""
WORDS = frozenset(
    "accelerator address batch_size by cam class_weights color command dataset device ecs_host"
    " engine epochs exclude family fields format guide host include index_sha256 label mask method"
    " methods name net nets only optimizer password precision quantize record reference schedule"
    " sha256 split transform views".split()
)
"""Parameters whose text is never the path of a file, even if a file has that name."""


def refuse_inputs(params: dict[str, Any]) -> None:
    """Raise MaltriageError if an output is also an input, or the config file.

    Whatever else has a path or a text is an input, so that an option of paths needs no line here.

    Args:
        params: values of a command's parameters by name.
    """
    outputs = [path for name in OUTPUTS for path in _named(params.get(name))]
    if not outputs:
        return
    inputs = [str(config_file())]
    for name, value in params.items():
        if name not in WORDS and name not in OUTPUTS:
            inputs += _named(value)
    there = [output for output in outputs if os.path.isfile(output)]
    if there:  # as a rule nothing is yet
        inputs += _bundles(params)
    for path in filter(os.path.isfile, inputs):
        for output in there:
            if os.path.samefile(path, output):
                raise MaltriageError(f"{output}: an input, which would be overwritten")
        for output in outputs:
            if is_part_of(os.path.realpath(path), os.path.realpath(output)):
                raise MaltriageError(f"{path}: an input, by its name a part of {output}: rename it")


def refuse_twice(order: Sequence[Any]) -> None:
    """Raise MaltriageError if an option that takes one file, or one list, is given twice.

    Args:
        order: the parameters of a command line, each as often as it is there.
    """
    for parameter in order:
        once = not parameter.multiple and parameter.name in (*OUTPUTS, "files_from")
        if once and order.count(parameter) > 1:
            raise MaltriageError(f"{parameter.opts[0]}: given twice, and it takes one file")


def _named(value: Any) -> Iterator[str]:
    """The paths among the values of a parameter."""
    for each in value if isinstance(value, list | tuple) else (value,):
        if isinstance(each, str | Path):
            yield str(each)


def _bundles(params: dict[str, Any]) -> Iterator[str]:
    """The files of bundles that are called by name."""
    from maltriage.bundle import resolve

    for parameter in ("model", "models"):
        for name in _named(params.get(parameter)):
            try:
                yield str(resolve(name))
            except MaltriageError:  # the command itself says so
                continue
