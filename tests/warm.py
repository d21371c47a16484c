"""Runs a module as a process forked from one that has imported already what it needs.

Most of the time of a short command is Python's start and its imports. `Warm` keeps one process
that has done both; each run is a process of its own all the same, with its own arguments, folder,
environment, standard streams, threads and exit code.

The process that is forked from learns: each run tells it at its end what it had imported. It also
has the server that `multiprocessing` forks workers from, which takes a second to start.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import os
import runpy
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

READ_LATE = (
    *("MALTRIAGE_", "PYTEST_", "XDG_", "APPDATA", "LOCALAPPDATA", "MPLCONFIGDIR"),
    *("COLUMNS", "LINES", "SOURCE_DATE_EPOCH", "CUDA_VISIBLE_DEVICES"),
)
"""Variables by their beginnings that are read when they are needed: not by Python or a library
when it is loaded, and not by workers."""
NEVER = ("__main__", "__mp_main__", "ray", "sitecustomize")
"""Modules that are not imported ahead: Ray begins threads."""


class Warm:
    """A process to fork from, which begins at the first run and ends with `close`."""

    def __init__(self, module: str, preload: str) -> None:
        """Run `module`; `preload` names a function of no arguments that is called before."""
        self._command = (module, preload)
        self._environment: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def suits(self, environment: Mapping[str, str]) -> bool:
        """Whether a run with these variables does not differ from a cold start."""
        before = self._environment or os.environ
        return hasattr(os, "fork") and all(
            name.startswith(READ_LATE) or environment.get(name) == before.get(name)
            for name in {*environment, *before}
        )

    def run(
        self,
        arguments: Sequence[str],
        cwd: Path,
        environment: Mapping[str, str],
        stdin: bytes,
        timeout: float,
    ) -> subprocess.CompletedProcess[bytes]:
        """As `subprocess.run` with captured output."""
        from concurrent.futures import ThreadPoolExecutor
        from multiprocessing import reduction

        with self._lock, contextlib.ExitStack() as stack:
            self._begin()
            ours, theirs = [], []
            for mode in ("wb", "rb", "rb"):
                read, write = os.pipe()
                mine, other = (write, read) if mode == "wb" else (read, write)
                ours.append(stack.enter_context(os.fdopen(mine, mode)))
                theirs.append(other)
            self._link.send((list(arguments), str(cwd), dict(environment)))
            assert self._process is not None
            for fd in theirs:
                reduction.send_handle(self._link, fd, self._process.pid)
                os.close(fd)
            pid = self._link.recv()
            with ThreadPoolExecutor(2) as threads:
                streams = [threads.submit(stream.read) for stream in ours[1:]]
                with contextlib.suppress(BrokenPipeError), ours[0] as given:
                    given.write(stdin)
                ended = self._link.poll(timeout)
                if not ended:
                    os.kill(pid, 9)
                code = self._link.recv()
                out, err = (stream.result(timeout=10) for stream in streams)
        if not ended:
            raise subprocess.TimeoutExpired(list(arguments), timeout, out, err)
        return subprocess.CompletedProcess(list(arguments), code, out, err)

    def close(self) -> None:
        if self._process is not None:
            self._link.close()
            self._process.communicate(timeout=30)

    def _begin(self) -> None:
        if self._process is not None:
            return
        from multiprocessing import Pipe

        self._link, theirs = Pipe()
        self._environment = dict(os.environ)
        # Pipes, as each run has them: Python looks at what its streams are when it starts.
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno()), *self._command],
            pass_fds=[theirs.fileno()],
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # no thread may be there to fork
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        theirs.close()


def serve(link: Connection[Any, Any], preload: str) -> None:
    """Fork a process for each request; returns in those, and ends with the link."""
    from multiprocessing import reduction

    before = dict(os.environ)
    module, _, function = preload.partition(":")
    getattr(importlib.import_module(module), function)()
    while True:
        gc.collect()
        gc.freeze()  # what is not looked at stays shared
        try:
            arguments, cwd, environment = link.recv()
        except EOFError:
            sys.exit()
        streams = [reduction.recv_handle(link) for _ in range(3)]
        modules, tell = os.pipe()
        folder = _server_folder(None)
        pid = os.fork()
        _server_folder(folder)
        if not pid:
            break
        for fd in (*streams, tell):
            os.close(fd)
        link.send(pid)
        with os.fdopen(modules) as lines:
            names = lines.read().split()
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        link.send(code)
        for name in names:
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    link.close()
    os.close(modules)
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
        os.close(fd)
    added = {name: value for name, value in os.environ.items() if name not in before}
    os.environ.clear()
    os.environ.update(added | environment)
    os.chdir(cwd)
    sys.path[0] = cwd
    sys.argv[1:] = arguments
    _keep_the_server()
    _tell_at_the_end(tell)


def _server_folder(folder: Path | None) -> Path | None:
    """Set the folder of the server of workers, and return what it was. A process that is forked
    where there is none keeps the server."""
    ours: Any = sys.modules.get("maltriage.work.forkserver")
    if ours is None:
        return None
    before: Path | None = ours._folder
    ours._folder = folder
    return before


def _keep_the_server() -> None:
    """Take workers from the server of the process before, whose child it is, and look no more."""
    from multiprocessing import forkserver, resource_tracker

    def runs_already(*_: object) -> None:
        pass

    forkserver.ensure_running = runs_already
    forkserver.ForkServer.ensure_running = runs_already  # type: ignore
    # Each run has its own, which says what was left over.
    vars(resource_tracker._resource_tracker).update(_fd=None, _pid=None)


def _tell_at_the_end(fd: int) -> None:
    known = set(sys.modules)

    def tell() -> None:
        names = [name for name in sys.modules if name not in known]
        wanted = [name for name in names if name.partition(".")[0] not in NEVER]
        os.write(fd, "\n".join(wanted).encode())

    atexit.register(tell)


def main() -> None:
    """Serve, and in a process that was forked run the module."""
    link, module, preload = sys.argv[1:]
    code: list[int] = []

    def leave() -> None:
        """End without taking all modules down, which would make a copy of their memory."""
        if code:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code[0])

    atexit.register(leave)  # before anybody else, so that it is called last
    from multiprocessing.connection import Connection

    serve(Connection(int(link)), preload)
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            code.append(end.code or 0)
        raise


if __name__ == "__main__":
    main()
