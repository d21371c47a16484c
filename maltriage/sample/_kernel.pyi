from typing_extensions import Buffer

VERSION: int

def histograms(data: Buffer, edges: Buffer, out: Buffer) -> None: ...
def measure(data: Buffer, size: int, pieces: Buffer, pixels: Buffer) -> None: ...
def cell_sums(
    data: Buffer,
    width: int,
    size: int,
    rows: Buffer,
    cuts: Buffer,
    begin: int,
    end: int,
    out: Buffer,
) -> None: ...
def find_words(data: Buffer, starts: Buffer, sizes: Buffer, names: Buffer) -> int: ...
def numbered(names: Buffer, numbers: Buffer) -> int: ...
