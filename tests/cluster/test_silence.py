"""A cluster that goes while a scan connects: Ray itself tries again for ever."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from maltriage.cluster import connection, nodes
from maltriage.cluster.nodes import GoneError, Members


@pytest.fixture
def hung(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    for module in (connection, nodes):
        monkeypatch.setattr(module, "SILENT_SECONDS", 0.2)
    event = threading.Event()
    yield event
    event.set()


def test_connecting_has_a_deadline(hung: threading.Event) -> None:
    with pytest.raises(GoneError, match="the head of the Ray cluster does not answer any more"):
        connection._in_time(hung.wait)


def test_an_error_of_connecting_is_that_of_ray(hung: threading.Event) -> None:
    def refuse() -> None:
        raise ConnectionError("another version of Ray")

    connection._in_time(lambda: None)
    with pytest.raises(ConnectionError, match="another version of Ray"):
        connection._in_time(refuse)


def test_a_head_that_does_not_name_its_nodes(hung: threading.Event) -> None:
    class Ray:
        def nodes(self) -> list[dict[str, Any]]:
            hung.wait()
            return []

    with pytest.raises(GoneError, match="the head of the Ray cluster does not answer any more"):
        Members(Ray(), None)
