"""Buckets: what a scan of one costs over that of a folder, how latency is met, what a list takes.

    python -m benchmarks.scale.remote FOLDER [--files 400] [--latency 30] [--keys 1000 100000]

The same files are scanned in their folder and from a server of S3 on loopback that waits so many
milliseconds before it answers, with different numbers of workers. Seconds of the processor are
those of all processes of the scan, the server's not. Nothing is kept (`--no-cache`). The server has
part of the cores, so seconds by the clock say less than they would where it is another machine.
`--keys`: a bucket of so many keys is listed and nothing of it is read; memory is anonymous (Linux).
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from benchmarks.speed.measure import Run, adopt_orphans, timed

PAGE = 1000
JOBS = (2, 8, 16)


class Handler(BaseHTTPRequestHandler):
    """Lists `keys` in pages, and reads `files` in ranges, each answer after `wait` seconds."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    keys: Sequence[str] = ()
    files: Sequence[Path] = ()
    wait = 0.0
    requests = 0

    def do_GET(self) -> None:
        Handler.requests += 1
        time.sleep(self.wait)
        parts = urlsplit(self.path)
        asked = parse_qs(parts.query)
        if "list-type" in asked:
            self._answer(200, self._listing(int(asked.get("continuation-token", ["0"])[0])))
            return
        data = self.files[int(unquote(parts.path).rpartition("/")[2][:-4])].read_bytes()
        first, last = self.headers["Range"].removeprefix("bytes=").split("-")
        part = data[int(first) : int(last) + 1]
        end = int(first) + len(part) - 1
        self._answer(206, part, {"Content-Range": f"bytes {first}-{end}/{len(data)}"})

    def _listing(self, start: int) -> bytes:
        lines = [
            f"<Contents><Key>{escape(key)}</Key><Size>1000</Size><ETag>{key}</ETag>"
            "<LastModified>2025-01-02T03:04:05.000Z</LastModified></Contents>"
            for key in self.keys[start : start + PAGE]
        ]
        more = start + PAGE < len(self.keys)
        token = f"<NextContinuationToken>{start + PAGE}</NextContinuationToken>" if more else ""
        return (
            '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{''.join(lines)}"
            "</ListBucketResult>"
        ).encode()

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "ETag": '"1"'}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


def scan(path: str, jobs: int, *options: str, memory: bool = False) -> Run:
    command = [sys.executable, "-m", "maltriage", "scan", path, "--no-cache", "-q", "--exit-zero"]
    command += ["-f", "ndjson", "-j", str(jobs), *options]
    return timed(command, memory=memory)


def scans(folder: Path, count: int, latency: float) -> None:
    """A folder of links to the files, and the same files in the bucket."""
    Handler.files = sorted(path for path in folder.rglob("*") if path.is_file())[:count]
    Handler.keys = [f"{number:06}.exe" for number in range(len(Handler.files))]
    lines = b"".join(os.fsencode(path) + b"\n" for path in Handler.files)
    size = sum(path.stat().st_size for path in Handler.files)
    print(f"{len(Handler.files)} files, {size / 1e6:.0f} MB, {os.cpu_count()} cores")
    print("from         latency  workers   files/s    CPU ms a file   requests a file")
    for jobs in JOBS:
        command = [sys.executable, "-m", "maltriage", "scan", "--files-from", "-", "--no-cache"]
        run = timed([*command, "-q", "--exit-zero", "-f", "ndjson", "-j", str(jobs)], lines)
        show("folder", 0.0, jobs, run)
    for wait in (0.0, latency):
        Handler.wait = wait / 1e3
        for jobs in JOBS:
            Handler.requests = 0
            show("bucket", wait, jobs, scan("s3://bkt", jobs))


def show(name: str, latency: float, jobs: int, run: Run) -> None:
    count = len(Handler.files)
    records = run.output.count(b"\n") - 1
    if records != count:
        raise SystemExit(f"{records} records of {count} files")
    each = f"{Handler.requests / count:12.2f}" if name == "bucket" else ""
    print(
        f"{name:<10} {latency:6.0f} ms {jobs:8} {count / run.wall:9.1f}"
        f" {run.cpu / count * 1e3:16.1f} {each}"
    )


def lists(counts: Sequence[int]) -> None:
    Handler.wait = 0.0
    print("keys        seconds   CPU s   MB at most")
    for count in counts:
        Handler.keys = [f"{number:09}.exe" for number in range(count)]
        run = scan("s3://bkt", 1, "--include", "none", memory=True)
        print(f"{count:<10,} {run.wall:8.1f} {run.cpu:7.1f} {run.megabytes:12.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=400)
    parser.add_argument("--latency", type=float, default=30.0, help="milliseconds")
    parser.add_argument("--keys", type=int, nargs="*", default=[1000, 100_000])
    options = parser.parse_args()
    adopt_orphans()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ.update(
        AWS_ENDPOINT_URL=f"http://127.0.0.1:{server.server_address[1]}",
        AWS_ACCESS_KEY_ID="a",
        AWS_SECRET_ACCESS_KEY="b",
        AWS_DEFAULT_REGION="us-east-1",
    )
    scans(options.folder, options.files, options.latency)
    lists(options.keys)


if __name__ == "__main__":
    main()
