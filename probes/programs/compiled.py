# SPDX-License-Identifier: Apache-2.0
"""Compiled BPF programs as a thing: what a compiler made of a source, and what a loader must put into it.

A program's code refers to maps by their place in ``maps``, and to values that are known only
where it is loaded (addresses, offsets, limits) by their place in ``values``.  Both are ld_imm64
instructions; Slot says where they are.  Nothing in it depends on the machine that compiled it.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

FORMAT = 1
"""Of what a loader must know: it changes where linked() does."""
LD_IMM64 = 0x18
"""BPF_LD | BPF_IMM | BPF_DW, include/uapi/linux/bpf.h: 64 bits in two instructions."""
PSEUDO_MAP_FD = 1
_DIGEST = re.compile("[0-9a-f]{64}")
INSTRUCTION = struct.Struct("<BBhi")


@dataclass(frozen=True)
class MapSpec:
    """A map to be made."""

    name: str
    kind: int
    """BPF_MAP_TYPE_*."""
    key_bytes: int
    value_bytes: int
    entries: int
    """The most elements; what a loader gives for this map comes before it."""
    flags: int
    inner: str = ""
    """Of a map of maps: the map that its elements are like."""


@dataclass(frozen=True)
class Slot:
    """An ld_imm64 that the loader fills."""

    at: int
    """Index of the instruction."""
    place: int
    """Index in ``maps`` or ``values``."""


@dataclass(frozen=True)
class Program:
    """The instructions of one program."""

    name: str
    code: str
    """In hexadecimal; where a loader fills something in there are zeros."""
    maps: tuple[Slot, ...]
    values: tuple[Slot, ...]

    def sound(self, maps: int, values: int) -> bool:
        """Return whether this is whole instructions, and each slot is in them and has a filler."""
        try:
            size = len(bytes.fromhex(self.code))
        except ValueError:
            return False
        last = size // INSTRUCTION.size - 2
        return size % INSTRUCTION.size == 0 and all(
            0 <= slot.at <= last and 0 <= slot.place < fillers
            for slots, fillers in ((self.maps, maps), (self.values, values))
            for slot in slots
        )


@dataclass(frozen=True)
class Compiled:
    """All programs and maps of a source, compiled with certain macros."""

    digest: str
    """Of the source and the macros: digest()."""
    made_by: str
    """The compiler's name and version."""
    made_for: str
    """What was asked for when they were compiled, in words: kernel release and events."""
    values: tuple[str, ...]
    """Names of the values that the loader gives."""
    maps: tuple[MapSpec, ...]
    programs: tuple[Program, ...]

    def program(self, name: str) -> Program | None:
        """Return the program of this name, or None."""
        return next((program for program in self.programs if program.name == name), None)

    def sound(self) -> bool:
        """Return whether all that a loader will follow is there: it may come from a file."""
        known = {spec.name for spec in self.maps}
        return (
            _DIGEST.fullmatch(self.digest) is not None
            and all(not spec.inner or spec.inner in known for spec in self.maps)
            and all(program.sound(len(self.maps), len(self.values)) for program in self.programs)
        )

    def sized(self, entries: Mapping[str, int]) -> tuple[MapSpec, ...]:
        """Return the maps, those named in ``entries`` with so many elements."""
        return tuple(replace(spec, entries=entries.get(spec.name, spec.entries)) for spec in self.maps)


def digest(text: str, macros: Mapping[str, str], values: Iterable[str], settings: Iterable[str] = ()) -> str:
    """Return what names a source that is compiled with these macros, and these values left open.

    ``settings`` is all else that changes the code: the compiler's flags, the headers it reads.
    """
    said = json.dumps([FORMAT, text, sorted(macros.items()), sorted(values), list(settings)])
    return hashlib.sha256(said.encode()).hexdigest()


def linked(program: Program, maps: tuple[int, ...], values: tuple[int, ...]) -> bytes:
    """Return the instructions, with the maps' file descriptors and the values (64 bits) filled in."""
    code = bytearray.fromhex(program.code)
    for slot in program.maps:
        _put(code, slot.at, maps[slot.place], PSEUDO_MAP_FD)
    for slot in program.values:
        _put(code, slot.at, values[slot.place], 0)
    return bytes(code)


def _put(code: bytearray, at: int, value: int, source: int) -> None:
    low, high = struct.unpack("<ii", struct.pack("<Q", value & (1 << 64) - 1))
    place = at * INSTRUCTION.size
    opcode, registers, offset, _ = INSTRUCTION.unpack_from(code, place)
    INSTRUCTION.pack_into(code, place, opcode, registers & 0x0F | source << 4, offset, low)
    struct.pack_into("<i", code, place + INSTRUCTION.size + 4, high)
