# SPDX-License-Identifier: Apache-2.0
"""Hot-adds as tables: which interval lies in which, whose it is, and where the time went."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memtrace.analyzer.model.staged import model
from memtrace.tests.analyzer.hotplug.recorded import (
    BLOCK,
    FIRST,
    MIB,
    MS,
    added,
    case,
    hot,
    onlined,
)
from memtrace.tests.analyzer.recorded import Case, Row
from memtrace.tests.sql import fetched
from memtrace.traces.reader import Run, open_run
from memtrace.traces.schema import Flag

RunOf = Callable[[Case | str], Run]
SAVED = Path(__file__).parents[2] / "traces" / "importers" / "data"


def staged(run: Run, sql: str, *needs: str) -> list[tuple[Any, ...]]:
    with model(run) as tables:
        tables.need(*needs)
        return [tuple(row.values()) for row in tables.query(sql)]


def phases(run: Run) -> dict[str, int]:
    """ns of each phase of the first hot-add that has any."""
    found = staged(run, "SELECT phase, self_ns FROM hot_phases WHERE add = 1", "hot_phases")
    return {phase: ns for phase, ns in found if ns}


def unseen(*rows: Row) -> list[Row]:
    """The rows as an import has a block: without a range."""
    nothing = {"pfn": None, "bytes": None, "nid": None}
    return [row | nothing if row["event"] in ("hot.block", "hot.request") else row for row in rows]


ONE_UNION = """
WITH rows AS (SELECT ts_ns - coalesce(dur_ns, 0) AS low, ts_ns AS high, event
    FROM 'run.parquet' WHERE event LIKE 'hot.%'),
    reach AS (SELECT *, max(high) OVER (
        ORDER BY low, high DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS reached FROM rows)
SELECT (max(high) - min(low))::BIGINT, sum(greatest(high - greatest(low, coalesce(reached, low)), 0))::BIGINT
FROM reach
"""


@pytest.mark.parametrize("mode", ["off", "on"])
def test_of_a_saved_trace_phases_and_gap_are_the_union_of_its_intervals(mode: str, folder: Path) -> None:
    from click.testing import CliRunner

    from memtrace.commands.import_ import import_

    files = [str(SAVED / f"hotplug-memmap-{mode}-6.12.{kind}") for kind in ("trace", "dmesg.gz")]
    assert CliRunner().invoke(import_, ["-q", "--clock", "boot", *files]).exit_code == 0
    ((took, covered),) = fetched(ONE_UNION)
    sums = dict(fetched("SELECT event, sum(self_ns)::BIGINT FROM 'run.parquet' GROUP BY event"))
    with open_run(Path("run.parquet")) as run:
        found = phases(run)
        blocks = staged(run, "SELECT DISTINCT bytes, onlined_bytes, in_block_bytes FROM blocks", "blocks")
    assert found.pop("gap") == took - covered
    assert sum(found.values()) == covered
    words = {"hot.add": "arch", "hot.section": "sections"}
    assert found == {words.get(event, event.removeprefix("hot.")): ns for event, ns in sums.items()}
    own = 2 * MIB if mode == "on" else 0
    assert blocks == [(BLOCK, BLOCK - own, own)]


def test_a_block_without_a_range_has_that_of_what_lies_in_it(run_of: RunOf) -> None:
    second = FIRST + BLOCK // 4096
    altmap = hot("altmap", 20.2, 20.8, 2 * MIB, tid=9)
    online = hot("online", 21, 24, BLOCK - 2 * MIB, bytes_requested=BLOCK - 2 * MIB, pfn=FIRST + 512, tid=9)
    rows = [*added(0), onlined(20, FIRST)[0], altmap, online, *onlined(30, second)]
    run = run_of(case(unseen(*rows)))
    columns = "add, block, pfn, bytes, onlined_bytes, in_block_bytes, gap_ns, online_ns"
    assert staged(run, f"SELECT {columns} FROM blocks ORDER BY block", "blocks") == [
        (1, 0, FIRST, BLOCK, BLOCK - 2 * MIB, 2 * MIB, 10 * MS, 4 * MS),
        (1, 1, second, BLOCK, BLOCK, 0, 20 * MS, 4 * MS),
    ]
    assert phases(run)["block"] == round(0.4 * MS) + MS


def test_a_block_that_comes_online_in_its_request_waits_for_nobody(run_of: RunOf) -> None:
    rows = [hot("request", 0, 30, 2 * BLOCK), hot("add", 1, 9, 2 * BLOCK)]
    rows += [row | {"tid": 7} for at in (0, 1) for row in onlined(11 + 5 * at, FIRST + at * BLOCK // 4096)]
    run = run_of(case(unseen(*rows)))
    found = staged(run, "SELECT add, block, in_request, gap_ns FROM blocks ORDER BY block", "blocks")
    assert found == [(1, 0, True, 0), (1, 1, True, 0)]
    assert phases(run) == {"request": 14 * MS, "arch": 8 * MS, "block": 2 * MS, "online": 6 * MS}


def test_work_beside_the_onlining_is_no_gap(run_of: RunOf) -> None:
    # mhp_init_memmap_on_memory() moves its range into the zone before online_pages(); here alone.
    rows = [*added(0, blocks=1), hot("zone", 20, 42, BLOCK, tid=9), hot("init", 21, 41, BLOCK, tid=9)]
    rows.append(hot("online", 43, 46, BLOCK, bytes_requested=BLOCK, tid=9))
    found = phases(run_of(case(rows)))
    assert (found["zone"], found["init"], found["online"], found["gap"]) == (2 * MS, 20 * MS, 3 * MS, 11 * MS)
    assert "not_in_rows" not in found


def test_an_attempt_that_failed_is_work_and_no_block(run_of: RunOf) -> None:
    failed = {"flags": int(Flag.FAILED), "tid": 9}
    tried = hot("block", 20, 25, 0, bytes_requested=BLOCK, error=12, **failed)
    run = run_of(case([*added(0, blocks=1), tried, *onlined(30, FIRST)]))
    found = phases(run)
    assert (found["block"], found["gap"]) == (6 * MS, 15 * MS)
    assert staged(run, "SELECT block, start_ns - 1000000000000 FROM blocks", "blocks") == [(0, 30 * MS)]


def test_time_between_the_calls_of_a_hot_add_without_a_request_is_a_gap(run_of: RunOf) -> None:
    rows = [hot("add", 3 * i, 3 * i + 2, BLOCK, pfn=FIRST + i * BLOCK // 4096) for i in range(4)]
    assert phases(run_of(case(rows))) == {"arch": 8 * MS, "gap": 3 * MS}


def test_calls_with_an_onlining_between_them_are_two_hot_adds(run_of: RunOf) -> None:
    second = FIRST + BLOCK // 4096
    rows = [hot("add", 0, 2, BLOCK), *onlined(3, FIRST), hot("add", 10, 12, BLOCK, pfn=second)]
    found = staged(run_of(case(rows)), "SELECT add, blocks, total_ns, result FROM hot_adds", "hot_adds")
    assert found == [(1, 1, 7 * MS, "online"), (2, 0, 2 * MS, "offline")]


def test_only_what_is_summed_in_the_kernel_is_not_in_rows(run_of: RunOf) -> None:
    # As recorded: 0.5 ms of hot.memmap's own 2 ms were allocations of order 0.
    rows = [row | {"self_ns": round(1.5 * MS)} if row["event"] == "hot.memmap" else row for row in added(0)]
    assert phases(run_of(case(rows)))["not_in_rows"] == MS


def test_memory_that_was_there_before_comes_online_in_no_hot_add(run_of: RunOf) -> None:
    other = FIRST + 8 * BLOCK // 4096
    rows = [*added(0, blocks=1), *onlined(20, other), *unseen(hot("block", 40, 44, tid=9))]
    run = run_of(case(rows))
    found = staged(run, "SELECT add, block, pfn, gap_ns, again FROM blocks ORDER BY start_ns", "blocks")
    assert found == [(None, None, other, None, False), (None, None, None, None, False)]
    assert staged(run, "SELECT blocks, total_ns FROM hot_adds", "hot_adds") == [(0, 10 * MS)]


def test_intervals_with_the_same_ends_lie_in_each_other_as_they_call(run_of: RunOf) -> None:
    rows = [hot(event, 1, 2, BLOCK) for event in ("init", "zone", "online", "block")]
    found = staged(
        run_of(case(rows)),
        "SELECT i.event, p.event AS around FROM hot_intervals AS i"
        " LEFT JOIN hot_intervals AS p ON p.id = i.parent ORDER BY i.id",
        "hot_intervals",
    )
    events = ["hot.block", "hot.online", "hot.zone", "hot.init"]
    assert found == list(zip(events, [None, *events], strict=False))
