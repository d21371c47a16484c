"""The screen and the Markdown of a comparison."""

from __future__ import annotations

import io

import msgspec
from rich.console import Console

from maltriage.metrics import Interval
from maltriage.report.documents.comparison import Agreement, Comparison, Row, Timing
from maltriage.report.documents.evaluation import Difference, FoldFigures, Spread
from maltriage.report.studies.comparison import markdown, render

HOSTILE = "a|b[/x]\x1b]52;c;!\x07"


def row(name: str, **fields: object) -> Row:
    folds = [FoldFigures(0, 0, 10, 0.5, 0.4), FoldFigures(0, 1, 10, 0.7, 0.6)]
    known = {
        "name": name,
        "net": False,
        "seeds": [0],
        "samples": 20,
        "accuracy": Spread(0.6, 0.1414),
        "macro_f1": Spread(0.5, 0.1414),
        "pooled_macro_f1": Spread(0.52, 0.0),
        "folds": folds,
        "duplicates": 1,
    }
    return msgspec.convert(known | fields, Row)


def comparison() -> Comparison:
    """Two nets, of which the second differs, and a peer with a name that is no friend's."""
    net = {"net": True, "views": ["byteplot"], "image_size": 64, "near_twins": 2}
    cost = {"parameters": 1_234_567, "flops": 15_300_000_000, "bundle_bytes": 5 << 20}
    times = Timing(12.3456, 12.0, 13.0, 25)
    less = Difference("mcnn", "gibert", [0], Interval(0.1, 0.0, 0.2), Interval(-0.05, -0.1, 0.0))
    return Comparison(
        maltriage_version="1",
        dataset="vx-zoo",
        manifest_sha256="0" * 64,
        samples=20,
        goodware_samples=0,
        labels=["benign", "zeus"],
        split="grouped",
        split_seed=0,
        folds=2,
        reference="gibert",
        left_out={},
        unfinished=["mcnn, seed 1 (1 of 2 folds)"],
        rows=[
            row(
                *("gibert",),
                **net,
                **cost,
                epochs=30,
                timing=times,
                agreement=Agreement(0.8, 0.1, 8, 0, False),
            ),
            row(
                *("mcnn",),
                **net,
                epochs=5,
                difference=less,
                agreement=Agreement(1.0, 0.0, 0, 0, True),
            ),
            row(HOSTILE),
        ],
    )


def test_the_screen() -> None:
    out = io.StringIO()
    render(comparison(), Console(file=out, width=160))
    text = out.getvalue()
    assert "\x1b" not in text
    for words in (
        "vx-zoo: 20 samples, 2 labels; 20 tested, 2 grouped folds, 1 seed, views byteplot at 64.",
        "0.500 ± 0.141",
        "1.2M",
        "15.3G",
        "12.35",
        "5.0M",
        "= 1",
        "1 / 2",
        "1 / -",
        "mcnn:  accuracy +0.100 (+0.000 to +0.200),  macro-F1 -0.050 (-0.100 to +0.000)",
        "not finished: mcnn, seed 1 (1 of 2 folds)",
        r"a|b[/x]\x1b]52;c;!\x07",
    ):
        assert words in text
    # Of one seed a mean has no spread.
    assert "0.520 ±" not in text


def test_the_table_in_markdown() -> None:
    lines = markdown(comparison()).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 5
    cells = [line.replace(r"\|", "").count("|") for line in rows]
    assert len(set(cells)) == 1
    assert "macro-F1 less gibert" in rows[0]
    assert "-0.050 (-0.100 to +0.000)" in rows[3]
    assert r"a\|b\[/x\]\\x1b\]52;c;!\\x07" in rows[4]
    assert "Not finished: mcnn, seed 1 (1 of 2 folds)." in lines
    assert sum(line.startswith("- ") for line in lines) == 6


def test_nets_of_other_views_say_which() -> None:
    found = comparison()
    other = msgspec.structs.replace(found.rows[1], views=["body", "head"], image_size=32)
    text = markdown(msgspec.structs.replace(found, rows=[found.rows[0], other]))
    assert "| byteplot at 64 |" in text
    assert "| body,head at 32 |" in text


def test_it_comes_back_from_json() -> None:
    found = comparison()
    assert msgspec.json.decode(msgspec.json.encode(found), type=Comparison) == found
