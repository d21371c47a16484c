"""Prepared arrays: those of `prepare`, whole, and never stale."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from corpus.synthetic import program, seven_zipped, write_png, write_tree, zipped
from PIL import Image
from sample.chosen import default_views

from maltriage.corpus import array_store, fingerprint
from maltriage.corpus import load as corpus_load
from maltriage.corpus.corpus import Corpus
from maltriage.corpus.datasets import open_dataset
from maltriage.corpus.load import load_corpus
from maltriage.errors import MaltriageError
from maltriage.probe.prepare import PrepareOptions, prepare
from maltriage.sample.views import BodySpec

VIEWS = default_views(32)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "tree", {"benign": 3, "zeus": 4})


def load(tree: Path, folder: Path, **options: object) -> Corpus:
    return load_corpus(open_dataset("folder", tree), VIEWS, jobs=1, folder=folder, **options)  # type: ignore[arg-type]


def never(*arguments: object) -> None:
    raise AssertionError("prepared again")


def test_arrays_are_those_of_prepare(tree: Path, tmp_path: Path) -> None:
    short = program(1, 77)[:1500]  # a window that reaches past the end
    (tree / "zeus" / "short.exe").write_bytes(short)
    progress: list[tuple[int, int]] = []
    corpus = load(tree, tmp_path / "cache", progress=lambda *now: progress.append(now))
    assert progress == [(i + 1, 8) for i in range(8)]
    assert corpus.labels == ("benign", "zeus")
    assert corpus.label.tolist() == [0] * 3 + [1] * 5
    for i, path in enumerate(corpus.paths):
        prepared = prepare(path, PrepareOptions(views=VIEWS))
        assert corpus.sha256[i] == prepared.identity.sha256
        for view in VIEWS:
            pixels = corpus.pixels(view.name, np.array([i]))[0]
            np.testing.assert_array_equal(pixels, prepared.views[view.name].pixels)
    assert len(corpus.pixels("code", slice(2, 5))) == 3


def test_the_second_time_nothing_is_read(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(tree, tmp_path / "cache")
    monkeypatch.setattr(corpus_load, "_prepare_all", never)
    second = load(tree, tmp_path / "cache")
    assert second.sha256 == first.sha256
    assert second.signs.entry == first.signs.entry
    for name, array in first.arrays.items():
        np.testing.assert_array_equal(second.arrays[name], array)
    # A moved file is another sample of the same dataset; a new label is none.
    (tree / "zeus").rename(tree / "other")
    with pytest.raises(AssertionError, match="prepared again"):
        load(tree, tmp_path / "cache")


def test_changed_files_and_views_have_another_key(tree: Path) -> None:
    dataset = open_dataset("folder", tree)
    keys = {corpus_load._key(dataset, VIEWS), corpus_load._key(dataset, (BodySpec(size=16),))}
    os.utime(dataset.samples[0].path, ns=(1, 1))
    keys.add(corpus_load._key(dataset, VIEWS))
    assert len(keys) == 3


def test_changed_code_has_another_key(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = open_dataset("folder", tree)
    before = corpus_load._key(dataset, VIEWS)
    moved = tmp_path / "byteplot.py"
    moved.write_text("# another representation\n")

    def elsewhere(name: str) -> ModuleSpec | None:
        spec = find_spec(name)
        if spec is not None and name.endswith(".byteplot"):
            spec.origin = str(moved)
        return spec

    monkeypatch.setattr(fingerprint, "find_spec", elsewhere)
    assert corpus_load._key(dataset, VIEWS) != before


def test_a_damaged_cache_is_made_again(tree: Path, tmp_path: Path) -> None:
    first = load(tree, tmp_path / "cache")
    (folder,) = (tmp_path / "cache").iterdir()
    stored = folder / "view-code.npy"
    whole = stored.read_bytes()
    sha256, code = first.sha256, np.array(first.arrays["code"])
    del first  # it maps the file, which nobody can remove on Windows meanwhile
    stored.unlink()
    stored.write_bytes(whole[: len(whole) // 2])
    again = load(tree, tmp_path / "cache")
    assert again.sha256 == sha256
    np.testing.assert_array_equal(again.arrays["code"], code)
    assert stored.read_bytes() == whole
    assert list((tmp_path / "cache").iterdir()) == [folder]


def test_without_a_place_for_the_cache(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    corpus = load(tree, tmp_path / "cache")
    assert len(corpus) == 7
    (notice,) = corpus.notices
    assert notice.code == "no-cache"
    assert str(tmp_path / "cache") in notice.text
    cached = load(tree, tmp_path / "another")
    assert cached.notices == ()
    for name, array in cached.arrays.items():
        np.testing.assert_array_equal(corpus.arrays[name], array)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions as POSIX has them")
def test_a_cache_is_for_its_owner_alone(tree: Path, tmp_path: Path) -> None:
    """The views hold bytes of samples; and what others may have put there is not trained on."""
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o755)
    assert load(tree, folder).notices == ()
    (place,) = folder.iterdir()
    assert place.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    (notice,) = load(tree, folder).notices
    assert "others may write to the folder" in notice.text


def test_with_less_room_than_it_needs(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("usage", (), {"free": 1000})
    monkeypatch.setattr(array_store.shutil, "disk_usage", lambda folder: usage)
    (notice,) = load(tree, tmp_path / "cache").notices
    assert "0 MiB are free" in notice.text
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files")
def test_when_the_room_runs_out(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file may be no larger than 20,000 bytes: a window of 7 samples is."""
    import resource
    from multiprocessing import heap

    # What processes share lies in files of the heap, each twice as large as the last one made.
    monkeypatch.setattr(heap.BufferWrapper, "_heap", heap.Heap())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        corpus = load(tree, tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [notice.code for notice in corpus.notices] == ["no-cache"]
    assert list((tmp_path / "cache").iterdir()) == []
    assert corpus.sha256 == load(tree, tmp_path / "cache").sha256


def test_arrays_are_mapped_and_cannot_be_written(tree: Path, tmp_path: Path) -> None:
    corpus = load(tree, tmp_path / "cache")
    for array in (*corpus.arrays.values(), corpus.signs.plane):
        assert isinstance(array.base, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_killed_build_leaves_no_cache(tree: Path, tmp_path: Path) -> None:
    """Killed after three samples; the next one makes it whole, and clears up an hour later."""
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from maltriage.corpus.load import load_corpus\n"
        "from maltriage.corpus.datasets import open_dataset\n"
        "def die(done, count):\n"
        "    if done == 3: os.kill(os.getpid(), signal.SIGKILL)\n"
        "if __name__ == '__main__':\n"
        "    data = open_dataset('folder', Path(sys.argv[1]))\n"
        "    load_corpus(data, (), jobs=1, folder=Path(sys.argv[2]), progress=die)\n"
    )
    script, folder = tmp_path / "killed.py", tmp_path / "cache"
    script.write_text(code)
    done = subprocess.run([sys.executable, script, tree, folder], check=False, timeout=100)
    assert done.returncode == -signal.SIGKILL
    (left,) = folder.iterdir()
    assert left.name.endswith(".part")
    assert len(load(tree, folder)) == 7
    assert left.exists()  # somebody may be at it
    for path in (left, *left.iterdir()):
        os.utime(path, (0, 0))
    load_corpus(open_dataset("folder", tree), (), jobs=1, folder=folder)
    assert not left.exists()
    assert len(list(folder.iterdir())) == 2


def test_an_interrupted_build_leaves_nothing(tree: Path, tmp_path: Path) -> None:
    def stop(done: int, count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(tree, tmp_path / "cache", progress=stop)
    assert list((tmp_path / "cache").iterdir()) == []


def test_some_samples_of_a_corpus(tree: Path, tmp_path: Path) -> None:
    clean = write_tree(tmp_path / "clean", {"package": 2})
    for path in (clean / "package").iterdir():
        path.write_bytes(write_png(tmp_path / "x.png", program(2, int(path.stem))).read_bytes())
    write_tree(tree, {"icarus": 3})
    for i in range(3):
        write_png(tree / "icarus" / f"{i:03d}.png", program(3, i))
    dataset = open_dataset("folder", tree, goodware=clean)
    corpus = load_corpus(dataset, VIEWS, jobs=1, folder=tmp_path / "cache")
    assert (len(corpus), corpus.goodware_samples) == (12, 2)
    keep = np.array([label != 1 for label in corpus.label])
    keep[[0, -1]] = False
    some = corpus.take(keep)
    at = np.flatnonzero(keep)
    assert some.labels == ("benign", "zeus")
    assert (len(some), some.goodware_samples) == (7, 1)
    assert some.paths == tuple(corpus.paths[i] for i in at)
    assert [some.labels[i] for i in some.label] == [corpus.labels[corpus.label[i]] for i in at]
    for view in VIEWS:
        np.testing.assert_array_equal(
            some.pixels(view.name, slice(None)), corpus.pixels(view.name, at)
        )
    np.testing.assert_array_equal(some.signs.plane, corpus.signs.plane[at])


def test_a_file_of_two_families_is_said(tree: Path, tmp_path: Path) -> None:
    write_tree(tree, {"icarus": 3})
    for i in range(3):
        write_png(tree / "icarus" / f"{i:03d}.png", program(3, i))
    write_png(tree / "icarus" / "same.png", program(1, 0))
    notices = {notice.code: notice.text for notice in load(tree, tmp_path / "cache").notices}
    assert "1 file is labelled with different families" in notices["label-conflict"]
    assert "(icarus)" in notices["label-conflict"]
    assert "(zeus)" in notices["label-conflict"]


def test_unreadable_samples_are_counted(tree: Path, tmp_path: Path) -> None:
    broken = write_png(tree / "zeus" / "broken.png", program(1, 50))
    broken.write_bytes(broken.read_bytes()[:-200])
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(tree / "zeus" / name)
    corpus = load(tree, tmp_path / "cache")
    assert len(corpus) == 7
    text = {notice.code: notice.text for notice in corpus.notices}
    assert text["not-byteplot"].startswith("2 files left out")
    assert text["damaged-png"].startswith("1 file left out")
    assert load(tree, tmp_path / "cache").notices == corpus.notices  # kept with the arrays


def test_a_family_of_unreadable_samples_is_no_label(tree: Path, tmp_path: Path) -> None:
    for i in range(3):
        write_png(tree / "empty" / f"{i}.png", b"not a program" * 50)
    dataset = open_dataset("folder", tree)
    assert "empty" in dataset.labels
    corpus = load_corpus(dataset, VIEWS, jobs=1, folder=tmp_path / "cache")
    assert corpus.labels == ("benign", "zeus")
    assert corpus.label.max() == 1
    assert "empty-family" in [notice.code for notice in corpus.notices]


def test_nothing_readable(tmp_path: Path) -> None:
    for family in ("a", "b"):
        for i in range(3):
            write_png(tmp_path / "tree" / family / f"{i}.png", b"not a program" * 50)
    with pytest.raises(MaltriageError, match="fewer than two families with readable samples"):
        load(tmp_path / "tree", tmp_path / "cache")


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text elsewhere")
def test_a_name_that_is_not_utf8(tree: Path, tmp_path: Path) -> None:
    (tree / "zeus" / os.fsdecode(b"caf\xe9.exe")).write_bytes(program(1, 60))
    assert len(load(tree, tmp_path / "cache")) == 8


def test_a_program_and_its_byteplot_are_one_sample(tree: Path, tmp_path: Path) -> None:
    data = program(1, 0, size=6144)
    (tree / "zeus" / "same.exe").write_bytes(data)
    write_png(tree / "zeus" / "same.png", data, width=256)
    corpus = load(tree, tmp_path / "cache")
    a, b = (corpus.paths.index(str(tree / "zeus" / f"same.{end}")) for end in ("exe", "png"))
    assert corpus.sha256[a] == corpus.sha256[b]
    for view in VIEWS:
        pixels = corpus.pixels(view.name, np.array([a, b]))
        np.testing.assert_array_equal(pixels[0], pixels[1])


def test_samples_in_password_archives(tmp_path: Path) -> None:
    """Named by the digest of what is inside, as collections are; an archive of two is none."""
    root, lines = tmp_path / "tree", ["sha256,family"]
    root.mkdir()
    for i in range(6):
        data = program(i % 2, i)
        digest = hashlib.sha256(data).hexdigest()
        pack = zipped if i < 4 else seven_zipped
        (root / f"{digest}.zip").write_bytes(pack({f"{digest}.exe": data}))
        lines.append(f"{digest},{('benign', 'zeus')[i % 2]}")
    (root / f"{'0' * 64}.zip").write_bytes(zipped({"a": program(0, 9), "b": program(0, 8)}))
    (root / "labels.csv").write_text("\n".join([*lines, f"{'0' * 64},zeus"]))
    corpus = load(root, tmp_path / "cache")
    assert sorted(
        f"{sha},{corpus.labels[y]}" for sha, y in zip(corpus.sha256, corpus.label, strict=True)
    ) == sorted(lines[1:])
    assert [notice.code for notice in corpus.notices] == ["archive"]
    (tmp_path / "plain.exe").write_bytes(program(0, 0))
    at = corpus.sha256.index(hashlib.sha256(program(0, 0)).hexdigest())
    plain = prepare(str(tmp_path / "plain.exe"), PrepareOptions(views=VIEWS))
    for view in VIEWS:
        np.testing.assert_array_equal(
            corpus.pixels(view.name, slice(at, at + 1))[0], plain.views[view.name].pixels
        )


def test_no_views_at_all(tree: Path, tmp_path: Path) -> None:
    """Enough for a split, which does not depend on the net."""
    corpus = load_corpus(open_dataset("folder", tree), (), jobs=1, folder=tmp_path / "cache")
    assert len(corpus) == 7
    assert corpus.arrays == {}


def test_a_file_that_is_benign_and_malware(tree: Path, tmp_path: Path) -> None:
    family = next(folder for folder in tree.iterdir() if folder.name != "benign")
    same = tmp_path / "clean"
    same.mkdir()
    some = next(iter(family.iterdir()))
    (same / some.name).write_bytes(some.read_bytes())
    dataset = open_dataset("folder", tree, goodware=same)
    with pytest.raises(MaltriageError, match=f"the same file is {family.name} and benign"):
        load_corpus(dataset, VIEWS, jobs=1, folder=tmp_path / "cache")
