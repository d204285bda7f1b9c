# SPDX-License-Identifier: Apache-2.0
"""The hotplug view: each hot-add, its phases, blocks, struct pages and what it did to free memory.

Each module beside this one defines its own figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memtrace.analyzer.caveats import cut_short, lost
from memtrace.analyzer.facts import facts, heading, page_title
from memtrace.analyzer.hotplug import blocks, brackets, cycles, memmap, phases, refusals, state
from memtrace.analyzer.hotplug.adds import HotAdd, hot_adds
from memtrace.analyzer.hotplug.inside import NONE, Nested, nested
from memtrace.analyzer.hotplug.origin import UNKNOWN, origin
from memtrace.analyzer.hotplug.rows import Occurrence, occurrences
from memtrace.analyzer.scan import connect, in_file
from memtrace.analyzer.tables import Caveat, Column, Report, Table
from memtrace.analyzer.views import PLAIN, Choice, Result
from memtrace.analyzer.witnesses import silent_in

if TYPE_CHECKING:
    from memtrace.traces.reader import Run

PHASES_OF = 4
"""Hot-adds whose phases a page shows."""


def view(run: Run, choice: Choice = PLAIN) -> Result:
    """The hotplug view of a run."""
    with connect(run) as connection:
        rows = occurrences(run, connection)
        everything = hot_adds(rows, run.header.page_size)
        adds = [add for add in everything if any(_touches(span, choice) for span in add.windows)]
        inner = nested(run, adds, connection)
        whole = in_file(run, connection)
        quiet = silent_in(run, connection, "hot.")
    seen = _seen(run, rows)
    times = {add.number: phases.exclusive(add, inner.get(add.number, NONE), seen) for add in adds}
    rounds = brackets.brackets(everything, brackets.taken(run), rows)
    kept = tuple(row for row in rows if _touches(row, choice))
    own = {add.number: rounds[add.number] for add in adds}
    tables = _tables(run, adds, kept, inner, times, seen, own) if kept else ()
    report = Report(
        view="hotplug",
        title=page_title(run, "hotplug"),
        run=facts(run),
        heading=(*heading(run, whole), *_window(choice)),
        tables=tables or (_nothing(run, choice),),
        caveats=tuple(Caveat(*pair) for pair in (*quiet, *_caveats(run, adds, seen, whole))),
        main="adds",
    )

    def draw(path: Path) -> None:
        from memtrace.analyzer.hotplug.plot import draw_timeline

        draw_timeline(run, adds, path)

    return Result(report, draw)


def _touches(span: Occurrence, choice: Choice) -> bool:
    """Whether it reaches into the window; a hot-add that does is shown whole."""
    return choice.window is None or (span.end >= choice.window[0] and span.start <= choice.window[1])


def _window(choice: Choice) -> tuple[tuple[str, str], ...]:
    if choice.window is None:
        return ()
    low, high = (moment / 1e9 for moment in choice.window)
    return (("window", f"{low:.3f} to {high:.3f} s after boot: what reaches into it, whole"),)


def _seen(run: Run, rows: Sequence[Occurrence]) -> frozenset[str]:
    """Events that would be in the run if they happened."""
    sites = {s.event for s in run.header.manifest if s.site and s.time != "unknown"}
    return frozenset(sites & set(run.header.events)) | {row.event for row in rows}


def _tables(
    run: Run,
    adds: Sequence[HotAdd],
    rows: Sequence[Occurrence],
    inner: dict[int, Nested],
    times: dict[int, dict[str, int | None]],
    seen: frozenset[str],
    rounds: dict[int, brackets.Bracket],
) -> tuple[Table, ...]:
    page = run.header.page_size
    snapshots = brackets.taken(run)
    counted = {number: brackets.counted(found, page) for number, found in rounds.items()}
    found = [
        adds_table(adds, inner, run.status.started_ns, page),
        phases.table(adds, times, inner, PHASES_OF),
        blocks.firsts(adds, seen),
        blocks.table(adds, seen),
        memmap.matrix(adds, page),
        memmap.witnesses(adds, counted, {n: b.adds for n, b in rounds.items()}, seen, page),
        state.nodes(rounds, seen, page),
        state.dip(adds, snapshots),
        cycles.cycles(adds, snapshots, rows),
        refusals.refusals(rows, run.status.started_ns, page),
    ]
    optional = {"cycles", "refusals"}
    return tuple(t for t in found if (adds or t.name in optional) and (t.rows or t.name not in optional))


def adds_table(adds: Sequence[HotAdd], inner: dict[int, Nested], start: int, page_size: int) -> Table:
    """One row for each hot-add.

    at_ns: its start, from the run's; total_ns: from there to its last block online;
    request_ns: the request alone, inclusive; removed_bytes: of its range, until the run's end
    or until it was added again.
    """
    rows: list[dict[str, Any]] = []
    for add in adds:
        onlined = [block.onlined for block in add.blocks]
        inside = inner.get(add.number, NONE)
        rows.append(
            {
                "add": add.number,
                "at_ns": add.request.start - start,
                "origin": origin(add.request.stack),
                "nid": add.nid,
                "pfn": add.pfns[0],
                "end_pfn": add.pfns[1],
                "bytes": add.bytes,
                "blocks": len(add.blocks),
                "range_online_bytes": sum(b.outer.size for b in add.blocks),
                "onlined_bytes": None if None in onlined else sum(size or 0 for size in onlined),
                "request_ns": add.request.dur if add.requested else None,
                "total_ns": add.end - add.request.start,
                "accepts": inside.accepts_online,
                "accept_bytes": inside.accept_bytes,
                "accept_bytes_are": inside.bytes_are,
                "again": len(add.again),
                "result": _result(add, page_size),
                "removed_bytes": add.removed_bytes,
                "comm": add.request.comm,
                "tid": add.request.tid,
            }
        )
    partly = any(add.removed is None and add.removed_bytes for add in adds)
    columns = (
        Column("add", "add", "number"),
        Column("at_ns", "at", "ns"),
        Column("origin", "origin"),
        Column("nid", "node", "number"),
        Column("pfn", "pfn", "number"),
        Column("bytes", "memory", "bytes"),
        Column("blocks", "blocks", "number"),
        Column("onlined_bytes", "onlined", "bytes"),
        Column("total_ns", "took", "ns", block=1),
        Column("accepts", "accepts", "number", if_any=True, block=1),
        Column("again", "again", "number", if_any=True, block=1),
        Column("result", "result", block=1),
        *((Column("removed_bytes", "removed", "bytes", block=1),) if partly else ()),
    )
    names = tuple(rows[0]) if rows else tuple(column.name for column in columns)
    return Table("adds", "Memory added", names, tuple(rows), columns, top=24)


def _result(add: HotAdd, page_size: int) -> str:
    online = sum(block.outer.size for block in add.online)
    if add.removed is not None:
        return "removed"
    if add.removed_bytes:
        return "partly removed"
    if not add.online:
        return "offline"
    # Without hot.block, a block that holds its struct pages is only as long as what came online.
    return "online" if online >= add.bytes - memmap.in_block(add, page_size) else "partly"


def _nothing(run: Run, choice: Choice) -> Table:
    when = "while this was recorded" if choice.window is None else "in this window"
    asked = any(event.startswith("hot.") for event in run.header.events)
    why = (
        f"No memory was added, brought online or removed {when}."
        if asked
        else "Hotplug was not recorded in this run: `memtrace record -e hotplug` does."
    )
    return Table("adds", "Memory added", ("add",), (), (Column("add", "add", "number"),), notes=(why,))


def _caveats(run: Run, adds: Sequence[HotAdd], seen: frozenset[str], whole: int) -> Iterator[tuple[str, str]]:
    yield from cut_short(run)
    yield from lost(run, whole, ": phases and blocks may be missing")
    if not adds:
        return
    absent = [
        f"{site.event} ({', '.join(sorted({r.reason for r in site.refused})) or 'no site'})"
        for site in run.header.manifest
        if site.event.startswith("hot.") and site.event in run.header.events and site.site is None
    ]
    if absent:
        yield "site-absent", f"not observed, no site here: {', '.join(absent)}"
    if "zero.alloc" not in seen:
        yield (
            "zeroing-untraced",
            "clearing was not traced: it is inside the allocation of struct pages"
            " (`record -e hotplug,zero` tells them apart)",
        )
    if any(not add.requested for add in adds):
        yield "no-request", "hot.request was not seen: a hot-add begins at arch_add_memory()"
    if any(origin(add.request.stack) == UNKNOWN for add in adds):
        yield "origin-unknown", "who asked for the memory is unknown where no stack was recorded"
    unknown = [add for add in adds if any(row.nid is None for row in add.rows if row.event == "hot.memmap")]
    if unknown:
        yield "node-unknown", "the real node of struct pages is unknown where the direct map's base is"
    if any(sum(w.dur or 0 for w in add.windows) > phases.covered(add.windows) for add in adds):
        yield "threads", "blocks came online in several threads at once: phases add up to more than passed"
