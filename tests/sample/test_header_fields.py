"""The fields of a PE header by their place are those that pefile finds in a file."""

from __future__ import annotations

from hostile.make import Pe, sample

from maltriage.probe.inspect import header
from maltriage.probe.inspect.image import Image
from maltriage.sample.header_fields import PE32_FIELDS, names_in
from maltriage.sample.views import WINDOWS


def test_fields_are_those_of_a_program() -> None:
    pe = Pe(sample("console-x86.exe"))
    (view,) = (window for window in WINDOWS if window.name == "header")
    found = header.fields(Image(pe.bytes()), pe.pe, pe.pe + view.length)
    wanted = [(field.offset - pe.pe, field.offset - pe.pe + field.size) for field in found]
    assert [(field.start, field.end) for field in PE32_FIELDS] == wanted
    assert [field.name for field in PE32_FIELDS] == [field.name for field in found]
    assert PE32_FIELDS[-1].end == view.length


def test_a_range_has_the_fields_that_it_touches() -> None:
    assert names_in(5, 7) == ["COFF Machine", "COFF NumberOfSections"]
    assert names_in(6, 8) == ["COFF NumberOfSections"]
    assert names_in(8, 8) == []
