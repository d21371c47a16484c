"""NDJSON and JSON: what is written can be read back, and nothing is lost."""

from __future__ import annotations

import io
import json
import os
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report.factories import make_failed, make_result, make_scan, make_skipped, make_summary
from report.screens import FORMATS, console_of, hidden, need, written

from maltriage.errors import MaltriageError
from maltriage.report.documents.record import ScanDocument, decode, encode, path_fields
from maltriage.report.formats import SCAN, RenderOptions, find, open_renderer
from maltriage.sample.types import Notice, Region

HOSTILE = "[/red]\x1b[31m\x1b]52;c;eA==\x07\u202e\x00\n\x9b=cmd()"


def test_ndjson_round_trip() -> None:
    items = [*make_scan(), make_result(plane=True, hashes=True), make_summary()]
    lines = written("ndjson", items).splitlines()
    assert [decode(line) for line in lines] == items
    assert json.loads(lines[-1])["type"] == "summary"


def test_json_round_trip() -> None:
    items = make_scan()
    data = written("json", [*items, make_summary()])
    document = ScanDocument(items, make_summary())
    assert msgspec.json.decode(data, type=ScanDocument) == document
    assert json.loads(data) == json.loads(encode(document))


def test_json_of_an_empty_scan() -> None:
    document = ScanDocument([], make_summary(files=0))
    data = written("json", [make_summary(files=0)])
    assert msgspec.json.decode(data, type=ScanDocument) == document


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_writes_nothing_before_its_first_record(name: str) -> None:
    need(name)
    stream, console = io.BytesIO(), console_of(80)
    open_renderer(FORMATS[name], stream, RenderOptions(), console)
    assert not stream.getvalue()


class _Counting(io.BytesIO):
    flushed = 0

    def flush(self) -> None:
        self.flushed = len(self.getvalue())


def test_ndjson_is_flushed_line_by_line() -> None:
    stream = _Counting()
    renderer = open_renderer(SCAN["ndjson"], stream, RenderOptions(), console_of(80))
    for record in make_scan():
        renderer.write(record)
        assert stream.flushed == len(stream.getvalue())
        assert stream.getvalue().endswith(b"}\n")


@pytest.mark.parametrize("name", ["ndjson", "json"])
def test_hostile_strings_survive_and_do_nothing(name: str) -> None:
    result = make_result(path=HOSTILE, notices=((HOSTILE, HOSTILE),))
    data = written(name, [result, make_skipped(reason=HOSTILE), make_summary()])
    assert not hidden(data.decode())
    first = data.splitlines()[name == "json"].strip(b",")
    assert decode(first) == result


@pytest.mark.skipif(sys.platform == "win32", reason="names of files are Unicode")
def test_a_path_that_is_not_utf8_is_kept() -> None:
    raw = b"cases/caf\xe9\xff.exe"
    path, path_b64 = path_fields(os.fsdecode(raw))
    assert path == "cases/caf\\xe9\\xff.exe"
    record = decode(written("ndjson", [make_failed(path, path_b64=path_b64)]))
    fields = json.loads(encode(record))
    assert msgspec.convert(fields["path_b64"], bytes, strict=False) == raw
    assert path_fields("plain.exe") == ("plain.exe", None)


def test_a_lone_surrogate_in_a_string_of_the_sample_is_escaped() -> None:
    result = make_result()
    layout = msgspec.structs.replace(
        result.layout, regions=[Region(".t\udcff", "section", 0, 1)], anchors={"e\ud800": 1}
    )
    result = msgspec.structs.replace(result, layout=layout, notices=[Notice("x", "\udc80")])
    read = decode(encode(result))
    assert read.layout.regions[0].name == ".t\\udcff"  # type: ignore[union-attr]
    assert read.layout.anchors == {"e\\ud800": 1}  # type: ignore[union-attr]
    assert read.notices[0].text == "\\udc80"  # type: ignore[union-attr]
    assert read.evidence == result.evidence  # type: ignore[union-attr]
    assert json.loads(encode({"a": ("\udcff",)})) == {"a": ["\\udcff"]}


@given(st.text(st.characters(codec=None, exclude_categories=()), max_size=30))
def test_any_string_can_be_written(text: str) -> None:
    record = decode(encode(make_skipped(reason=text)))
    assert record.reason == text.encode("utf-8", "backslashreplace").decode()  # type: ignore[union-attr]


def test_unknown_fields_are_refused_everywhere() -> None:
    plain = json.loads(encode(make_result(plane=True)))
    places = [plain, plain["identity"], plain["verdict"], plain["verdict"]["ranked"][0]]
    places += [plain["evidence"], plain["evidence"]["regions"][0], plain["evidence"]["hot"][0]]
    places += [plain["evidence"]["views"][0], plain["evidence"]["plane"], plain["model"]]
    places += [plain["layout"], plain["layout"]["regions"][0], plain["timing"]]
    for place in places:
        place["surprise"] = 1
        with pytest.raises(MaltriageError, match=r"^not a maltriage record: .*surprise"):
            decode(json.dumps(plain))
        del place["surprise"]
    assert decode(json.dumps(plain)) == make_result(plane=True)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"type":"other"}', b"\xff\xfe", b"MZ\x90"])
def test_what_is_no_record_is_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(MaltriageError, match=r"^not a maltriage record: .+$"):
        decode(data)


def test_an_unknown_format_names_the_known_ones() -> None:
    with pytest.raises(MaltriageError, match=r"no such format: xml \(there are table, ndjson"):
        find("xml")
