"""The folder of a run before its first checkpoint: where a run may begin."""

from __future__ import annotations

from pathlib import Path

import pytest
from paths import HAS_LINKS

from maltriage.learn.runs.run_folder import is_free

EARLY = ("run.lock", "split.json", "config.json", "environment.json", "guide.npz")


def test_a_folder_without_files_is_free(tmp_path: Path) -> None:
    assert is_free(tmp_path / "none")
    assert is_free(tmp_path)
    (tmp_path / "file").touch()
    assert not is_free(tmp_path / "file")


def test_what_a_run_wrote_before_its_first_checkpoint_is_no_run(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "fold-0", tmp_path / "fold-12"):
        folder.mkdir(exist_ok=True)
        for name in (*EARLY, "last.safetensors.0123456789abcdef.part"):
            (folder / name).touch()
            assert is_free(tmp_path), name
    (tmp_path / "fold-1").mkdir()
    assert is_free(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["last.safetensors", "fold-0/last.safetensors", "notes.txt", "fold-0/notes.txt", "fold-a/x"],
)
def test_a_checkpoint_and_any_other_file_keeps_a_run_out(tmp_path: Path, name: str) -> None:
    (tmp_path / "run.lock").touch()
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    assert not is_free(tmp_path)


def test_files_of_somebody_else_are_not_taken_for_those_of_a_run(tmp_path: Path) -> None:
    """A file of the same name may be anybody's: a run has its lock beside it."""
    (tmp_path / "config.json").touch()
    assert not is_free(tmp_path)
    (tmp_path / "run.lock").touch()
    assert is_free(tmp_path)
    (tmp_path / "config.json").unlink()
    (tmp_path / "mine").mkdir()
    assert not is_free(tmp_path)
    (tmp_path / "mine").rmdir()
    if HAS_LINKS:
        (tmp_path / "split.json").symlink_to(tmp_path / "elsewhere")
        assert not is_free(tmp_path)
