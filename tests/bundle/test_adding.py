"""Models of the user's own: there whole or not at all, and held to their digests."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from maltriage import bundle as bundles
from maltriage.bundle import Bundle, added, adding
from maltriage.errors import MaltriageError
from maltriage.similar import index as indexes
from maltriage.similar import index_file

DEFAULT = bundles.resolve(None)
MODEL = DEFAULT.read_bytes()
INDEX = DEFAULT.with_name(DEFAULT.stem + added.INDEX_SUFFIX).read_bytes()


def check_index(data: bytes, bundle: Bundle, path: str) -> None:
    index_file.parse(data, path).check(bundle, path)


def add(name: str = "mine", model: bytes | None = MODEL, **more: object) -> added.Added:
    return adding.add(name, f"{name}.onnx", check_index, model=model, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The default bundle with another card."""
    bundle = bundles.load(DEFAULT)
    path = tmp_path_factory.mktemp("other") / "other.onnx"
    bundles.with_card(bundle, msgspec.structs.replace(bundle.card, name="other"), path)
    return path.read_bytes()


def files() -> list[str]:
    """What is in the folder of added models, but for its lock."""
    found = (path for path in added.folder().rglob("*") if path.is_file())
    return sorted(path.name for path in found if path.name != adding.LOCK)


def test_a_name_stands_for_what_was_added() -> None:
    with pytest.raises(MaltriageError, match="no such model: mine"):
        bundles.resolve("mine")
    record = add(index=INDEX)
    path = bundles.resolve("mine")
    assert path == record.model_path == bundles.installed()["mine"]
    bundle = bundles.load(path)
    assert bundle.model == MODEL
    assert index_file.beside(bundle) == record.index_path
    assert record.sha256 == hashlib.sha256(MODEL).hexdigest()
    assert files() == ["added.json", "mine.index.npz", "mine.onnx"]
    assert adding.problem_of(record, check_index) is None


def test_what_is_there_is_left_alone_or_replaced_when_asked(other: bytes) -> None:
    first = add(index=INDEX)
    assert add() == first  # the same file again, and its index stays
    with pytest.raises(MaltriageError, match=r"mine: added before, as another file \(--force\)"):
        add(model=other)
    assert bundles.load(bundles.resolve("mine")).model == MODEL
    second = add(model=other, force=True)
    assert bundles.load(bundles.resolve("mine")).model == other
    assert second.index_sha256 is None  # the index went with the model
    assert files() == ["added.json", "mine.onnx"]


def test_an_index_can_come_later() -> None:
    add()
    record = adding.add("mine", "x", check_index, index=INDEX)
    assert record.sha256
    assert index_file.beside(bundles.load(bundles.resolve("mine"))) == record.index_path
    changed = indexes.grown(index_file.read(record.index_path or ""), (), (), _no_embeddings())
    index_file.write(changed.index, Path("new.npz").absolute())
    data = Path("new.npz").read_bytes()
    with pytest.raises(MaltriageError, match="another file"):
        adding.add("mine", "x", check_index, index=data)
    record = adding.add("mine", "x", check_index, index=data, force=True)
    assert record.index_sha256 == hashlib.sha256(data).hexdigest()
    assert record.sha256 == hashlib.sha256(MODEL).hexdigest()


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _no_embeddings() -> indexes.Float32:
    import numpy as np

    return np.zeros((0, 546), np.float32)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"some text\n", "not an ONNX file"),
        (b"", "not an ONNX file"),
        (MODEL[:-1000], "not an ONNX file|without a maltriage card"),
        (MODEL.replace(b'"temperature"', b'"temperaturf"', 1), "corrupt card"),
    ],
)
def test_what_is_no_bundle_is_not_added(data: bytes, message: str) -> None:
    with pytest.raises(MaltriageError, match=message):
        add(model=data)
    assert not added.folder().exists()


def test_an_index_of_another_bundle_is_not_added() -> None:
    wrong = DEFAULT.with_name("maltriage-evidence.index.npz").read_bytes()
    with pytest.raises(MaltriageError, match="distances would mean nothing"):
        add(index=wrong)
    with pytest.raises(MaltriageError, match="no NumPy archive"):
        add(index=b"text")
    assert not added.folder().exists()


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "x" * 65, "a b", "C:x", "a\x1b"])
def test_names_that_are_no_names(name: str) -> None:
    with pytest.raises(MaltriageError, match="not a name"):
        add(name)
    assert added.read(name) is None


def test_published_names_cannot_be_taken(other: bytes) -> None:
    with pytest.raises(MaltriageError, match="name of a published model, and this is another"):
        add("maltriage-camvit", model=other)
    with pytest.raises(MaltriageError, match="comes with this install"):
        add(DEFAULT.stem)
    with pytest.raises(MaltriageError, match="its index comes with this install"):
        adding.add(DEFAULT.stem, "x", check_index, index=INDEX, force=True)


def test_a_published_model_that_does_not_ship_can_be_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from a wheel, which holds the default model alone."""
    data = DEFAULT.with_name("maltriage-camvit.onnx").read_bytes()
    _as_in_the_wheel(tmp_path, monkeypatch)
    assert [entry.name for entry in bundles.missing()] == ["maltriage-camvit", "maltriage-evidence"]
    with pytest.raises(MaltriageError, match=r"maltriage models add models/maltriage-camvit\.onnx"):
        bundles.resolve("maltriage-camvit")
    record = add("maltriage-camvit", model=data)
    assert bundles.standing_of(bundles.load(bundles.resolve("maltriage-camvit"))).state == (
        "published"
    )
    # Somebody who can write there, and writes the digest of another file into the record.
    assert record.model_path is not None
    record.model_path.write_bytes(MODEL)
    changed = msgspec.structs.replace(record, sha256=hashlib.sha256(MODEL).hexdigest())
    (added.folder() / record.name / added.RECORD).write_bytes(msgspec.json.encode(changed))
    with pytest.raises(MaltriageError, match="name of a published model"):
        bundles.load(bundles.resolve("maltriage-camvit"))


def test_an_index_can_be_added_to_the_model_that_ships(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _as_in_the_wheel(tmp_path, monkeypatch)
    bundle = bundles.load(bundles.resolve(None))
    assert index_file.beside(bundle) is None
    record = adding.add(DEFAULT.stem, "x", check_index, index=INDEX)
    assert index_file.beside(bundle) == record.index_path
    assert bundles.resolve(None) == tmp_path / "shipped" / DEFAULT.name
    assert adding.problem_of(record, check_index) is None
    assert record.index_path is not None
    record.index_path.write_bytes(INDEX + b"x")
    with pytest.raises(MaltriageError, match="not the file that was added"):
        index_file.read(record.index_path)


def _as_in_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from maltriage.bundle import file

    shipped = tmp_path / "shipped"
    shipped.mkdir()
    shutil.copy(DEFAULT, shipped)
    for module in (file, index_file):
        monkeypatch.setattr(module, "models_dir", lambda: shipped)


def test_a_file_that_was_changed_is_not_used() -> None:
    record = add(index=INDEX)
    assert record.model_path is not None
    record.model_path.write_bytes(MODEL.replace(b"benign", b"Benign", 1))
    with pytest.raises(MaltriageError, match="not the file that was added"):
        bundles.load(bundles.resolve("mine"))
    assert "not the file" in (adding.problem_of(record, check_index) or "")
    assert adding.problem_of(add(force=True), check_index) is None
    assert bundles.load(bundles.resolve("mine")).model == MODEL


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
def test_no_other_way_to_a_file_passes_its_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = add().model_path
    assert path is not None
    changed = MODEL.replace(b"benign", b"Benign", 1)
    path.write_bytes(changed)
    (tmp_path / "models").symlink_to(added.folder())
    (tmp_path / "one.onnx").symlink_to(path)
    below = path.relative_to(added.folder())
    ways = [
        Path(os.path.relpath(path)),
        tmp_path / "models" / below,
        tmp_path / "one.onnx",
        path.parent / ".." / path.parent.name / path.name,
    ]
    for way in ways:
        with pytest.raises(MaltriageError, match="not the file that was added"):
            bundles.load(way)
    monkeypatch.setenv("MALTRIAGE_MODELS", os.path.relpath(added.folder()))
    with pytest.raises(MaltriageError, match="not the file that was added"):
        bundles.load(path)
    path.unlink()  # a link in the place of the file is no way round
    (tmp_path / "other.onnx").write_bytes(changed)
    path.symlink_to(tmp_path / "other.onnx")
    with pytest.raises(MaltriageError, match="not the file that was added"):
        bundles.load(path)


@pytest.mark.parametrize(
    "record",
    [
        b"{",
        b"\xff",
        b"[" * 100_000,
        b"x" * (added.MAX_RECORD_BYTES + 1),
        b'{"name": "mine", "folder": "../../../../x"}',
        b'{"name":"other","folder":"0123456789abcdef","source":"","added":"","maltriage_version":""}',
    ],
)
def test_a_damaged_record_is_told_and_can_be_removed(record: bytes) -> None:
    add()
    add("good")
    (added.folder() / "mine" / added.RECORD).write_bytes(record)
    with pytest.raises(MaltriageError, match=r"a damaged record .*maltriage models remove mine"):
        bundles.resolve("mine")
    assert bundles.resolve("good")
    assert list(bundles.installed()) == ["good", *(path.stem for path in bundles.shipped())]
    assert isinstance(dict(added.records())["mine"], MaltriageError)
    adding.remove("mine")
    assert [name for name, _ in added.records()] == ["good"]


@pytest.mark.skipif(os.name != "posix", reason="permissions")
def test_a_folder_that_others_may_write_to_is_not_used() -> None:
    add()
    added.folder().chmod(0o777)
    with pytest.raises(MaltriageError, match="others may write to the folder"):
        bundles.resolve("mine")
    with pytest.raises(MaltriageError, match="others may write to the folder"):
        add("more")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root gives files away")
def test_a_folder_of_another_user_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    add()
    os.chown(added.folder(), 12345, 12345)
    with pytest.raises(MaltriageError, match="the folder belongs to another user"):
        bundles.resolve("mine")
    # Root's own is, e.g. one that an administrator fills for all.
    os.chown(added.folder(), 0, 0)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert bundles.resolve("mine").is_file()
    with pytest.raises(MaltriageError, match="belongs to another user"):
        add("more")


def test_a_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("MALTRIAGE_MODELS", str(tmp_path / "file" / "models"))
    with pytest.raises(MaltriageError, match=r"cannot write .*file.*: "):
        add()
    assert list(added.records()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from maltriage.bundle import adding
from maltriage.files.atomic import PartFile, PartFolder

places = {"folder": (PartFolder, 1), "file": (PartFile, 1), "record": (PartFile, 2)}
kind, count = places[sys.argv[1]]
left, real = [count], kind.commit

def commit(self, **options):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, **options)

kind.commit = commit
data = Path(sys.argv[2]).read_bytes()
adding.add("mine", "x", lambda *_: None, model=data, force=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
@pytest.mark.parametrize("where", ["file", "folder", "record"])
@pytest.mark.parametrize("replaced", [False, True])
def test_a_process_killed_while_it_writes_changes_nothing(
    tmp_path: Path, other: bytes, where: str, replaced: bool
) -> None:
    if replaced:
        add(index=INDEX)
    (tmp_path / "other.onnx").write_bytes(other)
    command = [sys.executable, "-c", KILLED, where, str(tmp_path / "other.onnx")]
    done = subprocess.run(command, env=dict(os.environ), check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    if replaced:
        assert bundles.load(bundles.resolve("mine")).model == MODEL
    else:
        assert added.read("mine") is None
    add(model=other, force=True)
    assert bundles.load(bundles.resolve("mine")).model == other
    assert files() == ["added.json", "mine.onnx"]  # and nothing that the other process left


def test_remove() -> None:
    add()
    adding.remove("mine")
    assert files() == []
    with pytest.raises(MaltriageError, match="no model mine was added"):
        adding.remove("mine")
    with pytest.raises(MaltriageError, match="it comes with this install"):
        adding.remove(DEFAULT.stem)
    with pytest.raises(MaltriageError, match=r"no model \.\. was added"):
        adding.remove("..")
