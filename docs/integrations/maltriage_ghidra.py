# Mark what `maltriage explain --offsets` lists in the open program.
# @category maltriage
#
# maltriage explain x.exe --offsets -o x.tsv; then run this from the Script Manager and choose
# x.tsv. Each hot range and word becomes a bookmark of the category "maltriage" (Window, Bookmarks)
# and a comment before the instruction; the program then shows the hottest range. Addresses are
# counted from the program's own image base, wherever it was loaded. Of a list of several files the
# places of the open one are taken. For PyGhidra and Jython.

import io


def entries(lines, digest):
    """(rva, kind, comment) of each line of a list that is mapped and of the file of this sha256."""
    lines = iter(lines)
    names = next(lines).rstrip("\n").split("\t")
    for line in lines:
        row = dict(zip(names, line.rstrip("\n").split("\t")))
        if row.get("rva") and row["sha256"] == digest:
            yield int(row["rva"], 16), row["kind"], row["comment"]


def samples(lines):
    """The sha256 of each sample in a list."""
    return sorted({line.split("\t")[0] for line in lines[1:]})


def mark(path):
    with io.open(path, encoding="utf-8") as file:
        lines = file.readlines()
    listed, own = samples(lines), (currentProgram.getExecutableSHA256() or "").lower()
    if own and listed and own not in listed:
        popup("The list is of another file: " + ", ".join(listed))
        return
    if not own and len(listed) > 1:
        popup("The list is of several files, and Ghidra does not know which of them this is.")
        return
    base, first, said = currentProgram.getImageBase(), None, {}
    for rva, kind, comment in entries(lines, own or "".join(listed)):
        here = said.setdefault(rva, [])  # a range may begin with a word
        if comment not in here:
            here.append(comment)
        address = base.add(rva)
        createBookmark(address, "maltriage", "; ".join(here))
        setPreComment(address, "\n".join("maltriage " + each for each in here))
        if first is None and kind == "range":
            first = address
    if first is not None:
        goTo(first)


if "currentProgram" in globals():
    mark(askFile("List of maltriage explain --offsets", "Open").getAbsolutePath())
