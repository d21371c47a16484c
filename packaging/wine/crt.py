"""Gives Wine's C runtime three functions of complex numbers that NumPy asks for when it starts.

    python packaging/wine/crt.py .../wine/x86_64-windows/ucrtbase.dll

Wine 10 has their names and ends a program that calls them. Their code is a few bytes each.
"""

import sys
from pathlib import Path

import pefile

CODE = {
    "crealf": "660f6ec1c3",  # movd xmm0, ecx; ret
    "cimagf": "48c1e920660f6ec1c3",  # shr rcx, 32; movd xmm0, ecx; ret
    "cimag": "f20f104108c3",  # movsd xmm0, [rcx + 8]; ret
}


def main() -> None:
    path = Path(sys.argv[1])
    data = bytearray(path.read_bytes())
    binary = pefile.PE(data=bytes(data))
    places = {entry.name: entry.address for entry in binary.DIRECTORY_ENTRY_EXPORT.symbols}
    for name, text in CODE.items():
        code, place = bytes.fromhex(text), places[name.encode()]
        following = min(other for other in places.values() if other > place)
        if len(code) > following - place:
            sys.exit(f"{path}: no room for {name}")
        start = binary.get_offset_from_rva(place)
        data[start : start + len(code)] = code
    path.write_bytes(data)


if __name__ == "__main__":
    main()
