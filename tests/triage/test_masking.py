"""What the net says of masked samples, through the workers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hostile.make import sample

from maltriage import bundle as bundles
from maltriage.probe.mask import MASKS, Variant
from maltriage.probe.prepare import PrepareOptions, prepare
from maltriage.sample.errors import SampleError
from maltriage.triage import masking, shared_views
from maltriage.triage.session import Session
from maltriage.work.workers import Workers


@pytest.fixture(scope="module")
def session() -> Session:
    return Session(bundles.load(bundles.resolve(None)), "cpu", threads=1)


@pytest.mark.parametrize(("at_once", "batch"), [(128, 32), (3, 2), (1, 1)])
def test_logits_of_variants(
    tmp_path: Path, session: Session, monkeypatch: pytest.MonkeyPatch, at_once: int, batch: int
) -> None:
    """However they are divided, each variant gets its own logits; nothing masked, the sample's."""
    monkeypatch.setattr(masking, "FIRST_VARIANTS", min(2, at_once))
    monkeypatch.setattr(masking, "VARIANTS_AT_ONCE", at_once)
    monkeypatch.setattr(shared_views, "BATCH", batch)
    path = tmp_path / "a.exe"
    path.write_bytes(sample("gui-x86.exe"))
    options = PrepareOptions(session.card.views)
    prepared = prepare(str(path), options)
    variants = [Variant((), "zeros"), Variant(((0, 10**9),), "zeros")]
    variants += [Variant(((1024, 9000),), mask, 1) for mask in MASKS] + variants[:1]
    with Workers(1, 60.0) as workers:
        found = masking.run_masked(session, workers, prepared, variants, options)
        none = masking.run_masked(session, workers, prepared, [], options)
    assert none.shape == (0, len(session.card.labels))
    expected = session.run([prepared.views]).logits[0]
    np.testing.assert_allclose(found[0], expected, atol=1e-4)
    np.testing.assert_allclose(found[5], expected, atol=1e-4)
    assert all(np.abs(found[i] - expected).max() > 0.01 for i in range(1, 5))
    families = np.delete(found, session.card.clean or 0, axis=1)
    np.testing.assert_allclose(families.sum(axis=1), 0.0, atol=1e-4)


def test_a_file_that_changed_gives_none(tmp_path: Path, session: Session) -> None:
    path = tmp_path / "a.exe"
    path.write_bytes(sample("gui-x86.exe"))
    options = PrepareOptions(session.card.views)
    prepared = prepare(str(path), options)
    path.write_bytes(sample("console-x86.exe"))
    with Workers(1, 60.0) as workers, pytest.raises(SampleError) as caught:
        masking.run_masked(session, workers, prepared, [Variant((), "zeros")] * 200, options)
    assert (caught.value.code, caught.value.failed) == ("changed", True)
