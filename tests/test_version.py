"""How an extra of this very package is installed."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from types import SimpleNamespace
from typing import Any

import pytest

from maltriage.version import install_extra, version_of

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="paths and quotes of POSIX")


@POSIX
@pytest.mark.parametrize(
    ("origin", "said"),
    [
        (None, "pip install 'maltriage[yara]'"),
        ({"url": "file:///a%20b/x", "dir_info": {}}, "pip install '/a b/x[yara]'"),
        (
            {"url": "file:///src/maltriage", "dir_info": {"editable": True}},
            "pip install -e '/src/maltriage[yara]'",
        ),
        (
            {"url": "file:///w/maltriage-1-py3-none-any.whl", "archive_info": {}},
            "pip install '/w/maltriage-1-py3-none-any.whl[yara]'",
        ),
        (
            {"url": "https://host/m.whl", "archive_info": {}},
            "pip install 'maltriage[yara] @ https://host/m.whl'",
        ),
        (
            {"url": "https://host/m", "vcs_info": {"vcs": "git", "commit_id": "0"}},
            "pip install 'maltriage[yara] @ git+https://host/m'",
        ),
        ("no JSON", "pip install 'maltriage[yara]'"),
    ],
)
def test_where_it_was_installed_from(
    origin: Any, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Found:
        def read_text(self, name: str) -> str | None:
            assert name == "direct_url.json"
            return origin if origin is None or isinstance(origin, str) else json.dumps(origin)

    monkeypatch.setattr(metadata, "distribution", lambda name: Found())
    assert install_extra("yara") == said


@pytest.mark.skipif(sys.platform != "win32", reason="paths of Windows")
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("file:///Z:/zoo/m.whl", r"pip install Z:\zoo\m.whl[yara]"),
        ("file:///Z:/a%20b/m.whl", r'pip install "Z:\a b\m.whl[yara]"'),
    ],
)
def test_where_it_was_installed_from_on_windows(
    url: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = SimpleNamespace(read_text=lambda name: json.dumps({"url": url}))
    monkeypatch.setattr(metadata, "distribution", lambda name: found)
    assert install_extra("yara") == said


def test_no_single_quotes_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """`cmd` takes them for a part of the name."""
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(metadata, "distribution", lambda name: SimpleNamespace(read_text=str))
    assert install_extra("yara") == "pip install maltriage[yara]"


@POSIX
def test_a_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    assert install_extra("yara") == "pip install 'maltriage[yara]'"
    assert version_of("no-such-package-anywhere") is None
