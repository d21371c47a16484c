"""Claims against what masking does: the numbers, the controls, the rule."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hostile.make import CASES, byteplot, sample
from hypothesis import given
from hypothesis import strategies as st

from maltriage import bundle as bundles
from maltriage.probe.mask import MASKS
from maltriage.probe.prepare import Prepared, PrepareOptions, prepare
from maltriage.report.documents import facts
from maltriage.report.documents.evidence import Check, Checks, Controls, Evidence, HotRange
from maltriage.sample.byteplot import View
from maltriage.sample.errors import SampleError
from maltriage.sample.geometry import BodyGeometry
from maltriage.triage import verify as verifying
from maltriage.triage.evidence import Heat, Part, account, heat_on, parts_of
from maltriage.triage.session import CHOOSE, Session
from maltriage.triage.verdict import Question, decide, probabilities
from maltriage.triage.verify import status_of, verify
from maltriage.work.workers import Workers


@pytest.fixture(scope="module")
def session() -> Session:
    return Session(bundles.load(bundles.resolve(None)), "cpu", threads=1)


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with Workers(1, 60.0) as pool:
        yield pool


class Case:
    """A file with the evidence of its verdict."""

    def __init__(self, session: Session, path: Path) -> None:
        self.session = session
        self.options = PrepareOptions(session.card.views)
        self.prepared: Prepared = prepare(str(path), self.options)
        card, views = session.card, [self.prepared.views]
        logits = session.run(views).logits[0]
        _, self.question = decide(logits, card, self.prepared.layout.kind)
        against = CHOOSE if self.question.against is None else self.question.against
        outputs = session.run(views, self.question.label, against)
        heat = Heat(
            {name: grid[0] for name, grid in outputs.heat.items()},
            float(outputs.baseline[0]),
            float(self.question.score(logits)),
            card.additive,
            "hirescam",
        )
        self.parts: list[Part] = parts_of(self.prepared, heat.maps)
        self.evidence: Evidence = account(self.prepared, heat, self.question, card)
        self.logits = logits

    def checks(self, workers: Workers, seed: int = 0, evidence: Evidence | None = None) -> Checks:
        return verify(
            self.session, workers, self.prepared, evidence or self.evidence, self.parts,
            self.question, self.options, seed,
        )  # fmt: skip


def case(session: Session, tmp_path: Path, data: bytes, name: str = "a.exe") -> Case:
    (tmp_path / name).write_bytes(data)
    return Case(session, tmp_path / name)


def test_the_change_is_that_of_a_file_without_the_bytes(
    tmp_path: Path, session: Session, workers: Workers
) -> None:
    """Zeroing a section in the file itself, which moves no window, changes the score as much."""
    data = sample("gui-x86.exe")
    known = case(session, tmp_path, data)
    found = known.checks(workers)
    region = next(r for r in known.evidence.regions if r.name == ".text")
    (check,) = [c for c in found.regions if c.start == region.start]
    (tmp_path / "b.exe").write_bytes(
        data[: region.start] + bytes(region.end - region.start) + data[region.end :]
    )
    masked = prepare(str(tmp_path / "b.exe"), known.options)
    assert masked.layout.anchors == known.prepared.layout.anchors
    logits = session.run([masked.views]).logits[0]
    effect = check.effects[MASKS.index("zeros")]
    lost = known.question.score(known.logits) - known.question.score(logits)
    assert effect.logit == pytest.approx(float(lost), abs=1e-3)
    before, after = (
        probabilities(values, session.card)[known.question.label]
        for values in (known.logits, logits)
    )
    assert effect.probability == pytest.approx(before - after, abs=1e-3)
    assert abs(effect.logit) > 0.05


def assert_sound(known: Case, found: Checks) -> None:
    """Checks belong to the claims, and their numbers to each other."""
    regions = [r for r in known.evidence.regions if r.start < r.end]
    assert len(found.regions) + found.regions_left == len(regions)
    assert len(found.hot) + found.hot_left == len(known.evidence.hot)
    claims = {(r.start, r.end): r.contribution for r in regions}
    hot = {(h.start, h.end): h.contribution for h in known.evidence.hot}
    for checks, claimed in ((found.regions, claims), (found.hot, hot)):
        for check in checks:
            assert check.claimed == pytest.approx(claimed[check.start, check.end], abs=1e-9)
            assert [effect.mask for effect in check.effects] == list(MASKS)
            effects = np.array([effect.logit for effect in check.effects])
            assert check.measured == np.median(effects)
            assert check.status == status_of(
                check.claimed, effects, check.controls, found.negligible
            )
            if check.controls is not None:
                assert_controls(known, check, check.controls, found.negligible)


def assert_controls(known: Case, check: Check, controls: Controls, negligible: float) -> None:
    assert len(controls.starts) == len(controls.effects) >= 8
    assert controls.starts == sorted(set(controls.starts))
    length = check.end - check.start
    ranges = np.array([(start, start + length) for start in controls.starts])
    assert ranges.min() >= 0
    assert ranges.max() <= known.prepared.identity.size
    assert all(end <= check.start or check.end <= start for start, end in ranges)
    claimed = np.abs(heat_on(known.parts, ranges))
    assert claimed.max() <= 0.5 * max(abs(check.claimed), negligible) + 1e-9


@pytest.mark.parametrize("name", ["gui-x86.exe", "console-x64.exe", "dotnet.exe", "packed-x86.exe"])
def test_checks_of_real_programs(
    tmp_path: Path, session: Session, workers: Workers, name: str
) -> None:
    known = case(session, tmp_path, sample(name))
    found = known.checks(workers)
    assert_sound(known, found)
    assert (found.rank_correlation is None) == (len(found.regions) < 8)
    assert any(check.controls for check in found.hot)


def test_seeds(tmp_path: Path, session: Session, workers: Workers) -> None:
    known = case(session, tmp_path, sample("gui-x86.exe"))
    first, again, other = (known.checks(workers, seed) for seed in (0, 0, 1))
    assert first == again
    assert [c.claimed for c in first.hot] == [c.claimed for c in other.hot]
    assert [c.controls for c in first.hot] != [c.controls for c in other.hot]
    assert other.seed == 1


def test_a_hot_range_that_is_a_region_is_checked_once(
    tmp_path: Path, session: Session, workers: Workers
) -> None:
    """So the same bytes have one status."""
    known = case(session, tmp_path, sample("gui-x86.exe"))
    region = next(r for r in known.evidence.regions if r.name == ".CRT")
    amount = region.contribution
    same = HotRange(region.start, region.end, region.name, None, amount)
    evidence = msgspec.structs.replace(known.evidence, hot=[same, *known.evidence.hot])
    found = known.checks(workers, evidence=evidence)
    (check,) = [c for c in found.regions if c.start == region.start]
    assert found.hot[0] == check
    assert len(found.hot) == len(evidence.hot)
    assert facts.supports(found)[1] == sum(
        c.status != "negligible" for c in [*found.regions, *found.hot[1:]]
    )


def test_noise_is_not_ranked() -> None:
    """Effects that are the net's arithmetic are ties; few regions have no rank correlation."""

    def checks(*pairs: tuple[float, float]) -> list[Check]:
        return [Check(i, i + 1, c, m, 0.0, "weak", []) for i, (c, m) in enumerate(pairs)]

    quiet = [(1e-5 * i, 1e-6 * i) for i in range(1, 8)]
    assert verifying._correlation(checks((0.5, 0.4), *quiet)) == 1.0
    found = verifying._correlation(checks((0.5, 0.4), (0.4, 3e-5), *quiet[:6]))
    # By rank (8, 7, 3.5 ...) and (8, 4, 4 ...): the order of the other six says nothing.
    assert found == pytest.approx(math.sqrt(4 / 7))
    assert verifying._correlation(checks(*quiet, (2e-5, 3e-5))) is None
    assert verifying._correlation(checks((0.5, 0.4), (0.4, 0.3), (0.3, 0.2))) is None


def test_a_false_claim_is_found_out(tmp_path: Path, session: Session, workers: Workers) -> None:
    """What is supported is contradicted where the explanation claims the contrary."""
    known = case(session, tmp_path, sample("gui-x86.exe"))
    honest = known.checks(workers)
    supported = [c for c in honest.regions if c.status == "supported" and c.controls]
    assert supported
    regions = [
        msgspec.structs.replace(region, contribution=-region.contribution)
        for region in known.evidence.regions
    ]
    lying = msgspec.structs.replace(known.evidence, regions=regions)
    found = known.checks(workers, evidence=lying)
    status = {check.start: check.status for check in found.regions}
    assert {status[check.start] for check in supported} == {"contradicted"}
    assert honest.rank_correlation is not None
    assert found.rank_correlation == pytest.approx(-honest.rank_correlation, abs=0.2)


@pytest.mark.parametrize("hostile", ["mz_only", "sections_65535", "overlapping_sections"])
def test_odd_files(tmp_path: Path, session: Session, workers: Workers, hostile: str) -> None:
    known = case(session, tmp_path, CASES[hostile]())
    assert_sound(known, known.checks(workers))


def test_a_tiny_file_has_no_room_for_controls(
    tmp_path: Path, session: Session, workers: Workers
) -> None:
    known = case(session, tmp_path, b"MZ" + bytes(range(1, 99)))
    found = known.checks(workers)
    assert_sound(known, found)
    assert len(found.regions) == 1
    assert found.rank_correlation is None
    assert all(check.controls is None for check in [*found.regions, *found.hot])


def test_regions_without_bytes_and_too_many(
    tmp_path: Path, session: Session, workers: Workers
) -> None:
    known = case(session, tmp_path, sample("gui-x86.exe"))
    first = known.evidence.regions[0]
    empty = msgspec.structs.replace(first, name="empty", end=first.start, contribution=9.0)
    copies = [msgspec.structs.replace(first, contribution=i / 100) for i in range(20)]
    evidence = msgspec.structs.replace(known.evidence, regions=[empty, *copies], hot=[])
    found = known.checks(workers, evidence=evidence)
    assert [check.claimed for check in found.regions] == [i / 100 for i in range(19, 7, -1)]
    assert found.regions_left == 8


def test_no_heat_at_all(tmp_path: Path, session: Session, workers: Workers) -> None:
    known = case(session, tmp_path, b"MZ" + bytes(600))
    silent = [(places, grid * 0) for places, grid in known.parts]
    known.parts = silent
    regions = [msgspec.structs.replace(r, contribution=0.0) for r in known.evidence.regions]
    evidence = msgspec.structs.replace(known.evidence, regions=regions, hot=[], padding=0.0)
    assert known.checks(workers, evidence=evidence).negligible == 0.0


def test_a_picture_of_a_program_gets_the_same_checks(
    tmp_path: Path, session: Session, workers: Workers
) -> None:
    data = sample("gui-x86.exe")
    data = data[: len(data) - len(data) % 64]
    program = case(session, tmp_path, data).checks(workers)
    picture = case(session, tmp_path, byteplot(data, 64), "b.png").checks(workers)
    assert picture == program


def test_a_file_that_changed(tmp_path: Path, session: Session, workers: Workers) -> None:
    known = case(session, tmp_path, sample("gui-x86.exe"))
    (tmp_path / "a.exe").write_bytes(sample("console-x86.exe"))
    with pytest.raises(SampleError) as caught:
        known.checks(workers)
    assert caught.value.code == "changed"


QUIET = Controls([0] * 9, [0.0] * 9, 0.1)
LOUD = Controls([0] * 9, [5.0] * 9, 5.0)


@pytest.mark.parametrize(
    ("claimed", "effects", "controls", "status"),
    [
        (1.0, (0.9, 0.8, -0.1), QUIET, "supported"),  # the median counts
        (-1.0, (-0.9, -0.8, 0.1), QUIET, "supported"),
        (1.0, (0.5, 0.5, 0.5), QUIET, "supported"),  # half of it
        (1.0, (0.4, 0.4, 0.4), QUIET, "weak"),  # less than half, though controls change nothing
        (0.15, (0.09, 0.08, 0.08), QUIET, "weak"),  # controls change as much
        (0.15, (0.14, 0.14, 0.14), LOUD, "weak"),
        (1.0, (2.9, 2.9, 2.9), QUIET, "supported"),
        (1.0, (3.1, 3.1, 3.1), QUIET, "understated"),  # three times as much
        (1.0, (3.1, 3.1, 3.1), LOUD, "weak"),
        (1.0, (-0.9, -0.8, 0.1), QUIET, "contradicted"),
        (1.0, (-0.09, -0.08, 0.1), QUIET, "contradicted"),  # whatever controls do
        (-0.3, (0.3, 0.3, 0.3), LOUD, "contradicted"),
        (1.0, (-0.04, -0.04, 0.1), QUIET, "weak"),  # next to nothing
        (1.0, (0.0, 0.0, 0.0), QUIET, "weak"),
        (0.01, (0.01, 0.0, 0.02), QUIET, "negligible"),
        (0.01, (0.09, 0.09, 0.09), QUIET, "negligible"),  # as any bytes do
        (0.01, (0.9, 0.9, 0.9), QUIET, "understated"),  # claims that nothing is there
        (-0.01, (-0.9, -0.9, -0.9), QUIET, "understated"),
        (0.0, (-0.9, -0.9, -0.9), QUIET, "understated"),
        (-0.01, (0.9, 0.9, 0.9), QUIET, "contradicted"),
        (-1e-6, (0.9, 0.9, 0.9), QUIET, "understated"),  # no sign: float noise
        (0.01, (0.9, 0.9, 0.9), LOUD, "negligible"),
        (0.04, (0.14, 0.14, 0.14), QUIET, "negligible"),  # and not much is
        (1.0, (0.04, 0.04, 0.04), Controls([0] * 9, [0.0] * 9, 0.0), "weak"),  # next to nothing
        (0.06, (0.04, 0.04, 0.04), Controls([0] * 9, [0.0] * 9, 0.0), "supported"),
        (1.0, (0.9, 0.8, 0.6), None, "supported"),
        (1.0, (0.9, 0.8, -0.1), None, "weak"),  # without controls all masks must agree
        (1.0, (0.4, 0.4, 0.4), None, "weak"),  # less than half
        (1.0, (-0.9, -0.8, -0.6), None, "contradicted"),
        (-0.3, (-0.31, 0.27, 0.35), None, "contradicted"),
        (0.0, (0.0, 0.0, 0.0), None, "negligible"),
        (0.04, (0.9, 0.8, 0.6), None, "understated"),
        (0.04, (0.9, 0.8, -0.1), None, "negligible"),  # the masks do not agree
    ],
)
def test_the_rule(
    claimed: float, effects: tuple[float, ...], controls: Controls | None, status: str
) -> None:
    assert status_of(claimed, np.array(effects), controls, 0.05) == status


@given(
    st.integers(1, 5000), st.integers(0, 5000), st.integers(1, 5000), st.integers(0, 3), st.data()
)
def test_places_of_controls(
    size: int, start: int, length: int, seed: int, data: st.DataObject
) -> None:
    """In the file, off the claim's bytes, different, and apart where there is room enough."""
    start = min(start, size - 1)
    end = min(start + length, size)
    heat = data.draw(st.lists(st.integers(-3, 3), min_size=16, max_size=16))
    geometry = BodyGeometry(size, 32)
    grid = np.array(heat, dtype=np.float64).reshape(4, 4)
    pixels = np.zeros((1, 4, 4), dtype=np.uint8)
    prepared = Prepared("a", "pe", None, None, [], {"body": View(pixels, geometry)}, 0.0)  # type: ignore[arg-type]
    parts: list[Part] = [(geometry, grid)]
    contribution = float(heat_on(parts, np.array([[start, end]]))[0])
    claim = verifying._Claim((start, end), contribution)
    generator = np.random.default_rng(seed)
    places = verifying._places(prepared, parts, claim, 0.01, generator)
    assert len(places) in (0, 8, 9)
    assert len(set(places)) == len(places)
    for low, high in places:
        assert high - low == end - start
        assert low >= 0
        assert high <= size
        assert high <= start or end <= low
    if places:
        assert np.abs(heat_on(parts, np.array(places))).max() <= 0.5 * max(
            abs(contribution), 0.01
        ) + 1e-9  # fmt: skip
    if not any(heat) and max(start, size - end) >= 64 * (end - start):
        assert len(places) == 9
        assert all(b[0] - a[0] >= end - start for a, b in pairwise(places))


def test_the_probability_is_that_of_the_label(session: Session) -> None:
    logits = np.array([[2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])
    lost = verifying._lost(logits, Question(0, 2), session.card)
    shares = probabilities(logits, session.card)[:, 0]
    np.testing.assert_allclose(lost, [[2.0, shares[0] - shares[1]]])
