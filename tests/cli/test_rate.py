"""`--fpr`: the rate at which a scan flags."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from maltriage import bundle as bundles
from maltriage.bundle import OperatingPoint

NEVER, ALWAYS = 1e6, -1e6


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default model, which flags nothing at its own rate and everything at 40 %."""
    bundle = bundles.load(bundles.resolve(None))
    assert bundle.card.threshold is not None
    point = OperatingPoint(
        fpr=0.4, margin=ALWAYS, flagged=1200, low=0.3, high=0.5, malware_flagged=1000
    )
    threshold = msgspec.structs.replace(bundle.card.threshold, margin=NEVER, points=(point,))
    path = tmp_path_factory.mktemp("model") / "never.onnx"
    bundles.with_card(bundle, msgspec.structs.replace(bundle.card, threshold=threshold), path)
    return path


def verdict(stdout: bytes) -> dict[str, Any]:
    found = json.loads(stdout.splitlines()[0])["verdict"]
    assert isinstance(found, dict)
    return found


def test_a_scan_flags_at_the_rate_that_is_asked_for(
    run_cli: Any, program: Path, model: Path
) -> None:
    """Also by engines of their own, and with the results of the other rate in the store."""
    scan = ("scan", program, "--model", model, "-f", "ndjson", "-q")
    for more in ((), ("--engines", "2", "--no-cache"), ("--no-cache",)):
        at_its_own = run_cli(*scan, *more)
        assert at_its_own.returncode == 0, at_its_own.stderr
        assert verdict(at_its_own.stdout)["flagged"] is False
        done = run_cli(*scan, *more, "--fpr", "0.4")
        assert done.returncode == 1, done.stderr
        found = verdict(done.stdout)
        assert (found["flagged"], found["threshold"], found["fpr"]) == (True, ALWAYS, 0.4)
        assert found["goodware"] == verdict(at_its_own.stdout)["goodware"]


def test_a_resumed_scan_keeps_to_its_own_rate(run_cli: Any, program: Path, model: Path) -> None:
    """Results at another rate are not taken up."""
    out = ("-o", "out.ndjson", "--cache", "kept", "-q")
    scan = ("scan", program, "--model", model, *out)
    assert run_cli(*scan).returncode == 0
    done = run_cli(*scan, "--resume", "--fpr", "0.4")
    assert done.returncode == 1, done.stderr
    found = verdict((program.parent / "out.ndjson").read_bytes())
    assert (found["flagged"], found["threshold"]) == (True, ALWAYS)


def test_a_record_is_explained_at_its_own_rate(
    run_cli: Any, program: Path, model: Path, tmp_path: Path
) -> None:
    """Whatever the config file says; and where the model has no such threshold that is told."""
    report, config = tmp_path / "report.ndjson", tmp_path / "maltriage.toml"
    run_cli("scan", program, "--model", model, "--fpr", "0.4", "-o", report, "-q")
    config.write_text("[explain]\nfpr = 0.015\n")
    explain = (
        "--config",
        config,
        "explain",
        report,
        "--with",
        program,
        "--no-verify",
        "-f",
        "json",
    )
    again = run_cli(*explain, "--model", model)
    assert again.returncode == 1, again.stderr
    assert b"name the file of the model" not in again.stderr
    record = json.loads(again.stdout)
    assert (record["verdict"]["threshold"], record["verdict"]["fpr"]) == (ALWAYS, 0.4)
    other = run_cli(*explain)  # the installed model of this name and these weights
    assert other.returncode == 0, other.stderr
    assert b"flagged from margin -1000000.000, and maltriage-evidence-int8 flags" in other.stderr


def test_the_config_file_may_name_a_rate(
    run_cli: Any, program: Path, model: Path, tmp_path: Path
) -> None:
    """It is that of the model that is usual there: another one flags at its own."""
    config = tmp_path / "maltriage.toml"
    config.write_text("[scan]\nfpr = 0.1\n")
    scan = ("--config", config, "scan", program, "-f", "ndjson", "-q")
    assert verdict(run_cli(*scan).stdout)["fpr"] == 0.1
    assert verdict(run_cli(*scan, "--model", model).stdout)["fpr"] == 0.015


def test_a_rate_that_the_model_has_no_threshold_for(
    run_cli: Any, program: Path, model: Path
) -> None:
    for command in ("scan", "explain"):
        done = run_cli(command, program, "--model", model, "--fpr", "0.2")
        assert (done.returncode, done.stdout) == (2, b"")
        said = done.stderr.decode()
        assert "no threshold for a false-positive rate of 0.2 (it has 0.015, 0.4)" in said
        assert "maltriage calibrate" in said
    done = run_cli("scan", program, "--model", model, "--fpr", "0.7")
    assert done.returncode == 2
    assert b"0.5" in done.stderr


def test_the_model_says_which_rates_it_has(run_cli: Any, model: Path) -> None:
    shown = run_cli("models", model).stdout.decode()
    assert (
        "scan --fpr 0.4: from margin -1000000.000, which flags 35.38% of them; 93.7% of the malware"
        in shown
    )
