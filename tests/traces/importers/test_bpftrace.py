# SPDX-License-Identifier: Apache-2.0
"""What bpftrace scripts print as JSON."""

from __future__ import annotations

import json

from memtrace.tests.traces.importers.conftest import DATA, Import, Text

RECORDING = "alloc-6.18.bpftrace.json"


def test_each_line_printed_is_a_row_as_its_own_histogram_counts(import_: Import) -> None:
    run = import_(RECORDING)
    histogram = json.loads((DATA / RECORDING).read_text().splitlines()[-1])
    assert len(run.of("alloc")) == sum(b["count"] for b in histogram["data"]["@orders"]) == 300
    row = run.of("alloc")[0]
    assert (row["ts_ns"], row["cpu"], row["pid"], row["comm"]) == (15640120325373, 1, 6857, "dd")
    assert (row["pfn"], row["order"], row["gfp"], row["bytes"]) == (1158452, 0, 4459968, 4096)
    assert run.header.sources[0].unparsed == 0


def printed(text: str) -> str:
    return json.dumps({"type": "printf", "data": text}) + "\n"


def test_entries_and_returns_are_paired(import_: Import, text: Text) -> None:
    lines = (
        json.dumps({"type": "attached_probes", "data": {"probes": 2}})
        + "\n"
        + printed(
            "ts=1000 probe=kprobe:arch_add_memory tid=7 nid=1 start=4294967296 size=134217728 comm=k w\n"
        )
        + printed("ts=9000 probe=kretprobe:arch_add_memory tid=7 ")
        + printed("ret=0 comm=k w\n")
    )
    (row,) = import_(text(lines)).of("hot.add")
    assert (row["dur_ns"], row["nid"], row["bytes"], row["comm"]) == (8000, 1, 128 << 20, "k w")
    assert row["site"] == "bpftrace:arch_add_memory"


def test_lost_events_and_lines_of_another_make_are_counted(import_: Import, text: Text) -> None:
    lines = json.dumps({"type": "lost_events", "data": {"events": 5}}) + "\n" + printed("hello\n") + "{\n"
    run = import_(text(lines))
    assert run.status.losses.ring_full == 5
    assert run.header.sources[0].unparsed == 2
