# SPDX-License-Identifier: Apache-2.0
"""Finds which site serves each event here, by attaching it and detaching it again."""

from __future__ import annotations

from memtrace.probes.machine.kernel import describe_system
from memtrace.probes.machine.privileges import require_recording
from memtrace.probes.recorder import plan
from memtrace.probes.sites.system import System
from memtrace.probes.topics.events import NAMES
from memtrace.traces.run import ProbeSite


def survey() -> tuple[ProbeSite, ...]:
    """Return the probe manifest that a recording would have now; nothing stays attached.

    This takes about a second.  Raises MemtraceError without the privileges to try, without
    BCC, or if no event can be seen.
    """
    require_recording()
    system = System.of(describe_system())
    attached = plan.attach(system, NAMES, plan.Filters(), plan.Shape())
    attached.module.close()
    return attached.manifest
