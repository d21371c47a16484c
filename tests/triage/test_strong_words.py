from __future__ import annotations

from pathlib import Path

import numpy as np
from hostile.make import sample

from maltriage.probe.inspect.worker import InspectOptions, spell
from maltriage.probe.prepare import PrepareOptions, prepare
from maltriage.sample.views import WordsSpec
from maltriage.source.archive.limits import Archives
from maltriage.triage.hot_ranges import MAX_WORDS, strongest


def test_the_strongest_words_are_spelled(tmp_path: Path) -> None:
    path = tmp_path / "a.exe"
    path.write_bytes(sample("gui-x86.exe"))
    item = prepare(str(path), PrepareOptions((WordsSpec(),)))
    places = item.views["words"].geometry
    used = int((item.views["words"].pixels[2] > 0).sum())
    heat = np.zeros((1, 2048))
    heat[0, :used] = np.random.default_rng(0).normal(size=used)
    how = InspectOptions(item.identity.sha256, archives=Archives())
    found = strongest(item.layout, [(places, heat)], lambda at: spell(str(path), at, how))
    assert len(found) == MAX_WORDS
    assert [word.contribution for word in found] == sorted(
        heat[0].tolist(), key=lambda value: -abs(value)
    )[:MAX_WORDS]
    data = path.read_bytes()
    for word in found:
        assert word.text.isalpha()
        region = item.layout.region_at(word.start)
        assert region is not None
        assert region.name == word.region
        plain, wide = word.text.encode(), word.text.encode("utf-16-le")[:-1]
        assert data[word.start :].startswith((plain, wide))


def test_a_model_that_reads_no_words_has_none(tmp_path: Path) -> None:
    path = tmp_path / "a.exe"
    path.write_bytes(sample("gui-x86.exe"))
    item = prepare(str(path), PrepareOptions((WordsSpec(),)))
    places = item.views["words"].geometry
    assert strongest(item.layout, [], lambda _: []) == []
    assert strongest(item.layout, [(places, np.zeros((1, 2048)))], lambda _: []) == []
