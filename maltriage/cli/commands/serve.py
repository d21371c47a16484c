"""`maltriage serve`: scans over HTTP, for tools and browsers of this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from maltriage.cli import options as opt
from maltriage.errors import MaltriageError, need


def serve(
    host: Annotated[
        str, typer.Option(help="Address of the loopback device to listen on.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: any that is free.")] = 8731,
    allow: Annotated[
        list[Path] | None,
        typer.Option(help="Folder whose files may be named by path, e.g. /cases; repeatable."),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(help="File with the token, e.g. token.txt; by default a new one is made."),
    ] = None,
    model: opt.Model = None,
    index: opt.Index = None,
    fpr: opt.Fpr = None,
    max_size: opt.MaxSize = 64,
    timeout: opt.Timeout = 60.0,
    jobs: opt.Jobs = 0,
    threads: opt.Threads = 0,
    quiet: opt.Quiet = False,
    verbose: opt.LogLevel = 0,
) -> None:
    """Answer scans over HTTP on the loopback device, for tools and a browser of this machine.

    It takes the extra `serve`. The address that it prints opens a page to drop files on. A program
    sends a file as the body of POST /scan?name=x.exe, or {"paths": ["/cases/x.exe"]} to POST
    /scan-paths, with the token as `Authorization: Bearer TOKEN`, and gets the document of
    `scan --format json`. Its page is at the address in the answer's Location.

    Nothing listens on another device. Uploads stay in memory, one scan runs at a time, and results
    are gone when it ends (docs/how-to/serve.md). Ctrl-C or SIGTERM ends it.
    """
    from maltriage import bundle as bundles
    from maltriage.cli.logs import show_logs
    from maltriage.cli.stop import interrupt
    from maltriage.cli.stop.ending import stopping
    from maltriage.serve.guard import Guard, check_address, check_token
    from maltriage.serve.routes import application, listening, serve_on
    from maltriage.serve.scans import Scans
    from maltriage.similar.search import open_index
    from maltriage.source.archive.limits import Archives
    from maltriage.source.files import WalkOptions
    from maltriage.triage.options import ScanOptions

    show_logs(verbose)
    need("serve", "serve needs Starlette and uvicorn", "starlette", "uvicorn")
    address = check_address(host)
    token = check_token(_token_of(token_file), str(token_file))
    for folder in allow or []:
        if not folder.is_dir():
            raise MaltriageError(f"--allow {folder}: no folder")
    bundle = bundles.at_rate(bundles.load(bundles.resolve(model)), fpr)
    options = ScanOptions(
        walk=WalkOptions(max_size=max_size * opt.MIB),
        archives=Archives(),
        members="each",
        jobs=jobs,
        threads=threads,
        timeout=timeout,
        fpr=fpr,
        index=index,
    )
    open_index(bundle, index)  # an error is of the start, not of a request
    with listening(address, port) as at, stopping() as stop:
        number = at.getsockname()[1]
        scans = Scans(bundle, options, [os.fspath(folder) for folder in allow or []], stop)
        if not quiet or token_file is None:  # nobody can ask without the token
            literal = f"[{address}]" if ":" in address else address
            shown = "" if token_file else f"#{token}"
            typer.echo(f"maltriage: http://{literal}:{number}/{shown}  (Ctrl-C ends it)", err=True)
        serve_on(at, application(scans, Guard(token, address, number)), stop)
    interrupt.forget()


def _token_of(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no text"
        raise MaltriageError(f"cannot read {path}: {reason}") from error
