# SPDX-License-Identifier: Apache-2.0
"""Checks the trace against known work: a counted number of pages touched on each node.

A child touches SMALL 4 KiB pages and HUGE huge pages on each node, each range in
one C call.  It notes the moments before and after, and the pfns that pagemap shows.
Two recordings of it are checked:

- With every event streamed, the trace has exactly those pages in each window, by pfn,
  with the right order, node and zeroing.
- By default order 0 is summed in the kernel, and the file's sums equal the kernel's.
"""

from __future__ import annotations

import json
import mmap
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from memtrace.errors import MemtraceError
from memtrace.probes.machine import invocation
from memtrace.probes.machine.topology import nodes
from memtrace.probes.recorder import plan
from memtrace.probes.recorder.options import Options
from memtrace.probes.recorder.outcome import Outcome
from memtrace.probes.recorder.recording import Recorder
from memtrace.probes.workloads.touch import HUGE_BYTES
from memtrace.traces.reader import Run, open_run
from memtrace.traces.run import LEFT_TO_ALLOCATOR, ProbeSite
from memtrace.traces.schema import Flag

_COLUMNS = ["event", "order", "nid", "pfn", "gfp", "flags", "tid", "ts_ns", "count", "bytes"]


@dataclass(frozen=True)
class Check:
    """One statement about the trace: what was expected, and what was found."""

    name: str
    expected: str
    found: str
    passed: bool | None
    """Whether both agree; None if it can't be decided here."""
    why: str = ""
    """Why it may differ, or why it can't be decided."""


def selftest(small_pages: int, huge_pages: int) -> tuple[Check, ...]:
    """Run all checks on this kernel and return them.

    Raises MemtraceError if recording is impossible or the known work fails.
    """
    nids = tuple(node.nid for node in nodes() if node.present_bytes)
    with tempfile.TemporaryDirectory(prefix="memtrace-") as folder:
        streamed, work = _record(Path(folder), "streamed", small_pages, huge_pages, nids, stream_all=True)
        summed, _ = _record(Path(folder), "summed", small_pages, huge_pages, nids, stream_all=False)
        sites = {site.event: site for site in streamed.header.manifest}
        table = _load(streamed)
        checks: list[Check] = []
        for item in work:
            if item["kind"] == "small":
                checks += _small_checks(table, item, small_pages, sites, streamed)
            else:
                checks += _huge_checks(table, item, huge_pages, sites, streamed)
        checks += _sums_checks("streamed", streamed)
        checks += _sums_checks("summed in the kernel", summed)
        checks.append(_loss_check(streamed))
        return tuple(checks)


def _record(
    folder: Path, name: str, small: int, huge: int, nids: tuple[int, ...], stream_all: bool
) -> tuple[Run, list[dict[str, Any]]]:
    output, answer = folder / f"{name}.parquet", folder / f"{name}.json"
    command = (
        *invocation.module("memtrace.probes.workloads.knownwork"),
        str(answer),
        str(small),
        str(huge),
    )
    options = Options(
        output=output,
        command=(*command, *map(str, nids)),
        filters=plan.Filters(follow=True),
        shape=plan.Shape(stream_all=stream_all),
        argv=("memtrace", "selftest"),
    )
    with Recorder(options) as session:
        outcome: Outcome = session.run(lambda: "")
    if outcome.status.exit_status:
        raise MemtraceError(
            f"the known work ended with status {outcome.status.exit_status}: try fewer --pages and --huge"
        )
    return open_run(output), json.loads(answer.read_text())


def _load(run: Run) -> dict[str, Any]:
    import pyarrow as pa

    table = pa.Table.from_batches(list(run.batches(_COLUMNS)))
    found: dict[str, Any] = {}
    for name in _COLUMNS:
        column = table[name].combine_chunks() if table.num_rows else table[name]
        if name == "event":
            found[name] = np.array(column.to_pylist())
        else:
            found[name] = column.cast(pa.int64()).fill_null(-1).to_numpy()
    return found


def _window(table: dict[str, Any], item: dict[str, Any], event: str, order: int) -> Any:
    return (
        (table["event"] == event)
        & (table["order"] == order)
        & (table["tid"] == item["tid"])
        & (table["ts_ns"] >= item["begin_ns"])
        & (table["ts_ns"] <= item["end_ns"])
    )


def _small_checks(
    table: dict[str, Any], item: dict[str, Any], pages: int, sites: dict[str, ProbeSite], run: Run
) -> list[Check]:
    where = f"{pages} x 4 KiB on node {item['nid']}"
    # Interrupts allocate in this task's name too, but neither their pages nor page tables are movable.
    movable = run.header.gfp_names.get("__GFP_MOVABLE", 0x8)
    rows = _window(table, item, "alloc", 0) & ((table["gfp"] & movable) != 0)
    checks = [_count(f"{where}: order-0 alloc", pages, int(rows.sum()))]
    checks += _place_checks(where, table, rows, item, pages)
    zeroed = int(((table["flags"][rows] & int(Flag.ZEROED)) != 0).sum()) * mmap.PAGESIZE
    if sites["zero.alloc"].kind != "inferred":
        clears = _window(table, item, "zero.alloc", 0) & ((table["gfp"] & movable) != 0)
        zeroed = int(table["bytes"][clears].sum())
    kind = "inferred from gfp" if sites["zero.alloc"].kind == "inferred" else "seen"
    checks.append(_count(f"{where}: bytes zeroed by the allocator ({kind})", pages * mmap.PAGESIZE, zeroed))
    return checks


def _place_checks(
    where: str, table: dict[str, Any], rows: Any, item: dict[str, Any], pages: int
) -> list[Check]:
    nids = set(table["nid"][rows].tolist())
    checks = [Check(f"{where}: node of every page", str(item["nid"]), _listed(nids), nids == {item["nid"]})]
    if not item["pfns"]:
        return [*checks, Check(f"{where}: pfns", "as pagemap", "unknown", None, "pagemap hides pfns")]
    same = len(set(table["pfn"][rows].tolist()) & set(item["pfns"]))
    return [*checks, _count(f"{where}: pfns that pagemap shows, in the trace", pages, same)]


def _huge_checks(
    table: dict[str, Any], item: dict[str, Any], pages: int, sites: dict[str, ProbeSite], run: Run
) -> list[Check]:
    order = (HUGE_BYTES // mmap.PAGESIZE).bit_length() - 1
    where = f"{pages} huge pages on node {item['nid']}"
    granted = item["huge_pages"]
    if granted != pages:
        why = "the kernel did not grant them (transparent_hugepage, fragmentation)"
        return [Check(f"{where}: granted (smaps)", str(pages), str(granted), None, why)]
    rows = _window(table, item, "alloc", order)
    checks = [_count(f"{where}: order-{order} alloc", pages, int(rows.sum()))]
    nids = set(table["nid"][rows].tolist())
    checks.append(
        Check(f"{where}: node of every page", str(item["nid"]), _listed(nids), nids == {item["nid"]})
    )
    by_allocator = int(((table["flags"][rows] & int(Flag.ZEROED)) != 0).sum())
    if sites["zero.alloc"].kind != "inferred":
        by_allocator = int(table["bytes"][_window(table, item, "zero.alloc", order)].sum()) // HUGE_BYTES
    init_on_alloc = any(f.name == "init_on_alloc" and f.value == "yes" for f in run.header.facts)
    checks.append(_count(f"{where}: cleared by the allocator", pages if init_on_alloc else 0, by_allocator))
    user = sites["zero.user"]
    if user.count != "exact":
        why = "; ".join(f"{r.candidate}: {r.reason}" for r in user.refused) or "no site"
        return [*checks, Check(f"{where}: cleared by the caller", str(pages), "unknown", None, why)]
    by_caller = int(_window(table, item, "zero.user", order).sum())
    # From 6.14 on the caller leaves zeroing to init_on_alloc, so the allocator must be seen to do it.
    once = init_on_alloc and by_caller == 0 and by_allocator == pages
    why = LEFT_TO_ALLOCATOR if once else ""
    return [
        *checks,
        replace(_count(f"{where}: cleared by the caller", 0 if once else pages, by_caller), why=why),
    ]


def _sums_checks(how: str, run: Run) -> list[Check]:
    import pyarrow as pa
    import pyarrow.compute as pc

    table = pa.Table.from_batches(list(run.batches(["event", "count", "order", "pfn", "flags"])))
    names = table["event"].cast(pa.string())
    checks = []
    for counter in run.status.counters:
        observed = pc.equal(pc.bit_wise_and(table["flags"], pa.scalar(int(Flag.INFERRED), pa.uint32())), 0)
        rows = table.filter(pc.and_(pc.equal(names, counter.event), observed))
        count = pc.sum(rows["count"]).as_py() or 0
        if not counter.seen and not count:
            # The work does not cause this event or no site sees it, and 0 beside 0 would not tell which.
            continue
        checks.append(
            _count(f"{how}: {counter.event} in the file and lost", counter.seen, count + counter.ring_full)
        )
        orders = pc.sum(pc.multiply(rows["count"], pc.max_element_wise(rows["order"].cast(pa.int64()), 0)))
        if not counter.ring_full:
            checks.append(
                _count(f"{how}: {counter.event} sum of order", counter.sum_order, orders.as_py() or 0)
            )
        if counter.streamed == counter.seen and counter.sum_pfn:
            total = sum(v for v in rows["pfn"].to_pylist() if v is not None) % 2**64
            checks.append(_count(f"{how}: {counter.event} sum of pfn", counter.sum_pfn, total))
    return checks


def _loss_check(run: Run) -> Check:
    losses = run.status.losses
    parts = {
        "ring full": losses.ring_full,
        "return probe missed": losses.kretprobe_missed,
        "recursion": losses.recursion,
        "entry without exit": losses.entry_without_exit,
        "no room": losses.no_room,
    }
    found = ", ".join(f"{name} {'unknown' if value is None else value}" for name, value in parts.items())
    # The kernel skips a program that is active on the CPU (bpf_prog_enter), also while it is preempted.
    why = "recursion: what interrupted or preempted a program of ours and allocated was not seen"
    others = any(value for name, value in parts.items() if name != "recursion")
    passed = False if others else (None if losses.recursion else True)
    return Check("losses", "none", found, passed, why if losses.recursion else "")


def _count(name: str, expected: int, found: int) -> Check:
    return Check(name, f"{expected:,}", f"{found:,}", expected == found)


def _listed(values: set[int]) -> str:
    return ", ".join(str(v) for v in sorted(values)) or "none"
