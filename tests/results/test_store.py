"""The store: what it keeps, what it survives, and that it is never in the way."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from maltriage.report.status.cache import day
from maltriage.results import upkeep
from maltriage.results.sqlite_file import BUSY_SECONDS, FILE_NAME, TABLES_VERSION
from maltriage.results.store import Batch, Settings, Store

SETTINGS = Settings(b"s" * 32, "net", "w" * 64, "1.4", "0.1.0")
OTHER = Settings(b"o" * 32, "net", "w" * 64, "1.4", "0.1.0")
CONTENT = b"c" * 32


class Said(list[str]):
    def __call__(self, text: str) -> None:
        self.append(text)


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "results"


def opened(folder: Path, said: Said) -> Store:
    store = Store.open(folder, said)
    assert store is not None
    return store


def batch(record: bytes = b"record", path: bytes = b"p", status: bytes = b"t") -> Batch:
    return Batch([(CONTENT, 7, record)], [(path, status, CONTENT)])


def record_of(store: Store, path: bytes = b"p", status: bytes = b"t") -> bytes | None:
    stored = store.find(path, status, SETTINGS)
    return None if stored is None else stored.record


def test_what_was_written_is_found_by_path_and_stat(folder: Path, said: Said) -> None:
    with opened(folder, said) as store:
        assert record_of(store) is None
        store.write(batch(), SETTINGS)
        assert record_of(store) == b"record"
        assert record_of(store, status=b"other") is None
        assert record_of(store, path=b"other") is None
        assert store.find(b"p", b"t", OTHER) is None
        store.write(batch(b"newer"), SETTINGS)
        assert record_of(store) == b"newer"
    with opened(folder, said) as store:
        assert record_of(store) == b"newer"
    assert said == []


def test_a_path_has_the_content_that_it_had_last(folder: Path, said: Said) -> None:
    with opened(folder, said) as store:
        store.write(batch(), SETTINGS)
        store.write(Batch([(b"d" * 32, 7, b"changed")], [(b"p", b"u", b"d" * 32)]), SETTINGS)
        assert record_of(store) is None
        assert record_of(store, status=b"u") == b"changed"


def test_the_time_of_use_is_written_once_a_day(folder: Path, said: Said) -> None:
    with opened(folder, said) as store:
        store.write(batch(), SETTINGS)
        stored = store.find(b"p", b"t", SETTINGS)
        assert stored is not None
        assert stored.row == 0
        store.connection.execute("UPDATE results SET used = used - 2 * 86400")
        stored = store.find(b"p", b"t", SETTINGS)
        assert stored is not None
        assert stored.row
        store.write(Batch(used=[stored.row]), SETTINGS)
        (used,) = store.connection.execute("SELECT used FROM results").fetchone()
        assert time.time() - used < 60


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_only_the_owner_can_read_it(folder: Path, said: Said) -> None:
    before = os.umask(0)
    try:
        with opened(folder, said) as store:
            store.write(batch(), SETTINGS)
            modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {FILE_NAME, FILE_NAME + "-wal"} <= set(modes)
    assert set(modes.values()) == {0o600}


@pytest.mark.skipif(sys.platform == "win32", reason="links and permissions of POSIX")
@pytest.mark.parametrize("case", ["link", "fifo", "writable", "file", "folder"])
def test_what_others_could_have_laid_there_is_left_alone(
    folder: Path, said: Said, tmp_path: Path, case: str
) -> None:
    target, path = tmp_path / "target", folder / FILE_NAME
    target.write_bytes(b"")
    if case == "file":
        folder.write_bytes(b"")
    else:
        folder.mkdir(mode=0o700)
    if case == "link":
        path.symlink_to(target)
    elif case == "fifo":
        os.mkfifo(path)
    elif case == "writable":
        folder.chmod(0o777)
    elif case == "folder":
        path.mkdir()
    assert Store.open(folder, said) is None
    assert target.read_bytes() == b""
    (text,) = said
    assert text.startswith(f"{path}: ")
    assert text.endswith(": results are neither looked up nor kept")
    words = {"link": "a symbolic link", "fifo": "no regular file", "writable": "others may write"}
    assert words.get(case, "") in text


def test_a_disk_that_can_only_be_read(
    folder: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(folder, said) as store:
        store.write(batch(), SETTINGS)

    def refused(*arguments: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patched:
        patched.setattr("maltriage.results.sqlite_file.os.open", refused)
        assert Store.open(folder, said) is None
    assert said.pop().endswith("Read-only file system: results are neither looked up nor kept")
    with opened(folder, said) as store:  # it becomes one while a scan runs
        store.connection.execute("PRAGMA query_only = 1")
        assert record_of(store) == b"record"
        store.write(batch(b"newer"), SETTINGS)
        assert not store.usable
    assert "readonly database: results are no longer looked up or kept" in said.pop()


@pytest.mark.parametrize("content", [b"not a database at all " * 100, b"SQLite format 3\0" * 200])
def test_a_file_that_is_no_database_is_moved_aside(
    folder: Path, said: Said, content: bytes
) -> None:
    folder.mkdir(mode=0o700)
    (folder / FILE_NAME).write_bytes(content)
    with opened(folder, said) as store:
        store.write(batch(), SETTINGS)
        assert record_of(store) == b"record"
    (text,) = said
    assert "moved to results.sqlite.damaged, and begun anew" in text
    assert (folder / "results.sqlite.damaged").read_bytes() == content


def test_damage_that_is_met_later_ends_it_with_one_line(folder: Path, said: Said) -> None:
    with opened(folder, said) as store:
        for number in range(300):
            mark, content = b"%d" % number, b"%032d" % number
            store.write(Batch([(content, 7, bytes(3000))], [(mark, mark, content)]), SETTINGS)
        store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    path = folder / FILE_NAME
    data = bytearray(path.read_bytes())
    data[4096 * 8 :] = os.urandom(len(data) - 4096 * 8)
    path.write_bytes(data)
    with opened(folder, said) as store:
        for number in range(300):
            store.find(b"%d" % number, b"%d" % number, SETTINGS)
        assert not store.usable
        store.write(batch(), SETTINGS)
    (text,) = said
    assert "moved to results.sqlite.damaged: results are no longer looked up or kept" in text
    with opened(folder, said) as store:
        assert store.usable
        assert record_of(store) is None


def test_tables_of_other_versions(folder: Path, said: Said) -> None:
    with opened(folder, said) as store:
        store.write(batch(), SETTINGS)
        store.connection.execute(f"PRAGMA user_version = {TABLES_VERSION + 1}")
    assert Store.open(folder, said) is None
    assert said.pop().endswith("made by a newer maltriage: results are neither looked up nor kept")
    connection = sqlite3.connect(folder / FILE_NAME)
    assert connection.execute("SELECT count(*) FROM results").fetchone() == (1,)
    connection.execute("ALTER TABLE results RENAME TO outcomes")
    connection.execute(f"PRAGMA user_version = {TABLES_VERSION - 1}")
    connection.close()
    with opened(folder, said) as store:
        assert said.pop().endswith("made by an older maltriage: emptied")
        assert record_of(store) is None
        store.write(batch(), SETTINGS)
        assert record_of(store) == b"record"


def test_the_database_of_another_program(folder: Path, said: Said) -> None:
    folder.mkdir(mode=0o700)
    connection = sqlite3.connect(folder / FILE_NAME)
    connection.execute("CREATE TABLE theirs (a)")
    connection.close()
    assert Store.open(folder, said) is None
    assert "a database of another program" in said.pop()


@pytest.mark.parametrize(
    "change", ["record = 5", "record = 'text'", "used = 'never'", "used = 1e300"]
)
def test_values_of_other_types_are_no_results(folder: Path, said: Said, change: str) -> None:
    with opened(folder, said) as store:
        store.write(batch(), SETTINGS)
        store.connection.execute(f"UPDATE results SET {change}")
        assert record_of(store) is None
        (kept,) = upkeep.info(store).models
        assert kept.used == ("1970-01-01" if "used" in change else day(int(time.time())))
    assert said == []


def test_a_view_in_place_of_a_table_is_refused(folder: Path, said: Said) -> None:
    endless = "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id FROM n) SELECT id FROM n"
    with opened(folder, said) as store:
        store.connection.execute("DROP TABLE results")
        store.connection.execute(f"CREATE VIEW results AS {endless}")
    assert Store.open(folder, said.append) is None
    (line,) = said
    assert "it has views or triggers, which no maltriage made" in line


def test_another_process_that_writes_is_waited_for_only_so_long(
    folder: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert BUSY_SECONDS >= 5
    monkeypatch.setattr("maltriage.results.sqlite_file.BUSY_SECONDS", 0.1)
    with opened(folder, said) as other, opened(folder, said) as store:
        store.write(batch(), SETTINGS)
        other.connection.execute("BEGIN IMMEDIATE")
        assert record_of(store) == b"record"  # readers do not wait
        store.write(batch(b"newer"), SETTINGS)
        other.connection.execute("ROLLBACK")
        assert not store.usable
    assert "locked" in said.pop()


def test_after_another_process_cleared_it_settings_keep_apart(folder: Path, said: Said) -> None:
    with opened(folder, said) as store, opened(folder, said) as other:
        store.write(batch(), SETTINGS)
        for table in ("results", "files", "settings"):
            other.connection.execute(f"DELETE FROM {table}")
        other.write(batch(b"of others"), OTHER)
        assert record_of(store) is None
        store.write(batch(), SETTINGS)
        assert record_of(store) == b"record"


def test_a_scan_that_did_not_end_is_resumed_until_it_does(folder: Path, said: Said) -> None:
    mine, other = b"m" * 16, b"o" * 16
    with opened(folder, said) as store:
        assert store.begin(mine, resume=True) is None
        assert store.begin(other, resume=False) is None
        rows = [(mine, b"p", b"t", None, b"own"), (mine, b"q", b"t", CONTENT, None),
                (mine, b"r", b"t", b"gone", None), (other, b"p", b"t", None, b"other")]  # fmt: skip
        store.write(Batch([(CONTENT, 7, b"record")], reported=rows), SETTINGS)
    with opened(folder, said) as store:

        def found(scan: bytes, path: bytes, status: bytes = b"t") -> bytes | None:
            stored = store.find_reported(scan, path, status, SETTINGS)
            return stored and stored.record

        begun = store.begin(mine, resume=True)
        assert begun is not None
        assert abs(time.time() - begun) < 60
        assert [found(mine, path) for path in (b"p", b"q", b"r", b"s")] == [
            b"own", b"record", None, None,
        ]  # fmt: skip
        assert found(mine, b"p", b"changed") is None
        assert found(other, b"p") == b"other"
        store.end(mine)
        assert found(mine, b"p") is None
        assert store.begin(mine, resume=True) is None
        assert found(other, b"p") == b"other"
        store.begin(other, resume=False)
        assert found(other, b"p") is None
    assert said == []


WRITER = """
import sys
from pathlib import Path
from maltriage.results.store import Batch, Settings, Store

settings = Settings(b"s" * 32, "net", "w" * 64, "1.4", "0.1.0")
store = Store.open(Path(sys.argv[1]), lambda text: sys.exit(text))
for number in range(int(sys.argv[3])):
    name = b"%s %d" % (sys.argv[2].encode(), number)
    content = name.ljust(32, b".")
    store.write(Batch([(content, 7, name * 200)], [(name, b"t", content)]), settings)
    print(number, flush=True)
sys.exit(0 if store.usable else 1)
"""


def test_two_processes_share_a_store(folder: Path, said: Said) -> None:
    command = [sys.executable, "-c", WRITER, str(folder)]
    both = [
        subprocess.Popen([*command, name, "150"], stdout=subprocess.DEVNULL) for name in ("a", "b")
    ]
    assert [process.wait(120) for process in both] == [0, 0]
    with opened(folder, said) as store:
        for name in (b"a", b"b"):
            for number in range(150):
                text = b"%s %d" % (name, number)
                assert record_of(store, path=text) == text * 200
    assert said == []


def test_a_writer_that_is_killed_leaves_what_it_committed(folder: Path, said: Said) -> None:
    for round_ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder), f"r{round_}", "100000"],
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        for _ in range(20 + 7 * round_):
            last = int(process.stdout.readline())
        process.kill()
        last = int((process.stdout.read().splitlines() or [b"%d" % last])[-1])
        process.wait()
        process.stdout.close()
        with opened(folder, said) as store:
            (state,) = store.connection.execute("PRAGMA integrity_check").fetchone()
            assert state == "ok"
            for number in range(last + 1):
                assert record_of(store, path=b"r%d %d" % (round_, number)) is not None
    assert said == []
