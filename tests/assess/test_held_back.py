"""The files that a model is measured on, and what is known of their part in its training."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np
from assess.planted import plant, weights

from maltriage.assess.held_back import hold_back
from maltriage.bundle import Bundle
from maltriage.corpus.datasets import open_dataset
from maltriage.similar import index as indexes
from maltriage.similar import index_file


def indexed(bundle: Bundle, files: list[Path], path: Path) -> None:
    """Write an index of files."""
    names = [sha256(file.read_bytes()).hexdigest() for file in files]
    labels, vectors = [bundle.card.labels[0]] * len(files), np.eye(len(files), dtype=np.float32)
    made = indexes.grown(indexes.empty(bundle), names, labels, vectors)
    index_file.write(made.index, path)


def test_files_in_the_index_of_the_model(tmp_path: Path, samples_dir: Path) -> None:
    own = plant(tmp_path / "own.onnx", weights((0, 1, 1.0)))
    program, files = (samples_dir / "console-x86.exe").read_bytes(), list[Path]()
    for label in (*own.card.labels[:2], "stranger"):
        (tmp_path / "zoo" / label).mkdir(parents=True)
        for _ in range(3):
            files.append(tmp_path / "zoo" / label / f"{len(files)}.exe")
            files[-1].write_bytes(program + bytes([len(files)]))
    data = open_dataset("folder", tmp_path / "zoo")
    assert hold_back(own, data).in_index is None
    # The last has a label that the model does not know: no figure is of it.
    indexed(own, [files[0], files[5], files[8]], tmp_path / "own.index.npz")
    assert hold_back(own, data).in_index == 2
