"""Files for other systems in docs/integrations, held against what `scan` writes."""

from __future__ import annotations

import base64
import configparser
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from report.factories import make_failed, make_result, make_skipped, make_summary, make_verdict

from maltriage.report.documents.record import Timing, encode
from maltriage.report.scan.ecs import ecs

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "integrations"
PAGES = FOLDER.parent / "how-to"


def events() -> list[dict[str, Any]]:
    """An event of each kind, as NDJSON has it."""
    result = make_result(hashes=True)
    signed = msgspec.structs.replace(
        result.identity, signer="CN=Someone, O=X", as_signed=False, pdb_path="a.pdb"
    )
    records = [
        msgspec.structs.replace(result, identity=signed, group="0a1b2c"),
        make_result(verdict=make_verdict("benign", margin=-2.0)),
        make_result(verdict=make_verdict("unknown", closest="icedid", margin=0.0, novelty=0.5)),
        make_skipped("a"),
        make_failed("b"),
        make_summary(),
    ]
    return [json.loads(encode(ecs(record, host="lab"))) for record in records]


def leaves(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from leaves(item, f"{at}.{name}" if at else name)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item, at)
    elif value is not None:
        yield at, value


TYPES: dict[str, type | tuple[type, ...]] = {
    "keyword": str,
    "match_only_text": str,
    "date": str,
    "long": int,
    "float": (int, float),
    "boolean": bool,
}


def mapped() -> dict[str, str]:
    """The type of each field of the Elasticsearch template."""
    template = json.loads((FOLDER / "elastic-index-template.json").read_text("utf-8"))
    found: dict[str, str] = {}

    def walk(properties: dict[str, Any], at: str) -> None:
        for name, field in properties.items():
            if "properties" in field:
                walk(field["properties"], f"{at}{name}.")
            else:
                found[f"{at}{name}"] = field["type"]

    walk(template["template"]["mappings"]["properties"], "")
    return found


def test_elasticsearch_maps_each_field_of_ecs_by_its_type(run_cli: Any, samples_dir: Path) -> None:
    types, seen = mapped(), set()
    done = run_cli("scan", samples_dir, "-f", "ndjson", "--ecs")
    for event in [*events(), *map(json.loads, done.stdout.splitlines())]:
        for name, value in leaves(event):
            if name.startswith("maltriage.") and name not in types:
                continue  # kept, and not searched
            seen.add(name)
            assert isinstance(value, TYPES[types[name]]), name
            if types[name] == "date":
                datetime.fromisoformat(value)
    # Nothing is mapped that no event has. No sample of this repository is in the index.
    rare = {"maltriage.similar.known_as", "maltriage.identity.made_with.version"}
    assert set(types) - seen == rare


def test_elasticsearch_takes_the_data_stream_of_the_page() -> None:
    template = json.loads((FOLDER / "elastic-index-template.json").read_text("utf-8"))
    (pattern,) = template["index_patterns"]
    text = (PAGES / "siem.md").read_text("utf-8")
    assert pattern.replace("*", "default") in text
    assert template["template"]["mappings"]["dynamic"] is False


def test_bulk_lines(tmp_path: Path) -> None:
    jq = shutil.which("jq")
    if jq is None:
        pytest.skip("no jq on PATH")
    text = (PAGES / "siem.md").read_text("utf-8")
    program = re.search(r"jq -c '([^']*create[^']*)'", text)
    assert program is not None
    lines = b"".join(encode(event) + b"\n" for event in events())
    done = subprocess.run([jq, "-c", program[1]], input=lines, capture_output=True, check=True)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert found[0::2] == [{"create": {"_id": event["event"]["id"]}} for event in events()]
    assert [event["ecs"] for event in found[1::2]] == [event["ecs"] for event in events()]


def test_new_results_only() -> None:
    jq = shutil.which("jq")
    if jq is None:
        pytest.skip("no jq on PATH")
    program = re.search(r"jq -c '(select[^']*)'", (PAGES / "siem.md").read_text("utf-8"))
    assert program is not None
    result = make_result()
    kept = msgspec.structs.replace(result, timing=Timing(0.0, 0.0, stored=True))
    written: list[Any] = [ecs(record) for record in (result, kept, make_failed(), make_summary())]
    lines = b"".join(encode(event) + b"\n" for event in written)
    done = subprocess.run([jq, "-c", program[1]], input=lines, capture_output=True, check=True)
    assert [json.loads(line) for line in done.stdout.splitlines()] == [written[0], *written[2:]]


def stanzas(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",), strict=True)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string((FOLDER / name).read_text("utf-8"))
    return parser


def test_splunk_breaks_lines_and_reads_their_time() -> None:
    (name,) = stanzas("splunk-props.conf").sections()
    props = stanzas("splunk-props.conf")[name]
    assert name in (PAGES / "siem.md").read_text("utf-8")
    stream = "\n".join(encode(event).decode() for event in events()) + "\n"
    lines = [line for line in re.split(props["LINE_BREAKER"], stream) if line.strip()]
    assert len(lines) == len(events())
    pattern = props["TIME_FORMAT"].replace("%3N", "%f")
    for line in lines:
        begin = re.search(props["TIME_PREFIX"], line)
        assert begin is not None
        stamp = line[begin.end() :][: int(props["MAX_TIMESTAMP_LOOKAHEAD"])].partition('"')[0]
        assert datetime.strptime(stamp, pattern)
        assert len(line) < int(props["TRUNCATE"])


def test_splunk_aliases_name_fields_that_there_are() -> None:
    props = stanzas("splunk-props.conf")["maltriage:ecs"]
    there = {name for event in events() for name, _ in leaves(event)}
    aliases = [value for name, value in props.items() if name.startswith("FIELDALIAS")]
    assert len(aliases) > 5
    for alias in aliases:
        found = re.fullmatch(r'"([\w.]+)" AS (\w+)', alias)
        assert found is not None
        assert found[1] in there
    made = [value for name, value in props.items() if name.startswith("EVAL")]
    assert {name for value in made for name in re.findall(r"'([\w.]+)'", value)} <= there


def test_splunk_can_keep_flagged_files_alone() -> None:
    transforms = stanzas("splunk-transforms.conf")
    text = (FOLDER / "splunk-props.conf").read_text("utf-8")
    named = re.search(r"^#TRANSFORMS-\w+ = (.*)$", text, re.M)
    assert named is not None
    order = [name.strip() for name in named[1].split(",")]
    assert sorted(order) == sorted(transforms.sections())
    for event in events():
        queue = "indexQueue"
        for name in order:  # the last one that matches decides
            if re.search(transforms[name]["REGEX"], encode(event).decode()):
                queue = transforms[name]["FORMAT"]
        assert (queue == "indexQueue") == (event["event"]["kind"] == "alert")


def test_queries_of_duckdb(tmp_path: Path, run_cli: Any, samples_dir: Path) -> None:
    duckdb = pytest.importorskip("duckdb", reason="DuckDB is not installed")
    page = (PAGES / "duckdb.md").read_text("utf-8")
    queries = re.findall(r"```sql\n(.*?)```", page, re.S)
    assert len(queries) >= 3
    done = run_cli("scan", samples_dir, "-o", tmp_path / "monday.parquet")
    assert done.returncode == 0, done.stderr
    run_cli("scan", samples_dir / "gui-x86.exe", "-o", tmp_path / "tuesday.parquet")
    with duckdb.connect() as database:
        database.execute(f"SET file_search_path = '{tmp_path}'")
        for query in queries:
            text = query.replace("'monday.parquet'", f"'{tmp_path}/monday.parquet'")
            text = text.replace("'tuesday.parquet'", f"'{tmp_path}/tuesday.parquet'")
            table = database.execute(text)
            assert table.description
            table.fetchall()


CAPA = '#!/bin/sh\nfor last; do :; done\nprintf "capa <%s>\\n" "$last"\n'
YR = """#!{python}
import os
import sys
import yara_x
assert sys.argv[1:3] == ["scan", "--scan-list"]
rules = yara_x.compile(open(sys.argv[3]).read())
for path in os.fsdecode(open(sys.argv[4], "rb").read()).splitlines():
    for rule in rules.scan(open(path, "rb").read()).matching_rules:
        sys.stdout.buffer.write(os.fsencode(f"{{rule.identifier}} {{path}}\\n"))
"""


def test_recipes_with_capa_and_yara(
    tmp_path: Path, samples_dir: Path, run_cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("yara_x", reason="YARA-X is not installed")
    if shutil.which("jq") is None:
        pytest.skip("no jq on PATH")
    blocks = re.findall(r"```bash\n(.*?)```", (PAGES / "capa-and-yara.md").read_text("utf-8"), re.S)
    first, capa, groups, yara, back = blocks
    as_files = first.split("\n", 1)[1]
    (tmp_path / "dir").mkdir()
    odd = "dir/of\nthe; $(touch made) 'x'.exe"
    clean = make_verdict("benign", margin=-2.0)
    less = make_verdict("icedid", margin=3.0)
    bytes_of_it = b"dir/caf\xe9.exe"  # no UTF-8
    records = [
        make_result("dir/less.exe", verdict=less, group="0a1b2c"),
        make_result(odd, group="0a1b2c"),
        make_result("dir/plain.exe", group="9f8e7d"),  # like no other
        make_result("dir/a.zip!x.exe", group="0a1b2c"),
        make_result("dir/clean.exe", verdict=clean, group="1b2c3d"),
        make_result("dir/wow!.exe", group="2c3d4e"),
        make_result(
            "dir/caf\\xe9.exe",
            path_b64=base64.b64encode(bytes_of_it).decode(),
            group="3d4e5f",
        ),
    ]
    for record in records:
        if "zip!" not in record.path:
            name = bytes_of_it if record.path_b64 else os.fsencode(record.path)
            shutil.copy(samples_dir / "gui-x86.exe", os.fsencode(tmp_path) + b"/" + name)
    lines = [encode(record) + b"\n" for record in (*records, make_summary())]
    (tmp_path / "monday.ndjson").write_bytes(b"".join(lines))
    (tmp_path / "rules.yar").write_text('rule mz { strings: $a = "MZ" condition: $a at 0 }\n')
    own = tmp_path / "bin"
    own.mkdir()
    for name, text in (("capa", CAPA), ("yr", YR.format(python=sys.executable))):
        (own / name).write_text(text)
        (own / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(own), prepend=os.pathsep)

    def shell(block: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", as_files + block],
            cwd=tmp_path,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return os.fsdecode(done.stdout)

    latin = os.fsdecode(bytes_of_it)
    both = f"capa <dir/wow!.exe>\ncapa <{latin}>\n"
    assert shell(capa) == f"capa <dir/less.exe>\ncapa <{odd}>\ncapa <dir/plain.exe>\n{both}"
    assert shell(groups) == f"capa <{odd}>\ncapa <{latin}>\ncapa <dir/plain.exe>\n"
    names = ("dir/less.exe", "dir/plain.exe", "dir/wow!.exe", latin)
    assert shell(yara) == "".join(f"mz {name}\n" for name in names)
    assert not (tmp_path / "made").exists()
    shell(back.splitlines()[0])
    done = run_cli("scan", "--files-from", "hits.txt", "-f", "csv", "--fields", "path")
    shown = ["path", "dir/less.exe", "dir/plain.exe", "dir/wow!.exe", "dir/caf\\xe9.exe"]
    assert done.stdout.decode().split() == shown
