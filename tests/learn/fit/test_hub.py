"""`--pretrained hub` against a server of our own that answers as the hub does."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")
timm = pytest.importorskip("timm", reason="needs the extra `train`")

from safetensors.torch import save  # noqa: E402

FILE = "/timm/densenet121.ra_in1k/resolve/main/model.safetensors"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SCRIPT = """
import sys
from maltriage.errors import MaltriageError
from maltriage.learn.nets import make_net
from maltriage.learn.fit.pretrained import load_pretrained
from maltriage.sample.views import byteplot

net = make_net("densenet", (byteplot(16),), 3)
try:
    load_pretrained(net, "hub")
except MaltriageError as error:
    sys.exit(f"refused: {error}")
print(float(net.backbone.state_dict()["features.norm5.weight"].sum()))
"""


class Hub(BaseHTTPRequestHandler):
    """One repository with one file; everything else is not there."""

    weights = b""
    asked: list[str] = []  # noqa: RUF012

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        if self._answer():
            self.wfile.write(self.weights)

    def _answer(self) -> bool:
        self.asked.append(f"{self.command} {self.path}")
        if self.path != FILE:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return False
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(self.weights).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(self.weights)))
        self.end_headers()
        return True

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Hub.asked.clear()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def load(endpoint: str, home: Path, offline: bool = False) -> subprocess.CompletedProcess[str]:
    environment = {n: v for n, v in os.environ.items() if not n.startswith(("HF_", "HUGGING"))}
    environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "NO_PROXY": "127.0.0.1"}
    if offline:
        environment["HF_HUB_OFFLINE"] = "1"
    return subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env=environment,
    )


def test_weights_are_fetched_once_and_kept(hub: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    tensors = timm.create_model("densenet121", pretrained=False).state_dict()
    tensors["features.norm5.weight"] = torch.full((1024,), 0.25)
    Hub.weights = save(tensors)
    done = load(hub, tmp_path)
    assert (done.returncode, float(done.stdout)) == (0, 256.0), done.stderr
    assert Hub.asked == [f"HEAD {FILE}", f"GET {FILE}"]  # and nothing about its user
    done = load(hub, tmp_path)
    assert (done.returncode, float(done.stdout)) == (0, 256.0), done.stderr
    assert Hub.asked[2:] == [f"HEAD {FILE}"]
    assert float(load(hub, tmp_path, offline=True).stdout) == 256.0
    assert len(Hub.asked) == 3


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (save({"features.norm5.weight": torch.zeros(7)}), "Error(s) in loading state_dict"),
        (b"<html>not here</html>", "header"),
        (b"", "header"),
    ],
    ids=["others", "page", "nothing"],
)
def test_what_are_no_weights(hub: str, tmp_path: Path, weights: bytes, words: str) -> None:
    Hub.weights = weights
    refused(load(hub, tmp_path), words)


def test_offline(hub: str, tmp_path: Path) -> None:
    refused(load(hub, tmp_path, offline=True), "check your connection")
    assert not Hub.asked


@pytest.mark.slow
def test_no_network(tmp_path: Path) -> None:
    """The hub's library tries for three quarters of a minute, and says so on stderr."""
    refused(load("http://127.0.0.1:9", tmp_path), "check your connection")


def refused(done: subprocess.CompletedProcess[str], words: str) -> None:
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("refused: no weights of densenet121 from the hub: ")
    assert words in line
    assert (done.returncode, done.stdout) == (1, "")
