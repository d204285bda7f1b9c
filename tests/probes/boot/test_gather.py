# SPDX-License-Identifier: Apache-2.0
"""Gathering the running machine's boot: what is there, and what is said of what is not."""

from __future__ import annotations

from pathlib import Path

from memtrace.probes.boot import gather
from memtrace.probes.boot.collect import Wanted, collect, recorded
from memtrace.traces.importers.assemble import Request, run_import
from memtrace.traces.reader import open_run
from memtrace.traces.run import RunHeader, RunStatus
from memtrace.traces.writer import RunWriter


def test_kmsg_records_become_the_log_as_dmesg_prints_it() -> None:
    records = (
        "6,0,0,-;Linux version 6.12\n SUBSYSTEM=pci\n14,1,5,-;from user space\n4,2,1234567,c;late: a;b\n"
    )
    assert gather.as_dmesg(records) == "[    0.000000] Linux version 6.12\n[    1.234567] late: a;b\n"


def test_every_source_is_there_or_its_absence_has_a_reason() -> None:
    texts = gather.gather(("memtrace",))
    assert {one.format for one in texts} == {"tracefs", "dmesg", "fpdt", "systemd", "early", "machine"}
    assert all(one.text or one.why_not for one in texts)
    assert texts[-1].format == "machine" and texts[-1].text


def test_the_saved_texts_make_the_same_run(tmp_path: Path) -> None:
    done = collect(Wanted(tmp_path / "a.parquet", save=tmp_path / "texts"))
    texts = tuple(str(path) for path in sorted((tmp_path / "texts").iterdir()))
    run_import(Request(texts, tmp_path / "b.parquet"))
    one, other = (open_run(tmp_path / name) for name in ("a.parquet", "b.parquet"))
    assert one.header.origin == other.header.origin == "collected"
    assert one.header == other.header
    assert (one.rows, one.status) == (other.rows, other.status)
    assert {name for name, _ in done.missing} - {"record"} == {
        source.name for source in one.header.sources if not source.lines
    }


def test_the_machines_own_counters_are_in_the_run(tmp_path: Path) -> None:
    collect(Wanted(tmp_path / "a.parquet"))
    (taken,) = open_run(tmp_path / "a.parquet").header.snapshots
    assert taken.label == "boot" and taken.vmstat["nr_free_pages"] > 0


def test_a_recording_of_another_boot_is_left_out_and_said(tmp_path: Path) -> None:
    path = tmp_path / "boot.parquet"
    assert recorded(path) == (None, f"no {path}: nothing was recorded from early user space")
    with RunWriter(path, RunHeader("0", (), boot_id="another")) as writer:
        writer.close(RunStatus(complete=True, started_ns=1, ended_ns=2))
    assert recorded(path) == (None, f"{path} was recorded in another boot, and left out")
    ours = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    with RunWriter(path, RunHeader("0", (), boot_id=ours), overwrite=True) as writer:
        writer.close(RunStatus(complete=True, started_ns=1, ended_ns=2))
    assert recorded(path) == (path, "")
