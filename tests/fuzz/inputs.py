"""Targets that read what an analyst gets from others: bundles, indexes, reports, lists."""

from __future__ import annotations

import io
import shutil
import zipfile
from contextlib import suppress
from functools import cache
from itertools import islice
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from fuzz.target import HIDDEN, Target, folder, programs

from maltriage import bundle as bundles
from maltriage.bundle.card import read_card
from maltriage.bundle.file import CARD_KEY
from maltriage.bundle.graph import weights_sha256
from maltriage.corpus.predictions import COLUMNS, load_predictions
from maltriage.errors import MaltriageError
from maltriage.report.documents.record import Failed, Skipped, encode
from maltriage.report.formats import EXPLAIN, SCAN, RenderOptions, open_renderer
from maltriage.report.saved.recognise import is_report
from maltriage.report.saved.report import combined, look_through
from maltriage.sample.errors import SampleError
from maltriage.similar import index as indexes
from maltriage.similar import index_file
from maltriage.similar.search import Searcher
from maltriage.source.known import read_known
from maltriage.source.stores.base import Entry, stamp
from maltriage.work.messages import Answer, read

_CUT = b"\n--\n"
"""Separates the arrays of an index in an input of that target."""
_PAGES = 4
_SCREEN = {"\n", "\r"}


def card(data: bytes) -> None:
    """The card of a bundle: refused, or what it says it is."""
    try:
        found = read_card(data, Path("x"))
    except MaltriageError:
        return
    assert len(set(found.labels)) == len(found.labels) >= 2
    assert msgspec.json.decode(msgspec.json.encode(found), type=bundles.Card) == found


def bundle(data: bytes) -> None:
    """A whole bundle: nothing but a bundle or an error of ours; any graph, with a card of it."""
    import onnx
    from google.protobuf.message import DecodeError

    with suppress(MaltriageError):
        bundles.verified(data, "x.onnx")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        return
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    right = msgspec.structs.replace(_card(), weights_sha256=weights_sha256(model))
    entry.key, entry.value = CARD_KEY, msgspec.json.encode(right).decode()
    try:
        bundles.verified(model.SerializeToString(), "x.onnx")
    except MaltriageError:
        return


@cache
def _card() -> bundles.Card:
    return bundles.load(bundles.shipped()[0]).card


def index(data: bytes) -> None:
    """An index: as it is, and as an archive of parts of the input, whose checksums are right."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, part in zip(_ARRAYS, data.split(_CUT), strict=False):
            archive.writestr(f"{name}.npy", part)
    for whole in (data, out.getvalue()):
        try:
            found = index_file.parse(whole, "x")
            indexes.info(found, None, "x")
            wanted = np.ones((1, found.header.dimensions), np.float32)
            with np.errstate(all="ignore"):
                similar = Searcher(found).search(wanted, ["0" * 64])[0]
        except MaltriageError:
            continue
        assert len(similar.nearest) <= len(found)


_ARRAYS = ("header", "centre", "embeddings", "sha256", "labels")


def report(data: bytes) -> None:
    """A saved report: refused, or records that can be written again."""
    path = folder() / "report.scan.ndjson"
    path.write_bytes(data)
    if not is_report(str(path)):
        return
    try:
        found = look_through(str(path))
        for record in found.records():
            encode(record)
    except MaltriageError:
        return


def render(data: bytes) -> None:
    """A saved report in one of the formats: nothing in text that a terminal acts on."""
    from maltriage.cli.console import make_console

    path = folder() / "render.scan.ndjson"
    path.write_bytes(data)
    if not is_report(str(path)):
        return
    formats = [*SCAN.values(), *(EXPLAIN[name] for name in ("table", "html"))]
    format = formats[len(data) % len(formats)]
    text, out = io.StringIO(), io.BytesIO()
    renderer = open_renderer(format, out, RenderOptions(), make_console("never", file=text))
    try:
        saved = look_through(str(path))
        summary = combined([saved])
        for record in saved.records():
            if format.failures or not isinstance(record, (Skipped, Failed)):
                renderer.write(record)
        renderer.finish(summary)
    except MaltriageError:
        return
    if format.name != "parquet":
        shown = text.getvalue() + out.getvalue().decode("utf-8")
        assert not {ord(character) for character in set(shown) - _SCREEN} & HIDDEN


def known(data: bytes) -> None:
    """A list of hashes: refused, or a file whose hash is not in it is not found."""
    path, cache = folder() / "known.txt", folder() / "known"
    path.write_bytes(data)
    cache.mkdir(mode=0o700, exist_ok=True)
    try:
        found = read_known(str(path), cache)
    except MaltriageError:
        return
    finally:
        for old in cache.iterdir():
            shutil.rmtree(old)
    assert sum(found.counts.values()) * 32 <= len(data)


def message(data: bytes) -> None:
    """The answer of a worker: a value, or an error; nothing of it is called."""
    try:
        read(data)
    except OSError:
        return


def predictions(data: bytes) -> None:
    """Predictions of another classifier: refused, or as many of each column."""
    path = folder() / "predictions.csv"
    path.write_bytes(data)
    try:
        found = load_predictions(path)
    except MaltriageError:
        return
    assert found.logits.shape == (len(found), len(found.labels))
    assert np.isfinite(found.logits).all()


def listing(data: bytes) -> None:
    """What a bucket's server answers when its files are listed: entries, or an error of ours."""
    from maltriage.source.stores.s3 import S3

    stamp(data.decode("latin-1"), data)
    store = S3.__new__(S3)
    store._fs = _Server(data)
    for depth in (None, 1):
        pages = store.pages("s3://bucket/a", depth, lambda name: False)
        for page in islice(pages, _PAGES):
            assert all(isinstance(item, (Entry, SampleError)) for item in page)
    for ask in (store.status, lambda url, _: store.is_file(url)):
        try:
            ask("s3://bucket/a", "s3://bucket/a")
        except SampleError:
            continue


class _Server:
    """A file system of s3fs whose server answers every request with the same body."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def split_path(self, path: str) -> tuple[str, str]:
        return path.split("/", 1)[0], ""

    def call_s3(self, method: str, **_: Any) -> Any:
        from botocore.parsers import RestXMLParser

        head = {"etag": self._body[:40].decode("latin-1"), "last-modified": "x"}
        said = {"status_code": 200, "headers": head, "body": self._body}
        return RestXMLParser().parse(said, _shape(method))


@cache
def _shape(method: str) -> Any:
    import botocore.session

    model = botocore.session.get_session().get_service_model("s3")
    return model.operation_model("".join(map(str.title, method.split("_")))).output_shape


def _cards() -> list[bytes]:
    return [msgspec.json.encode(bundles.load(path).card) for path in bundles.shipped()]


def _bundles() -> list[bytes]:
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load(str(bundles.shipped()[0]))
    for field in ("initializer", "value_info", "node", "sparse_initializer"):
        model.graph.ClearField(field)
    model.graph.node.append(helper.make_node("Relu", ["x"], ["y"]))
    made = [model.SerializeToString()]
    del model.metadata_props[:]
    made.append(model.SerializeToString())
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch"])
    inner = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "i", [value], [value])
    node = helper.make_node("Loop", ["x"], ["y"], body=inner)
    graph = helper.make_graph([node], "g", [value], [value])
    return [*made, helper.make_model(graph).SerializeToString(), b""]


def _indexes() -> list[bytes]:
    vectors = np.eye(3, 4, dtype=np.float32)
    empty = indexes.empty(bundles.load(bundles.shipped()[0]))
    made = indexes.grown(empty, ["0" * 64, "1" * 64, "2" * 64], ["a", "b", "a"], vectors).index
    path = folder() / "seed.index.npz"
    index_file.write(made, path)
    with zipfile.ZipFile(path) as archive:
        parts = [archive.read(f"{name}.npy") for name in _ARRAYS]
    return [path.read_bytes(), _CUT.join(parts)]


def _reports() -> list[bytes]:
    from report.factories import make_checked, make_result, make_summary

    lines = [encode(make_result()), encode(Skipped("a", "not-pe", "no")), encode(make_summary())]
    one = encode(make_checked(plane=True))
    return [b"\n".join(lines) + b"\n", lines[0], one, b"{", b"[]"]


def _lists() -> list[bytes]:
    line = b"d41d8cd98f00b204e9800998ecf8427e"
    return [
        b"# known\n" + line + b"  a.exe\n" + line + b"\n",
        b'"SHA-1","MD5","FileName"\r\n"' + line + b'01234567","' + line + b'","a.exe"\r\n',
        line + line + b"\n",
    ]


def _messages() -> list[bytes]:
    from maltriage.sample.layout import make_layout
    from maltriage.sample.pe import read_headers

    data = programs()[0]
    found, notices = make_layout(data, read_headers(data))
    values = (found, notices, SampleError("io", "x"), np.arange(6).reshape(2, 3), ValueError("x"))
    return [bytes(ForkingPickler.dumps(Answer(1, value, None))) for value in values]


def _predictions() -> list[bytes]:
    rows = [",".join((*COLUMNS, "a", "b")), "net,1,00,a,0,0,1.5,-1", "net,1,11,b,1,0,0,1"]
    return ["\n".join(rows).encode()]


def _listings() -> list[bytes]:
    item = (
        b"<Contents><Key>a/b</Key><LastModified>2024-01-01T00:00:00Z</LastModified>"
        b"<ETag>x</ETag><Size>7</Size></Contents>"
    )
    more = b"<IsTruncated>true</IsTruncated><NextContinuationToken>x</NextContinuationToken>"
    parts = (item, item * 2 + more, b"<CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes>")
    dates = [b"Mon, 01 Jan 2024 00:00:00 GMT", b"2024-01-01T00:00:00+01:00"]
    return [b"<ListBucketResult>" + part + b"</ListBucketResult>" for part in parts] + dates


TARGETS = {
    "card": Target(card, _cards, (b'"labels"', b"null", b"1e999", b"[]", b"{}")),
    "bundle": Target(bundle, _bundles, (b"maltriage.card", b"\x08", b"\x12"), longest=30_000),
    "index": Target(index, _indexes, (_CUT, b"'shape': (", b"'descr': '<f2'")),
    "report": Target(report, _reports, (b'"type":"result"', b"\n", b'"schema_version"')),
    "render": Target(render, _reports, (b"1e308", b"null", b"\xe2\x80\xae")),
    "known": Target(known, _lists, (b"SHA-256", b'"', b",", b"#", b"\r\n")),
    "message": Target(message, _messages, (b"c", b"\x93", b"R", b"b", b"\x94", b"numpy")),
    "predictions": Target(predictions, _predictions, (b"nan", b"1e999", b'"')),
    "listing": Target(listing, _listings, (b"<Key>", b"</Key>", b"<Prefix>", b"true")),
}
