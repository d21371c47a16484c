"""Reads .NET metadata: methods with their IL, and the tables and streams that hold a range."""

from __future__ import annotations

import bisect
import logging
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from maltriage.probe.inspect.dotnet_limits import readable
from maltriage.probe.inspect.image import Budget, Image, Thing
from maltriage.probe.inspect.strings import shortened
from maltriage.sample.findings import Instruction, Listing

_CODE_TYPE = 3
"""Bits of a method's ImplFlags that say what its code is: 0 IL, others native or none."""
MAX_METHODS = 65_536
MAX_INSTRUCTIONS = 24
MAX_READ = 4096
"""Instructions decoded from a method's start to reach a range in it."""
MAX_NAME = 256
MAX_TEXT = 64
"""Characters shown of a string that an instruction loads."""
MAX_TARGETS = 8
_PREFIX = 0xFE
"""First byte of an opcode of two."""
_NO_TOKEN = tuple("beq bge bgt ble blt bne br ldc leave switch".split())
"""Prefixes of mnemonics that may have a number or a distance of four bytes."""
_UNKNOWN = "UNKNOWN"
"""dncil's mnemonic of invalid instructions."""
_TINY, _FAT = 2, 3
_IL_ONLY = 1
_TYPE_REF, _TYPE_DEF, _FIELD, _METHOD, _MEMBER, _SPEC, _STRING = 1, 2, 4, 6, 10, 0x2B, 0x70
_RESOURCE, _NESTED = 40, 41
_SCOPE_TYPE = 3
"""Tag of a ResolutionScope that is a TypeRef."""
MAX_NESTED = 4
_MANIFEST_ROWS = 512


@dataclass(frozen=True)
class Body:
    """A method's body: header and IL, [start, end); its row in the table MethodDef, from 1."""

    start: int
    code: int
    end: int
    row: int


class Assembly:
    """The metadata of one image."""

    def __init__(self, image: Image, net: Any) -> None:
        self._image = image
        self._net = net
        self.bodies = self._bodies()
        self._starts = [body.start for body in self.bodies]

    def body_at(self, offset: int) -> Body | None:
        """The method whose body holds a byte."""
        index = bisect.bisect_right(self._starts, offset) - 1
        if index < 0 or offset >= self.bodies[index].end:
            return None
        return self.bodies[index]

    def bodies_in(self, start: int, end: int) -> list[Body]:
        """Methods whose bodies begin in [start, end)."""
        low = bisect.bisect_left(self._starts, start)
        return self.bodies[low : bisect.bisect_left(self._starts, end)]

    def method_name(self, row: int) -> str:
        """`Namespace.Type::Method` of a row of MethodDef."""
        method = self._cell(_METHOD, row, "Name")
        return f"{self._owner(row)}::{method or f'#{row}'}"

    def listing(self, focus: int, end: int, delta: int | None, budget: Budget) -> Listing | None:
        """IL from the instruction that holds `focus` on; None where there is no method.

        Args:
            focus: file offset of the first byte to show.
            end: file offset of the range's end.
            delta: RVA less file offset of the section.
            budget: bytes of the sample that may still be shown.
        """
        body = self.body_at(focus)
        if body is None:
            later = self.bodies_in(focus, end)
            if not later:
                return None
            body = later[0]
        found: list[Instruction] = []
        done = focus
        shift = 0 if delta is None else self._image.base + delta
        for at, raw, mnemonic, operands in self.decode(body, shift):
            if at + len(raw) <= focus:
                continue
            full = len(found) == MAX_INSTRUCTIONS
            if full or at >= end or not budget.take(len(raw) + len(operands)):
                break
            rva = None if delta is None else at + delta
            found.append(Instruction(at, rva, raw.hex(), mnemonic, operands))
            done = at + len(raw)
        name = self.method_name(body.row)
        return Listing("il", False, "method", name, body.start, found, max(0, end - done))

    def place(self, start: int, end: int) -> tuple[Thing, str] | None:
        """The first table, stream or resource that shares a byte with a range, and its name."""
        for name, thing in self._places():
            if thing.start < end and start < thing.end:
                return thing, name
        return None

    def _bodies(self) -> list[Body]:
        table = self._table(_METHOD)
        if table is None:
            return []
        start, size = self._image.offset(table.rva), table.row_size
        if start is None or size < 6:
            return []
        data = self._image.data
        rows = min(table.num_rows, MAX_METHODS, (len(data) - start) // size)
        found = []
        for row in range(rows):
            rva, flags = struct.unpack_from("<IH", data, start + row * size)
            at = self._image.offset(rva) if rva and not flags & _CODE_TYPE else None
            if at is not None:
                body = _body(data, at, row + 1)
                if body is not None:
                    found.append(body)
        return sorted(found, key=lambda body: body.start)

    def names_token(self, raw: bytes, mnemonic: str) -> bool:
        """Whether the last four bytes of an instruction are a token, as in all instructions with an
        operand of that size except numbers and branches."""
        long = len(raw) - (2 if raw[0] == _PREFIX else 1) == 4
        return long and not mnemonic.startswith(_NO_TOKEN)

    def decode(self, body: Body, shift: int | None = None) -> Iterator[tuple[int, bytes, str, str]]:
        """(file offset, bytes, mnemonic, operands) of a method's instructions.

        Args:
            body: of the method.
            shift: address less file offset: a branch names the address that it goes to. None: the
                place in its method, such as `IL_001c`.
        """
        from dncil.cil.body.reader import CilMethodBodyReaderBytes
        from dncil.cil.error import MethodBodyFormatError

        code = self._image.data[body.code : body.end]
        reader = CilMethodBodyReaderBytes(code)
        for _ in range(MAX_READ):
            at = reader.tell()
            if at >= len(code):
                return
            try:
                item = reader.read_instruction(at)
                mnemonic, raw = str(item.mnemonic), item.get_bytes()
            except (MethodBodyFormatError, IndexError, KeyError, AttributeError):
                mnemonic, raw = _UNKNOWN, b""
            if mnemonic.startswith(_UNKNOWN):
                yield body.code + at, code[at : at + 1], ".byte", f"0x{code[at]:02x}"
                return
            yield body.code + at, raw, mnemonic, self._operands(item, body, shift)

    def _operands(self, item: Any, body: Body, shift: int | None) -> str:
        from dncil.clr.token import Token

        def place(target: int) -> str:
            return f"IL_{target:04x}" if shift is None else f"0x{body.code + target + shift:x}"

        operand = item.operand
        if operand is None:
            return ""
        if isinstance(operand, Token):
            return self._named(operand.value)
        if isinstance(operand, list):  # the targets of a switch
            more = ", …" if len(operand) > MAX_TARGETS else ""
            return ", ".join(place(target) for target in operand[:MAX_TARGETS]) + more
        if item.is_br() or item.is_cond_br() or item.is_leave():
            return place(operand)
        return shortened(str(operand), MAX_NAME)

    def _named(self, token: int) -> str:
        """The string in quotes, or the name, that a token refers to."""
        table, row = token >> 24, token & 0xFF_FFFF
        name: str | None = None
        if table == _STRING:
            text = self._user_string(row)
            return f"0x{token:08x}" if text is None else f'"{shortened(text, MAX_TEXT)}"'
        if table == _METHOD:
            name = self.method_name(row)
        elif table == _MEMBER:
            parent = self._raw(_MEMBER, row, "Class_CodedIndex") or 0
            kinds = (_TYPE_DEF, _TYPE_REF)
            owner = self._type(kinds[parent & 7], parent >> 3) if parent & 7 < 2 else ""
            member = self._cell(_MEMBER, row, "Name") or f"#{row}"
            name = f"{owner}::{member}" if owner else member
        elif table in (_TYPE_REF, _TYPE_DEF):
            name = self._type(table, row)
        elif table == _FIELD:
            name = self._cell(_FIELD, row, "Name")
        elif table == _SPEC:
            method = self._raw(_SPEC, row, "Method_CodedIndex") or 0
            tables = (_METHOD, _MEMBER)
            name = self._named(tables[method & 1] << 24 | method >> 1)
        return shortened(name, MAX_NAME) if name else f"0x{token:08x}"

    def _owner(self, method: int) -> str:
        """The type of a method: the last whose list of methods starts at or before it."""
        table = self._table(_TYPE_DEF)
        count = len(table.rows) if table is not None else 0

        def first(row: int) -> int:
            return self._raw(_TYPE_DEF, row + 1, "MethodList_Index") or 0

        return self._type(_TYPE_DEF, bisect.bisect_right(range(count), method, key=first))

    def _type(self, table: int, row: int, depth: int = 0) -> str:
        """`Namespace.Type`, or `Namespace.Outer/Inner` of a type inside another."""
        space = self._cell(table, row, "TypeNamespace")
        name = self._cell(table, row, "TypeName") or f"#{row}"
        if depth < MAX_NESTED:
            outer = self._outer(table, row)
            if outer:
                return f"{self._type(table, outer, depth + 1)}/{name}"
        return f"{space}.{name}" if space else name

    def _outer(self, table: int, row: int) -> int:
        """The row of the type that a type is inside of; 0: none."""
        if table == _TYPE_DEF:
            return self._nested.get(row, 0)
        scope = self._raw(_TYPE_REF, row, "ResolutionScope_CodedIndex") or 0
        return scope >> 2 if scope & 3 == _SCOPE_TYPE else 0

    @cached_property
    def _nested(self) -> dict[int, int]:
        """The row of the outer type for that of each type inside another."""
        table = self._table(_NESTED)
        count = min(len(table.rows), MAX_METHODS) if table is not None else 0
        inside = {}
        for row in range(1, count + 1):
            inner = self._raw(_NESTED, row, "NestedClass_Index")
            inside[inner or 0] = self._raw(_NESTED, row, "EnclosingClass_Index") or 0
        return inside

    def _table(self, number: int) -> Any:
        tables = getattr(self._net, "mdtables", None)
        return None if tables is None else tables.tables.get(number)

    def _row(self, table: int, row: int) -> Any:
        found = self._table(table)
        if found is None or not 0 < row <= len(found.rows):
            return None
        try:
            return found.rows[row - 1]
        except Exception:  # metadata that lies makes dnfile raise many kinds
            return None

    def _cell(self, table: int, row: int, column: str) -> str | None:
        """A string of a row; None where it cannot be read."""
        try:
            value = getattr(self._row(table, row), column, None)
            text = shortened(str(value), MAX_NAME) if value is not None else ""
        except Exception:  # as above
            return None
        return text or None

    def _raw(self, table: int, row: int, column: str) -> int | None:
        value = getattr(getattr(self._row(table, row), "struct", None), column, None)
        return value if isinstance(value, int) else None

    def _user_string(self, offset: int) -> str | None:
        heap = getattr(self._net, "user_strings", None)
        try:
            value = heap.get(offset) if heap is not None else None
            return None if value is None else str(value.value)
        except Exception:  # as above
            return None

    def _places(self) -> Iterator[tuple[str, Thing]]:
        header = self._image.directory("clr")
        if header is not None:
            yield "the CLR header", Thing(*header)
        tables = getattr(self._net, "mdtables", None)
        for table in tables.tables_list if tables is not None else ():
            start = self._image.offset(table.rva) if table.rva else None
            if start is not None:
                end = min(start + table.row_size * table.num_rows, len(self._image.data))
                yield f"table {table.name}", Thing(start, end)
        for stream in self._net.metadata.streams_list:
            start = self._image.offset(stream.rva)
            if start is not None:
                end = min(start + stream.sizeof(), len(self._image.data))
                yield f"stream {_utf8(stream.struct.Name)}", Thing(start, end)
        yield from self._resources()

    def _resources(self) -> Iterator[tuple[str, Thing]]:
        base, table = self._net.struct.ResourcesRva, self._table(_RESOURCE)
        if not base or table is None:
            return
        for row in range(1, min(len(table.rows), _MANIFEST_ROWS) + 1):
            at = self._image.offset(base + (self._raw(_RESOURCE, row, "Offset") or 0))
            if at is None or at + 4 > len(self._image.data):
                continue
            (size,) = struct.unpack_from("<I", self._image.data, at)
            end = min(at + 4 + size, len(self._image.data))
            yield f"resource {self._cell(_RESOURCE, row, 'Name') or f'#{row}'}", Thing(at, end)


def read(image: Image) -> Assembly | None:
    """The assembly of an image; None without readable metadata."""
    if image.headers is None or "clr" not in image.headers.directories:
        return None
    if not readable(image):
        return None
    # Its warnings, with names of the sample, would go to the terminal.
    logging.getLogger("dnfile").setLevel(logging.CRITICAL + 1)
    import dnfile
    import pefile

    try:
        file = dnfile.dnPE(data=image.data, fast_load=True, clr_lazy_load=True)
        wanted = pefile.DIRECTORY_ENTRY["IMAGE_DIRECTORY_ENTRY_COM_DESCRIPTOR"]
        file.parse_data_directories(directories=[wanted])
        net = file.net
        if net is None or net.metadata is None:
            return None
        return Assembly(image, net)
    except Exception:  # metadata that lies makes dnfile raise many kinds
        return None


def managed(image: Image) -> bool:
    """Whether all code of an image is IL, by the flags of its CLR header.

    Also true for a CLR header that cannot be read: code of a damaged assembly decoded as native
    means nothing.
    """
    header = image.directory("clr")
    if header is None:
        return image.headers is not None and "clr" in image.headers.directories
    flags = image.data[header[0] + 16 : header[0] + 20]
    return len(flags) < 4 or bool(flags[0] & _IL_ONLY)


def _body(data: bytes, at: int, row: int) -> Body | None:
    """A method's body by its header (ECMA-335, II.25.4), cut at the end of the file."""
    if data[at] & 3 == _TINY:
        header, size = 1, data[at] >> 2
    elif data[at] & 3 == _FAT and at + 12 <= len(data):
        header = (data[at + 1] >> 4) * 4
        (size,) = struct.unpack_from("<I", data, at + 4)
    else:
        return None
    start, end = at + header, min(at + header + size, len(data))
    return Body(at, start, end, row) if header and start <= end else None


def _utf8(name: bytes) -> str:
    return name[:32].decode("utf-8", "backslashreplace")
