# SPDX-License-Identifier: Apache-2.0
"""One recording, from the first snapshot to the closed file.

Order matters: the state is read before anything is loaded; everything that
allocates (compiler, rings, staging buffer, output file) is done before the gate
opens; the gate closes before probes are detached, so that intervals under way
still end; and the kernel's sums are read last, when nothing writes them any more.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy.typing as npt

from memtrace.probes.machine.kernel import describe_system
from memtrace.probes.machine.state import clock_anchor, snapshot
from memtrace.probes.recorder import cost, maps, plan, service
from memtrace.probes.recorder.cgroups import Cgroups, mount_point
from memtrace.probes.recorder.changes import Changes, thinned
from memtrace.probes.recorder.command import Workload
from memtrace.probes.recorder.folding import Folder
from memtrace.probes.recorder.guests import Guests, Modules
from memtrace.probes.recorder.header import run_header
from memtrace.probes.recorder.losses import losses
from memtrace.probes.recorder.memory import peak_rss_bytes, settle
from memtrace.probes.recorder.options import Options, check, default_ring_bytes
from memtrace.probes.recorder.pace import HotplugWatch, Pace
from memtrace.probes.recorder.ring import GUEST_RECORD, RECORD, Ring, Staging
from memtrace.probes.recorder.stacks import Stacks
from memtrace.probes.sites import pfn, proof
from memtrace.probes.sites.system import System
from memtrace.probes.topics import accept, hotplug, zero
from memtrace.probes.topics.events import NAMES
from memtrace.traces.compact import compact
from memtrace.traces.run import ProbeSite, RunStatus, Snapshot, TracerCost
from memtrace.traces.writer import RunWriter

_FLUSH_S = 1.0
_STAGED_RECORDS = 400_000
_STAGED_RARE = 20_000
_SETTLE_S = 0.01
_CATCH_UP = 4
"""How often a checkpoint empties full rings."""
_CHECKPOINT_TASKS = 200
_CHECKPOINT_CHANGES = 100


@dataclass(frozen=True)
class Progress:
    """For the progress line."""

    seconds: float
    events: int
    lost: int
    bytes: int


@dataclass(frozen=True)
class Outcome:
    """What record() did."""

    status: RunStatus
    manifest: tuple[ProbeSite, ...]
    still_running: int | None = None
    """Process ID of a COMMAND that not even SIGKILL has ended."""


class Recorder:
    """Use as a context manager: everything attached is detached at the end, whatever happens."""

    def __init__(self, options: Options) -> None:
        """Attach everything and open the output; the gate stays closed."""
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
        """Record until ``stopped()`` returns a reason, the duration is over or the COMMAND ends.

        ``progress`` is told each second how far it is.  Once ``hurried()``, nothing is waited
        for: COMMAND is killed, what the probes cost is not measured, and the file not rewritten.
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
        before = snapshot("before_load")
        settle()
        description = describe_system()
        self._system = system = System.of(description)
        attached = plan.attach(system, options.events, options.filters, options.shape)
        self._attached, self._module = attached, attached.module
        self._cleanup.callback(attached.module.close)
        self._vmemmap_base = system.vmemmap_base or self._learn_vmemmap_base()
        ring_bytes = options.ring_bytes or default_ring_bytes(system.cpus)
        fds = [self._module.add_ring(cpu, ring_bytes) for cpu in range(system.cpus)]
        rings = [Ring(fd, ring_bytes, cpu) for cpu, fd in enumerate(fds)]
        rare = set(options.events) <= {event.name for event in hotplug.EVENTS}
        layout = GUEST_RECORD if attached.guests else RECORD
        self._staging = Staging(rings, _STAGED_RARE if rare else _STAGED_RECORDS, layout)
        self._hot = HotplugWatch(options.events)
        self._pace = Pace(fds if rare else (), prompt=bool(options.command))
        self._cleanup.callback(self._pace.close)
        self._cells = maps.Cells(
            self._module, system.cpus, attached.summed, system.nids, options.shape.buckets
        )
        self._folder = self._make_folder(description.page_size)
        self._prepare_rows(description.page_size, before)
        self._prepare_filters()
        self._manifest = self._prove()
        self._guests = Guests(self._module, self._manifest)
        self._modules = Modules(self._manifest, system.symbols.modules_of(s.function for s in self._manifest))
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
        self._workload = Workload(options.command, options.command_user) if options.command else None
        if self._workload is not None:
            self._cleanup.callback(self._workload.stop)

    def _learn_vmemmap_base(self) -> int | None:
        if any(site.kind == "rawtp" for site in self._attached.manifest):
            # The raw tracepoint carries one program at a time: lend it to the calibration.
            self._module.detach_rawtp("mm_page_alloc")
            try:
                return pfn.learn_vmemmap_base(self._module, self._system)
            finally:
                self._module.attach_rawtp("mm_page_alloc", "mt_alloc_rawtp")
        return pfn.learn_vmemmap_base(self._module, self._system)

    def _prove(self) -> tuple[ProbeSite, ...]:
        """The manifest, with what a little known work says of each site."""
        attached, system = self._attached, self._system
        if not self._own_work_counts:
            return attached.manifest
        manifest = proof.prove(self._counted, system, attached.manifest, self._own_gate)
        time.sleep(_SETTLE_S)
        maps.clear(attached.module, self._cells, system.cpus, system.nids, attached.sampling)
        if self._options.filters.follow:
            self._module.table("mt_targets").clear()
            self._prepare_targets()
        self._staging.fill()
        self._staging.take()
        return manifest

    def _counted(self) -> dict[str, proof.Counted]:
        values = maps.counters(self._module, self._system.cpus)
        return {
            name: proof.Counted(int(v["seen"]), int(v["sum_order"]))
            for name, v in zip(NAMES, values, strict=True)
        }

    def _make_folder(self, page_size: int) -> Folder:
        kinds = {site.event: site for site in self._attached.manifest}
        hz = self._options.shape.sample_hz
        return Folder(
            page_size=page_size,
            sites={site.event: site.site for site in self._attached.manifest if site.site},
            infer_zeroing=kinds["zero.alloc"].kind == "inferred",
            period_ns=1e9 / hz if self._attached.sampling else None,
            nids=self._system.nids,
            time_alloc=kinds["alloc"].kind == "rawtp",
        )

    def _prepare_rows(self, page_size: int, before: Snapshot) -> None:
        from memtrace.probes.recorder import rows

        stacks = Stacks(self._module, self._system.symbols)
        if self._options.shape.stacks or before.vmstat.get("nr_unaccepted"):
            stacks.prepare()
        whose = any(self._sees(event.name) for event in (*accept.EVENTS, *zero.EVENTS))
        mount = mount_point() if whose else None
        self._rows = rows
        self._naming = rows.Naming(
            events=NAMES,
            sites=self._attached.site_names,
            page_size=page_size,
            stack_text=stacks.text,
            cgroup_text=Cgroups(self._module, self._system.cpus, mount).text,
        )

    def _sees(self, event: str) -> bool:
        return any(site.event == event and site.site for site in self._attached.manifest)

    def _prepare_filters(self) -> None:
        filters = self._options.filters
        for cpu in filters.cpus:
            self._module.update("mt_cpus", ctypes.c_uint32(cpu), ctypes.c_uint32(1))
        if filters.follow:
            self._module.attach_rawtp("sched_process_fork", "mt_target_fork")
            self._module.attach_rawtp("sched_process_free", "mt_target_free")
            self._prepare_targets()

    def _prepare_targets(self) -> None:
        for pid in self._options.filters.pids:
            self._follow(pid)

    def _follow(self, pid: int) -> None:
        self._module.update("mt_targets", ctypes.c_uint32(pid), ctypes.c_uint8(1))

    def _open_gate(self) -> None:
        if self._workload is not None and self._options.filters.follow:
            self._follow(self._workload.pid)
        self._at_start = snapshot("start", watermarks=self._hot.wanted)
        self._changes = Changes(self._at_start)
        self._cpu_before = time.process_time_ns()
        self._started_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self._set_gate(True)
        self._armed_ns = time.monotonic_ns() - self._begun
        if self._workload is not None:
            self._workload.release()

    def _set_gate(self, on: bool) -> None:
        sees_arch = self._sees("accept.arch")
        value = (ctypes.c_uint64 * 3)(int(on), self._vmemmap_base or 0, int(sees_arch))
        self._module.update("mt_conf", ctypes.c_uint32(0), value)

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
        self._set_gate(False)
        self._ended_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self._cpu_ns = time.process_time_ns() - self._cpu_before
        # Intervals under way still end and are recorded; then nothing writes any more.
        time.sleep(_SETTLE_S)

    def _finish(self, reason: str, hurried: Callable[[], bool]) -> Outcome:
        self._at_end = snapshot("end", watermarks=self._hot.wanted)
        while self._staging.fill() > 0 or self._staging.count:
            self._write_rows()
        self._fold(self._ended_ns)
        status = self._status(complete=True, reason=reason)
        if status.cost is not None and self._own_work_counts and not hurried():
            added = cost.probe_ns(self._own_gate, self._module.detach)
            status = dataclasses.replace(status, cost=dataclasses.replace(status.cost, probe_ns=added))
        self._module.detach()
        self._writer.close(status, rewrite=partial(compact, hurried=hurried))
        left = self._workload.pid if self._workload is not None and self._workload.status is None else None
        return Outcome(dataclasses.replace(status, rows=self._writer.rows), self._manifest, left)

    @property
    def _own_work_counts(self) -> bool:
        """Whether the recorder's own faults pass the filters (its process can be let in)."""
        filters = self._options.filters
        return not (filters.cpus or filters.comm or filters.min_order) and "alloc" in self._options.events

    def _own_gate(self, on: bool) -> None:
        """The gate, for known work done by the recorder itself."""
        if self._options.filters.follow:
            self._follow(os.getpid())
        self._set_gate(on)

    def _flush(self) -> None:
        self._changes.note(self._snapshot())
        # What was seen by now is in the rings, in the cells, or lost: the rows will hold it.
        before = maps.counters(self._module, self._system.cpus)
        caught_up = self._catch_up()
        self._fold(time.clock_gettime_ns(time.CLOCK_BOOTTIME))
        status = self._status(complete=False, reason="", before=before if caught_up else None)
        self._writer.checkpoint(status)

    def _take_in(self) -> float:
        """Take what the rings hold; returns how full the fullest ring was."""
        fullest = self._staging.fill()
        if self._hot.due(self._staging):
            self._changes.note(self._snapshot(), happened=True)
        return fullest

    def _catch_up(self) -> bool:
        """Write all that the rings hold by now; False if they fill as quickly as they are emptied."""
        for _ in range(_CATCH_UP):
            self._take_in()
            emptied = not self._staging.full
            self._write_rows()
            if emptied:
                return True
        return False

    def _write_rows(self) -> None:
        for records in self._rows.blocks(self._staging.take()):
            self._folder.note_streamed(records)
            self._writer.write(self._rows.from_records(records, self._naming))

    def _fold(self, now: int) -> None:
        system, module = self._system, self._module
        samples, user = None, 0
        if self._attached.sampling:
            samples = maps.sample_cells(module, system.cpus, system.nids)
            user = maps.sample_totals(module, system.cpus)["user"]
        rows = self._folder.fold(now, self._cells.sum(), samples, user, maps.flat(module, system.cpus))
        if rows:
            self._writer.write(self._rows.from_columns(rows))

    def _status(self, complete: bool, reason: str, before: npt.NDArray[Any] | None = None) -> RunStatus:
        module, system = self._module, self._system
        counters = maps.counters(module, system.cpus)
        timed = frozenset(site.event for site in self._attached.manifest if site.time == "exact")
        totals = maps.totals(module, system.cpus)
        tasks = totals.tasks(timed, self._naming.page_size, os.getpid())
        open_frames = maps.open_frames(module) if complete else 0
        samples: dict[str, int] = {}
        if self._attached.sampling:
            samples = maps.sample_totals(module, system.cpus)
            samples["period_ns"] = round(1e9 / self._options.shape.sample_hz)
        return RunStatus(
            complete=complete,
            started_ns=self._started_ns,
            ended_ns=self._ended_ns if complete else time.clock_gettime_ns(time.CLOCK_BOOTTIME),
            rows=self._writer.rows,
            losses=dataclasses.replace(
                losses(module, counters, self._attached.manifest, open_frames),
                not_written=self._writer.rows_lost,
            ),
            counters=maps.event_counters(counters, before),
            tasks=tasks if complete else tasks[:_CHECKPOINT_TASKS],
            tasks_dropped=maps.tasks_dropped(module, system.cpus),
            roots=totals.roots(timed, self._naming.page_size, os.getpid()) if complete else (),
            samples=samples,
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
        )

    def _progress(self, seconds: float) -> Progress:
        counters = maps.counters(self._module, self._system.cpus)
        return Progress(
            seconds=seconds,
            events=int(counters["seen"].sum()),
            lost=int(counters["ring_full"].sum()),
            bytes=self._writer.bytes_written,
        )
