"""Options from the config file: which hold, which give way, and what is wrong with a file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from maltriage.cli.app import application
from maltriage.cli.parser.defaults import AGAINST, NEEDS

Config = Callable[[str], Path]
IN_HERE = os.path.join(".", "")
"""What the path of a file begins with in a scan of `.`."""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Writes a config file."""

    def write(text: str) -> Path:
        path = tmp_path / "c.toml"
        path.write_text(text)
        return path

    return write


def test_the_file_and_then_the_command_line(run_cli: Any, folder: Path, config: Config) -> None:
    file = config(
        """
        data = "/srv"
        [scan]
        format = "csv"
        fields = "path,status"
        include = "*.exe"
        exit-zero = true
        no-archives = false
        timeout = 30
        jobs = 1
        """
    )
    done = run_cli("--config", file, "scan", ".", cwd=folder)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().splitlines() == ["path,status", f"{IN_HERE}a.exe,result"]
    named = {"MALTRIAGE_CONFIG": str(file)}
    typed = ("--include", "*.txt", "--include", "*.png", "--fields", "path")
    done = run_cli("scan", ".", *typed, cwd=folder, env=named)
    assert done.stdout.decode().splitlines() == ["path", f"{IN_HERE}b.txt"]
    none = run_cli("--config", os.devnull, "scan", ".", "--exit-zero", cwd=folder, env=named)
    assert b"verdict" in none.stdout


def test_the_users_own_file(
    run_cli: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    own = tmp_path / "home" / "maltriage" / "config.toml"
    own.parent.mkdir(parents=True)
    own.write_text("[scan]\nformat = 'ndjson'\nfields = 'path'\nmax-size = 512\n")
    done = run_cli("scan", "b.txt", cwd=folder)
    assert json.loads(done.stdout) == {"path": "b.txt"}
    shown = b" ".join(run_cli("scan", "--help").stdout.split())
    assert b"[default: 512; 1<=x<=1048576]" in shown


def test_what_is_typed_leaves_out_what_contradicts_it(
    run_cli: Any, folder: Path, config: Config
) -> None:
    file = config(
        "[scan]\nformat = 'csv'\necs = true\necs-host = 'x'\nno-cache = true\nexit-zero = true\n"
        "address = 'auto'\nanalyse-known = true\n[explain]\nmethod = 'occlusion'\n"
        "no-inspect = true\nverify = false\ngoodware = 'gone'\nexit-zero = true\n"
    )

    def run(*arguments: str) -> bytes:
        done = run_cli("--config", file, *arguments, cwd=folder)
        assert done.returncode == 0, done.stderr
        return bytes(done.stdout)

    run("scan", "a.exe", "-o", "x.ndjson", "--fields", "path")
    assert (folder / "x.ndjson").read_bytes() == b'{"path":"a.exe"}\n'
    run("scan", "a.exe", "--resume", "-o", "y.ndjson")
    assert b'"ecs"' in (folder / "y.ndjson").read_bytes()
    screen = run("explain", "a.exe", "--methods", "hirescam,gradcam")
    assert b"Methods side by side" in screen
    assert b"evidence   occlusion" in run("explain", "a.exe")


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("[scan]\necs = true", ("scan", "a.exe")),
        ("[scan]\necs = true\necs-host = 'h'", ("scan", "a.exe", "-f", "table")),
        ("[scan]\necs = true", ("scan", "a.exe", "-o", "c.html")),
        ("[scan]\nfields = 'path,label'", ("scan", "a.exe", "-f", "table")),
        ("[scan]\nfields = 'path,label'", ("scan", "a.exe", "-o", "c.html")),
        ("[scan]\nnull = true", ("scan", ".")),
        ("[scan]\nshards = 'out'", ("scan", "a.exe")),
        ("[scan]\nno-archives = true", ("scan", "a.exe", "--carve")),
        ("[scan]\nwatch = true", ("scan", ".", "-f", "table")),
        ("[scan]\nwatch = true", ("scan", ".", "-f", "csv")),
        ("[scan]\nwatch = true", ("scan", ".", "-o", "w.csv")),
        ("[scan]\nwatch = true", ("scan", ".", "-o", "w.ndjson", "-o", "w.csv")),
        ("[scan]\nwatch = true\noutput = 'w.csv'", ("scan", ".")),
        ("[scan]\nwatch = true", ("scan", ".", "--verify")),
        ("[scan]\nwatch = true\nformat = 'csv'", ("scan", ".")),
        ("[explain]\nagainst = 'hupigon'", ("explain", "a.exe", "--class", "hupigon")),
        ("[explain]\nclass = 'hupigon'", ("explain", "a.exe", "--against", "hupigon")),
    ],
)
def test_what_cannot_apply_to_a_run_does_no_harm(
    run_cli: Any, folder: Path, config: Config, text: str, arguments: tuple[str, ...]
) -> None:
    done = run_cli("--config", config(text), *arguments, "--exit-zero", cwd=folder)
    assert done.returncode == 0, done.stderr


def test_of_two_forms_the_typed_one_holds(run_cli: Any, folder: Path, config: Config) -> None:
    def run(text: str, *arguments: str) -> bytes:
        typed = (*arguments, "--no-verify", "--exit-zero")
        done = run_cli("--config", config(text), "explain", "a.exe", *typed, cwd=folder)
        assert done.returncode == 0, done.stderr
        return bytes(done.stdout)

    assert run("[explain]\noffsets = true", "-f", "json").startswith(b'{"type":"result"')
    assert run("[explain]\nformat = 'html'", "--offsets").startswith(b"sha256\toffset")
    run("[explain]\noffsets = true", "-o", "x.json")
    assert (folder / "x.json").read_bytes().startswith(b'{"type":"result"')


def test_options_for_samples_are_no_matter_to_saved_reports(
    run_cli: Any, folder: Path, config: Config
) -> None:
    run_cli("scan", ".", "-o", "r.ndjson", "-q", cwd=folder)
    file = config("[scan]\njobs = 1\nverify = true\nmax-size = 3\n")
    done = run_cli("--config", file, "scan", "r.ndjson", "--exit-zero", cwd=folder)
    assert (done.returncode, done.stderr) == (0, b"")
    more = config("[scan]\nwatch = true\nfields = 'path'\n[explain]\nyara = 'x.yar'\n")
    shown = run_cli("--config", more, "scan", "r.ndjson", "-f", "csv", "--exit-zero", cwd=folder)
    here = IN_HERE.encode()
    assert shown.stdout.splitlines() == [b"path", here + b"a.exe", here + b"b.txt"]
    picked = ("explain", "r.ndjson", "--record", f"{IN_HERE}a.exe", "--exit-zero")
    assert run_cli("--config", more, *picked, cwd=folder).returncode == 0
    refused = run_cli("--config", file, "scan", "r.ndjson", "--verify", cwd=folder)
    assert b"--verify is an option for samples" in refused.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[scan]\nmax-siz = 3", "[scan] no option max-siz; close to it: max-size"),
        ("[skan]\nx = 1", "no command skan; close to it: scan"),
        ("jobs = 3", "no command jobs (options stand in a table, such as [scan])"),
        ("scan = 3", "scan is a command: its options stand in [scan]"),
        ("[cache.prume]\nx = 1", "[cache] no command prume; close to it: prune"),
        ("[cache.prune]\nolder-than = 'x'", "[cache.prune] older-than: must be a whole number"),
        ("[scan]\njobs = '4'", "[scan] jobs: must be a whole number, not '4'"),
        ("[scan]\njobs = true", "[scan] jobs: must be a whole number, not True"),
        ("[scan]\ntimeout = 'x'", "[scan] timeout: must be a number, not 'x'"),
        ("[scan]\nverify = 1", "[scan] verify: must be true or false, not 1"),
        ("[scan]\nfields = ['a']", "[scan] fields: must be text in quotes, not ['a']"),
        ("[scan]\ninclude = ['a', 3]", "[scan] include: must be text in quotes, not 3"),
        ('[scan]\nindex = "a\\u0000b"', "[scan] index: has a NUL byte"),
        ("[scan]\nmax-size = 0", "[scan] max-size: "),
        ("[scan]\ndevice = 'tpu'", "[scan] device: "),
        ("[scan]\nno-groups = true", "[scan] no option no-groups: write groups = false"),
        ("[scan]\nhelp = true", "[scan] no option help"),
        ("[scan]\npaths = ['a']", "[scan] no option paths"),
    ],
)
def test_what_is_wrong_is_named_with_file_table_and_key(
    run_cli: Any, config: Config, text: str, said: str
) -> None:
    file = config(text)
    done = run_cli("--config", file, "models")
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
    assert done.stderr.decode().startswith(f"maltriage: config {file}: {said}")
    assert run_cli("--config", file, "scan", "--help").returncode == 0


def test_a_file_that_cannot_be_read(run_cli: Any, config: Config, tmp_path: Path) -> None:
    broken = run_cli("--config", config("[scan"), "models")
    assert (broken.returncode, broken.stderr.count(b"\n")) == (2, 1)
    assert broken.stderr.startswith(b"maltriage: cannot read config ")
    gone = tmp_path / "gone.toml"
    for arguments, env in ((("--config", gone), {}), ((), {"MALTRIAGE_CONFIG": str(gone)})):
        done = run_cli(*arguments, "models", env=env)
        assert done.returncode == 2
        assert done.stderr.decode() == (
            f"maltriage: cannot read config {gone}: No such file or directory\n"
        )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("jobs = " + "9" * 5000, "Exceeds the limit"),
        ("a." * 100_000 + "a = 1", "it has more than 65,536 bytes"),
        ("# \udcff", "'utf-8' codec"),
    ],
    ids=["number without end", "name without end", "not UTF-8"],
)
def test_a_file_of_odd_text_is_a_line(run_cli: Any, config: Config, text: str, said: str) -> None:
    file = config("")
    Path(file).write_bytes(text.encode("utf-8", "surrogateescape"))
    done = run_cli("--config", file, "models")
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert done.stderr.decode().startswith(f"maltriage: cannot read config {file}: {said}")


@pytest.mark.skipif(os.name == "nt", reason="homes there are folders beside one's own")
def test_a_home_of_nobody(run_cli: Any, config: Config) -> None:
    """It stays as it is, as in a shell."""
    done = run_cli("models", env={"MALTRIAGE_CONFIG": "~nobody-here/c.toml"})
    assert done.stderr == (
        b"maltriage: cannot read config ~nobody-here/c.toml: No such file or directory\n"
    )
    assert run_cli("--config", config("data = '~nobody-here/d'"), "config", "show").returncode == 0


def test_what_gives_way_are_parameters() -> None:
    commands = typer.main.get_command(application()).commands  # type: ignore[attr-defined]
    for command, pairs in AGAINST.items():
        names = {parameter.name for parameter in commands[command].params}
        assert {name for pair in pairs for name in pair} <= names
    for command, needs in NEEDS.items():
        assert set(needs) <= {parameter.name for parameter in commands[command].params}
