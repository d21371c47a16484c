"""Tracks the nodes of a Ray cluster, and whether the cluster still answers.

Ray ends the process that is connected to it, with an exit code that means something else here,
about 10 s after the node it is connected through has died, or a minute after the cluster's head
has; calls made meanwhile hang. So a thread polls the cluster, and the scan ends before.
"""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import dataclass
from typing import Any

from maltriage.errors import MaltriageError

ASK_SECONDS = 2.0
"""Time between two polls of the nodes."""
FRESH_SECONDS = 10.0
"""Longest wait for a fresh poll."""
SILENT_SECONDS = 25.0
"""Silence after which a cluster counts as gone."""
SILENT = "the head of the Ray cluster does not answer any more"


class GoneError(MaltriageError):
    """The cluster is gone. Ray must not be called any more: its threads hang."""

    at_once = True


@dataclass(frozen=True)
class Node:
    """A node of the cluster: its id, its free resources for Ray, and its address."""

    id: str
    host: str
    cpus: float
    gpus: float
    place: tuple[str, int] = ("", 0)


def nodes(ray: Any) -> list[Node]:
    """The nodes that are alive, as far as the cluster knows."""
    found = []
    for node in ray.nodes():
        if node["Alive"]:
            has = node["Resources"]
            place = node["NodeManagerAddress"], node["NodeManagerPort"]
            found.append(
                Node(
                    node["NodeID"],
                    node["NodeManagerHostname"],
                    has.get("CPU", 0.0),
                    has.get("GPU", 0.0),
                    place,
                )
            )
    return found


def _is_closed(place: tuple[str, int]) -> bool:
    """Whether a connection is refused, as by the system after a process has died."""
    try:
        socket.create_connection(place, ASK_SECONDS).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        pass
    return False


class Members:
    """The nodes of a cluster. Use as a context manager.

    Args:
        ray: the module, connected to the cluster.
        own: id of the node that this process is connected through; None: none.

    Raises:
        GoneError: it does not answer.
    """

    def __init__(self, ray: Any, own: str | None) -> None:
        self._ray, self._own = ray, own
        self._nodes = list[Node]()
        self._at = 0.0
        """When they were asked for; 0: not yet."""
        self._gone = False
        """Whether the own node's port is closed."""
        self._changed = threading.Condition()
        self._ask, self._over = threading.Event(), False
        self._ask.set()
        threading.Thread(target=self._watch, daemon=True).start()
        with self._changed:
            if not self._changed.wait_for(lambda: self._at > 0, SILENT_SECONDS):
                self._over = True
                raise GoneError(SILENT)

    def _watch(self) -> None:
        while not self._over:
            self._ask.wait(ASK_SECONDS)
            self._ask.clear()
            began = time.monotonic()
            self._gone = self._gone or any(
                node.id == self._own and _is_closed(node.place) for node in self._nodes
            )
            try:
                found = nodes(self._ray)
            except Exception:  # Ray raises many kinds for a lost or disconnected cluster
                continue
            with self._changed:
                self._nodes, self._at = found, began
                self._changed.notify_all()

    def now(self) -> list[Node]:
        """The nodes that were alive a moment ago.

        Raises:
            GoneError: the cluster, or this machine's node of it, does not answer any more.
        """
        if time.monotonic() - self._at > SILENT_SECONDS:
            raise GoneError(SILENT)
        there = self._own is None or any(node.id == self._own for node in self._nodes)
        if self._gone or not there:
            raise GoneError("the node of the Ray cluster on this machine is gone")
        return self._nodes

    def fresh(self) -> list[Node]:
        """The nodes alive now or, without an answer soon, at the last poll.

        Raises:
            GoneError: as `now`.
        """
        asked = time.monotonic()
        self._ask.set()
        with self._changed:
            self._changed.wait_for(lambda: self._at >= asked, FRESH_SECONDS)
        return self.now()

    def __enter__(self) -> Members:
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._ask.set()
