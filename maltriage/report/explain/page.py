"""The page of an explanation: verdict, account, byteplot, hot ranges, checks of each claim.

All content is in the page as text and pictures; the script only adds interaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from markupsafe import Markup

from maltriage.errors import MaltriageError
from maltriage.report import hashes, html, numbers
from maltriage.report.documents import facts
from maltriage.report.documents.evidence import Check, Evidence, HotRange, RegionHeat
from maltriage.report.documents.opening import opening
from maltriage.report.documents.record import FileRecord, Result, Summary
from maltriage.report.draw import raster
from maltriage.report.explain import (
    findings,
    hot_ranges,
    plot,
    region_strip,
    score_table,
    similar,
    words,
)
from maltriage.report.explain.screen import kind_of, names_of
from maltriage.report.formats import RenderOptions
from maltriage.report.sanitize import clean

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from maltriage.report.documents.evidence import Plane

MAX_RANKED = 5
MAX_NOTICES = 50
CONTENT_WIDTH = 150
"""Columns of a line of code or of a string."""
_SWATCHES = 33


class ExplainPage:
    """Writes the page of one file as soon as its result comes."""

    def __init__(self, stream: BinaryIO, options: RenderOptions, console: Console) -> None:
        self._stream = stream
        self._options = options
        self._written = False

    def write(self, record: FileRecord) -> None:
        """Write the page.

        Raises:
            MaltriageError: a second record, or the record of a file that was not triaged.
        """
        if not isinstance(record, Result):
            raise MaltriageError(f"{clean(record.path)}: {clean(record.reason)}")
        if self._written:
            raise MaltriageError("a page explains one file; explain several one by one")
        self._written = True
        self._stream.write(explanation(record, self._options).encode())
        self._stream.flush()

    def finish(self, summary: Summary) -> None:
        """Nothing is left to write."""


def explanation(result: Result, options: RenderOptions) -> str:
    """Render the page.

    Args:
        options: `top` shortens the tables of regions and of hot ranges.
    """
    evidence = result.evidence
    ordered = sorted(evidence.regions, key=lambda region: -abs(region.contribution))
    hottest = sorted(evidence.hot, key=lambda item: -abs(item.contribution))
    limit = options.top or max(len(ordered), len(hottest))
    shown, folded = ordered[:limit], ordered[limit:]
    ranges, left = hottest[:limit], hottest[limit:]
    scale = Scale.over([*(r.contribution for r in shown), _sum(folded), evidence.padding])
    picture = _picture(evidence.plane, evidence, shown, ranges) if evidence.plane else None
    body = region_strip.body_share(evidence)
    # Where the picture tells little of what decided, what tells it where gets the room.
    little = body is not None and body < region_strip.LITTLE
    dimensions = region_strip.LARGE if little or picture is None else region_strip.SMALL
    drawn = region_strip.strip(evidence, shown, ranges, result.size, dimensions)
    data: dict[str, Any] = {"strip-data": drawn.said}
    if picture is not None and not picture.flaw:
        data["plot-data"] = picture.data
    heading, remark = score_table.title(evidence, exact=options.verbose)
    return html.render(
        "explain",
        data=data,
        result=result,
        verdict=result.verdict,
        opening=opening(result),
        near=facts.near(result.verdict),
        sure=facts.shown_probability(result.verdict),
        points=numbers.score(facts.score(result.verdict)),
        members=facts.prediction_set(result.verdict),
        novelty=facts.novelty(result),
        evidence=evidence,
        kind=kind_of(result),
        names=names_of(result),
        hashes=hashes.NAMES,
        lookups=[] if facts.disarmed(result) else hashes.lookups(result.sha256),
        ranked=sorted(result.verdict.ranked, key=lambda r: -r.probability)[:MAX_RANKED],
        notices=result.notices[:MAX_NOTICES],
        similar=result.similar,
        similar_remark=similar.remark(result.similar) if result.similar else "",
        similar_said=similar.said(result.similar) if result.similar else None,
        claims=facts.supports(evidence.checks) if evidence.checks else None,
        checked=list(score_table.verdict_on(evidence.checks)) if evidence.checks else [],
        legend=score_table.legend(evidence.checks) if evidence.checks else [],
        legend_of=score_table.LEGEND,
        top=facts.hottest(result),
        heading=heading,
        remark=remark,
        whole_name=facts.in_all(evidence),
        exact=facts.score_name(evidence) if options.verbose else None,
        alarms=facts.false_alarms(result.verdict),
        unit=facts.UNIT,
        origins=facts.origins(evidence, evidence.common) if evidence.common else (),
        before=5 if evidence.common is None else 6,
        digits=score_table.digits_for(result.size),
        region_name=facts.region_name,
        offsets=score_table.offsets,
        regions=list(zip(shown, _checks(evidence, shown, "regions"), strict=True)),
        folded=folded,
        folded_sum=_sum(folded),
        weight=sum(abs(r.contribution) for r in ordered) + abs(evidence.padding),
        scale=scale,
        strip=drawn,
        little=little,
        body=body,
        views=score_table.split(evidence.views)[0],
        idle=score_table.split(evidence.views)[1],
        not_judged=f"not judged: {facts.not_judged(result)}",
        whole=facts.WHOLE,
        words=words.sides(evidence),
        views_scale=Scale.over([view.contribution for view in evidence.views]),
        hot=list(_hot(result, ranges)),
        verbose=options.verbose,
        hot_left=left,
        hot_left_sum=_sum(left),
        masks=_masks(evidence),
        picture=picture,
    )


@dataclass(frozen=True)
class Scale:
    """The scale of signed bars in a drawing 100 units wide, with a common zero."""

    zero: float
    per_unit: float

    @classmethod
    def over(cls, values: Sequence[float]) -> Scale:
        """A scale for `values`, which fill the drawing between the lowest and the highest."""
        low, high = min(0.0, *values, 0.0), max(0.0, *values, 0.0)
        per_unit = 100 / (high - low) if high > low else 0.0
        return cls(round(-low * per_unit, 2), per_unit)

    def bar(self, value: float) -> tuple[float, float]:
        """Start and length of the bar of `value`."""
        length = abs(value) * self.per_unit
        return round(self.zero - (length if value < 0 else 0.0), 2), round(length, 2)


def _sum(items: Sequence[RegionHeat] | Sequence[HotRange]) -> float:
    return sum(item.contribution for item in items)


def _checks(
    evidence: Evidence, items: Sequence[RegionHeat] | Sequence[HotRange], kind: facts.Kind
) -> list[Check | None]:
    """The check of each range; None: it was not checked."""
    known = facts.checks_of(evidence, kind)
    return [known.get((item.start, item.end)) for item in items]


@dataclass(frozen=True)
class _Hot:
    """A hot range and its content, as lines."""

    item: HotRange
    address: str
    check: Check | None
    title: list[Markup]
    dump: list[Markup]
    lines: list[Markup]
    folded: str
    """The fields of headers in one line; empty without any."""
    fields: list[Markup]


def _hot(result: Result, ranges: Sequence[HotRange]) -> Iterator[_Hot]:
    digits, base = score_table.digits_for(result.size), result.layout.image_base
    checks = _checks(result.evidence, ranges, "hot")
    for item, check in zip(ranges, checks, strict=True):
        found = item.content
        lines: Iterable[Text] = ()
        if found is not None:
            lines = findings.lines(found, item.start, 0, digits, CONTENT_WIDTH, 0, fields=False)
        fields = found.fields if found is not None else []
        yield _Hot(
            item=item,
            address="" if item.rva is None or base is None else f"{base + item.rva:x}",
            check=check,
            title=[html.markup(t) for t in hot_ranges.about(item, CONTENT_WIDTH, 0)],
            dump=[html.markup(line) for line in hot_ranges.dump(item, digits, 0)],
            lines=[html.markup(line) for line in lines],
            folded=findings.folded_fields(fields, CONTENT_WIDTH) if fields else "",
            fields=[html.markup(t) for t in findings.field_lines(fields, digits, CONTENT_WIDTH)]
            if fields
            else [],
        )


def _masks(evidence: Evidence) -> list[tuple[str, Check]]:
    """Every check, with its region."""
    checks = evidence.checks
    if checks is None:
        return []
    regions = {(r.start, r.end): facts.region_name(r.name) for r in evidence.regions}
    ranges = {(h.start, h.end): facts.region_name(h.region) for h in evidence.hot}
    found = [(regions.get((c.start, c.end), "region"), c) for c in checks.regions]
    return found + [(f"in {ranges.get((c.start, c.end), 'a region')}", c) for c in checks.hot]


@dataclass(frozen=True)
class _Picture:
    """The byteplot of the page. `flaw` is the reason if there are no pictures."""

    flaw: str | None
    hot: Markup
    plain: Markup
    strongest: float
    width: int
    height: int
    """Height of the overlay in rows; `width` is in bytes per row. Without known bytes: in cells."""
    body: float | None
    known: bool
    """Whether the bytes of the picture are known."""
    covers: str
    swatches: list[str]
    data: dict[str, Any]


def _picture(
    plane: Plane, evidence: Evidence, shown: Sequence[RegionHeat], ranges: Sequence[HotRange]
) -> _Picture:
    flaw, places = raster.problem(plane), plot.geometry(plane)
    shape = plane.heat_height, plane.heat_width
    body = facts.of_body(evidence)
    if flaw:
        return _Picture(flaw, Markup(), Markup(), 0.0, 1, 1, body, False, "", [], {})
    data: dict[str, Any] = {"shape": shape, "heat": [round(value, 6) for value in plane.heat]}
    width, height, covers = plane.heat_width, plane.heat_height, ""
    if places is not None:
        width, height = places.width, places.rows
        spans = [(region.start, region.end) for region in evidence.regions]
        cells = plot.cells(places, shape, spans)
        data["cells"] = [[c.start, c.end, c.rows, c.bytes, c.regions] for c in cells]
        data["regions"] = [[facts.region_name(r.name), r.start, r.end] for r in evidence.regions]
        # For each region the button that highlights it, if the table has its row.
        places_of = {id(region): f"r{index}" for index, region in enumerate(shown)}
        data["lights"] = [places_of.get(id(region), "") for region in evidence.regions]
        lit: dict[str, RegionHeat | HotRange] = {f"r{i}": r for i, r in enumerate(shown)}
        lit |= {f"h{i}": h for i, h in enumerate(ranges)}
        data["outlines"] = {
            name: plot.outline(places, item.start, item.end) for name, item in lit.items()
        }
        covers = (
            f"{numbers.count(max(c.rows for c in cells), 'row')} x "
            f"{numbers.count(-(-places.width // plane.heat_width), 'byte')}"
        )
    with_heat, plain = plot.pictures(plane)
    return _Picture(
        flaw=None,
        hot=with_heat,
        plain=plain,
        strongest=raster.strongest(plane),
        width=width,
        height=height,
        body=body,
        known=places is not None,
        covers=covers,
        swatches=[raster.hexadecimal(colour) for colour in raster.scale(_SWATCHES)],
        data=data,
    )
