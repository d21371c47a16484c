"""What is fuzzed: functions of bytes that fail only where this package is wrong.

Each takes any bytes, lets through the errors that the function under test is documented to raise,
and asserts what must hold of its answer. `Target.seeds` are inputs to begin from, `words` a
dictionary. `run.py` drives them with atheris, `test_targets.py` with a few mutations.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec
import numpy as np

from maltriage import bundle as bundles
from maltriage.errors import MaltriageError
from maltriage.probe.inspect.worker import look
from maltriage.probe.rule.pattern import Pattern
from maltriage.report.documents.record import Failed, Skipped, encode, path_fields, path_of
from maltriage.report.documents.saved import is_report, look_through
from maltriage.report.sanitize import clean, json_safe
from maltriage.rules.text import rule_name
from maltriage.sample.byteplot import make_views
from maltriage.sample.errors import SampleError
from maltriage.sample.geometry import BodyGeometry, width_for
from maltriage.sample.hexdump import DumpError, parse_dump
from maltriage.sample.identity import identify
from maltriage.sample.layout import make_layout
from maltriage.sample.notices import observe
from maltriage.sample.pe import read_headers
from maltriage.sample.views import ViewSpec, WindowSpec
from maltriage.source.archive.kinds import archive_kind
from maltriage.source.archive.limits import Archives
from maltriage.source.archive.walk import Member, Walk
from maltriage.source.carve import carve
from maltriage.source.decode import parse_contents
from maltriage.source.reading import Reading

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
_HIDDEN = set(range(0x20)) | set(range(0x7F, 0xA0)) | {0x202E, 0x2066, 0x200B, 0xFEFF, 0xD800}


@dataclass(frozen=True)
class Target:
    """`native`: whether it goes through code in C or C++ that may crash the process."""

    run: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    words: tuple[bytes, ...] = ()
    native: bool = False


def layout(data: bytes) -> None:
    """Headers, regions, identity, notices: regions cover every byte once."""
    headers = read_headers(data)
    found, _ = make_layout(data, headers)
    at = 0
    for region in found.regions:
        assert region.start == at < region.end
        at = region.end
    assert at == len(data)
    assert all(0 <= place < len(data) for place in found.anchors.values())
    identify(data, headers)
    observe(data, headers, found)
    for carved in carve(data):
        assert 0 < carved.start < carved.end <= len(data)


@cache
def _views() -> tuple[ViewSpec, ...]:
    return bundles.load(bundles.resolve(None)).card.views


def byteplot(data: bytes) -> None:
    """Views and their geometry: shapes as stated, heat conserved over any cut of the file."""
    anchor = int.from_bytes(data[:4], "little")
    names = [spec.anchor for spec in _views() if isinstance(spec, WindowSpec)]
    views = make_views(data, dict.fromkeys(names, anchor), _views())
    for spec in _views():
        view = views[spec.name]
        assert view.pixels.shape == spec.shape
        shape = view.pixels.shape[-2:] if isinstance(view.geometry, BodyGeometry) else (1, 32)
        heat = np.frombuffer(data[: int(np.prod(shape))].ljust(int(np.prod(shape)), b"\1"), "u1")
        heat = heat.reshape(shape).astype(np.float64) - 100.0
        cuts = np.unique([0, len(data) // 3, len(data) // 2, len(data)])
        upto = view.geometry.integrate(heat, cuts)
        assert np.isfinite(upto).all()
        assert upto[0] == 0.0
        # Of heat above zero no range has more than there is, and none less than nothing.
        rising = view.geometry.integrate(np.abs(heat), cuts)
        assert (np.diff(rising) >= -1e-9 * np.abs(heat).sum()).all()
        assert rising[-1] <= np.abs(heat).sum() * (1 + 1e-9)
    assert 1 <= width_for(len(data)) <= 1024


def archive(data: bytes) -> None:
    """Any archive: caps hold, nothing but members and troubles comes out."""
    kind = archive_kind(data[:512])
    if kind is None:
        return
    limits = Archives(members=20, unpacked=1 << 20, ratio=50, nesting=3)
    walk = Walk(io.BytesIO(data), "x", len(data), limits, 1 << 18, lambda name, head: True)
    for item in walk.items(kind):
        if isinstance(item, Member):
            assert len(item.data) <= 1 << 18
            assert item.path.startswith("x!")
            cursor = walk.cursor()
            assert cursor.members <= limits.members + 1


def dump(data: bytes) -> None:
    """A hex dump: as many bytes as pairs, blocks in order."""
    try:
        found = parse_dump(data)
    except DumpError:
        return
    assert len(found.data) <= len(data)
    places = [offset for offset, _ in found.blocks or ()]
    assert places == sorted(set(places))
    assert found.unmapped <= len(found.data)


def contents(data: bytes) -> None:
    """A file of any kind: a PNG, a dump, a program."""
    for name in ("x.exe", "x.bytes"):
        try:
            found = parse_contents(name, data, Reading(max_size=1 << 20))
        except SampleError:
            continue
        assert len(found.data) <= max(len(data), 1 << 20)


def inspect(data: bytes) -> None:
    """What `explain` asks of hot ranges: code, imports, resources, metadata, strings."""
    from maltriage.probe.inspect.snap import Range

    found, _ = make_layout(data, read_headers(data))
    regions = [region for region in found.regions if region.end > region.start][:6]
    ranges = [Range(r.start, min(r.end, r.start + 256), r.start, r) for r in regions]
    for item in look(data, ranges, parse=True, snap=True):
        assert 0 <= item.start < item.end <= len(data)


def card(data: bytes) -> None:
    """The card of a bundle: refused, or what it says it is."""
    try:
        found = bundles.read_card(data, Path("x"))
    except MaltriageError:
        return
    assert len(set(found.labels)) == len(found.labels) >= 2
    assert msgspec.json.decode(msgspec.json.encode(found), type=bundles.Card) == found


def bundle(data: bytes) -> None:
    """A whole bundle: nothing but a bundle or an error of ours."""
    try:
        bundles.verified(data, "x.onnx")
    except MaltriageError:
        return


@cache
def _folder() -> Path:
    shared = Path("/dev/shm")
    return Path(tempfile.mkdtemp(dir=shared if shared.is_dir() else None))


def report(data: bytes) -> None:
    """A saved report: refused, or records that can be written again."""
    path = _folder() / "report.scan.ndjson"
    path.write_bytes(data)
    if not is_report(str(path)):
        return
    try:
        found = look_through(str(path))
        for record in found.records():
            encode(record)
    except MaltriageError:
        return


def text(data: bytes) -> None:
    """Text of a sample: nothing left that a terminal acts on, and lossless in JSON."""
    path = data.decode("utf-8", "surrogateescape")
    shown = clean(path, 60)
    assert not {ord(character) for character in shown} & _HIDDEN
    assert len(shown) <= 60
    assert clean(clean(path)) == clean(path)
    name, raw = path_fields(path)
    for record in (Skipped(name, "empty", path[:0], raw), Failed(name, "io", "", raw)):
        line = json_safe(encode(record))
        assert line.isascii() or not {ord(c) for c in line.decode()} & _HIDDEN
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


def _programs() -> list[bytes]:
    return [path.read_bytes() for path in sorted(SAMPLES.glob("*.*")) if path.suffix in _ENDINGS]


_ENDINGS = {".exe", ".dll", ".sys"}


def _headers() -> list[bytes]:
    """The parts of the samples that parsers read, short enough for many runs."""
    return [data[:0x800] for data in _programs()] + [b"MZ" + bytes(62)]


def _archives() -> list[bytes]:
    from corpus.synthetic import seven_zipped, tarred, zipped

    files = {"a.exe": b"MZ" + bytes(300), "b/c.txt": b"text"}
    packed = [tarred(files, kind) for kind in (None, "gz", "bz2", "xz", "zst")]
    return [zipped(files), zipped(files, None), seven_zipped(files, None), *packed]


def _dumps() -> list[bytes]:
    line = b" ".join([b"4D 5A ?? 00"] * 4)
    return [
        b"".join(b"%08X %s\r\n" % (0x401000 + 16 * i, line) for i in range(8)),
        line + b"\n" + line[:20],
        b"00401000 4D 5A\n00501000 00\n",
    ]


def _pictures() -> list[bytes]:
    from hostile.make import byteplot as plotted

    return [plotted(_programs()[0][:2048], 64), b"\x89PNG\r\n\x1a\n", *_dumps()]


def _cards() -> list[bytes]:
    return [msgspec.json.encode(bundles.load(path).card) for path in bundles.shipped()]


def _bundles() -> list[bytes]:
    import onnx
    from onnx import TensorProto, helper

    made = []
    for path in bundles.shipped()[:1]:
        model = onnx.load(str(path))
        del model.graph.initializer[:], model.graph.node[5:]
        made.append(model.SerializeToString())
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch"])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value], [value])
    return [*made, helper.make_model(graph).SerializeToString(), b""]


def _reports() -> list[bytes]:
    from report.factories import make_result, make_summary

    lines = [encode(make_result()), encode(Skipped("a", "not-pe", "no")), encode(make_summary())]
    return [b"\n".join(lines) + b"\n", lines[0], b"{", b"[]"]


def _texts() -> list[bytes]:
    from hostile.corpus import NAMES

    return [*NAMES.values(), "é́̂̃日本\u2028".encode(), b"plain.exe"]


_PE_WORDS = (
    *(b"MZ", b"PE\0\0", b"\x0b\x01", b"\x0b\x02", b"\x4c\x01", b"\x64\x86", b"\xff\xff\xff\xff"),
    *(b"\0\0\0\x80", b".text", b".rsrc", b"Rich", b"DanS", b"BSJB", b"#~", b"RSDS", b"UPX!"),
)
TARGETS: dict[str, Target] = {
    "layout": Target(layout, _headers, _PE_WORDS, native=True),
    "byteplot": Target(byteplot, _headers, (b"\0" * 32, b"\xff" * 32)),
    "archive": Target(
        archive,
        _archives,
        (b"PK\3\4", b"PK\1\2", b"PK\5\6", b"7z\xbc\xaf'\x1c", b"ustar", b"\x1f\x8b", b"BZh"),
        native=True,
    ),
    "dump": Target(dump, _dumps, (b"??", b"00401000 ", b"\r\n", b"FF ")),
    "contents": Target(contents, _pictures, (b"IHDR", b"IDAT", b"PLTE", b"IEND"), native=True),
    "inspect": Target(inspect, _programs, _PE_WORDS, native=True),
    "card": Target(card, _cards, (b'"labels"', b"null", b"1e999", b"[]", b"{}")),
    "bundle": Target(bundle, _bundles, (b"maltriage.card", b"\x08", b"\x12"), native=True),
    "report": Target(report, _reports, (b'"type":"result"', b"\n", b'"schema_version"')),
    "text": Target(text, _texts, (b"\x1b[", b"\xe2\x80\xae", b"\xc2\x9b", b"\xff")),
    "yara": Target(yara, _texts, (b'"', b"\\", b"{", b"}", b"//", b"/*"), native=True),
}
