# SPDX-License-Identifier: Apache-2.0
"""The accept view: who waited for acceptance, how long, what it disturbed, and what would be otherwise.

Each table is defined at the top of its module: window (contamination.py), calls,
steps, progress, victims, worst, bursts (victims.py), parallel (parallel.py),
redundant; and the what-ifs eager, lazy, background and granule.

``--window`` narrows window, calls, victims, worst and bursts to what touches it (an
accept or a stall that is partly in it counts as a whole, but for the shares and lost_ns of
window), and parallel to what lies in it; steps, progress, redundant and the what-ifs are of
the whole recording.
Without any accept, only window and progress are there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from memtrace.analyzer import cells as cell
from memtrace.analyzer.accept.calls import calls
from memtrace.analyzer.accept.caveats import accept_caveats
from memtrace.analyzer.accept.concurrency import Curves, curves
from memtrace.analyzer.accept.contamination import contamination
from memtrace.analyzer.accept.parallel import parallel
from memtrace.analyzer.accept.platform import Platform, before_recording, platform, unapplicable
from memtrace.analyzer.accept.progress import progress
from memtrace.analyzer.accept.redundant import redundant
from memtrace.analyzer.accept.rows import Accepts, load
from memtrace.analyzer.accept.stalls import Stalls, stalls
from memtrace.analyzer.accept.steps import steps
from memtrace.analyzer.accept.victims import bursts, victims, worst
from memtrace.analyzer.caveats import caveats
from memtrace.analyzer.clock import takes_turns, turns_text
from memtrace.analyzer.facts import facts, heading, page_title
from memtrace.analyzer.in_file import in_partials, numbers
from memtrace.analyzer.integrity import integrity, needs_pfn
from memtrace.analyzer.keys import DEFAULT
from memtrace.analyzer.model.staged import Model, model
from memtrace.analyzer.render.units import written
from memtrace.analyzer.scan import partials
from memtrace.analyzer.tables import Caveat, Report, Table
from memtrace.analyzer.views import PLAIN, Choice, Result
from memtrace.analyzer.witnesses import Evidence, of_partials, silent

if TYPE_CHECKING:
    from memtrace.analyzer.partials import Partials
    from memtrace.traces.reader import Run


@dataclass(frozen=True)
class Found:
    """What the tables are made of."""

    accepts: Accepts
    stalls: Stalls
    platform: Platform


def view(run: Run, choice: Choice = PLAIN) -> Result:
    """The acceptance in a run, or one sentence why there is none."""
    what = platform(run.header)
    with model(run) as tables_of:
        connection = tables_of.connection
        parts = partials(run, DEFAULT, connection, with_pfn=needs_pfn(run.status))
        accepts = load(tables_of)
        found = Found(accepts, stalls(tables_of), what)
        reason = unapplicable(run, accepts)
        quiet = tuple(silent(Evidence(run, of_partials(parts), connection), "accept."))
        tables = (_unapplicable(reason),) if reason else _tables(tables_of, found, choice)
    machine = next((t.rows[0] for t in tables if t.name == "progress"), None)
    own = () if machine is None else accept_caveats(run, accepts, what, machine)
    whole = in_partials(parts)
    report = Report(
        view="accept",
        title=page_title(run, "accept"),
        run=facts(run) | numbers(run, whole) | {"accept": _facts(run, accepts, what)},
        heading=(*heading(run, whole), ("accepting", _platform(accepts, what))),
        tables=tables,
        caveats=(*(Caveat(*pair) for pair in quiet), *_general(run, parts), *own),
        main="calls" if accepts.any else tables[0].name,
    )

    def draw(path: Path) -> None:
        from memtrace.analyzer.accept.plot import draw_accept

        draw_accept(run, report, found.accepts, found.stalls, path)

    return Result(report, draw)


def _tables(tables_of: Model, found: Found, choice: Choice) -> tuple[Table, ...]:
    run, whole = tables_of.run, found.accepts
    if not whole.any:
        window = contamination(tables_of, whole, found.stalls, choice.window, whole)
        return window, progress(run, whole)
    doubt = turns_text(run.header) if takes_turns(run.header) else ""
    part, waits, at_once = whole, found.stalls, curves(whole)
    inside = at_once
    if choice.window is not None:
        part = whole.touching(choice.window)
        waits, inside = found.stalls.touching(choice.window), curves(part, choice.window)
    made = [
        contamination(tables_of, part, waits, choice.window, whole),
        calls(part),
        steps(tables_of),
        progress(run, whole),
        victims(waits, run.header, whole.none),
        worst(tables_of, waits),
        bursts(waits, whole.none),
        parallel(part, inside, doubt),
        redundant(tables_of, whole, found.platform),
    ]
    predicted = _what_ifs(run, found, {} if doubt else at_once) if choice.what_if else ()
    return (*(table for table in made if table is not None), *predicted)


def _what_ifs(run: Run, found: Found, at_once: Curves) -> tuple[Table, ...]:
    """``at_once``: how CPUs that accept at once get on; nothing where the run cannot tell."""
    from memtrace.analyzer.whatif.background import background
    from memtrace.analyzer.whatif.eager import eager, lazy
    from memtrace.analyzer.whatif.granule import granule

    accepts, waits = found.accepts, found.stalls
    return (
        lazy(run, accepts) or eager(run, accepts, at_once, waits, found.platform),
        background(run, accepts, waits),
        granule(accepts, waits),
    )


def _unapplicable(reason: str) -> Table:
    row = {"applicable": "no" if reason.startswith("not applicable") else "unknown", "why": reason}
    return Table("applicable", "Acceptance", ("applicable", "why"), (row,), (), 0, shown=(), notes=(reason,))


def _general(run: Run, parts: Partials) -> tuple[Caveat, ...]:
    """The caveats of every view, as far as they touch acceptance."""
    events = cell.of_run(run, cell.in_cells(parts), ["event"])
    return tuple(
        c
        for c in caveats(run, events, (), DEFAULT, parts, integrity(parts, run.status))
        if c.id not in ("init-on-alloc", "init-on-free", "config-unknown", "inferred", "tasks-full", "empty")
    )


def _facts(run: Run, accepts: Accepts, what: Platform) -> dict[str, object]:
    start = accepts.at("start")
    return {
        "platform": what.name,
        "mode": what.mode,
        "clears": what.cleared,
        "to_accept_bytes": what.to_accept,
        "unaccepted_at_start_bytes": None if start is None else start.total,
        "unseen_bytes": before_recording(run, accepts),
    }


def _platform(accepts: Accepts, what: Platform) -> str:
    start, end = accepts.at("start"), accepts.at("end")
    sizes = [None if s is None else s.total for s in (start, end)]
    left, rest = (f"{written(n, 'bytes')}" if n is not None else "unknown" for n in sizes)
    return (
        f"platform {what.name}, accept_memory {what.mode}; Unaccepted {left} at the start, {rest} at the end"
    )
