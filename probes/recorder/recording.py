# SPDX-License-Identifier: Apache-2.0
"""One recording, from the first snapshot to the closed file.

The order matters.  The state is read before anything is loaded.  Everything that allocates
(compiler, rings, staging buffer, output file) is done before the gate opens.  The gate closes
before probes are detached, so that open intervals still end.  The kernel's sums are read last.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy.typing as npt

from memtrace.probes.machine.kernel import describe_system
from memtrace.probes.machine.limits import raise_open_files, set_open_files
from memtrace.probes.machine.state import clock_anchor, snapshot
from memtrace.probes.recorder import cost, plan, service
from memtrace.probes.recorder.buffers import Buffers, Streams
from memtrace.probes.recorder.changes import Changes, thinned
from memtrace.probes.recorder.command import Workload
from memtrace.probes.recorder.gate import Gate
from memtrace.probes.recorder.guests import Guests, Modules
from memtrace.probes.recorder.header import run_header
from memtrace.probes.recorder.identity import identity
from memtrace.probes.recorder.memory import peak_rss_bytes, settle
from memtrace.probes.recorder.options import Options, check
from memtrace.probes.recorder.outcome import Outcome, Progress, outcome
from memtrace.probes.recorder.pace import HotplugWatch, Pace
from memtrace.probes.recorder.sums import Sums
from memtrace.probes.sites import proof
from memtrace.probes.sites.system import System
from memtrace.probes.topics import hotplug
from memtrace.traces.compact import compact
from memtrace.traces.run import ProbeSite, RunStatus, Snapshot, TracerCost
from memtrace.traces.writer import RunWriter

_FLUSH_S = 1.0
_SETTLE_S = 0.01
_CATCH_UP = 4
"""Number of times that one checkpoint empties rings that keep filling."""
_CHECKPOINT_CHANGES = 100


class Recorder:
    """One recording, used as a context manager that detaches everything at its end, whatever happens."""

    def __init__(self, options: Options) -> None:
        """Attach everything and open the output; the gate stays closed.

        Raises MemtraceError if the options are refused or no event can be seen.
        """
        self._begun = time.monotonic_ns()
        self._options = options
        self._cleanup = contextlib.ExitStack()
        check(options)
        try:
            self._prepare()
        except BaseException:
            self._cleanup.close()
            raise

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *exc: object) -> None:
        self._cleanup.close()

    def run(
        self,
        stopped: Callable[[], str],
        progress: Callable[[Progress], None] | None = None,
        hurried: Callable[[], bool] = lambda: False,
    ) -> Outcome:
        """Record until ``stopped()`` returns a reason, the duration is over or COMMAND ends.

        ``progress`` is called about every second.  Once ``hurried()`` is true, nothing is waited
        for: COMMAND is killed, the cost of the probes is not measured, and the file is not
        rewritten.
        """
        self._open_gate()
        service.tell_armed(self._armed_ns / 1e9)
        reason = "failed"
        try:
            reason = self._loop(stopped, progress)
        finally:
            self._close_gate()
            if self._workload is not None and reason != "command":
                self._workload.stop(interrupted=reason == "SIGINT", hurried=hurried)
        return self._finish(reason, hurried)

    def _prepare(self) -> None:
        options = self._options
        files = raise_open_files()
        self._cleanup.callback(set_open_files, files)
        before = snapshot("before_load")
        wants_stacks = options.shape.stacks or bool(before.vmstat.get("nr_unaccepted"))
        settle(wants_stacks)
        # Imported only now, because they import pyarrow.
        from memtrace.probes.recorder import rows
        from memtrace.probes.recorder.naming import naming

        description = describe_system()
        self._system = system = System.of(description)
        attached = plan.attach(system, options.events, options.filters, options.shape)
        self._attached, self._module = attached, attached.module
        self._cleanup.callback(attached.module.close)
        self._gate = Gate(attached, options.filters, system, me := identity(attached.module, system))
        self._rows, self._naming = rows, naming(attached, system, description.page_size, wants_stacks)
        self._modules = Modules(
            attached.manifest, system.symbols.modules_of(s.function for s in attached.manifest)
        )
        system.release()
        rare = set(options.events) <= {event.name for event in hotplug.EVENTS}
        streams = Streams(options.shape.stream_all or attached.guests, rare, attached.guests)
        self._buffers = Buffers(self._module, system.cpus, options.ring_bytes, streams)
        self._staging = self._buffers.staging
        self._pace = Pace(self._buffers.fds if rare else (), prompt=bool(options.command))
        self._cleanup.callback(self._pace.close)
        self._hot = HotplugWatch(options.events)
        shape = options.shape
        self._sums = Sums(attached, system, me, shape.buckets, description.page_size, shape.sample_hz)
        self._manifest = self._prove()
        self._guests = Guests(self._module, self._manifest)
        self._start_anchor = clock_anchor()
        header = run_header(
            options,
            description,
            system.gfp_names,
            self._manifest,
            self._start_anchor,
            (before, snapshot("after_load")),
        )
        self._writer = RunWriter(options.output, header, overwrite=options.overwrite, mode=options.mode)
        self._cleanup.callback(self._writer.__exit__, None, None, None)
        self._module.left()
        self._workload = None
        if options.command:
            self._workload = Workload(options.command, options.command_user, files)
            self._cleanup.callback(self._workload.stop)

    def _prove(self) -> tuple[ProbeSite, ...]:
        """Return the manifest, with ``proven`` filled in where a little known work decides it."""
        manifest = self._attached.manifest
        if not self._gate.lets_all_allocs_in(self._options.events):
            return manifest
        manifest = proof.prove(self._sums.counted, self._system, manifest, self._gate.own)
        time.sleep(_SETTLE_S)
        self._sums.clear()
        self._staging.drop()
        return manifest

    def _open_gate(self) -> None:
        if self._workload is not None and self._options.filters.follow:
            self._gate.follow(self._workload.pid)
        self._at_start = snapshot("start", watermarks=self._hot.wanted)
        self._changes = Changes(self._at_start)
        self._cpu_before = time.process_time_ns()
        self._started_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self._sums.start()
        self._gate.set(True)
        self._armed_ns = time.monotonic_ns() - self._begun
        if self._workload is not None:
            self._workload.release()

    def _loop(self, stopped: Callable[[], str], progress: Callable[[Progress], None] | None) -> str:
        options = self._options
        start = flushed = checkpointed = time.monotonic()
        while True:
            fullest = self._take_in()
            now = time.monotonic()
            if self._staging.full or now - flushed >= _FLUSH_S:
                if self._pace.worth_writing(self._staging.count, now - checkpointed):
                    self._flush()
                    checkpointed = now
                else:
                    self._changes.note(self._snapshot())
                plan.sample(self._attached, options.shape, self._buffers.come(self._pace.listen))
                if progress is not None:
                    progress(self._progress(now - start))
                flushed = now
            if reason := stopped():
                return reason
            if options.duration_s is not None and now - start >= options.duration_s:
                return "duration"
            if self._workload is not None and self._workload.poll():
                return "command"
            self._pace.wait(fullest, self._hot.pending)

    def _snapshot(self) -> Snapshot:
        return snapshot("change", watermarks=self._hot.wanted)

    def _close_gate(self) -> None:
        self._gate.set(False)
        self._ended_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self._cpu_ns = time.process_time_ns() - self._cpu_before
        # Open intervals still end and are recorded; after that no program writes any more.
        time.sleep(_SETTLE_S)

    def _finish(self, reason: str, hurried: Callable[[], bool]) -> Outcome:
        self._at_end = snapshot("end", watermarks=self._hot.wanted)
        while self._staging.fill() > 0 or self._staging.count:
            self._write_rows()
        self._write_sums(self._ended_ns)
        status = self._status(complete=True, reason=reason)
        allocs = self._gate.lets_all_allocs_in(self._options.events)
        if status.cost is not None and allocs and not hurried():
            added = cost.probe_ns(self._gate.own, self._module.detach)
            status = dataclasses.replace(status, cost=dataclasses.replace(status.cost, probe_ns=added))
        self._module.detach()
        self._writer.close(status, rewrite=partial(compact, hurried=hurried))
        pid = None if self._workload is None else self._workload.pid
        return outcome(dataclasses.replace(status, rows=self._writer.rows), self._manifest, pid, allocs)

    def _flush(self) -> None:
        self._changes.note(self._snapshot())
        # Every event counted by now is in a ring or a cell, which the rows will hold, or is lost.
        before = self._sums.counters()
        caught_up = self._catch_up()
        self._write_sums(time.clock_gettime_ns(time.CLOCK_BOOTTIME))
        status = self._status(complete=False, reason="", before=before if caught_up else None)
        self._writer.checkpoint(status)

    def _take_in(self) -> float:
        """Stage what the rings hold; return how full the fullest ring was, from 0 to 1."""
        fullest = self._staging.fill()
        self._sums.make_room()
        if self._hot.due(self._staging):
            self._changes.note(self._snapshot(), happened=True)
        return fullest

    def _catch_up(self) -> bool:
        """Write all that the rings hold by now; return False if they fill as fast as they are emptied."""
        for _ in range(_CATCH_UP):
            self._take_in()
            emptied = not self._staging.full
            self._write_rows()
            if emptied:
                return True
        return False

    def _write_rows(self) -> None:
        for records in self._rows.blocks(self._staging.take()):
            self._sums.folder.note_streamed(records)
            self._writer.write(self._rows.from_records(records, self._naming))

    def _write_sums(self, now: int) -> None:
        if rows := self._sums.fold(now):
            self._writer.write(self._rows.from_columns(rows))

    def _status(self, complete: bool, reason: str, before: npt.NDArray[Any] | None = None) -> RunStatus:
        told = self._sums.told(complete, before)
        return RunStatus(
            complete=complete,
            started_ns=self._started_ns,
            ended_ns=self._ended_ns if complete else time.clock_gettime_ns(time.CLOCK_BOOTTIME),
            rows=self._writer.rows,
            losses=dataclasses.replace(told.losses, not_written=self._writer.rows_lost),
            counters=told.counters,
            tasks=told.tasks,
            tasks_dropped=told.tasks_dropped,
            roots=told.roots,
            samples=told.samples,
            snapshots=self._snapshots(complete),
            anchors=(clock_anchor(),),
            cost=self._cost(complete),
            exit_status=self._workload.status if self._workload is not None else None,
            vms=self._guests.read(),
            gone=self._modules.gone(),
            stopped_by=reason,
        )

    def _snapshots(self, complete: bool) -> tuple[Snapshot, ...]:
        if not complete:
            return (self._at_start, *thinned(self._changes.kept, _CHECKPOINT_CHANGES))
        return (self._at_start, *self._changes.kept, self._at_end)

    def _cost(self, complete: bool) -> TracerCost:
        cpu = self._cpu_ns if complete else time.process_time_ns() - self._cpu_before
        return TracerCost(
            recorder_cpu_ns=cpu,
            recorder_max_rss_bytes=peak_rss_bytes(),
            armed_after_ns=self._armed_ns,
            file_bytes=self._writer.bytes_written,
            programs_kept=self._attached.kept,
        )

    def _progress(self, seconds: float) -> Progress:
        counters = self._sums.counters()
        return Progress(
            seconds=seconds,
            events=int(counters["seen"].sum()),
            lost=int(counters["ring_full"].sum()),
            bytes=self._writer.bytes_written,
        )
