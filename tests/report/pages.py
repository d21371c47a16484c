"""Takes pages apart, and says what every one of them must be."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

BREAKOUT = "</script><script>alert(1)</script><!-- <img src=x onerror=alert(1)> \u202e\u2028"
"""What tries to leave every place of a page that it may be put into."""


OUTSIDE = re.compile(
    r"https://(www\.virustotal\.com/gui/file/[0-9a-f]{64}|bazaar\.abuse\.ch/sample/[0-9a-f]{64}/)"
)
"""What a page may link to."""


class Parts(HTMLParser):
    """The elements of a page with their attributes, and what stands in style and script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {"style": [], "script": []}
        self.data: dict[str, str] = {}
        self._open: tuple[str, dict[str, str | None]] | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in self.inside:
            self._open = tag, dict(attrs)
            if attrs:
                self.data[dict(attrs).get("id") or ""] = ""
            else:
                self.inside[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self._open = None

    def handle_data(self, data: str) -> None:
        if self._open is None:
            return
        tag, attrs = self._open
        if attrs:
            self.data[attrs.get("id") or ""] += data
        else:
            self.inside[tag][-1] += data

    @property
    def policy(self) -> str:
        (found,) = [
            a["content"]
            for tag, a in self.elements
            if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"
        ]
        assert found
        return found


def digest(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def assert_sealed(text: str) -> Parts:
    """A page that asks nothing of a network, and whose policy names what it really holds."""
    parts = Parts(text)
    directives = dict(part.strip().split(" ", 1) for part in parts.policy.split(";"))
    (style,), (script,) = parts.inside["style"], parts.inside["script"]
    assert directives == {
        "default-src": "'none'",
        "script-src": digest(script),
        "style-src": digest(style),
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    for tag, attributes in parts.elements:
        assert tag not in {"iframe", "object", "embed", "base", "form", "audio", "video"}, tag
        for name, value in attributes.items():
            assert name != "style", (tag, value)
            assert not name.startswith("on"), (tag, name)
            if name in {"src", "href", "srcset", "data", "action", "xlink:href"}:
                assert value is not None
                if tag == "a" and value.startswith("https:"):  # followed when it is clicked
                    assert OUTSIDE.fullmatch(value), value
                    assert attributes["rel"] == "noreferrer noopener"
                    assert attributes["target"] == "_blank"
                    continue
                assert value.startswith(("data:", "#")), (tag, name, value)
    assert "url(" not in style
    assert "@import" not in style
    return parts
