"""Methods of explanation side by side: each region's share by method, and their agreement."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from maltriage.report import aligned, numbers
from maltriage.report.aligned import INDENT
from maltriage.report.documents import facts
from maltriage.report.documents.evidence import Compared, Evidence, MethodHeat
from maltriage.report.explain.score_table import (
    DEFAULT_REGIONS,
    MAX_NAME,
    digits_for,
    offsets,
)
from maltriage.report.sanitize import clean, untrusted

MAX_METHOD = 28
"""Most characters of a method's name, with those that equal it."""


def side_by_side(evidence: Evidence, compared: Compared, top: int | None) -> Iterator[Text]:
    """A line for each region with its share by each method, then the methods' rank agreement.

    Args:
        top: most rows, the rest is counted; None: `DEFAULT_REGIONS`, 0: all.
    """
    regions = evidence.regions
    order = sorted(range(len(regions)), key=lambda i: -abs(regions[i].contribution))
    shown = order[: DEFAULT_REGIONS if top is None else top or len(order)]
    digits = digits_for(max((region.end for region in regions), default=0))
    columns = [_shares(heat) for heat in compared.methods]
    titles = ["region", "offsets"]
    titles += [
        clean(" = ".join((heat.method, *heat.same_as)), MAX_METHOD) for heat in compared.methods
    ]
    rows = [
        [
            untrusted(facts.region_name(regions[i].name), "", MAX_NAME),
            Text(offsets(regions[i].start, regions[i].end, digits)),
            *(_share(shares[i]) for shares in columns),
        ]
        for i in shown
    ]
    layout = aligned.columns(titles, rows, range(2, len(titles)))
    yield aligned.header(layout, 2, INDENT)
    yield aligned.rule(aligned.width_of(layout, 2), INDENT)
    for cells in rows:
        yield aligned.line(cells, layout, 2, INDENT)
    if len(order) > len(shown):
        more = numbers.count(len(order) - len(shown), "more region")
        yield Text(" " * INDENT + f"… {more}", style="dim")
    for pair in compared.agreement:
        value = "not defined"
        if pair.rank_correlation is not None:
            value = numbers.signed(pair.rank_correlation, 2)
        names = f"{clean(pair.first, MAX_METHOD)} and {clean(pair.second, MAX_METHOD)}"
        yield Text(" " * INDENT + f"rank agreement of {names} over the regions: {value}")


def _shares(heat: MethodHeat) -> list[float]:
    """Each region's share of the sum of |contribution| over all regions and padding."""
    weight = sum(map(abs, heat.regions)) + abs(heat.padding)
    return [value / weight if weight else 0.0 for value in heat.regions]


def _share(value: float) -> Text:
    return Text(numbers.share(value), style=numbers.heat_style(value))
