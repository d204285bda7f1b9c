# SPDX-License-Identifier: Apache-2.0
"""The table ``parallel``: what several CPUs accept at once, and where one more adds nothing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from memtrace.tests.analyzer.accept.cases import CASES
from memtrace.tests.analyzer.accept.conftest import Tables
from memtrace.tests.analyzer.accept.recorded import (
    BLOCK,
    MS,
    PAGES,
    Who,
    accepting,
    stall,
)
from memtrace.tests.analyzer.accept.tables import column
from memtrace.tests.analyzer.recorded import START, Row


def test_throughput_by_cpus_shows_where_it_saturates(tables: Tables) -> None:
    table = tables("saturated")["parallel"]
    node = [row for row in table.rows if row["nid"] == 0]
    assert [row["cpus"] for row in node] == [1, 2, 4]
    one, two, four = (row["gib_per_s"] for row in node)
    assert one == pytest.approx(4 / 1024 / 0.002, rel=0.01)
    assert two == pytest.approx(2 * one, rel=0.01) and four == pytest.approx(two, rel=0.01)
    assert [row["calls"] for row in node] == [60, 120, 240]
    assert any(note.startswith("node 0: saturated at 2 (3.9") for note in table.notes)
    assert any(note.startswith("node 1: cannot be told") for note in table.notes)


def test_waiting_is_apart_from_accepting(tables: Tables) -> None:
    rows = []
    for i in range(40):
        at, pfn = START + 10 * i * MS, (1 << 16) + 2 * i * PAGES
        rows += stall(at, pfn=pfn, who=Who(cpu=0, pid=1))
        # The second CPU waits for the first one's 2 ms, then accepts for 2 ms.
        rows += stall(at, pfn=pfn + PAGES, who=Who(cpu=1, pid=2), wait=2 * MS)
    alone, both = tables(accepting(rows))["parallel"].rows
    assert both["wait_share"] == pytest.approx(0.5, abs=0.01)
    assert alone["wait_share"] == pytest.approx(0, abs=0.01)
    assert both["gib_per_s"] == pytest.approx(alone["gib_per_s"], rel=0.01)
    assert both["marginal"] == pytest.approx(0, abs=0.01)


def test_where_cpus_took_turns_on_a_clock_of_instructions_nothing_is_said_of_waiting(tables: Tables) -> None:
    case = CASES["saturated"]()
    header = dataclasses.replace(case.header, kernel_cmdline="memtrace.clock=instructions")
    found = tables(dataclasses.replace(case, header=header))
    by_host = tables(case)
    (note,) = found["parallel"].notes
    assert "cannot be told what one more CPU adds" in note and "took turns" in note
    assert not any("saturated at" in note for note in found["parallel"].notes)
    for row, other in zip(found["parallel"].rows, by_host["parallel"].rows, strict=True):
        assert row["wait_share"] is row["marginal"] is row["marginal_low"] is row["marginal_high"] is None
        assert row["gib_per_s"] == (other["gib_per_s"] if row["cpus"] == 1 else None)
        assert (row["calls"], row["bytes"]) == (other["calls"], other["bytes"])
    assert {row["cpus_per_node"] for row in found["eager"].rows} <= {None, 1}
    # One CPU waits for nobody.
    alone = dataclasses.replace(case, header=dataclasses.replace(header, cpus=1))
    assert tables(alone)["parallel"].notes == by_host["parallel"].notes


def test_accepts_of_an_unknown_node_are_the_machines(tables: Tables) -> None:
    rows = [row for i in range(40) for row in stall(START + 10 * i * MS, pfn=(1 << 16) + i * PAGES)]
    for row in rows:
        row["nid"] = None if row["ts_ns"] > START + 100 * MS else 0
    machine, node = tables(accepting(rows, (1024, 0)))["parallel"].rows
    assert (machine["of"], machine["calls"], machine["bytes"]) == ("machine", 40, 40 * BLOCK)
    assert (node["of"], node["calls"]) == ("node 0", 10)


def test_few_calls_at_once_are_no_evidence(tables: Tables) -> None:
    rows = []
    for cpu in (0, 1):
        rows += stall(START, pfn=(1 << 16) + cpu * PAGES, who=Who(cpu=cpu, pid=cpu + 1))
    table = tables(accepting(rows))["parallel"]
    assert set(column(table, "marginal")) == {None}
    assert "cannot be told" in table.notes[0]


def test_what_chance_may_have_done_is_no_saturation(tables: Tables) -> None:
    random = np.random.default_rng(5)
    rows: list[Row] = []
    now = START
    for i in range(80):
        # Two CPUs at once take 1.6 times as long each: one more adds about a quarter.
        took = int(MS * random.lognormal(0, 0.6) * (1.6 if i % 2 else 1))
        for cpu in range(1 + i % 2):
            pfn = (1 << 16) + len(rows) * PAGES
            rows += stall(now, pfn=pfn, who=Who(cpu=cpu, pid=cpu + 1), per_unit=took)
        now += 3 * took
    table = tables(accepting(rows, (2000, 0)))["parallel"]
    low, high = table.rows[1]["marginal_low"], table.rows[1]["marginal_high"]
    assert low < 0.25 < high
    assert table.notes[0].startswith("node 0: cannot be told whether it saturates at 1: one more adds")
