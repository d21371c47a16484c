"""Turn the list of `maltriage explain --offsets` into commands for radare2.

    maltriage explain x.exe --offsets -o x.tsv
    python maltriage_r2.py x.tsv > x.r2
    r2 -i x.r2 x.exe

Each hot range and word becomes a flag (`maltriage.range.1` is the hottest) and a comment. Comments
come from the sample: they go as base64, so that none can be read as a command of radare2. A place
that is not mapped, as in an overlay, has no address and is left out. Of a list of several files
name one by its sha256 or the first digits: `python maltriage_r2.py x.tsv 682344 > x.r2`.
"""

import base64
import csv
import sys


def rows_of(lines, digest=""):
    """The rows of a list, of the one file whose sha256 begins so."""
    rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    found = [row for row in rows if row["sha256"].startswith(digest.lower())]
    files = sorted({row["sha256"] for row in found})
    if len(files) > 1:
        raise ValueError("name one file of the list by its sha256: " + ", ".join(files))
    if digest and not files:
        raise ValueError("no file in the list has this sha256: " + digest)
    return found


def commands(lines, digest=""):
    """The commands of radare2 for the lines of a list; see `rows_of`."""
    rows, counts = rows_of(lines, digest), {}
    yield "fs+maltriage"
    for row in rows:
        if not row["address"]:
            continue
        address = int(row["address"], 16)
        size = int(row["end"], 16) - int(row["offset"], 16) if row["end"] else 1
        kind = "word" if row["kind"] == "word" else "range"
        counts[kind] = counts.get(kind, 0) + 1
        comment = base64.b64encode(("maltriage " + row["comment"]).encode("utf-8")).decode()
        yield "f maltriage.%s.%d %d @ 0x%x" % (kind, counts[kind], size, address)
        yield "CCu base64:%s @ 0x%x" % (comment, address)
    yield "fs-"
    if counts.get("range"):
        yield "s maltriage.range.1"


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python maltriage_r2.py LIST.tsv [SHA256] > OUT.r2")
    with open(sys.argv[1], encoding="utf-8", newline="\n") as lines:
        try:
            sys.stdout.write("\n".join(commands(lines, *sys.argv[2:])) + "\n")
        except ValueError as error:
            sys.exit("maltriage_r2: %s" % error)


if __name__ == "__main__":
    main()
