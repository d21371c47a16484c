"""One other tool, opened once and asked for file after file: for peers/peers.py alone.

    PYTHON peers/warm_peer.py TOOL '{"rules": [...], ...}'

It runs with the Python that has the tool, which need not have maltriage. The tool is opened, and a
line of JSON says its version and what it was opened with, or why it cannot be had. Each line on
stdin is then the path of a file, and is answered by a line: seconds by the clock, seconds of the
processor, and whether the tool gave an answer. What the tool itself prints goes nowhere.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module, util
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

Ask = Callable[[Path], object]
Options = dict[str, Any]

PEFRAME_RULES = "signatures/yara_plugins/pe"
"""Where the package peframe-ds has rules of the public collection Yara-Rules."""
ONE_RULE = """rule:
  meta:
    name: nothing
    scopes:
      static: function
      dynamic: process
  features:
    - and:
      - api: kernel32.NoSuchFunction
"""
"""What capa is opened with where its rules are not to be had: it looks for all features, and then
finds nothing in them."""


def ember(_options: Options) -> tuple[Ask, str]:
    extractor = import_module("thrember").PEFeatureExtractor()
    return lambda path: extractor.feature_vector(path.read_bytes()), f"{extractor.dim} features"


def die(_options: Options) -> tuple[Ask, str]:
    module = import_module("die")
    flags = module.ScanFlags.DEEP_SCAN
    if not module.load_database(str(module.database_path)):
        raise OSError(f"{module.database_path} does not load")
    return lambda path: module.scan_file(str(path), flags), "scan_file, DEEP_SCAN, data base loaded"


def yara(options: Options) -> tuple[Ask, str]:
    module = import_module("yara_x")
    named = [Path(name) for name in options.get("rules", [])]
    title = ", ".join(path.name for path in named)
    if not named:
        found = util.find_spec("peframe")
        if found is None or not found.submodule_search_locations:
            raise FileNotFoundError("no rules: neither --rules nor the package peframe-ds")
        named = [Path(found.submodule_search_locations[0], PEFRAME_RULES)]
        title = f"Yara-Rules, from peframe-ds {version('peframe-ds')}"
    compiler, left_out = module.Compiler(relaxed_re_syntax=True), 0
    for path in named:
        for file in sorted(path.rglob("*.yar*")) if path.is_dir() else [path]:
            text = file.read_text(errors="replace")
            try:  # a compiler that met an error builds nothing, so each file is tried in its own
                one = module.Compiler(relaxed_re_syntax=True)
                one.add_source(text)
            except module.CompileError:
                left_out += 1
                continue
            compiler.new_namespace(str(file))
            compiler.add_source(text)
    rules = compiler.build()
    scanner = module.Scanner(rules)
    said = f"{len(list(rules)):,} rules: {title}"
    if left_out:
        said += f"; {left_out} file(s) of rules that yara-x refuses left out"
    return lambda path: scanner.scan(path.read_bytes()), said


def capa(options: Options) -> tuple[Ask, str]:
    loader, rules_of = import_module("capa.loader"), import_module("capa.rules")
    find = import_module("capa.capabilities.common").find_capabilities
    helpers = import_module("capa.helpers")
    signatures = options.get("signatures") or _floss_signatures()
    said = "with its rules"
    if options.get("capa_rules"):
        rules = rules_of.get_rules([Path(options["capa_rules"])], enable_cache=False)
    else:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "nothing.yml").write_text(ONE_RULE)
            rules = rules_of.get_rules([Path(folder)], enable_cache=False)
        said = "without its rules, which its package lacks: one rule, so all features and no match"
    paths = sorted(Path(signatures).glob("*.sig")) if signatures else []

    def ask(path: Path) -> object:
        kind = loader.get_format(path)
        backend = loader.BACKEND_DOTNET if kind == "dotnet" else loader.BACKEND_VIV
        extractor = loader.get_extractor(path, kind, "windows", backend, paths, False, True)
        return find(rules, extractor, disable_progress=True)

    helpers.log_console.quiet = True
    return ask, f"{said}, {len(rules.rules)} rule(s), {len(paths)} files of signatures"


def _floss_signatures() -> str | None:
    """The signatures of library functions that FLOSS ships; those of capa are the same files."""
    found = util.find_spec("floss")
    places = found.submodule_search_locations if found else None
    return str(Path(places[0], "sigs")) if places else None


TOOLS: dict[str, tuple[str, Callable[[Options], tuple[Ask, str]]]] = {
    "ember": ("thrember", ember),
    "die": ("die-python", die),
    "yara": ("yara-x", yara),
    "capa": ("flare-capa", capa),
}
"""By name: the package that has the tool, and what opens it."""


def cpu() -> float:
    """Seconds of the processor, of this process and of those that it started and that ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + usage.ru_utime + usage.ru_stime


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)

    def answer(value: object) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    package, opened = TOOLS[sys.argv[1]]
    try:
        ask, said = opened(json.loads(sys.argv[2]))
        answer({"version": f"{package} {version(package)}", "said": said})
    except (ImportError, PackageNotFoundError):
        return answer({"missing": f"the package {package} is not installed there"})
    except Exception as error:  # whatever the tool raises, the others are still measured
        return answer({"missing": f"{type(error).__name__}: {error}"})
    for line in sys.stdin.buffer:
        path = Path(os.fsdecode(line.rstrip(b"\n")))
        start, spent, failed = time.perf_counter(), cpu(), False
        try:
            ask(path)
        except Exception:  # a file that the tool cannot read is counted as such
            failed = True
        answer([time.perf_counter() - start, cpu() - spent, failed])
    return None


if __name__ == "__main__":
    main()
