from __future__ import annotations

import hashlib
import os
import random
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maltriage.errors import MaltriageError
from maltriage.files.hold import LEFTOVER_SECONDS
from maltriage.source import known
from maltriage.source.known import KnownList, find_known, read_known

FILES = [b"file %d" % i for i in range(200)]


def hashes(kind: str, files: list[bytes] = FILES) -> list[str]:
    return [hashlib.new(kind, data).hexdigest() for data in files]


def listed(folder: Path, text: str | bytes, name: str = "list") -> KnownList:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_known(str(path), folder / "cache")


@pytest.mark.parametrize("kind", known.WIDTHS)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_one_hash_a_line(tmp_path: Path, kind: str, ending: str) -> None:
    lines = hashes(kind)
    random.Random(0).shuffle(lines)
    for last in ("", ending):
        found = listed(tmp_path, ending.join(lines) + last)
        assert found.counts == {kind: len(FILES)}
        for data in FILES:
            match = find_known(data, [found])
            assert match is not None
            assert (match.kind, match.path) == (kind, str(tmp_path / "list"))
            assert str(match) == f"its {kind} is in {tmp_path / 'list'}"
        assert not any(find_known(b"other %d" % i, [found]) for i in range(200))


def test_all_that_a_list_may_hold(tmp_path: Path) -> None:
    """Comments, blank lines, either case, names behind the hash, several kinds, one twice."""
    first, second, third = FILES[:3]
    sha256, sha1, md5 = (hashes(kind, FILES[:3]) for kind in known.WIDTHS)
    text = "\n".join(
        [
            "\ufeff# what we know",
            "",
            sha256[0].upper(),
            f"\\{sha1[1]} *C:\\\\a, b\\nc.dll",  # as `sha1sum` escapes a backslash and a line feed
            f"  {sha1[1]}  *C:\\a, b.dll",
            f"{md5[2]} # ours",
            sha256[0],
            "   ",
        ]
    )
    found = listed(tmp_path, text)
    assert found.counts == {"sha256": 1, "sha1": 1, "md5": 1}
    matches = [find_known(data, [found]) for data in (first, second, third, FILES[3])]
    assert [match and match.kind for match in matches] == ["sha256", "sha1", "md5", None]


@pytest.mark.parametrize("text", ["{0}\r{1}\r", "{0}\r{1}", "# ours\r{0}", "{0}\n{1} a\r{0}\r\n"])
def test_lines_that_end_in_cr_alone_are_refused(tmp_path: Path, text: str) -> None:
    """Only the first hash would count."""
    with pytest.raises(MaltriageError, match=r"list, line [12]: a CR within a line"):
        listed(tmp_path, text.format(*hashes("sha256")))


def test_another_list_of_the_same_size_and_time_is_read(tmp_path: Path) -> None:
    first, second = hashes("md5")[:2]
    assert find_known(FILES[0], [listed(tmp_path, first)])
    before = (tmp_path / "list").stat()
    other = tmp_path / "other"
    other.write_text(second)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(tmp_path / "list")
    found = read_known(str(tmp_path / "list"), tmp_path / "cache")
    assert find_known(FILES[1], [found])
    assert not find_known(FILES[0], [found])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "list")
    with pytest.raises(MaltriageError, match="list: no regular file"):
        read_known(str(tmp_path / "list"), tmp_path / "cache")


def test_a_list_as_the_nsrl_ships_it(tmp_path: Path) -> None:
    sha1, md5 = hashes("sha1"), hashes("md5")
    rows = [
        f'"{a.upper()}","{b.upper()}","EBD105A0","a ""b"", c.dll",98865,3095,"WIN",""'
        for a, b in zip(sha1, md5, strict=True)
    ]
    rows[7] = f'"","{md5[7]}","EBD105A0","line\nbreak",1,2,"WIN",""'
    header = '"SHA-1","MD5","CRC32","FileName","FileSize","ProductCode","OpSystemCode","Special"'
    found = listed(tmp_path, "\r\n".join([header, *rows]) + "\r\n")
    assert found.counts == {"sha1": len(FILES) - 1, "md5": 1}  # of each row the strongest it has
    assert all(find_known(data, [found]) for data in FILES)
    other = listed(tmp_path, "name,sha_256\na.dll," + hashes("sha256")[0], "other.csv")
    assert other.counts == {"sha256": 1}
    for name in ("SHA-256", "sha256", '"sha_256"', "  # ours\n \nsha256"):
        alone = listed(tmp_path, f"{name}\n{hashes('sha256')[0]}\n", "alone.csv")
        assert alone.counts == {"sha256": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{good}\n{good}\nnothing\n", "line 3: neither sha256, sha1 nor md5: 'nothing'"),
        ("{good}\n" * 3 + "g" * 64 + "\n", "line 4: neither"),
        ("{good}\n" * 3 + "0" * 63 + " \n", "line 4: neither"),
        ("# c\n\n{good}0\n", "line 3: neither"),
        ("", "there is no hash in it"),
        ("# nothing\n", "there is no hash in it"),
        ("name,size\na,1\n", "line 1: no column is called SHA-256, SHA-1 or MD5"),
        (",\n", "line 1: no column is called"),  # found by fuzzing
        ("name,md5\na,{md5}\nb\n", "line 3: neither sha256, sha1 nor md5: ''"),
        ("name,md5\na,{md5}x\n", "line 2: neither"),
        ("\udcff\udcfe6\x000\x00", "in UTF-16"),
        ("path,sha256,flagged\na,{good},false\n", "no flag means nothing"),
        ("sha256,verdict.label\n{good},benign\n", "a table of verdicts, not a list of known"),
    ],
)
def test_malformed_lists(tmp_path: Path, text: str, message: str) -> None:
    text = text.format(good=hashes("sha256")[0], md5=hashes("md5")[0])
    with pytest.raises(MaltriageError, match=message):
        listed(tmp_path, text.encode("utf-8", "surrogateescape"))
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


@pytest.mark.parametrize("kind", known.WIDTHS)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_hashes_of_one_kind_are_read_all_at_once(kind: str, ending: str) -> None:
    """Line by line they take ten times as long."""
    lines = hashes(kind)
    text = (ending.join(lines) + ending).encode()
    assert known._uniform(text) == (kind, bytes.fromhex("".join(lines)))
    other = text.replace(b"\r", b" ") if "\r" in ending else text.replace(b"\n", b" a\n", 1)
    for block in (other, text + b"#" * len(lines[0]) + ending.encode(), b"g" + text[1:]):
        assert known._uniform(block) is None


def test_lines_are_numbered_over_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "BLOCK_BYTES", 1000)
    lines = hashes("sha256")
    assert listed(tmp_path, "\n".join(lines)).counts == {"sha256": 200}
    lines[150] = "wrong"
    with pytest.raises(MaltriageError, match="line 151: neither"):
        listed(tmp_path, "\n".join(lines))


@given(st.lists(st.binary(min_size=16, max_size=16), min_size=1, max_size=60), st.integers(1, 7))
def test_hashes_are_sorted_and_each_there_once(
    tmp_path_factory: pytest.TempPathFactory, rows: list[bytes], together: int
) -> None:
    """Zero bytes at the end of a hash count, which numpy's strings would lose."""
    rows = [row[:14] + b"\0\0" if row[0] % 2 else row for row in rows] + rows[: len(rows) // 2]
    path = tmp_path_factory.mktemp("sort") / "md5"
    path.write_bytes(b"".join(rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(known, "SORTED_ROWS", together)
        known._sort(path, 16)
    assert path.read_bytes() == b"".join(sorted(set(rows)))


def test_a_list_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = listed(tmp_path, "\n".join(hashes("md5")))
    with monkeypatch.context() as patch:
        patch.setattr(known, "_build", None)
        assert read_known(first.path, tmp_path / "cache") == first
    killed = tmp_path / "cache" / ".0-1.part"
    killed.mkdir()
    old = time.time() - 2 * LEFTOVER_SECONDS
    os.utime(killed, (old, old))
    again = listed(tmp_path, "\n".join(hashes("md5")[:5]))
    assert again.counts == {"md5": 5}
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [Path(again.folder).name]


def test_only_the_hashes_that_a_list_has_are_computed(tmp_path: Path) -> None:
    found = listed(tmp_path, hashes("sha1")[0])
    digests: dict[str, str] = {}
    find_known(FILES[0], [found], digests)
    assert digests == {"sha1": hashes("sha1")[0]}


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(MaltriageError, match="MALTRIAGE_CACHE names another folder"):
        listed(tmp_path, hashes("md5")[0])
    with pytest.raises(MaltriageError, match="cannot read"):
        read_known(str(tmp_path / "gone"), tmp_path / "cache")
