# SPDX-License-Identifier: Apache-2.0
"""Reads the kernel's own type information (BTF) with libbpf.

Offsets, sizes and parameter names come from /sys/kernel/btf/vmlinux, never from
headers or version numbers.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cached_property

from memtrace.errors import MemtraceError
from memtrace.probes.programs.libbpf import library, vmlinux_btf

_KIND_ARRAY, _KIND_STRUCT, _KIND_UNION, _KIND_ENUM, _KIND_TYPEDEF = 3, 4, 5, 6, 8
_KIND_VOLATILE, _KIND_CONST, _KIND_FUNC = 9, 10, 12


class _Type(ctypes.Structure):
    _fields_ = (("name", ctypes.c_uint32), ("info", ctypes.c_uint32), ("size", ctypes.c_uint32))

    @property
    def kind(self) -> int:
        return int(self.info >> 24) & 0x1F

    @property
    def count(self) -> int:
        return int(self.info) & 0xFFFF

    @property
    def bitfields(self) -> bool:
        return bool(self.info >> 31)


class _Member(ctypes.Structure):
    _fields_ = (("name", ctypes.c_uint32), ("type", ctypes.c_uint32), ("offset", ctypes.c_uint32))


class _Array(ctypes.Structure):
    _fields_ = (("type", ctypes.c_uint32), ("index", ctypes.c_uint32), ("elements", ctypes.c_uint32))


class _Pair(ctypes.Structure):
    """An enumerator (name, value) or a parameter (name, type)."""

    _fields_ = (("name", ctypes.c_uint32), ("value", ctypes.c_uint32))


@dataclass(frozen=True)
class Btf:
    """The kernel's BTF.  Every look-up returns None where BTF does not have what was asked for."""

    _lib: ctypes.CDLL
    _handle: int

    @classmethod
    def load(cls, module: str | None = None) -> Btf | None:
        """Load the running kernel's BTF, together with that of the loaded ``module`` if one is named.

        Returns None where libbpf or one of the two is missing.
        """
        try:
            lib, handle = library(), vmlinux_btf()
        except (OSError, MemtraceError):
            return None
        if module is not None:
            handle = lib.btf__load_module_btf(module.encode(), handle)
        return cls(lib, handle) if handle else None

    def size_of(self, struct: str) -> int | None:
        """Return sizeof(struct) in bytes."""
        found = self._find(struct, _KIND_STRUCT)
        return None if found is None else int(self._at(found)[0].size)

    def offset_of(self, struct: str, member: str) -> int | None:
        """Return offsetof(struct, member) in bytes; ``a.b`` is member b of member a.

        A member of an anonymous struct or union is found too.
        """
        found = self._find(struct, _KIND_STRUCT)
        total = 0
        for name in member.split("."):
            inner = None if found is None else self._member_at(found, name)
            if inner is None:
                return None
            total += inner[0]
            found = self._resolve(inner[1])
        return total // 8

    def elements_of(self, struct: str, member: str) -> int | None:
        """Return the number of elements of the array that is a direct, named member of a struct."""
        found = self._find(struct, _KIND_STRUCT)
        if found is None:
            return None
        kind, address = self._at(found)
        for m in (_Member * kind.count).from_address(address + ctypes.sizeof(_Type)):
            if self._name(m.name) == member:
                array, at = self._at(self._resolve(int(m.type)))
                if array.kind == _KIND_ARRAY:
                    return int(_Array.from_address(at + ctypes.sizeof(_Type)).elements)
        return None

    def parameters(self, function: str) -> tuple[str, ...] | None:
        """Return the names of a function's parameters, in order."""
        found = self._find(function, _KIND_FUNC)
        if found is None:
            return None
        proto, address = self._at(int(self._at(found)[0].size))
        pairs = (_Pair * proto.count).from_address(address + ctypes.sizeof(_Type))
        return tuple(self._name(p.name) for p in pairs)

    def enumerator(self, name: str, enum: str) -> int | None:
        """Return the value of an enumerator of a named 32-bit enum."""
        found = self._find(enum, _KIND_ENUM)
        if found is None:
            return None
        kind, address = self._at(found)
        for pair in (_Pair * kind.count).from_address(address + ctypes.sizeof(_Type)):
            if self._name(pair.name) == name:
                return int(pair.value)
        return None

    @cached_property
    def nodes_shift(self) -> int | None:
        """CONFIG_NODES_SHIFT: a zonelist has MAX_NUMNODES * MAX_NR_ZONES + 1 zonerefs.

        (nodemask_t would not do: it is rounded up to a long.)
        """
        zonelist, zoneref = self.size_of("zonelist"), self.size_of("zoneref")
        zones = self.enumerator("__MAX_NR_ZONES", "zone_type")
        if not zonelist or not zoneref or not zones:
            return None
        nodes = (zonelist // zoneref - 1) // zones
        return nodes.bit_length() - 1

    def _find(self, name: str, kind: int) -> int | None:
        found = self._lib.btf__find_by_name_kind(self._handle, name.encode(), kind)
        return found if found > 0 else None

    def _at(self, type_id: int) -> tuple[_Type, int]:
        address = self._lib.btf__type_by_id(self._handle, type_id)
        return _Type.from_address(address), address

    def _name(self, offset: int) -> str:
        text = self._lib.btf__name_by_offset(self._handle, offset)
        return text.decode() if text else ""

    def _resolve(self, type_id: int) -> int:
        """Return the id of the type behind typedefs and qualifiers."""
        kind = self._at(type_id)[0]
        while kind.kind in (_KIND_TYPEDEF, _KIND_VOLATILE, _KIND_CONST):
            type_id = int(kind.size)
            kind = self._at(type_id)[0]
        return type_id

    def _member_at(self, type_id: int, name: str) -> tuple[int, int] | None:
        """Return a member's offset in bits and the id of its type; None if there is no such member."""
        kind, address = self._at(type_id)
        for m in (_Member * kind.count).from_address(address + ctypes.sizeof(_Type)):
            offset = int(m.offset) & 0xFFFFFF if kind.bitfields else int(m.offset)
            member = self._name(m.name)
            if member == name:
                return offset, int(m.type)
            if member:
                continue
            inner_id = self._resolve(int(m.type))
            if self._at(inner_id)[0].kind in (_KIND_STRUCT, _KIND_UNION):
                inner = self._member_at(inner_id, name)
                if inner is not None:
                    return offset + inner[0], inner[1]
        return None
