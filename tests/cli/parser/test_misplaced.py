"""Options on the command line that do nothing beside the others."""

from __future__ import annotations

from typing import Any

import pytest

TABLE = ("--predictions", "gone.csv")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["evaluate", *TABLE, "--split", "test", "--split-file", "x", "--device", "cpu"],
            "--split, --split-file and --device go without --predictions, which has the answers",
        ),
        (["evaluate", *TABLE, "--by", "source", "--split", "val"], "--split goes without"),
        (["evaluate", *TABLE, "--net", "mcnn"], "--net goes with --open-set"),
        (["evaluate", *TABLE, "--epochs", "7"], "--epochs goes with --open-set"),
        (
            ["evaluate", *TABLE, "--dataset", "folder", "--root", "x", "--min-samples", "3"],
            "--dataset, --root and --min-samples go with --predictions only beside --by",
        ),
        (["evaluate", "--views", "body"], "--views goes with --open-set"),
        (["evaluate", "--open-set", "x", "--split", "all"], "--split goes without --open-set"),
        (["evaluate", "--clean", ".", "--root", "x"], "--root goes without --clean"),
        (
            ["evaluate", "--split", "all", "--split-file", "x", "--root", "."],
            "--split-file goes without --split all",
        ),
        (["calibrate", "x", *TABLE, "--fpr", "0.3", "-o", "y"], "--fpr goes with --goodware or"),
        (
            ["calibrate", "x", *TABLE, "--kind-files", "5", "--name", "xyz", "-o", "y"],
            "--kind-files and --name go with --goodware",
        ),
        (
            ["calibrate", "x", *TABLE, "--dataset", "malimg", "-o", "y"],
            "--dataset goes with --labelled or --by",
        ),
        (["robustness", "--fpr", "0.1"], "--fpr goes with --calibration"),
        (["robustness", "--kind-files", "9"], "--kind-files goes with --calibration"),
        (
            ["robustness", "--attack-share", "0.2", "--attack-steps", "3"],
            "--attack-share and --attack-steps go with --attack",
        ),
        (["export", "x", "-o", "y", "--files", "64"], "--files goes with --quantize"),
        (["scan", "samples", "--max-carved", "9"], "--max-carved goes with --carve"),
        (["scan", "samples", "--seed", "9"], "--seed goes with --verify"),
        (
            ["scan", "samples", "--no-archives", "--password", "x", "--max-ratio", "9"],
            "--password and --max-ratio go without --no-archives",
        ),
        (
            ["explain", "samples/gui-x86.exe", "--no-archives", "--max-time", "9"],
            "--max-time goes without --no-archives",
        ),
        (["export", "x", "-o", "y", "--seed", "1", "--root", "."], "--root and --seed go with"),
        (["export", "x", "-o", "y", "--folds", "z"], "--folds goes with --quantize"),
    ],
)
def test_what_would_do_nothing_is_refused(run_cli: Any, arguments: list[str], said: str) -> None:
    done = run_cli(*arguments)
    assert done.returncode == 2
    assert done.stderr.decode().startswith(f"maltriage: {said}")
    assert done.stderr.count(b"\n") == 1
