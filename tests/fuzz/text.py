"""Targets that read text: names of samples, names of rules, and URLs."""

from __future__ import annotations

import json

from fuzz.target import HIDDEN, Target

from maltriage.errors import MaltriageError
from maltriage.probe.rule.pattern import Pattern
from maltriage.report.documents.record import Failed, Skipped, encode, path_fields, path_of
from maltriage.report.sanitize import clean, json_safe
from maltriage.rules.text import rule_name
from maltriage.source.archive.find import split_path
from maltriage.source.carve import split_carved
from maltriage.source.files import read_list
from maltriage.source.urls import has_wrong_user, is_url, scrub, seal, shown, split_web

SECRET = "S3cr3tS3cr3tS3cr3t"


def text(data: bytes) -> None:
    """Text of a sample: nothing left that a terminal acts on, and lossless in JSON."""
    path = data.decode("utf-8", "surrogateescape")
    shown = clean(path, 60)
    assert not {ord(character) for character in shown} & HIDDEN
    assert len(shown) <= 60
    assert clean(clean(path)) == clean(path)
    name, raw = path_fields(path)
    for record in (Skipped(name, "empty", path[:0], raw), Failed(name, "io", "", raw)):
        line = json_safe(encode(record))
        assert line.isascii() or not {ord(c) for c in line.decode()} & HIDDEN
        assert json.loads(line)["path"] == name
        assert path_of(record) == path


def yara(data: bytes) -> None:
    """Names and strings of a rule, whatever is in them: it compiles, and holds one rule."""
    import yara_x

    family = data[:16].decode("utf-8", "replace")
    form = ("ascii", "wide", "hex")[len(data) % 3]
    body = (data or b"x")[: 64 if form != "wide" else 32]
    if form == "wide":
        body = b"".join(bytes((byte, 0)) for byte in body)
    pattern = Pattern(form, body)  # type: ignore[arg-type]
    meta = clean(data.decode("utf-8", "backslashreplace"), 80)
    said = Pattern("ascii", meta.encode("utf-8", "backslashreplace") or b"x").yara()[:-6]
    source = (
        f"rule {rule_name(family)} {{ meta: a = {said} strings: $a = {pattern.yara()}"
        " condition: $a }"
    )
    rules = yara_x.compile(source)
    assert [rule.identifier for rule in rules] == [rule_name(family)]
    assert len(list(rules.scan(body).matching_rules)) == 1


def urls(data: bytes) -> None:
    """URLs and paths of a list: split and sealed, and what lets somebody in is not shown."""
    try:
        listed = read_list(data, "x")
    except MaltriageError:
        listed = read_list(data, "x", null=True)
    for path in listed:
        split_path(path.replace("\0", ""))
        split_carved(path)
        scrub(path)
        if is_url(path):
            has_wrong_user(path)
            assert shown(shown(path)) == shown(path)
            split_web(path)
    try:
        names, remote = seal(listed)
    except MaltriageError:
        return
    if remote is not None:
        assert len({*names}) <= len(names)
        for name in names:
            remote.whole(name)
    rest = data.decode("latin-1").replace("::", "")
    for url in (f"https://u:{SECRET}@h/{rest}", f"https://h/{rest}?token={SECRET}&x={rest}"):
        assert SECRET not in shown(url)


def _texts() -> list[bytes]:
    from hostile.corpus import NAMES

    return [*NAMES.values(), "é́̂̃日本\u2028".encode(), b"plain.exe"]


def _urls() -> list[bytes]:
    return [
        b"https://u:p@h.example/a.zip!b.exe?sig=0123456789abcdef\ns3://bucket/a!b\n-\n",
        b"abfs://c@account.example/x\nzip://x.exe::s3://b/a.zip\nx.exe!carved@0x1a400.exe",
    ]


TARGETS = {
    "text": Target(text, _texts, (b"\x1b[", b"\xe2\x80\xae", b"\xc2\x9b", b"\xff")),
    "urls": Target(urls, _urls, (b"://", b"::", b"!", b"@", b"?", b"#", b"token=", b"%21")),
    "yara": Target(yara, _texts, (b'"', b"\\", b"{", b"}", b"//", b"/*")),
}
