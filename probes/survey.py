# SPDX-License-Identifier: Apache-2.0
"""Which site serves each event here, found by attaching it and letting go again."""

from __future__ import annotations

from memtrace.probes import plan
from memtrace.probes.events import NAMES
from memtrace.probes.kernel import describe_system
from memtrace.probes.privileges import require_bcc, require_recording
from memtrace.probes.system import System
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
