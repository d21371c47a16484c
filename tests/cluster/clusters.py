"""A Ray cluster of several nodes on this machine, for tests."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from maltriage.cluster.connection import ALONE, QUIET

HAS_RAY = importlib.util.find_spec("ray") is not None
STORE_BYTES = 100 << 20


@contextmanager
def cluster(nodes: int, cpus: int = 1) -> Iterator[Any]:
    """A head without CPUs, which is where drivers connect to, and nodes with some each.

    Yields:
        A `ray.cluster_utils.Cluster`; `workers` are its nodes, `temporary` their folder of
        temporary files.
    """
    os.environ.update(QUIET)
    os.environ.update(ALONE)
    os.environ["RAY_AUTH_TOKEN"] = "0" * 32
    from ray.cluster_utils import Cluster

    # Sockets lie below it, and have short names.
    files = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    head = {"num_cpus": 0, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = os.path.join(files, "t")
    # Ray writes the address of a second node there, whatever it is told, and does not make it.
    os.makedirs(os.path.join(os.environ["TMPDIR"], "ray"))
    made: Any = Cluster(initialize_head=True, head_node_args={**head, "temp_dir": files})
    try:
        made.temporary = os.environ["TMPDIR"]
        made.workers = [
            made.add_node(num_cpus=cpus, object_store_memory=STORE_BYTES) for _ in range(nodes)
        ]
        yield made
    finally:
        made.shutdown()
        if before is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before
        shutil.rmtree(files, ignore_errors=True)
