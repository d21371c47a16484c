"""How much of the score of clean files rests on their headers, by kind of file.

    maltriage scan GOODWARE/test -f ndjson -o records.ndjson --exit-zero
    python benchmarks/header_share.py records.ndjson

Reads saved records of a scan, so this is the tool's own account. For files that are called
benign, the account is of `benign` against the mean of all labels: printed are the mean of that
score, of what the bias says (the same for every file), of what the window on the PE header
says, of what all views say about the bytes of the region `(headers)`, and the share of files
that would still have a positive score without the header window.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import msgspec
import numpy as np

from maltriage.bundle import BENIGN
from maltriage.report.documents.record import Result

WINDOW = "header"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("records", type=Path)
    rows: dict[str, list[tuple[float, float, float, float]]] = defaultdict(list)
    with parser.parse_args().records.open("rb") as file:
        for line in file:
            if msgspec.json.decode(line).get("type") != "result":
                continue
            found = msgspec.json.decode(line, type=Result)
            evidence = found.evidence
            if evidence.label != BENIGN or evidence.against is not None:
                continue
            window = sum(v.contribution for v in evidence.views if v.name == WINDOW)
            region = sum(r.contribution for r in evidence.regions if r.kind == "header")
            kind = found.layout.kind or "none"
            rows[kind].append((evidence.logit, evidence.bias, window, region))
    print(
        f"{'kind':8s} {'files':>6s} {'score':>8s} {'bias':>8s} {'window':>8s} {'region':>8s}"
        f" {'positive without':>17s}"
    )
    for kind, values in sorted(rows.items()):
        score, bias, window, region = np.array(values).T
        print(
            f"{kind:8s} {len(values):6d} {score.mean():8.2f} {bias.mean():8.2f}"
            f" {window.mean():8.2f} {region.mean():8.2f} {(score - window > 0).mean():17.1%}"
        )


if __name__ == "__main__":
    main()
