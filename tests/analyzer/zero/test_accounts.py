# SPDX-License-Identifier: Apache-2.0
"""The ledger: every traced nanosecond is in one place, and what does not fit is told."""

from __future__ import annotations

import dataclasses
from typing import Any

from memtrace.analyzer.scan import connect
from memtrace.analyzer.views import Choice, view
from memtrace.analyzer.zero import accounts
from memtrace.tests.analyzer.cases import CASES
from memtrace.tests.analyzer.recorded import START, Case, aggregated, header, status, streamed
from memtrace.tests.analyzer.zero.tables import RunOf, report, rows


def test_the_ledger_accounts_for_every_nanosecond_once(run_of: RunOf) -> None:
    (row,) = rows(run_of("zeroing"), "ledger")
    assert row == {"intervals": 5, "union_ns": 700_000, "self_sum_ns": 700_000, "crossing": 0, "differs": 0}


def stepped(*sums: tuple[int, int]) -> Case:
    """An allocation of 3 us and in it an acceptance with steps of (count, ns); self times as recorded."""
    inside = {"tid": 9, "pid": 9, "cpu": 0, "nid": 1, "bytes": 4 << 20}
    ended, took = START + 2_050, sum(ns for _, ns in sums)
    steps = [
        aggregated("accept.step", n, None, 9, parent="accept.arch", **inside)
        | {"ts_ns": ended, "total_ns": ns, "self_ns": ns, "dur_ns": ns if n == 1 else None}
        for n, ns in sums
    ]
    rows = [
        streamed("accept.arch", None, 1_900, ts_ns=ended, self_ns=1_900 - took, **inside),
        *steps,
        streamed("accept.call", None, 2_000, ts_ns=START + 2_100, self_ns=100, **inside),
        streamed("zero.alloc", 0, 100, ts_ns=START + 2_500, flags=1, **inside),
        streamed("alloc", 0, 3_000, ts_ns=START + 3_000, self_ns=900, flags=1, **inside),
    ]
    events = ("alloc", "zero.alloc", "accept.call", "accept.arch", "accept.step")
    return Case(rows, header(*events, stream_all=True), status())


def test_the_steps_of_an_acceptance_have_their_place_in_the_ledger_and_the_tree(run_of: RunOf) -> None:
    # 1 GiB refused, 2 MiB refused and accepted, 512 times 4 KiB: one row each, all of one accept.arch.
    run = run_of(stepped((1, 100), (1, 150), (1, 250), (512, 1_200)))
    (row,) = rows(run, "ledger")
    assert row == {"intervals": 4, "union_ns": 3000, "self_sum_ns": 3000, "crossing": 0, "differs": 0}
    tree = {r["path"]: r for r in view(run, "zero", Choice(grouping="tree")).report.tables[0].rows}
    arch = "alloc > accept.call > accept.arch"
    assert (tree[arch]["total_ns"], tree[arch]["self_ns"]) == (1_900, 200)
    step = tree[f"{arch} > accept.step"]
    assert (step["count"], step["total_ns"], step["self_ns"]) == (515, 1_700, 1_700)
    # What the recorder wrote is still checked.
    sound = stepped((2, 1_800))
    wrong = [row | {"self_ns": 200} if row["event"] == "accept.arch" else row for row in sound.rows]
    assert rows(run_of(dataclasses.replace(sound, rows=wrong)), "ledger")[0]["differs"] == 1


def test_a_self_time_that_nesting_does_not_bear_out_is_told(run_of: RunOf) -> None:
    case = CASES["zeroing"]()
    wrong = [{**row, "self_ns": row["total_ns"]} for row in case.rows]
    run = run_of(dataclasses.replace(case, rows=wrong))
    assert rows(run, "ledger")[0]["differs"] == 3
    assert "ledger" in {caveat.id for caveat in report(run).caveats}


def test_cpus_that_clear_at_once_are_counted_and_not_clears(run_of: RunOf) -> None:
    def clear(begin: int, end: int, cpu: int) -> dict[str, Any]:
        return streamed("zero.user", 9, end - begin, ts_ns=START + end, cpu=cpu, tid=100 + cpu)

    def at_once(*clears: dict[str, Any]) -> int | None:
        run = run_of(Case(clears, header("zero.user"), status()))
        with connect(run) as connection:
            return accounts.at_once(run, connection)

    # An interrupt's in the middle of another, and one right after it on the same CPU.
    assert at_once(clear(0, 100, 0), clear(40, 50, 0), clear(100, 200, 0)) == 1
    assert at_once(clear(0, 100, 0), clear(40, 50, 0), clear(90, 120, 1), clear(110, 130, 2)) == 2
    assert at_once() is None
