"""The file of a model to add: of this machine, or at a URL by its digest."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import servers
from servers import Page, Site

from maltriage.bundle import fetch
from maltriage.errors import MaltriageError

DATA = b"bytes of a model"
SHA256 = hashlib.sha256(DATA).hexdigest()
LIMIT = 1000


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with servers.site() as site:
        site.pages["/m.onnx"] = Page(DATA)
        yield site


def fetched(source: str, sha256: str | None = SHA256, name: str = "m") -> bytes:
    return fetch.fetched(source, name, sha256, LIMIT)


@pytest.mark.parametrize(
    ("source", "name", "index"),
    [
        ("a/mine.onnx", "mine", False),
        ("mine.index.npz", "mine", True),
        ("mine", "mine", False),
        ("https://host/a/my%2Dmodel.onnx?token=x#y", "my-model", False),
        ("s3://bkt/models/m.index.npz", "m", True),
    ],
)
def test_the_name_is_that_of_the_file(source: str, name: str, index: bool) -> None:
    assert fetch.name_of(source) == name
    assert fetch.is_index(source) == index


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(DATA)
    assert fetched(str(path), None) == fetched(str(path), SHA256.upper()) == DATA
    with pytest.raises(MaltriageError, match=f"its SHA-256 is {SHA256}"):
        fetched(str(path), "0" * 64)
    assert fetch.index_beside(str(path)) is None
    (tmp_path / "m.index.npz").write_bytes(b"")
    assert fetch.index_beside(str(path)) == str(tmp_path / "m.index.npz")


def test_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(LIMIT + 1))
    for source, message in (
        (tmp_path / "none", "cannot read .*none: No such file"),
        (tmp_path, "not a file"),
        (os.devnull, "not a file"),
        (tmp_path / "large", "larger than 1,000 bytes"),
        ("a\0b", "cannot read|embedded null"),
    ):
        with pytest.raises(MaltriageError, match=message):
            fetched(str(source), None)


@servers.needs_remote
def test_a_url(web: Site) -> None:
    assert fetched(f"{web.url}/m.onnx") == DATA
    with pytest.raises(MaltriageError, match="another file than expected"):
        fetched(f"{web.url}/m.onnx", "0" * 64)
    with pytest.raises(MaltriageError, match="no SHA-256 in hex: zz"):
        fetched(f"{web.url}/m.onnx", "zz")


@servers.needs_remote
def test_a_url_without_a_digest_is_not_asked(web: Site) -> None:
    with pytest.raises(MaltriageError, match=r"needs its digest \(--sha256\)"):
        fetched(f"{web.url}/m.onnx", None)
    assert web.requests == []


@servers.needs_remote
def test_a_published_file_needs_no_digest_and_must_be_it(web: Site) -> None:
    model = Path(__file__).parents[2] / "models" / "maltriage-evidence-int8.index.npz"
    data = model.read_bytes()
    web.pages[f"/{model.name}"] = Page(data)
    url, name = f"{web.url}/{model.name}", "maltriage-evidence-int8"
    assert fetch.fetched(url, name, None, len(data)) == data
    web.pages[f"/{model.name}"] = Page(data + b"x")
    with pytest.raises(MaltriageError, match="another file than expected"):
        fetch.fetched(url, name, None, len(data) + 1)


@servers.needs_remote
@pytest.mark.parametrize("length", ["true", None])
def test_a_url_above_the_limit(web: Site, length: str | None) -> None:
    web.pages["/m.onnx"] = Page(bytes(LIMIT + 1), length=length)
    with pytest.raises(MaltriageError, match="larger than 1,000 bytes"):
        fetched(f"{web.url}/m.onnx")


@servers.needs_remote
def test_a_url_that_is_cut_off_or_gone(web: Site) -> None:
    web.pages["/m.onnx"] = Page(DATA, length=len(DATA) + 5)
    with pytest.raises(MaltriageError, match="cannot read"):
        fetched(f"{web.url}/m.onnx")
    with pytest.raises(MaltriageError, match=r"cannot read .*404"):
        fetched(f"{web.url}/none")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(MaltriageError, match="cannot read"):
            fetched(f"http://127.0.0.1:{unused.getsockname()[1]}/m.onnx")


@servers.needs_remote
def test_redirects_stay_within_the_scheme(web: Site) -> None:
    web.pages["/on"] = Page(status=302, headers={"Location": "/m.onnx"})
    assert fetched(f"{web.url}/on") == DATA
    for other in (f"https://{web.host}/m.onnx", "ftp://127.0.0.1/m", "file:///etc/passwd"):
        web.pages["/off"] = Page(status=302, headers={"Location": other})
        with pytest.raises(MaltriageError, match=r"cannot read .*: it sends on to"):
            fetched(f"{web.url}/off")


@servers.needs_remote
def test_secrets_of_a_url_are_not_shown(web: Site) -> None:
    url = f"http://user:hush@{web.host}/none?token=hush"
    with pytest.raises(MaltriageError, match="cannot read") as caught:
        fetched(url)
    assert "hush" not in str(caught.value)


@servers.needs_remote
def test_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    from maltriage.source import remote

    def forget() -> None:
        remote._made.cache_clear()
        fsspec.get_filesystem_class("s3").clear_instance_cache()

    with servers.bucket() as bucket:
        for name, value in servers.credentials(bucket.port).items():
            monkeypatch.setenv(name, value)
        forget()
        bucket.objects |= {"m.onnx": DATA, "large": bytes(LIMIT + 1)}
        assert fetched("s3://bkt/m.onnx") == DATA
        with pytest.raises(MaltriageError, match="larger than 1,000 bytes"):
            fetched("s3://bkt/large")
        forget()


@pytest.mark.parametrize("url", ["ftp://host/m.onnx", "file:///m.onnx", "gs://bkt/m.onnx"])
def test_other_schemes_are_refused(url: str) -> None:
    with pytest.raises(MaltriageError, match="models are read from https, http, s3"):
        fetched(url)
