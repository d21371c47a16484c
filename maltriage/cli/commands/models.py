"""`maltriage models`: the models that are installed, their cards, and models of the user's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from maltriage.errors import MaltriageError

if TYPE_CHECKING:
    from maltriage.bundle import Bundle, Threshold
    from maltriage.triage.prediction_sets import SetRule


class _Models(TyperGroup):
    """The commands; without one, `list`, and with the name of a model, `show`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if ctx.resilient_parsing:  # a shell asks what could stand here
            pass
        elif not args:
            args = ["list"]
        elif args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["show", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    name="models",
    cls=_Models,
    help="List models, show a card, add and remove models of your own.",
    rich_markup_mode=None,
)

Force = Annotated[bool, typer.Option("--force", help="Replace a model of this name.")]
Digest = Annotated[
    str | None,
    typer.Option(metavar="HEX", help="Refuse any other file. A URL of an own model needs it."),
]


@app.command("list")
def list_() -> None:
    """List the models that are installed, and published ones that are not.

    Each is compared with the list of published digests, and so is its index.
    """
    from maltriage import bundle as bundles
    from maltriage.bundle import added
    from maltriage.report.sanitize import clean

    for name, path in sorted(bundles.installed().items()):
        try:
            bundle = bundles.load(path)
        except MaltriageError as error:
            typer.echo(clean(f"{name}  {error}"))
            continue
        default = "  (default)" if name == bundles.DEFAULT_MODEL else ""
        size = f"{len(bundle.card.labels)} labels  {len(bundle.model)} B"
        typer.echo(clean(f"{name}  {size}  {'; '.join(_standing(bundle))}{default}"))
    for name, found in added.records():
        if isinstance(found, MaltriageError):
            typer.echo(clean(f"{name}  {found}"))
    for entry in bundles.missing():
        command = bundles.how_to_add(entry.name + added.MODEL_SUFFIX)
        typer.echo(clean(f"{entry.name}  not installed: {command}"))


@app.command()
def show(
    model: Annotated[
        str,
        typer.Argument(help="A bundle: a file or a model's name, e.g. maltriage-evidence."),
    ],
    json: Annotated[bool, typer.Option("--json", help="The card as JSON.")] = False,
) -> None:
    """Show the card of a model, and how it stands to the published ones."""
    import msgspec

    from maltriage import bundle as bundles
    from maltriage.report.sanitize import clean
    from maltriage.triage.prediction_sets import set_rule

    bundle = bundles.load(bundles.resolve(model))
    card = bundle.card
    text = msgspec.json.format(msgspec.json.encode(card)).decode()
    if json:
        typer.echo(text)
        return
    from rich.text import Text

    from maltriage.cli.console import make_console
    from maltriage.report.tabular import fact_table

    table = fact_table()
    values = msgspec.to_builtins(card)
    if card.conformal is not None:
        del values["conformal"]["scores"]  # a thousand numbers; summed up below
    if card.open_set is not None:
        del values["open_set"]["means"]
    for name, value in values.items():
        shown = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        table.add_row(Text(name, "bold"), Text(clean(shown), overflow="fold"))
    console = make_console("auto")
    console.print(table)
    console.print()
    for line in _standing(bundle):
        console.print(Text(clean(line)), soft_wrap=True)
    if card.threshold is not None:
        console.print()
        console.print(Text(clean(_in_words(card.threshold))), soft_wrap=True)
        for line in _points(card.threshold):
            console.print(Text(clean(line)), soft_wrap=True)
    rule = set_rule(card)
    if rule is not None:
        console.print()
        console.print(Text(clean(_sets(card.labels, rule))), soft_wrap=True)


@app.command()
def add(
    file: Annotated[str, typer.Argument(help="A bundle or an index: a file or a URL.")],
    name: Annotated[
        str | None, typer.Option(help="Name of the model, e.g. mine; by default that of the file.")
    ] = None,
    sha256: Digest = None,
    index: Annotated[
        str | None,
        typer.Option(
            help="Its index of labelled files, a file or a URL; by default the one beside the file."
        ),
    ] = None,
    index_sha256: Digest = None,
    force: Force = False,
) -> None:
    """Add a model: its name can then stand where a model is asked for.

    Files are copied to a folder of your own ($MALTRIAGE_MODELS, else
    ~/.local/share/maltriage/models), after they were checked as models are whenever they are read.
    A NAME.index.npz alone goes to the model NAME. A file from a URL must be a published one, or
    have the digest that --sha256 gives.
    """
    from maltriage.bundle import MAX_BUNDLE_BYTES, adding, fetch
    from maltriage.report.sanitize import clean
    from maltriage.similar.index_file import MAX_INDEX_BYTES
    from maltriage.source.urls import shown

    called = name or fetch.name_of(file)
    model_data = index_data = None
    if fetch.is_index(file):
        if index is not None:
            raise MaltriageError(f"{shown(file)}: an index; --index goes with a bundle")
        index_data = fetch.fetched(file, called, sha256, MAX_INDEX_BYTES)
    else:
        model_data = fetch.fetched(file, called, sha256, MAX_BUNDLE_BYTES)
        index = index or fetch.index_beside(file)
        if index is not None:
            index_data = fetch.fetched(index, called, index_sha256, MAX_INDEX_BYTES)
        elif index_sha256 is not None:
            raise MaltriageError("--index-sha256 goes with --index")
    found = adding.add(
        called, shown(file), _check_index, model=model_data, index=index_data, force=force
    )
    what = " and ".join(
        part for part, there in (("model", found.sha256), ("index", found.index_sha256)) if there
    )
    typer.echo(clean(f"{found.name}: {what} in {_place(found.name)}"))


@app.command()
def verify(
    name: Annotated[
        str | None, typer.Argument(help="A model that is installed; by default all.")
    ] = None,
) -> None:
    """Read installed models anew, and hold them to their digests.

    Ends with 1 if a file is not the one that was published or added.
    """
    from maltriage import bundle as bundles
    from maltriage.bundle import added, adding
    from maltriage.probe.common import SHIPPED
    from maltriage.report.sanitize import clean

    problems: dict[str, str | None] = {}
    for path in bundles.shipped():
        if name in (None, path.stem):
            bundle = bundles.load(path)
            wrong = bundles.standing_of(bundle).state != "published"
            problems[path.stem] = "; ".join(_standing(bundle)) if wrong else None
    clean_programs = bundles.models_dir() / SHIPPED
    if name in (None, SHIPPED) and clean_programs.exists():
        standing = bundles.data_standing(clean_programs)
        problems[SHIPPED] = None if standing.state == "published" else standing.text
    for called, found in added.records():
        if name in (None, called):
            if isinstance(found, MaltriageError):
                problems[called] = str(found)
            else:
                own = adding.problem_of(found, _check_index)
                problems[called] = problems.get(called) or own
    if name is not None and not problems:
        raise MaltriageError(f"no model {name} is installed: maltriage models lists those that are")
    for called, problem in sorted(problems.items()):
        typer.echo(clean(f"{called}: {problem or 'as it was published or added'}"))
    raise typer.Exit(1 if any(problems.values()) else 0)


@app.command()
def remove(name: Annotated[str, typer.Argument(help="A model that was added.")]) -> None:
    """Remove a model that was added, and its index."""
    from maltriage.bundle import adding
    from maltriage.report.sanitize import clean

    adding.remove(name)
    typer.echo(clean(f"{name}: removed"))


def _check_index(data: bytes, bundle: Bundle, path: str) -> None:
    """Raise MaltriageError where bytes are no index of a bundle."""
    from maltriage.similar import index_file

    index_file.parse(data, path, bundle)


def _place(name: str) -> Path:
    from maltriage.files.places import models_dir

    return models_dir() / name


def _standing(bundle: Bundle) -> list[str]:
    """How a bundle stands to the published ones, and its index."""
    import hashlib

    from maltriage import bundle as bundles
    from maltriage.bundle.digests import published
    from maltriage.similar import index_file

    standing, index = bundles.standing_of(bundle), index_file.beside(bundle)
    if index is not None:
        return [standing.text, f"index {bundles.index_standing(index).text}"]
    digest = hashlib.sha256(bundle.model).hexdigest()
    for entry in published():
        if entry.sha256 == digest and entry.index_sha256:
            command = bundles.how_to_add(entry.name + index_file.SUFFIX)
            return [standing.text, f"index not installed: {command}"]
    return [standing.text]


def _sets(labels: tuple[str, ...], rule: SetRule) -> str:
    """The least probability with which each label is in a file's set."""
    least = ", ".join(
        f"{label} {max(0.0, 1.0 - limit):.4f}{'*' if label in rule.pooled else ''}"
        for label, limit in zip(labels, rule.limits, strict=True)
    )
    shared = " (* shared: too few scores for a threshold of its own)" if rule.pooled else ""
    return f"prediction sets at coverage {rule.coverage:g}, from probability: {least}{shared}"


def _points(limit: Threshold) -> Iterator[str]:
    """What is flagged at the other rates that a scan can choose."""
    for point in limit.points:
        malware = ""
        if limit.malware:
            malware = f"; {point.malware_flagged / limit.malware:.1%} of the malware"
        yield (
            f"scan --fpr {point.fpr:g}: from margin {point.margin:+.3f}, which flags"
            f" {point.flagged / max(1, limit.files):.2%} of them{_worst(point.worst)}{malware}"
        )


def _in_words(limit: Threshold) -> str:
    """The false-positive rate of a threshold, with its interval."""
    from maltriage.metrics import clopper_pearson

    if not limit.files:
        return f"flagged: set for {limit.fpr:.3%} on {limit.goodware}, number of files unknown"
    rate = clopper_pearson(limit.flagged, limit.files)
    low, high = limit.low, limit.high
    if low is None or high is None:  # an older card without them
        low, high = rate.low, rate.high
    whose = limit.goodware.removeprefix("clean files of ")
    return (
        f"flagged: {limit.flagged:,} of {limit.files:,} clean files of {whose}"
        f" ({rate.value:.2%}, 95 % interval {low:.2%} to {high:.2%}){_worst(limit.worst)}"
    )


def _worst(share: float | None) -> str:
    return "" if share is None else f"; set without a source, up to {share:.1%} of that one"
