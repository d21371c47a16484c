"""`maltriage scan --engine ray` as a process: records, what it leaves, and what it refuses."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
import servers
from hostile.make import sample

from maltriage.version import install_extra

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None or sys.platform == "win32",
    reason="the extra `ray` is not installed",
)
RAY = ("--engine", "ray")


def lines(path: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in path.read_bytes().splitlines()]
    for record in found:
        record.pop("timing", None)
        record.pop("seconds", None)
    return found


@needs_ray
def test_the_records_are_those_of_the_local_engine(
    run_cli: Any, samples_dir: Path, tmp_path: Path
) -> None:
    """On a cluster that is started for it, listens on loopback alone, and is gone afterwards."""
    import psutil

    (tmp_path / "samples").symlink_to(samples_dir)
    command = ["scan", "samples", "--no-cache", "--exit-zero", "--fpr", "0.05", "-o"]
    temporary = Path(tempfile.mkdtemp(dir="/tmp"))  # a short path, for Ray's sockets
    process = subprocess.Popen(
        [sys.executable, "-m", "maltriage", *command, "there.ndjson", "--engine", "ray"],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    seen, speaking, reporting = set(), set(), set()
    while process.poll() is None:
        family = psutil.Process(process.pid).children(recursive=True)
        seen |= set(family)
        for one in family:
            try:
                found = one.net_connections("inet")
                reporting.add(one.environ().get("RAY_USAGE_STATS_ENABLED"))
            except psutil.Error:
                continue
            ends = [end for c in found for end in (c.laddr, c.raddr) if end]
            speaking |= {end.ip.removeprefix("::ffff:") for end in ends}
        time.sleep(0.3)
    out, errors = process.communicate()
    assert (process.returncode, out) == (0, b""), errors
    assert errors.startswith(b"wrote there.ndjson (ndjson, ")
    assert errors.count(b"\n") == 1
    assert run_cli(*command, "here.ndjson").returncode == 0
    assert lines(tmp_path / "there.ndjson") == lines(tmp_path / "here.ndjson")
    assert "0.05" in {
        str(r["verdict"]["fpr"]) for r in lines(tmp_path / "here.ndjson") if "verdict" in r
    }
    assert speaking == {"127.0.0.1"}
    assert "0" in reporting
    assert reporting <= {"0", None}
    assert len(seen) > 3
    _, alive = psutil.wait_procs(seen, timeout=10)
    assert not alive
    temporary.rmdir()  # which is empty


@needs_ray
@servers.needs_remote
@pytest.mark.slow
def test_a_bucket_is_read_by_the_nodes(
    run_cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with servers.moto() as port:
        for name, value in servers.credentials(port).items():
            monkeypatch.setenv(name, value)
        client = servers.client(port)
        client.call_s3("create_bucket", Bucket="bucket")
        for number in range(90):
            data = sample("console-x86.exe") + b"%d" % number
            client.call_s3("put_object", Bucket="bucket", Key=f"in/{number:02}.exe", Body=data)
        command = ["scan", "s3://bucket/in", "--no-cache", "--exit-zero", "-q", "-o"]
        there = run_cli(*command, "there.ndjson", "--engine", "ray")
        assert (there.returncode, there.stdout, there.stderr) == (0, b"", b"")
        assert run_cli(*command, "here.ndjson").returncode == 0
    found = lines(tmp_path / "there.ndjson")
    assert found == lines(tmp_path / "here.ndjson")
    assert len(found) == 91


@needs_ray
def test_a_cluster_that_is_not_there(run_cli: Any, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
        done = run_cli("scan", folder, "--engine", "ray", "--address", address, timeout=30)
        assert (done.returncode, done.stdout) == (2, b"")
        assert f"no Ray cluster answers at {address}: ".encode() in done.stderr
        assert done.stderr.count(b"\n") == 1
    done = run_cli("scan", folder, "--engine", "ray", "--address", "nonsense")
    assert done.returncode == 2
    assert b"nonsense: no address of a Ray cluster" in done.stderr


@needs_ray
def test_what_one_machine_alone_can_do(run_cli: Any, folder: Path) -> None:
    for arguments, said in (
        (["-"], b"standard input is read on this machine only"),
        ([folder, "--verify"], b"--verify with --engine ray"),
    ):
        done = run_cli("scan", *arguments, "--engine", "ray", stdin=sample("console-x86.exe"))
        assert (done.returncode, done.stdout) == (2, b"")
        assert said in done.stderr
        assert done.stderr.count(b"\n") == 1


def test_an_address_goes_with_ray(run_cli: Any, folder: Path) -> None:
    done = run_cli("scan", folder, "--address", "auto")
    assert done.returncode == 2
    assert b"--address and --shards go with --engine ray" in done.stderr


@needs_ray
def test_what_does_not_go_with_parts(run_cli: Any, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "part-00000.ndjson").write_bytes(b"")
    for arguments, said in (
        (["--shards", "new"], b"--address and --shards go with --engine ray"),
        (["--shards", "new", "-o", "a.csv", *RAY], b"--shards or -o, not both"),
        (["--shards", "new", "--cache", "c", *RAY], b"--shards or --cache, not both"),
        (["--shards", "new", "-f", "csv", *RAY], b"--shards writes ndjson or parquet, not csv"),
        (["--shards", folder / "new", *RAY], b"which is scanned"),
        (["--shards", "s3://bkt/new", *RAY], b"results go to local files, not to URLs"),
        (["--shards", "out", *RAY], b"has shards of a result; --resume continues them"),
    ):
        done = run_cli("scan", folder, *arguments)
        assert (done.returncode, done.stdout) == (2, b"")
        assert said in done.stderr
        assert done.stderr.count(b"\n") == 1
    assert not (tmp_path / "new").exists()


@needs_ray
@pytest.mark.slow
def test_parts_are_saved_reports(run_cli: Any, samples_dir: Path, tmp_path: Path) -> None:
    options = ("--exit-zero", "--fields", "path,label")
    done = run_cli("scan", samples_dir, *RAY, "--shards", "out", "--exit-zero")
    assert (done.returncode, done.stdout) == (0, b"")
    assert re.fullmatch(rb"wrote .*out \(ndjson, 1 shard, \d+ records, .* KiB\)\n", done.stderr)
    end = json.loads((tmp_path / "out" / "summary.json").read_bytes())
    assert (end["type"], end["interrupted"]) == ("summary", False)
    again = run_cli("scan", "out/part-00000.ndjson", "-f", "csv", *options)
    here = run_cli("scan", samples_dir, "--no-cache", "-f", "csv", *options)
    assert again.stdout == here.stdout
    resumed = run_cli("scan", samples_dir, *RAY, "--shards", "out", "--exit-zero", "--resume", "-q")
    assert (resumed.returncode, resumed.stderr) == (0, b"")


def test_ray_that_is_not_installed_is_named(run_cli: Any, folder: Path, tmp_path: Path) -> None:
    """By the extra that brings it."""
    hide = tmp_path / "hide" / "sitecustomize.py"
    hide.parent.mkdir()
    hide.write_text(
        "import importlib.util\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda *n: None if n == ('ray',) else find(*n)\n"
    )
    paths = os.pathsep.join([str(hide.parent), os.environ.get("PYTHONPATH", "")])
    done = run_cli("scan", folder, "--engine", "ray", env={"PYTHONPATH": paths})
    assert done.returncode == 2
    assert install_extra("ray").encode() in done.stderr
