"""Changes programs without changing what they do, in memory alone. Runs in worker processes.

Nothing here writes a file, and no changed bytes leave a worker, only views (`transform.worker`). A
new transformation is a function and its line in `TRANSFORMS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from maltriage.probe.transform import append, headers, sections
from maltriage.probe.transform.donors import Draw
from maltriage.probe.transform.program import Program


@dataclass(frozen=True)
class Transform:
    """One transformation.

    `apply` takes a program, which it may change, and a source of random bytes, and returns the
    bytes of the changed file; it raises `NotApplicableError`. `benign`: uses bytes of benign files.
    `proxy`: only stands in for a change after which a program still runs.
    """

    name: str
    text: str
    apply: Callable[[Program, Draw], bytes]
    benign: bool = False
    proxy: bool = False


SHARES = (1, 10, 50)
"""Bytes appended, in per cent of the file."""


WORDS = (10, 40)
"""Words appended: 40 are some 350 bytes."""


def _appends() -> list[Transform]:
    found = []
    for kind, function, text in (
        ("zeros", append.append_zeros, "zeros appended"),
        ("random", append.append_random, "random bytes appended"),
        ("benign", append.append_benign, "the ends of benign files appended"),
    ):
        for percent in SHARES:
            found.append(
                Transform(
                    f"append-{kind}-{percent}",
                    f"{text}, {percent} % of the file",
                    partial(function, share=percent / 100),
                    benign=kind == "benign",
                )
            )
    for count in WORDS:
        found.append(
            Transform(
                f"append-words-{count}",
                f"the {count} most common words of benign files appended",
                partial(append.append_words, count=count),
                benign=True,
            )
        )
    return found


TRANSFORMS: dict[str, Transform] = {
    transform.name: transform
    for transform in (
        *_appends(),
        Transform("pad-sections", "4 KiB of random bytes between sections", sections.pad_sections),
        Transform("rename-sections", "sections renamed", headers.rename_sections),
        Transform("wipe-timestamp", "COFF timestamp zeroed", headers.wipe_timestamp),
        Transform("wipe-rich", "Rich header zeroed", headers.wipe_rich),
        Transform("wipe-checksum", "checksum zeroed", headers.wipe_checksum),
        Transform("wipe-debug", "debug directory and its data zeroed", headers.wipe_debug),
        Transform("wipe-headers", "these four at once", headers.wipe_headers),
        Transform("add-empty-section", "a section without bytes added", sections.add_empty_section),
        Transform(
            "add-benign-section",
            "a section of the ends of benign files added, 10 % of the file",
            sections.add_benign_section,
            benign=True,
        ),
        Transform("file-alignment", "512 to 4,096 bytes, or back", sections.file_alignment),
        Transform("strip-overlay", "overlay taken away", sections.strip_overlay),
        Transform("strip-certificate", "certificate taken away", sections.strip_certificate),
        Transform("pack-proxy", "section bodies deflated", sections.pack_proxy, proxy=True),
    )
}
"""All transformations by name, in the order shown."""
