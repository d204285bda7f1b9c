# SPDX-License-Identifier: Apache-2.0
"""Which site serves each event here, found by attaching it and letting go again."""

from __future__ import annotations

from memtrace.probes.machine.kernel import describe_system
from memtrace.probes.machine.privileges import require_bcc, require_recording
from memtrace.probes.recorder import plan
from memtrace.probes.sites.system import System
from memtrace.probes.topics.events import NAMES
from memtrace.traces.run import ProbeSite


def survey() -> tuple[ProbeSite, ...]:
    """The probe manifest that a recording would have now; nothing stays attached.

    Takes about a second.  Raises MemtraceError without the privileges to try.
    """
    require_recording()
    require_bcc()
    system = System.of(describe_system())
    attached = plan.attach(system, NAMES, plan.Filters(), plan.Shape())
    attached.module.close()
    return attached.manifest
