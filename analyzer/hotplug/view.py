# SPDX-License-Identifier: Apache-2.0
"""The hotplug view: each hot-add, its phases, blocks, struct pages and what it did to free memory.

Each module beside this one defines its own figures.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from memtrace.analyzer.caveats import cut_short, lost
from memtrace.analyzer.facts import facts, heading, page_title
from memtrace.analyzer.hotplug import blocks, brackets, cycles, memmap, phases, refusals, state
from memtrace.analyzer.hotplug.adds import HotAdd, hot_adds
from memtrace.analyzer.hotplug.rows import Occurrence, occurrences, of
from memtrace.analyzer.in_file import InFile, in_file, numbers
from memtrace.analyzer.model.origin import UNKNOWN
from memtrace.analyzer.model.staged import Model, model
from memtrace.analyzer.tables import Caveat, Column, Report, Table
from memtrace.analyzer.views import PLAIN, Choice, Result
from memtrace.analyzer.witnesses import silent_in

if TYPE_CHECKING:
    from memtrace.traces.reader import Run


def view(run: Run, choice: Choice = PLAIN) -> Result:
    """The hotplug view of a run."""
    with model(run) as staged:
        rows = occurrences(staged)
        everything = hot_adds(staged, rows)
        adds = [add for add in everything if any(_touches(span, choice) for span in add.spans)]
        whole = in_file(run, staged.connection)
        quiet = silent_in(run, staged.connection, "hot.")
        kept = tuple(row for row in rows if _touches(row, choice))
        seen = _seen(staged, rows)
        tables = _tables(staged, everything, adds, kept, rows, seen, choice.window)
        caveats = (*quiet, *_caveats(staged, adds, seen, whole))
    report = Report(
        view="hotplug",
        title=page_title(run, "hotplug"),
        run={**facts(run), **numbers(run, whole)},
        heading=(*heading(run, whole), *_window(choice)),
        tables=tables or (_nothing(run, choice, kept),),
        caveats=tuple(Caveat(*pair) for pair in caveats),
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


def _seen(staged: Model, rows: Sequence[Occurrence]) -> frozenset[str]:
    """Events that would be in the run if they happened."""
    staged.need("traced")
    return frozenset(event for (event,) in staged.tuples("FROM traced")) | {row.event for row in rows}


def _tables(
    staged: Model,
    everything: Sequence[HotAdd],
    adds: Sequence[HotAdd],
    kept: Sequence[Occurrence],
    rows: Sequence[Occurrence],
    seen: frozenset[str],
    window: tuple[int, int] | None,
) -> tuple[Table, ...]:
    """``adds`` and ``kept`` are those of ``everything`` and ``rows`` that the window shows."""
    run, page = staged.run, staged.run.header.page_size
    snapshots = brackets.taken(run)
    found = brackets.brackets(everything, snapshots, rows)
    rounds = {add.number: found[add.number] for add in adds}
    counted = {number: brackets.counted(found, page) for number, found in rounds.items()}
    numbers = {add.number for add in adds}
    tables = [
        adds_table(staged, numbers),
        phases.table(staged, numbers),
        blocks.firsts(adds),
        blocks.table(staged, numbers, window),
        memmap.matrix(adds),
        memmap.witnesses(adds, counted, {n: b.adds for n, b in rounds.items()}, seen, page),
        state.nodes(rounds, seen, page),
        state.dip(adds, snapshots),
        cycles.cycles(adds, snapshots, kept),
        refusals.refusals(kept, run.status.started_ns),
    ]
    optional = {"cycles", "refusals"} if adds else {table.name for table in tables}
    return tuple(table for table in tables if table.rows or table.name not in optional)


def adds_table(staged: Model, adds: Collection[int]) -> Table:
    """One row for each of these hot-adds."""
    found = staged.page("memtrace.analyzer.hotplug", "adds")
    rows = tuple(row for row in found.rows if row["add"] in adds)
    return Table("adds", "Memory added", found.names, rows, found.shown, top=24)


def _nothing(run: Run, choice: Choice, kept: Sequence[Occurrence]) -> Table:
    when = "while this was recorded" if choice.window is None else "in this window"
    asked = any(event.startswith("hot.") for event in run.header.events)
    words = {"hot.offline": "taken offline", "hot.remove": "removed"}
    counts = {said: len(of(kept, event)) for event, said in words.items()}
    happened = [f"{count} time{'s' * (count > 1)} {said}" for said, count in counts.items() if count]
    if happened:
        why = f"No memory was added or brought online {when}; other memory was {', '.join(happened)}."
    elif asked:
        why = f"No memory was added, brought online or removed {when}."
    else:
        why = "Hotplug was not recorded in this run: `memtrace record -e hotplug` does."
    return Table("adds", "Memory added", ("add",), (), (Column("add", "add", "number"),), notes=(why,))


def _caveats(
    staged: Model, adds: Sequence[HotAdd], seen: frozenset[str], whole: InFile
) -> Iterator[tuple[str, str]]:
    run = staged.run
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
    if any(add.origin == UNKNOWN for add in adds):
        yield "origin-unknown", "who asked for the memory is unknown where no stack was recorded"
    unknown = [add for add in adds if any(row.nid is None for row in add.rows if row.event == "hot.memmap")]
    if unknown:
        yield "node-unknown", "the real node of struct pages is unknown where the direct map's base is"
    if phases.overlap(staged, {add.number for add in adds}):
        yield "threads", "blocks came online in several threads at once: phases add up to more than passed"
