# SPDX-License-Identifier: Apache-2.0
"""Thrift's compact protocol: just enough to take parquet footers apart and put them together.

A struct is a dict from field number to ``(type, value)``; values are bool, int,
float, bytes, ``List`` or a struct again.  What pyarrow and DuckDB write is read
and written back byte for byte, since the types are kept and the encoding of a
value is unique.

Source: doc/specs/thrift-compact-protocol.md of Apache Thrift; field numbers are
those of parquet.thrift in apache/parquet-format.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
ENCODED = 16
"""Not of the protocol: items of a list that are the bytes of structs already."""

Field = tuple[int, Any]
Struct = dict[int, Field]

_MAX_DEPTH = 32


class ThriftError(ValueError):
    """The bytes are not a struct in the compact protocol."""


@dataclass
class List:
    """A list of ``items``, all of thrift type ``type`` (or ENCODED, to write only)."""

    type: int
    items: Sequence[Any]


def decode(data: bytes | memoryview, start: int = 0) -> tuple[Struct, int]:
    """The struct at ``start`` and the offset after it; raises ThriftError."""
    reader = _Reader(bytes(data), start)
    try:
        return reader.struct(0), reader.pos
    except (IndexError, struct.error) as error:
        raise ThriftError("ends in the middle of a value") from error


def encode(value: Struct) -> bytes:
    """The bytes of a struct."""
    out = bytearray()
    _put_struct(out, value)
    return bytes(out)


class _Reader:
    def __init__(self, data: bytes, pos: int) -> None:
        self.data = data
        self.pos = pos

    def byte(self) -> int:
        value = self.data[self.pos]
        self.pos += 1
        return value

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise ThriftError("a number of more than 64 bits")

    def zigzag(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def take(self, length: int) -> bytes:
        end = self.pos + length
        if end > len(self.data):
            raise ThriftError("ends in the middle of a value")
        value = self.data[self.pos : end]
        self.pos = end
        return value

    def struct(self, depth: int) -> Struct:
        if depth > _MAX_DEPTH:
            raise ThriftError("nested too deeply")
        fields: Struct = {}
        number = 0
        while header := self.byte():
            type_ = header & 0x0F
            number = number + (header >> 4) if header >> 4 else self.zigzag()
            # A boolean field has its value in its type.
            value = type_ == TRUE if type_ in (TRUE, FALSE) else self.value(type_, depth)
            fields[number] = (type_, value)
        return fields

    def value(self, type_: int, depth: int) -> Any:
        if type_ in (I16, I32, I64):
            return self.zigzag()
        if type_ == BINARY:
            return self.take(self.varint())
        if type_ == STRUCT:
            return self.struct(depth + 1)
        if type_ in (LIST, SET):
            return self.list(depth + 1)
        if type_ in (TRUE, FALSE):
            return self.byte() == TRUE
        if type_ == BYTE:
            return int.from_bytes(self.take(1), "little", signed=True)
        if type_ == DOUBLE:
            return struct.unpack("<d", self.take(8))[0]
        raise ThriftError(f"a value of unknown type {type_}")

    def list(self, depth: int) -> List:
        if depth > _MAX_DEPTH:
            raise ThriftError("nested too deeply")
        header = self.byte()
        length = header >> 4
        if length == 15:
            length = self.varint()
        if length > len(self.data) - self.pos:
            raise ThriftError("a list longer than the data")
        type_ = header & 0x0F
        return List(type_, [self.value(type_, depth) for _ in range(length)])


def _put_varint(out: bytearray, value: int) -> None:
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _put_zigzag(out: bytearray, value: int) -> None:
    _put_varint(out, (value << 1) ^ (value >> 63))


def _put_field_header(out: bytearray, number: int, type_: int, after: int) -> None:
    if 0 < number - after <= 15:
        out.append((number - after) << 4 | type_)
    else:
        out.append(type_)
        _put_zigzag(out, number)


def _put_list_header(out: bytearray, type_: int, length: int) -> None:
    if length < 15:
        out.append(length << 4 | type_)
    else:
        out.append(0xF0 | type_)
        _put_varint(out, length)


def _put_struct(out: bytearray, fields: Struct) -> None:
    after = 0
    for number, (type_, value) in fields.items():
        boolean = type_ in (TRUE, FALSE)
        if boolean:
            type_ = TRUE if value else FALSE
        _put_field_header(out, number, type_, after)
        after = number
        if not boolean:
            _put_value(out, type_, value)
    out.append(0)


def _put_value(out: bytearray, type_: int, value: Any) -> None:
    if type_ in (I16, I32, I64):
        _put_zigzag(out, value)
    elif type_ == BINARY:
        _put_varint(out, len(value))
        out += value
    elif type_ == STRUCT:
        _put_struct(out, value)
    elif type_ in (LIST, SET):
        _put_list_header(out, STRUCT if value.type == ENCODED else value.type, len(value.items))
        for item in value.items:
            _put_value(out, value.type, item)
    elif type_ in (TRUE, FALSE):
        out.append(TRUE if value else FALSE)
    elif type_ == ENCODED:
        out += value
    elif type_ == BYTE:
        out += value.to_bytes(1, "little", signed=True)
    elif type_ == DOUBLE:
        out += struct.pack("<d", value)
    else:
        raise ThriftError(f"a value of unknown type {type_}")
