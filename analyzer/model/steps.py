# SPDX-License-Identifier: Apache-2.0
"""What the tables need that SQL cannot make: what lies in what, and the facts of the run.

A step makes one table, of plain columns, from others or from the run's header and status.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from memtrace.analyzer.model import (
    steps_accept,
    steps_boot,
    steps_counters,
    steps_guests,
    steps_hot,
    steps_run,
    steps_sampling,
    steps_sites,
)

if TYPE_CHECKING:
    from memtrace.analyzer.model.staged import Model

Step = Callable[["Model"], None]

STEPS: Mapping[str, Step] = {
    "run": steps_run.facts,
    "traced": steps_sites.traced,
    "told_phases": steps_boot.told_phases,
    "sampled": steps_sampling.sampled,
    "readings": steps_counters.readings,
    "accept_nesting": steps_accept.accept_nesting,
    "hot_nesting": steps_hot.hot_nesting,
    "hot_origins": steps_hot.hot_origins,
    "virtual_machines": steps_guests.virtual_machines,
    "sited": steps_sites.sited,
    "exact": steps_sites.exact,
    "watched": steps_sites.watched,
}
"""Each table that a step makes."""
