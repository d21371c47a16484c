"""A worker that a sample has taken over answers what it likes."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
from dataclasses import fields
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hostile.make import sample

from maltriage import bundle as bundles
from maltriage.probe.lookup import Lookup
from maltriage.probe.prepare import Again, Prepared, PrepareOptions, made_prepared, prepare
from maltriage.sample.byteplot import View, made_view
from maltriage.sample.errors import SampleError, _sample_error
from maltriage.sample.types import Region
from maltriage.sample.views import byteplot
from maltriage.source.decode import Contents
from maltriage.work.messages import Answer, carried, read
from maltriage.work.workers import Workers, reason_of


class Calls:
    """Calls something where it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.made = function, arguments

    def __reduce__(self) -> Any:
        return self.made


@pytest.mark.parametrize(
    "value",
    [
        Calls(os.system, "true"),
        Calls(eval, "1"),
        Calls(exec, "1"),
        Calls(getattr, "x", "upper"),
        Calls(open, "/dev/null"),
        Calls(__import__, "os"),
        Calls(subprocess.Popen, ["true"]),
        Calls(Workers, 1, 1.0),
        Calls(prepare, "x", None),
        Calls(os.getpid),
        Calls(pickle.loads, pickle.dumps(1)),
        Calls(np.load, "x"),
        [{"deep": (Calls(os.system, "true"),)}],
    ],
)
def test_what_is_no_plain_value_is_refused(value: Any) -> None:
    with pytest.raises(OSError, match=r"a worker sent an unreadable answer: .*is no plain value"):
        read(bytes(ForkingPickler.dumps(value)))


@pytest.mark.parametrize(
    "data", [b"", b"\x80\x04", b"cos\nsystem\n.", b"\x80\x04\x95\xff\xff", b"x"]
)
def test_what_is_no_pickle(data: bytes) -> None:
    with pytest.raises(OSError, match="a worker sent an unreadable answer"):
        read(data)


FRAMED = b"\x80\x04\x95\x04" + bytes(7) + b"\x8a\x05" + bytes(5) + b"C\x05r\xff\xff\xff\xff."
"""LONG1 goes on behind its frame of four bytes. The reader in C takes all five of its bytes from
there, and so sees LONG_BINPUT where others see a string of five bytes."""


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        # Found by fuzzing: room for as many values as the number of a place says, here 64 GB.
        (b"\x80\x04Nr\xff\xff\xff\xff.", ""),
        (b"\x80\x04Np999999999999\n.", ""),
        (FRAMED, "exhausted before end of frame"),
        (bytes(ForkingPickler.dumps(Calls(set, range(1 << 40)))), "builtins.set is no plain value"),
        (bytes(ForkingPickler.dumps(Calls(frozenset, range(1 << 40)))), "frozenset"),
        (bytes(ForkingPickler.dumps(Calls(bytearray, 1 << 40))), "a bytearray of no bytes"),
        (b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x0f.", ""),
        # A field outside of its own item, which NumPy would read.
        (
            bytes(ForkingPickler.dumps(np.zeros(1, np.dtype({"names": ["a"], "formats": ["u1"]})))),
            "a dtype that is no number: 'V1'",
        ),
        (bytes(ForkingPickler.dumps(np.array([None]))), "a dtype that is no number: 'O8'"),
        # A key whose hash goes so deep that the stack ends, and one of 2 ** 60 parts.
        (b"\x80\x04}N" + b"\x85" * 300_000 + b"Ns.", "too many tuples"),
        # A byte each, and 230 in memory.
        (b"\x80\x05(" + b"\x8f" * 3_000_000 + b"\x85.", "too many values"),
        (b"\x80\x04}N\x85" + b"".join(b"\x94h%c\x86" % i for i in range(60)) + b"Ns.", "too many"),
    ],
)
def test_what_takes_memory_or_time_that_it_does_not_fill(data: bytes, reason: str) -> None:
    with pytest.raises(OSError, match=f"a worker sent an unreadable answer: .*{reason}"):
        read(data)


def _opcodes(value: Any) -> bytes:
    """Those of a value, without a pickle's beginning and end."""
    data: bytes = pickle.dumps(value, 4)
    return data[11:-1] if data[2:3] == b"\x95" else data[2:-1]


def test_an_instance_is_not_called() -> None:
    """One of `Lookup` opens a file and parses what it is given, in the main process."""
    assert callable(Lookup("/nowhere", b""))
    arguments = _opcodes(("a", Contents(b"MZ", "pe"), PrepareOptions(()), 0.0))
    with pytest.raises(OSError, match="a call of Lookup"):
        read(b"\x80\x04" + _opcodes(Lookup("/nowhere", b"")) + arguments + b"R.")


def test_a_class_is_not_changed() -> None:
    state = _opcodes((None, {"store": "/etc/passwd"}))
    with pytest.raises(OSError, match="a state of Lookup"):
        read(b"\x80\x04" + _opcodes(Lookup) + state + b"b.")
    assert not hasattr(Lookup, "store")


def test_an_object_is_not_filled_by_its_methods() -> None:
    with pytest.raises(OSError, match="Contents in place of list"):
        read(b"\x80\x04" + _opcodes(Contents(b"MZ", "pe")) + b"Na.")


class Forged:
    """A dtype of numbers whose state says that they are addresses of objects (flags 63)."""

    def __reduce__(self) -> Any:
        return np.dtype, ("i8", False, True), (3, "<", None, None, None, -1, -1, 63)


def test_the_state_of_a_dtype_changes_nothing() -> None:
    """Found by fuzzing: the main process crashed as it let go of such an array."""
    assert read(bytes(ForkingPickler.dumps(Forged()))) is np.dtype("i8")
    assert not np.dtype("i8").hasobject


def test_an_array_has_no_memory_but_its_numbers() -> None:
    """Whatever shape it is made with."""
    found = read(bytes(ForkingPickler.dumps(Calls(np.ndarray, (1 << 40,), "O"))))
    assert (found.shape, found.dtype) == ((0,), np.uint8)
    for array in (np.zeros((2, 0, 3), "f4"), np.asfortranarray(np.ones((2, 3))), np.array(1.5)):
        again = read(bytes(ForkingPickler.dumps(array)))
        assert (again.dtype, again.flags.f_contiguous) == (array.dtype, array.flags.f_contiguous)
        np.testing.assert_array_equal(again, array)


def test_names_behind_a_dot_are_not_looked_up() -> None:
    """`maltriage.probe.prepare.hashlib.sha256` and the like."""
    hidden = b"\x80\x04\x8c\x17maltriage.probe.prepare\x8c\x0ehashlib.sha256\x93."
    with pytest.raises(OSError, match="no plain value"):
        read(hidden)
    imported = b"\x80\x04\x8c\x16maltriage.source.known\x8c\x04Path\x93."
    with pytest.raises(OSError, match="no plain value"):
        read(imported)


def test_plain_values_come_through(tmp_path: Path) -> None:
    path = tmp_path / "a.exe"
    path.write_bytes(sample("dotnet.exe"))
    views = bundles.load(bundles.resolve(None)).card.views
    prepared = prepare(str(path), PrepareOptions(views, hashes=True))
    again = read(bytes(ForkingPickler.dumps(prepared)))
    assert again.identity == prepared.identity
    assert again.layout == prepared.layout
    for view in views:
        np.testing.assert_array_equal(
            again.views[view.name].pixels, prepared.views[view.name].pixels
        )
    values: list[Any] = [
        None,
        True,
        3,
        2.5,
        "x",
        b"x",
        bytearray(b"x"),
        {1, 2},
        frozenset("a"),
        path,
    ]
    values += [(1, [2]), {"a": np.float64(1.5)}, range(3), slice(1, 2)]
    assert read(bytes(ForkingPickler.dumps(values))) == values
    for error in (
        SampleError("empty", "an empty file"),
        MemoryError(),
        PermissionError(1, "no", path),
    ):
        found = read(bytes(ForkingPickler.dumps(error)))
        assert (type(found), found.args) == (type(error), error.args)


class OwnError(Exception):
    pass


def _fails() -> None:
    raise OwnError("of a library")


def _much(path: str) -> None:
    np.empty(1 << 60, np.uint8)


def test_memory_that_numpy_lacks_is_memory() -> None:
    with pytest.raises(MemoryError) as raised:
        carried(_much, ("",))
    assert type(raised.value) is MemoryError
    assert reason_of(raised.value, 1.0).code == "memory"
    assert reason_of(OSError(errno.ENOMEM, ""), 1.0).code == "memory"


def test_errors_of_libraries_are_told_in_words() -> None:
    with pytest.raises(SampleError) as caught:
        carried(_fails, ())
    assert (caught.value.code, caught.value.reason) == ("internal", "OwnError: of a library")


def _evil(path: str) -> Any:
    return Calls(Path.touch, Path(path))


def test_a_worker_that_sends_a_call_is_ended(tmp_path: Path) -> None:
    """Nothing was called, and its task alone is lost."""
    ran = tmp_path / "ran"
    with Workers(2, 60.0) as workers:
        assert workers.submit(os.getpid).result(timeout=60)
        error = workers.submit(_evil, str(ran)).exception(timeout=60)
        assert error is not None
        assert reason_of(error, 60.0).reason == "the process that read it sent an invalid answer"
        assert workers.submit(os.getpid).result(timeout=60)
    assert not ran.exists()


def test_a_sample_comes_as_it_was() -> None:
    work = PrepareOptions(bundles.load(bundles.resolve(None)).card.views, hashes=True)
    path = str(Path(__file__).parents[2] / "samples" / "signed-x64.exe")
    sent = prepare(path, work)
    got = read(bytes(ForkingPickler.dumps(Answer(3, [sent, Again("a", "b", 1.0)], None)))).value
    assert got[1] == Again("a", "b", 1.0)
    for field in fields(sent):
        if field.name != "views":
            assert getattr(got[0], field.name) == getattr(sent, field.name)
    assert list(got[0].views) == list(sent.views)
    for name, view in sent.views.items():
        assert got[0].views[name].geometry == view.geometry
        assert got[0].views[name].pixels.dtype == np.uint8
        np.testing.assert_array_equal(got[0].views[name].pixels, view.pixels)


@pytest.mark.parametrize("kind", [Prepared, View, SampleError])
def test_a_sample_is_not_made_past_its_checks(kind: type) -> None:
    made = f"c{kind.__module__}\n{kind.__name__}\n)\x81}}b.".encode()
    plain = b"\x80\x04" + bytes(ForkingPickler.dumps(kind))[2:-1] + b")\x81."
    for data in (made, plain):
        with pytest.raises(OSError, match="unreadable"):
            read(data)
    with pytest.raises(OSError, match="is no plain value"):
        read(plain)


def _a_sample(**changes: object) -> tuple[object, ...]:
    path = str(Path(__file__).parents[2] / "samples" / "console-x86.exe")
    sent = prepare(path, PrepareOptions((byteplot(16),)))
    function, (own, packed) = sent.__reduce__()
    names = ("format", "identity", "layout", "notices", "views", "milliseconds", "file", "in_part")
    values = dict(zip(names, msgspec.msgpack.decode(packed), strict=True))
    layout = changes.pop("layout", None)
    if layout is not None:
        changes["layout"] = msgspec.structs.replace(sent.layout, regions=layout)
    path = changes.pop("path", own)
    return function, (path, msgspec.msgpack.encode([*{**values, **changes}.values()]))


@pytest.mark.parametrize(
    "changes",
    [
        {"path": 5},
        {"format": "elf"},
        {"views": []},
        {"views": {"body": 5}},
        {"views": {"body": (b"", (1,) * 4, 1, (0, 0, 4))}},
        {"views": {"body": (b"", (2, 4), 1, (0,) * 5)}},
        {"views": {f"{i}": (b"", (2, 4), 1, (0, 0, 4)) for i in range(65)}},
        {"milliseconds": "1"},
        {"file": "../x"},
        {"in_part": 0},
        {"in_part": 1 << 40},
        {"layout": [Region("r", "section", 5, 4)]},
        {"layout": [Region("r", "section", 0, 1 << 40)]},
        {"layout": [Region("r", "section", 0, 1)] * 10_001},
    ],
)
def test_a_sample_of_other_values(changes: dict[str, Any]) -> None:
    for given in ({}, changes):
        function, arguments = _a_sample(**given)
        data = bytes(ForkingPickler.dumps(Answer(3, Calls(function, *arguments), None)))  # type: ignore[misc]
        if not given:
            assert read(data).value.format == "pe"
            continue
        with pytest.raises(OSError, match="unreadable"):
            read(data)


@pytest.mark.parametrize(
    "call",
    [
        (made_view, (bytes(6), (2, 2), 0, (1, 1))),
        (made_view, (bytes(4), (2, 2), 0, (1.5, 1))),
        (made_view, (bytes(4), (2, 2), 0, (1, 1, 1))),
        (made_view, (8, (2, 2), 1, (1, 1, 1))),
        (made_view, (bytes(4), (2, 2), 4, (1, 1, 1))),
        (made_view, (bytes(5), (2, 4), 1, (0, 5, 4))),  # more than the window has
        (made_view, (bytes(3), (2, 4), 2, (0, 3, 4))),  # not whole columns
        (made_view, (bytes(3), (3, 4, 5), 0, (3, 5))),
        (made_view, (b"", (2, 1 << 40), 2, (0, 0, 4))),
        (made_view, (b"", (-2, -4), 2, (0, 0, 4))),
        (made_view, (bytes(4), (2, 2), -1, (1, b"", b"", b""))),
        (made_view, (bytes(4), (2, 2), 3, (1, b"", b"\1", b""))),
        (_sample_error, (5, "no", True)),
        (_sample_error, ("io", ["no"], True)),
        (made_prepared, ("a", "pe", b"\xc0", {}, 0.0, None, None)),
        (made_prepared, ("a", "pe", msgspec.msgpack.encode((1, 2, [])), {}, 0.0, None, None)),
    ],
)
def test_a_sample_that_is_none(call: tuple[object, tuple[object, ...]]) -> None:
    function, arguments = call
    with pytest.raises(OSError, match="unreadable"):
        read(bytes(ForkingPickler.dumps(Answer(3, Calls(function, *arguments), None))))
