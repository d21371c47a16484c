"""Realistic result documents for tests, made by hand: deterministic, and their sums add up."""

from __future__ import annotations

import base64
import hashlib
import math
from typing import Any

import msgspec

from maltriage.report.documents.evidence import (
    Check,
    Checks,
    Controls,
    Evidence,
    HotRange,
    MaskEffect,
    Plane,
    RegionHeat,
    Status,
    ViewHeat,
)
from maltriage.report.documents.record import (
    Failed,
    ModelRef,
    Neighbour,
    Ranked,
    Result,
    Similar,
    Skipped,
    Summary,
    Timing,
    Verdict,
)
from maltriage.sample.findings import (
    FoundString,
    HeaderField,
    HotContent,
    ImportedNames,
    Instruction,
    Listing,
    ResourceRef,
)
from maltriage.sample.types import Identity, Layout, Notice, Region, VersionInfo

LABELS = ("benign", "icedid", "bifrose", "phorpiex", "dreambot", "maze", "agent")
MODEL = ModelRef("maltriage-evidence", hashlib.sha256(b"weights").hexdigest())

REGIONS = (
    # name, kind, start, end, rva, entropy, contribution
    ("header", "header", 0x0, 0x400, 0x0, 2.61, 0.2134),
    (".text", "section", 0x400, 0x2AC00, 0x1000, 6.52, 1.9821),
    (".rdata", "section", 0x2AC00, 0x36200, 0x2C000, 5.13, 0.3017),
    (".data", "section", 0x36200, 0x38000, 0x38000, 3.92, -0.1120),
    (".rsrc", "section", 0x38000, 0x5E400, 0x3B000, 7.91, 1.2440),
    (".reloc", "section", 0x5E400, 0x60200, 0x62000, 6.61, -0.0411),
    ("overlay", "overlay", 0x60200, 0x64C00, None, 7.99, -0.3650),
)
PADDING = -0.0213
BIAS = -0.4087


def sha256_of(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()


def make_verdict(
    label: str = "icedid",
    probability: float = 0.921,
    margin: float | None = 3.412,
    threshold: float | None = 1.204,
    closest: str | None = None,
    **changes: Any,
) -> Verdict:
    """A verdict whose flag follows from margin and threshold, as triage decides it."""
    flagged = None if margin is None or threshold is None else margin >= threshold
    first = closest or label
    others = [name for name in LABELS if name != first]
    left = 1.0 - probability
    ranked = [Ranked(first, probability)]
    ranked += [Ranked(name, left * 0.6 * 0.4**i) for i, name in enumerate(others[:-1])]
    ranked.append(Ranked(others[-1], max(0.0, 1.0 - math.fsum(r.probability for r in ranked))))
    verdict = Verdict(
        label=label,
        closest=closest,
        probability=probability,
        calibrated=True,
        flagged=flagged,
        margin=margin,
        threshold=threshold,
        fpr=None if threshold is None else 0.01,
        goodware=None if threshold is None else "clean-set",
        ranked=ranked,
    )
    return msgspec.structs.replace(verdict, **changes)


def make_plane(size: int = 64, cells: int = 16) -> Plane:
    """A picture with text, code, a packed block and padding, and heat on some of it."""
    pixels = bytearray()
    for y in range(size):
        for x in range(size):
            noise = (x * 7919 + y * 104729 + x * y * 31) % 97
            if y < 2:
                value = 40 + noise // 2 if x < size // 2 else 0
            elif y < size * 5 // 10:
                value = 90 + noise // 2
            elif y < size * 6 // 10:
                value = 30 + (x % 8) * 12
            elif y < size * 9 // 10:
                value = 110 + noise
            else:
                value = 8
            pixels.append(value)
    heat = [
        0.02 * math.exp(-(((i - 4) / 2.0) ** 2) - ((j - 6) / 4.0) ** 2)
        + 0.014 * math.exp(-(((i - 11) / 1.5) ** 2) - ((j - 11) / 3.0) ** 2)
        - 0.012 * math.exp(-(((i - 14) / 1.0) ** 2) - ((j - 3) / 4.0) ** 2)
        for i in range(cells)
        for j in range(cells)
    ]
    picture = base64.b64encode(bytes(pixels)).decode()
    return Plane(size, size, picture, cells, cells, heat, length=REGIONS[-1][3], row_bytes=512)


def make_evidence(
    label: str = "icedid",
    against: str | None = "benign",
    plane: bool | Plane = False,
    **changes: Any,
) -> Evidence:
    weight = sum(abs(r[6]) for r in REGIONS) + abs(PADDING)
    total = math.fsum(r[6] for r in REGIONS) + PADDING
    picture = (make_plane() if plane else None) if isinstance(plane, bool) else plane
    in_views = {
        "head": (0.2134, 0x0, 0x1000),
        "entry": (1.1022, 0x1AC00, 0x1BC00),
        "import": (0.2417, 0x2E210, 0x2F210),
        "resource": (0.7310, 0x38000, 0x39000),
        "last_section": (-0.0411, 0x5E400, 0x5F400),
        "tail": (-0.3650, 0x63C00, 0x64C00),
    }
    body = total - math.fsum(v[0] for v in in_views.values())
    evidence = Evidence(
        method="hirescam",
        label=label,
        against=against,
        additive=True,
        total=total,
        bias=BIAS,
        logit=total + BIAS,
        regions=[
            RegionHeat(name, kind, start, end, entropy, value, value / weight)  # type: ignore[arg-type]
            for name, kind, start, end, _, entropy, value in REGIONS
        ],
        padding=PADDING,
        hot=[
            HotRange(
                0x1AC00,
                0x1B000,
                ".text",
                0x1B800,
                0.8123,
                (b"\x55\x8b\xec\x83\xec\x18\x53V" * 4).hex(),
            ),
            HotRange(0x38100, 0x38300, ".rsrc", 0x3B100, 0.3310, bytes(range(0x20, 0x40)).hex()),
            HotRange(0x0, 0x100, "header", 0x0, 0.1011, b"MZ\x90\x00\x03\x00\x00\x00".hex()),
            HotRange(0x60300, 0x60400, "overlay", None, 0.0405, None),
        ],
        views=[
            ViewHeat("body", body, None, None),
            *(ViewHeat(name, *value) for name, value in in_views.items()),
        ],
        plane=picture,
    )
    return msgspec.structs.replace(evidence, **changes)


MASKS = ("zeros", "histogram", "shuffle")
MEASURED: dict[str, tuple[float, Status, bool]] = {
    # region: measured, status, whether there was room for controls
    "header": (0.2604, "supported", True),
    ".text": (2.2057, "supported", False),
    ".rdata": (0.0511, "weak", True),
    ".data": (-0.0612, "negligible", True),
    ".rsrc": (-0.4210, "contradicted", True),
    ".reloc": (0.0, "negligible", True),
    "overlay": (-0.3127, "supported", True),
}


def make_check(
    start: int, end: int, claimed: float, measured: float, status: Status, controls: bool = True
) -> Check:
    effects = [MaskEffect(m, measured + d, 0.1) for m, d in zip(MASKS, (0, 0.1, -0.1), strict=True)]
    quiet = Controls([end + 256 * i for i in range(9)], [0.01 * i for i in range(9)], 0.072)
    found = quiet if controls else None
    return Check(start, end, claimed, measured, 0.1, status, effects, found)


def make_checks(evidence: Evidence, **changes: Any) -> Checks:
    """Checks of every region of `make_evidence`, and of its two hottest ranges."""
    regions = [
        make_check(r.start, r.end, r.contribution, *MEASURED[r.name]) for r in evidence.regions
    ]
    hot = [
        make_check(h.start, h.end, h.contribution, h.contribution * 0.9, "supported")
        for h in evidence.hot[:2]
    ]
    checks = Checks(7, 0.714, 0.085, regions, hot, hot_left=len(evidence.hot) - len(hot))
    return msgspec.structs.replace(checks, **changes)


def make_checked(*arguments: Any, **changes: Any) -> Result:
    """A result whose evidence was put to the test."""
    result = make_result(*arguments, **changes)
    evidence = result.evidence
    evidence = msgspec.structs.replace(evidence, checks=make_checks(evidence))
    return msgspec.structs.replace(result, evidence=evidence)


def make_contents() -> dict[str, HotContent]:
    """A content of each kind that has its own lines, by name; their offsets fit the regions."""

    def content(kind: str, rva: int | None, **parts: Any) -> HotContent:
        va = None if rva is None else 0x400000 + rva
        parts = {"snapped": (0, 0), "focus": 0x1AC00, "entropy": 5.6, **parts}
        return HotContent(kind=kind, rva=rva, va=va, **parts)  # type: ignore[arg-type]

    def instruction(offset: int, raw: str, mnemonic: str, operands: str, *comment: str) -> Any:
        return Instruction(offset, offset + 0xC00, raw, mnemonic, operands, *comment)

    code = [
        instruction(0x1AC00, "55", "push", "ebp"),
        instruction(0x1AC01, "8bec", "mov", "ebp, esp"),
        instruction(0x1AC03, "6840f34200", "push", "0x42f340", '"http://%s/gate.php"'),
        instruction(0x1AC08, "ff1540c14200", "call", "dword ptr [0x42c140]", "WININET.dll!Open"),
        *(instruction(0x1AC0E + i, "90", "nop", "") for i in range(9)),
    ]
    leaf = ResourceRef("RCDATA", "PAYLOAD", "russian (0x419)", 0x38000, 0x5E000)
    fields = [
        HeaderField(0x80, 4, "PE signature", "PE\\0\\0", 0.0),
        HeaderField(0x84, 2, "COFF Machine", "0x14c (i386)", -0.01),
        HeaderField(0xA8, 4, "Optional AddressOfEntryPoint", "0x1b800", 0.4),
        HeaderField(0x178, 40, "Section 1", ".text r-x, 0x2a800 bytes at 0x400"),
    ]
    il = [Instruction(0x1AC01, 0x1B801, "7201000070", "ldstr", '"hello"')]
    texts = [
        FoundString(0x60310, "ascii", "cmd.exe /c del %s"),
        FoundString(0x60330, "utf-16le", "SOFTWARE\\Run", True),
    ]
    return {
        "code": content(
            "code",
            0x1B800,
            snapped=(12, 40),
            code=Listing("x86", True, "call", "sub_41b800", 0x1AC00, code),
        ),
        "il": content("il", 0x1B800, il=Listing("il", False, "method", "A.B::C", 0x1AC00, il)),
        "resource": content("resource", 0x3B100, resource=leaf, entropy=7.9, notes=["packed"]),
        "header": content("header", 0, fields=fields, snapped=(0, -16)),
        "strings": content("strings", None, strings=texts),
        "metadata": content("metadata", 0x2000, metadata="stream #US", strings=texts),
        "imports": content("imports", 0x2C000, imports=[ImportedNames("A.dll", ["Open"], 3)]),
        "exports": content("exports", 0x2C000, exports=["DllRegisterServer"]),
    }


def make_layout(**changes: Any) -> Layout:
    layout = Layout(
        parser="lief",
        machine="I386",
        bits=32,
        dotnet=False,
        image_base=0x400000,
        regions=[
            Region(name, kind, start, end, rva, entropy)  # type: ignore[arg-type]
            for name, kind, start, end, rva, entropy, _ in REGIONS
        ],
        anchors={"entry": 0x1AE00, "import": 0x2E610, "resource": 0x38000, "last_section": 0x5E400},
    )
    return msgspec.structs.replace(layout, **changes)


def make_identity(sha256: str, size: int, hashes: bool = False, **changes: Any) -> Identity:
    identity = Identity(
        sha256=sha256,
        size=size,
        md5=hashlib.md5(sha256.encode(), usedforsecurity=False).hexdigest() if hashes else None,
        sha1=hashlib.sha1(sha256.encode(), usedforsecurity=False).hexdigest() if hashes else None,
        tlsh="T1" + sha256.upper() + "00AB12" if hashes else None,
        imphash=hashlib.md5(b"imphash", usedforsecurity=False).hexdigest(),
        rich_hash=hashlib.md5(b"rich", usedforsecurity=False).hexdigest(),
        compile_time="2020-11-18T09:21:44Z",
        pdb_path="c:\\Sea\\meet\\Wave\\Pull\\Town\\shoe.pdb",
        version=VersionInfo("Tie Company", "Sea meet", "shoe.dll", "3.1.0.7", "Sea meets shoe"),
        signer="CN=Better Software Ltd, C=GB",
    )
    return msgspec.structs.replace(identity, **changes)


def make_result(
    path: str = "cases/2024-117/invoice_0481.exe",
    verdict: Verdict | None = None,
    notices: tuple[tuple[str, str], ...] = (),
    plane: bool = False,
    hashes: bool = False,
    **changes: Any,
) -> Result:
    """A result; `changes` replace fields of it, `sha256` those of its identity too."""
    verdict = verdict or make_verdict()
    sha256 = changes.pop("sha256", None) or sha256_of(path)
    size = changes.pop("size", REGIONS[-1][3])
    explained = verdict.closest or verdict.label
    against = "benign" if verdict.flagged else None
    result = Result(
        path=path,
        sha256=sha256,
        size=size,
        format="pe",
        identity=make_identity(sha256, size, hashes),
        verdict=verdict,
        evidence=make_evidence(explained, against, plane),
        layout=make_layout(),
        notices=[Notice(code, text) for code, text in notices],
        model=MODEL,
        timing=Timing(prepare_ms=4.2, model_ms=2.4),
    )
    return msgspec.structs.replace(result, **changes)


def make_similar(*distances: float, label: str = "icedid", **changes: Any) -> Similar:
    """What a sample resembles, in an index of 1,532 files whose limit is 0.4."""
    nearest = [Neighbour(sha256_of(f"near {i}"), label, d) for i, d in enumerate(distances)]
    similar = Similar(sha256_of("index"), 1532, "centred-cosine", 0.4, None, nearest)
    return msgspec.structs.replace(similar, **changes)


def make_skipped(path: str = "cases/2024-117/notes.txt", **changes: Any) -> Skipped:
    skipped = Skipped(path, "not-pe", "neither a PE file nor a byteplot PNG")
    return msgspec.structs.replace(skipped, **changes)


def make_failed(path: str = "cases/2024-117/locked.exe", **changes: Any) -> Failed:
    failed = Failed(path, "unreadable", "permission denied")
    return msgspec.structs.replace(failed, **changes)


def make_summary(**changes: Any) -> Summary:
    summary = Summary(
        files=8,
        flagged=4,
        failed=1,
        skipped=2,
        bytes=8 * REGIONS[-1][3],
        seconds=0.095,
        interrupted=False,
        model=MODEL,
        version="0.1.0",
    )
    return msgspec.structs.replace(summary, **changes)


def make_scan() -> list[Result | Skipped | Failed]:
    """What a small folder gives: every kind of verdict, a copy, a skip and a failure."""
    packed = ("packed?", ".rsrc has entropy 7.91 and fills a third of the file")
    disarmed = ("disarmed", "Machine and Subsystem are zero, as SOREL-20M ships its samples")
    benign = make_verdict("benign", 0.988, -6.2)
    unsure = make_verdict("benign", 0.571, 0.31)
    managed = (".net", "managed code: the bytes are mostly metadata")
    short = ("truncated", "the last section ends 4,096 bytes past the end")
    closest = make_verdict("suspicious", 0.412, 1.65, closest="bifrose")
    folder = "cases/2024-117"
    invoice, long = f"{folder}/invoice_0481.exe", "quarterly/Rechnung_2024-11_Überweisung.exe"
    invoiced = make_result(invoice, notices=(packed, disarmed))
    return [
        make_result(f"{folder}/tools/putty.exe", benign, size=1_647_912),
        invoiced,
        make_result(f"{folder}/attachments/{long}", make_verdict("phorpiex", 0.99987, 11.02)),
        msgspec.structs.replace(invoiced, path=f"{folder}/copy of invoice.exe"),
        make_skipped(),
        make_result(f"{folder}/svch0st.exe", closest, notices=(short,)),
        make_result(f"{folder}/下载/安装程序.exe", make_verdict("maze", 0.486, 0.92)),
        make_result(f"{folder}/lib/widget.dll", unsure, size=24_064, notices=(managed,)),
        make_failed(),
        make_result(f"{folder}/odd.bin", make_verdict("unknown", 0.311, 0.4)),
        make_skipped(f"{folder}/photo.png", code="not-byteplot", reason="a colour PNG"),
    ]
