# SPDX-License-Identifier: Apache-2.0
"""The gmem view: how private memory of virtual machines was prepared, split, punched and paid for."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from memtrace.analyzer.caveats import cut_short, lost, module_gone
from memtrace.analyzer.facts import facts, heading, page_title
from memtrace.analyzer.gmem import (
    clears,
    conversions,
    coverage,
    holes,
    levels,
    machines,
    rows,
    stalls,
    state,
    together,
    touch,
)
from memtrace.analyzer.tables import Caveat, Report, Table
from memtrace.analyzer.views import Choice, Result
from memtrace.analyzer.whatif.policies import what_if
from memtrace.analyzer.witnesses import silent_in
from memtrace.errors import MemtraceError

if TYPE_CHECKING:
    from memtrace.analyzer.in_file import InFile
    from memtrace.traces.reader import Run


def view(run: Run, choice: Choice) -> Result:
    """The gmem view of a host's run; raises MemtraceError if it has nothing of guest_memfd."""
    from memtrace.analyzer.in_file import in_file, numbers
    from memtrace.analyzer.model.staged import model
    from memtrace.traces.reader import open_run

    _refuse(run)
    with ExitStack() as opened:
        guests = [opened.enter_context(open_run(choice.guest))] if choice.guest is not None else []
        staged = opened.enter_context(model(run, *guests))
        connection = staged.connection
        rows.load(staged)
        ((count,),) = connection.execute("SELECT count(*) FROM g WHERE event LIKE 'gmem.%'").fetchall()
        if not count:
            raise MemtraceError(_nothing(run))
        whole = in_file(run, connection)
        quiet = silent_in(run, connection, "gmem.")
        staged.need("life", "covered")
        tables: tuple[Table, ...] = (
            machines.machines(staged),
            levels.levels(staged),
            touch.first_touch(staged),
            clears.clears(staged),
            coverage.coverage(staged),
            coverage.timeline(staged),
            holes.holes(staged),
            holes.kept(staged),
            conversions.pingpong(staged),
            conversions.again(staged),
            stalls.pauses(staged),
            stalls.stalls(staged),
            state.state(staged),
            *((what_if(run, connection),) if choice.what_if else ()),
        )
        untold = machines.untold(tables[0])
        for guest in guests:
            tables = (*together.together(run, guest, connection), *tables)
        turns = rows.ask(connection, TURNS)
    report = Report(
        view="gmem",
        title=page_title(run, "gmem"),
        run={**facts(run), **numbers(run, whole)},
        heading=heading(run, whole),
        tables=tables,
        caveats=(*(Caveat(*pair) for pair in quiet), *_caveats(run, whole), *untold),
        main="vms",
    )

    def draw(path: Path) -> None:
        from memtrace.analyzer.gmem.plot import draw_gmem

        draw_gmem(run, report, turns, path)

    return Result(report, draw)


TURNS = """
SELECT vm, ts_ns, asked, flags & 4096 <> 0 AS private
FROM guest_rows
WHERE event = 'gmem.convert' AND flags & 16640 = 0
ORDER BY ts_ns LIMIT 100000
"""
"""SQL: the conversions to be drawn."""


def _refuse(run: Run) -> None:
    """Raises MemtraceError where the run was made without any gmem event."""
    if "vm" not in run.columns or not any(event.startswith("gmem.") for event in run.header.events):
        raise MemtraceError(
            f"{run.path} has no events of guest_memfd: record on the host with `memtrace "
            "record -e gmem,alloc -a`"
        )
    sites = [site for site in run.header.manifest if site.event.startswith("gmem.")]
    if sites and not any(site.site for site in sites):
        why = next((r.detail or r.reason for site in sites for r in site.refused), "no reason kept")
        raise MemtraceError(f"nothing of guest_memfd could be seen in {run.path}: {why}")


def _nothing(run: Run) -> str:
    plain = [str(vm.number) for vm in run.status.vms if vm.private is False]
    if plain and len(plain) == len(run.status.vms):
        which = f"VM{'s' * (len(plain) > 1)} {', '.join(plain)}"
        return f"{run.path} has no private memory in it: {which} cannot have any (KVM's type is default)"
    return f"{run.path} has no private memory in it: no VM used a guest_memfd while it was recorded"


def _caveats(run: Run, in_file: InFile) -> list[Caveat]:
    of_recording = (*cut_short(run), *lost(run, in_file, "; counts are short by as much"), *module_gone(run))
    found = [Caveat(*pair) for pair in of_recording]
    sites = {s.event: s for s in run.header.manifest if s.event.startswith("gmem.")}
    if absent := [event for event, site in sites.items() if not site.site and event in run.header.events]:
        found.append(Caveat("site-absent", f"not observed at all, no site here: {', '.join(absent)}"))
    if missing := [e for e in sites if e not in run.header.events]:
        found.append(Caveat("not-recorded", f"not recorded: {', '.join(missing)}"))
    at_once = run.status.started_ns + 10**6
    if early := [vm for vm in run.status.vms if vm.first_ns is not None and vm.first_ns < at_once]:
        which = ", ".join(str(vm.number) for vm in early)
        text = f"already there when recording began: VM {which}; what was prepared before is not known"
        found.append(Caveat("vm-before", text))
    if machines.no_ops(run):
        found.append(
            Caveat("no-hardware", "no RMP and no secure EPT here: what SNP or TDX add to a fault is not seen")
        )
    return found
