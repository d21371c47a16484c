"""Command-line options that several commands share, with their help."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from maltriage.corpus import datasets
from maltriage.report.formats import SCAN, endings, listed
from maltriage.source.archive import limits
from maltriage.source.archive.kinds import KINDS

Color = Literal["auto", "always", "never"]


DeviceName = Literal["auto", "cpu", "cuda"]


EngineName = Literal["local", "ray"]


def choice(values: Iterable[str]) -> Any:
    """The type of an option that takes one of these values, which mypy is not told."""
    return Literal[tuple(values)]


Engine = Annotated[EngineName, typer.Option(help="Where to scan: local, or ray for a Ray cluster.")]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        help="The Ray cluster: auto, HOST:PORT or e.g. ray://head:10001; by default a local one.",
    ),
]
Shards = Annotated[
    Path | None,
    typer.Option(
        "--shards",
        help="With --engine ray: nodes write the result as shards into this folder, e.g. out/.",
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="A bundle: a file or shipped name, by default maltriage-evidence-int8.",
    ),
]
Bundle = Annotated[
    str | None,
    typer.Argument(help="A bundle: a file or shipped name, by default maltriage-evidence-int8."),
]
Device = Annotated[DeviceName, typer.Option(help="Where the model runs.")]
Jobs = Annotated[
    int,
    typer.Option("--jobs", "-j", min=0, max=1024, help="Worker processes; 0: one a core."),
]
Threads = Annotated[
    int, typer.Option(min=0, max=1024, help="Threads of the model; 0: by the number of cores.")
]
Engines = Annotated[
    int,
    typer.Option(
        min=0, max=256, help="Processes that run the model and share --jobs; 0: by the cores."
    ),
]
BatchSize = Annotated[int, typer.Option(min=1, max=4096, help="Samples in one forward pass.")]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds allowed for reading one file.")]
MaxSize = Annotated[
    int,
    typer.Option(
        min=1,
        max=1_048_576,
        help="Most MiB to read of a file; larger programs are read in part, others skipped.",
    ),
]
Index = Annotated[
    str | None,
    typer.Option(
        "--index",
        help="Index of labelled files to compare with, e.g. MODEL.index.npz, or none;"
        " by default the model's.",
    ),
]
Cache = Annotated[
    Path | None,
    typer.Option("--cache", help="Folder of kept results; by default in the user's cache folder."),
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Keep no results and look none up.")]
Refresh = Annotated[
    bool, typer.Option("--refresh", help="Read every file anew and keep the new results.")
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the same scan after it was stopped or killed.")
]
ExitZero = Annotated[
    bool,
    typer.Option("--exit-zero", help="Exit with 0 even if files are flagged or known malware."),
]
KnownGood = Annotated[
    list[str] | None,
    typer.Option(
        "--known-good",
        help="File of known good hashes: sha256, sha1 or md5, one a line, or a CSV of the NSRL,"
        " e.g. NSRLFile.txt.",
    ),
]
AnalyseKnown = Annotated[
    bool,
    typer.Option("--analyse-known", help="Analyse known good files too, with a notice."),
]
Seed = Annotated[
    int, typer.Option(min=0, help="Seed of random draws, e.g. of the bytes that mask others.")
]


def spared(path: Path | None) -> Path | None:
    """The place of a result, which must be no sample: a slip of the shell would destroy it."""
    if path is not None and path.is_file():
        from maltriage.cli.files import refuse_sample

        refuse_sample(path)
    return path


Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        callback=spared,
        help="Write the result here instead of stdout; as JSON if its name ends in .json.",
    ),
]
_ENDINGS = ", ".join(endings())
_SELECTIVE = listed((format for format in SCAN.values() if format.selective), "and")
_ECS = listed((format for format in SCAN.values() if format.ecs), "and")
Outputs = Annotated[
    list[Path] | None,
    typer.Option(
        "--output",
        "-o",
        help="Write the result here instead of stdout, in the format of the ending"
        f" ({_ENDINGS}); repeatable; - for stdout, e.g. -o out.csv -o -.",
    ),
]
FieldNames = Annotated[
    str | None,
    typer.Option(
        "--fields",
        help=f"Fields of each record in {_SELECTIVE}, e.g. path,verdict.label.",
    ),
]
Ecs = Annotated[
    bool,
    typer.Option("--ecs", help=f"Use names of the Elastic Common Schema in {_ECS}."),
]
EcsHost = Annotated[
    str | None,
    typer.Option(help="host.name of ECS events: where the files are, e.g. --ecs-host $(hostname)."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no notices on stderr.")]
Verbose = Annotated[
    int,
    typer.Option(
        "--verbose",
        "-v",
        count=True,
        show_default=False,
        help="Log on stderr, with -vv also each file; the table lists skipped files.",
    ),
]
LogLevel = Annotated[
    int,
    typer.Option(
        "--verbose",
        "-v",
        count=True,
        show_default=False,
        help="Log on stderr, with -vv also each file.",
    ),
]
LogAndTerms = Annotated[
    int,
    typer.Option(
        "--verbose",
        "-v",
        count=True,
        show_default=False,
        help="Log on stderr, with -vv also each file; exact terms and all header fields.",
    ),
]
ColorOption = Annotated[Color, typer.Option("--color", help="Colours; NO_COLOR is honoured.")]
_PLACED = ", ".join(name for name, entry in datasets.DATASETS.items() if not entry.any_tree)
DatasetName = Annotated[
    str, typer.Option("--dataset", help=f"Dataset: {_PLACED}, or folder for any tree.")
]
MinSamples = Annotated[
    int,
    typer.Option(
        "--min-samples", min=1, help="Name no family of fewer files: _other, or left out."
    ),
]
AllowResized = Annotated[
    bool,
    typer.Option("--allow-resized", help="Accept resized copies of malimg's images as pictures."),
]
Unmapped = Annotated[int, typer.Option(min=0, max=255, help="Byte for ?? in a hex dump, e.g. 255.")]
Root = Annotated[
    list[Path] | None,
    typer.Option("--root", help="Folder of the labelled files; repeatable, to join several."),
]
Goodware = Annotated[
    Path | None, typer.Option("--goodware", help="Folder of clean files to add as benign.")
]

Split = Annotated[
    str,
    typer.Option(
        help="Split: grouped keeps near duplicates in one part, random does not, time tests on the"
        " newest; a column of manifest.csv or labels.csv, e.g. source, makes a fold of each of its"
        " values, trained on the others; source=A+B holds back A and B together."
    ),
]
By = Annotated[
    str | None,
    typer.Option(
        "--by",
        help="Figures for each value of this column of manifest.csv or labels.csv, e.g. source.",
    ),
]
Folds = Annotated[
    Path | None,
    typer.Option(help="Run of a cross-validation: measure out of fold, e.g. runs/cv5."),
]
SplitFile = Annotated[
    Path | None,
    typer.Option(help="Use the split of a run instead of a new one, e.g. runs/a/split.json."),
]
TestPart = Annotated[
    Path | None,
    typer.Option(
        "--split-file", help="Measure on the test part of this split, e.g. runs/a/split.json."
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Number of files to draw, stratified by label; at least one of each, if so many fit.",
    ),
]

KindFiles = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Clean files that a kind needs for its own threshold, e.g. 300; by default 3 / fpr.",
    ),
]

Rows = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Most rows of the table; 0: all. By default 50; where nothing is flagged, 20, and"
        " none of clean files unless all fit.",
    ),
]
Depth = Annotated[
    int | None, typer.Option(min=0, help="Most levels of folders, e.g. 1; by default all.")
]
FilesFrom = Annotated[
    str | None,
    typer.Option(help="Read paths from this file, one a line, e.g. list.txt; - for stdin."),
]
Null = Annotated[
    bool,
    typer.Option(
        "--null", "-0", help="Paths of --files-from end with NUL, as find -print0 writes them."
    ),
]
Include = Annotated[
    list[str] | None,
    typer.Option(
        help="Read only files whose name matches, e.g. '*.exe', or path, e.g. '*/pc03/*';"
        " repeatable."
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(help="Skip names or paths that match, e.g. '*.dll'; repeatable."),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        metavar="<word>",
        help="Only these records of a saved report, e.g. flagged,unknown or 64-bit.",
    ),
]

Follow = Annotated[
    bool, typer.Option("--follow", help="Follow symbolic links, also out of the folder.")
]

NoArchives = Annotated[
    bool,
    typer.Option(
        "--no-archives",
        help=f"Do not open archives ({', '.join(KINDS)}): treat them as plain files.",
    ),
]
Password = Annotated[
    list[str] | None,
    typer.Option(
        "--password", help="Password to try on encrypted archives, e.g. infected; repeatable."
    ),
]
PasswordFile = Annotated[
    Path | None, typer.Option(help="File of passwords to try, one a line, e.g. passwords.txt.")
]
MaxMembers = Annotated[int, typer.Option(min=1, help="Most files to read in one archive.")]
MaxUnpacked = Annotated[int, typer.Option(min=1, help="Most MiB to unpack from one archive.")]
MaxRatio = Annotated[
    int,
    typer.Option(
        min=1, help="Most bytes to unpack per byte of an archive, beyond 64 MiB, e.g. 250."
    ),
]
MaxNesting = Annotated[int, typer.Option(min=1, help="Most archives inside each other.")]
MaxTime = Annotated[
    float, typer.Option(min=1.0, help="Most seconds for one archive and all that is in it.")
]
Carve = Annotated[
    bool,
    typer.Option(
        "--carve",
        help="Also scan programs inside programs, in archives in them, and packed by UPX.",
    ),
]
MaxCarved = Annotated[int, typer.Option(min=1, help="Most programs to carve from one program.")]
CARVED = 32
"""Default for the programs carved from one program."""
MIB = 1024 * 1024
MEMBERS, UNPACKED = limits.MAX_MEMBERS, limits.MAX_UNPACKED // MIB
RATIO, NESTING, SECONDS = limits.MAX_RATIO, limits.MAX_NESTING, limits.MAX_SECONDS

Fpr = Annotated[
    float | None,
    typer.Option(
        "--fpr",
        min=1e-6,
        max=0.5,
        help="Flag at this false-positive rate, one that the model has a threshold for, e.g. 0.05;"
        " by default its own (`maltriage models NAME`).",
    ),
]
Coverage = Annotated[
    float | None,
    typer.Option(
        "--coverage",
        min=0.5,
        max=0.999,
        help="Share of prediction sets that hold the right label, e.g. 0.95; by default the"
        " model's.",
    ),
]
"""Its range is that of `triage.prediction_sets`, which takes too long to import for `--help`."""

MIN_SAMPLES = datasets.MIN_SAMPLES
EXIT_FLAGGED, EXIT_ERROR, EXIT_UNREAD = 1, 2, 3
"""Exit codes besides 0: files flagged, or known malware; wrong use or a failure of the tool; files
unreadable."""
