"""Command-line options that more than one command has, with their help in one place."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from maltriage.corpus import datasets
from maltriage.report.formats import SCAN, endings, listed
from maltriage.source.archive import limits
from maltriage.source.archive.kinds import KINDS


class Color(StrEnum):
    auto = "auto"
    always = "always"
    never = "never"


class DeviceName(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class EngineName(StrEnum):
    local = "local"
    ray = "ray"


def choice(name: str, values: Iterable[str]) -> Any:
    """The values of an option as the class that Typer asks for. Its members are strings."""
    return StrEnum(name, [(value, value) for value in values])


Engine = Annotated[
    EngineName, typer.Option(help="Where files are scanned: here, or on a Ray cluster.")
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        help="The Ray cluster: auto, HOST:PORT, ray://HOST:PORT; by default one of its own here.",
    ),
]
Shards = Annotated[
    Path | None,
    typer.Option(
        "--shards",
        help="With --engine ray: nodes write the result into this folder, in parts.",
    ),
]
Model = Annotated[
    str | None,
    typer.Option("--model", "-m", help="A bundle: a file, or the name of one that ships."),
]
Bundle = Annotated[
    str | None, typer.Argument(help="A bundle: a file, or the name of one that ships.")
]
Device = Annotated[DeviceName, typer.Option(help="Where the model runs.")]
Jobs = Annotated[int, typer.Option("--jobs", "-j", min=0, help="Worker processes; 0: one a core.")]
Threads = Annotated[
    int, typer.Option(min=0, help="Threads of the model; 0: by the cores there are.")
]
BatchSize = Annotated[int, typer.Option(min=1, max=4096, help="Samples in one forward pass.")]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds allowed for reading one file.")]
MaxSize = Annotated[int, typer.Option(min=1, help="Skip files above this many MiB.")]
Index = Annotated[
    str | None,
    typer.Option(
        "--index", help="Compare with these labelled files, or none; by default those of the model."
    ),
]
Cache = Annotated[
    Path | None,
    typer.Option("--cache", help="Folder of kept results; by default in the user's cache folder."),
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Keep no results and look none up.")]
Refresh = Annotated[bool, typer.Option("--refresh", help="Read every file anew, and keep that.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with this scan, which was stopped or killed.")
]
ExitZero = Annotated[
    bool, typer.Option("--exit-zero", help="End with 0 even if files are flagged.")
]
KnownGood = Annotated[
    list[str] | None,
    typer.Option(
        "--known-good",
        help="Hashes of known good files, sha256, sha1 or md5 one a line, or a CSV of the NSRL.",
    ),
]
AnalyseKnown = Annotated[
    bool,
    typer.Option("--analyse-known", help="Analyse known good files too, with a notice."),
]
Seed = Annotated[int, typer.Option(min=0, help="Of the bytes drawn to mask others with.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Write the result here instead of stdout.")
]
_ENDINGS = ", ".join(endings())
_SELECTIVE = listed((format for format in SCAN.values() if format.selective), "and")
_ECS = listed((format for format in SCAN.values() if format.ecs), "and")
Outputs = Annotated[
    list[Path] | None,
    typer.Option(
        "--output",
        "-o",
        help=f"Write it here instead of stdout, in the format of the ending ({_ENDINGS});"
        " several times for several files; - for stdout.",
    ),
]
FieldNames = Annotated[
    str | None,
    typer.Option(
        "--fields",
        help=f"Only these of each record, in {_SELECTIVE}: path,verdict.label.",
    ),
]
Ecs = Annotated[
    bool,
    typer.Option("--ecs", help=f"Names of the Elastic Common Schema in {_ECS}."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no notices on stderr.")]
Verbose = Annotated[
    int,
    typer.Option(
        "--verbose",
        "-v",
        count=True,
        show_default=False,
        help="Log on stderr what happens, with -vv to each file; the table lists skipped files.",
    ),
]
LogLevel = Annotated[
    int,
    typer.Option(
        "--verbose",
        "-v",
        count=True,
        show_default=False,
        help="Log on stderr what happens, with -vv to each file.",
    ),
]
ColorOption = Annotated[Color, typer.Option("--color", help="Colours; NO_COLOR is honoured.")]
_PLACED = ", ".join(name for name, entry in datasets.DATASETS.items() if not entry.any_tree)
DatasetName = Annotated[str, typer.Option("--dataset", help=f"{_PLACED}, or folder for any tree.")]
MinSamples = Annotated[
    int, typer.Option("--min-samples", min=1, help="Leave families with fewer files out.")
]
AllowResized = Annotated[
    bool,
    typer.Option("--allow-resized", help="Take resized copies of malimg's images as pictures."),
]
Unmapped = Annotated[
    int, typer.Option(min=0, max=255, help="The byte that ?? of a hex dump is read as.")
]
Root = Annotated[Path | None, typer.Option("--root", help="Where the labelled files are.")]
Goodware = Annotated[
    Path | None, typer.Option("--goodware", help="A folder of clean files: benign besides.")
]

Folds = Annotated[
    Path | None,
    typer.Option(help="Run of a cross-validation: each file by the net that held it back."),
]
SplitFile = Annotated[
    Path | None, typer.Option(help="The split.json of a run, instead of making it again.")
]
TestPart = Annotated[
    Path | None,
    typer.Option("--split-file", help="The split.json of a run: measure on its test part."),
]
Limit = Annotated[
    int | None, typer.Option(min=1, help="So many files, drawn with each label's share.")
]

Exclude = Annotated[list[str] | None, typer.Option(help="No names or paths like this.")]

NoArchives = Annotated[
    bool,
    typer.Option(
        "--no-archives", help=f"Take archives ({', '.join(KINDS)}) for files like any other."
    ),
]
Password = Annotated[
    list[str] | None,
    typer.Option("--password", help="Also tried on encrypted archives; may be given again."),
]
PasswordFile = Annotated[
    Path | None, typer.Option(help="More passwords to try: this file's, one a line.")
]
MaxMembers = Annotated[int, typer.Option(min=1, help="Files looked at in one archive.")]
MaxUnpacked = Annotated[int, typer.Option(min=1, help="MiB unpacked of one archive.")]
MaxRatio = Annotated[
    int, typer.Option(min=1, help="Bytes unpacked for each of an archive, beyond 64 MiB.")
]
MaxNesting = Annotated[int, typer.Option(min=1, help="Archives inside each other.")]
Carve = Annotated[bool, typer.Option("--carve", help="Also scan the programs inside programs.")]
MaxCarved = Annotated[int, typer.Option(min=1, help="Programs taken out of one program.")]
CARVED = 32
"""Programs taken out of one program where nothing is said."""
MIB = 1024 * 1024
MEMBERS, UNPACKED = limits.MAX_MEMBERS, limits.MAX_UNPACKED // MIB
RATIO, NESTING = limits.MAX_RATIO, limits.MAX_NESTING

Coverage = Annotated[
    float | None,
    typer.Option(
        "--coverage",
        min=0.5,
        max=0.999,
        help="How often prediction sets should hold the right label; by default as the model says.",
    ),
]
"""The range is that of `triage.prediction_sets`, which takes too long to import for `--help`."""

MIN_SAMPLES = datasets.MIN_SAMPLES
EXIT_FLAGGED, EXIT_ERROR, EXIT_UNREAD = 1, 2, 3
"""Exit codes besides 0: something flagged; wrong use or the tool failed; some files could
not be read; interrupted by Ctrl-C."""
