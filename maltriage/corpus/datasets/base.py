"""Datasets: files with labels, in an order that does not depend on the machine."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from maltriage.bundle import BENIGN, OTHER
from maltriage.errors import MaltriageError
from maltriage.files.places import config_file, data_places
from maltriage.files.raw_names import name_bytes
from maltriage.sample.hexdump import UNMAPPED
from maltriage.sample.types import Format, Notice
from maltriage.sample.views import WINDOWS
from maltriage.source.archive.entries import HEAD_BYTES
from maltriage.source.archive.kinds import kind_of
from maltriage.source.decode import DUMP_SUFFIX, sniff
from maltriage.source.files import Found, WalkOptions, walk
from maltriage.source.reading import PROGRAMS

HEADLESS = ("body", "head")
"""Default views for samples without a PE header."""
MAX_DIFFERENT = 6
"""Most differences from a published set that a notice names."""
ENDS = ("head", "tail")
"""Anchors that samples without a PE header have."""


@dataclass(frozen=True)
class LabelledSample:
    """A file and its family."""

    path: str
    label: str
    first_seen: datetime | None = None
    """Time of the first sighting, in UTC without a time zone; None: unknown."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Its columns in the tables beside it; see `datasets.columns`."""


@dataclass(frozen=True)
class Dataset:
    """Labelled files, sorted by path; `labels` in the order of a net's outputs."""

    name: str
    root: Path
    samples: tuple[LabelledSample, ...]
    labels: tuple[str, ...]
    min_samples: int
    """Families with fewer files were left out, or counted as malware of no family."""
    notices: tuple[Notice, ...] = ()
    goodware: Path | None = None
    """Folder of the clean files: the last samples, labelled `benign`."""
    goodware_samples: int = 0
    """How many of the samples, the last ones, come from it."""
    formats: tuple[Format, ...] = PROGRAMS
    """Formats that its samples may have."""
    unmapped: int = UNMAPPED
    """The byte that `??` in its hex dumps is read as."""
    more_roots: tuple[Path, ...] = ()
    """Further folders of samples, after `root`."""

    @property
    def headless(self) -> bool:
        """True if no sample has a PE header: all are hex dumps or pictures."""
        return "picture" in self.formats or all(is_dump(sample.path) for sample in self.samples)

    def views(self, named: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """View names for these samples: those named, or None for the net's defaults.

        Raises:
            MaltriageError: a named view has an anchor that no sample has.
        """
        if not self.headless:
            return named
        if named is None:
            return ("body",) if "picture" in self.formats else HEADLESS
        nowhere = [v.name for v in WINDOWS if v.name in named and v.anchor not in ENDS]
        if nowhere:
            raise MaltriageError(
                f"views {', '.join(nowhere)}: samples of {self.name} have no PE header to find"
                f" them by; use views of {', '.join(ENDS)} or of the whole file"
            )
        return named


def sort_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Different labels in the order of a bundle: `benign` first, then by name."""
    return tuple(sorted(set(labels), key=lambda label: (label != BENIGN, label)))


def count_notice(code: str, what: str, names: list[str]) -> Notice:
    """One notice for many files: their number, the reason and the first by name."""
    plural = "file" if len(names) == 1 else "files"
    return Notice(code, f"{len(names):,} {plural} left out: {what} (such as {min(names)})")


def as_published(samples: Iterable[LabelledSample], published: Mapping[str, int]) -> list[Notice]:
    """A notice on how the files differ from those that were published; none if they do not.

    Args:
        published: number of files by family.
    """
    counts = Counter(sample.label for sample in samples)
    if counts == Counter(published):
        return []
    others = sorted(counts.keys() - published.keys())
    missing = sorted(published.keys() - counts.keys())
    differing = [name for name in published if counts[name] not in (0, published[name])]
    said = [f"{counts[name]:,} of {name} in place of {published[name]:,}" for name in differing]
    if missing:
        said.append(f"none of {_some(missing)}")
    if others:
        said.append(f"{_some(others)}, which was not published")
    whole = f"{sum(published.values()):,} files of {len(published)} families"
    more = len(said) - MAX_DIFFERENT
    if more > 0:
        said = [*said[:MAX_DIFFERENT], f"and {more:,} more differences"]
    return [Notice("not-as-published", f"not the {whole} that were published: {'; '.join(said)}")]


def _some(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def find_root(name: str, root: Path | None, layout: str) -> Path:
    """The folder of a dataset: the one named, or the first default place that exists.

    Raises:
        MaltriageError: no such folder; the message lists the places searched.
    """
    if root is not None:
        if not root.is_dir():
            raise MaltriageError(f"dataset {name}: no folder {root}; expected {layout}")
        return root
    places = data_places(name)
    for folder, _ in places:
        if folder.is_dir():
            return folder
    looked = ", ".join(f"{folder} (from {source})" for folder, source in places)
    raise MaltriageError(
        f"dataset {name}: nothing found in {looked}. Expected {layout}. Name the folder with "
        f"--root, or set MALTRIAGE_DATA (or `data` in {config_file()}) to the folder that "
        f"holds {name}"
    )


def all_below(folder: Path) -> tuple[list[str], list[Notice]]:
    """Paths of the files below a folder, and notices on entries that cannot be read."""
    paths, rejected = [], dict[str, tuple[str, list[str]]]()
    for entry in walk([str(folder)], WalkOptions()):
        if isinstance(entry, Found):
            paths.append(entry.path)
        else:
            rejected.setdefault(entry.code, (entry.reason, []))[1].append(entry.path)
    return paths, [count_notice(code, reason, names) for code, (reason, names) in rejected.items()]


def files_below(folder: Path) -> tuple[list[str], list[Notice]]:
    """Paths of files that begin like a sample, and notices on the others."""
    paths, strange = list[str](), list[str]()
    below, notices = all_below(folder)
    for path in below:
        (paths if _begins_like_sample(path) else strange).append(path)
    if strange:
        what = "neither PE nor byteplot PNG nor hex dump, nor an archive of one"
        notices.append(count_notice("not-a-sample", what, strange))
    return paths, notices


def _begins_like_sample(path: str) -> bool:
    """True if the first bytes are those of a PE file, a PNG, a hex dump or an archive of one.
    An unreadable file passes: reading it as a sample then gives the reason."""
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
            kind = kind_of(file)
    except OSError:
        return True
    return kind is not None or sniff(path, head) is not None


def is_dump(path: str) -> bool:
    """True if a file is named like a hex dump."""
    return path.lower().endswith(DUMP_SUFFIX)


def assemble(
    name: str,
    root: Path,
    samples: Iterable[LabelledSample],
    notices: Iterable[Notice],
    min_samples: int,
) -> Dataset:
    """A dataset of the families with at least `min_samples` files; a notice lists the others.

    With `min_samples` 0 it is one of several folders, and may have a single family.

    Raises:
        MaltriageError: fewer than two families are left.
    """
    ordered = sorted(samples, key=lambda sample: _place(sample.path))
    dataset = Dataset(name, root, tuple(ordered), (), min_samples, tuple(notices))
    return dataset if min_samples == 0 else _of_size(dataset, min_samples)


def _place(path: str) -> bytes:
    """What samples are sorted by, the same on all systems."""
    return name_bytes(path.replace(os.sep, "/"))


def joined(parts: Sequence[Dataset], min_samples: int) -> Dataset:
    """One dataset of the samples of several folders, in the order of the folders.

    Args:
        parts: assembled with `min_samples` 0.

    Raises:
        MaltriageError: a folder is named twice, its files are of another form, or fewer than two
            families are left.
    """
    first, *rest = parts
    if len({part.root.resolve() for part in parts}) < len(parts):
        raise MaltriageError(f"a folder is named twice: {', '.join(str(p.root) for p in parts)}")
    if any((part.headless, part.formats) != (first.headless, first.formats) for part in rest):
        raise MaltriageError("these folders hold files of different forms: hex dumps, or others")
    return _of_size(
        replace(
            first,
            samples=tuple(sample for part in parts for sample in part.samples),
            notices=tuple(notice for part in parts for notice in part.notices),
            more_roots=tuple(part.root for part in rest),
        ),
        min_samples,
    )


def _of_size(dataset: Dataset, min_samples: int) -> Dataset:
    """The dataset without families of fewer files.

    Their files are left out; where there is malware of no family, they are counted to it.
    """
    counts = Counter(sample.label for sample in dataset.samples)
    small = sorted(label for label, count in counts.items() if count < min_samples)
    notices, kept = list(dataset.notices), dataset.samples
    if small:
        listed = ", ".join(f"{label} ({counts[label]:,})" for label in small)
        if OTHER in counts and not {OTHER, BENIGN} & set(small):
            fate = f"counted as {OTHER}"
            kept = tuple(
                replace(sample, label=OTHER) if sample.label in small else sample for sample in kept
            )
        else:
            fate = "left out"
            kept = tuple(sample for sample in kept if sample.label not in small)
        text = f"{fate}, fewer than {min_samples} samples: {listed}"
        notices.append(Notice("small-family", text))
    labels = sort_labels(sample.label for sample in kept)
    if len(labels) < 2:
        raise MaltriageError(
            f"{dataset.root}: a dataset needs two families of {min_samples} samples or more, "
            f"found {len(labels)}"
        )
    for label in labels:
        if (shown := label.encode("utf-8", "backslashreplace").decode()) != label:
            raise MaltriageError(
                f"{dataset.root}: a label must be UTF-8: rename the folder of {shown}"
            )
    notices += _almost_known(labels)
    return replace(
        dataset, samples=kept, labels=labels, min_samples=min_samples, notices=tuple(notices)
    )


def _almost_known(labels: Iterable[str]) -> Iterator[Notice]:
    """Notices on labels that differ from one with a meaning of its own by case alone."""
    meanings = {BENIGN: "clean files", OTHER: "malware of no family"}
    for label in labels:
        known = label.casefold()
        if known in meanings and label != known:
            yield Notice(
                "label-case",
                f"{label} is taken for a malware family: the label of {meanings[known]} is {known}",
            )


def with_goodware(dataset: Dataset, folder: Path) -> Dataset:
    """The dataset, with all samples below a folder added as `benign`.

    They come after the dataset's own, sorted by their path below the folder. So the order,
    and with it a split, does not depend on the location of the two folders.

    Raises:
        MaltriageError: the folder is missing, or holds no samples.
    """
    if not folder.is_dir():
        raise MaltriageError(f"goodware: no folder {folder}")
    paths, notices = files_below(folder)
    if not paths:
        raise MaltriageError(f"goodware: no samples in {folder}")
    if "picture" in dataset.formats:
        raise MaltriageError(
            "goodware: pictures of clean files must be resized like the others; put them into the"
            f" dataset, as a family {BENIGN}"
        )
    if any(is_dump(path) != dataset.headless for path in paths):
        raise MaltriageError(
            f"goodware: hex dumps and files with a PE header are mixed ({folder}); a net would"
            " learn the form, not the family"
        )
    paths.sort(key=lambda path: _place(os.path.relpath(path, folder)))
    return replace(
        dataset,
        samples=(*dataset.samples, *(LabelledSample(path, BENIGN) for path in paths)),
        labels=sort_labels((*dataset.labels, BENIGN)),
        notices=(*dataset.notices, *notices),
        goodware=folder,
        goodware_samples=len(paths),
    )
