"""URLs as inputs of `scan` and `explain`, as processes; servers are on loopback."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import servers
from corpus.synthetic import zipped
from hostile.make import sample
from servers import Page

from maltriage.report.documents.schema import json_schema
from maltriage.version import install_extra

pytestmark = servers.needs_remote
X86, X64 = sample("console-x86.exe"), sample("console-x64.exe")


@pytest.fixture(scope="module")
def s3() -> Iterator[int]:
    with servers.moto() as port:
        yield port


@pytest.fixture
def s3_env(s3: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in servers.credentials(s3).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def fill(s3: int, s3_env: None, request: pytest.FixtureRequest) -> Any:
    """Puts objects into a bucket of the test's own, and gives its URL."""
    client = servers.client(s3)
    name = request.node.name.replace("_", "-")[:60]

    def put(**objects: bytes) -> str:
        client.call_s3("create_bucket", Bucket=name)
        for key, data in objects.items():
            client.call_s3("put_object", Bucket=name, Key=key, Body=data)
        return f"s3://{name}"

    return put


def records(stdout: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stdout.splitlines()]


def without(record: dict[str, Any], root: str) -> dict[str, Any]:
    """A record without what differs from place to place."""
    kept = {name: value for name, value in record.items() if name not in ("timing", "seconds")}
    for group in kept.get("groups") or ():
        group["path"] = group["path"].removeprefix(f"{root}/")
    return {**kept, "path": kept.get("path", "").removeprefix(f"{root}/")}


def test_a_bucket_is_scanned_like_a_folder(run_cli, fill, tmp_path: Path) -> None:
    files = {f"{i % 3}/{i:02}.exe": X86 + b"%d" % i for i in range(26)}
    files |= {"a.zip": zipped({"in/x.exe": X64, "y.txt": b"hello"}), "n.txt": b"no program"}
    files |= {"deep/down/below/z.exe": X64, "e.exe": b""}
    for name, data in files.items():
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    url = fill(**files)
    local = run_cli("scan", "in", "-f", "ndjson")
    there = run_cli("scan", url, "-f", "ndjson")
    assert (local.returncode, there.returncode, there.stderr) == (0, 0, b"")
    expected = {r["path"]: r for r in (without(r, "in") for r in records(local.stdout))}
    found = {r["path"]: r for r in (without(r, url) for r in records(there.stdout))}
    assert len(found) == 32  # with the summary
    for record in records(there.stdout)[-6:]:
        jsonschema.validate(record, json_schema())
    assert found == expected
    again = run_cli("scan", f"{url}/0", f"{url}/a.zip!in/x.exe", "-f", "ndjson")
    paths = [record["path"] for record in records(again.stdout)[:-1]]
    assert paths == [*(f"{url}/0/{i:02}.exe" for i in range(0, 26, 3)), f"{url}/a.zip!in/x.exe"]
    (tmp_path / "list").write_text(f"{url}/1\nin/e.exe\n{url}/deep/down/below/z.exe\n{url}/gone\n")
    listed = run_cli("scan", "--files-from", "list", "-f", "csv", "--fields", "path,code")
    assert listed.returncode == 3
    lines = listed.stdout.decode().splitlines()
    assert len(lines) == 1 + 9 + 3
    assert lines[-3:] == [
        "in/e.exe,empty",
        f"{url}/deep/down/below/z.exe,",
        f"{url}/gone,not-found",
    ]


def test_what_has_not_changed_is_not_read_again(
    run_cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with servers.bucket() as bucket:
        for name, value in servers.credentials(bucket.port).items():
            monkeypatch.setenv(name, value)
        bucket.objects = {f"{i}.exe": X86 + b"%d" % i for i in range(12)} | {"n.txt": b"no program"}

        def scan(*options: str) -> tuple[list[bool], int]:
            bucket.requests.clear()
            done = run_cli("scan", "s3://bkt", "-f", "ndjson", *options)
            assert done.returncode == 0
            stored = [r["timing"]["stored"] for r in records(done.stdout) if r["type"] == "result"]
            return stored, sum("Range" in asked for _, _, asked in bucket.requests)

        assert scan() == ([False] * 12, 13)
        assert scan() == ([True] * 12, 0)
        bucket.objects["3.exe"] = X86 + b"4"  # of the same size and time, known by its contents
        bucket.objects["5.exe"] = X86 + b"new"
        stored, read = scan()
        assert (stored.count(False), read) == (1, 2)
        assert scan("--refresh") == ([False] * 12, 13)


def test_a_scan_of_a_bucket_goes_on(run_cli, monkeypatch: pytest.MonkeyPatch) -> None:
    with servers.bucket() as bucket:
        for name, value in servers.credentials(bucket.port).items():
            monkeypatch.setenv(name, value)
        bucket.objects = {f"{i:03}.exe": X86 + b"%d" % i for i in range(40)} | {"z.exe": X64}
        bucket.denied = {"z.exe"}
        first = run_cli("scan", "s3://bkt", "-o", "/dev/full", "-f", "ndjson", "--resume")
        assert first.returncode == 2  # the disk is full: it stops where it is
        bucket.requests.clear()
        done = run_cli("scan", "s3://bkt", "-o", "/dev/full", "-f", "ndjson", "--resume")
        assert b": goes on; it began on 20" in done.stderr
        read = sum("Range" in asked for _, _, asked in bucket.requests)
        assert read < 41


def test_what_cannot_be_read_is_one_error_each(run_cli, monkeypatch: pytest.MonkeyPatch) -> None:
    with servers.bucket() as bucket:
        for name, value in servers.credentials(bucket.port).items():
            monkeypatch.setenv(name, value)
        bucket.objects = {"a/new\nline!.exe": X86, "a/no.exe": X64, "b/x.exe": X64, "a/z.exe": X86}
        bucket.denied = {"a/no.exe", "b/"}
        bucket.sizes = {"a/no.exe": 7, "a/z.exe": 10 * 2**30}
        done = run_cli(
            "scan", "s3://bkt/a", "s3://bkt/b/", "s3://gone", "s3://bkt/h", "-f", "ndjson"
        )
        assert done.returncode == 3
        assert done.stderr.decode().splitlines() == [
            "maltriage: s3://bkt/b/: not read: AccessDenied it says",
            "maltriage: s3://gone: not read: NoSuchBucket it says",
            "maltriage: s3://bkt/h: not read: no such key, nor one below it",
        ]
        said = [(r["type"], r["path"], r.get("code")) for r in records(done.stdout)[:-1]]
        assert said == [
            ("result", "s3://bkt/a/new\nline!.exe", None),
            ("error", "s3://bkt/a/no.exe", "unreadable"),
            ("skipped", "s3://bkt/a/z.exe", "too-large"),
            ("error", "s3://bkt/b/", "unreadable"),
            ("error", "s3://gone", "not-found"),
            ("error", "s3://bkt/h", "not-found"),
        ]


def test_credentials_are_those_of_the_environment(run_cli) -> None:
    with servers.bucket() as bucket:
        bucket.objects = {"x.exe": X86}
        given: dict[str, str | None] = {**servers.credentials(bucket.port)}
        done = run_cli("scan", "s3://bkt", env=given)
        assert done.returncode == 0
        assert all("AKIATESTS" in asked["Authorization"] for _, _, asked in bucket.requests)
        none = {**given, "AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
        done = run_cli("scan", "s3://bkt", "-f", "ndjson", env=none)
        assert done.returncode == 3
        (error, _) = records(done.stdout)
        assert (error["path"], error["code"]) == ("s3://bkt", "unreadable")
        assert error["reason"] == "Unable to locate credentials"
        bucket.requests.clear()
        done = run_cli("scan", "s3://bkt", "--refresh", env={**none, "FSSPEC_S3_ANON": "true"})
        assert (done.returncode, len(bucket.requests)) == (0, 3)
        assert not [asked for _, _, asked in bucket.requests if "Authorization" in asked]


def test_an_empty_bucket_is_an_empty_folder(run_cli, fill) -> None:
    done = run_cli("scan", fill(), "-f", "ndjson")
    assert done.returncode == 3
    assert done.stderr.endswith(b": nothing was triaged: there is no file in it\n")
    (summary,) = records(done.stdout)
    assert summary["files"] == 0


def test_explain(run_cli, fill) -> None:
    url = fill(**{"x.exe": X86, "in/a.zip": zipped({"b/y.exe": X64})})
    done = run_cli("explain", f"{url}/x.exe", "-f", "json")
    assert (done.returncode, done.stderr) == (0, b"")
    (record,) = records(done.stdout)
    assert record["path"] == f"{url}/x.exe"
    assert record["evidence"]["checks"]
    assert any(hot["content"] for hot in record["evidence"]["hot"])
    done = run_cli("explain", f"{url}/in/a.zip!b/y.exe", "--no-verify")
    assert done.returncode == 0
    assert f"{url}/in/a.zip!b/y.exe".encode() in done.stdout
    done = run_cli("explain", f"{url}/in")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"a folder (scan takes folders, explain files)" in done.stderr
    done = run_cli("explain", f"{url}/none.exe")
    assert (done.returncode, done.stdout) == (3, b"")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("scheme", ["s3", "http"])
def test_a_server_that_says_nothing_does_not_hold_up_ctrl_c(scheme: str) -> None:
    with servers.silent() as (port, asked):
        url = "s3://bkt/x.exe" if scheme == "s3" else f"http://127.0.0.1:{port}/x.exe"
        process = subprocess.Popen(
            [sys.executable, "-m", "maltriage", "scan", url, "-f", "ndjson", "--no-cache"],
            env={**os.environ, **servers.credentials(port)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert asked.wait(60)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, stderr) == (130, b"maltriage: stopped, 0 done\n")
    (summary,) = records(stdout)
    assert summary["interrupted"] is True


def test_a_file_that_takes_too_long_costs_itself(run_cli, folder: Path) -> None:
    with servers.site() as site:
        site.pages["/slow.exe"] = Page(X86, hold=60)
        site.pages["/x.exe"] = Page(X64)
        urls = [f"{site.url}/slow.exe", f"{site.url}/x.exe"]
        done = run_cli("scan", *urls, folder, "-f", "ndjson", "--timeout", "4", timeout=90)
    assert done.returncode == 3
    said = [(r["type"], r.get("path"), r.get("code")) for r in records(done.stdout)]
    assert said == [
        ("error", urls[0], "timeout"),
        ("result", urls[1], None),
        ("result", str(folder / "a.exe"), None),
        ("skipped", str(folder / "b.txt"), "not-pe"),
        ("summary", None, None),
    ]


def test_nothing_shows_what_lets_somebody_in(run_cli, tmp_path: Path) -> None:
    with servers.site() as site:
        site.pages["/x.exe?token=hush-1"] = site.pages["/x.exe?token=hush-2"] = Page(X86)
        site.pages["/a.zip?X-Amz-Signature=hush"] = Page(zipped({"y.exe": X64}))
        site.pages["/no.exe?sig=hush"] = Page(b"no", 403)
        who = f"http://me:hush@{site.host}"
        urls = [f"{who}/{path[1:]}" for path in site.pages]
        done = run_cli(
            "scan", *urls, f"{urls[2]}!y.exe", "http://127.0.0.1:9/gone?key=hush",
            "-o", "a.ndjson", "-o", "a.html", "-o", "-", "--cache", "kept", "-vv",
            env={"NO_PROXY": "127.0.0.1"},
        )  # fmt: skip
        assert done.returncode == 3
        found = records((tmp_path / "a.ndjson").read_bytes())
        assert [(r["path"], r.get("code")) for r in found[:-1]] == [
            (f"{site.url}/x.exe?token=…", None),
            (f"{site.url}/x.exe?token=…#2", None),
            (f"{site.url}/a.zip?X-Amz-Signature=…!y.exe", None),
            (f"{site.url}/no.exe?sig=…", "unreadable"),
            (f"{site.url}/a.zip?X-Amz-Signature=…!y.exe", None),
            ("http://127.0.0.1:9/gone?key=…", "io"),
        ]
        written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
        assert len(written) >= 3
        assert not [data for data in [done.stdout, done.stderr, *written] if b"hush" in data]
        for wrong in ("explain", "scan"):
            done = run_cli(wrong, f"zip::{urls[0]}")
            assert done.returncode == 2
            assert b"hush" not in done.stderr


def test_files_of_the_web_are_known_again(run_cli) -> None:
    with servers.site() as site:
        site.pages["/x.exe"] = Page(X86, headers={"Last-Modified": "Thu, 02 Jan 2025 03:04:05 GMT"})
        site.pages["/y.exe"] = Page(X64)
        urls = [f"{site.url}/x.exe", f"{site.url}/y.exe"]
        for reads in (["/x.exe", "/y.exe"], ["/y.exe"]):  # of the second nothing tells whether
            site.requests.clear()
            done = run_cli("scan", *urls, "-f", "ndjson", env={"NO_PROXY": "127.0.0.1"})
            assert done.returncode == 0
            assert sorted(site.asked()) == reads


def test_local_paths_need_no_network_and_no_extra(run_cli, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "without").mkdir()
    for name in ("fsspec", "s3fs", "aiohttp"):
        (tmp_path / "without" / f"{name}.py").write_text("raise ImportError('not here')\n")
    path = os.pathsep.join([str(tmp_path / "without"), os.environ.get("PYTHONPATH", "")])
    done = run_cli("scan", folder, env={"PYTHONPATH": path})
    assert (done.returncode, done.stderr) == (0, b"")
    for command in (["scan", "s3://b/k"], ["explain", "https://h/x.exe"]):
        done = run_cli(*command, env={"PYTHONPATH": path})
        assert (done.returncode, done.stdout) == (2, b"")
        assert done.stderr.count(b"\n") == 1
        assert f"needs the extra `remote`: {install_extra('remote')}".encode() in done.stderr


def test_results_are_not_written_to_urls(run_cli, folder: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    done = run_cli("scan", folder, "-o", "s3://b/out.ndjson")
    assert done.returncode == 2
    assert b"results go to local files, not to URLs" in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_a_saved_report_and_a_url(run_cli, folder: Path, tmp_path: Path) -> None:
    run_cli("scan", folder, "-o", "a.ndjson")
    shutil.copy(tmp_path / "a.ndjson", tmp_path / "b.ndjson")
    done = run_cli("scan", "a.ndjson", "https://h/x.exe?sig=hush")
    assert done.returncode == 2
    assert b"a.ndjson is a saved report and https://h/x.exe?sig=" in done.stderr
    assert b"hush" not in done.stderr
