# SPDX-License-Identifier: Apache-2.0
"""What loading had accepted is one number: in the caveat, in the tracer's row and among the counters."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import pytest

from memtrace.analyzer.partials import Partials
from memtrace.analyzer.snapshots import snapshots
from memtrace.analyzer.tracer import tracer
from memtrace.analyzer.views import PLAIN, view
from memtrace.tests.analyzer.accept.cases import CASES
from memtrace.tests.analyzer.accept.recorded import snapshots as reading
from memtrace.tests.analyzer.recorded import SECOND, START, Case
from memtrace.traces.reader import Run
from memtrace.traces.run import Snapshot

MIB = 1 << 20
READINGS = (
    # By the list not by time; 92 MiB until the probes were attached, 108 until the gate opened.
    reading("after_load", START - 2 * SECOND, 960, 972),
    reading("start", START - SECOND, 952, 964),
    reading("before_load", START - 9 * SECOND, 1000, 1024),
)


def without_the_counter(taken: Snapshot) -> Snapshot:
    """As of a kernel whose vmstat has no nr_unaccepted."""
    kept = {name: value for name, value in taken.vmstat.items() if name != "nr_unaccepted"}
    return dataclasses.replace(taken, vmstat=kept)


def stated(run: Run, partials: Partials) -> Iterator[int]:
    """In MiB, wherever a page states it."""
    caveats = {caveat.id: caveat.text for caveat in view(run, "accept", PLAIN).report.caveats}
    yield int(caveats["unseen-loading"].split("had ")[1].split("Mi")[0].split(".")[0])
    yield tracer(run, partials).rows[0]["loading_accepted_bytes"] // MIB
    rows = snapshots(run).rows
    yield from (-row["loading"] * 4096 // MIB for row in rows if row["counter"] == "nr_unaccepted")
    yield -sum(row["loading"] for row in rows if row["counter"] == "Unaccepted") // 1024


@pytest.mark.parametrize(("vmstat", "places"), [(True, 4), (False, 3)])
def test_it_is_one_number(
    run_of: Callable[[Case], Run], partials_of: Callable[..., Partials], vmstat: bool, places: int
) -> None:
    case = CASES["lazy"]()
    taken = [*READINGS, reading("end", START + 60 * SECOND, 400, 400)]
    if not vmstat:
        taken = [without_the_counter(each) for each in taken]
    case = dataclasses.replace(
        case,
        header=dataclasses.replace(case.header, snapshots=tuple(taken[:3])),
        status=dataclasses.replace(case.status, snapshots=(taken[3],)),
    )
    # 1000 + 1024 less 952 + 964.
    assert list(stated(run_of(case), partials_of(case))) == [108] * places


def test_a_node_that_came_meanwhile_leaves_it_unknown(
    run_of: Callable[[Case], Run], partials_of: Callable[..., Partials]
) -> None:
    case = CASES["lazy"]()
    taken = (reading("before_load", START - 9 * SECOND, 1000), reading("start", START - SECOND, 900, 900))
    header = dataclasses.replace(case.header, snapshots=tuple(map(without_the_counter, taken)))
    changed = dataclasses.replace(case, header=header)
    assert tracer(run_of(changed), partials_of(changed)).rows[0]["loading_accepted_bytes"] is None
