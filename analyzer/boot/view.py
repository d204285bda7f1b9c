# SPDX-License-Identifier: Apache-2.0
"""The boot view: phases and the acceptance in each, who saw what, the byte balance."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from memtrace.analyzer.boot import balance as balances
from memtrace.analyzer.boot import sources as origins
from memtrace.analyzer.boot.accepts import Accepts
from memtrace.analyzer.boot.applies import Verdict, verdict
from memtrace.analyzer.boot.phases import BYTES, TIME, other_sources, phases, shown
from memtrace.analyzer.caveats import cut_short, lost
from memtrace.analyzer.facts import facts, heading, page_title
from memtrace.analyzer.in_file import InFile, in_file, numbers
from memtrace.analyzer.model.staged import model
from memtrace.analyzer.tables import Caveat, Column, Report, Table
from memtrace.analyzer.views import PLAIN, Choice, Result

if TYPE_CHECKING:
    from memtrace.analyzer.boot.balance import Reading
    from memtrace.traces.reader import Run


def view(run: Run, choice: Choice = PLAIN) -> Result:
    """The boot of a run; ``choice`` has nothing that it takes."""
    with model(run) as tables_of:
        whole = in_file(run, tables_of.connection)
        accepts = Accepts(run, tables_of.connection)
        applies = verdict(run, accepts)
        read = balances.reading(run)
        phase_table = phases(tables_of, accepts)
        tables = [phase_table]
        lines = [*_origin(run)]
        if applies.applies is not False:
            tables.append(seen(run, accepts, read))
            if read is not None:
                balance = balances.balance(run, accepts, read)
                tables += [balance, balances.counter_table(run)]
                lines += (
                    [("balance", text)] if (text := balances.sentence(balance, accepts.seen().calls)) else []
                )
        lines.append(("acceptance", _words(applies)))
        tables += [told] if (told := other_sources(tables_of)) is not None else []
        if run.header.sources:
            tables.append(origins.sources(run))
        found = tuple(_caveats(run, whole, accepts, applies, read, tables))
        report = Report(
            view="boot",
            title=page_title(run, "boot"),
            run={
                **facts(run),
                **numbers(run, whole),
                "acceptance": applies.applies,
                "acceptance_because": applies.because,
            },
            heading=(*_heading(run, whole), *lines),
            tables=tuple(tables),
            caveats=found,
            main="phases",
        )
        drawn = None
        if accepts.counted is not None:
            drawn = (accepts.spans(), accepts.falls())

    def draw(path: Path) -> None:
        from memtrace.analyzer.boot.plot import draw_boot

        draw_boot(run, report, drawn, path)

    return Result(report, draw)


def _heading(run: Run, whole: InFile) -> Iterator[tuple[str, str]]:
    wanted = {"kernel", "machine", "facts"}
    if run.header.origin == "recorded":
        wanted |= {"recorded", "losses"}
    return (line for line in heading(run, whole) if line[0] in wanted)


def _origin(run: Run) -> Iterator[tuple[str, str]]:
    if run.header.origin != "recorded":
        names = ", ".join(s.name for s in run.header.sources if s.lines)
        yield run.header.origin, f"from {names or 'nothing'}"


def _words(applies: Verdict) -> str:
    if applies.applies is None:
        return f"unknown: {applies.because}"
    return applies.because if applies.applies else f"not applicable, because {applies.because}"


def seen(run: Run, accepts: Accepts, read: Reading | None) -> Table:
    """What was seen before, while and after the probes were on (without them: by the boot trace)."""
    windows: list[tuple[str, tuple[int | None, int | None]]] = [("boot trace", (None, None))]
    if run.header.origin == "recorded":
        windows = [("probes", (None, None))]
    elif read is not None and read.first is not None:
        first, end = read.first.at_ns, read.end.at_ns if read.end else None
        windows = [("boot trace", (None, first)), ("probes", (first, end))]
        windows += [(_AFTER, (end, None))] if end is not None else []
    rows = []
    for name, window in windows:
        found = accepts.seen(window)
        if found.calls or name != _AFTER:
            rows.append({"seen_by": name, **shown(found)})
    notes = [f"calls and time of {accepts.counted}"] if accepts.counted else ["no accept was seen"]
    return Table("seen", "Accepts seen", tuple(rows[0]), tuple(rows), _SEEN, notes=tuple(notes))


_AFTER = "boot trace, after"
_SEEN = (Column("seen_by", "seen by"), Column("calls", "calls", "count"), BYTES, TIME)


def _caveats(
    run: Run, whole: InFile, accepts: Accepts, applies: Verdict, read: Reading | None, tables: list[Table]
) -> Iterator[Caveat]:
    if applies.applies is False:
        yield Caveat("not-applicable", f"acceptance is not applicable, because {applies.because}")
    for found in (*cut_short(run), *lost(run, whole, "; what was seen is short by as much")):
        yield Caveat(*found)
    if applies.applies is not False:
        if read is None:
            yield Caveat("no-counters", "no snapshot of the counter Unaccepted in this run: no byte balance")
        else:
            balance = next(table for table in tables if table.name == "balance")
            yield from balances.caveats(run, balance, read)
        seen_by = next(table for table in tables if table.name == "seen")
        if any(row["bytes"] is None and row["calls"] for row in seen_by.rows):
            yield Caveat(
                "bytes-unknown",
                "the function tracer sees no arguments: bytes of its calls are unknown, the balance is by the"
                " counters",
            )
        if None in accepts.nodes():
            yield Caveat("node-unknown", "some accepts have no node: they stand in the sum alone")
    if not run.header.phases:
        yield Caveat("no-phases", "this boot's phases are unknown: `memtrace boot collect --merge` adds them")
    yield from origins.caveats(run)
