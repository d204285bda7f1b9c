# SPDX-License-Identifier: Apache-2.0
"""Ring records to rows: every column, and unknown as null."""

from typing import Any

import numpy as np
import pyarrow as pa

from memtrace.probes.recorder.layouts import Kind
from memtrace.probes.recorder.ring import GUEST_RECORD, NO_PARENT, UNKNOWN_U64
from memtrace.probes.recorder.rows import Naming, blocks, from_records
from memtrace.traces.schema import Flag, arrow_schema

NAMING = Naming(
    events=("alloc", "zero.alloc", "zero.user", "hot.add"),
    sites=("fentry:a", "callsite:b"),
    page_size=4096,
    stack_text=lambda stack_id: {7: "root;leaf"}.get(stack_id),
)
ACCEPT = Naming(
    events=("alloc", "accept.block", "accept.call", "accept.step"),
    sites=("fentry:a", "fentry:b"),
    page_size=4096,
    stack_text=lambda stack_id: None,
    cgroup_text=lambda cpu, slot: f"/{cpu}/{slot}",
)


def record(**fields: Any) -> Any:
    """One record, known in every field unless told otherwise."""
    one = np.zeros(1, dtype=GUEST_RECORD)
    values: dict[str, Any] = {
        "ts": 1000, "dur": 50, "self": 30, "pfn": 77, "gfp": 0x100, "tid": 12, "pid": 11, "stack": 7,
        "pages": 512, "flags": int(Flag.ZEROED), "event": 1, "site": 1, "order": 9, "parent": 0,
        "nid": 1, "nid_requested": 0, "comm": b"touch\0\0\0\0\0\0\0\0\0\0\0", "cpu": 3,
        "kind": Kind.GFP | Kind.PAGES,
    }  # fmt: skip
    for name, value in (values | fields).items():
        one[name] = value
    return one


def rows(*records: Any, naming: Naming = NAMING) -> list[dict[str, Any]]:
    table = from_records(np.concatenate(records), naming)
    assert table.schema == arrow_schema()
    found: list[dict[str, Any]] = table.to_pylist()
    return found


def test_a_record_known_in_every_field() -> None:
    assert rows(record()) == [
        {
            "ts_ns": 1000, "dur_ns": 50, "count": 1, "total_ns": 50, "self_ns": 30, "event": "zero.alloc",
            "site": "callsite:b", "cpu": 3, "pid": 11, "tid": 12, "comm": "touch", "order": 9,
            "bytes": 2 << 20, "bytes_requested": None, "pfn": 77, "nid": 1, "nid_requested": 0, "gfp": 0x100,
            "flags": int(Flag.ZEROED), "parent": "alloc", "cgroup": None, "stack": "root;leaf",
            "error": None, "vm": None, "vcpu": None, "gfn": None,
        }
    ]  # fmt: skip


def test_unknown_is_null_never_zero() -> None:
    unknown = record(
        dur=UNKNOWN_U64, pfn=UNKNOWN_U64, stack=-1, pages=0, event=2, kind=0, order=-1, parent=NO_PARENT,
        nid=-1, nid_requested=-1, self=UNKNOWN_U64,
    )  # fmt: skip
    for mixed in (rows(unknown), rows(record(), unknown)[1:]):
        names = (
            "dur_ns",
            "total_ns",
            "self_ns",
            "pfn",
            "stack",
            "bytes",
            "order",
            "parent",
            "nid",
            "nid_requested",
            "gfp",
        )
        assert {name: mixed[0][name] for name in names} == dict.fromkeys(names)


def test_a_guest_s_record_has_its_machine_and_range() -> None:
    guest = Kind.GUEST | Kind.PAGES
    records = np.concatenate(
        [
            record(vm=3, vcpu=1, gfn=65536, requested=16, pages=0, kind=guest | Kind.REQUESTED),
            record(vm=0, vcpu=-1, gfn=UNKNOWN_U64, kind=Kind.GUEST),
            record(event=2, vm=3, vcpu=1, gfn=5, pages=0, kind=0),
        ]
    )
    found = from_records(records, NAMING).select(["vm", "vcpu", "gfn", "bytes", "bytes_requested"])
    assert [tuple(row.values()) for row in found.to_pylist()] == [
        (3, 1, 65536, 0, 16 * 4096),
        (None, None, None, None, None),
        (None, None, None, None, None),
    ]


def test_a_stack_the_kernel_dropped_is_null() -> None:
    assert [r["stack"] for r in rows(record(stack=7), record(stack=8))] == ["root;leaf", None]


def test_one_name_with_different_padding_is_one_name() -> None:
    other = record(comm=b"touch\0garbage\0\0\0")
    assert [r["comm"] for r in rows(record(), other)] == ["touch", "touch"]


def test_a_name_that_is_not_utf8_is_spelled_out() -> None:
    assert rows(record(comm=b"\xff\xfe\0" + bytes(13)))[0]["comm"] == r"\xff\xfe"


def test_memory_of_which_a_part_was_given() -> None:
    (row,) = rows(record(event=3, pages=256, requested=512, kind=Kind.REQUESTED | Kind.PAGES, order=-1))
    assert (row["bytes"], row["bytes_requested"], row["gfp"]) == (1 << 20, 2 << 20, None)


def test_an_attempt_that_failed_has_its_errno_and_no_memory() -> None:
    kind = Kind.REQUESTED | Kind.PAGES | Kind.ERROR
    (row,) = rows(record(event=3, error=16, requested=512, kind=kind, order=-1, flags=int(Flag.FAILED)))
    assert (row["bytes"], row["bytes_requested"], row["error"]) == (0, 2 << 20, 16)


def test_a_call_has_the_bytes_asked_for_and_those_accepted_none_being_known() -> None:
    known = Kind.REQUESTED | Kind.PAGES
    some, none, unseen = rows(
        record(event=2, requested=1024, pages=1536, kind=known),
        record(event=2, requested=4, pages=0, kind=known),
        record(event=2, requested=4, pages=0, kind=Kind.REQUESTED),
        naming=ACCEPT,
    )
    assert (some["bytes"], some["bytes_requested"], some["gfp"]) == (6 << 20, 4 << 20, None)
    assert (none["bytes"], none["bytes_requested"]) == (0, 16384)
    assert (unseen["bytes"], unseen["bytes_requested"]) == (None, 16384)


def test_gfp_flags_of_an_acceptance_are_those_of_the_allocation_if_there_is_one() -> None:
    inside, outside = rows(record(event=1, gfp=0xCC0), record(event=1, kind=Kind.PAGES), naming=ACCEPT)
    assert (inside["gfp"], outside["gfp"]) == (0xCC0, None)
    assert inside["bytes_requested"] is None


def test_steps_come_summed() -> None:
    flags = int(Flag.AGGREGATED | Flag.IRQ_OFF)
    many, one, alloc = rows(
        record(event=3, count=513, dur=7000, self=7000, flags=flags, kind=Kind.COUNT | Kind.PAGES),
        record(event=3, dur=7, self=7, kind=Kind.PAGES),
        record(event=0),
        naming=ACCEPT,
    )
    assert [many[n] for n in ("count", "dur_ns", "total_ns", "self_ns", "gfp")] == [
        513,
        None,
        7000,
        7000,
        None,
    ]
    assert [one[n] for n in ("count", "dur_ns", "total_ns")] == [1, 7, 7]
    assert [alloc[n] for n in ("count", "dur_ns", "total_ns", "gfp")] == [1, 50, 50, 0x100]


def test_a_cgroup_is_a_place_in_its_cpus_table() -> None:
    flags = int(Flag.VICTIM)
    none, first, fifth = rows(
        record(event=0, flags=flags),
        record(event=0, flags=flags | 1 << 16, cpu=0),
        record(event=0, flags=flags | 5 << 16, cpu=3),
        naming=ACCEPT,
    )
    assert [r["cgroup"] for r in (none, first, fifth)] == [None, "/0/0", "/3/4"]
    assert [r["flags"] for r in (none, first, fifth)] == [flags] * 3


def test_many_records_are_the_rows_of_each_of_them_in_order() -> None:
    """More than a block of them, with names and unknowns that change where a block ends."""
    many = np.tile(record(), 150_000)
    many["ts"] = np.arange(len(many))
    many["comm"][100_000:] = b"other\0\0\0\0\0\0\0\0\0\0\0"
    many["order"][:65_536] = -1
    many["parent"][65_536:] = NO_PARENT
    many["stack"][::3] = -1
    made = [from_records(block, NAMING) for block in blocks(many)]
    assert len(made) == 3
    assert pa.concat_tables(made).to_pydict() == from_records(many, NAMING).to_pydict()
    assert list(blocks(many[:0])) == []
