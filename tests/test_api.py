"""The public interface: what is promised in docs/reference/api.md."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import maltriage

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = re.findall(
    r"```python\n(.*?)```", (ROOT / "docs" / "reference" / "api.md").read_text("utf-8"), re.S
)
EXPECTED = (
    "samples/console-x86.exe benign False",
    ".text",
    "- ",
    "benign",
    "no such model: no-such-model",
)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_examples_run_as_they_stand(number: int, tmp_path: Path) -> None:
    script = tmp_path / "example.py"
    script.write_text(EXAMPLES[number])
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert EXPECTED[number] in done.stdout


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


def test_what_gives_no_sample_is_an_error_of_explain(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("no program")
    with pytest.raises(maltriage.MaltriageError, match=r"a\.txt: "):
        maltriage.explain(tmp_path / "a.txt")
    with pytest.raises(maltriage.MaltriageError, match="no such model"):
        next(maltriage.scan(tmp_path, model="nothing"))


def test_a_scan_says_that_it_was_stopped(samples_dir: Path) -> None:
    (end,) = maltriage.scan(samples_dir, workers=1, stop=lambda: True)
    assert isinstance(end, maltriage.Summary)
    assert end.interrupted


def test_similar_files_are_grouped(samples_dir: Path) -> None:
    paths = [samples_dir / "signed-x64.exe", samples_dir / "console-x64.exe"]
    *records, summary = maltriage.scan(paths, workers=1)
    found = [record.group for record in records if isinstance(record, maltriage.Result)]
    assert found[0] == found[1] is not None
    assert isinstance(summary, maltriage.Summary)
    assert summary.group_count == 1
    *records, _ = maltriage.scan(paths, workers=1, groups=False)
    assert [r.group for r in records if isinstance(r, maltriage.Result)] == [None, None]
