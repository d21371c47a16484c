"""Renders HTML pages: each is one file that any browser shows without a network.

Pages show strings of hostile files, so they have two defences. Every string passes `sanitize.clean`
and is escaped: Jinja2 does both for each expression, and `block` for the data of scripts. The
Content-Security-Policy of the page allows only the style and the script that are named by their
SHA-256, and pictures in the file itself.

A template extends `page.html`, fills its blocks, and may have a style and a script of its own
besides the common ones and its `PARTS`; they become one element each. The policy refuses `style=`
attributes and `on...=` handlers.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup
from PIL import Image
from rich.console import Console
from rich.text import Text

from maltriage.report import numbers
from maltriage.report.sanitize import MAX_SHOWN, clean
from maltriage.version import __version__

POLICY = (
    "default-src 'none'; script-src '{script}'; style-src '{style}'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)
COMMON = "page"
"""Name of the style and the script that all pages share."""
PARTS = {
    "explain": ("hashes", "explain-strip"),
    "scan": ("hashes", "scan-files", "scan-strip", "scan-panel", "scan-groups"),
}
"""Further styles and scripts of a page, by its template: a job each, before those of the page."""

_IN_JSON = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029\x7f"}
_CLASSES = {"cyan": "t-text", "yellow": "t-warn", "green": "t-good", "red": "t-bad"}
_HEAT = {numbers.FOR: "t-for", numbers.AGAINST: "t-against"}


def render(
    template: str,
    /,
    *,
    data: Mapping[str, Any] | None = None,
    asks: bool = False,
    **context: Any,
) -> str:
    """A whole page.

    Args:
        template: name of the page: `NAME.html`, with `NAME.css` and `NAME.js` if they exist.
        asks: whether its script may ask the server that it comes from.
        data: data for its script, id of the block -> plain data (of JSON types).
        context: variables of the template. Strings are cleaned and escaped when they are shown.
    """
    style, script = _joined(template, "css"), _joined(template, "js")
    blocks = Markup("\n").join(block(name, value) for name, value in (data or {}).items())
    return (
        _environment()
        .get_template(f"{template}.html")
        .render(
            {
                **context,
                "policy": POLICY.format(script=_digest(script), style=_digest(style))
                + ("; connect-src 'self'" if asks else ""),
                "style": Markup(style),
                "script": Markup(script),
                "data": blocks,
                "version": __version__,
            }
        )
    )


def block(name: str, value: object) -> Markup:
    """Data for the script of a page, as a `<script>` element that no browser runs."""
    return Markup('<script type="application/json" id="{}">').format(name) + Markup(
        f"{encoded(value)}</script>"
    )


def encoded(value: object) -> str:
    """Compact JSON of plain data for a `<script>` element, its strings cleaned.

    `<`, `>` and `&` are escaped, so no string can end the element or begin a comment in it; so are
    the two separators that end a line of JavaScript.

    Raises:
        ValueError: a number is not finite.
    """
    text = json.dumps(_cleaned(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate(_IN_JSON)


def png(width: int, height: int, pixels: bytes) -> Markup:
    """A picture as a data URL, safe in an attribute.

    Args:
        pixels: red, green, blue of each pixel, row-major: 3 x width x height bytes.
    """
    stream = io.BytesIO()
    Image.frombytes("RGB", (width, height), pixels).save(stream, "PNG", optimize=True)
    return Markup("data:image/png;base64," + base64.b64encode(stream.getvalue()).decode())


def markup(text: Text) -> Markup:
    """A line of a screen, its colours as classes of the common style.

    The text of a `Text` must already be sanitized.
    """
    pieces = []
    for segment in text.render(_console()):
        style, names = segment.style, []
        if style is not None:
            colour = style.color.name if style.color else ""
            known = _CLASSES.get(colour) or _HEAT.get(colour)
            names = [known] if known else []
            names += ["t-dim"] * bool(style.dim) + ["t-bold"] * bool(style.bold)
        piece = Markup("{}").format(segment.text)
        if names:
            piece = Markup('<span class="{}">{}</span>').format(" ".join(names), segment.text)
        pieces.append(piece)
    return Markup("").join(pieces)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_read),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_shown,
    )
    environment.filters.update(
        signed=numbers.signed,
        share=numbers.share,
        probability=numbers.probability,
        bytes=numbers.size,
        line=markup,
    )
    environment.globals.update(count=numbers.count)
    return environment


def _shown(value: object) -> object:
    """The value of a template's expression, cleaned; called before it is escaped."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return clean(value, MAX_SHOWN)
    return value


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value, MAX_SHOWN)
    if isinstance(value, Mapping):
        return {clean(key): _cleaned(item) for key, item in value.items()}
    return [_cleaned(item) for item in value] if isinstance(value, (list, tuple)) else value


def _read(name: str) -> str | None:
    try:
        return resources.files(__package__).joinpath("templates", name).read_text("utf-8")
    except FileNotFoundError:
        return None


@cache
def _joined(template: str, kind: str) -> str:
    """The common style or script followed by those of the page."""
    names = (COMMON, *PARTS.get(template, ()), template)
    parts = [_read(f"{name}.{kind}") for name in names]
    return "\n" + "\n".join(part for part in parts if part)


def _digest(text: str) -> str:
    """The hash source for an element with the content `text`, for the policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _console() -> Console:
    """A console that resolves the styles of a `Text`; nothing is printed on it."""
    return Console(file=io.StringIO(), width=10_000, color_system="truecolor")
