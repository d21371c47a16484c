"""`maltriage doctor`, as a process."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from maltriage import bundle as bundles
from maltriage import doctor
from maltriage.work import seccomp
from maltriage.work.attempts import ALL
from maltriage.work.workers import Workers

ISOLATED = sys.platform == "linux" and platform.machine() in seccomp.MACHINES


def told(done: Any) -> dict[str, Any]:
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def test_all_is_well(run_cli: Any) -> None:
    done = run_cli("doctor", "-f", "json")
    assert (done.returncode, done.stderr) == (0, b"")
    found = told(done)
    bundle = bundles.load(bundles.resolve(None))
    assert found["problems"] == []
    assert found["model"]["weights_sha256"] == bundle.card.weights_sha256
    assert found["model"]["index_files"] > 0
    assert found["runtime"]["device"] in ("cpu", "cuda")
    assert found["packages"]["lief"]
    if ISOLATED:
        assert (found["isolation"]["held"], found["isolation"]["missing"]) == (ALL, [])
    limits = {limit["option"]: limit["value"] for limit in found["limits"]}
    assert limits["--timeout"] == 60
    places = {place["what"]: place for place in found["places"]}
    cache = Path(os.environ["MALTRIAGE_CACHE"])
    assert places["kept results"]["path"] == str(cache / "results")
    assert not cache.exists()  # nothing is made
    assert places["config file"]["path"].endswith("config.toml")


def test_the_screen(run_cli: Any) -> None:
    done = run_cli("doctor")
    shown = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b"")
    for part in ("lief 1", "isolation of workers", "--max-size", "not made yet"):
        assert part in shown
    assert shown.endswith("\nNo problems.\n")
    assert [line for line in shown.splitlines() if line != line.rstrip()] == []


def test_the_extras_shown_are_those_that_users_install() -> None:
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "install.md").read_text("utf-8")
    _, _, table = page.partition("## Extras")
    named = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`[^|]*) \|", table, re.M)))
    _, shown = doctor._packages()
    assert {extra.name for extra in shown} == {*named} - {"gpu"}


def test_what_is_amiss_is_named_and_the_rest_is_told(run_cli: Any, tmp_path: Path) -> None:
    name = "x.onnx" if sys.platform == "win32" else "x\x1b[31m.onnx"  # no such names there
    wrong, cache = tmp_path / name, tmp_path / "cache"
    wrong.write_bytes(b"no bundle")
    cache.write_bytes(b"no folder")
    done = run_cli("doctor", "--model", wrong, "--cache", cache, "-f", "json")
    found = told(done)
    assert (done.returncode, done.stderr) == (1, b"")
    assert [problem.rpartition(": ")[2] for problem in found["problems"]] == [
        "not an ONNX file",
        "no folder",
    ]
    assert (found["model"], found["runtime"]["device"]) == (None, None)
    assert found["isolation"] is not None
    screen = run_cli("doctor", "--model", wrong, "--cache", cache)
    assert (screen.returncode, screen.stdout.count(b"problem: ")) == (1, 2)
    assert b"\x1b" not in screen.stdout


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
def test_a_cache_that_others_may_write_to(run_cli: Any, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    cache.chmod(0o777)
    done = run_cli("doctor", "--cache", cache, "-f", "json")
    assert done.returncode == 1
    assert told(done)["problems"] == [f"kept results: {cache}: others may write to the folder"]


def test_an_error_without_a_text_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(doctor, "Session", fail)
    problems: list[str] = []
    found = doctor._runtime(bundles.load(bundles.resolve(None)), problems)
    assert (found.device, problems) == (None, ["the model does not run: MemoryError"])


@pytest.mark.skipif(not ISOLATED, reason="workers are isolated on Linux")
def test_want_of_isolation_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "Workers", partial(Workers, isolation=None))
    problems: list[str] = []
    found = doctor._isolation(problems)
    assert found is not None
    assert {"writing", "network", "memory"} <= set(found.missing)
    (problem,) = problems
    assert problem.startswith("workers are not isolated here: memory, ")
