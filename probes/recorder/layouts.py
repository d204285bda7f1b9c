# SPDX-License-Identifier: Apache-2.0
"""Structures that the programs and the recorder share, described once for BPF C and for numpy.

Fields are placed as a C compiler places them, and the fields of a union have one offset.
Static assertions make the compiler check that both forms agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from functools import cached_property
from typing import Any

import numpy as np

_TYPES = {"u64": "<u8", "s64": "<i8", "u32": "<u4", "s32": "<i4", "u16": "<u2", "s16": "<i2", "u8": "u1"}
_TYPES |= {"s8": "i1", "char[16]": "S16"}


@dataclass(frozen=True)
class Field:
    """A member; ``type`` is spelled as in the kernel, or is the layout of an inner structure."""

    name: str
    type: str | Layout
    doc: str = ""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy type of the field."""
        return np.dtype(_TYPES[self.type]) if isinstance(self.type, str) else self.type.dtype

    def declaration(self) -> str:
        """Return the C declaration, such as ``u32 order;``."""
        if not isinstance(self.type, str):
            return f"struct {self.type.name} {self.name};"
        base, bracket, length = self.type.partition("[")
        return f"{base} {self.name}{bracket}{length};"


Union = tuple[Field, ...]
"""Fields of one size at one offset; the record's ``kind`` says which of them is there."""


@dataclass(frozen=True)
class Layout:
    """A structure of the BPF programs."""

    name: str
    members: tuple[Field | Union, ...]

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The numpy type of the structure, aligned as in C."""
        names, formats, offsets, at, widest = [], [], [], 0, 1
        for member in self.members:
            fields = member if isinstance(member, tuple) else (member,)
            align = _alignment(fields[0].dtype)
            at = -(-at // align) * align
            for field in fields:
                names.append(field.name)
                formats.append(field.dtype)
                offsets.append(at)
            at += fields[0].dtype.itemsize
            widest = max(widest, align)
        size = -(-at // widest) * widest
        return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size})

    def declaration(self) -> str:
        """Return the C declaration, with static assertions that offsets and size are those of ``dtype``."""
        lines = [f"struct {self.name} {{"]
        for member in self.members:
            if isinstance(member, tuple):
                lines += ["union {", *(field.declaration() for field in member), "};"]
            else:
                lines.append(member.declaration())
        lines.append("};")
        offsets = {name: int(place[1]) for name, place in (self.dtype.fields or {}).items()}
        lines += [
            f'_Static_assert(__builtin_offsetof(struct {self.name}, {name}) == {offset}, "{name}");'
            for name, offset in offsets.items()
        ]
        lines.append(f'_Static_assert(sizeof(struct {self.name}) == {self.dtype.itemsize}, "size");')
        return "\n".join(lines)


def _alignment(dtype: np.dtype[Any]) -> int:
    if dtype.fields:
        return max(_alignment(field[0]) for field in dtype.fields.values())
    return 1 if dtype.kind == "S" else dtype.itemsize


class Kind(IntFlag):
    """Bits of a record's ``kind``: which fields of its unions are there, and what is known."""

    GFP = 1
    """``gfp`` holds the gfp flags."""
    REQUESTED = 2
    """``requested`` holds the pages asked for, which may be more or less than ``pages``."""
    COUNT = 4
    """``count`` holds the number of events that the record sums."""
    PAGES = 8
    """``pages`` is known, and 0 means none."""
    ERROR = 16
    """``error`` holds the errno, positive, that a failed function returned."""
    GUEST = 32
    """The event is one of a virtual machine, and ``vm``, ``vcpu`` and ``gfn`` are filled in."""


_SUM = Layout("mt_task_sum_t", (Field("count", "u64"), Field("pages", "u64"), Field("total_ns", "u64")))

_RECORD: tuple[Field | Union, ...] = (
    Field("ts", "s64", "ns, CLOCK_BOOTTIME, at the end"),
    Field("dur", "u64", "ns; all ones: unknown"),
    Field("self", "u64", "ns, less what lies inside; all ones: unknown"),
    Field("pfn", "u64", "all ones: unknown"),
    (Field("gfp", "u32"), Field("requested", "u32"), Field("count", "u32")),
    Field("tid", "s32", "negative: none in the recorder's PID namespace"),
    Field("pid", "s32", "likewise"),
    (Field("pages", "u32"), Field("error", "u32")),
    Field("flags", "u32", "of a row; above bit 16 the cgroup's place in its CPU's table, plus one"),
    Field("stack", "s16", "its id; negative: none"),
    Field("kind", "u8", "bits of Kind"),
    Field("spare", "u8"),
    Field("event", "s8"),
    Field("site", "s8"),
    Field("order", "s8", "negative: unknown"),
    Field("parent", "u8", "event around it; 255: none"),
    Field("nid", "s16", "negative: unknown"),
    Field("nid_requested", "s16", "negative: not seen"),
    Field("comm", "char[16]"),
)
RECORD = Layout("mt_record", _RECORD)
"""One event as a ring holds it, or several that are summed (Kind.COUNT)."""
GUEST_RECORD = Layout(
    "mt_record",
    (
        *_RECORD,
        Field("gfn", "u64", "all ones: unknown"),
        Field("vm", "u16", "0: unknown"),
        Field("vcpu", "s16", "negative: none or unknown"),
    ),
)
"""The longer record that is used where events of virtual machines are watched (MT_GMEM)."""
COUNTER = Layout(
    "mt_counter_t",
    tuple(
        Field(name, "u64")
        for name in (
            *("seen", "streamed", "aggregated", "ring_full"),
            *("sum_order", "sum_pfn", "begun", "ended", "failed", "no_room"),
        )
    ),
)
"""The kernel side's sums of one event, against which the file is checked."""
CELL = Layout("mt_cell_t", tuple(Field(name, "u64") for name in ("count", "total_ns", "self_ns", "pages")))
FLAT = Layout("mt_flat_t", tuple(Field(name, "u64") for name in ("count", "total_ns", "self_ns")))
TASK_KEY = Layout("mt_task_key_t", (Field("tgid", "u32"), Field("event", "u32"), Field("detail", "u64")))
TASK = Layout(
    "mt_task_t",
    (
        Field("comm", "char[16]"),
        Field("sum", _SUM),
        Field("shown", "u32", "tgid in the recorder's PID namespace, plus one; 0: it has none there"),
    ),
)
TASK_SLOT = Layout(
    "mt_task_slot_t",
    (
        Field("task", TASK, "first, because it is what is put into a table"),
        Field("tgid", "u64", "plus one, so that an untouched slot belongs to nobody"),
        Field("age", "u64"),
        Field("detail", "u64"),
    ),
)
SELF = Layout(
    "mt_self_t",
    (
        Field("pidns", "u64", "address of the PID namespace"),
        Field("level", "u32", "number of namespaces around it"),
        Field("tgid", "u32", "as the kernel itself numbers it"),
    ),
)
"""What a recorder in a PID namespace of its own is to the kernel."""
VM = Layout(
    "mt_vm_t",
    (
        Field("first_ns", "u64"),
        Field("clock_offset", "s64", "the guest's kvm-clock minus the host's CLOCK_BOOTTIME"),
        Field("pid", "u32", "0: unknown"),
        Field("kind", "u8", "KVM_X86_*_VM"),
        Field("has_private", "u8"),
        Field("comm", "char[16]", "of the first thread that was seen"),
    ),
)
"""A virtual machine that was met."""


DEPTH, CAPTURE_AT, FRAMES_AT, FRAME_EVENT_AT = 16, 8, 24, 34
"""Of struct mt_frames_t (probes/bpf/nest.h): number of frames, offset of ``capture.at``, that of the
frames, and that of ``event`` in each."""


def declarations(guests: bool) -> str:
    """Return the C of all layouts and of the bits of Kind; ``guests`` selects the longer record."""
    record = GUEST_RECORD if guests else RECORD
    layouts = (record, COUNTER, CELL, FLAT, _SUM, TASK_KEY, TASK, TASK_SLOT, SELF, VM)
    kinds = [f"#define MT_KIND_{kind.name} {int(kind)}" for kind in Kind]
    frames = [
        f"#define MT_DEPTH {DEPTH}",
        f"#define MT_CAPTURE_AT {CAPTURE_AT}",
        f"#define MT_FRAMES_AT {FRAMES_AT}",
        f"#define MT_FRAME_EVENT_AT {FRAME_EVENT_AT}",
    ]
    return "\n".join([*kinds, *frames, *(layout.declaration() for layout in layouts)]) + "\n"
