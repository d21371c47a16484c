"""`maltriage scan`: triage files and folders."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maltriage.cli import options as opt
from maltriage.errors import MaltriageError, need
from maltriage.report.formats import SCAN

if TYPE_CHECKING:
    from maltriage.cli.outputs import Target
    from maltriage.cluster.shards import Shards
    from maltriage.report.scan.progress import ScanProgress
    from maltriage.triage.request import RecordSource, ScanRequest


if TYPE_CHECKING:
    Format = str
else:
    Format = opt.choice(SCAN)


def scan(
    context: typer.Context,
    paths: Annotated[
        list[str] | None,
        typer.Argument(help="Files, folders, URLs, - for stdin, or saved reports."),
    ] = None,
    model: opt.Model = None,
    index: opt.Index = None,
    cache: opt.Cache = None,
    no_cache: opt.NoCache = False,
    refresh: opt.Refresh = False,
    resume: opt.Resume = False,
    format: Annotated[
        Format | None,
        typer.Option("--format", "-f", help="Format of the result.", show_default="table"),
    ] = None,
    output: opt.Outputs = None,
    fields: opt.FieldNames = None,
    ecs: opt.Ecs = False,
    ecs_host: opt.EcsHost = None,
    only: opt.Only = None,
    top: opt.Rows = None,
    depth: opt.Depth = None,
    include: opt.Include = None,
    exclude: opt.Exclude = None,
    follow: opt.Follow = False,
    files_from: opt.FilesFrom = None,
    null: opt.Null = False,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Triage files as they appear in the folders, until Ctrl-C (extra watch).",
        ),
    ] = False,
    hashes: Annotated[
        bool, typer.Option("--hashes", help="Also compute md5, sha1 and TLSH.")
    ] = False,
    identify: Annotated[
        bool,
        typer.Option(
            "--identify", help="Name compilers and packers by Detect It Easy too (extra identify)."
        ),
    ] = False,
    groups: Annotated[
        bool, typer.Option(help="One row for similar files; each record names its group.")
    ] = True,
    known_good: opt.KnownGood = None,
    analyse_known: opt.AnalyseKnown = False,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Check the evidence of the --top files by masking bytes."),
    ] = False,
    fpr: opt.Fpr = None,
    coverage: opt.Coverage = None,
    seed: opt.Seed = 0,
    max_size: opt.MaxSize = 256,
    no_archives: opt.NoArchives = False,
    password: opt.Password = None,
    password_file: opt.PasswordFile = None,
    max_members: opt.MaxMembers = opt.MEMBERS,
    max_unpacked: opt.MaxUnpacked = opt.UNPACKED,
    max_ratio: opt.MaxRatio = opt.RATIO,
    max_nesting: opt.MaxNesting = opt.NESTING,
    max_time: opt.MaxTime = opt.SECONDS,
    carve: opt.Carve = False,
    max_carved: opt.MaxCarved = opt.CARVED,
    device: opt.Device = "auto",
    jobs: opt.Jobs = 0,
    threads: opt.Threads = 0,
    engines: opt.Engines = 0,
    batch_size: opt.BatchSize = 16,
    timeout: opt.Timeout = 60.0,
    engine: opt.Engine = "local",
    address: opt.Address = None,
    shards: opt.Shards = None,
    exit_zero: opt.ExitZero = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = 0,
    color: opt.ColorOption = "auto",
) -> None:
    """Triage files and folders: the family of each file, and the region that speaks most for it.

    Folders are walked to the bottom. PE files, byteplot PNGs and hex dumps (.bytes) of a kind that
    the model knows are read; other files are skipped. The table lists the most urgent files first.

    Programs in archives are samples, named archive.zip!x.exe. They are read in memory, also with
    the passwords infected, malware and virus.

    URLs need the extra `remote`: s3://bucket/folder and other stores are walked,
    http(s)://host/x.exe is a single file. Credentials come from the environment; passwords and
    signatures in a URL are not shown.

    Saved reports (--format ndjson or json) are shown again, in any format and without the
    samples; several as one.

    Each file is compared with the model's index of labelled files (`maltriage index`), if it has
    one: records and pages have the three nearest, the table has the nearest if there is room.

    Similar files are a group: one row of the table, with the most urgent of them, how many they
    are and what they share (docs/how-to/groups.md). `maltriage group` lists the members.

    Files in a list of hashes (--known-good FILE, repeatable) are counted as known good and not
    analysed. A list is sorted once and kept in the cache.

    What a file was made with (compiler, packer, installer) is told from its headers. --identify
    asks Detect It Easy as well, with the extra `identify`: it knows far more, and takes longer than
    everything else. The table then has a column for it.

    --verify checks the evidence of the first --top files, much as `explain` does. In every format
    these files then come last, the most urgent first.

    Results are kept in the user's cache folder (--cache names another; `maltriage cache`). A file
    that has not changed since (size, times, inode) is not read again. --refresh reads everything
    anew; --no-cache neither reads nor writes the cache. The same command with --resume goes on
    with a scan that was stopped or killed: files that it had seen are not read again, failures
    included, and outputs are complete.

    --engine ray scans on the nodes of a Ray cluster, with the extra `ray`: the same records in the
    same order. Nodes must see the files at the same paths; --jobs counts for each actor
    (docs/how-to/scale.md). With --shards DIR the nodes write the result as shards.

    --format html -o FILE makes one page for a browser: a table to sort and filter, and the evidence
    of every file. It needs no network and lists all files, whatever --top is.

    --watch waits for files that appear in the folders or change there, and writes their records as
    NDJSON at once; with -o FILE it appends them. Files that are there already are not read, and no
    results are kept. Ctrl-C or SIGTERM ends it, which is no failure (docs/how-to/watch.md).

    --fields takes columns of CSV and paths into records (verdict.label);
    docs/reference/outputs.md lists the names of --ecs.

    -o out.ndjson -o out.html -o - writes two files and shows the table as well. A file has the
    format of its ending; --format is for stdout, for a single file, and for other endings, which
    are refused without it. A file is called NAME.part until it is complete.
    """
    from contextlib import ExitStack

    from maltriage.cli.commands.cache import nothing_kept, policy_of
    from maltriage.work.forkserver import expect_urls, start_ahead

    expect_urls(paths or [])
    local = engine == "local"
    if local and (no_cache or refresh or nothing_kept(cache)):
        start_ahead()  # not otherwise: perhaps no file has to be read

    from maltriage import bundle as bundles
    from maltriage.cli import replay
    from maltriage.cli.archives import archives
    from maltriage.cli.asked import Asked
    from maltriage.cli.files import keep
    from maltriage.cli.known import contradicted, known_lists
    from maltriage.cli.logs import show_logs
    from maltriage.cli.outputs import (
        STDOUT,
        Target,
        check_ecs,
        chosen_fields,
        opened_all,
        targets,
    )
    from maltriage.cli.parser.misplaced import refuse
    from maltriage.cli.shards import shards_at, tell_shards
    from maltriage.cli.stdin import is_stdin, stdin_among
    from maltriage.cli.stop.ending import write_records
    from maltriage.cli.urls import urls_among
    from maltriage.report.formats import RenderOptions, find
    from maltriage.report.sanitize import clean
    from maltriage.report.saved.narrow import Narrow
    from maltriage.results.policy import Policy
    from maltriage.source.files import WalkOptions
    from maltriage.triage.engines.machine import MachineScan
    from maltriage.triage.options import ScanOptions
    from maltriage.triage.request import Grouped, ScanRequest

    show_logs(verbose)
    if identify:
        need("identify", "Detect It Easy names compilers and packers", "die")
    if local and (address is not None or shards is not None):
        raise MaltriageError("--address and --shards go with --engine ray")
    named_format = format
    if watch:
        from maltriage.cli import watch as watching

        watching.check_options(
            paths or [],
            files_from=files_from,
            verify=verify,
            resume=resume,
            refresh=refresh,
            cache=cache,
            engines=engines,
            engine="" if local else engine,
            top=top,
        )
        named_format = watching.format_of(named_format, output or [])
    files = [path for path in output or [] if path != STDOUT]
    named, _ = urls_among(paths or [])
    piped = any(map(is_stdin, named))
    keep(named, *files)
    wanted = targets(output or [], named_format)
    if shards is not None:  # the options below are checked against it
        wanted = [Target(None, find(named_format or "ndjson"))]
    if watch:
        watching.check_formats(wanted, "--ecs" if ecs else "--fields" if fields else None)
    if ecs_host is not None and not ecs:
        raise MaltriageError("--ecs-host goes with --ecs")
    check_ecs(ecs, fields, wanted)
    chosen = chosen_fields(fields, wanted)
    shown = RenderOptions(top, show_skipped=verbose > 0, fields=chosen, ecs=ecs, host=ecs_host)
    parts = None
    if shards is not None:
        others = {"-o": output, "--cache": cache, "--refresh": refresh}
        parts = shards_at(shards, named_format, shown, resume=resume, refused=others)
    refuse(context, () if verify else ("seed",), "with --verify")
    if analyse_known and not known_good:
        raise MaltriageError("--analyse-known goes with --known-good")
    resources = ExitStack()
    with resources:
        source: RecordSource
        asked, nothing, list_name = None, False, f"--files-from {files_from}"
        policy = Policy()  # of no store
        if not watch and replay.reports_among(context, named):
            asked_for = Narrow.of(only or (), include or (), exclude or ())
            source = replay.Replay.of_reports(named, asked_for, quiet=quiet)
        else:
            refuse(context, ("only",), "with a saved report")
            of_list = _listed(files_from, null)
            roots, remote = urls_among([*(paths or []), *of_list])
            if not roots and files_from is None:
                raise MaltriageError("nothing to scan: name files or folders, or use --files-from")
            nothing = files_from is not None and not of_list
            bundle = bundles.load(bundles.resolve(model))
            bundles.at_rate(bundle, fpr)  # refused before anything starts
            options = ScanOptions(
                archives=archives(
                    context,
                    no_archives,
                    password,
                    password_file,
                    max_members,
                    max_unpacked,
                    max_ratio,
                    max_nesting,
                    max_time,
                    max_carved if carve else 0,
                ),
                members="each",
                walk=WalkOptions(
                    depth,
                    tuple(include or ()),
                    tuple(exclude or ()),
                    max_size * opt.MIB,
                    tuple(map(os.path.realpath, files)),
                    stdin_among(roots, max_size * opt.MIB, resources, files_from),
                    remote,
                    in_part=True,
                    follow=follow,
                ),
                device=device,
                jobs=jobs,
                threads=threads,
                engines=engines,
                batch_size=batch_size,
                timeout=timeout,
                hashes=hashes,
                identify=identify,
                seed=seed,
                index=index,
                fpr=fpr,
                coverage=coverage,
                known=known_lists(known_good or [], quiet=quiet, no_cache=no_cache),
                analyse_known=analyse_known,
                checks=_rows(top) if verify else None,
            )
            told = None if quiet else contradicted(options.known, bundle, index)
            if told:
                typer.echo(f"maltriage: {told}", err=True)
            if parts is None and not watch:
                kept = policy_of(
                    bundle,
                    roots,
                    options,
                    cache,
                    no_cache=no_cache,
                    refresh=refresh,
                    resume=resume,
                    quiet=quiet,
                )
                policy = resources.enter_context(kept)
            elif parts is not None:
                wanted = []  # no record passes here
            request = ScanRequest(tuple(roots), bundle, options, policy)
            if watch:
                source = watching.Watching(request, quiet)
            else:
                source = MachineScan(request) if local else _on_cluster(request, address, parts)
                if parts is None:
                    by_hand = len(paths or [])
                    filtered = bool(include or exclude)
                    listed = roots[by_hand:]
                    asked = Asked(roots[:by_hand], listed, list_name, filtered=filtered)
        if parts is None:
            source = Grouped(source, groups and not watch)  # a watch has no end to memory
        outputs = opened_all(wanted, shown, color, append=watch)
        code = write_records(
            source,
            outputs,
            _status(wanted, color, quiet or verbose > 0 or watch),
            quiet,
            exit_zero,
            asked,
            resumes=lambda: not piped and (parts is not None or policy.resumable),
            endless=watch,
        )
    if parts is not None and not quiet:
        tell_shards(source)
    if nothing and not code:  # of this a nightly job wants to hear, and the outputs say so too
        typer.echo(f"maltriage: {clean(list_name)}: nothing was triaged: it is empty", err=True)
        code = opt.EXIT_UNREAD
    raise typer.Exit(code)


def _rows(top: int | None) -> int:
    """The rows of the table."""
    from maltriage.report.scan.table import DEFAULT_TOP

    return DEFAULT_TOP if top is None else top


def _status(wanted: Sequence[Target], color: opt.Color, quiet: bool) -> ScanProgress:
    """Progress on stderr, unless records stream to the same terminal."""
    from maltriage.cli.console import make_console
    from maltriage.report.scan.progress import ScanProgress

    streams = any(t.path is None and not t.format.screen for t in wanted) and sys.stdout.isatty()
    return ScanProgress(make_console(color, stderr=True), enabled=not quiet and not streams)


def _on_cluster(request: ScanRequest, address: str | None, shards: Shards | None) -> RecordSource:
    """A scan on a Ray cluster; without a store if `shards` is given.

    Raises:
        MaltriageError: Ray is not installed, or an option does not go with it.
    """
    from maltriage.cluster import engine as cluster
    from maltriage.cluster.connection import LOCAL

    cluster.check(request.options)
    if shards is None:
        return cluster.ClusterScan(request, address or LOCAL)
    return cluster.ShardedScan(request, shards, address or LOCAL)


def _listed(files_from: str | None, null: bool) -> list[str]:
    from maltriage.source.files import read_list

    if files_from is None:
        if null:
            raise MaltriageError("--null says how the list of --files-from is written: name one")
        return []
    if files_from == "-":
        return read_list(sys.stdin.buffer.read(), "standard input", null=null)
    try:
        data = Path(files_from).read_bytes()
    except OSError as error:
        raise MaltriageError(f"cannot read {files_from}: {error.strerror}") from error
    return read_list(data, files_from, null=null)
