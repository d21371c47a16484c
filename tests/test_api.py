"""The public interface: what is promised in docs/reference/api.md."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import os
import re
import shutil
import subprocess
import sys
import time
import typing
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

import maltriage
from maltriage.api import IN_PYTHON
from maltriage.bundle import DEFAULT_MODEL

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = re.findall(
    r"```python\n(.*?)```", (ROOT / "docs" / "reference" / "api.md").read_text("utf-8"), re.S
)
EXPECTED = (
    "samples/console-x86.exe benign False",
    ".text",
    "- ",
    "samples/dotnet.exe benign",
    "benign",
    "no such model: no-such-model",
)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_examples_run_as_they_stand(number: int, tmp_path: Path) -> None:
    script = tmp_path / "example.py"
    script.write_text(EXAMPLES[number])
    shutil.copytree(ROOT / "samples", tmp_path / "samples")
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert EXPECTED[number] in done.stdout.replace(os.sep, "/")


def test_every_parameter_is_in_the_text() -> None:
    """Also where no page is built, which has them from the code."""
    text = (ROOT / "docs" / "reference" / "api.md").read_text("utf-8")
    for function in (maltriage.scan, maltriage.explain):
        _, _, table = text.partition(f"| `{function.__name__}` | default |")
        rows, _, _ = table.partition("\n\n")
        first = " ".join(row.split("|")[1] for row in rows.splitlines()[2:])
        assert re.findall(r"`(\w+)`", first) != []
        assert {*re.findall(r"`(\w+)`", first)} == {*inspect.signature(function).parameters}


def test_importing_it_imports_nothing_heavy() -> None:
    code = (
        "import sys, maltriage; assert 'scan' in dir(maltriage);"
        "print(sorted(m for m in sys.modules if m.partition('.')[0] in "
        "('numpy', 'onnxruntime', 'msgspec', 'rich', 'typer', 'torch', 'lief')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_every_name_is_there_and_documented() -> None:
    text = (ROOT / "docs" / "reference" / "api.md").read_text("utf-8")
    for name in maltriage.__all__:
        assert getattr(maltriage, name) is not None
        assert name.startswith("__") or name in text
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        maltriage.nothing  # noqa: B018


def test_what_it_lists_is_the_public_interface() -> None:
    assert dir(maltriage) == sorted(maltriage.__all__)


def test_a_type_checker_knows_which_names_there_are(tmp_path: Path) -> None:
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("no mypy")
    wrong = ["maltriage.scna('x')", "from maltriage import Sumary", "maltriage.os.getpid()"]
    script = tmp_path / "typo.py"
    script.write_text("import maltriage\nmaltriage.scan('x')\n" + "\n".join(wrong) + "\n")
    options = ["--strict", "--follow-imports=skip", "--config-file=", "--cache-dir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, script, "maltriage/__init__.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.findall(r"typo\.py:(\d+): error: .*attribute", done.stdout)
    assert found == ["3", "4", "5"], done.stdout + done.stderr


def test_what_gives_no_sample_is_an_error_of_explain(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("no program")
    with pytest.raises(maltriage.MaltriageError, match=r"a\.txt: "):
        maltriage.explain(tmp_path / "a.txt")
    with pytest.raises(maltriage.MaltriageError, match="no such model"):
        next(maltriage.scan(tmp_path, model="nothing"))


def test_a_folder_is_no_sample(samples_dir: Path) -> None:
    with pytest.raises(maltriage.MaltriageError) as caught:
        maltriage.explain(samples_dir)
    assert str(caught.value) == f"{samples_dir}: a folder (scan takes folders, explain files)"


WRONG = [
    ("workers", -1, "a whole number from 0 to 1,024"),
    ("workers", "2", "a whole number from 0 to 1,024"),
    ("workers", 1.5, "a whole number from 0 to 1,024"),
    ("workers", 100_000, "a whole number from 0 to 1,024"),
    ("timeout", "a", "seconds, 0.1 or more"),
    ("timeout", 0, "seconds, 0.1 or more"),
    ("timeout", -5, "seconds, 0.1 or more"),
    ("timeout", float("nan"), "seconds, 0.1 or more"),
    ("max_size", -1, "a whole number from 1 to 1,099,511,627,776"),
    ("max_size", 1e6, "a whole number from 1 to 1,099,511,627,776"),
    ("max_size", None, "a whole number from 1 to 1,099,511,627,776"),
    ("fpr", "0.05", "a rate between 0 and 1"),
    ("fpr", 5, "a rate between 0 and 1"),
    ("fpr", float("nan"), "a rate between 0 and 1"),
]


@pytest.mark.parametrize(("name", "value", "wanted"), WRONG)
def test_a_wrong_argument_is_one_line_before_anything_starts(
    name: str, value: Any, wanted: str
) -> None:
    for function in (maltriage.scan, maltriage.explain):
        if name in inspect.signature(function).parameters:
            with pytest.raises(maltriage.MaltriageError) as caught:
                function("missing.exe", model="nothing", **{name: value})
            assert str(caught.value) == f"{name}={value!r}: not {wanted}"


NO_PATHS = [
    ("a\0b", "paths='a\\x00b': not a path (explain takes bytes)"),
    pytest.param(
        ["a", "\ud800"],
        "paths='\\ud800': not a path (explain takes bytes)",
        marks=pytest.mark.skipif(sys.platform == "win32", reason="a path there may be any text"),
    ),
    (b"MZ" * 1000, "paths=bytes: not a path (explain takes bytes)"),
    ([memoryview(b"MZ")], "paths=memoryview: not a path (explain takes bytes)"),
    (5, "paths=5: not a path, or several"),
    (None, "paths=None: not a path, or several"),
    ([None], "paths=None: not a path (explain takes bytes)"),
]


@pytest.mark.parametrize(("paths", "message"), NO_PATHS)
def test_what_is_no_path_is_told_by_the_call(paths: Any, message: str) -> None:
    with pytest.raises(maltriage.MaltriageError) as caught:
        maltriage.scan(paths)
    assert str(caught.value) == message


def test_what_is_no_model_is_told_by_the_call(samples_dir: Path) -> None:
    path = samples_dir / "console-x86.exe"
    calls = (
        lambda model: maltriage.scan(path, model=model),
        lambda model: maltriage.explain(path, model=model),
        maltriage.load_model,
    )
    for call in calls:
        for model in (5, "a\0b", b"name"):
            with pytest.raises(maltriage.MaltriageError, match="not a model, or its name or path"):
                call(model)


@pytest.mark.parametrize("sample", ["a\0b", 5, None, [b"MZ"]])
def test_what_is_no_sample_is_one_line(sample: Any) -> None:
    with pytest.raises(maltriage.MaltriageError, match=r"^sample=.*: not a path, or bytes$"):
        maltriage.explain(sample)


def test_every_kind_of_bytes_is_a_sample(samples_dir: Path) -> None:
    data = (samples_dir / "console-x86.exe").read_bytes()
    twice = bytes(byte for byte in data for _ in range(2))
    for sample in (bytearray(data), memoryview(data), memoryview(twice)[::2]):
        found = maltriage.explain(sample, verify=False)
        assert found.sha256 == hashlib.sha256(data).hexdigest()


def test_a_scan_can_be_closed(samples_dir: Path) -> None:
    with closing(maltriage.scan(samples_dir, workers=1)) as records:
        assert isinstance(next(records), maltriage.Skipped)
    assert next(records, None) is None
    hints = typing.get_type_hints(maltriage.scan)
    assert hints["return"] == Generator[maltriage.Record, None, None]


def test_the_limit_of_a_size_is_an_argument(samples_dir: Path) -> None:
    path = samples_dir / "console-x86.exe"
    record, _ = maltriage.scan(path, max_size=100, workers=1)
    assert isinstance(record, maltriage.Skipped)
    assert record.reason.endswith("above the limit of 100 (max_size lifts it)")
    for sample in (path, path.read_bytes()):
        with pytest.raises(maltriage.MaltriageError, match=r" \(max_size lifts it\)$") as caught:
            maltriage.explain(sample, max_size=100)
    assert str(caught.value).startswith("bytes: ")


@pytest.fixture
def collection(samples_dir: Path, tmp_path: Path) -> Path:
    """An archive of three programs, with a password that is not tried by default."""
    import pyzipper

    path = tmp_path / "collection.zip"
    with pyzipper.AESZipFile(path, "w", encryption=pyzipper.WZ_AES) as archive:
        archive.setpassword(b"secret")
        for name in ("console-x86.exe", "gui-x86.exe", "dotnet.exe"):
            archive.write(samples_dir / name, name)
    return path


def reasons(path: Path, **options: Any) -> list[str]:
    records = maltriage.scan(path, workers=1, **options)
    wrong = (maltriage.Skipped, maltriage.Failed)
    return [record.reason for record in records if isinstance(record, wrong)]


def test_archives_have_passwords_and_limits(collection: Path) -> None:
    assert "(Archives.passwords names more)" in reasons(collection)[0]
    opened = maltriage.Archives(passwords=("secret",))
    assert reasons(collection, archives=opened) == []
    inner = f"{collection}!gui-x86.exe"
    assert maltriage.explain(inner, archives=opened, verify=False).path == inner
    few = maltriage.Archives(passwords=("secret",), members=1)
    (reason,) = reasons(collection, archives=few)
    assert reason.endswith(" (Archives.members lifts the limit)")
    (reason,) = reasons(collection, archives=False)
    assert "neither a PE file" in reason


@pytest.mark.parametrize(
    ("archives", "message"),
    [
        (1, "archives=1: not True, False or Archives(...)"),
        ({"members": 0}, "Archives.members=0: not a whole number from 1 to 1,099,511,627,776"),
        ({"seconds": 0.5}, "Archives.seconds=0.5: not seconds, 1 or more"),
        ({"passwords": "infected"}, "Archives.passwords='infected': not a tuple of str"),
    ],
)
def test_wrong_limits_of_archives_are_told_by_the_call(archives: Any, message: str) -> None:
    given = maltriage.Archives(**archives) if isinstance(archives, dict) else archives
    for function in (maltriage.scan, maltriage.explain):
        with pytest.raises(maltriage.MaltriageError) as caught:
            function("missing.exe", archives=given)
        assert str(caught.value) == message


def test_messages_name_arguments_and_no_options() -> None:
    """Of every floor whose messages reach a record: those of files."""
    said = [
        option
        for floor in ("sample", "source", "probe", "work")
        for path in (ROOT / "maltriage" / floor).rglob("*.py")
        for option in re.findall(r"\((--[a-z-]+)", path.read_text("utf-8"))
    ]
    assert len(said) > 10
    assert [option for option in said if f"({option} " not in IN_PYTHON] == []


def test_files_are_compared_with_an_index_that_is_asked_for(
    samples_dir: Path, tmp_path: Path
) -> None:
    path = samples_dir / "console-x86.exe"
    assert maltriage.explain(path, verify=False).similar is None
    similar = maltriage.explain(path, verify=False, index="default").similar
    assert similar is not None
    record, _ = maltriage.scan(path, workers=1, index=similar_index())
    assert isinstance(record, maltriage.Result)
    assert record.similar is not None
    assert record.similar.index == similar.index
    (tmp_path / "wrong").write_text("no index")
    for function in (maltriage.explain, lambda *a, **k: list(maltriage.scan(*a, **k))):
        with pytest.raises(maltriage.MaltriageError, match="wrong: not an index"):
            function(path, index=tmp_path / "wrong")
        with pytest.raises(maltriage.MaltriageError, match=r"^index=5: not a path, 'default' or"):
            function(path, index=5)


def similar_index() -> Path:
    (path,) = (ROOT / "models").glob(f"{DEFAULT_MODEL}.index.npz")
    return path


def test_a_report_is_read_and_written(samples_dir: Path, run_cli: Any, tmp_path: Path) -> None:
    lines = tmp_path / "r.ndjson"
    run_cli("scan", samples_dir / "console-x86.exe", samples_dir / "README.md", "-o", lines)
    records = list(maltriage.read_report(lines))
    assert [type(record) for record in records] == [
        maltriage.Result,
        maltriage.Skipped,
        maltriage.Summary,
    ]
    assert b"".join(maltriage.to_json(record) + b"\n" for record in records) == lines.read_bytes()
    lines.write_bytes(lines.read_bytes()[:-40])
    assert list(maltriage.read_report(str(lines))) == records[:2]
    with pytest.raises(maltriage.MaltriageError, match="not a report of maltriage"):
        list(maltriage.read_report(samples_dir / "console-x86.exe"))
    with pytest.raises(maltriage.MaltriageError, match=r"^path=5: not a path$"):
        maltriage.read_report(5)  # type: ignore[arg-type]


def test_a_record_with_any_name_is_json() -> None:
    record = maltriage.Failed("a\u202eb\udcff", "io", "no reason")
    assert b"a\\u202eb" in maltriage.to_json(record)


@pytest.mark.parametrize(
    "call", ["list(maltriage.scan(PATH, workers=1))", "maltriage.explain(PATH)"]
)
def test_a_script_without_a_guard_is_told_of_it(
    call: str, samples_dir: Path, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    path = str(samples_dir / "console-x86.exe")
    script.write_text(f"import maltriage\nPATH = {path!r}\n{call}\n")
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    last = done.stderr.splitlines()[-1]
    assert last.endswith('as they start (a script needs `if __name__ == "__main__":`)')


FORKED = """
import os, sys, maltriage
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

def label(path):
    return maltriage.explain(path, verify=False).verdict.label

def forked(path, end):
    child = os.fork()
    if not child:
        print("child", label(path), flush=True)
        end(0)
    os.waitpid(child, 0)

if __name__ == "__main__":
    path = sys.argv[1]
    print("parent", label(path), flush=True)
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        print("pool", *pool.map(label, [path]), flush=True)
    forked(path, sys.exit)
    forked(path, os._exit)
    print("parent", label(path), flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked from a server on Linux")
def test_a_process_forked_from_one_that_has_scanned_scans(
    samples_dir: Path, tmp_path: Path
) -> None:
    script, folder = tmp_path / "script.py", tmp_path / "temporary"
    script.write_text(FORKED)
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, str(script), str(samples_dir / "console-x86.exe")],
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "TMPDIR": str(folder)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    who = ("parent", "pool", "child", "child", "parent")
    assert done.stdout.splitlines() == [f"{one} benign" for one in who]
    # Servers end with the process that they fork for, and take their folders along.
    until = time.monotonic() + 20
    while any(folder.iterdir()) and time.monotonic() < until:
        time.sleep(0.1)
    assert list(folder.iterdir()) == []
    assert [p for p in psutil.process_iter() if _has(p, f"TMPDIR={folder}")] == []


def _has(process: psutil.Process, variable: str) -> bool:
    try:
        return variable.encode() in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def test_a_script_on_standard_input_is_told_that_it_needs_a_file(
    samples_dir: Path, tmp_path: Path
) -> None:
    path = str(samples_dir / "console-x86.exe")
    done = subprocess.run(
        [sys.executable],
        input=f"import maltriage\nmaltriage.explain({path!r})\n",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    last = done.stderr.splitlines()[-1]
    assert last.endswith("as they start (a script needs a file, for workers to import)")


def test_a_scan_says_that_it_was_stopped(samples_dir: Path) -> None:
    (end,) = maltriage.scan(samples_dir, workers=1, stop=lambda: True)
    assert isinstance(end, maltriage.Summary)
    assert end.interrupted


def test_files_are_flagged_at_the_rate_that_is_asked_for(samples_dir: Path) -> None:
    sample = samples_dir / "console-x86.exe"
    record, _ = maltriage.scan(sample, workers=1, fpr=0.1)
    assert isinstance(record, maltriage.Result)
    limit = maltriage.load_model().card.threshold
    assert limit is not None
    point = limit.for_rate(0.1)
    assert point is not None
    assert point.margin < limit.margin
    assert (record.verdict.threshold, record.verdict.fpr) == (point.margin, 0.1)
    assert maltriage.explain(sample, verify=False, fpr=0.1).verdict == record.verdict
    with pytest.raises(maltriage.MaltriageError, match=r"of 0\.3 .it has 0\.001"):
        maltriage.explain(sample, fpr=0.3)


def test_similar_files_are_grouped(samples_dir: Path) -> None:
    paths = [samples_dir / "signed-x64.exe", samples_dir / "console-x64.exe"]
    *records, summary = maltriage.scan(paths, workers=1)
    found = [record.group for record in records if isinstance(record, maltriage.Result)]
    assert found[0] == found[1] is not None
    assert isinstance(summary, maltriage.Summary)
    assert summary.group_count == 1
    *records, _ = maltriage.scan(paths, workers=1, groups=False)
    assert [r.group for r in records if isinstance(r, maltriage.Result)] == [None, None]
