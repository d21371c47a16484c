"""`maltriage explain`: the bytes of a file that made its verdict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maltriage.cli import options as opt
from maltriage.cli.parser.misplaced import given
from maltriage.cli.rule import (
    Goodware,
    Labelled,
    Prevalence,
    Yara,
    alone,
    check_options,
    prevalence_of,
    write_rule,
)
from maltriage.errors import MaltriageError, need
from maltriage.report.documents.methods import DEFAULT, FROM_CHECKPOINT, METHODS
from maltriage.report.formats import EXPLAIN, OFFSETS

if TYPE_CHECKING:
    from maltriage.bundle import Bundle
    from maltriage.triage.methods import Mapper


if TYPE_CHECKING:
    Format = str
    Method = str
else:
    Format = opt.choice(EXPLAIN)
    Method = opt.choice(METHODS)


def explain(
    context: typer.Context,
    files: Annotated[
        list[str],
        typer.Argument(
            help="PE files, byteplot PNGs, URLs of them, - for stdin; or saved reports."
        ),
    ],
    model: opt.Model = None,
    index: opt.Index = None,
    label: Annotated[
        str | None,
        typer.Option("--class", help="Explain this label, e.g. maze; by default the verdict's."),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(help="Explain the score less that of this label, e.g. benign."),
    ] = None,
    method: Annotated[
        Method | None, typer.Option(help=f"Method of explanation; by default {DEFAULT}.")
    ] = None,
    methods: Annotated[
        str | None, typer.Option(help="Several methods side by side, e.g. hirescam,occlusion.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Run or checkpoint of the model, for methods that need it, e.g. runs/a."),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option("--verify/--no-verify", help="Check the evidence by masking bytes."),
    ] = True,
    known_good: opt.KnownGood = None,
    fpr: opt.Fpr = None,
    coverage: opt.Coverage = None,
    seed: opt.Seed = 0,
    record: Annotated[
        str | None,
        typer.Option(help="File of a saved report, by path, name or sha256, e.g. 3f2a91."),
    ] = None,
    sample: Annotated[
        str | None,
        typer.Option("--with", help="Explain this sample of a saved record anew, e.g. x.exe."),
    ] = None,
    format: Annotated[
        Format | None,
        typer.Option("--format", "-f", help="Format of the result.", show_default="table"),
    ] = None,
    output: opt.Output = None,
    offsets: Annotated[
        bool,
        typer.Option(
            "--offsets", help="List hot ranges and words for a disassembler: --format offsets."
        ),
    ] = False,
    png: Annotated[
        Path | None,
        typer.Option(callback=opt.spared, help="Also draw byteplot, heat and regions as PNG."),
    ] = None,
    svg: Annotated[
        Path | None, typer.Option(callback=opt.spared, help="Also draw the same picture as SVG.")
    ] = None,
    top: Annotated[int, typer.Option(min=0, help="Most rows of each table; 0: all.")] = 20,
    max_size: opt.MaxSize = 256,
    no_archives: opt.NoArchives = False,
    password: opt.Password = None,
    password_file: opt.PasswordFile = None,
    max_members: opt.MaxMembers = opt.MEMBERS,
    max_unpacked: opt.MaxUnpacked = opt.UNPACKED,
    max_ratio: opt.MaxRatio = opt.RATIO,
    max_nesting: opt.MaxNesting = opt.NESTING,
    max_time: opt.MaxTime = opt.SECONDS,
    device: opt.Device = "auto",
    threads: opt.Threads = 0,
    timeout: opt.Timeout = 60.0,
    no_inspect: Annotated[
        bool,
        typer.Option("--no-inspect", help="Neither show the content of hot ranges nor name words."),
    ] = False,
    yara: Yara = None,
    goodware: Goodware = None,
    labelled: Labelled = None,
    prevalence: Prevalence = None,
    signatures: Annotated[
        Path | None,
        typer.Option(help="FLIRT signatures that name library functions: a file or folder."),
    ] = None,
    exit_zero: opt.ExitZero = False,
    quiet: opt.Quiet = False,
    verbose: opt.LogAndTerms = 0,
    color: opt.ColorOption = "auto",
) -> None:
    """Explain files: the verdict of each, and which of its bytes decided.

    The contributions of the regions, the padding and the bias add up, in points of log odds. For a
    flagged file these are the log odds of malware (with a model of one question, the logit of its
    family less that of benign), otherwise the logit of the label less the mean of all labels; -v
    names the exact term. --class LABEL explains a label. --against LABEL subtracts that label's
    instead; if LABEL is the verdict, the likeliest other label is explained.

    A program in an archive is named archive.zip!x.exe; the name of the archive is enough if it has
    one program. Both may be at a URL, with the extra `remote`.

    Methods: hirescam is the gradient of the score times the activation; gradcam averages the
    gradient first. For an additive model both are the same map. occlusion is the loss of score
    when a window of bytes is masked by bytes drawn from the file. gradcam++, layercam, eigencam
    and scorecam need --checkpoint and PyTorch. The first of --methods gives the account.

    Checks: the bytes of each region and of the hottest ranges are masked and the model is run
    again. The loss of score is compared with the claim, and with the loss when as many bytes
    elsewhere are masked.

    Similar files: the three nearest in the model's index of labelled files (`maltriage index`), if
    it has one, and whether this very file is in it.

    A file in a list of hashes (--known-good FILE) gets the notice known-good, and is still
    explained.

    Hot ranges show their content: code, strings, imports, resources, header fields (-v lists
    them), and how much of it clean programs have, such as code of runtimes (--prevalence). With
    --signatures, e.g. those that come with FLOSS, functions of libraries are named.

    What a file was made with (compiler, packer, installer) is told by its headers, and by Detect It
    Easy where the extra `identify` is installed.

    Several files are explained one after the other; as json, with one record a line.

    --format html makes a page of one file for a browser, which needs no network. A file (-o) has
    the format of its ending unless --format names one; other endings are refused without it.

    --offsets lists the hot ranges and the strongest words, one a line with tabs: offset in the
    file, RVA, address, points, and what is there (docs/how-to/disassemblers.md).

    A saved report of `explain` or `scan` is shown again, without the sample; --record picks one of
    its files. --with FILE explains that file anew, with the model and the label of the record. It
    is refused if its sha256 differs.

    --yara RULE.yar makes a YARA rule of the strings in the hot ranges of one or more files of a
    family. What clean programs have is no string of it (--prevalence). The rule is tried on the
    files, on a folder of clean files (--goodware) and on labelled files (--labelled), before it is
    written. A file that shares too little with the others is left out and named. If no rule can be
    made, nothing is written and the exit code is 2. With -q, or as --yara -, the rule is all that
    is printed.
    """
    from contextlib import ExitStack

    from maltriage import bundle as bundles
    from maltriage.cli import replay
    from maltriage.cli.archives import archives
    from maltriage.cli.console import make_console, quiet_broken_pipe
    from maltriage.cli.files import keep, opened
    from maltriage.cli.known import known_lists
    from maltriage.cli.logs import show_logs
    from maltriage.cli.outputs import targets
    from maltriage.cli.pictures import Pictures
    from maltriage.cli.stdin import stdin_among
    from maltriage.cli.stop.ending import exit_code, stopping, tell
    from maltriage.cli.urls import refuse_folders, urls_among
    from maltriage.probe import detect_it_easy
    from maltriage.probe.inspect import library
    from maltriage.report.documents.record import Result, Summary
    from maltriage.report.formats import RenderOptions, open_renderer
    from maltriage.report.sanitize import clean
    from maltriage.source.files import WalkOptions
    from maltriage.triage.options import Progress, ScanOptions
    from maltriage.triage.pipeline import LocalScan
    from maltriage.triage.request import ScanRequest
    from maltriage.work.cores import cores
    from maltriage.work.forkserver import expect_urls, start_ahead

    show_logs(verbose)
    if offsets and format is not None and format != OFFSETS:
        raise MaltriageError("--offsets or --format, not both")
    files, remote = urls_among(files)
    if sample is not None:
        (sample,), remote = urls_among([sample])
    if remote is not None:
        refuse_folders([sample] if sample else files, remote)
    check_options(files, yara, goodware, labelled)
    rule_alone = alone(yara, format, output, quiet=quiet)
    common = prevalence_of(prevalence)
    if signatures is not None:
        need("identify", "signatures are matched by python-flirt", "flirt")
        library.signature_files(signatures)
        signatures = signatures.absolute()
    pictures = Pictures(png, svg)
    pictures.check(files)
    keep(files, output)
    named = OFFSETS if offsets else format
    (target,) = targets([output] if output else [], named, EXPLAIN)
    if target.format.single and len(files) > 1:
        raise MaltriageError(f"{target.format.title} shows one file: explain several one by one")
    saved, source, resources = None, None, ExitStack()
    if len(files) > 1:
        source = replay.picked_each(context, files, record, sample, quiet=quiet)
    else:
        saved = replay.picked(context, files[0], record, sample, quiet=quiet)
        source = saved.shown() if saved is not None and sample is None else None
    if source is None:
        expect_urls(files)
        start_ahead()
        if signatures is not None:
            _refuse_broken(signatures, max_size * opt.MIB, timeout)
        if saved is not None:
            bundle = saved.bundle(model)
            if not given(context, "fpr"):
                fpr = saved.rate_in(bundle, quiet=quiet)
            if label is None and against is None:
                label, against = saved.result.evidence.label, saved.result.evidence.against
            if method is None and methods is None:
                methods = saved.result.evidence.method
        else:
            bundle = bundles.at_rate(bundles.load(bundles.resolve(model)), fpr)
        chosen = _methods(method, methods)
        pictures.check_method(chosen[0])
        unpack = archives(
            context,
            no_archives,
            password,
            password_file,
            max_members,
            max_unpacked,
            max_ratio,
            max_nesting,
            max_time,
        )
        stdin = stdin_among([sample] if sample else files, max_size * opt.MIB, resources)
        if stdin is not None and (yara is not None or saved is not None):
            raise MaltriageError("-: --yara and --with need a file by name, not standard input")
        options = ScanOptions(
            archives=unpack,
            members="first",
            walk=WalkOptions(max_size=max_size * opt.MIB, stdin=stdin, remote=remote, in_part=True),
            device=device,
            jobs=min(2, cores()),  # one looks bytes up while the other masks some
            threads=threads,
            batch_size=1,
            timeout=timeout,
            label=label,
            against=against,
            fpr=fpr,
            coverage=coverage,
            known=known_lists(known_good or [], quiet=quiet),
            analyse_known=True,
            methods=chosen,
            mappers=_mappers(chosen, checkpoint, bundle),
            seed=seed,
            index=index,
            checks=0 if verify else None,
            identify=detect_it_easy.installed(),
            close=True,
            inspect=not no_inspect,
            common=common,
            signatures=signatures,
        )
        request = ScanRequest((sample,) if sample else tuple(files), bundle, options)
        local = LocalScan(request)
        source = local if saved is None else replay.HeldAgainst(saved, local)
    progress, records, read = Progress(), [], True
    with resources, opened(target.path) as out, stopping(in_time=True) as stop:
        console = make_console(color, file=out.text)
        shown = RenderOptions(top=top, verbose=verbose > 0)
        renderer = open_renderer(target.format, out.binary, shown, console)
        for item in source.records(progress, stop):
            if isinstance(item, Summary):
                continue
            records.append(item)
            if isinstance(item, Result):
                pictures.write(item)
            if isinstance(item, Result) or target.format.failures:
                if read and not rule_alone:
                    with quiet_broken_pipe() as pipe:
                        renderer.write(item)
                    read = not pipe.broken
                if not read and yara is None:
                    break
            else:
                typer.echo(f"maltriage: {clean(item.path)}: {clean(item.reason)}", err=True)
    tell(progress, quiet=quiet)
    if yara is not None and not stop():
        limit = max_size * opt.MIB
        write_rule(
            yara,
            records,
            bundle,
            goodware,
            labelled,
            common,
            max_size=limit,
            timeout=timeout,
            quiet=quiet,
            archives=unpack,
            remote=remote,
        )
    if progress.skipped:  # the user named this file
        raise typer.Exit(opt.EXIT_UNREAD)
    raise typer.Exit(exit_code(progress, interrupted=stop(), exit_zero=exit_zero))


def _refuse_broken(folder: Path, max_size: int, timeout: float) -> None:
    """Refuse a folder of signatures that cannot be read, or a file of them.

    They are parsed in a worker of their own, since their parser is native code, and a worker that
    reads samples, too, is not believed about anything else.

    Args:
        folder: an absolute path.
        max_size: of a sample, by which the workers that use them get their memory.

    Raises:
        MaltriageError: one of them is broken.
    """
    from maltriage.probe.inspect import library
    from maltriage.work.isolation import Isolation, memory_for
    from maltriage.work.workers import Workers, reason_of

    with Workers(1, timeout, isolation=Isolation(memory_for(max_size))) as workers:
        try:
            problem = workers.submit(library.problem_of, folder).result()
        except MaltriageError:
            raise
        except Exception as error:  # any loss of the worker
            reason = reason_of(error, timeout).reason
            problem = f"{folder}: no FLIRT signatures: {reason}"
    if problem is not None:
        raise MaltriageError(str(problem))


def _methods(one: Method | None, several: str | None) -> tuple[str, ...]:
    if several is None:
        return (one if one else DEFAULT,)
    if one is not None:
        raise MaltriageError("--method or --methods, not both")
    return tuple(name.strip() for name in several.split(","))


def _mappers(
    methods: tuple[str, ...], checkpoint: Path | None, bundle: Bundle
) -> dict[str, Mapper]:
    """Mappers of the methods that need the checkpoint."""
    wanted = [name for name in methods if name in FROM_CHECKPOINT]
    if not wanted:
        if checkpoint is not None:
            names = ", ".join(sorted(FROM_CHECKPOINT))
            raise MaltriageError(f"--checkpoint goes with a method of {names}")
        return {}
    from maltriage.cli.training.extra import need_torch

    need_torch(f"method {wanted[0]}", "pytorch_grad_cam")
    if checkpoint is None:
        raise MaltriageError(
            f"method {wanted[0]} needs the net itself: name the run of the model with --checkpoint"
        )
    from maltriage.learn.heat.cams import open_maps

    return {**open_maps(checkpoint, bundle, wanted)}
