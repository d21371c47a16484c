from __future__ import annotations

import base64
import json
import math
import re
from pathlib import Path

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report.pages import BREAKOUT, Parts, assert_sealed
from report.screens import hidden
from rich.text import Text

from maltriage.report import html, numbers

ANY_TEXT = st.text(st.characters(exclude_categories=()))
"""With lone surrogates, which names of files can hold."""
TEMPLATES = Path(html.__file__).parent / "templates"


def test_a_page_is_sealed_and_says_its_language() -> None:
    parts = assert_sealed(html.render("page", data={"rows": [1]}))
    assert ("html", {"lang": "en"}) in parts.elements
    first = [tag for tag, _ in parts.elements if tag in {"meta", "style", "script"}]
    assert first.index("meta") < first.index("style")
    assert json.loads(parts.data["rows"]) == [1]


@given(ANY_TEXT)
def test_no_string_leaves_its_data_block(text: str) -> None:
    value = {"name": text, "list": [text + BREAKOUT, {"k": text}]}
    parts = Parts(html.render("page", data={"rows": value}))
    assert set(parts.data) == {"rows"}
    assert len(parts.inside["script"]) == 1
    assert not hidden(parts.data["rows"])
    found = json.loads(parts.data["rows"])
    assert found["list"][0].endswith(r"onerror=alert(1)> \u202e\u2028")
    assert found["name"] == found["list"][1]["k"]


@given(ANY_TEXT)
def test_what_a_template_shows_is_cleaned_and_escaped_unasked(text: str) -> None:
    environment = html._environment()
    shown = environment.from_string('<i title="{{ name }}">{{ name }}</i>').render(
        name=text + BREAKOUT
    )
    assert not hidden(shown)
    assert re.findall("<[^>]*>", shown)[0].startswith("<i title=")
    assert shown.count("<") == 2
    assert shown.count('"') == 2


def test_a_template_cannot_show_what_it_was_not_given() -> None:
    with pytest.raises(jinja2.UndefinedError):
        html._environment().from_string("{{ nothing }}").render()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_data_holds_numbers_that_json_has(value: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        html.encoded({"heat": value})


def test_lines_of_a_screen_keep_their_colours_and_nothing_of_their_text_is_markup() -> None:
    text = Text.assemble(("<b>", "bold"), " & ", ("+1.0", numbers.FOR), ("x", "dim cyan"))
    assert html.markup(text) == (
        '<span class="t-bold">&lt;b&gt;</span> &amp; <span class="t-for">+1.0</span>'
        '<span class="t-text t-dim">x</span>'
    )


def test_a_picture_is_in_its_url() -> None:
    url = html.png(2, 1, bytes([255, 0, 0, 0, 0, 255]))
    head, _, content = url.partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(content)[:4] == b"\x89PNG"


def test_templates_come_to_no_policy_that_their_own_markup_breaks() -> None:
    for path in TEMPLATES.glob("*.html"):
        text = path.read_text("utf-8")
        assert not re.search(r"\sstyle\s*=|\son[a-z]+\s*=|javascript:|\|\s*safe", text), path.name
    for path in TEMPLATES.glob("*.js"):
        text = path.read_text("utf-8")
        assert not re.search(r"innerHTML|outerHTML|document\.write|eval\(|Function\(", text)
        assert not re.search(r"insertAdjacentHTML|localStorage", text)
        if path.name != "serve.js":  # the one page that has a server
            assert not re.search(r"sessionStorage|fetch\(", text)
        assert "</script" not in text
