# SPDX-License-Identifier: Apache-2.0
"""Folds the kernel side's sums into rows while recording, and puts them into the status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from memtrace.probes.recorder import maps
from memtrace.probes.recorder.details import Totals
from memtrace.probes.recorder.folding import Folder
from memtrace.probes.recorder.identity import Identity
from memtrace.probes.recorder.losses import losses
from memtrace.probes.recorder.missed import Missed, missed
from memtrace.probes.recorder.plan import Attached
from memtrace.probes.recorder.tasktable import WORTH_IT, TaskTables
from memtrace.probes.sites.proof import Counted
from memtrace.probes.sites.system import System
from memtrace.probes.topics.events import NAMES
from memtrace.traces.totals import EventCounters, Losses, RootTotal, TaskTotal

_CHECKPOINT_TASKS = 200


@dataclass(frozen=True)
class Told:
    """The parts of a status that come from the sums."""

    losses: Losses
    counters: tuple[EventCounters, ...]
    tasks: tuple[TaskTotal, ...]
    tasks_dropped: int
    roots: tuple[RootTotal, ...]
    samples: dict[str, int]


class Sums:
    """The sums of one module."""

    def __init__(
        self,
        attached: Attached,
        system: System,
        identity: Identity,
        buckets: int,
        page_size: int,
        hz: int,
    ) -> None:
        """Map the cells, of ``buckets`` buckets each, and make the tables of totals by task.

        ``hz`` is the rate of the CPU clock samples.  Raises MemtraceError.
        """
        self._recorder = identity.tgid
        self._attached, self._module, self._system = attached, attached.module, system
        self._page_size = page_size
        self._hz = hz
        self._cells = maps.Cells(self._module, system.cpus, attached.summed, system.nids, buckets)
        self._tables = TaskTables(self._module, system.cpus)
        self._totals = self._make_totals()
        self.folder = self._make_folder()
        self._missed_before = Missed()

    def _make_totals(self) -> Totals:
        timed = {site.event for site in self._attached.manifest if site.time == "exact"}
        return Totals(self._recorder, timed, self._page_size, self._system.tells_zeroing)

    def _make_folder(self) -> Folder:
        sites = {site.event: site for site in self._attached.manifest}
        return Folder(
            page_size=self._page_size,
            sites={event: site.site for event, site in sites.items() if site.site},
            infer_zeroing=sites["zero.alloc"].kind == "inferred",
            period_ns=1e9 / self._hz if self._attached.sampling else None,
            nids=self._system.nids,
            time_alloc=sites["alloc"].kind == "rawtp",
            time_user=sites["zero.user"].kind == "sampling",
        )

    def counters(self) -> npt.NDArray[Any]:
        """Return maps.counters() of this module."""
        return maps.counters(self._module, self._system.cpus)

    def counted(self) -> dict[str, Counted]:
        """Return the counters that known work is checked against, by event."""
        values = zip(NAMES, self.counters(), strict=True)
        return {name: Counted(int(v["seen"]), int(v["sum_order"])) for name, v in values}

    def fold(self, now: int) -> Sequence[Mapping[str, object]]:
        """Return rows of what has been summed since the last call; ``now`` is CLOCK_BOOTTIME, ns."""
        system, module = self._system, self._module
        samples, user = None, 0
        if self._attached.sampling:
            samples = maps.sample_cells(module, system.cpus, system.nids)
            user = maps.sample_totals(module, system.cpus)["user"]
        return self.folder.fold(now, self._cells.sum(), samples, user, maps.flat(module, system.cpus))

    def make_room(self) -> None:
        """Take what a full table of totals by task holds, and see to it that a table does not fill up.

        To be called again and again while recording; it takes no more than the kernel side added.
        """
        self._tables.exchange()
        self._take()

    def _take(self, wait: bool = False) -> None:
        self._totals.add(self._totals.batch(self._tables.take(wait)))

    def clear(self) -> None:
        """Set all sums of the module to zero."""
        system = self._system
        self._tables.clear()
        self._totals = self._make_totals()
        maps.clear(self._module, self._cells, system.cpus, system.nids, self._attached.sampling)

    def start(self) -> None:
        """Leave out of the losses what was missed until now; called as the gate opens."""
        self._missed_before = self._missed()

    def _missed(self) -> Missed:
        return missed(self._module.hooks, self._system.counts_skipped_kprobes)

    def told(self, complete: bool, before: npt.NDArray[Any] | None = None) -> Told:
        """Return what the sums say now.

        ``complete`` is true at the end, where all tasks and roots are included.  ``before`` is
        counters() from before the rows of a checkpoint were taken.
        """
        module = self._module
        counters = self.counters()
        still_open = maps.open_frames(module) if complete else None
        tasks, roots, untold = self._by_task(complete)
        lost = self._missed().since(self._missed_before)
        told = maps.event_counters(counters, lost, still_open, before)
        return Told(
            losses=losses(told, self._attached.manifest, lost),
            counters=told,
            tasks=tasks,
            tasks_dropped=self._tables.dropped() + untold,
            roots=roots,
            samples=self._samples(),
        )

    def _by_task(self, complete: bool) -> tuple[tuple[TaskTotal, ...], tuple[RootTotal, ...], int]:
        """Return the totals, and the number of events for which there is no room among them."""
        self._take(wait=True)
        held = self._totals.batch(self._tables.held())
        if not complete:
            self._tables.exchange(WORTH_IT)
            return self._totals.largest(_CHECKPOINT_TASKS, held), (), 0
        tasks, untold = self._totals.tasks(held)
        return tasks, self._totals.roots(held), untold

    def _samples(self) -> dict[str, int]:
        if not self._attached.sampling:
            return {}
        found = maps.sample_totals(self._module, self._system.cpus)
        return found | {"period_ns": round(1e9 / self._hz)}
