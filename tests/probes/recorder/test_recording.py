# SPDX-License-Identifier: Apache-2.0
"""Recording the running kernel for real (root): exact counts, losses, filters, sudden ends."""

import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from memtrace.tests.endurance.kills import LOAD
from memtrace.traces.reader import NothingYet, Run, open_run
from memtrace.traces.schema import Flag, arrow_schema

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="recording needs root"),
]

TOUCH = "import mmap,ctypes;m=mmap.mmap(-1,{0}<<20,34);m.madvise(mmap.MADV_NOHUGEPAGE);" + (
    "ctypes.memset(ctypes.addressof(ctypes.c_char.from_buffer(m)),1,{0}<<20)"
)

Record = Callable[..., Run]


def memtrace(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "memtrace.cli", *arguments]


@pytest.fixture
def record(tmp_path: Path) -> Record:
    def run(*arguments: str, status: int = 0) -> Run:
        output = tmp_path / "run.parquet"
        done = subprocess.run(
            memtrace("record", "-o", str(output), "-f", *arguments),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == status, done.stderr
        return open_run(output)

    return run


def rows(run: Run) -> Any:
    table = pa.Table.from_batches(list(run.batches()), schema=arrow_schema())
    return table.set_column(table.schema.get_field_index("event"), "event", table["event"].cast(pa.string()))


def observed(run: Run, event: str) -> Any:
    """Rows of counted occurrences: neither inferred ones nor sampled time."""
    table = rows(run)
    inferred = pc.bit_wise_and(table["flags"], pa.scalar(int(Flag.INFERRED), pa.uint32()))
    counted = pc.and_(pc.equal(inferred, 0), pc.is_valid(table["count"]))
    return table.filter(pc.and_(pc.equal(table["event"], event), counted))


def file_count(run: Run, event: str) -> int:
    return int(pc.sum(observed(run, event)["count"]).as_py() or 0)


def assert_file_and_kernel_agree(run: Run) -> None:
    for counter in run.status.counters:
        assert counter.seen == counter.streamed + counter.aggregated + counter.ring_full
        assert file_count(run, counter.event) + counter.ring_full == counter.seen
        if counter.streamed == counter.seen:
            table = observed(run, counter.event)
            assert sum(v for v in table["order"].to_pylist() if v) == counter.sum_order
            assert sum(v for v in table["pfn"].to_pylist() if v) % 2**64 == counter.sum_pfn


@pytest.mark.parametrize("stream", ["tails", "all"])
def test_the_file_holds_what_the_kernel_counted(record: Record, stream: str) -> None:
    run = record("--stream", stream, "--", sys.executable, "-c", TOUCH.format(16))
    assert run.status.complete
    assert not run.cut_short
    assert run.status.losses.ring_full == 0
    assert_file_and_kernel_agree(run)
    assert file_count(run, "alloc") >= 4096


def test_events_lost_to_a_full_ring_are_counted_to_the_last_one(record: Record) -> None:
    run = record("--stream", "all", "--ring-size", "4K", "--", sys.executable, "-c", TOUCH.format(64))
    assert run.status.losses.ring_full > 0, "the ring was meant to overflow"
    for counter in run.status.counters:
        assert file_count(run, counter.event) + counter.ring_full == counter.seen


def test_tasks_account_for_every_occurrence(record: Record) -> None:
    run = record("--", sys.executable, "-c", TOUCH.format(8))
    for counter in run.status.counters:
        total = sum(t.count for t in run.status.tasks if t.event == counter.event)
        assert total + (run.status.tasks_dropped if counter.event == "alloc" else 0) == counter.seen


def test_only_the_command_and_what_it_starts_is_recorded(record: Record) -> None:
    child = f"{sys.executable} -c '{TOUCH.format(4)}'"
    run = record("--stream", "all", "--", "sh", "-c", f"{child}; {child}")
    table = observed(run, "alloc")
    pids = set(table["pid"].to_pylist())
    assert len(pids) == 3, "the shell and its two children"
    assert os.getpid() not in pids
    assert table.num_rows >= 2048


def test_min_order_leaves_out_smaller_allocations(record: Record, tmp_path: Path) -> None:
    known = [
        sys.executable,
        "-m",
        "memtrace.probes.workloads.knownwork",
        str(tmp_path / "known.json"),
        "64",
        "4",
        "0",
    ]
    orders = observed(record("--min-order", "1", "--", *known), "alloc")["order"].to_pylist()
    assert orders.count(9) >= 4
    assert min(orders) >= 1


def test_cpu_filter(record: Record) -> None:
    run = record("--stream", "all", "-C", "0", "-d", "1")
    assert set(rows(run).filter(pc.is_valid(rows(run)["pfn"]))["cpu"].to_pylist()) <= {0}


def test_a_running_process_by_pid(record: Record) -> None:
    loop = (
        f"import time\nwhile True:\n {TOUCH.format(1).replace(';', chr(10) + ' ')}\n del m\n time.sleep(.01)"
    )
    loop = loop.replace("del m", "pass")
    victim = subprocess.Popen([sys.executable, "-c", loop])
    try:
        run = record("--stream", "all", "-p", str(victim.pid), "-d", "1")
    finally:
        victim.kill()
        victim.wait()
    table = observed(run, "alloc")
    assert table.num_rows >= 256
    assert set(table["pid"].to_pylist()) == {victim.pid}


def test_stacks_lead_to_the_page_fault(record: Record) -> None:
    run = record("--stacks", "--", sys.executable, "-c", TOUCH.format(4))
    stacks = [s for s in observed(run, "alloc")["stack"].to_pylist() if s]
    faults = [s for s in stacks if "exc_page_fault" in s and "do_anonymous_page" in s]
    assert len(faults) >= 1024


def test_the_commands_exit_status_is_passed_on(record: Record) -> None:
    assert record("--", "sh", "-c", "exit 3", status=3).status.exit_status == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_recording_in_order(tmp_path: Path, number: signal.Signals) -> None:
    output = tmp_path / "run.parquet"
    recorder = subprocess.Popen(memtrace("record", "-q", "-o", str(output)))
    wait_for(lambda: output.exists())
    time.sleep(1)
    recorder.send_signal(number)
    assert recorder.wait(20) == 0
    run = open_run(output)
    assert run.status.complete
    assert run.status.stopped_by == number.name


def test_who_is_stopped_while_still_starting_leaves_a_run(tmp_path: Path) -> None:
    output = tmp_path / "run.parquet"
    recorder = subprocess.Popen(memtrace("record", "-q", "-o", str(output)))
    wait_for(lambda: catches(recorder.pid, signal.SIGTERM))
    assert not output.exists()
    recorder.send_signal(signal.SIGTERM)
    assert recorder.wait(20) == 0
    assert open_run(output).status.stopped_by == "SIGTERM"


def catches(pid: int, number: signal.Signals) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    (mask,) = re.findall(r"^SigCgt:\s*(\w+)$", status, re.M)
    return bool(int(mask, 16) >> (number - 1) & 1)


def test_a_service_manager_hears_when_recording_has_begun(tmp_path: Path) -> None:
    output = tmp_path / "run.parquet"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        env = os.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        recorder = subprocess.Popen(memtrace("record", "-q", "-d", "0.1", "-o", str(output)), env=env)
        assert manager.recv(500).startswith(b"READY=1\nSTATUS=recording, armed ")
    assert recorder.wait(20) == 0


def test_a_killed_recorder_loses_only_what_came_after_its_last_checkpoint(tmp_path: Path) -> None:
    output = tmp_path / "run.parquet"
    recorder = subprocess.Popen(memtrace("record", "-q", "--stream", "all", "-o", str(output)))
    wait_for(lambda: output.exists())
    load = subprocess.Popen([sys.executable, "-c", LOAD])
    try:
        wait_for(lambda: until(output) > 0)
        first = until(output)
        wait_for(lambda: until(output) > first)
        last = until(output)
    finally:
        recorder.kill()
        recorder.wait()
        load.kill()
        load.wait()
    run = open_run(output)
    assert run.cut_short
    assert not run.status.complete
    assert run.status.ended_ns >= last > first
    assert run.rows > 0
    for counter in run.status.counters:
        assert counter.seen_before is not None
        in_file = file_count(run, counter.event) + counter.ring_full
        assert counter.seen_before <= in_file <= counter.seen, counter.event


def until(output: Path) -> int:
    """Return when the last checkpoint of a run was that is still recorded, CLOCK_BOOTTIME ns; 0 before it."""
    try:
        return open_run(output).status.ended_ns
    except NothingYet:
        return 0


def test_a_low_soft_limit_on_open_files_is_raised_and_command_keeps_it(tmp_path: Path) -> None:
    few = (30, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    done = subprocess.run(
        memtrace(
            "record", "-q", "-o", str(tmp_path / "run.parquet"), "--", "sh", "-c", "ulimit -Sn; ulimit -Hn"
        ),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, few),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout.split()) == (0, [str(few[0]), str(few[1])]), done.stderr


def test_progress_costs_and_proof_are_stated(record: Record) -> None:
    run = record("--", sys.executable, "-c", TOUCH.format(4))
    cost = run.status.cost
    assert cost is not None
    assert cost.recorder_cpu_ns > 0
    assert cost.probe_ns is not None
    assert {s.label for s in run.snapshots} == {
        "before_load",
        "after_load",
        "start",
        "end",
    }
    assert {s.event: s.proven for s in run.header.manifest}["alloc"] is True


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)
