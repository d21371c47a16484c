"""`maltriage config show`: which values hold, and where each is from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from maltriage.report.status.settings import Settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "c.toml"
    path.write_text(
        "data = '/srv'\n[scan]\nmax-size = 512\nverify = true\npassword = ['s3cret']\n"
        "known-good = ['a', '~/b']\n[cache.prune]\nolder-than = 90\n"
    )
    return path


def test_what_the_file_sets(run_cli: Any, file: Path) -> None:
    done = run_cli(
        "--config", file, "config", "show", env={"HOME": "/home/me", "USERPROFILE": "/home/me"}
    )
    assert (done.returncode, done.stderr) == (0, b"")
    lines = [line.split() for line in done.stdout.decode().splitlines()]
    assert lines[0] == [str(file)]
    assert lines[2] == ["data", str(Path("/srv"))]
    assert ["scan", "max-size", "512", "file"] in lines
    assert ["scan", "verify", "true", "file"] in lines
    assert ["scan", "known-good", "a,", "/home/me/b", "file"] in lines
    assert ["cache", "prune", "older-than", "90", "file"] in lines
    assert not any("default" in line for line in lines)
    assert b"s3cret" not in done.stdout
    assert b"(not shown)" in done.stdout


def test_all_options_of_a_command(run_cli: Any, file: Path) -> None:
    done = run_cli("--config", file, "config", "show", "scan", "-f", "json")
    found = msgspec.json.decode(done.stdout, type=Settings)
    assert (found.file, found.exists, found.data) == (str(file), True, str(Path("/srv")))
    values = {each.option: (each.value, each.origin) for each in found.settings}
    assert {each.command for each in found.settings} == {"scan"}
    assert values["max-size"] == (512, "file")
    assert values["verify"] == (True, "file")
    assert values["timeout"] == (60.0, "default")
    assert values["device"] == ("auto", "default")
    assert values["model"] == (None, "default")
    assert "help" not in values
    nested = json.loads(run_cli("config", "show", "cache", "prune", "-f", "json").stdout)
    assert nested["exists"] is False
    assert [each["option"] for each in nested["settings"]] == ["cache", "older-than", "max-size"]


def test_no_file_and_no_command(run_cli: Any) -> None:
    done = run_cli("config", "show")
    assert done.returncode == 0
    assert b"which does not exist" in done.stdout
    wrong = run_cli("config", "show", "skan")
    assert (wrong.returncode, wrong.stderr) == (2, b"maltriage: no command skan\n")
