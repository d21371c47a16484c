"""Saved reports: what is written is read back, and what is no report is refused by name."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report.factories import (
    MODEL,
    make_checked,
    make_failed,
    make_layout,
    make_result,
    make_scan,
    make_similar,
    make_skipped,
    make_summary,
    make_verdict,
)
from report.screens import FORMATS, Item, need, screen, written

from maltriage import __version__
from maltriage.errors import MaltriageError
from maltriage.report.documents.counts import Counts
from maltriage.report.documents.evidence import Occluded
from maltriage.report.documents.record import SCHEMA_VERSION, ModelRef, Result, Summary, encode
from maltriage.report.saved import reader
from maltriage.report.saved.recognise import is_report
from maltriage.report.saved.report import combined, look_through


def summary_of(items: list[Any], **changes: Any) -> Summary:
    counts = Counts()
    for item in items:
        counts.add(item)
    summary = counts.summary(make_summary().model, make_summary().seconds, interrupted=False)
    return msgspec.structs.replace(summary, **{"version": make_summary().version, **changes})


def whole() -> list[Item]:
    scan = make_scan()
    return [*scan, summary_of(scan)]


def write(folder: Path, data: bytes, name: str = "r.ndjson") -> str:
    path = folder / name
    path.write_bytes(data)
    return str(path)


def items_of(path: str) -> list[Item]:
    report = look_through(path)
    return [*report.records(), combined([report])]


TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
VERDICTS = st.builds(
    make_verdict,
    st.sampled_from(["icedid", "benign", "unknown"]),
    st.floats(0.2, 1.0),
    st.none() | st.floats(-9, 9),
)
RECORDS = st.lists(
    st.builds(make_result, TEXTS, VERDICTS, plane=st.booleans(), hashes=st.booleans())
    | st.builds(make_checked, TEXTS, VERDICTS)
    | st.builds(make_failed, TEXTS, reason=TEXTS)
    | st.builds(make_skipped, TEXTS, code=TEXTS),
    max_size=5,
)


@settings(max_examples=40)
@given(records=RECORDS, seconds=st.floats(0, 1e6), interrupted=st.booleans())
def test_whatever_was_saved_is_rendered_as_it_was(
    tmp_path_factory: pytest.TempPathFactory,
    records: list[Any],
    seconds: float,
    interrupted: bool,
) -> None:
    folder = tmp_path_factory.mktemp("saved")
    items = [*records, summary_of(records, seconds=seconds, interrupted=interrupted)]
    for name in ("ndjson", "json"):
        again = items_of(write(folder, written(name, items), name))
        for machine in ("ndjson", "json", "csv"):
            assert written(machine, again) == written(machine, items)
        for people in ("table", "explain"):
            assert screen(people, again) == screen(people, items)


def numbered(data: bytes) -> bytes:
    """A document whose identifiers, made anew each time as in STIX, are numbered as they come, and
    which names no time."""
    names: dict[bytes, bytes] = {}

    def number(found: re.Match[bytes]) -> bytes:
        return names.setdefault(found[0], b"#%d" % len(names))

    without = re.sub(rb"20\d\d-\d\d-\d\dT[\d:.]+Z", b"now", data)
    return re.sub(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", number, without)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_the_same_from_a_saved_report(tmp_path: Path, name: str) -> None:
    need(name)
    checked = make_checked("checked.exe", plane=True, similar=make_similar(0.1, 0.2))
    scan = [checked] if name == "explain-page" else [*make_scan(), checked]
    items = [*scan, summary_of(scan)]
    again = items_of(write(tmp_path, written("ndjson", items)))
    assert numbered(written(name, again)) == numbered(written(name, items))
    assert screen(name, again, colour=True) == screen(name, items, colour=True)


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_a_document_laid_out_by_another_tool(tmp_path: Path, indent: int, bom: bytes) -> None:
    items = whole()
    data = json.dumps(json.loads(written("json", items)), indent=indent).encode()
    assert items_of(write(tmp_path, bom + data)) == items
    one = json.dumps(json.loads(encode(make_result())), indent=indent).encode()
    assert list(look_through(write(tmp_path, bom + b" \r\n" + one)).records()) == [make_result()]


def test_lines_may_end_as_windows_ends_them(tmp_path: Path) -> None:
    data = written("ndjson", whole()).replace(b"\n", b"\r\n\r\n")
    assert items_of(write(tmp_path, data)) == whole()
    data = written("json", whole()).replace(b"\n", b"\r\n")
    assert items_of(write(tmp_path, data)) == whole()


@pytest.mark.parametrize("name", ["ndjson", "json"])
def test_a_report_that_breaks_off_keeps_what_is_whole(tmp_path: Path, name: str) -> None:
    """Wherever it does: in a record, between two, in the summary."""
    data = written(name, whole())
    lines = data.splitlines(keepends=True)
    before = 1 if name == "json" else 0
    for number in (2, 5, len(lines) - 1):
        start = sum(map(len, lines[:number]))
        # Without the comma that follows it, the last record of a document is whole as well.
        for length, kept in ((3, number), (len(lines[number]) - 10, number)):
            path = write(tmp_path, data[: start + length])
            report = look_through(path)
            assert list(report.records()) == whole()[: kept - before]
            assert report.cut == number + 1
            assert report.interrupted
            assert list(report.notices()) == [
                f"{path}: cut off in line {number + 1}; the records before it are shown"
            ]
            assert combined([report]).interrupted
    with pytest.raises(MaltriageError, match="cut off in its first record"):
        look_through(write(tmp_path, data[: len(lines[0]) // 2 if before == 0 else 900]))


def test_a_killed_scan_has_no_summary(tmp_path: Path) -> None:
    scan = make_scan()
    report = look_through(write(tmp_path, written("ndjson", scan)))
    (notice,) = report.notices()
    assert notice.endswith("no summary at the end; the scan did not finish")
    expected = summary_of(scan, seconds=0.0, interrupted=True, version=__version__)
    assert combined([report]) == expected
    assert "files/s" not in screen("table", [*scan, expected]).splitlines()[-1]


@pytest.mark.parametrize(
    "scan", [[make_failed(), make_skipped()], [make_result(plane=True), make_result("b.exe")]]
)
def test_so_has_one_without_a_file_that_explain_read(tmp_path: Path, scan: list[Any]) -> None:
    assert look_through(write(tmp_path, written("ndjson", scan))).unfinished


def occluded() -> Result:
    """A result by a method without a plane, which `explain` alone has."""
    evidence = msgspec.structs.replace(
        make_result().evidence, occluded=Occluded(1024, 512, 40, "random", 0)
    )
    return make_result(evidence=evidence)


@pytest.mark.parametrize(
    "records",
    [
        [make_result()],
        [make_failed()],
        [make_result(plane=True), make_result("b.exe", plane=True)],
        [make_result(plane=True), make_failed(), make_skipped()],
        [occluded(), occluded(), make_failed()],
    ],
)
def test_what_explain_writes_has_no_summary_and_is_whole(
    tmp_path: Path, records: list[Any]
) -> None:
    report = look_through(write(tmp_path, written("ndjson", records)))
    assert not report.interrupted
    assert list(report.notices()) == []


def test_streams_behind_one_another_add_up(tmp_path: Path) -> None:
    data = written("ndjson", whole()) + written("ndjson", whole())
    report = look_through(write(tmp_path, data))
    assert list(report.notices()) == []
    once, twice = whole()[-1], combined([report, report])
    assert isinstance(once, Summary)
    assert twice.files == 4 * once.files
    assert twice.bytes == 4 * once.bytes
    assert twice.seconds == pytest.approx(4 * once.seconds)
    assert (twice.version, twice.interrupted) == (once.version, False)


def test_records_that_were_taken_out_are_counted_anew(tmp_path: Path) -> None:
    lines = written("ndjson", whole()).splitlines(keepends=True)
    report = look_through(write(tmp_path, b"".join(lines[3:])))
    (notice,) = report.notices()
    assert notice.endswith("the summary does not match the records, which are counted anew")
    assert combined([report]).files == make_summary().files - 3


def test_two_models_do_not_add_up(tmp_path: Path) -> None:
    other = ModelRef("other", "ab" * 32)
    first = look_through(write(tmp_path, written("ndjson", whole()), "a"))
    second = look_through(
        write(tmp_path, written("ndjson", [make_result(model=other), make_result("b")]), "b")
    )
    for reports in ([first, second], [second]):
        with pytest.raises(MaltriageError, match="reports of two models cannot be joined") as error:
            combined(reports)
        assert "by other abababababab" in str(error.value)
        assert f"by {MODEL.name} {MODEL.weights_sha256[:12]}" in str(error.value)


def test_two_thresholds_of_a_model_do_not_add_up(tmp_path: Path) -> None:
    """Those of two kinds of file are of one card."""
    low, high = make_result(), make_result("b", make_verdict(threshold=2.5))
    wide = msgspec.structs.replace(high, layout=make_layout(bits=64))
    reports = [
        look_through(write(tmp_path, written("ndjson", [record, make_summary()]), name))
        for name, record in (("low", low), ("high", high), ("wide", wide))
    ]
    assert combined([reports[0], reports[2]]).flagged == 2
    with pytest.raises(MaltriageError, match=r"of \+1\.204, .*high one of \+2\.5"):
        combined(reports)


def test_versions_that_differ_are_replaced_by_this_one(tmp_path: Path) -> None:
    paths = [
        write(tmp_path, written("ndjson", [make_summary(version=version)]), version)
        for version in ("0.0.7", "0.0.8")
    ]
    first, second = map(look_through, paths)
    assert combined([first, first]).version == "0.0.7"
    assert combined([first, second]).version == __version__


def _as_of(version: str, *gone: str) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(encode(make_result(plane=True)))
    fields["schema_version"] = version
    for name in gone:
        *parents, last = name.split(".")
        place = fields
        for parent in parents:
            place = place[parent]
        del place[last]
    return fields


def test_records_of_older_schemas_are_read(tmp_path: Path) -> None:
    """They lack the fields that came later, and are written with all of them."""
    later = ["evidence.plane.length", "evidence.plane.row_bytes"]
    for version, gone in (
        ("1.3", ["similar"]),
        ("1.2", ["similar", *later]),
        ("1.0", ["similar", *later, "evidence.same_as", "evidence.occluded", "evidence.checks"]),
    ):
        path = write(tmp_path, json.dumps(_as_of(version, *gone)).encode() + b"\n")
        (record,) = look_through(path).records()
        assert isinstance(record, Result)
        assert record.schema_version == SCHEMA_VERSION
        assert record.evidence.plane is not None
        assert (record.evidence.plane.length is None) == (version != "1.3")
        assert record.similar is None
        assert record.evidence.regions == make_result().evidence.regions


def _refused(path: str) -> str:
    with pytest.raises(MaltriageError) as error:
        look_through(path)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_another_major_version_is_refused(tmp_path: Path) -> None:
    line = json.dumps(_as_of("2.0")).encode() + b"\n"
    end = encode(make_summary(version="9.8.7", schema_version="2.0")) + b"\n"
    message = _refused(write(tmp_path, line + end))
    assert "schema 2.0, written by maltriage 9.8.7; maltriage " in message
    assert f"reads 1.0 to {SCHEMA_VERSION}" in message
    strange = json.dumps({**_as_of("2.0"), "surprise": 1}).encode()
    assert "schema 2.0; maltriage " in _refused(write(tmp_path, strange))
    document = json.loads(written("json", whole()))
    document["schema_version"] = "0.3"
    assert "schema 0.3" in _refused(write(tmp_path, json.dumps(document).encode()))


def test_a_newer_minor_version_is_read_where_it_can_be(tmp_path: Path) -> None:
    newer = _as_of("1.99")
    (record,) = look_through(write(tmp_path, json.dumps(newer).encode())).records()
    assert record.schema_version == SCHEMA_VERSION
    newer["evidence"]["surprise"] = 1
    end = b"\n" + encode(make_summary(version="3.2.1"))
    message = _refused(write(tmp_path, json.dumps(newer).encode() + end))
    assert "made by a newer maltriage, written by maltriage 3.2.1, with schema 1.99;" in message
    assert "surprise" in message


@pytest.mark.parametrize("version", ["1", "1.x", "", "1.3.1", "\u0663.\u0661"])
def test_a_version_that_is_none(tmp_path: Path, version: str) -> None:
    message = _refused(write(tmp_path, json.dumps(_as_of(version)).encode()))
    assert f"no schema version {version!r}" in message


def test_damage_in_the_middle_names_the_line(tmp_path: Path) -> None:
    lines = written("ndjson", whole()).splitlines(keepends=True)
    lines[4] = lines[4].replace(b'"code"', b'"kode"')
    assert "r.ndjson, line 5: not a maltriage record: " in _refused(
        write(tmp_path, b"".join(lines))
    )
    lines[4] = lines[4][:50] + b"\n"
    assert "r.ndjson, line 5: cut off in the middle" in _refused(write(tmp_path, b"".join(lines)))
    document = written("json", whole())
    assert "comes after the end of the report; name" in _refused(write(tmp_path, document * 2))
    assert "cut off in the middle" in _refused(
        write(tmp_path, document.replace(b"[\n", b"[")[:-100])
    )
    assert "not a report of maltriage" in _refused(write(tmp_path, b"[]"))
    with pytest.raises(MaltriageError, match=r"cannot read .*gone: No such file"):
        look_through(str(tmp_path / "gone"))


def test_what_other_programs_make_of_reports_is_called_by_its_name(tmp_path: Path) -> None:
    lines = written("ndjson", whole())
    for encoding in ("utf-16", "utf-16-be"):
        bom = "\ufeff" if encoding == "utf-16-be" else ""
        path = write(tmp_path, (bom + lines.decode()).encode(encoding))
        assert is_report(path)
        assert "r.ndjson: UTF-16, as some shells redirect" in _refused(path)
    assert not is_report(write(tmp_path, '{"type": "module"}'.encode("utf-16")))
    indented = b"\n".join(
        json.dumps(json.loads(line), indent=2).encode() for line in lines.splitlines()
    )
    message = _refused(write(tmp_path, indented))
    assert message.endswith("several records, not one a line (jq -c makes it so)")


DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize("end", [b"", b"\n"])
@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b'{"type":"skipped","path":%b}', id="a record"),
        pytest.param(b'{"type":"skipped","x":%b,"path":"a"}', id="a field of nobody"),
        pytest.param(b'{"type":"skipped","schema_version":%b}', id="the version"),
        pytest.param(b'{"records":[\n{"type":"skipped","path":%b}', id="a document"),
        pytest.param(b'{"records":[\n],"summary":%b}', id="its end"),
        pytest.param(b'{"records": [{"type":"skipped","path":%b}]}', id="laid out anew"),
        pytest.param(b'{\n"type":"skipped","path":%b}', id="one record laid out anew"),
    ],
)
def test_what_is_nested_without_end_is_refused_by_name(
    tmp_path: Path, text: bytes, end: bytes
) -> None:
    path = write(tmp_path, text % DEEP + end)
    assert is_report(path)
    with pytest.raises(MaltriageError, match=r"r\.ndjson.*not a maltriage record"):
        look_through(path)


def test_nested_without_end_in_the_first_bytes_is_no_report(tmp_path: Path) -> None:
    assert not is_report(write(tmp_path, b'{"path":' + DEEP))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"path_b64": "x"}, "path_b64"),
        ({"sha256": "zz\x1b[31m"}, "sha256"),
        ({"size": -5}, "size"),
        ({"verdict": {"margin": 1.7e308}}, "margin"),
        ({"verdict": {"threshold": -1.7e308}}, "threshold"),
        ({"timing": {"prepare_ms": 1.7e308}}, "prepare_ms"),
        ({"size": 1 << 63}, "size"),
        ({"verdict": {"probability": 2.0}}, "probability"),
        ({"identity": {"md5": "no hash"}}, "md5"),
        ({"identity": {"tlsh": "T1"}}, "tlsh"),
        ({"evidence": {"total": 1e308}}, "total"),
        ({"layout": {"image_base": 1 << 64}}, "image_base"),
    ],
)
def test_odd_values_are_refused(tmp_path: Path, change: dict[str, Any], field: str) -> None:
    """They pass the schema, and renderers would stumble over them."""
    record = json.loads(encode(make_result("a.exe")))
    for name, value in change.items():
        record[name] = {**record[name], **value} if isinstance(value, dict) else value
    path = write(tmp_path, json.dumps(record).encode() + b"\n")
    with pytest.raises(MaltriageError, match=f"not a maltriage record: the {field} of a.exe"):
        look_through(path)


@pytest.mark.parametrize("base", [0xFFFF_8000_0000_0000, (1 << 64) - 1])
def test_a_program_in_the_upper_half_of_memory_is_read(
    run_cli: Any, tmp_path: Path, samples_dir: Path, base: int
) -> None:
    """As kernels are: its scan and its explanation."""
    data = bytearray((samples_dir / "console-x64.exe").read_bytes())
    struct.pack_into("<Q", data, data.index(b"PE\0\0") + 48, base)
    sample = tmp_path / "kernel.exe"
    sample.write_bytes(data)
    for command in (["scan", "-f", "ndjson"], ["scan", "-f", "json"], ["explain", "-f", "json"]):
        record = items_of(write(tmp_path, run_cli(*command, "-q", sample).stdout))[0]
        assert isinstance(record, Result)
        assert record.layout.image_base == base


def test_an_odd_summary_is_refused(tmp_path: Path) -> None:
    for name in ("ndjson", "json"):
        text = re.sub(rb'"seconds":[^,]+', b'"seconds":1e308', written(name, whole()))
        assert "the seconds of the summary is odd" in _refused(write(tmp_path, text))


def test_a_text_may_look_like_a_large_number(tmp_path: Path) -> None:
    record = make_skipped(reason="at [ 1e308, -99999999999999999999,")
    path = write(tmp_path, encode(record) + b"\n")
    assert next(iter(reader.read(str(path)))) == record


def test_a_line_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_LINE", 20_000)
    lines = encode(make_skipped()) + b"\n" + encode(make_skipped(reason="x" * 20_000)) + b"\n"
    assert "line 2 is longer than 20,000 bytes" in _refused(write(tmp_path, lines))
    monkeypatch.setattr(reader, "MAX_WHOLE", 20_000)
    document = written("json", whole()).replace(b"\n", b"")
    assert "larger than 20,000 bytes without one record a line" in _refused(
        write(tmp_path, document)
    )


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encode(make_skipped()), True),
        (b'{"records":[\n],', True),
        (b' \n{ "type" : "error"', True),
        (b"\xef\xbb\xbf" + encode(make_summary()), True),
        (b'{"type":"module"}', False),
        (b'{"name":"x"}', False),
        (b'[{"type":"result"}]', False),
        (b"MZ" + encode(make_skipped()), False),
        (b"", False),
    ],
)
def test_what_begins_like_a_report(tmp_path: Path, data: bytes, expected: bool) -> None:
    assert is_report(write(tmp_path, data)) is expected


@pytest.mark.skipif(os.name != "posix", reason="FIFOs as POSIX has them")
def test_what_is_no_file_is_no_report(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert not is_report(str(tmp_path / "fifo"))
    assert not is_report(str(tmp_path))
    assert not is_report(str(tmp_path / "gone"))


@settings(max_examples=60)
@given(
    data=st.binary(max_size=300),
    start=st.sampled_from([b"", b'{"type":"result"', b'{"records":[\n']),
)
def test_any_file_is_a_report_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, start: bytes
) -> None:
    path = write(tmp_path_factory.mktemp("any"), start + data)
    message = f"{path}: "
    try:
        list(look_through(path).records())
    except MaltriageError as error:
        message = str(error)
    assert message.startswith(path)


@pytest.mark.skipif(sys.platform != "linux", reason="limits as Linux has them")
def test_a_large_report_is_not_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.ndjson"
    line = encode(make_result(notices=(("x", "y" * 20_000),))) + b"\n"
    with path.open("wb") as file:
        for _ in range(5_000):
            file.write(line)
    code = (
        "import resource, sys\n"
        "from maltriage.report.saved.report import look_through\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "report = look_through(sys.argv[1])\n"
        "assert sum(1 for _ in report.records()) == report.counts.files == 5_000\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True
    )
    assert path.stat().st_size > 100e6
    assert int(done.stdout) * 1024 < 20e6
