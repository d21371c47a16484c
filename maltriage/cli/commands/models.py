"""`maltriage models`: lists the bundles that ship, and shows a card."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from maltriage.bundle import Bundle, Threshold
    from maltriage.triage.prediction_sets import SetRule


def models(
    model: Annotated[
        str | None,
        typer.Argument(help="A bundle: a file or shipped name, e.g. maltriage-evidence."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The card as JSON.")] = False,
) -> None:
    """List the models that ship, or show the card of one.

    Each is compared with the list of published digests, and so is its index.
    """
    import msgspec

    from maltriage import bundle as bundles
    from maltriage.report.sanitize import clean
    from maltriage.triage.prediction_sets import set_rule

    if model is None:
        for path in bundles.shipped():
            bundle = bundles.load(path)
            default = "  (default)" if path.stem == bundles.DEFAULT_MODEL else ""
            size = f"{len(bundle.card.labels)} labels  {len(bundle.model)} B"
            typer.echo(clean(f"{path.stem}  {size}  {'; '.join(_standing(bundle))}{default}"))
        return
    bundle = bundles.load(bundles.resolve(model))
    card = bundle.card
    text = msgspec.json.format(msgspec.json.encode(card)).decode()
    if json:
        typer.echo(text)
        return
    from rich.table import Table
    from rich.text import Text

    from maltriage.cli.console import make_console

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
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
    rule = set_rule(card)
    if rule is not None:
        console.print()
        console.print(Text(clean(_sets(card.labels, rule))), soft_wrap=True)


def _standing(bundle: Bundle) -> list[str]:
    """How a bundle stands to the published ones, and its index."""
    from maltriage import bundle as bundles
    from maltriage.similar import index as indexes

    index = indexes.beside(bundle)
    lines = [bundles.standing_of(bundle).text]
    return lines if index is None else [*lines, f"index {bundles.index_standing(index).text}"]


def _sets(labels: tuple[str, ...], rule: SetRule) -> str:
    """The least probability with which each label is in a file's set."""
    least = ", ".join(
        f"{label} {max(0.0, 1.0 - limit):.4f}{'*' if label in rule.pooled else ''}"
        for label, limit in zip(labels, rule.limits, strict=True)
    )
    shared = " (* shared: too few scores for a threshold of its own)" if rule.pooled else ""
    return f"prediction sets at coverage {rule.coverage:g}, from probability: {least}{shared}"


def _in_words(limit: Threshold) -> str:
    """The false-positive rate of a threshold, with its interval."""
    from maltriage.metrics import clopper_pearson

    if not limit.files:
        return f"flagged: set for {limit.fpr:.3%} on {limit.goodware}, number of files unknown"
    rate = clopper_pearson(limit.flagged, limit.files)
    low, high = limit.low, limit.high
    if low is None or high is None:  # an older card without them
        low, high = rate.low, rate.high
    return (
        f"flagged: {limit.flagged} of {limit.files} clean files of {limit.goodware}"
        f" ({rate.value:.2%}, 95 % interval {low:.2%} to {high:.2%})"
    )
