"""Export: the file gives what PyTorch gives, and nothing of this machine is in it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

import onnxruntime  # noqa: E402

from maltriage import bundle as bundles  # noqa: E402
from maltriage.bundle.file import CARD_KEY  # noqa: E402
from maltriage.corpus.corpus import Corpus  # noqa: E402
from maltriage.errors import MaltriageError  # noqa: E402
from maltriage.learn import export as module  # noqa: E402
from maltriage.learn.export import _contributions, check, export_bundle  # noqa: E402
from maltriage.learn.fit.checkpoint import load_checkpoint  # noqa: E402
from maltriage.learn.fit.restore import restore_net  # noqa: E402
from maltriage.learn.heat.cam import ExplainedNet, empty_views  # noqa: E402
from maltriage.learn.nets import make_net  # noqa: E402
from maltriage.learn.nets.base import Net  # noqa: E402
from maltriage.learn.nets.counted import WordsTrunk  # noqa: E402
from maltriage.learn.runs.train import Outcome, export_checkpoint  # noqa: E402
from maltriage.sample.views import BodySpec, WordsSpec  # noqa: E402
from maltriage.sample.views.counted import plot_words  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def net(outcome: Outcome) -> Net:
    assert outcome.bundle is not None
    return restore_net(*load_checkpoint(outcome.bundle.parent))


def session(outcome: Outcome) -> Any:
    return onnxruntime.InferenceSession(
        bundles.load(str(outcome.bundle)).model, providers=["CPUExecutionProvider"]
    )


@pytest.fixture
def exported_before(outcome: Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives the graph of the run's bundle again, where the matter is what becomes of it."""
    import onnx

    model = bundles.load(str(outcome.bundle)).model
    monkeypatch.setattr(module, "to_onnx", lambda explained: onnx.load_from_string(model))


def test_the_number_of_threads_changes_no_byte(outcome: Outcome, net: Net, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    found = set()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            export_bundle(net, outcome.state, tmp_path / "net.onnx")
            assert torch.get_num_threads() == count
            found.add((tmp_path / "net.onnx").read_bytes())
    finally:
        torch.set_num_threads(threads)
    assert len(found) == 1


@pytest.mark.parametrize("count", [1, 2, 17, 33])
def test_any_batch(outcome: Outcome, net: Net, corpus: Corpus, count: int) -> None:
    rows = np.arange(count) % len(corpus)
    images = {view.name: corpus.pixels(view.name, rows) for view in corpus.views}
    choice = {
        "target": np.arange(count) % 4 - 1,
        "against": np.arange(count) % 3 - 1,
        "threshold": np.zeros(count, dtype=np.float32),
    }
    feed = images | choice
    explained = ExplainedNet(net, 0)
    got = session(outcome).run(explained.output_names, feed)
    with torch.inference_mode():
        wanted = explained(*(torch.from_numpy(value) for value in feed.values()))
    for name, a, b in zip(explained.output_names, wanted, got, strict=True):
        np.testing.assert_allclose(b, a.numpy(), rtol=1e-4, atol=1e-5, err_msg=name)


def test_a_bound_on_words_is_in_the_file() -> None:
    """It holds in the graph, and contributions add up to the score."""
    torch.manual_seed(3)
    words = WordsSpec(64)
    net = make_net("evidence", (words, BodySpec(16)), 3, clean=0)
    trunk = net.trunks[0]
    assert isinstance(trunk, WordsTrunk)
    texts = [b"kernel window message", b"malice evil", b"kernel window message dialog module"]
    raws = [np.frombuffer(text, dtype=np.uint8) for text in texts]
    seen = np.stack([plot_words(raw, 64).pixels for raw in raws])
    net.bound_words(0.25)
    net.begin(
        {"words": torch.from_numpy(np.concatenate([seen] * 4))},
        torch.tensor([0, 1, 0] * 4),
        torch.ones(12),
    )
    explained = ExplainedNet(net, 0)
    model = module.to_onnx(explained).SerializeToString()
    found = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    feed = {
        "words": seen,
        "body": np.zeros((3, *net.views[1].shape), dtype=np.uint8),
        "target": np.zeros(3, dtype=np.int64),
        "against": np.full(3, -1),
        "threshold": np.zeros(3, dtype=np.float32),
    }
    got = dict(zip(explained.output_names, found.run(explained.output_names, feed), strict=True))
    speaks = got["heat_words"].clip(min=0.0).sum(axis=(1, 2))
    assert speaks.tolist() == pytest.approx([0.25, 0.0, 0.25], abs=1e-5)
    heat = sum(got[f"heat_{view.name}"].sum(axis=(1, 2)) for view in net.views)
    score = got["baseline"] + heat
    logits = got["logits"]
    malware = np.logaddexp(logits[:, 1], logits[:, 2])
    np.testing.assert_allclose(score, logits[:, 0] - malware, atol=1e-4)


def test_two_runs_are_equal(outcome: Outcome, corpus: Corpus) -> None:
    feed = {v.name: corpus.pixels(v.name, slice(0, 5)) for v in corpus.views}
    feed |= {"target": np.full(5, -1), "against": np.full(5, -1)}
    feed["threshold"] = np.zeros(5, dtype=np.float32)
    run = session(outcome).run
    for a, b in zip(run(None, feed), run(None, feed), strict=True):
        np.testing.assert_array_equal(a, b)


def test_nothing_of_this_machine_is_in_it(outcome: Outcome) -> None:
    assert outcome.bundle is not None
    data = outcome.bundle.read_bytes()
    for trace in (b".py", b"stack_trace", b"site-packages", str(ROOT).encode()):
        assert trace not in data
    import onnx

    model = onnx.load_from_string(data)
    assert [entry.key for entry in model.metadata_props] == [CARD_KEY]
    assert not model.graph.metadata_props
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    onnx.checker.check_model(model)


def test_export_alone_gives_the_same_file(outcome: Outcome, tmp_path: Path) -> None:
    assert outcome.bundle is not None
    card = export_checkpoint(outcome.bundle.parent, tmp_path / "again.onnx")
    assert card == outcome.card
    assert (tmp_path / "again.onnx").read_bytes() == outcome.bundle.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["again.onnx"]


def test_a_graph_of_other_weights_fails_the_check(outcome: Outcome, net: Net) -> None:
    model = bundles.load(str(outcome.bundle)).model
    check(ExplainedNet(net, 0), model)
    other = copy.deepcopy(net)
    with torch.no_grad():
        other.heads.weight[1, 0] += 0.05
    with pytest.raises(MaltriageError, match="export check failed: logits differs"):
        check(ExplainedNet(other, 0), model)
    other = copy.deepcopy(net)
    with torch.no_grad():
        other.heads.bias[1:] += 3.0  # the same for all families: centred away
    check(ExplainedNet(other, 0), model)


def test_a_map_that_is_moved_fails_the_check(outcome: Outcome, net: Net) -> None:
    model = bundles.load(str(outcome.bundle)).model

    class Moved(ExplainedNet):
        def answer(self, *inputs: Any) -> Any:
            logits, body, *rest = super().answer(*inputs)
            return logits, body.roll(1, dims=2), *rest

    with pytest.raises(MaltriageError, match="export check failed: heat_body differs"):
        check(Moved(net, 0), model)


def test_labels_that_cancel_are_held_to_what_cancelled(net: Net) -> None:
    explained = ExplainedNet(net, 0)
    views = empty_views(net.views, 1)
    with torch.no_grad():
        against = torch.tensor([2])
        found = explained(*views.values(), torch.tensor([2]), against, torch.zeros(1))
    outputs = dict(zip(explained.output_names, found, strict=True))
    assert float(outputs["baseline"].abs()) == 0.0
    assert float(_contributions(explained, outputs)) >= float(outputs["logits"].abs().max()) > 0.0


@pytest.mark.usefixtures("exported_before")
def test_a_failed_check_leaves_no_file(
    outcome: Outcome, net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        raise MaltriageError("export check failed: as the test wants")

    monkeypatch.setattr(module, "check", fail)
    (tmp_path / "old.onnx").write_bytes(b"old")
    with pytest.raises(MaltriageError, match="as the test wants"):
        export_bundle(net, outcome.state, tmp_path / "old.onnx")
    assert (tmp_path / "old.onnx").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_the_exporter_is_quiet(
    outcome: Outcome, net: Net, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    export_bundle(net, outcome.state, tmp_path / "quiet.onnx")
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""


@pytest.mark.usefixtures("exported_before")
def test_no_place_to_write(outcome: Outcome, net: Net, tmp_path: Path) -> None:
    with pytest.raises(MaltriageError, match="cannot write"):
        export_bundle(net, outcome.state, tmp_path / "none" / "file.onnx")


def test_without_a_benign_label(outcome: Outcome, net: Net) -> None:
    """A bundle that only tells families apart explains the top label against the mean."""
    explained = ExplainedNet(net, None)
    check(explained, module.to_onnx(explained).SerializeToString())
