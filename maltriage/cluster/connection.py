"""Connects to a Ray cluster, or starts one on this machine for the time of a scan.

By default Ray reports home, writes to stdout and stderr, and waits two minutes for a missing
cluster; the settings here prevent that.
"""

from __future__ import annotations

import atexit
import importlib.util
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from maltriage.cluster.nodes import SILENT, SILENT_SECONDS, GoneError
from maltriage.errors import MaltriageError, need
from maltriage.files.temporary import make_folder

LOCAL, AUTO, CLIENT = "local", "auto", "ray://"
CONNECT_SECONDS = 5.0
"""Longest wait for a connection to a cluster's address."""
ANSWER_SECONDS = 30.0
"""Longest wait for the answer of a cluster at an address."""
OBJECT_STORE_BYTES = 256 << 20
"""Object store of a cluster on this machine, for records in transit and for the model."""
MAX_FOLDER = 40
"""Characters of the folder of temporary files: Ray makes sockets below it, and the system limits
their names to 107."""

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # its reports of dead processes go to stdout
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # the future default; Ray warns without it
    "RAY_SCHEDULER_EVENTS": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}
ALONE = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # everywhere: listen on the loopback device only
    "RAY_AUTH_MODE": "token",
    "RAY_worker_niceness": "0",  # the user waits for the scan
}


def need_ray() -> None:
    """Raise MaltriageError unless the extra `ray` is installed."""
    need("ray", "--engine ray needs Ray", "ray")


@contextmanager
def connected(address: str, cpus: int) -> Iterator[Any]:
    """Connect to a cluster for the time of the block.

    Ray's environment variables are set in this process, for good.

    Args:
        address: `local`: a cluster of its own on this machine, gone after the block; `auto`: the
            one that runs on this machine or that RAY_ADDRESS names; `HOST:PORT` of a cluster that
            this machine is a node of; `ray://HOST:PORT` of any that has a client server.
        cpus: of a local cluster.

    Yields:
        The module `ray`.

    Raises:
        MaltriageError: Ray is not installed, there is no such cluster, or it is of another version
            of Ray or Python.
        GoneError: the cluster went while this process connected.
    """
    need_ray()
    os.environ.update(QUIET)
    folder, how = "", dict[str, Any]()
    if address == LOCAL:
        os.environ.update(ALONE)
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # of this cluster alone
        folder = str(_short_folder())
        how = {
            "num_cpus": cpus,
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
            "_temp_dir": folder,
        }
    else:
        _answers(address)
    import ray

    def join() -> None:
        ray.init(
            address=address,
            log_to_driver=False,
            configure_logging=False,
            logging_level=logging.ERROR,
            **how,
        )

    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        try:
            with _own_signals(), _temporary_files_in(folder):
                if address == LOCAL:
                    join()  # what it starts would end with another thread
                else:
                    _in_time(join)
        except (OSError, RuntimeError, ValueError, ImportError) as error:
            first = str(error).strip().partition("\n")[0]
            raise MaltriageError(f"no Ray cluster at {address}: {first}") from error
        yield ray
    except GoneError:
        atexit.unregister(ray.shutdown)  # it would wait for a lost cluster
        raise
    finally:
        if not isinstance(sys.exception(), GoneError):
            with _own_signals():
                ray.shutdown()
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def _in_time(join: Callable[[], object]) -> None:
    """Call what connects to a cluster. It has no deadline: where the head is gone, or hangs, it
    tries again for ever.

    Raises:
        GoneError: it did not end in time, and its thread goes on.
    """
    errors = list[Exception]()

    def call() -> None:
        try:
            join()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(SILENT_SECONDS)
    if thread.is_alive():
        raise GoneError(SILENT)
    if errors:
        raise errors[0]


def _short_folder() -> Path:
    base = tempfile.gettempdir()
    if len(base) > MAX_FOLDER and os.path.isdir("/tmp"):
        base = "/tmp"
    return make_folder(Path(base))


@contextmanager
def _temporary_files_in(folder: str) -> Iterator[None]:
    """Have processes that start meanwhile, and theirs, keep temporary files in a folder.

    Ray ends actors and what they started by SIGKILL, so that none of them removes a file.
    """
    before = os.environ.get("TMPDIR")
    if folder:
        os.environ["TMPDIR"] = folder
    try:
        yield
    finally:
        if before is not None:
            os.environ["TMPDIR"] = before
        else:
            os.environ.pop("TMPDIR", None)


def _answers(address: str) -> None:
    """Raise MaltriageError if no cluster answers at an address soon."""
    named = os.environ.get("RAY_ADDRESS", "") if address == AUTO else address
    place = urlsplit(named if "://" in named else f"//{named}")
    try:
        host, port = place.hostname, place.port or (10001 if named.startswith(CLIENT) else None)
    except ValueError:
        host = port = None
    if named and (not host or not port):
        raise MaltriageError(f"{named}: no address of a Ray cluster (HOST:PORT, ray://HOST:PORT)")
    if host and port:
        try:
            socket.create_connection((host, port), CONNECT_SECONDS).close()
        except OSError as error:
            why = error.strerror or str(error)
            raise MaltriageError(f"no Ray cluster answers at {named}: {why}") from error
    if named.startswith(CLIENT) and importlib.util.find_spec("grpc") is None:
        raise MaltriageError(f"{named}: such an address needs pip install 'ray[client]'")
    if named.startswith(CLIENT):
        return  # Ray itself waits for it half a minute at most
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check"]
    command += ["--address", named] if named else []
    try:
        done = subprocess.run(command, capture_output=True, timeout=ANSWER_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        where = f"at {named}" if named else "on this machine"
        raise MaltriageError(f"the server {where} does not answer as a Ray cluster does") from error
    if done.returncode:
        said = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if line]
        where = f"at {named}" if named else "runs on this machine (--address names one)"
        raise MaltriageError(f"no Ray cluster {where}: {said[-1] if said else 'no answer'}")


@contextmanager
def _own_signals() -> Iterator[None]:
    """Restore the handlers of the signals that Ray takes over."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
