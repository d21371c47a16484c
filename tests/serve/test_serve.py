"""`maltriage serve` as a process: what it answers, and whom it refuses."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from paths import HAS_LINKS
from serve.running import Running, running

from maltriage.errors import MaltriageError
from maltriage.serve.guard import check_address, check_token
from maltriage.serve.routes import CONNECTIONS

pytest.importorskip("uvicorn", reason="needs the extra `serve`")

no_signal = pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM that is handled")


@pytest.fixture(scope="module")
def samples() -> Path:
    return Path(__file__).resolve().parents[2] / "samples"


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, samples: Path
) -> Iterator[tuple[Running, Path]]:
    """A server that allows one folder, and the folder."""
    folder = tmp_path_factory.mktemp("allowed")
    (folder / "in").mkdir()
    (folder / "in" / "gui.exe").write_bytes((samples / "gui-x86.exe").read_bytes())
    (folder / "out.exe").write_bytes((samples / "gui-x86.exe").read_bytes())
    if HAS_LINKS:
        (folder / "in" / "link.exe").symlink_to(folder / "out.exe")
    with running("--allow", folder / "in", "--max-size", "1", "-j", "1", "--fpr", "0.1") as found:
        yield found, folder / "in"


def test_an_upload_gets_its_record_and_a_page(
    server: tuple[Running, Path], samples: Path, run_cli: Any
) -> None:
    asked, _ = server
    path = samples / "gui-x86.exe"
    answer = asked.ask("POST", "/scan?name=a%20b.exe", path.read_bytes())
    assert answer.status == 201
    (record,) = answer.json["records"]
    assert record["path"] == "a b.exe"
    shown = run_cli("scan", path, "-f", "json", "--fpr", "0.1")
    (same,) = json.loads(shown.stdout)["records"]
    for name in ("sha256", "verdict", "layout", "notices", "model", "similar"):
        assert record[name] == same[name]
    assert answer.json["summary"]["files"] == 1
    place = answer.headers["Location"]
    page = asked.ask("GET", place, token=None)  # as a browser follows a link
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert b"a b.exe" in page.body
    assert asked.ask("GET", f"{place}/json", token=None).json == answer.json
    assert asked.ask("GET", place[:-1] + "x", token=None).status == 404


def test_members_of_an_archive_have_its_name(server: tuple[Running, Path], samples: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in ("one.exe", "two.exe"):
            archive.write(samples / "gui-x86.exe", name)
    found = server[0].ask("POST", "/scan?name=a.zip", packed.getvalue()).json
    assert [record["path"] for record in found["records"]] == ["a.zip!one.exe", "a.zip!two.exe"]
    assert [group["path"] for group in found["summary"]["groups"]] == ["a.zip!one.exe"]


def test_no_sample_is_a_record_as_well(server: tuple[Running, Path]) -> None:
    (record,) = server[0].ask("POST", "/scan?name=%1b%5b31m", b"text").json["records"]
    assert (record["type"], record["code"], record["path"]) == ("skipped", "not-pe", "\x1b[31m")


def asking(path: str | Path) -> bytes:
    """The body of a request for a path."""
    return json.dumps({"paths": [str(path)]}).encode()


def test_paths_in_the_folder_that_is_allowed(server: tuple[Running, Path]) -> None:
    asked, folder = server
    records = asked.ask("POST", "/scan-paths", asking(folder)).json["records"]
    found = {(Path(r["path"]).name, r["type"]) for r in records}
    outside = [("link.exe", "skipped")] if HAS_LINKS else []  # it leads out of the folder
    assert found == {("gui.exe", "result"), *outside}
    for path in (
        folder.parent,
        folder.parent / "out.exe",
        folder / ".." / "out.exe",
        *(folder / name for name, _ in outside),
        f"{folder}x",
        "/etc/passwd",
        "s3://bucket/x",
        "-",
    ):
        answer = asked.ask("POST", "/scan-paths", asking(path))
        assert (answer.status, answer.json["error"].endswith("in no folder of --allow")) == (
            *(403, True),
        )


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/scan", b"", 400),
        ("POST", "/scan?name=" + "x" * 513, b"x", 400),
        ("POST", "/scan", b"x" * ((1 << 20) + 1), 413),
        ("POST", "/scan-paths", b"{", 400),
        ("POST", "/scan-paths", b'{"paths": []}', 400),
        ("POST", "/scan-paths", b'{"paths": ["a\\u0000b"]}', 400),
        ("POST", "/scan-paths", b"[" * 100_000, 400),
        ("GET", "/scan", None, 405),
        ("GET", "/scans/../../etc/passwd", None, 404),
        ("GET", "/nothing", None, 404),
    ],
)
def test_bad_requests(
    server: tuple[Running, Path], method: str, path: str, body: bytes | None, status: int
) -> None:
    answer = server[0].ask(method, path, body)
    assert answer.status == status
    assert set(answer.json) == {"error"}
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_form_and_a_wrong_method_are_told_what_would_do(
    server: tuple[Running, Path],
) -> None:
    form = {"Content_Type": "multipart/form-data; boundary=x"}
    answer = server[0].ask("POST", "/scan", b"--x\r\n\r\nMZ\r\n--x--\r\n", **form)
    assert (answer.status, "--data-binary" in answer.json["error"]) == (415, True)
    answer = server[0].ask("GET", "/scan")
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")


def test_an_upload_without_a_length_is_cut_at_the_limit(server: tuple[Running, Path]) -> None:
    pieces = (b"x" * 65536 for _ in range(32))
    assert server[0].ask("POST", "/scan", pieces).status == 413


def test_whom_it_refuses(server: tuple[Running, Path]) -> None:
    asked, _ = server
    port = asked.host.rpartition(":")[2]
    for token in (None, "x" * 32, asked.token[:-1], "\xdcnicode" * 4):
        answer = asked.ask("POST", "/scan", b"x", token=token)
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    # Not in the URL, which lands in logs and histories, and not as a cookie.
    for place in (f"/scan?token={asked.token}", f"/scan?name=x#{asked.token}"):
        assert asked.ask("POST", place, b"x", token=None).status in (400, 401)
    assert asked.ask("POST", "/scan", b"x", token=None, Cookie=asked.token).status == 401
    for host in (f"evil.example:{port}", "127.0.0.1", f"127.0.0.1.evil.example:{port}", ""):
        assert asked.ask("GET", "/", Host=host).status in (400, 421)
    for origin in ("http://evil.example", "null", f"https://{asked.host}"):
        assert asked.ask("POST", "/scan", b"x", Origin=origin).status == 403
    assert asked.ask("POST", "/scan", b"x", Origin=f"http://{asked.host}").status == 201
    assert asked.ask("GET", "/health", Host=f"localhost:{port}").json == {"status": "ok"}


def test_scans_wait_for_each_other(server: tuple[Running, Path], samples: Path) -> None:
    data = (samples / "gui-x86.exe").read_bytes()
    with ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(server[0].ask, "POST", "/scan", data) for _ in range(20)]
        found = [each.result().status for each in asked]
    assert set(found) <= {201, 503}
    assert found.count(201) >= 9
    assert server[0].ask("POST", "/scan", data).status == 201


@no_signal
def test_nothing_is_written_and_the_end_is_clean(tmp_path: Path, samples: Path) -> None:
    own, token = tmp_path / "own", tmp_path / "token"
    own.mkdir()
    token.write_text("0123456789abcdef\n")
    env = {**os.environ, "TMPDIR": str(own), "HOME": str(own), "XDG_CACHE_HOME": str(own)}
    with running("--token-file", token, "-j", "1", env=env) as asked:
        assert asked.token == ""  # not printed: the user has it
        data = (samples / "gui-x86.exe").read_bytes()
        answer = asked.ask("POST", "/scan", data, token="0123456789abcdef")
        assert answer.status == 201
        written = [path for path in own.rglob("*") if path.is_file()]
        assert [path for path in written if path.stat().st_size >= 512] == []
        assert asked.end(signal.SIGTERM) == (0, "")
    assert list(own.iterdir()) == []


@no_signal
def test_a_scan_that_the_end_interrupts_is_no_result(tmp_path: Path, samples: Path) -> None:
    """Neither the one that runs nor the one that waits."""
    for number in range(400):
        os.link(_copy(samples, tmp_path), tmp_path / f"{number}.exe")
    with running("--allow", tmp_path, "-j", "1") as asked, ThreadPoolExecutor(2) as pool:
        body = asking(tmp_path)
        answers = [pool.submit(asked.ask, "POST", "/scan-paths", body) for _ in range(2)]
        time.sleep(1.5)
        asked.process.send_signal(signal.SIGTERM)
        for answer in answers:
            found = answer.result()
            assert (found.status, "the service ends" in found.json["error"]) == (503, True)
        assert asked.process.wait(timeout=60) == 0


def _copy(samples: Path, folder: Path) -> Path:
    path = folder / "program"
    if not path.exists():
        path.write_bytes((samples / "overlay-x86.exe").read_bytes() + bytes(range(256)) * 8192)
    return path


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's, so that it is taken."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.skipif(sys.platform == "win32", reason="workers start there without a folder")
def test_health_says_when_scans_fail(short_path: Path, samples: Path) -> None:
    """And a temporary folder that was cleaned is no reason for it."""
    tmp_path = short_path
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    data = (samples / "gui-x86.exe").read_bytes()
    with running("-j", "1", "-v", env=env) as asked:
        assert asked.ask("POST", "/scan", data).status == 201
        for path in tmp_path.iterdir():
            shutil.rmtree(path)
        tmp_path.chmod(0o500)
        if os.access(tmp_path, os.W_OK):  # root may write anyway
            tmp_path.rmdir()
        broken = asked.ask("POST", "/scan", data)
        health = asked.ask("GET", "/health", token=None)
        assert broken.status == 500
        assert (health.status, "cannot be started" in health.json["error"]) == (503, True)
        tmp_path.mkdir(exist_ok=True)
        tmp_path.chmod(0o700)
        assert asked.ask("POST", "/scan", data).status == 201
        assert asked.ask("GET", "/health", token=None).json == {"status": "ok"}
        code, err = asked.end()
    assert code == 0
    assert re.search(r"upload: 201 in \d", err)
    assert "/scans/" not in err


def test_quiet_says_where_it_is_unless_the_token_is_known(tmp_path: Path) -> None:
    """Without the token nobody could ask."""
    with running("-q") as server:
        assert server.ask("GET", "/").status == 200


def test_it_listens_on_the_loopback_device_alone(run_cli: Any) -> None:
    for host in ("0.0.0.0", "::", "example.org", "192.0.2.1", ""):
        done = run_cli("serve", "--host", host)
        assert (done.returncode, b"no address of the loopback device" in done.stderr) == (2, True)
    assert check_address("localhost") == "127.0.0.1"
    assert check_address("::1") == "::1"


def test_a_port_that_is_taken(run_cli: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run_cli("serve", "--port", str(port))
    assert done.returncode == 2
    assert b"cannot listen on 127.0.0.1:%d: " % port in done.stderr  # and why, as the system says


def test_tokens() -> None:
    first, second = check_token(None, ""), check_token(None, "")
    assert first != second
    assert len(first) >= 32
    for token in ("", "short", "with a space in it", "Ünïcode-Ünïcode-Ünïcode"):
        with pytest.raises(MaltriageError, match="at least 16 printable"):
            check_token(token, "token.txt")


def test_connections_that_ask_nothing_are_closed(server: tuple[Running, Path]) -> None:
    """They would take all places; no token is needed to connect."""
    asked, _ = server
    host, _, port = asked.host.partition(":")
    with ExitStack() as opened:
        for number in range(CONNECTIONS):
            silent = opened.enter_context(socket.create_connection((host, int(port))))
            if number % 2:
                silent.sendall(b"GET / HTTP/1.1\r\nHost: ")
        assert asked.ask("GET", "/health").status == 503
        until = time.monotonic() + 60
        while asked.ask("GET", "/health").status == 503:
            assert time.monotonic() < until
            time.sleep(1)
    assert asked.ask("GET", "/health").status == 200
