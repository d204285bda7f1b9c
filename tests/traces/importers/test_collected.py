# SPDX-License-Identifier: Apache-2.0
"""What `memtrace boot collect` saves beside trace and log: firmware, systemd, counters, the machine."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from memtrace.errors import MemtraceError
from memtrace.tests.traces.importers.conftest import DATA, Import, Text
from memtrace.traces.importers.parsed import POINT, Stamp
from memtrace.traces.importers.printed import between, shared_lines
from memtrace.traces.run import Phase, RunHeader, to_json

MS = 1_000_000
FPDT = """firmware_start_ns 100000000
bootloader_load_ns 2000000000
bootloader_launch_ns 2100000000
exitbootservice_start_ns 2500000000
exitbootservice_end_ns 3000000000
"""
SYSTEMD = """FirmwareTimestampMonotonic=4000000
LoaderTimestampMonotonic=1500000
KernelTimestampMonotonic=0
InitRDTimestampMonotonic=900000
UserspaceTimestampMonotonic=2400000
FinishTimestampMonotonic=9000000
"""
EARLY = """==> /proc/uptime <==
4.97 8.02
==> /proc/vmstat <==
nr_free_pages 1000
nr_unaccepted 262144
pgfault 7
==> /sys/devices/system/node/node0/meminfo <==
Node 0 MemTotal:        2097152 kB
Node 0 Unaccepted:      1048576 kB
Node 0 Active(anon):          4 kB
"""


def edges(run_phases: tuple[Phase, ...], source: str) -> dict[str, tuple[int | None, int | None]]:
    return {p.name: (p.start_ns, p.end_ns) for p in run_phases if p.source == source}


def test_fpdt_gives_firmware_and_loader_before_the_kernels_clock(import_: Import, text: Text) -> None:
    run = import_(text(FPDT, "fpdt"))
    assert edges(run.header.phases, "fpdt") == {
        "firmware": (-3000 * MS, -900 * MS),
        "loader": (-900 * MS, 0),
    }
    loader = next(p for p in run.header.phases if p.name == "loader")
    assert "ExitBootServices took 500.000 ms" in loader.detail
    assert loader.resolution_ns is None, "nobody measures the gap before the kernel's clock"


def test_a_table_without_the_end_has_no_place_in_time_and_says_so(import_: Import, text: Text) -> None:
    run = import_(text(FPDT.replace("exitbootservice_end_ns 3000000000", "exitbootservice_end_ns 0"), "fpdt"))
    assert run.header.phases == ()
    assert any("no place in time" in note for _, note in run.outcome.notes)


def test_systemd_gives_the_stages_as_systemd_analyze_has_them(import_: Import, text: Text) -> None:
    run = import_(text(SYSTEMD, "systemd"))
    assert edges(run.header.phases, "systemd") == {
        "firmware": (-4000 * MS, -1500 * MS),
        "loader": (-1500 * MS, 0),
        "initramfs": (900 * MS, 2400 * MS),
        "userspace": (2400 * MS, 9000 * MS),
    }


def test_a_stage_that_did_not_happen_or_end_is_unknown_not_zero(import_: Import, text: Text) -> None:
    some = SYSTEMD.replace("InitRDTimestampMonotonic=900000", "InitRDTimestampMonotonic=0")
    some = some.replace("FinishTimestampMonotonic=9000000", "FinishTimestampMonotonic=0")
    run = import_(text(some, "systemd"))
    found = edges(run.header.phases, "systemd")
    assert "initramfs" not in found and found["userspace"] == (2400 * MS, None)


def test_an_early_snapshot_is_one_moment_of_the_counters(import_: Import, text: Text) -> None:
    (taken,) = import_(text(EARLY, "early-initramfs-start")).header.snapshots
    assert (taken.label, taken.boottime_ns) == ("early", 4_970_000_000)
    assert taken.vmstat == {"nr_free_pages": 1000, "nr_unaccepted": 262144}
    assert taken.nodes["0"]["Unaccepted"] == 1048576


def test_a_snapshot_without_a_moment_is_not_kept(import_: Import, text: Text) -> None:
    run = import_(text(EARLY.replace("/proc/uptime", "/proc/nothing"), "early"))
    assert run.header.snapshots == ()


def test_the_machine_file_is_the_header_of_the_run(import_: Import, text: Text) -> None:
    known = RunHeader("0", (), hostname="box", cpus=3, boot_id="b", origin="collected")
    run = import_(text(to_json(known) + "\n", "machine"), text(EARLY, "early"))
    assert (run.header.hostname, run.header.cpus, run.header.origin) == ("box", 3, "collected")
    assert [s.label for s in run.header.snapshots] == ["early"]


def test_a_run_of_another_boot_is_not_merged(import_: Import, text: Text) -> None:
    one = import_(text(to_json(RunHeader("0", (), boot_id="a")) + "\n", "machine"), output="a.parquet")
    other = text(to_json(RunHeader("0", (), boot_id="b")) + "\n", "machine")
    with pytest.raises(MemtraceError, match="recorded in another boot"):
        import_(other, merge=one.path)


def test_a_damaged_machine_file_is_refused_in_a_sentence(import_: Import, text: Text) -> None:
    with pytest.raises(MemtraceError, match="machine file is damaged"):
        import_(text('{"tool_version": "0", \n', "machine"))


def test_what_firmware_left_is_a_snapshot_at_the_kernels_start(import_: Import, text: Text) -> None:
    log = """[    0.000000] Linux version 6.12.0 (a@b) #1
[    0.000000] efi: mem03: [Unaccepted  |   |  |  ] range=[0x0000000000400000-0x00000000005fffff] (2MB)
[    0.000000] efi: mem04: [Unaccepted  |   |  |  ] range=[0x0000000000800000-0x00000000017fffff] (16MB)
[    0.010000] Early memory node ranges
[    0.010000]   node   0: [mem 0x0000000000000000-0x0000000000ffffff]
[    0.010000]   node   1: [mem 0x0000000001000000-0x0000000001ffffff]
"""
    (entry,) = import_(text(log, "dmesg")).header.snapshots
    assert entry.label == "entry"
    assert entry.nodes == {"0": {"Unaccepted": 10 << 10}, "1": {"Unaccepted": 8 << 10}}


def test_a_log_that_lost_its_start_does_not_tell_what_firmware_left(import_: Import, text: Text) -> None:
    log = """[    0.000000] efi: mem04: [Unaccepted|  ] range=[0x0000000000800000-0x00000000017fffff] (16MB)
[    0.010000] Early memory node ranges
[    0.010000]   node   0: [mem 0x0000000000000000-0x0000000001ffffff]
"""
    assert import_(text(log, "dmesg")).header.snapshots == ()


def printed(ts_ns: int, text: str) -> Stamp:
    return Stamp(ts_ns, POINT, "console", "tracepoint", 0, 1, None, "init", text)


def test_lines_seen_printed_relate_the_two_clocks_moment_by_moment() -> None:
    log = [(100, "a"), (200, "b"), (200, "c"), (300, "twice"), (310, "twice"), (400, "d")]
    trace = [printed(1100, "a"), printed(1300, "b"), printed(1301, "c"), printed(1800, "d")]
    trace += [printed(1500, "twice"), printed(1510, "twice"), printed(5, "elsewhere")]
    knots = shared_lines(log, trace)
    assert knots == [(100, 1100), (200, 1300), (400, 1800)]
    assert [between(knots, ns) for ns in (50, 100, 150, 300, 400, 500)] == [
        1050,
        1100,
        1200,
        1550,
        1800,
        1900,
    ]


def test_the_log_is_placed_where_its_lines_were_printed(import_: Import) -> None:
    """A real eager boot, in which the log's clock fell 0.87 s behind while memory was accepted."""
    folder = DATA / "collected-eager-6.12"
    run = import_(*sorted(folder.iterdir()))
    log = run.source("dmesg.gz")
    assert "176 lines seen printed in a trace, 867.0 ms of drift" in log.clock
    ends = {(p.source, p.nid): p.end_ns for p in run.header.phases if p.name == "deferred"}
    for nid in (0, 1):
        # A printed line is stamped in the log a moment before the trace has it.
        printed, traced = ends["dmesg", nid], ends["ftrace", nid]
        assert printed is not None and traced is not None
        assert abs(printed - traced) < MS


def test_the_machine_file_tells_the_traces_clock(import_: Import, tmp_path: Path) -> None:
    folder = DATA / "collected-eager-6.12"
    run = import_(folder / "trace.gz", folder / "machine.gz")
    assert run.source("trace.gz").clock.startswith("local (trace_clock in tracefs)")
    assert dataclasses.asdict(run.header)["origin"] == "collected"
