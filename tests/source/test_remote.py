"""Files at URLs, of servers on loopback that misbehave."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import servers
from corpus.synthetic import zipped
from hostile.make import sample
from servers import Bucket, Page, Site

from maltriage.errors import MaltriageError
from maltriage.sample.errors import SampleError
from maltriage.source import remote
from maltriage.source.archive.find import split_path
from maltriage.source.archive.limits import Archives
from maltriage.source.files import Found, Rejected, WalkOptions, walk
from maltriage.source.reading import Reading
from maltriage.source.samples import read_sample
from maltriage.source.stores import base
from maltriage.source.stores.base import Entry, Ranged, Streamed, stamp
from maltriage.source.stores.other import Other
from maltriage.source.urls import Remote, seal

pytestmark = servers.needs_remote
X86, X64 = sample("console-x86.exe"), sample("console-x64.exe")
MIB = 1 << 20


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with servers.site() as site:
        yield site


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with servers.bucket() as bucket:
        for name, value in servers.credentials(bucket.port).items():
            monkeypatch.setenv(name, value)
        # Elsewhere a process has one set of credentials; here every test has a server of its own.
        _forget()
        yield bucket
        _forget()


def _forget() -> None:
    import fsspec

    remote._made.cache_clear()
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def found(*paths: str, **options: Any) -> list[Found | Rejected]:
    names, how = seal(paths)
    return list(walk(names, WalkOptions(remote=how, **options), members=True))


def keys(items: list[Found | Rejected]) -> list[str]:
    return [item.path.removeprefix("s3://bkt/") for item in items]


@pytest.fixture
def told() -> Iterator[None]:
    """This process may read URLs, as a worker may that was told so."""
    remote.hold(Remote())
    yield
    remote.hold(None)


def test_a_bucket_is_listed_in_the_order_of_its_keys_page_by_page(s3: Bucket) -> None:
    s3.objects = dict.fromkeys(
        ["z.exe", "a.exe", "a/", "a/b/c.exe", "a/b.dll", "a-b.exe", "é.exe", "p/q/r/s.exe"], b"MZ"
    )
    s3.objects["a/"] = b""
    every = ["a-b.exe", "a.exe", "a/b.dll", "a/b/c.exe", "p/q/r/s.exe", "z.exe", "é.exe"]
    assert keys(found("s3://bkt")) == every
    assert s3.listings() == 1 + 3  # whether it is there, and three pages of three keys
    assert keys(found("s3://bkt/")) == every
    assert keys(found("s3://bkt/a")) == ["a/b.dll", "a/b/c.exe"]
    assert keys(found("s3://bkt/a/")) == ["a/b.dll", "a/b/c.exe"]
    assert keys(found("s3://bkt/a/b.dll", "s3://bkt/z.exe")) == ["a/b.dll", "z.exe"]
    assert keys(found("s3://bkt", depth=0)) == ["a-b.exe", "a.exe", "z.exe", "é.exe"]
    assert keys(found("s3://bkt", depth=1)) == ["a-b.exe", "a.exe", "a/b.dll", "z.exe", "é.exe"]
    assert keys(found("s3://bkt", depth=3)) == every
    assert keys(found("s3://bkt", include=("*.dll", "s.*"))) == ["a/b.dll", "p/q/r/s.exe"]
    rest = ["a-b.exe", "a.exe", "a/b.dll", "é.exe"]
    assert keys(found("s3://bkt", exclude=("b", "q", "z*"))) == rest
    assert keys(found("s3://bkt", exclude=("b", "q", "z*"), depth=9)) == rest
    assert keys(found("s3://bkt", exclude=("s3://bkt/a/*", "*.exe"), depth=9)) == []


def test_a_bucket_is_not_listed_further_than_it_is_walked(s3: Bucket) -> None:
    s3.objects = {f"{number:03}.exe": b"MZ" for number in range(300)}
    walker = walk(["s3://bkt"], WalkOptions(remote=Remote()))
    assert [next(walker).path for _ in range(4)][-1] == "s3://bkt/003.exe"
    assert s3.listings() <= 1 + 2 + 1  # a page ahead
    walker.close()  # type: ignore[attr-defined]


def test_names_of_keys_are_only_names(s3: Bucket, told: None) -> None:
    names = [
        "../../up.exe", "./d", "/lead", "new\nline.exe", "a!b.exe", "x?versionId=1", "x::s3://o/y",
        "p//q.exe", "50%41.exe", "a b+c.exe", "#1", "\x1b]52;c;aGk=\x07", "z/",
    ]  # fmt: skip
    s3.objects = {name: b"MZ" + name.encode() for name in names} | {"a": X86, "x": X86}
    s3.page = 100
    items = found("s3://bkt")
    assert set(keys(items)) == s3.objects.keys()
    for name in names:
        made = read_sample(f"s3://bkt/{name}", Reading(max_size=MIB, archives=Archives()))
        assert made.data == s3.objects[name]


def test_what_is_refused_or_not_there(s3: Bucket, told: None) -> None:
    s3.objects = {"a/x.exe": X86, "b/y.exe": X86, "c.exe": X86}
    s3.denied = {"c.exe", "", "none/"}
    items = found("s3://bkt", "s3://bkt/c.exe", "s3://bkt/none", "s3://other/x", "s3://bkt/a")
    said = [(i.path, getattr(i, "code", None), getattr(i, "failed", None)) for i in items]
    assert said == [
        ("s3://bkt", "unreadable", True),
        ("s3://bkt/c.exe", "unreadable", True),
        ("s3://bkt/none", "not-found", True),
        ("s3://other/x", "not-found", True),
        ("s3://bkt/a/x.exe", None, None),
    ]
    assert isinstance(items[0], Rejected)
    assert items[0].reason == "AccessDenied it says"
    for url, code in (("s3://bkt/c.exe", "unreadable"), ("s3://bkt/gone.exe", "not-found")):
        with pytest.raises(SampleError) as raised:
            read_sample(url, Reading(max_size=MIB))
        assert (raised.value.code, raised.value.failed) == (code, True)


def test_a_listing_that_breaks_off_is_said_of_the_folder(s3: Bucket) -> None:
    s3.objects = {"a/x.exe": X86, "b/y.exe": X86}
    s3.denied = {"b/"}
    items = found("s3://bkt", depth=2)
    assert [(i.path, getattr(i, "code", None)) for i in items] == [
        ("s3://bkt/a/x.exe", None),
        ("s3://bkt", "unreadable"),
    ]


@pytest.mark.parametrize("element", ["Key", "Size", "Prefix", "NextContinuationToken"])
def test_a_listing_that_lacks_what_it_must_have(s3: Bucket, element: str) -> None:
    """Found by fuzzing: a server that leaves an element out ended the command."""
    s3.objects = {f"{name}/x.exe" if name < "c" else name: X86 for name in "abcdef"}
    s3.omitted = element
    items = found("s3://bkt", depth=2)
    errors = [item for item in items if isinstance(item, Rejected)]
    assert errors
    assert all(error.code == "io" and element in error.reason for error in errors)


@pytest.mark.parametrize("element", ["Key", "Prefix"])
def test_a_listing_that_has_an_element_twice(s3: Bucket, element: str) -> None:
    """Found by fuzzing: a list in place of a name ended the command."""
    s3.objects = {f"{name}/x.exe" if name < "c" else name: X86 for name in "abcdef"}
    s3.doubled = element
    errors = [item for item in found("s3://bkt", depth=2) if isinstance(item, Rejected)]
    assert errors
    assert all(error.code == "io" for error in errors)


def test_an_empty_bucket_and_an_empty_object(s3: Bucket, told: None) -> None:
    assert found("s3://bkt") == []
    s3.objects = {"e": b""}
    with pytest.raises(SampleError) as raised:
        read_sample("s3://bkt/e", Reading(max_size=MIB))
    assert (raised.value.code, raised.value.failed) == ("empty", False)


def test_sizes_are_checked_before_reading_and_while(s3: Bucket, told: None) -> None:
    s3.objects = {"a.exe": X86, "b.exe": X86}
    s3.sizes = {"a.exe": 10 * 2**30, "b.exe": 7}
    first, second = found("s3://bkt", max_size=MIB)
    assert isinstance(first, Rejected)
    assert (first.code, first.failed) == ("too-large", False)
    assert isinstance(second, Found)
    assert second.size == 7
    with pytest.raises(SampleError, match="too-large"):
        read_sample("s3://bkt/b.exe", Reading(max_size=len(X86) - 1))
    assert read_sample("s3://bkt/b.exe", Reading(max_size=len(X86))).data == X86


def test_an_object_is_read_in_as_few_requests_as_it_takes(s3: Bucket, told: None) -> None:
    big = b"MZ" + os.urandom(3 * MIB)
    s3.objects = {"s.exe": X86, "b.exe": big, "t.txt": b"no program" * MIB}
    for key, requests in (("s.exe", 1), ("b.exe", 2)):
        s3.requests.clear()
        assert read_sample(f"s3://bkt/{key}", Reading(max_size=8 * MIB)).data == s3.objects[key]
        assert len(s3.requests) == requests
    s3.requests.clear()
    with pytest.raises(SampleError, match="not-pe"):
        read_sample("s3://bkt/t.txt", Reading(max_size=64 * MIB))
    assert [asked["Range"] for _, _, asked in s3.requests] == [f"bytes=0-{base.HEAD - 1}"]


def test_an_object_that_changes_while_it_is_read(s3: Bucket, told: None) -> None:
    big = b"MZ" + bytes(MIB)
    s3.objects, s3.once = {"x.exe": big}, {"x.exe": big[:-1] + b"x"}
    with pytest.raises(SampleError) as raised:
        read_sample("s3://bkt/x.exe", Reading(max_size=8 * MIB))
    assert (raised.value.code, raised.value.reason) == ("io", "it changed while it was read")


def test_an_archive_in_a_bucket_is_read_in_ranges(s3: Bucket, told: None) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("noise", os.urandom(24 * MIB))
        archive.writestr("in/x!1.exe", X86)
    s3.objects = {"a.zip": packed.getvalue(), "b!c.zip": zipped({"y.exe": X64})}
    assert split_path("s3://bkt/a.zip!in/x!1.exe") == ("s3://bkt/a.zip", "in/x!1.exe")
    assert split_path("s3://bkt/b!c.zip!y.exe") == ("s3://bkt/b!c.zip", "y.exe")
    assert split_path("s3://bkt/b!c.zip") == ("s3://bkt/b!c.zip", None)
    archives, sent = Archives(), s3.requests
    sent.clear()
    made = read_sample("s3://bkt/a.zip!in/x!1.exe", Reading(max_size=64 * MIB, archives=archives))
    assert made.data == X86
    ranges = [text.split("=")[1].split("-") for _, _, asked in sent if (text := asked.get("Range"))]
    assert sum(int(end) + 1 - int(start) for start, end in ranges) < 2 * MIB
    made = read_sample("s3://bkt/b!c.zip!y.exe", Reading(max_size=MIB, archives=archives))
    assert made.data == X64
    items = found("s3://bkt/a.zip!in/x!1.exe")
    assert [(item.path, type(item)) for item in items] == [("s3://bkt/a.zip!in/x!1.exe", Found)]


def test_what_tells_an_object_from_what_it_was(s3: Bucket) -> None:
    s3.objects = {"x": b"MZ1"}
    (first,) = found("s3://bkt/x")
    (listed,) = found("s3://bkt")
    assert first == listed
    s3.objects = {"x": b"MZ2"}
    (second,) = found("s3://bkt/x")
    assert isinstance(first, Found)
    assert isinstance(second, Found)
    assert first.modified_ns == second.modified_ns == 1735787045 * 10**9
    assert first.inode != second.inode


def test_files_of_the_web(web: Site, told: None) -> None:
    times = {"ETag": '"1"', "Last-Modified": "Thu, 02 Jan 2025 03:04:05 GMT"}
    web.pages["/x.exe"] = Page(X86, headers=times)
    web.pages["/a.zip"] = Page(zipped({"in/x.exe": X64}))
    web.pages["/dl?id=1&b=%2F%2b"] = Page(X86, headers={"ETag": 'W/"1"'})
    web.pages["/moved"] = Page(status=302, headers={"Location": "/x.exe"})
    web.pages["/page/"] = Page(b'<a href="/x.exe">')
    (item,) = found(f"{web.url}/x.exe")
    assert isinstance(item, Found)
    assert (item.size, item.modified_ns) == (len(X86), 1735787045 * 10**9)
    assert item.inode
    for path, data in (("x.exe", X86), ("dl?id=1&b=%2F%2b", X86), ("moved", X86)):
        assert read_sample(f"{web.url}/{path}", Reading(max_size=MIB)).data == data
    made = read_sample(f"{web.url}/a.zip!in/x.exe", Reading(max_size=MIB, archives=Archives()))
    assert made.data == X64
    (item,) = found(f"{web.url}/dl?id=1&b=%2F%2b")
    assert isinstance(item, Found)
    assert item.modified_ns is None  # a weak tag may stand for other bytes
    with pytest.raises(SampleError, match="not-pe"):
        read_sample(f"{web.url}/page/", Reading(max_size=MIB))
    assert all(asked["Accept-Encoding"] == "identity" for _, _, asked in web.requests)


@pytest.mark.parametrize(
    ("status", "code"),
    [(404, "not-found"), (410, "not-found"), (401, "unreadable"), (403, "unreadable"), (500, "io")],
)
def test_what_a_web_server_refuses(web: Site, told: None, status: int, code: str) -> None:
    web.pages["/x.exe"] = Page(b"<html>", status)
    (item,) = found(f"{web.url}/x.exe")
    assert isinstance(item, Found)  # whoever reads it is told
    with pytest.raises(SampleError) as raised:
        read_sample(f"{web.url}/x.exe", Reading(max_size=MIB))
    assert (raised.value.code, raised.value.failed) == (code, True)
    assert raised.value.reason.startswith(f"{status} ")


def test_a_server_that_answers_nothing_but_get(web: Site, told: None) -> None:
    web.pages["/x.exe"] = Page(X86, head_status=403)
    (item,) = found(f"{web.url}/x.exe")
    assert item == Found(f"{web.url}/x.exe", 0)
    assert read_sample(f"{web.url}/x.exe", Reading(max_size=MIB)).data == X86


def test_sizes_of_the_web_are_not_believed(web: Site, told: None) -> None:
    web.pages["/none"] = Page(X86, length=None)
    assert read_sample(f"{web.url}/none", Reading(max_size=len(X86))).data == X86
    with pytest.raises(SampleError) as raised:
        read_sample(f"{web.url}/none", Reading(max_size=len(X86) - 1))
    assert (raised.value.code, raised.value.failed) == ("too-large", False)
    web.pages["/more"] = Page(X86, length=len(X86) + 9)
    with pytest.raises(SampleError) as raised:
        read_sample(f"{web.url}/more", Reading(max_size=MIB))
    assert (raised.value.code, raised.value.failed) == ("io", True)
    web.pages["/huge"] = Page(X86, length=10 * 2**30)
    (item,) = found(f"{web.url}/huge", max_size=MIB)
    assert isinstance(item, Rejected)
    assert item.code == "too-large"
    web.pages["/large"] = Page(b"MZ" + bytes(2 * MIB))
    with pytest.raises(SampleError, match="too-large"):
        read_sample(f"{web.url}/large", Reading(max_size=MIB))


def test_a_packed_answer_is_no_way_around_the_limit(web: Site, told: None) -> None:
    import gzip

    bomb = gzip.compress(bytes(64 * MIB))
    web.pages["/x.exe"] = Page(bomb, headers={"Content-Encoding": "gzip"})
    with remote.opened(f"{web.url}/x.exe", Remote(), MIB) as (file, size):
        assert size == len(bomb)
        assert file.read() == bomb


def test_a_page_that_leads_in_a_circle_or_elsewhere(web: Site, told: None) -> None:
    web.pages["/circle"] = Page(status=302, headers={"Location": "/circle"})
    web.pages["/disk"] = Page(status=302, headers={"Location": "file:///etc/passwd"})
    for path in ("circle", "disk"):
        with pytest.raises(SampleError) as raised:
            read_sample(f"{web.url}/{path}", Reading(max_size=MIB))
        assert (raised.value.code, raised.value.failed) == ("io", True)


def test_credentials_go_with_a_url_and_no_further(web: Site) -> None:
    web.pages["/x.exe?token=hush"] = Page(b"no", 403)
    names, how = seal([f"http://me:hush@{web.host}/x.exe?token=hush"])
    assert names == [f"http://{web.host}/x.exe?token=…"]
    remote.hold(how)
    try:
        with pytest.raises(SampleError) as raised:
            read_sample(names[0], Reading(max_size=MIB))
    finally:
        remote.hold(None)
    assert "hush" not in str(raised.value)
    _, path, asked = web.requests[-1]
    assert path == "/x.exe?token=hush"
    assert asked["Authorization"].startswith("Basic ")


def test_a_server_that_is_not_there(told: None) -> None:
    with pytest.raises(SampleError) as raised:
        read_sample("http://127.0.0.1:9/x.exe?token=hush", Reading(max_size=MIB))
    assert (raised.value.code, raised.value.failed) == ("io", True)
    assert "hush" not in raised.value.reason


def test_many_files_are_asked_for_at_once_and_come_in_order(web: Site) -> None:
    urls = [f"{web.url}/{number}" for number in range(100)]
    for number in range(100):
        web.pages[f"/{number}"] = Page(b"MZ" + bytes(number))
    items = found("none", *urls[:50], "none", *urls[50:])
    assert [item.path for item in items] == ["none", *urls[:50], "none", *urls[50:]]
    assert [i.size for i in items if isinstance(i, Found)] == [2 + n for n in range(100)]


def test_urls_are_paths_unless_somebody_said_otherwise(
    web: Site, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{web.url}/x.exe"
    web.pages["/x.exe"] = Page(X86)
    (item,) = walk([url], WalkOptions())
    assert isinstance(item, Rejected)
    assert item.code == "not-found"
    with pytest.raises(SampleError, match="not-found"):
        read_sample(url, Reading(max_size=MIB, archives=Archives()))
    assert web.requests == []
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:" / "b").mkdir(parents=True)
    (tmp_path / "s3:" / "b" / "x.exe").write_bytes(X86)
    (item,) = walk(["./s3://b"], WalkOptions(remote=Remote()))
    assert item.path == "./s3://b/x.exe"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("zip://x.exe::s3://b/a.zip", "a chain of URLs"),
        ("simplecache::s3://b/k?token=hush", "a chain of URLs"),
        ("file:///etc/passwd", "a file of this machine has no scheme"),
        ("local://x", "a file of this machine has no scheme"),
        ("memory://x", "no store of files that is read"),
        ("zip://x", "no store of files that is read"),
        ("s3://", "names no bucket"),
        ("http:///x", "names no bucket"),
        ("s3://me:hush@b/k", "takes no user from a URL"),
    ],
)
def test_urls_that_are_not_read(url: str, words: str) -> None:
    with pytest.raises(MaltriageError, match=words) as raised:
        remote.check([url])
    assert "hush" not in str(raised.value)


def test_a_store_whose_package_is_not_installed() -> None:
    with pytest.raises(MaltriageError, match=r"^box:// needs another package: .*boxfs"):
        remote.check(["box://folder/x"])


def test_any_store_of_fsspec(told: None) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    files = {"/d/a.exe": X86, "/d/s/b.exe": X64, "/d/s/t/c.exe": X86, "/d/u/e": b"", "/o.exe": X86}
    memory = MemoryFileSystem()
    for path, data in files.items():
        memory.pipe_file(path, data)
    options = WalkOptions(remote=Remote())
    items = list(walk(["memory://d"], options))
    every = ["memory://d/a.exe", "memory://d/s/b.exe", "memory://d/s/t/c.exe", "memory://d/u/e"]
    try:
        assert [item.path for item in items] == every
        assert isinstance(items[0], Found)
        assert items[0].size == len(X86)
        some = WalkOptions(depth=1, exclude=("u",), remote=Remote())
        assert [item.path for item in walk(["memory://d"], some)] == every[:2]
        assert read_sample("memory://d/s/b.exe", Reading(max_size=MIB)).data == X64
        for url, code in (("memory://d/none", "not-found"), ("memory://d/u/e", "empty")):
            with pytest.raises(SampleError, match=code):
                read_sample(url, Reading(max_size=MIB))
        (item,) = walk(["memory://none"], options)
        assert isinstance(item, Rejected)
        assert item.code == "not-found"
    finally:
        memory.store.clear()
        remote._made.cache_clear()


def test_a_store_that_raises_whatever_it_likes() -> None:
    class Odd:
        async_impl = False

        def __init__(self, **options: object) -> None:
            if options:
                raise RuntimeError("no key in ftp://me:hush@h")

        @classmethod
        def _get_kwargs_from_urls(cls, url: str) -> dict[str, str]:
            return {"password": "hush"} if "hush" in url else {}

        _strip_protocol = staticmethod(lambda url: url)

        def info(self, path: str) -> dict[str, object]:
            raise KeyError(path)

        def ls(self, path: str, detail: bool) -> list[dict[str, object]]:
            raise PermissionError(13, "Permission denied", path)

    with pytest.raises(SampleError) as raised:
        Other(Odd, "ftp://me:hush@h")
    assert raised.value.reason == "no key in ftp://h"
    store = Other(Odd, "ftp://h")
    with pytest.raises(SampleError, match="io"):
        store.status("ftp://h/x", "ftp://h/x")
    ((error,),) = store.pages("ftp://h/d", None, lambda url: False)
    assert isinstance(error, SampleError)
    assert (error.code, error.reason) == ("unreadable", "Permission denied")


def test_what_stores_say_of_the_last_change() -> None:
    from datetime import UTC, datetime

    moment = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
    expected = 1735787045 * 10**9
    for said in (
        moment,
        moment.replace(tzinfo=None),
        1735787045,
        1735787045.0,
        "2025-01-02T03:04:05Z",
        "Thu, 02 Jan 2025 03:04:05 GMT",
    ):
        assert stamp(said, None) == (expected, 0)
    assert stamp("yesterday", None) == (None, 0)
    # Found by fuzzing: `parsedate_to_datetime` raises OverflowError as well.
    assert stamp(f"2,1 Jan 224 0{'6' * 60}:01", None) == (None, 0)
    assert stamp(None, "") == (None, 0)
    assert stamp(None, "a")[0] == 0
    assert 0 < stamp(None, "a")[1] != stamp(None, "b")[1]


def test_ranges_are_read_further_ahead_the_longer_it_goes_on() -> None:
    data = os.urandom(40 * MIB)
    fetched: list[tuple[int, int]] = []

    def fetch(start: int, end: int, out: io.BytesIO) -> None:
        fetched.append((start, end))
        out.write(data[start:end])

    file = Ranged(len(data), data[: base.HEAD], fetch)
    assert file.read(512) == data[:512]
    assert not fetched
    file.seek(0)
    pieces = []
    while piece := file.read(100_000):
        pieces.append(piece)
    assert b"".join(pieces) == data
    assert len(fetched) < 15
    assert max(end - start for start, end in fetched) == base.MOST_AHEAD
    fetched.clear()
    file.seek(-22, io.SEEK_END)
    assert file.read() == data[-22:]
    file.seek(5)
    assert file.read(10) == data[5:15]
    assert fetched[-1] == (5, 5 + base.LEAST_AHEAD)
    file.seek(0)
    assert file.read() == data
    assert file.read(1) == b""
    file.seek(len(data) + 5)
    assert file.read(1) == b""


def test_a_stream_is_held_as_far_as_it_was_read() -> None:
    data = os.urandom(3 * MIB)
    state = SimpleNamespace(at=0, closed=False)

    def more(size: int, out: io.BytesIO) -> None:
        state.at += out.write(data[state.at : state.at + size])

    def end() -> None:
        state.closed = True

    with Streamed(4 * MIB, more, None, end) as file:
        assert file.read(10) == data[:10]
        assert state.at == 10
        file.seek(0)
        assert file.read(20) == data[:20]
        assert state.at == 20
        file.seek(-5, io.SEEK_END)
        assert file.read() == data[-5:]
        file.seek(100)
        assert file.read(7) == data[100:107]
    assert state.closed


def test_a_store_of_any_depth_is_walked_in_order() -> None:
    import fsspec

    files = fsspec.filesystem("memory")
    deep = "/walk/" + "a/" * 1200 + "z.exe"
    names = ["/walk/B.exe", "/walk/a.exe", "/walk/a/b.exe", deep, "/walk/c.exe"]
    for name in names:
        files.pipe(name, b"MZ")
    try:
        store = Other(fsspec.get_filesystem_class("memory"), "memory://walk")
        url = "memory://walk"
        for depth, wanted in ((None, len(names)), (1, 4), (0, 3)):
            pages = list(store.pages(url, depth, lambda name: False))
            found = [entry.url for page in pages for entry in page if isinstance(entry, Entry)]
            assert len(found) == wanted
            assert {name.rsplit("/", 1)[-1] for name in found} >= {"B.exe", "a.exe", "c.exe"}
        assert [name[len(url) :] for name in found] == ["/B.exe", "/a.exe", "/c.exe"]
        within = list(store.pages(url, None, lambda name: True))
        assert sum(map(len, within)) == 3
    finally:
        files.rm("/walk", recursive=True)
