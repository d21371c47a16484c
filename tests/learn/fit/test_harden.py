"""Changed copies in training: which are seen, what they count for, and what is learnt of them."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from learn.conftest import OPTIONS, narrow  # noqa: E402

from maltriage.corpus.corpus import Corpus  # noqa: E402
from maltriage.corpus.variants import TRANSFORMS, with_variants  # noqa: E402
from maltriage.learn.fit.checkpoint import load_checkpoint  # noqa: E402
from maltriage.learn.fit.data import Images  # noqa: E402
from maltriage.learn.fit.harden import SHARE, all_copies, choose_copies, differing_copies  # noqa: E402
from maltriage.learn.fit.recipe import FitOptions  # noqa: E402
from maltriage.learn.runs.options import RunOptions  # noqa: E402
from maltriage.learn.runs.train import train  # noqa: E402

COPIES = torch.tensor([[5, -1, 7], [-1, -1, -1], [-1, 9, -1]])


@pytest.fixture(scope="module")
def changed(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return with_variants(corpus, jobs=1, folder=tmp_path_factory.mktemp("variants"))


def test_copies_are_drawn() -> None:
    generator = torch.Generator().manual_seed(0)
    many = torch.stack([choose_copies(COPIES, generator) for _ in range(4000)])
    for row, numbers in enumerate(([-1, 0, 2], [-1], [-1, 1])):
        found, counts = many[:, row].unique(return_counts=True)
        assert found.tolist() == numbers
        if len(numbers) > 1:
            shares = counts / 4000
            assert shares[0] == pytest.approx(1 - SHARE, abs=0.03)
            for share in shares[1:]:
                assert share == pytest.approx(SHARE / (len(numbers) - 1), abs=0.03)


def test_all_count_for_what_the_sample_did() -> None:
    at, variant, shares = all_copies(COPIES)
    assert at.tolist() == [0, 1, 2, 0, 0, 2]
    assert variant.tolist() == [-1, -1, -1, 0, 2, 1]
    assert torch.bincount(at, shares).tolist() == [1.0, 1.0, 1.0]
    assert shares[at == 1].tolist() == [1.0]
    assert shares[0].item() == 1 - SHARE


def test_batches_of_copies(changed: Corpus) -> None:
    images, made = Images(changed), changed.variants
    assert made is not None
    at, append = torch.tensor([3, 0, 3, 8]), TRANSFORMS.index("append-random-50")
    wipe = TRANSFORMS.index("strip-overlay")  # of which there is none: the file itself
    assert (made.rows[:, wipe] == -1).all()
    found = images.batch(at, variant=torch.tensor([append, -1, wipe, append]))
    plain = images.batch(at)
    for view in changed.views:
        for i in (1, 2):
            assert torch.equal(found[view.name][i], plain[view.name][i])
    for i in (0, 3):
        row = made.rows[int(at[i]), append]
        np.testing.assert_array_equal(found["body"][i].numpy(), made.arrays["body"][row])
        assert found["entry"][i, 1].sum() == made.present["entry"][row]
    assert list(images.batch(at, fixed=True, variant=torch.zeros(4, dtype=torch.int64))) == [
        "header"
    ]
    sent = pickle.loads(pickle.dumps(images))
    again = sent.batch(at, variant=torch.tensor([append, -1, wipe, append]))
    assert all(torch.equal(again[name], found[name]) for name in found)


def test_copies_that_a_header_does_not_tell_are_left_out(changed: Corpus) -> None:
    index = torch.arange(len(changed))
    copies = differing_copies(Images(changed), index)
    told = {TRANSFORMS[number] for number in (copies >= 0).any(dim=0).nonzero().flatten()}
    # These programs have no timestamp and no checksum that could be wiped.
    assert told == {"add-empty-section", "file-alignment"}
    plain = dataclasses.replace(changed, variants=None)
    assert differing_copies(Images(plain), index).shape == (len(changed), 0)


def test_a_hardened_run_is_another_one(
    changed: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MALTRIAGE_CACHE", str(tmp_path / "cache"))
    tensors, views = {}, ("body", "header")
    for name, harden in (("plain", False), ("hard", True), ("again", True)):
        fit = FitOptions(**{**OPTIONS, "epochs": 1, "views": views}, harden=harden)
        found = train(narrow(changed, *views), RunOptions(tmp_path / name, "tiny", fit))
        assert found.card is not None
        assert found.card.training.recipe["harden"] is harden
        tensors[name], _ = load_checkpoint(tmp_path / name)
    first, again = tensors["hard"], tensors["again"]
    assert all(torch.equal(first[name], again[name]) for name in first)
    moved = [name for name in first if not torch.equal(first[name], tensors["plain"][name])]
    assert any("table" in name for name in moved)  # the header is read otherwise too
    assert any("heads" in name for name in moved)


def test_no_option_no_copies(corpus: Corpus, changed: Corpus, tmp_path: Path) -> None:
    """Copies that lie there do not change a run that did not ask for them."""
    tensors = []
    for name, data in (("without", corpus), ("with", changed)):
        steps = iter(range(3))
        options = RunOptions(tmp_path / name, "tiny", FitOptions(**OPTIONS))
        train(data, options, stop=lambda steps=steps: next(steps, None) is None)  # type: ignore[misc]
        tensors.append(load_checkpoint(tmp_path / name)[0])
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])
