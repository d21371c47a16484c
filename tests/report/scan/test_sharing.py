"""What is said of a file to others."""

from __future__ import annotations

import sys

import pytest
from report.factories import make_result

from maltriage.report.documents.record import path_fields
from maltriage.report.scan import sharing

elsewhere = pytest.mark.skipif(
    sys.platform == "win32", reason="there a backslash ends a folder, and names are Unicode"
)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/cases/of a client/x.exe", "x.exe"),
        ("C:\\cases\\x.exe", "x.exe"),
        ("C:/cases\\of a client\\x.exe", "x.exe"),
        ("\\\\host\\share\\x.exe", "x.exe"),
        ("cases\\x.exe", "x.exe"),
        pytest.param("cases/CORP\\svc.exe", "CORP\\svc.exe", marks=elsewhere),
        pytest.param("cases/a\udcff\udcfeb.exe", "a\\xff\\xfeb.exe", marks=elsewhere),
        pytest.param("a\udcffb.exe", "a\\xffb.exe", marks=elsewhere),
        ("a.zip!folder/x.exe", "x.exe"),
        ("cases/sub.zip!x.exe", "x.exe"),
        ("cases/sub.zip!of a client\\x.exe", "x.exe"),
        ("cases/Setup!.exe", "Setup!.exe"),
        ("cases/", None),
    ],
)
def test_the_name_has_no_folder(path: str, name: str | None) -> None:
    shown, raw = path_fields(path)
    result = make_result(shown, path_b64=raw)
    assert sharing.file_name(result) == name
