"""The page of `maltriage patterns`: the tables, the mean maps, and the details of each family."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from maltriage.report import html
from maltriage.report.documents.patterns import BundlePatterns, FamilyPattern, Patterns, ViewPattern
from maltriage.report.studies import patterns_words
from maltriage.report.studies.patterns_grid import Pixels, coloured, plane_picture, strip


@dataclass(frozen=True)
class Panel:
    """The maps of a family by one bundle, as pictures."""

    family: FamilyPattern
    plane: Markup
    strips: list[tuple[ViewPattern, Markup]]


def render_page(found: Patterns) -> str:
    """Render the page, as one file."""
    labels = list(dict.fromkeys(f.family for b in found.bundles for f in b.families))
    return html.render(
        "patterns",
        found=found,
        rows=[(label, [_panel(bundle, label) for bundle in found.bundles]) for label in labels],
        words=patterns_words,
        ramp=_url(coloured([[step / 32 - 1 for step in range(65)]])),
    )


def _panel(bundle: BundlePatterns, label: str) -> Panel | None:
    """The maps of a family; None: the bundle does not have it."""
    family = next((family for family in bundle.families if family.family == label), None)
    if family is None:
        return None
    return Panel(
        family,
        _url(plane_picture(family)),
        [(view, _url(strip(view))) for view in family.views if view.anchor is not None],
    )


def _url(pixels: Pixels) -> Markup:
    flat = bytes(value for row in pixels for colour in row for value in colour)
    return html.png(len(pixels[0]), len(pixels), flat)
