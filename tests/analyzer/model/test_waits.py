# SPDX-License-Identifier: Apache-2.0
"""The staged table ``waits``: bursts, and acceptances that lie in none, by the stall they are part of."""

from __future__ import annotations

from collections.abc import Callable

from memtrace.analyzer.model.staged import model
from memtrace.tests.analyzer.accept.recorded import MS, Who, accepting, stall
from memtrace.tests.analyzer.recorded import START, Case
from memtrace.traces.reader import Run


def test_a_burst_is_one_wait_and_a_lone_call_another(run_of: Callable[[Case], Run]) -> None:
    lone = [row for row in stall(START + 50 * MS, who=Who("kexec", 8)) if row["event"] == "accept.call"]
    with model(run_of(accepting([*stall(START + MS, (2, 2)), *lone]))) as made:
        made.need("waits")
        found = made.query(
            "SELECT stall, burst, dur_ns, comm, victim IS NULL AS lone FROM waits ORDER BY stall"
        )
        assert [tuple(row.values()) for row in found] == [
            (1, True, 4 * MS + 6000, "redis", False),
            (2, False, 2 * MS + 1000, "kexec", True),
        ]
