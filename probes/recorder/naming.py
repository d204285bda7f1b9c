# SPDX-License-Identifier: Apache-2.0
"""The names that the numbers in a recording's records stand for."""

from __future__ import annotations

from memtrace.probes.recorder.cgroups import Cgroups, mount_point
from memtrace.probes.recorder.plan import Attached
from memtrace.probes.recorder.rows import Naming
from memtrace.probes.recorder.stacks import Stacks
from memtrace.probes.sites.system import System
from memtrace.probes.topics import accept, zero
from memtrace.probes.topics.events import NAMES


def naming(attached: Attached, system: System, page_size: int, wants_stacks: bool) -> Naming:
    """Return the names of events, sites, stacks and cgroups.

    ``wants_stacks`` says that stacks will come, so their symbols are read now.
    """
    stacks = Stacks(attached.module, lambda: system.symbols)
    if wants_stacks:
        stacks.prepare()
    whose = any(attached.sees(event.name) for event in (*accept.EVENTS, *zero.EVENTS))
    cgroups = Cgroups(attached.module, system.cpus, mount_point() if whose else None)
    return Naming(NAMES, attached.site_names, page_size, stacks.text, cgroups.text)
