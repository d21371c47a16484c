# Mark what `maltriage explain --offsets` lists in the open program.
# @category maltriage
#
# maltriage explain x.exe --offsets -o x.tsv; then run this from the Script Manager and choose
# x.tsv. Each hot range and word becomes a bookmark of the category "maltriage" (Window, Bookmarks)
# and a comment before the instruction; the program then shows the hottest range. Addresses are
# counted from the program's own image base, wherever it was loaded. For PyGhidra and Jython.

import io


def entries(lines):
    """(rva, kind, comment) of each line of a list that is mapped."""
    lines = iter(lines)
    names = next(lines).rstrip("\n").split("\t")
    for line in lines:
        row = dict(zip(names, line.rstrip("\n").split("\t")))
        if row.get("rva"):
            yield int(row["rva"], 16), row["kind"], row["comment"]


def sha256_of(lines):
    """The sample that a list is of; None: it is empty."""
    lines = iter(lines)
    next(lines)
    for line in lines:
        return line.split("\t")[0]
    return None


def mark(path):
    with io.open(path, encoding="utf-8") as file:
        lines = file.readlines()
    wanted, found = sha256_of(lines), currentProgram.getExecutableSHA256()
    if wanted and found and wanted.lower() != found.lower():
        popup("The list is of another file: " + wanted)
        return
    base, first = currentProgram.getImageBase(), None
    for rva, kind, comment in entries(lines):
        address = base.add(rva)
        createBookmark(address, "maltriage", comment)
        setPreComment(address, "maltriage " + comment)
        if first is None and kind == "range":
            first = address
    if first is not None:
        goTo(first)


if "currentProgram" in globals():
    mark(askFile("List of maltriage explain --offsets", "Open").getAbsolutePath())
