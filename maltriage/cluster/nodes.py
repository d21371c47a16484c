"""Which nodes a Ray cluster has, from moment to moment, and whether it is still there.

Ray ends the process that is connected to it, with an exit code that means something else here, some
10 s after the node it is connected through has died, or a minute after the head of the cluster has;
and whoever asks meanwhile waits. So a thread asks, and the scan ends before.
"""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import dataclass
from typing import Any

from maltriage.errors import MaltriageError

ASK_SECONDS = 2.0
"""Between looks at what nodes there are."""
FRESH_SECONDS = 10.0
"""To wait for what is to be known as it is now."""
SILENT_SECONDS = 25.0
"""After which a cluster that does not answer is gone."""


class GoneError(MaltriageError):
    """The cluster is gone. Nothing is to be asked of Ray any more: its threads wait in vain."""

    at_once = True


@dataclass(frozen=True)
class Node:
    """A node of the cluster, by its id, with what Ray gives out of it, and where it listens."""

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
    """Whether a connection is refused, as by the system of a process that has died."""
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
        own: id of the node that this process is connected through; None: through none.
    """

    def __init__(self, ray: Any, own: str | None) -> None:
        self._ray, self._own = ray, own
        self._nodes, self._at = nodes(ray), time.monotonic()
        self._gone = False
        """Whether nothing listens any more where the own node did."""
        self._changed = threading.Condition()
        self._ask, self._over = threading.Event(), False
        threading.Thread(target=self._watch, daemon=True).start()

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
            except (
                Exception
            ):  # whatever Ray says of a cluster that is gone, or of one that was left
                continue
            with self._changed:
                self._nodes, self._at = found, began
                self._changed.notify_all()

    def now(self) -> list[Node]:
        """The nodes that were alive a moment ago.

        Raises:
            GoneError: the cluster does not answer any more, or not through this machine's node.
        """
        if time.monotonic() - self._at > SILENT_SECONDS:
            raise GoneError("the head of the Ray cluster does not answer any more")
        there = self._own is None or any(node.id == self._own for node in self._nodes)
        if self._gone or not there:
            raise GoneError("the node of the Ray cluster on this machine is gone")
        return self._nodes

    def fresh(self) -> list[Node]:
        """The nodes that are alive at this moment, or, where nobody says so soon, were before.

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
