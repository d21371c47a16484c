"""Tables of labels: labels.csv and AVClass's output, and what is wrong with them."""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path

import pytest
from corpus.synthetic import program
from hypothesis import given
from hypothesis import strategies as st

from maltriage.corpus.datasets import open_dataset
from maltriage.corpus.datasets.labels import find_table, label_files
from maltriage.errors import MaltriageError


def digests(kind: str, count: int = 8) -> list[str]:
    return [hashlib.new(kind, b"%d" % i).hexdigest() for i in range(count)]


def read(root: Path, text: str, names: list[str], table: str = "labels.csv"):  # type: ignore[no-untyped-def]
    """Family and date by file name, and the notices by their code."""
    (root / table).write_text(text, encoding="utf-8")
    found = find_table(root)
    assert found == root / table
    samples, notices = label_files(root, found, [str(root / name) for name in names])
    labelled = {Path(s.path).name: (s.label, s.first_seen) for s in samples}
    return labelled, {notice.code: notice.text for notice in notices}


def test_dates(tmp_path: Path) -> None:
    dates = (
        "2020-01-31,2020-01-31T12:30:00Z,2020-01-31 12:30:00 UTC,2020-01-31T12:30:00.5+02:00,"
        ",yesterday,31.1.2020"
    ).split(",")
    names = [f"{i}.exe" for i in range(len(dates))]
    lines = [f"{name},zeus,{date}" for name, date in zip(names, dates, strict=True)]
    text = "\n".join(["path,family,first_seen", *lines])
    found, notices = read(tmp_path, text, names)
    noon = datetime(2020, 1, 31, 12, 30)
    assert [found[name][1] for name in names] == [
        *(datetime(2020, 1, 31), noon, noon, datetime(2020, 1, 31, 10, 30)),
        *(None, None, None),
    ]
    assert notices == {
        "bad-date": "2 without a date: first_seen cannot be read (such as 5.exe)",
    }


def test_rows_and_files_that_do_not_meet(tmp_path: Path) -> None:
    sha256 = digests("sha256")
    rows = [
        *(f"{sha256[0]},zeus,2021-02-01", f"{sha256[0].upper()},zeus,2020-01-01"),
        f"{sha256[0]},,",
        *(f"{sha256[1]},zeus,", f"{sha256[1]},icarus,"),
        *(f"{sha256[2]},,", f"{sha256[3]},zeus,"),
    ]
    text = "\n".join(["sha256,family,first_seen", *rows])
    names = [f"a_{sha256[0]}.exe", f"{sha256[0]}.png", sha256[1], sha256[2], sha256[4], "x.exe"]
    found, notices = read(tmp_path, text, names)
    assert set(found) == {f"a_{sha256[0]}.exe", f"{sha256[0]}.png"}
    assert set(found.values()) == {("zeus", datetime(2020, 1, 1))}
    assert {code: text.split(":")[0] for code, text in notices.items()} == {
        "missing": "1 file left out",
        "no-family": "1 file left out",
        "label-conflict": "1 file left out",
        "unlabelled": "2 files left out",
    }


@pytest.mark.parametrize("kind", ["md5", "sha1", "sha256"])
@pytest.mark.parametrize("table", ["avclass.txt", "avclass.tsv", "zoo.labels"])
def test_avclass(tmp_path: Path, kind: str, table: str) -> None:
    names = digests(kind)
    text = (
        f"{names[0]}\tzbot\n"
        f"{names[1]}\tSINGLETON:{names[1]}\n"
        f"{names[2]}\tzbot\tzeus\t0\n"  # ground truth, and whether it is unwanted
        f"{names[3]}\t-\t[]\n"
        "\n"
        f"{names[4]}\t33\tCLASS:backdoor|20,FAM:zbot|19,FILE:os:windows|16\tzeus\r\n"
        f"{names[5]}\t7\tUNK:newname|3,FAM:other|2\n"
        f"{names[6]}\t2\tCLASS:grayware:adware|2\n"
        f"{names[7]}\t0\t\n"
    )
    files = [f"VirusShare_{name}" for name in names]
    found, notices = read(tmp_path, text, files, table)
    families = [found[name][0] for name in files if name in found]
    assert families == ["zbot", "zbot", "zbot", "newname"]
    assert set(found) == {files[i] for i in (0, 2, 4, 5)}
    assert list(notices) == ["no-family"]
    assert notices["no-family"].startswith("4 files left out")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("zbot", "line 2: not what AVClass writes"),
        ("0123\tzbot", "line 2: not what AVClass writes"),
        (f"{'0' * 32}\t5\tzbot|3,windows|2", "line 2: tag zbot|3 has no category"),
    ],
)
def test_what_avclass_does_not_write(tmp_path: Path, line: str, words: str) -> None:
    (tmp_path / "x.labels").write_text(f"{'1' * 32}\tzbot\n{line}\n")
    with pytest.raises(MaltriageError) as caught:
        label_files(tmp_path, tmp_path / "x.labels", [])
    assert words in str(caught.value)


def test_tables_that_cannot_be_read(tmp_path: Path) -> None:
    for name in ("labels.csv", "x.labels"):
        (tmp_path / name).write_bytes(b"\xff\xfe\0")
        with pytest.raises(MaltriageError, match="cannot read"):
            label_files(tmp_path, tmp_path / name, [])


def test_which_table(tmp_path: Path) -> None:
    assert find_table(tmp_path) is None
    (tmp_path / "a.labels").touch()
    (tmp_path / "avclass.txt").touch()
    with pytest.raises(MaltriageError, match=r"several tables.*a\.labels, avclass\.txt"):
        find_table(tmp_path)
    (tmp_path / "labels.csv").touch()
    assert find_table(tmp_path) == tmp_path / "labels.csv"


def test_a_flat_folder_with_avclass(tmp_path: Path) -> None:
    lines = []
    for i in range(8):
        data = program(i % 2, i)
        digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
        (tmp_path / digest).write_bytes(data)
        lines.append(f"{digest}\t{('zbot', 'upatre', 'rare')[2 if i == 7 else i % 2]}")
    (tmp_path / "avclass.txt").write_text("\n".join(lines))
    dataset = open_dataset("vx-zoo", tmp_path)
    assert dataset.labels == ("upatre", "zbot")
    assert len(dataset.samples) == 7
    assert [notice.code for notice in dataset.notices] == ["small-family"]


@given(text=st.text(max_size=200))
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("text")
    for name, head in (("labels.csv", "path,family,first_seen\n"), ("x.labels", "")):
        data = (head + text).encode("utf-8", "surrogatepass")
        (folder / name).write_bytes(data)
        try:
            samples, _ = label_files(folder, folder / name, [str(folder / "a.exe")])
        except MaltriageError:
            continue
        assert len(samples) <= 1
