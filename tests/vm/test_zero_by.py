# SPDX-License-Identifier: Apache-2.0
"""Who cleared, where and from where, on a real kernel: two tasks of known work in two cgroups.

The tasks run on the CPU of node 0 and take their memory from node 1, so that what
Python itself allocates is elsewhere.  The second recording is of COMMAND alone, because sums have
no tasks.

Boots: 2.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from memtrace.analyzer.report import Request, make
from memtrace.analyzer.scan import connect
from memtrace.analyzer.tables import Row
from memtrace.analyzer.views import GROUPINGS, choice_by, view
from memtrace.analyzer.zero.by.frames import Frame, folded, walked
from memtrace.lab.sizes import GIB
from memtrace.tests.sql import fetched
from memtrace.tests.vm.conftest import Guest
from memtrace.traces.reader import open_run
from memtrace.traces.schema import arrow_schema
from memtrace.traces.writer import RunWriter

pytestmark = pytest.mark.vm

SMALL, HUGE = 16, 32
SCRIPT = f"""
grep -q ' /sys/fs/cgroup cgroup2 ' /proc/self/mounts
python=$(readlink -f $(command -v python3))
ln -s $python /tmp/alpha
ln -s $python /tmp/beta
mkdir -p /sys/fs/cgroup/lab/small /sys/fs/cgroup/huge
cat > /tmp/work <<'END'
set -e
(echo 0 > /sys/fs/cgroup/lab/small/cgroup.procs
 exec /tmp/alpha -m memtrace.cli workload anon --mib {SMALL} --node 1)
(echo 0 > /sys/fs/cgroup/huge/cgroup.procs
 exec /tmp/beta -m memtrace.cli workload thp --mib {HUGE} --node 1)
END
record() {{
    name=$1
    shift
    numactl --cpunodebind=0 memtrace record -q -f -o $RESULTS/$name.parquet -e alloc,zero,root "$@" -- \\
        sh /tmp/work > $RESULTS/$name.said
}}
record streamed -a --stacks
record summed
"""


def work(folder: Path, name: str) -> dict[str, dict[str, Any]]:
    """What each workload said that it did."""
    lines = (folder / f"{name}.said").read_text().splitlines()
    return {row["workload"]: row for line in lines for row in json.loads(line)["tables"]["workload"]}


def on_node_1(path: Path, done: dict[str, dict[str, Any]], cut: Path) -> Path:
    """A run's rows about memory of node 1 by the workloads or by none known, with all roots."""
    with open_run(path) as run:
        rows = pq.read_table(path)
        theirs = pc.is_in(rows["tid"], pa.array([row["tid"] for row in done.values()], rows["tid"].type))
        about = pc.and_(pc.equal(rows["nid"], 1).fill_null(False), pc.or_(theirs, pc.is_null(rows["tid"])))
        roots = pc.starts_with(rows["event"].cast("string"), "root.")
        with RunWriter(cut, run.header) as writer:
            writer.write(rows.filter(pc.or_(about, roots)).cast(arrow_schema()))
            writer.close(dataclasses.replace(run.status, tasks=(), roots=()))
    return cut


def by(path: Path, word: str, table: str) -> tuple[Row, ...]:
    with open_run(path) as run:
        found = view(run, "zero", choice_by("zero", word)).report.table(table)
    assert found is not None
    return found.rows


def union_ns(path: Path) -> int:
    """Time in which anything was open, thread by thread (idle: CPU by CPU), the recorder's left out.

    Allocations of many pages at once are no frames of the tree.
    """
    question = f"""
        WITH spans AS (
            SELECT if(tid > 0, tid, -cpu) AS context, ts_ns - dur_ns AS begin_ns, ts_ns AS end_ns
            FROM '{path}' WHERE dur_ns >= 0 AND (flags & 64) = 0
                AND event NOT IN ('alloc.bulk', 'alloc.contig')),
        reached AS (
            SELECT begin_ns, end_ns, max(end_ns) OVER (PARTITION BY context ORDER BY begin_ns, end_ns DESC
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before_ns FROM spans)
        SELECT sum(greatest(end_ns - greatest(begin_ns, coalesce(before_ns, begin_ns)), 0))::BIGINT
        FROM reached"""
    ((found,),) = fetched(question)
    return int(found)


@pytest.mark.parametrize("kernel", ["debian-6.1", "debian-6.12"])
def test_two_tasks_in_two_cgroups_are_told_apart_to_the_page(
    kernel: str, guest: Guest, tmp_path: Path
) -> None:
    result = guest(kernel, SCRIPT, memory=(GIB, GIB), append="init_on_alloc=0", time_limit_s=600)
    assert result.status == 0, result.output
    streamed, summed = (result.results / f"{name}.parquet" for name in ("streamed", "summed"))
    done = work(result.results, "streamed")
    cut = on_node_1(streamed, done, tmp_path / "cut.parquet")
    the_tasks_are_exact(cut, done)
    the_cgroups_are_exact(cut)
    the_stacks_lead_to_the_fault(cut)
    the_tree_adds_up(streamed)
    sums_give_the_tree_of_the_rows(streamed)
    sums_are_those_of_their_rows(summed)
    summed_cut = on_node_1(summed, work(result.results, "summed"), tmp_path / "summed-cut.parquet")
    what_was_summed_has_no_cgroup(summed_cut)
    for word in GROUPINGS["zero"]:
        for path in (streamed, summed):
            page = make(Request((str(path),), view="zero", by=word))
            assert max(map(len, page.splitlines())) < 80


def the_tasks_are_exact(cut: Path, done: dict[str, dict[str, Any]]) -> None:
    found = {row["comm"]: row for row in by(cut, "task", "tasks")}
    assert {name: (row["clears"], row["bytes"]) for name, row in found.items()} == {
        "alpha": (SMALL * 256, SMALL << 20),
        "beta": (HUGE // 2, HUGE << 20),
    }
    assert (found["alpha"]["tid"], found["beta"]["tid"]) == (done["anon"]["tid"], done["thp"]["tid"])
    assert {row["root"] for row in found.values()} == {"fault"}
    assert all(row["total_ns"] > 0 and not row["untimed_bytes"] for row in found.values())


def the_cgroups_are_exact(cut: Path) -> None:
    found = {
        row["cgroup"]: (row["clears"], row["bytes"], row["root"]) for row in by(cut, "cgroup", "cgroups")
    }
    assert found == {
        "/lab/small": (SMALL * 256, SMALL << 20, "fault"),
        "/huge": (HUGE // 2, HUGE << 20, "fault"),
    }


def the_stacks_lead_to_the_fault(cut: Path) -> None:
    huge, small, *_ = by(cut, "stack", "stacks")
    assert (huge["event"], huge["clears"], huge["bytes"]) == ("zero.user", HUGE // 2, HUGE << 20)
    assert {"handle_mm_fault", "do_huge_pmd_anonymous_page"} <= set(huge["stack"].split(";"))
    assert small["event"] == "zero.alloc"
    # Debian's 6.1 has do_anonymous_page() inlined.
    assert small["caller"] in ("do_anonymous_page", "__handle_mm_fault")
    assert "handle_mm_fault" in small["stack"].split(";")
    assert small["bytes"] >= (SMALL << 20) * 0.99


def the_tree_adds_up(path: Path) -> None:
    rows = by(path, "tree", "tree")
    found = {row["path"]: row for row in rows}
    assert sum(row["self_ns"] for row in rows) == union_ns(path) > 0
    assert all(0 <= row["self_ns"] <= row["total_ns"] for row in rows)
    assert found["root.fault > root.thp_fault > zero.user"]["bytes"] == HUGE << 20
    assert found["root.fault > alloc > zero.alloc"]["bytes"] >= SMALL << 20
    outermost = sum(row["cleared_bytes"] for row in rows if row["depth"] == 1)
    assert outermost == sum(row["bytes"] for row in rows if row["event"].startswith("zero."))


def sums_give_the_tree_of_the_rows(path: Path) -> None:
    """The kernel's sums by root, and the ledger, which never saw them: the same times, to the nanosecond."""
    with open_run(path) as run, connect(run) as connection:
        by_rows, by_sums = walked(run, connection), folded(run.status.roots, False, None)
    assert kept(by_rows.frames) == kept(by_sums.frames)


def kept(frames: Sequence[Frame]) -> dict[tuple[str, ...], Counter[str]]:
    """Frames by what sums by root keep of a path: the outermost root, and the innermost with what follows."""
    found: dict[tuple[str, ...], Counter[str]] = {}
    for frame in frames:
        roots = [i for i, event in enumerate(frame.path) if event.startswith("root.")]
        path = (frame.path[0], *frame.path[roots[-1] :]) if roots else frame.path
        sums = found.setdefault(path, Counter())
        assert frame.total_ns is not None and frame.self_ns is not None
        sums.update(count=frame.count, bytes=frame.bytes or 0, total=frame.total_ns, self=frame.self_ns)
    return found


def sums_are_those_of_their_rows(path: Path) -> None:
    """Self times of sums by root against those of the rows; tasks' sums against the clears in the rows."""
    with open_run(path) as run:
        report = view(run, "zero", choice_by("zero", "tree")).report
    (tree,) = (table for table in report.tables if table.name == "tree")
    assert any("all time in which a frame was open" in note for note in tree.notes)
    tasks = by(path, "task", "tasks")
    question = f"SELECT sum(bytes) FROM '{path}' WHERE event LIKE 'zero.%' AND (flags & 64) = 0"
    assert sum(row["bytes"] for row in tasks) == int(fetched(question)[0][0])
    assert [(row["comm"], row["root"]) for row in tasks[:2]] == [("beta", "fault"), ("alpha", "fault")]
    assert tasks[0]["bytes"] >= HUGE << 20 and tasks[1]["bytes"] >= SMALL << 20


def what_was_summed_has_no_cgroup(cut: Path) -> None:
    """Huge clears are rows of their own; of the small ones only those that took long."""
    found = {row["cgroup"]: (row["clears"], row["bytes"]) for row in by(cut, "cgroup", "cgroups")}
    assert found["/huge"] == (HUGE // 2, HUGE << 20)
    small = [found[name] for name in (None, "/lab/small") if name in found]
    assert (sum(n for n, _ in small), sum(size for _, size in small)) == (SMALL * 256, SMALL << 20)
    assert found[None][0] > SMALL * 128
