"""The package stays readable: no circles, no warehouses, and a name means one thing."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "maltriage"
MAX_MODULES = 24
"""Of a folder. With more, it does several jobs: make rooms of it."""
MEANINGS = {
    "attack": "bytes behind a file, chosen against a net that is known",
    "base": "the type that the other modules of its folder implement",
    "by_column": "figures by the values of a column: figures, document, screen",
    "byteplot": "the picture of a file's bytes: how it is drawn, nets that read it",
    "cache": "`maltriage cache`: command, document, screen",
    "calibrate": "`maltriage calibrate`: command, and what it computes",
    "calibration": "what `calibrate` found: document, screen",
    "clean_files": "false positives on clean files: figures, screen",
    "code": "native code of a range: as instructions, as patterns",
    "compare": "`maltriage compare`: command, training of its cells, figures",
    "comparison": "what `compare` found: document, screen",
    "counted": "views of what a file holds: how they are made, tables that read them",
    "crossval": "cross-validation: its runs, and what they say of a net",
    "datasets": "`maltriage datasets`: command, documents, screens",
    "doctor": "`maltriage doctor`: command, checks, document, screen",
    "prevalence": "`maltriage prevalence`: command, and what it computes",
    "errors": "the errors that a floor raises",
    "evaluate": "`maltriage evaluate`: command, and what it computes",
    "evaluation": "what `evaluate` found: document, screen",
    "evidence": "where a score comes from: the net that says it, its account, its document",
    "export": "`maltriage export`: command, and what it computes",
    "faithfulness": "`maltriage faithfulness`: command, figures, screen",
    "files": "the user's files: read as samples, written as results",
    "findings": "what is in a hot range: data, screen",
    "folds": "out-of-fold figures of recipes: figures, screen",
    "graph": "the ONNX graph of a bundle: its contract, and how it is run",
    "hot_ranges": "hot ranges of a file: found, shown",
    "index": "the index of labelled files: its format, command, document, screen",
    "groups": "groups of similar files: found, as a document, on the screen",
    "known": "lists of known good files: read, and as an option",
    "logs": "what the package logs: loggers, and their lines on a terminal",
    "methods": "methods of explanation side by side: computed, shown",
    "openset": "the open-set protocol: option, nets, figures, document, screen",
    "options": "frozen options of a room, or the command line's",
    "page": "a result as one HTML page",
    "patterns": "`maltriage patterns`: command, figures, document, screen",
    "prediction_sets": "labels that cannot be excluded: computed, shown",
    "prepare": "samples prepared for a net: one in a worker, files as a stage of a scan",
    "quantization": "a bundle of fewer bits beside its original: figures, document, screen",
    "recall": "`maltriage index recall`: figures, document, screen",
    "recipe": "how a net is trained: its options, and as options of `train`",
    "robustness": "`maltriage robustness`: command, figures, document, screen",
    "schema": "`maltriage schema`: command, and what it writes",
    "search": "what looks for something: similar files in an index, strings of a rule in files",
    "shards": "a result in many files: option, writer",
    "stdin": "`-` among paths: read, and as an option",
    "study": "cells of nets, seeds and folds in one folder: where they lie, and as options",
    "train": "`maltriage train`: command, and one run",
    "types": "the values that a room works on",
    "urls": "URLs among paths: read, and as options",
    "words": "the words of a file: found, shown",
    "worker": "the function that a worker process runs for its folder",
}
"""Basenames that occur more than once, and what each means wherever it occurs. A module that would
mean something else takes another name."""


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    assert len(found) > 100
    return found


def imports_of(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    """The modules of the package that one names: at its top, for types only, in a function."""
    found = set[str]()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{name}: a relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in known else node.module)
    return found & known.keys() - {name}


def test_no_circle() -> None:
    known = modules()
    graph = {name: imports_of(name, path, known) for name, path in known.items()}
    assert sum(map(len, graph.values())) > len(graph)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" <- ".join(error.args[1])) from None


def test_no_warehouse() -> None:
    measured = (ROOT / "benchmarks").rglob("*.py")
    counts = Counter(path.parent for path in (*modules().values(), *measured))
    full = {str(folder.relative_to(ROOT)): n for folder, n in counts.items() if n > MAX_MODULES}
    assert full == {}, (
        f"more than {MAX_MODULES} modules, the limit of a folder: move those that are about one"
        " thing into a subfolder (an __init__.py counts too)"
    )


def test_a_basename_means_one_thing() -> None:
    places = defaultdict[str, list[str]](list)
    for name, path in modules().items():
        if path.stem not in ("__init__", "__main__"):
            places[path.stem].append(name)
    twice = {stem: found for stem, found in places.items() if len(found) > 1}
    new = {stem: found for stem, found in twice.items() if stem not in MEANINGS}
    assert new == {}, "take another name, or say in MEANINGS what it means in all of them"
    assert MEANINGS.keys() - twice.keys() == set()
