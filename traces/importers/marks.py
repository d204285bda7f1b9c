# SPDX-License-Identifier: Apache-2.0
"""Phases and moments from the marks in a trace: functions of the boot, initcall levels.

The function tracer sees entries alone.  The deferred init of a node begins with
deferred_init_memmap() on its pgdatinitN thread; its end is the line
that it prints (printk:console), else between its thread's last call that was
traced and memblock_discard() (mm/mm_init.c, page_alloc_init_late()): then the
middle is given, with half that gap as resolution.
"""

from __future__ import annotations

import re

from memtrace.traces.importers.parsed import POINT, Moment, Stamp
from memtrace.traces.run import Phase

SOURCE = "ftrace"
_STAMP_NS = 1000
_PGDATINIT = re.compile(r"pgdatinit(\d+)")
_DONE = re.compile(r"node (\d+) deferred pages initialised in \d+ms")
_LEVEL = re.compile(r"level=(\S+)")


def phases(marks: list[Stamp]) -> list[Phase]:
    """On the file's own clock."""
    found: list[Phase] = []
    first: dict[str, Stamp] = {}
    for mark in marks:
        first.setdefault(mark.what, mark)
    free, late = first.get("memblock_free_all"), first.get("page_alloc_init_late")
    if late is not None:
        found.append(_phase("core", free, late, "page_alloc_init_late() entered"))
    found += _deferred(marks, first.get("memblock_discard"))
    levels = {m[1]: s for s in marks if s.what == "initcall_level" and (m := _LEVEL.search(s.args))}
    begin = levels.get("pure") or levels.get("core")
    if begin is not None:
        # Modules that are loaded later have initcalls too; the kernel's own run on its first task.
        finished = [s for s in marks if s.what == "initcall_finish" and s.comm == begin.comm]
        end = finished[-1] if finished and finished[-1].ts_ns > begin.ts_ns else None
        order = ", ".join(levels)
        found.append(_phase("initcalls", begin, end, f"initcall_level {order}"))
    return found


def moments(marks: list[Stamp]) -> dict[str, Moment]:
    """What other files may have seen too."""
    found: dict[str, Moment] = {}
    for phase in _deferred(marks, next((m for m in marks if m.what == "memblock_discard"), None)):
        if phase.end_ns is not None and phase.resolution_ns is not None:
            lo, hi = phase.end_ns - phase.resolution_ns, phase.end_ns + phase.resolution_ns
            found[f"deferred done on node {phase.nid}"] = Moment(lo, hi, phase.detail)
    for mark in marks:
        if mark.what == "initcall_level" and (level := _LEVEL.search(mark.args)):
            name = f"initcall level {level[1]}"
            found[name] = Moment(mark.ts_ns, mark.ts_ns + _STAMP_NS, mark.args.strip())
    return found


def _deferred(marks: list[Stamp], discard: Stamp | None) -> list[Phase]:
    starts = {
        int(node[1]): mark
        for mark in marks
        if mark.what == "deferred_init_memmap"
        and mark.kind != POINT
        and (node := _PGDATINIT.match(mark.comm or ""))
    }
    done = {
        int(match[1]): mark
        for mark in marks
        if mark.what == "console" and (match := _DONE.match(mark.args.strip()))
    }
    found: list[Phase] = []
    for nid, start in sorted(starts.items()):
        if nid in done:
            detail = f"deferred_init_memmap() to {done[nid].args.strip()!r} printed"
            found.append(_phase("deferred", start, done[nid], detail, nid))
            continue
        own = [m for m in marks if m.comm == start.comm and m.what != "memblock_discard"]
        last = own[-1] if own else start
        if discard is None or discard.ts_ns < last.ts_ns:
            found.append(_phase("deferred", start, None, "deferred_init_memmap() entered", nid))
            continue
        middle, half = (last.ts_ns + discard.ts_ns) // 2, (discard.ts_ns - last.ts_ns + 1) // 2
        detail = "deferred_init_memmap() to between its thread's last call and memblock_discard()"
        found.append(Phase("deferred", start.ts_ns, middle, SOURCE, half + _STAMP_NS, nid, detail=detail))
    return found


def _phase(name: str, start: Stamp | None, end: Stamp | None, detail: str, nid: int | None = None) -> Phase:
    return Phase(
        name,
        start.ts_ns if start else None,
        end.ts_ns if end else None,
        SOURCE,
        _STAMP_NS,
        nid=nid,
        detail=detail,
    )
