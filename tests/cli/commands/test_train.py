"""`maltriage train` and `maltriage export`, as processes."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from corpus.synthetic import write_tree

from maltriage.cli.training import extra as module
from maltriage.errors import MaltriageError
from maltriage.files.lock import locked
from maltriage.learn.nets import NETS
from maltriage.version import install_extra

TORCH = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(not TORCH, reason="needs the extra `train`")
SHORT = (
    *("--image-size", "16", "--views", "body,head", "--epochs", "1", "--batch-size", "8"),
    *("--threads", "1", "--jobs", "1"),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of datasets, as MALTRIAGE_DATA names one."""
    folder = tmp_path_factory.mktemp("data")
    write_tree(folder / "vx-zoo", {"benign": 12, "zeus": 10})
    (folder / "vx-zoo" / "zeus" / "notes.txt").write_text("not a program")
    (folder / "vx-zoo" / "empty").mkdir()
    return folder


def line(stderr: bytes) -> str:
    """The one line that a refused command writes."""
    text = stderr.decode()
    assert text.startswith("maltriage: ")
    assert text.endswith("\n")
    assert text.count("\n") == 1
    return text


@needs_torch
def test_from_files_to_a_scan(run_cli: Any, data: Path, tmp_path: Path) -> None:
    environment = {"MALTRIAGE_DATA": str(data)}
    trained = run_cli("train", "--dataset", "vx-zoo", *SHORT, env=environment)
    assert trained.returncode == 0, trained.stderr.decode()
    (folder,) = (tmp_path / "runs").iterdir()
    bundle = folder / "vx-zoo-evidence.onnx"
    assert bundle.is_file()
    words = trained.stdout.decode().split()
    assert str(bundle.relative_to(tmp_path)) in words
    for word in ("22", "macro-F1", "temperature"):
        assert word in words
    # No terminal, so no progress: only what was left out, and what it will take.
    *notes, foretold = trained.stderr.decode().splitlines()
    assert len(notes) == 2
    assert all(note.startswith("note: ") for note in notes)
    assert re.fullmatch(
        r"22 samples, 2 labels: 1 epoch, 2 steps in all; about \d+ (s|min) on this machine",
        foretold,
    )

    shown = run_cli("models", bundle)
    assert shown.returncode == 0
    sample = data / "vx-zoo" / "zeus" / "000.png"
    scanned = run_cli("scan", "--model", bundle, "--format", "ndjson", sample)
    assert scanned.returncode == 0, scanned.stderr.decode()
    assert b'"ranked"' in scanned.stdout

    exported = run_cli("export", folder, "-o", tmp_path / "again.onnx")
    assert exported.returncode == 0, exported.stderr.decode()
    assert (tmp_path / "again.onnx").read_bytes() == bundle.read_bytes()
    best = run_cli("export", "-q", folder / "best.safetensors", "-o", tmp_path / "best.onnx")
    assert (best.returncode, best.stdout, best.stderr) == (0, b"", b"")

    again = run_cli("train", "--out", folder, env=environment)
    assert again.returncode == 2
    assert "is not empty" in line(again.stderr)
    other = run_cli(
        "train", "--out", folder, "--resume", "--epochs", "3", "--jobs", "1", env=environment
    )
    assert other.returncode == 2
    assert "epochs 1 instead of 3" in line(other.stderr[other.stderr.index(b"maltriage:") :])


SLOW_NETS = ("mcnn", "imcfn", "mcft", "densenet", "xception")


@needs_torch
@pytest.mark.parametrize(
    ("net", "additive"),
    [
        pytest.param("gibert", False),
        *(
            pytest.param(net, net in ("densenet", "xception"), marks=pytest.mark.slow)
            for net in SLOW_NETS
        ),
    ],
)
def test_each_cnn_from_files_to_an_explanation(
    run_cli: Any, data: Path, tmp_path: Path, net: str, additive: bool
) -> None:
    if net != "gibert":
        pytest.importorskip("timm", reason="needs the extra `train`")
    short = [*SHORT, "--net", net]
    at = short.index("--views")
    del short[at : at + 2]  # what the net is made for
    where = ("--root", data / "vx-zoo", "--out", "run", "--name", "net")
    trained = run_cli("train", *where, *short, timeout=900)
    assert trained.returncode == 0, trained.stderr.decode()
    bundle = tmp_path / "run" / "net.onnx"
    card = json.loads(run_cli("models", bundle, "--json").stdout)
    assert (card["net"], card["additive"]) == (net, additive)
    assert [(v["name"], v["channels"]) for v in card["views"]] == [("body", ["mean"])]
    rate = card["training"]["recipe"]["learning_rate"]
    assert rate == NETS[net].learning_rate
    sample = data / "vx-zoo" / "zeus" / "000.png"
    scanned = run_cli("scan", "--model", bundle, "--format", "ndjson", sample)
    assert scanned.returncode == 0, scanned.stderr.decode()
    evidence = json.loads(scanned.stdout.splitlines()[0])["evidence"]
    assert evidence["additive"] == additive
    off = evidence["total"] + evidence["bias"] - evidence["logit"]
    size = abs(evidence["bias"]) + sum(abs(r["contribution"]) for r in evidence["regions"])
    assert (abs(off) < 1e-4 * size) == additive
    explained = run_cli("explain", "--model", bundle, sample).stdout.decode()
    assert ("What decided" in explained) == additive
    assert ("does not add up to it" in explained) != additive
    plain = ("--prevalence", "none", "-f", "json")
    mean = run_cli("explain", "--model", bundle, "--method", "gradcam", *plain, sample)
    other = json.loads(mean.stdout)["evidence"]
    assert other["method"] == "gradcam"
    assert (other["regions"] == evidence["regions"]) == (other["same_as"] == ["hirescam"])
    assert other["same_as"] == evidence["same_as"] == [] or other["same_as"] == ["hirescam"]
    assert other["same_as"] or not additive


@needs_torch
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process alone")
@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_and_gone_on_with(
    run_cli: Any, data: Path, tmp_path: Path, by: signal.Signals
) -> None:
    tree = str(data / "vx-zoo")
    run = [*("train", "--root", tree), *SHORT, "--epochs", "3000", "--out", "run", "--resume"]
    process = subprocess.Popen(
        [sys.executable, "-m", "maltriage", *run],
        cwd=tmp_path,
        env=dict(os.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        until = time.monotonic() + 100
        while not (tmp_path / "run" / "last.safetensors").exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until
            time.sleep(0.1)
        process.send_signal(by)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 128 + by
    assert out == b""
    assert err.startswith(b"maltriage: run: begins, since there is no run to go on with\n")
    assert b"maltriage train --out run --resume" in err
    assert b"Traceback" not in err
    assert not list((tmp_path / "run").glob("*.part"))
    from maltriage.cli.training.recipe import begun

    assert begun(tmp_path / "run")["threads"] == 1
    # What was begun goes on only as it was begun.
    other = run_cli("train", "--out", "run", "--resume", "--seed", "5", "--jobs", "1", "-q")
    assert other.returncode == 2
    assert "seed 0 instead of 5" in line(other.stderr)


@needs_torch
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process alone")
def test_waits_for_a_fold_of_another_process(run_cli: Any, data: Path, tmp_path: Path) -> None:
    """It trains the other fold meanwhile, and the one it waits for once that process is gone."""
    run = ("train", "--root", str(data / "vx-zoo"), *SHORT, "--views", "body", "--out", "run")
    run = (*run, "--folds", "2", "--resume")
    command = [sys.executable, "-m", "maltriage", *run]
    with (
        locked(tmp_path / "run" / "fold-0" / "run.lock") as held,
        subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE) as process,
    ):
        assert held
        assert process.stderr is not None
        limit = threading.Timer(120, process.kill)
        limit.start()
        err = b""
        for text in process.stderr:
            err += text
            if text == b"waiting for fold 1, which another process trains\n":
                process.send_signal(signal.SIGINT)
        limit.cancel()
        assert process.wait() == 130, err
    said = b"\nStopped. Go on with: maltriage train --out run --resume\nmaltriage: stopped\n"
    assert err.endswith(said)
    assert (tmp_path / "run" / "fold-1" / "vx-zoo-evidence.onnx").exists()
    assert not (tmp_path / "run" / "vx-zoo-evidence.onnx").exists()
    again = run_cli("train", "--out", "run", "--resume", "--jobs", "1", "-q")
    assert again.returncode == 0, again.stderr.decode()
    assert (tmp_path / "run" / "vx-zoo-evidence.onnx").exists()


STOPPED_LAST = """
import os, signal
from maltriage.cli import entry
from maltriage.learn.runs import train

write = train.export_bundle

def stopped(*arguments):
    os.kill(os.getpid(), signal.SIGINT)
    return write(*arguments)

train.export_bundle = stopped
if __name__ == "__main__":
    entry.main()
"""


@needs_torch
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process alone")
def test_interrupted_as_its_bundle_is_written(data: Path, tmp_path: Path) -> None:
    """Nothing is left to stop: the run is whole, and is not said to be stopped."""
    run = ("train", "--root", str(data / "vx-zoo"), *SHORT, "--views", "body", "--out", "run", "-q")
    done = subprocess.run(
        [sys.executable, "-c", STOPPED_LAST, *run], cwd=tmp_path, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"bundle       run/vx-zoo-evidence.onnx\n")


@needs_torch
@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names of files are Unicode")
def test_killed_before_the_first_checkpoint_in_folders_of_any_name(
    run_cli: Any, data: Path, tmp_path: Path
) -> None:
    odd = Path(os.fsdecode(bytes(tmp_path) + b"/odd\xff"))
    odd.mkdir()
    (odd / "files").symlink_to(data / "vx-zoo")
    run = tmp_path / "run"
    run.mkdir()
    for name in ("run.lock", "split.json", "config.json"):
        (run / name).touch()
    short = (*SHORT, "--views", "body", "-q")
    trained = run_cli("train", "--root", odd / "files", "--out", run, *short)
    assert trained.returncode == 0, trained.stderr.decode()
    config = json.loads((run / "config.json").read_bytes())
    assert config["data"]["root"].endswith("/odd\\udcff/files")
    refused = run_cli("train", "--root", odd / "files", "--out", odd / "run", *short)
    assert refused.returncode == 2
    assert "odd\\udcff/run: the path of a run must be UTF-8" in line(refused.stderr)
    again = run_cli("train", "--out", run, "--resume", "--jobs", "1", "-q")
    assert (again.returncode, again.stdout) == (0, trained.stdout), again.stderr.decode()


@needs_torch
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--dataset", "malnet"], "no such dataset: malnet"),
        (["--root", "DATA", "--allow-resized"], "only malimg has resized byteplots"),
        (["--root", "nowhere"], "<root>/<family>/<file>"),
        (["--dataset", "folder"], "--root"),
        (["--root", "DATA", "--net", "vgg"], "no such net: vgg"),
        (["--root", "DATA", "--net", "gibert", "--views", "code"], "reads a picture"),
        (["--root", "DATA", "--net", "mcft", "--pretrained", "none"], "cannot read weights none"),
        (["--root", "DATA", "--views", "body,heart"], "views must be some of"),
        (["--root", "DATA", "--image-size", "33"], "multiple of 8"),
        (["--root", "DATA", "--name", "a b"], "name a b: letters, digits, dots, dashes only"),
        (["--resume", "runs/a"], "maltriage train --out runs/a --resume"),
        (["--resume"], "--resume needs the folder of the run: --out RUN"),
        (["--out", "DATA", "--resume"], "no checkpoint"),
        (["runs/a"], "no argument of train: runs/a"),
        (["--fold", "0"], "--fold I needs --folds K"),
        (["--folds", "2", "--fold", "2"], "--fold I needs --folds K"),
        (["--root", "DATA", "--folds", "2", "--patience", "3"], "leave out --folds"),
        (["--root", "DATA", "--keep", "0.5"], "--keep goes with a --guide"),
        (["--root", "DATA", "--net", "gibert", "--clean-weight", "9"], "net gibert has none with"),
        (
            ["--root", "DATA", "--views", "body,head", "--clean-weight", "9"],
            "--clean-weight goes with tables: net evidence has none with body, head",
        ),
        (
            ["--root", "DATA", "--views", "body,entropy", "--word-bound", "2"],
            "--word-bound goes with words: net evidence has none with entropy, body",
        ),
        (["--root", "DATA", "--guide", "random"], "--guide goes with --net camvit"),
        (["--root", "DATA", "--net", "camvit", "--guide", "inverse"], "needs a --teacher"),
        (
            ["--root", "DATA", "--net", "camvit", "--guide", "random", "--keep", "0"],
            "--keep 0: must be from 0.25 to 1",
        ),
        (
            *(["--root", "DATA", "--net", "camvit", "--guide", "attention", "--keep", "0.5"],),
            "--guide attention keeps all tokens: --keep can only be 1",
        ),
    ],
)
def test_wrong_use(
    run_cli: Any, data: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    tree = str(data / "vx-zoo")
    found = run_cli("train", *(tree if argument == "DATA" else argument for argument in arguments))
    assert found.returncode == 2
    assert found.stdout == b""
    assert words in line(found.stderr)
    assert list(tmp_path.iterdir()) == []


@needs_torch
def test_without_data_it_says_where_it_looked(run_cli: Any, tmp_path: Path) -> None:
    found = run_cli("train", env={"MALTRIAGE_DATA": str(tmp_path / "elsewhere")})
    assert found.returncode == 2
    message = line(found.stderr)
    assert str(tmp_path / "elsewhere" / "vx-zoo") in message
    assert str(Path("data") / "vx-zoo") in message
    assert "<root>/<family>/<file>" in message


@needs_torch
def test_goodware_and_the_part_that_was_held_back(run_cli: Any, data: Path, tmp_path: Path) -> None:
    clean = write_tree(tmp_path / "clean", {"package": 9})
    both = ("--root", data / "vx-zoo", "--goodware", clean)
    trained = run_cli("train", *both, *SHORT, "--out", "run")
    assert trained.returncode == 0, trained.stderr.decode()
    assert "31 samples" in trained.stdout.decode()
    bundle = tmp_path / "run" / "vx-zoo-evidence.onnx"
    found = run_cli("evaluate", bundle, *both, "-f", "json")
    assert found.returncode == 0, found.stderr.decode()
    document = json.loads(found.stdout)
    card = json.loads(run_cli("models", bundle, "--json").stdout)
    assert card["training"]["goodware_samples"] == 9
    added = card["metrics"]["test_added"]
    assert 0 < added < card["metrics"]["test_samples"]
    assert f" samples, {added:.0f} of them added clean files: accuracy" in trained.stdout.decode()
    assert document["samples"] == card["metrics"]["test_samples"]
    assert document["accuracy"]["value"] == pytest.approx(card["metrics"]["test_accuracy"])
    assert document["macro_f1"]["value"] == pytest.approx(card["metrics"]["test_macro_f1"])
    kept = run_cli(
        "evaluate", bundle, *both, "-f", "json", "--split-file", tmp_path / "run" / "split.json"
    )
    assert kept.stdout == found.stdout
    without = run_cli("evaluate", bundle, "--root", data / "vx-zoo")
    assert without.returncode == 2
    assert "the held-back files are unknown" in line(without.stderr)
    everything = run_cli("evaluate", bundle, "--root", data / "vx-zoo", "--split", "all")
    assert everything.returncode == 0
    assert b"macro-F1" in everything.stdout


@needs_torch
def test_a_cross_validation_and_what_is_measured_of_it(
    run_cli: Any, data: Path, tmp_path: Path
) -> None:
    """One fold by a process of its own, then all; figures, threshold and false positives."""
    clean = write_tree(tmp_path / "clean", {"package": 30})
    command = ("train", "--root", data / "vx-zoo", *SHORT, "--name", "crossed", "--folds", "2")
    first = run_cli(*command, "--fold", "1", "--out", "run")
    assert first.returncode == 0, first.stderr.decode()
    assert not (tmp_path / "run" / "crossed.onnx").exists()
    # A run that goes on knows its folds.
    go_on = ("train", "--out", "run", "--resume", "--jobs", "1", "-q")
    again = run_cli(*go_on, "--fold", "1")
    assert (again.returncode, again.stdout) == (0, first.stdout), again.stderr.decode()
    third = run_cli(*go_on, "--fold", "2")
    assert "--fold I needs --folds K" in line(third.stderr)
    both = run_cli("train", "--out", "run", "--resume", "--jobs", "1")
    assert both.returncode == 0, both.stderr.decode()
    words = both.stdout.decode()
    assert "out of fold  22 samples" in words
    assert "held back" not in words
    assert "note: no prediction sets: 22 labelled samples" in both.stderr.decode()
    bundle, run = tmp_path / "run" / "crossed.onnx", tmp_path / "run"
    card = json.loads(run_cli("models", bundle, "--json").stdout)
    assert card["training"]["folds"] == 2
    assert card["metrics"]["out_of_fold_samples"] == 22

    found = run_cli("evaluate", "--predictions", run / "out-of-fold.csv", "-f", "json")
    (recipe,) = json.loads(found.stdout)["recipes"]
    assert (recipe["recipe"], recipe["samples"], len(recipe["folds"])) == ("crossed", 22, 2)
    expected = card["metrics"]["out_of_fold_macro_f1"]
    assert recipe["pooled_macro_f1"]["mean"] == pytest.approx(expected)
    text = (run / "out-of-fold.csv").read_text().replace("crossed,", "peer,")
    (tmp_path / "peer.csv").write_text(text)
    shown = run_cli(
        *("evaluate", "--predictions", run / "out-of-fold.csv"),
        *("--against", tmp_path / "peer.csv"),
    )
    assert "crossed - peer:  accuracy +0.000 (+0.000 to +0.000)" in shown.stdout.decode()
    seen = run_cli("evaluate", bundle, "--root", data / "vx-zoo")
    assert seen.returncode == 2
    assert "has seen every sample" in line(seen.stderr)
    alone = run_cli("evaluate", bundle, "--against", tmp_path / "peer.csv")
    assert "go with --predictions" in line(alone.stderr)

    without = run_cli("evaluate", bundle, "--clean", clean)
    assert "no threshold, so nothing can be flagged" in line(without.stderr)
    mine = tmp_path / "mine.onnx"
    set_to = ("calibrate", bundle, "--goodware", clean, "--fpr", "0.1", "-o", mine)
    done = run_cli(*set_to, "--folds", run)
    assert done.returncode == 0, done.stderr.decode()
    assert "malware out of fold" in done.stdout.decode()
    threshold = json.loads(run_cli("models", mine, "--json").stdout)["threshold"]
    assert threshold["malware"] == 10
    assert 0 <= threshold["malware_flagged"] <= 10
    report = json.loads(run_cli("evaluate", mine, "--clean", clean, "-f", "json").stdout)
    assert report["all"]["files"] == threshold["files"] == 30
    assert report["all"]["flagged"] == threshold["flagged"] == len(report["malware_like"])
    assert [row["kind"] for row in report["folders"]] == ["package"]
    assert [(row["kind"], row["files"]) for row in report["kinds"]] == [("pe32", 30)]
    some = run_cli("evaluate", mine, "--clean", clean, "--exclude", "*0.*", "-f", "json")
    assert 0 < json.loads(some.stdout)["all"]["files"] < 30
    misplaced = run_cli("evaluate", mine, "--exclude", "*0.*")
    assert "--exclude goes with --clean" in line(misplaced.stderr)
    screen = run_cli("evaluate", mine, "--clean", clean).stdout.decode()
    assert "pe32" in screen
    (run / "fold-0" / "crossed.onnx").unlink()
    gone = run_cli(*set_to, "--folds", run)
    assert gone.returncode == 2
    assert "no bundle of this fold" in line(gone.stderr)


@needs_torch
@pytest.mark.slow
@pytest.mark.parametrize(
    "guide", ["cumulative", "instance", "label", "weighted", "early", "attention"]
)
def test_a_guided_net_from_its_teacher_to_an_explanation(
    run_cli: Any, data: Path, tmp_path: Path, guide: str
) -> None:
    """Teacher and student fold by fold, stopped in between and without the teacher at the end."""
    pytest.importorskip("timm", reason="needs the extra `train`")
    run_cli = functools.partial(run_cli, timeout=900)
    short = ("--root", data / "vx-zoo", *SHORT, "--folds", "2", "-q")
    taught = run_cli("train", *short, "--net", "evidence", "--out", "teacher")
    assert taught.returncode == 0, taught.stderr.decode()
    keep = () if guide in ("weighted", "attention") else ("--keep", "0.25")
    student = ("--net", "camvit", "--guide", guide, "--teacher", "teacher", *keep)
    first = run_cli("train", *short, *student, "--fold", "0", "--out", "run")
    assert first.returncode == 0, first.stderr.decode()
    other = run_cli("train", "--out", "run", "--resume", "--keep", "0.5", "--jobs", "1", "-q")
    refused = f"guide {guide} 0.25 instead of {guide} 0.5" if keep else "keeps all tokens"
    assert refused in line(other.stderr)
    both = run_cli("train", "--out", "run", "--resume", "--jobs", "1", "-q")
    assert both.returncode == 0, both.stderr.decode()
    assert f"guide        {guide}: " in both.stdout.decode()
    (tmp_path / "teacher").rename(tmp_path / "gone")
    again = run_cli("train", "--out", "run", "--resume", "--jobs", "1", "-q")
    assert again.returncode == 0, again.stderr.decode()

    bundle = tmp_path / "run" / "vx-zoo-camvit.onnx"
    assert bundle.stat().st_size < 16 << 20
    exported = run_cli("export", "run", "-o", "again.onnx")
    assert exported.returncode == 0, exported.stderr.decode()
    assert (tmp_path / "again.onnx").read_bytes() == bundle.read_bytes()
    sample = data / "vx-zoo" / "zeus" / "000.png"
    scanned = run_cli("scan", "--model", bundle, "--format", "json", sample)
    assert scanned.returncode == 0, scanned.stderr.decode()
    assert not json.loads(scanned.stdout)["records"][0]["evidence"]["additive"]
    shown = run_cli("explain", "--model", bundle, sample)
    assert "not additive" in shown.stdout.decode()


@needs_torch
def test_an_unknown_split(run_cli: Any, data: Path) -> None:
    found = run_cli("train", "--root", data / "vx-zoo", "--split", "temporal", "-q", *SHORT)
    assert found.returncode == 2
    assert "no such split: temporal" in line(found.stderr)


@needs_torch
def test_export_of_what_is_no_checkpoint(run_cli: Any, tmp_path: Path) -> None:
    (tmp_path / "some.safetensors").write_bytes(b"something else")
    for name, words in (("some.safetensors", "not a checkpoint"), ("none", "no checkpoint none")):
        found = run_cli("export", name, "-o", "out.onnx")
        assert found.returncode == 2
        assert words in line(found.stderr)
        assert not (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["train"],
        ["export", "run", "-o", "file.onnx"],
        ["explain", "file.exe", "--method", "layercam", "--checkpoint", "run"],
    ],
)
def test_without_torch(run_cli: Any, tmp_path: Path, arguments: list[str]) -> None:
    """Torch is hidden, as if it were not installed."""
    (tmp_path / "hide").mkdir()
    (tmp_path / "hide" / "sitecustomize.py").write_text(
        "import importlib.util, sys\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name: None if name == 'torch' else find(name)\n"
        "sys.modules['torch'] = None\n"
    )
    found = run_cli(*arguments, env={"PYTHONPATH": str(tmp_path / "hide")})
    assert found.returncode == 2
    assert install_extra("train") in line(found.stderr)


def test_the_message_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NEEDED", ("json", "no_such_package"))
    with pytest.raises(MaltriageError, match=r"\(no no_such_package\): pip install"):
        module.need_torch()


@pytest.mark.parametrize("command", ["train", "export"])
def test_help_needs_no_torch(run_cli: Any, command: str) -> None:
    code = (
        "import sys, runpy\n"
        f"sys.argv = ['maltriage', {command!r}, '--help']\n"
        "try:\n    runpy.run_module('maltriage', run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'matplotlib', 'sklearn', 'onnxruntime', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


@needs_torch
def test_a_split_by_time_and_one_from_a_file(run_cli: Any, tmp_path: Path) -> None:
    """Two families of dates, one that is too new to be learnt, one sample without a date."""
    root = write_tree(tmp_path / "root", {"benign": 12, "zeus": 12, "new": 3})
    lines = ["path,family,first_seen"]
    for path in sorted(root.rglob("*.png")):
        family, number = path.parent.name, int(path.stem)
        day = "" if (family, number) == ("zeus", 0) else f"2020-01-{number + 1:02d}"
        year = "2024-01-05" if family == "new" else day
        lines.append(f"{path.relative_to(root).as_posix()},{family},{year}")
    (root / "labels.csv").write_text("\n".join(lines))
    data = ("--dataset", "folder", "--root", root)
    timed = run_cli("train", *data, *SHORT, "--split", "time", "--out", "run")
    assert timed.returncode == 0, timed.stderr.decode()
    words = timed.stdout.decode()
    assert "left out     1 samples without a date" in words
    assert "left out     3 samples of families without a training sample" in words
    assert "twins        0 of them have a duplicate in training, 0 a near duplicate" in words
    bundle = tmp_path / "run" / "folder-evidence.onnx"
    card = json.loads(run_cli("models", bundle, "--json").stdout)
    assert card["labels"] == ["benign", "zeus"]
    assert card["training"]["split"] == "time"
    assert card["metrics"]["test_near_twins"] == 0
    found = json.loads(run_cli("evaluate", bundle, *data, "-f", "json").stdout)
    assert found["samples"] == card["metrics"]["test_samples"]
    assert found["accuracy"]["value"] == pytest.approx(card["metrics"]["test_accuracy"])
    assert (found["duplicates"], found["near_twins"]) == (0, 0)
    assert found["left_out"] == {"undated": 1, "unseen": 3}

    # A split of one's own: the manifest of that run with two samples exchanged.
    split = json.loads((tmp_path / "run" / "split.json").read_bytes())
    parts = [part for _, part in split["samples"]]
    a, b = parts.index("train"), parts.index("test")
    split["samples"][a][1], split["samples"][b][1] = "test", "train"
    (tmp_path / "own.json").write_text(json.dumps(split))
    also = run_cli("train", *data, *SHORT, "--split-file", "own.json", "--split", "random")
    assert "leave out --split" in line(also.stderr)
    own = run_cli("train", *data, *SHORT, "--split-file", "own.json", "--out", "own", "-q")
    assert own.returncode == 0, own.stderr.decode()
    kept = json.loads((tmp_path / "own" / "split.json").read_bytes())
    assert kept["samples"] == split["samples"]
    (tmp_path / "own.json").unlink()  # the run has its own
    again = run_cli("train", "--out", "own", "--resume", "-q", "--jobs", "1")
    assert again.returncode == 0, again.stderr.decode()
    bundle = tmp_path / "own" / "folder-evidence.onnx"
    remade = run_cli("evaluate", bundle, *data)
    assert "trained with a split of its own" in line(remade.stderr)
    wrong = run_cli("evaluate", bundle, *data, "--split-file", "run/split.json")
    assert "run/split.json is another one" in line(wrong.stderr)
    named = run_cli("evaluate", bundle, *data, "--split-file", "own/split.json")
    assert named.returncode == 0, named.stderr.decode()
    assert b"0 have a duplicate in training, 0 a near duplicate or duplicate" in named.stdout


@needs_torch
@pytest.mark.parametrize(
    ("count", "words"), [("1", b"--folds 1: at least two"), ("90", b"of 90 would be empty")]
)
def test_folds_that_cannot_be(run_cli: Any, data: Path, count: str, words: bytes) -> None:
    done = run_cli("train", "--root", data / "vx-zoo", *SHORT, "--folds", count, "--out", "many")
    assert (done.returncode, done.stdout) == (2, b"")
    assert words in done.stderr
    assert b"steps in all" not in done.stderr


@needs_torch
def test_a_fold_as_a_split(run_cli: Any, data: Path, tmp_path: Path) -> None:
    """The split of a fold trains the same net alone, and is measured with it."""
    command = ("train", "--root", data / "vx-zoo", *SHORT, "--name", "one")
    first = run_cli(*command, "--folds", "2", "--fold", "1", "--out", "crossed")
    assert first.returncode == 0, first.stderr.decode()
    split = tmp_path / "crossed" / "fold-1" / "split.json"
    alone = run_cli(*command, "--split-file", split, "--out", "alone")
    assert alone.returncode == 0, alone.stderr.decode()
    a, b = (tmp_path / folder / "one.onnx" for folder in ("crossed/fold-1", "alone"))
    cards = [json.loads(run_cli("models", path, "--json").stdout) for path in (a, b)]
    assert cards[0]["weights_sha256"] == cards[1]["weights_sha256"]
    found = run_cli("evaluate", b, "--root", data / "vx-zoo", "--split-file", split, "-f", "json")
    assert json.loads(found.stdout)["samples"] == cards[1]["metrics"]["test_samples"] == 11


@needs_torch
def test_families_that_are_too_small(run_cli: Any, data: Path, tmp_path: Path) -> None:
    done = run_cli("train", "--root", data / "vx-zoo", *SHORT, "--min-samples", "11")
    assert done.returncode == 2
    assert "two families of 11 samples or more" in line(done.stderr)


@needs_torch
def test_nothing_is_held_back(run_cli: Any, tmp_path: Path) -> None:
    root = write_tree(tmp_path / "root", {"benign": 1, "icarus": 1, "zeus": 1})
    run = (*SHORT, "--views", "body", "--min-samples", "1", "--out", "run")
    done = run_cli("train", "--root", root, *run)
    assert done.returncode == 0, done.stderr.decode()
    assert "note: nothing is held back, so there are no figures: too few" in done.stderr.decode()
    assert "held back" not in done.stdout.decode()
