# SPDX-License-Identifier: Apache-2.0
"""Recorded from a PID namespace, as in a container, and of a COMMAND in one: exact, in its own numbers."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from memtrace.probes.machine.pidns import pid_namespace
from memtrace.tests.sql import fetched
from memtrace.traces.reader import open_run
from memtrace.traces.totals import TaskTotal

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="recording needs root"),
]

MEMTRACE = (sys.executable, "-m", "memtrace.cli")
CONTAINER = ("unshare", "--pid", "--mount", "--cgroup", "--fork", "--kill-child", "--mount-proc")
USER = ("--user", "--map-root-user")
MIB = 8
PAGES = MIB * 256
TOUCH = (*MEMTRACE, "workload", "anon", "--mib", str(MIB))
RECORD = (*MEMTRACE, "record", "-q", "-f", "-e", "alloc", "--stream", "all")


def said(*command: str, status: int = 0, **given: Any) -> tuple[str, str]:
    """What a command that ends with ``status`` wrote to stdout and stderr."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **given)
    assert done.returncode == status, done.stderr
    return done.stdout, done.stderr


def workload(text: str) -> dict[str, int]:
    """What ``memtrace workload`` says of its work."""
    (done,) = json.loads(text)["tables"]["workload"]
    return {name: int(done[name]) for name in ("begin_ns", "end_ns", "tid")}


def movable(path: Path, work: dict[str, int]) -> list[tuple[int | None, int | None, int]]:
    """(pid, tid, pages) of the single pages that user memory got while the work went on."""
    found = fetched(
        f"SELECT pid, tid, count(*) FROM '{path}' WHERE event = 'alloc' AND \"order\" = 0 AND (gfp & 8) > 0"
        f" AND ts_ns BETWEEN {work['begin_ns']} AND {work['end_ns']} GROUP BY ALL"
    )
    return [(pid, tid, count) for pid, tid, count in found]


def task_totals(path: Path) -> list[TaskTotal]:
    with open_run(path) as run:
        return [task for task in run.status.tasks if task.event == "alloc"]


def test_a_command_of_a_recorder_in_a_container_is_recorded_to_the_page(tmp_path: Path) -> None:
    path = tmp_path / "run.parquet"
    work = workload(said(*CONTAINER, *RECORD, "-o", str(path), "--", *TOUCH)[0])
    assert work["tid"] < 100
    assert movable(path, work) == [(work["tid"], work["tid"], PAGES)]
    assert {task.pid for task in task_totals(path) if not task.tracer} == {work["tid"]}


def test_a_namespace_inside_the_recorders_has_its_numbers_there(tmp_path: Path) -> None:
    path = tmp_path / "run.parquet"
    inner = (*CONTAINER, *TOUCH)
    work = workload(said(*CONTAINER, *RECORD, "-o", str(path), "--", *inner)[0])
    # To itself it is the first process; to the recorder it is one that COMMAND forked.
    assert work["tid"] == 1
    ((pid, tid, pages),) = movable(path, work)
    assert (pid == tid, pages) == (True, PAGES)
    assert pid is not None
    assert 1 < pid < 100


@pytest.mark.parametrize("user", [(), USER], ids=["without a user namespace", "with one"])
def test_a_container_as_command_is_followed_from_outside(user: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "run.parquet"
    inner = (CONTAINER[0], *user, *CONTAINER[1:], *TOUCH)
    work = workload(said(*RECORD, "-o", str(path), "--", *inner)[0])
    assert work["tid"] == 1
    ((pid, tid, pages),) = movable(path, work)
    assert (pid == tid, pages) == (True, PAGES)


def test_a_process_is_listed_by_its_number_in_the_container(tmp_path: Path) -> None:
    path = tmp_path / "run.parquet"
    go, told, over = (tmp_path / name for name in ("go", "told", "over"))
    os.mkfifo(go)
    os.mkfifo(over)
    # Process 1, which is listed, forks the work once the gate is open.
    script = (
        f"{' '.join(RECORD)} -p 1 -o {path} -- sh -c 'echo > {go}; read line < {over}' &"
        f" read line < {go}; {' '.join(TOUCH)} > {told}; echo > {over}; wait $!"
    )
    said(*CONTAINER, "sh", "-c", script)
    work = workload(told.read_text())
    assert movable(path, work) == [(work["tid"], work["tid"], PAGES)]


def test_what_lies_outside_the_namespace_has_a_name_and_no_number(tmp_path: Path) -> None:
    path, go, over = (tmp_path / name for name in ("run.parquet", "go", "over"))
    os.mkfifo(go)
    os.mkfifo(over)
    neighbour = subprocess.Popen(
        ("sh", "-c", f"read line < {go}; {' '.join(TOUCH)}; echo > {over}"), stdout=subprocess.PIPE, text=True
    )
    try:
        said(*CONTAINER, *RECORD, "-a", "-o", str(path), "--", "sh", "-c", f"echo > {go}; read line < {over}")
        work = workload(neighbour.communicate(timeout=60)[0])
    finally:
        neighbour.kill()
        neighbour.wait()
    assert fetched(
        f"SELECT DISTINCT pid, tid FROM '{path}' WHERE comm LIKE 'python%' AND flags & 64 = 0"
        f" AND ts_ns BETWEEN {work['begin_ns']} AND {work['end_ns']}"
    ) == [(None, None)]
    assert sum(pages for pid, tid, pages in movable(path, work) if pid is None and tid is None) >= PAGES
    # A number stands for one process; of those without one, each name has one total.
    keys = [(task.pid, task.comm if task.pid is None else "") for task in task_totals(path)]
    assert len(keys) == len(set(keys))
    assert [task.tracer for task in task_totals(path)].count(True) <= 1
    page = said(*MEMTRACE, "report", str(path))[0]
    assert "PID namespace" in page


def test_a_list_of_processes_needs_a_proc_that_has_their_numbers(tmp_path: Path) -> None:
    record = (*RECORD, "-o", str(tmp_path / "run.parquet"), "-p", "1")
    _, told = said("unshare", "--pid", "--fork", "--kill-child", *record, status=1)
    assert told == (
        "memtrace: -p: /proc shows another PID namespace's numbers here: "
        "mount this one's first, with mount -t proc proc /proc\n"
    )


def test_in_a_user_namespace_the_reason_is_told(tmp_path: Path) -> None:
    inside = (CONTAINER[0], *USER, *CONTAINER[1:])
    _, told = said(*inside, *RECORD, "-o", str(tmp_path / "run.parquet"), "--", "true", status=1)
    assert "user namespace" in told
    assert len(told.splitlines()) == 1


BLIND = """
import sys
from memtrace.traces.run import Fact
from memtrace.probes.machine import kernel
kernel.pid_namespace = lambda root: Fact("pid_namespace", "initial", "a fault")
sys.argv = ["memtrace", *sys.argv[1:]]
from memtrace.cli import main
main()
"""


@pytest.mark.parametrize(("command", "status"), [("true", 3), ("exit 7", 7)])
def test_a_command_that_was_not_seen_is_a_failure(command: str, status: int, tmp_path: Path) -> None:
    blind = (sys.executable, "-c", BLIND, *RECORD[3:])
    _, told = said(
        *CONTAINER, *blind, "-o", str(tmp_path / "run.parquet"), "--", "sh", "-c", command, status=status
    )
    assert "nothing of COMMAND" in told


@pytest.mark.parametrize("filtered", [("-e", "zero"), ("--min-order", "9"), ("--comm", "nobody")])
def test_a_filter_that_leaves_all_of_it_out_is_no_failure(filtered: tuple[str, ...], tmp_path: Path) -> None:
    said(*RECORD, *filtered, "-o", str(tmp_path / "run.parquet"), "--", "true")


def test_this_process_is_in_the_initial_namespace_or_says_which() -> None:
    fact = pid_namespace()
    assert (fact.value == "initial") == ("4026531836" in fact.evidence)
