# SPDX-License-Identifier: Apache-2.0
"""The byte balance: what was accepted when, what closes, and what is said where it does not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from memtrace.analyzer.tables import Report, Row
from memtrace.analyzer.views import view
from memtrace.tests.analyzer.recorded import START, Case, header, status, streamed
from memtrace.tests.analyzer.recorded import Row as CaseRow
from memtrace.traces.reader import Run
from memtrace.traces.run import Snapshot

RunOf = Callable[[Case | str], Run]
MIB = 1 << 20
BLOCK = 4 * MIB
GIB2 = 2 << 30


def moment(label: str, at: int, *mib: int, total_kb: Sequence[int] = (2 << 20, 2 << 20)) -> Snapshot:
    """MiB unaccepted on each node."""
    nodes = {
        str(nid): {"Unaccepted": size * 1024, "MemTotal": total}
        for nid, (size, total) in enumerate(zip(mib, total_kb, strict=True))
    }
    return Snapshot(label, START + at, {"nr_unaccepted": sum(mib) * 256}, nodes)


def block(at: int, nid: int | None, **columns: Any) -> CaseRow:
    base: CaseRow = {"ts_ns": START + at + 10, "nid": nid, "bytes": BLOCK, "pfn": None}
    event = columns.pop("event", "accept.block")
    return streamed(event, 10, 10, **(base | columns))


def case(snapshots: Sequence[Snapshot], rows: Sequence[CaseRow], **fields: Any) -> Case:
    made = dataclasses.replace(header("accept.block", "accept.call"), snapshots=tuple(snapshots), **fields)
    return Case(rows, made, status())


def balance(run: Run) -> tuple[Report, dict[str, Row]]:
    report = view(run, "boot").report
    table = report.table("balance")
    assert table is not None
    return report, {row["node"]: row for row in table.rows}


def test_each_byte_of_a_node_is_accounted_for(run_of: RunOf) -> None:
    taken = [
        moment("entry", 0, 800, 2048),
        moment("start", 100, 700, 1800),
        moment("end", 300, 692, 1800),
        moment("boot", 400, 688, 1800),
    ]
    report, rows = balance(run_of(case(taken, [block(150, 0), block(200, 0)], origin="collected")))
    wanted = {
        "present_bytes": GIB2,
        "firmware_bytes": GIB2 - 800 * MIB,
        "kernel_bytes": 112 * MIB,
        "early_bytes": 100 * MIB,
        "unseen_bytes": GIB2 - 700 * MIB,
        "seen_bytes": 8 * MIB,
        "late_bytes": 4 * MIB,
        "left_bytes": 688 * MIB,
        "rest_bytes": 0,
    }
    assert {name: rows["0"][name] for name in wanted} == wanted
    assert rows["1"]["seen_bytes"] == 0 and rows["1"]["rest_bytes"] == 0
    assert rows["all"]["present_bytes"] == 2 * GIB2
    assert rows["all"]["unseen_share"] == (2 * GIB2 - 2500 * MIB) / (2 * GIB2)
    assert dict(report.heading)["balance"] == (
        "1.56 GiB of 4.00 GiB were accepted before memtrace could see it: 39%"
        " (1.22 GiB before the kernel, 0.34 GiB by it)"
    )
    assert "unexplained" not in {caveat.id for caveat in report.caveats}


@pytest.mark.parametrize(
    ("nids", "of_nodes"), [((0, 1), (BLOCK, BLOCK)), ((0, None), (None, None))], ids=["placed", "no node"]
)
def test_what_the_boot_trace_saw_before_the_probes_is_not_unseen(
    run_of: RunOf, nids: Sequence[int | None], of_nodes: Sequence[int | None]
) -> None:
    taken = [moment("entry", 0, 800, 2048), moment("start", 100, 700, 1800), moment("end", 300, 696, 1800)]
    rows = [*(block(50, nid) for nid in nids), block(150, 0)]
    report, found = balance(run_of(case(taken, rows, origin="collected")))
    assert [found[node]["traced_bytes"] for node in "01"] == list(of_nodes)
    assert found["all"]["traced_bytes"] == 2 * BLOCK
    # Of memory without a node it is not known whose it was: the nodes' unseen are upper bounds.
    unseen = [GIB2 - 700 * MIB - (of_nodes[0] or 0), GIB2 - 1800 * MIB - (of_nodes[1] or 0)]
    assert [found[node]["unseen_bytes"] for node in "01"] == unseen
    assert found["all"]["unseen_bytes"] == 2 * GIB2 - 2500 * MIB - 2 * BLOCK
    assert found["all"]["seen_bytes"] == BLOCK and found["all"]["rest_bytes"] == 0
    assert dict(report.heading)["balance"].endswith("by it); the boot trace saw 0.01 GiB more")


def test_traced_bytes_that_only_some_nodes_know_are_taken_off_the_whole_once(run_of: RunOf) -> None:
    taken = [moment("entry", 0, 2000, 2000), moment("start", 100, 1000, 1000), moment("end", 300, 1000, 1000)]
    rows = [block(i, 0, event="accept.call", bytes=None, bytes_requested=BLOCK) for i in range(5)]
    rows += [block(i, 1, event="accept.call", bytes=None, bytes_requested=None) for i in range(5)]
    _, found = balance(run_of(case(taken, rows, origin="collected")))
    assert [found[node]["traced_bytes"] for node in ("0", "1", "all")] == [5 * BLOCK, None, 5 * BLOCK]
    unseen = [found[node]["unseen_bytes"] for node in "01"]
    assert unseen == [GIB2 - 1000 * MIB - 5 * BLOCK, GIB2 - 1000 * MIB]
    assert found["all"]["unseen_bytes"] == sum(unseen)


def test_without_the_firmwares_map_the_part_before_the_kernel_is_unknown_not_zero(run_of: RunOf) -> None:
    taken = [moment("start", 100, 700, 1800), moment("end", 300, 700, 1800)]
    report, rows = balance(run_of(case(taken, [])))
    assert rows["0"]["firmware_bytes"] is None and rows["0"]["early_bytes"] is None
    assert rows["0"]["unseen_bytes"] == GIB2 - 700 * MIB
    assert "before-kernel-unknown" in {caveat.id for caveat in report.caveats}


@pytest.mark.parametrize(("seen", "words"), [(1, "less was seen"), (30, "more was seen")])
def test_what_does_not_close_is_printed_as_unexplained(run_of: RunOf, seen: int, words: str) -> None:
    taken = [moment("start", 100, 700, 1800), moment("end", 300, 640, 1800)]
    report, rows = balance(run_of(case(taken, [block(150 + i, 0) for i in range(seen)])))
    assert rows["0"]["rest_bytes"] == 60 * MIB - seen * BLOCK
    (text,) = [c.text for c in report.caveats if c.id == "unexplained"]
    assert text.startswith(f"node 0: {abs(60 - 4 * seen):.1f}Mi unexplained: {words}")


def test_a_block_being_accepted_as_the_counter_was_read_is_no_contradiction(run_of: RunOf) -> None:
    taken = [moment("start", 100, 700, 1800), moment("end", 300, 692, 1800)]
    report, rows = balance(run_of(case(taken, [block(150, 0)])))
    assert rows["0"]["rest_bytes"] == BLOCK
    assert "unexplained" not in {caveat.id for caveat in report.caveats}


@pytest.mark.parametrize(
    ("total_kb", "why"),
    [(3 << 20, "hot-added there meanwhile (MemTotal grew by 1.00Gi)"), (2 << 20, "counters do not tell")],
)
def test_a_counter_that_grows_is_a_contradiction_with_its_reason(
    run_of: RunOf, total_kb: int, why: str
) -> None:
    taken = [
        moment("start", 100, 700, 1800),
        moment("end", 300, 700, 2824, total_kb=(2 << 20, total_kb)),
    ]
    report, _ = balance(run_of(case(taken, [])))
    (text,) = [c.text for c in report.caveats if c.id == "unaccepted-grew"]
    assert text.startswith("node 1: Unaccepted grew by 1.00Gi from start to end") and why in text


def test_nested_events_of_one_accept_are_counted_once(run_of: RunOf) -> None:
    taken = [moment("start", 100, 700, 1800), moment("end", 300, 696, 1800)]
    call = {"bytes": 6 * MIB, "bytes_requested": BLOCK, "parent": "accept.block"}
    arch = {"bytes": 6 * MIB, "parent": "accept.call"}
    rows = [
        block(150, 0),
        block(150, 0, event="accept.call", **call),
        block(150, 0, event="accept.arch", **arch),
    ]
    report, found = balance(run_of(case(taken, rows)))
    assert found["0"]["seen_bytes"] == BLOCK and found["0"]["rest_bytes"] == 0
    seen = report.table("seen")
    assert seen is not None and [(r["calls"], r["bytes"]) for r in seen.rows] == [(1, BLOCK)]


def test_a_kernel_without_a_block_site_is_balanced_by_what_was_asked_for(run_of: RunOf) -> None:
    taken = [moment("start", 100, 700, 1800), moment("end", 300, 696, 1800)]
    call = block(150, 0, event="accept.call", bytes=6 * MIB, bytes_requested=BLOCK)
    _, found = balance(run_of(case(taken, [call])))
    assert found["0"]["seen_bytes"] == BLOCK and found["0"]["rest_bytes"] == 0


def test_accepts_of_unknown_node_stand_in_the_sum_alone(run_of: RunOf) -> None:
    taken = [moment("start", 100, 700, 1800), moment("end", 300, 696, 1800)]
    report, found = balance(run_of(case(taken, [block(150, None)])))
    assert found["0"]["rest_bytes"] == BLOCK
    assert found["all"]["seen_bytes"] == BLOCK and found["all"]["rest_bytes"] == 0
    assert "node-unknown" in {caveat.id for caveat in report.caveats}


def test_a_machine_of_one_node_has_all_accepts_there(run_of: RunOf) -> None:
    total = {"total_kb": (2 << 20,)}
    taken = [
        moment("entry", 0, 800, **total),
        moment("start", 100, 700, **total),
        moment("end", 300, 692, **total),
    ]
    made = case(taken, [block(50, None), block(150, None), block(160, None)], origin="collected")
    alone = dataclasses.replace(made.header, nodes=made.header.nodes[:1])
    report, found = balance(run_of(dataclasses.replace(made, header=alone)))
    assert (found["0"]["traced_bytes"], found["0"]["seen_bytes"]) == (BLOCK, 2 * BLOCK)
    assert found["0"]["rest_bytes"] == 0
    assert {"unexplained", "node-unknown"}.isdisjoint(caveat.id for caveat in report.caveats)


def test_where_bytes_of_some_calls_are_unknown_seen_is_a_bound_and_nothing_is_unexplained(
    run_of: RunOf,
) -> None:
    taken = [moment("start", 100, 700, 1800), moment("end", 300, 580, 1800)]
    rows = [
        block(150 + i, 0, event="accept.call", bytes=None, bytes_requested=BLOCK if i % 2 else None)
        for i in range(30)
    ]
    report, found = balance(run_of(case(taken, rows)))
    assert [found[node]["seen_bytes"] for node in ("0", "1", "all")] == [15 * BLOCK, 0, 15 * BLOCK]
    assert [found[node]["seen_partial"] for node in ("0", "1", "all")] == [True, False, True]
    assert [found[node]["rest_bytes"] for node in ("0", "1", "all")] == [None, 0, None]
    assert "unexplained" not in {caveat.id for caveat in report.caveats}


def test_only_collected_a_boot_has_nothing_to_check_the_trace_by(run_of: RunOf) -> None:
    taken = [moment("entry", 0, 800, 2048), moment("boot", 400, 700, 2000)]
    report, found = balance(run_of(case(taken, [block(10, None), block(20, None)], origin="collected")))
    assert found["0"]["kernel_bytes"] == 100 * MIB and found["0"]["seen_bytes"] is None
    assert found["all"]["seen_bytes"] == 8 * MIB and found["all"]["early_bytes"] == 140 * MIB
    assert found["all"]["rest_bytes"] is None
    assert "out of memtrace's sight" in dict(report.heading)["balance"]


def test_a_recording_cut_short_after_its_first_snapshot_does_not_know_what_is_left(run_of: RunOf) -> None:
    taken = [moment("entry", 0, 800, 2048), moment("start", 100, 700, 1800)]
    report, found = balance(run_of(case(taken, [block(150, 0), block(160, 0)])))
    # What was accepted before recording began is not less by what was seen after.
    assert found["all"]["unseen_bytes"] == 2 * GIB2 - 2500 * MIB
    assert [found[node]["seen_bytes"] for node in ("0", "1", "all")] == [2 * BLOCK, 0, 2 * BLOCK]
    for name in ("kernel", "late", "left", "rest"):
        assert {found[node][f"{name}_bytes"] for node in ("0", "1", "all")} == {None}, name
    assert not any("Nothing was recorded" in note for note in report.tables[2].notes)


def test_without_snapshots_there_is_no_balance_and_that_is_said(run_of: RunOf) -> None:
    report = view(run_of(case([], [block(10, 0)])), "boot").report
    assert report.table("balance") is None
    assert "no-counters" in {caveat.id for caveat in report.caveats}
