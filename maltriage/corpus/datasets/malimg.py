"""Dataset `malimg`: byteplots in a folder per family (Nataraj et al. 2011, table 2).

As published, an image has a pixel for each byte of its program, at a width set by the file's
size, and is read like the program itself. Circulating copies are often resized to squares,
where a pixel is an average of bytes. They are refused unless asked for, and then taken as
pictures, without a head, sections or meaningful offsets.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from maltriage.corpus.datasets.base import (
    Dataset,
    LabelledSample,
    as_published,
    assemble,
    count_notice,
    files_below,
    find_root,
)
from maltriage.errors import MaltriageError
from maltriage.sample.types import Notice
from maltriage.source.decode import PNG_MAGIC

NAME = "malimg"
LAYOUT = "<root>/<family>/<file>.png, or that below <root>/train, <root>/val, <root>/test"
PUBLISHED = {
    "Adialer.C": 122,
    "Agent.FYI": 116,
    "Allaple.A": 2949,
    "Allaple.L": 1591,
    "Alueron.gen!J": 198,
    "Autorun.K": 106,
    "C2LOP.P": 146,
    "C2LOP.gen!g": 200,
    "Dialplatform.B": 177,
    "Dontovo.A": 162,
    "Fakerean": 381,
    "Instantaccess": 431,
    "Lolyda.AA1": 213,
    "Lolyda.AA2": 184,
    "Lolyda.AA3": 123,
    "Lolyda.AT": 159,
    "Malex.gen!J": 136,
    "Obfuscator.AD": 142,
    "Rbot!gen": 158,
    "Skintrim.N": 80,
    "Swizzor.gen!E": 128,
    "Swizzor.gen!I": 132,
    "VB.AT": 408,
    "Wintrim.BX": 97,
    "Yuner.A": 800,
}
"""Files by family of the set that circulates: 9,339."""
PARTS = frozenset("train training val valid validation test testing".split())


def read(root: Path | None, min_samples: int, *, allow_resized: bool = False) -> Dataset:
    """The dataset in `root`, or in the first of the usual places that exists.

    Folders named after a part of a split are merged: circulating splits have exact copies in
    different parts (895 of the 9,339 images are copies of others), and splits made here keep
    them together.

    Args:
        allow_resized: take every image as a picture, whatever its size.

    Raises:
        MaltriageError: no such folder, or the images are resized copies.
    """
    root = find_root(NAME, root, LAYOUT)
    samples, notices = list[LabelledSample](), list[Notice]()
    families, merged, loose = _families(root)
    if merged:
        text = f"{', '.join(merged)}: merged, as splits keep near duplicates in one part"
        notices.append(Notice("merged", text))
    if loose:
        notices.append(count_notice("unlabelled", "in no folder of a family", loose))
    sizes = set[tuple[int, int]]()
    for folder in families:
        paths, found = files_below(folder)
        notices += found
        pictures = {path: size for path in paths if (size := _png_size(path)) is not None}
        strange = [path for path in paths if path not in pictures]
        if strange:
            notices.append(count_notice("not-a-sample", "no PNG", strange))
        samples += [LabelledSample(path, folder.name) for path in pictures]
        sizes |= set(pictures.values())
    if not samples:
        raise MaltriageError(f"dataset {NAME}: no samples in {root}; expected {LAYOUT}")
    notices += as_published(samples, PUBLISHED)
    if allow_resized:
        return replace(assemble(NAME, root, samples, notices, min_samples), formats=("picture",))
    width, height = next(iter(sizes))
    if len(samples) > 1 and len(sizes) == 1 and width == height:
        raise MaltriageError(
            f"{root}: all {len(samples)} images are {width} x {height}, resized copies, so their"
            " pixels are no bytes; use images of the original size, or --allow-resized to take"
            " them as pictures"
        )
    return assemble(NAME, root, samples, notices, min_samples)


def _families(root: Path) -> tuple[list[Path], list[str], list[str]]:
    """Folders of families, names of the merged parts, and files outside of a family."""
    folders = _folders(root)
    while len(folders) == 1 and _folders(folders[0]):  # archives often have an extra top folder
        folders = _folders(folders[0])
    if not folders or not all(folder.name.lower() in PARTS for folder in folders):
        return folders, [], []
    loose = [str(p) for folder in folders for p in folder.iterdir() if p.suffix.lower() == ".png"]
    families = [family for folder in folders for family in _folders(folder)]
    return families, [folder.name for folder in folders], loose


def _folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _png_size(path: str) -> tuple[int, int] | None:
    """Width and height in a PNG's header, None if the file is no PNG.

    A truncated header gives (0, 0): reading the sample then gives the reason.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(24)
    except OSError:
        return 0, 0
    if not head.startswith(PNG_MAGIC):
        return None
    if len(head) < 24:
        return 0, 0
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
