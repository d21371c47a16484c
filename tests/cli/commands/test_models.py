"""`maltriage models`, as a process."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import servers
from servers import Page, Site

from maltriage import bundle as bundles

DEFAULT = bundles.resolve(None)
INDEX = DEFAULT.with_name(f"{DEFAULT.stem}.index.npz")
SHA256 = hashlib.sha256(DEFAULT.read_bytes()).hexdigest()


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A file of the user's own: the default model under another name."""
    return Path(shutil.copy(DEFAULT, tmp_path / "mine.onnx"))


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with servers.site() as site:
        site.pages["/mine.onnx"] = Page(DEFAULT.read_bytes())
        site.pages["/mine.index.npz"] = Page(INDEX.read_bytes())
        yield site


def lines(done: Any) -> list[str]:
    assert done.stderr == b""
    return done.stdout.decode().splitlines()  # type: ignore[no-any-return]


def test_a_model_that_was_added_scans(run_cli: Any, mine: Path, samples_dir: Path) -> None:
    shutil.copy(INDEX, mine.with_name("mine.index.npz"))
    folder = Path(os.environ["MALTRIAGE_MODELS"]) / "mine"
    assert lines(run_cli("models", "add", mine)) == [f"mine: model and index in {folder}"]
    mine.unlink()
    (listed,) = [line for line in lines(run_cli("models")) if line.startswith("mine ")]
    assert "; index published" in listed
    scan = ("scan", samples_dir / "gui-x86.exe", "-f", "csv", "--no-cache")
    by_name, by_default = run_cli(*scan, "--model", "mine"), run_cli(*scan)
    assert b"gui-x86.exe,result," in by_name.stdout
    assert by_name.stdout == by_default.stdout


def test_old_forms(run_cli: Any) -> None:
    listed = run_cli("models")
    assert listed.stdout == run_cli("models", "list").stdout
    assert b"(default)" in listed.stdout
    for name in (DEFAULT.stem, str(DEFAULT)):
        shown = run_cli("models", name)
        assert (shown.returncode, shown.stderr) == (0, b"")
        assert shown.stdout == run_cli("models", "show", name).stdout
    card = run_cli("models", "show", "--json", DEFAULT.stem).stdout
    assert card == run_cli("models", "--json", DEFAULT.stem).stdout
    assert card == run_cli("models", DEFAULT.stem, "--json").stdout


def test_verify_and_remove(run_cli: Any, mine: Path) -> None:
    run_cli("models", "add", mine)
    done = run_cli("models", "verify")
    assert done.returncode == 0
    names = sorted([*(path.stem for path in bundles.shipped()), "clean-programs.npz", "mine"])
    assert lines(done) == [f"{name}: as it was published or added" for name in names]
    (path,) = Path(os.environ["MALTRIAGE_MODELS"]).rglob("mine.onnx")
    path.write_bytes(path.read_bytes() + b"\0")
    for arguments in (("verify",), ("verify", "mine")):
        done = run_cli("models", *arguments)
        assert done.returncode == 1
        assert b"mine.onnx: not the file that was added (digest)" in done.stdout
    assert run_cli("models", "verify", DEFAULT.stem).returncode == 0
    listed = run_cli("models")
    assert listed.returncode == 0
    assert b"not the file that was added" in listed.stdout
    assert run_cli("models", "verify", "gone").returncode == 2
    assert lines(run_cli("models", "remove", "mine")) == ["mine: removed"]
    assert b"mine" not in run_cli("models").stdout


def test_doctor_says_the_folder_and_what_is_amiss(run_cli: Any, mine: Path) -> None:
    run_cli("models", "add", mine)
    shown = run_cli("doctor")
    assert shown.returncode == 0
    assert os.environ["MALTRIAGE_MODELS"].encode() in shown.stdout.replace(b"\n", b"")
    (path,) = Path(os.environ["MALTRIAGE_MODELS"]).rglob("added.json")
    path.write_bytes(b"{")
    done = run_cli("doctor", "-f", "json")
    assert done.returncode == 1
    assert b"a damaged record" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("add", "gone.onnx"), "cannot read gone.onnx: No such file"),
        (("add", "text.onnx"), "text.onnx: not an ONNX file"),
        (("add", "mine.onnx", "--sha256", "0" * 64), f"its SHA-256 is {SHA256}"),
        (("add", "mine.onnx", "--name", "a/b"), "not a name"),
        (("add", "mine.onnx", "--name", DEFAULT.stem), "comes with this install"),
        (("add", "mine.onnx", "--index", "text.onnx"), "no NumPy archive"),
        (("add", "mine.onnx", "--index-sha256", "0" * 64), "--index-sha256 goes with --index"),
        (("add", "http://127.0.0.1:1/mine.onnx"), "needs its digest (--sha256)"),
        (("add", "ftp://127.0.0.1:1/mine.onnx", "--sha256", SHA256), "models are read from"),
        (("remove", "gone"), "no model gone was added"),
        (("show", "gone"), "no such model: gone"),
    ],
)
def test_wrong_use_is_one_line_and_code_2(
    run_cli: Any, mine: Path, arguments: tuple[str, ...], message: str
) -> None:
    mine.with_name("text.onnx").write_text("text\n")
    done = run_cli("models", *arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"maltriage: ")
    assert done.stderr.count(b"\n") == 1
    assert message in done.stderr.decode()
    assert not list(Path(os.environ["MALTRIAGE_MODELS"]).rglob("*.onnx"))


@servers.needs_remote
def test_from_a_url(run_cli: Any, web: Site) -> None:
    url = f"http://me:hush@{web.host}/mine.onnx"
    index = hashlib.sha256(INDEX.read_bytes()).hexdigest()
    how = ("--sha256", SHA256, "--index", f"{web.url}/mine.index.npz", "--index-sha256", index)
    assert lines(run_cli("models", "add", url, *how))[0].startswith("mine: model and index in ")
    (record,) = Path(os.environ["MALTRIAGE_MODELS"]).rglob("added.json")
    assert f'"source": "http://{web.host}/mine.onnx"' in record.read_text()
    web.pages["/mine.onnx"] = Page(b"text")
    done = run_cli("models", "add", f"{web.url}/mine.onnx", "--sha256", SHA256, "--force")
    assert done.returncode == 2
    assert b"another file than expected" in done.stderr
    assert run_cli("models", "verify", "mine").returncode == 0


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(run_cli: Any, mine: Path, tmp_path: Path) -> None:
    folder = tmp_path / "only-read"
    folder.mkdir(mode=0o500)
    done = run_cli("models", "add", mine, env={"MALTRIAGE_MODELS": str(folder)})
    assert done.returncode == 2
    assert b"Permission denied" in done.stderr
