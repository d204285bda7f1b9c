# SPDX-License-Identifier: Apache-2.0
"""The row: every column of a run file, with its type, unit and meaning.

A run is one parquet file of one row type.  A row stands for ``count``
occurrences: 1 for a streamed event, more for an aggregate made in the kernel
and flushed about every second.  ``total_ns`` and ``bytes`` are those of all
its occurrences, so sums over rows are exact in both.  Unknown is null, never 0.

SCHEMA.md says the same for people; ``tests/traces/test_schema.py`` holds the
two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 2

KEY_SCHEMA = "memtrace:schema"
KEY_HEADER = "memtrace:header"
KEY_STATUS = "memtrace:status"
KEY_PARTIALS = "memtrace:partials"


class Flag(IntFlag):
    """Bits of the ``flags`` column."""

    ZEROED = 1 << 0
    """The allocator zeroes these pages: init_on_alloc is on or __GFP_ZERO asked for, and init_on_free is off."""
    REDUNDANT = 1 << 1
    """Reserved for pages cleared again though nothing had been written since; nothing sets it."""
    ESTIMATED = 1 << 2
    """``total_ns`` is an estimate (sampling or a difference), not a sum of intervals."""
    VICTIM = 1 << 3
    """The task waited for work that was not its own request."""
    IRQ_OFF = 1 << 4
    """Interrupts were off for the whole interval: accept.arch inside accept.call, and its steps; not on PREEMPT_RT."""
    AGGREGATED = 1 << 5
    """An aggregate made in the kernel: ``ts_ns`` ends its window, ``dur_ns`` is its bucket."""
    TRACER = 1 << 6
    """Caused by the recorder itself."""
    INFERRED = 1 << 7
    """Not observed: follows from another event (zeroing from the gfp flags of its allocation)."""
    FAILED = 1 << 8
    """The attempt failed; no pages came of it."""
    ALTMAP = 1 << 9
    """The struct pages of the range lie inside the memory that is added (struct vmem_altmap)."""
    IMPORTED = 1 << 10
    """Read from the saved text of another tracer; no program of the recorder's saw it."""
    PRIVATE = 1 << 12
    """A guest's private memory; of gmem.convert: to private (else to shared)."""
    RETRIED = 1 << 13
    """A guest's fault that was neither resolved nor failed: the guest takes it again."""
    NOOP = 1 << 14
    """There was nothing to do: a conversion to what the range already was."""


@dataclass(frozen=True)
class Column:
    """One column: its name, Arrow type (as written below) and meaning."""

    name: str
    type: str
    unit: str
    doc: str


COLUMNS: tuple[Column, ...] = (
    Column("ts_ns", "int64", "ns", "CLOCK_BOOTTIME at the end of the occurrence; an aggregate's window end"),
    Column(
        "dur_ns",
        "int64",
        "ns",
        "length of one occurrence; an aggregate's bucket, by its lower edge; null if only the end is seen",
    ),
    Column(
        "count",
        "int64",
        "occurrences",
        "how many occurrences the row stands for; null if only their time is known",
    ),
    Column("total_ns", "int64", "ns", "time of all occurrences, nested events included; null if unknown"),
    Column(
        "self_ns", "int64", "ns", "total_ns less the time of traced events nested inside; null if unknown"
    ),
    Column("event", "dictionary<int8,string>", "", "logical event: alloc, zero.alloc, zero.user, …"),
    Column(
        "site",
        "dictionary<int16,string>",
        "",
        "the kernel site that served it, as named in the probe manifest",
    ),
    Column("cpu", "int16", "", "CPU at the end; null in aggregates"),
    Column(
        "pid", "int32", "", "process (tgid); null in aggregates, and outside the recorder's PID namespace"
    ),
    Column("tid", "int32", "", "thread (pid in the kernel); null as for pid"),
    Column("comm", "dictionary<int32,string>", "", "command name of the thread; null in aggregates"),
    Column("order", "int8", "", "allocation order; for zero.user the order of the folio; null if unknown"),
    Column(
        "bytes",
        "int64",
        "bytes",
        "memory of all occurrences: PAGE_SIZE << order for each, or the bytes cleared",
    ),
    Column(
        "bytes_requested",
        "int64",
        "bytes",
        "memory the function was asked for, where it may do more or less (accept.call, hot.*); else null",
    ),
    Column("pfn", "int64", "", "first page frame number; null in aggregates"),
    Column("nid", "int16", "", "NUMA node of the memory; null if unknown"),
    Column("nid_requested", "int16", "", "NUMA node asked for; null if not seen"),
    Column(
        "gfp", "uint32", "", "gfp flags as this kernel numbers them (names in the header); null in aggregates"
    ),
    Column("flags", "uint32", "", "bits of Flag"),
    Column("parent", "dictionary<int8,string>", "", "the traced event this one is nested in; null if none"),
    Column(
        "cgroup",
        "dictionary<int32,string>",
        "",
        "path of the thread's cgroup (v2), from the mount's root; null in aggregates and unless zero.* or accept.* are recorded",
    ),
    Column(
        "stack",
        "dictionary<int32,string>",
        "",
        "kernel stack, root first, frames joined by ';'; null unless --stacks, acceptance or hot.request",
    ),
    Column(
        "error", "int16", "", "errno that a failed function returned (positive); null if it returned none"
    ),
    Column("vm", "int32", "", "number of the virtual machine in this run, from 1 (gmem.*); null if unknown"),
    Column(
        "vcpu", "int16", "", "number of the virtual CPU whose thread it was (gmem.*); null if none or unknown"
    ),
    Column("gfn", "int64", "", "first guest page frame number (gmem.*); null if not known"),
)

COLUMN_NAMES: tuple[str, ...] = tuple(c.name for c in COLUMNS)
REQUIRED = ("ts_ns", "event", "flags")
"""Columns that every run has, and that are never null."""


def arrow_schema() -> pa.Schema:
    """The Arrow schema of a run file, columns in the order of COLUMNS."""
    import pyarrow as pa

    plain = {
        "int8": pa.int8(),
        "int16": pa.int16(),
        "int32": pa.int32(),
        "int64": pa.int64(),
        "uint32": pa.uint32(),
    }

    def arrow_type(text: str) -> pa.DataType:
        if text.startswith("dictionary<"):
            index = text[len("dictionary<") :].split(",")[0]
            return pa.dictionary(plain[index], pa.string())
        return plain[text]

    return pa.schema([pa.field(c.name, arrow_type(c.type), nullable=c.name not in REQUIRED) for c in COLUMNS])
