# SPDX-License-Identifier: Apache-2.0
"""Whole comparisons of run files: verdicts, many sides, all kinds of runs."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from memtrace.tests.analyzer.compare.conftest import Compare, text
from memtrace.tests.analyzer.compare.generated import rows_of, write_run, write_side
from memtrace.tests.analyzer.recorded import aggregated
from memtrace.traces.run import Phase
from memtrace.traces.schema import KEY_SCHEMA


def test_a_change_is_found_and_its_size_is_in_the_interval(sides: Path, compared: Compare) -> None:
    row = compared("base", "slow").change("alloc.p50")
    assert row["verdict"] == "worse"
    assert 0 < row["change_low"] <= 0.15 <= row["change_high"]
    assert row["after"] / row["before"] == pytest.approx(1 + row["change"])
    assert (row["runs_before"], row["runs_after"], row["unit"]) == (10, 10, "ns")


def test_a_gain_is_the_same_the_other_way_round(sides: Path, compared: Compare) -> None:
    there, back = compared("base", "slow").change("alloc.p50"), compared("slow", "base").change("alloc.p50")
    assert back["verdict"] == "better"
    assert (1 + there["change"]) * (1 + back["change"]) == pytest.approx(1)


def test_a_kernel_against_itself_has_no_verdict_of_change(sides: Path, compared: Compare) -> None:
    found = compared("base", "same")
    assert found.verdicts <= {"~", "equivalent"}
    assert found.change("alloc.bytes")["verdict"] == "equivalent"
    assert found.change("alloc.bytes")["change"] == 0


def test_equivalence_is_within_the_margin_asked_for(sides: Path, compared: Compare) -> None:
    assert compared("base", "same").change("alloc.p50")["verdict"] == "~"
    assert compared("base", "same", margin="20%").change("alloc.p50")["verdict"] == "equivalent"


def test_several_sides_are_each_held_against_the_first(sides: Path, compared: Compare) -> None:
    found = compared("base", "same", "slow")
    assert found.change("alloc.p50", "same")["verdict"] == "~"
    assert found.change("alloc.p50", "slow")["verdict"] == "worse"
    alone = compared("base", "slow").change("alloc.p50")
    assert found.change("alloc.p50", "slow")["p_corrected"] == pytest.approx(2 * alone["p_corrected"])


def test_files_folders_and_patterns_are_sides(sides: Path, compared: Compare) -> None:
    assert compared("base", "sl*/boot-00?.parquet").change("alloc.p50")["runs_after"] == 10
    assert compared("base", "slow/boot-003.parquet").change("alloc.p50")["runs_after"] == 1


def test_one_run_a_side_has_a_change_and_no_verdict(sides: Path, compared: Compare) -> None:
    found = compared("base/boot-000.parquet", "slow/boot-000.parquet")
    row = found.change("alloc.total")
    assert row["change"] is not None
    assert (row["change_low"], row["p"]) == (None, None)
    assert found.verdicts == {"too few"}
    assert "one-run" in found.caveats


def test_three_runs_a_side_have_intervals_and_say_how_many_would_do(sides: Path, compared: Compare) -> None:
    found = compared("base/boot-00[012].parquet", "slow/boot-00[012].parquet")
    assert found.verdicts == {"too few"}
    assert found.change("alloc.p50")["change_low"] is not None
    needed = {row["metric"]: row["runs_needed"] for row in found.document["tables"]["plan"]}
    assert 4 <= needed["alloc.p50"] <= 60


def test_unequal_numbers_are_compared(sides: Path, compared: Compare) -> None:
    row = compared("base/boot-00[0-4].parquet", "slow").change("alloc.p50")
    assert (row["runs_before"], row["runs_after"], row["verdict"]) == (5, 10, "worse")


def test_a_run_that_lacks_a_metric_is_said(sides: Path) -> None:
    """Nothing is longer than anything in a run in which nothing happened."""
    write_run(sides / "base" / "boot-010.parquet", [], boot=80)
    said = " ".join(text("base", "slow").split())
    assert "known in 10 of 11 runs of base only: alloc.ns_per_4kib, alloc.worst, alloc.p10, alloc.p50" in said
    assert "runs of" not in text("same", "slow").partition("Headline")[2].partition("Caveats")[0]


def test_the_same_seed_gives_the_same_text(sides: Path) -> None:
    assert text("base", "slow") == text("base", "slow")
    assert text("base", "slow", seed=2) != text("base", "slow", seed=3)


def test_metrics_can_be_chosen_and_share_the_correction(sides: Path, compared: Compare) -> None:
    found = compared("base", "slow", metric=("alloc.p",))
    headline = [row["metric"] for row in found.document["tables"]["headline"]]
    assert headline == ["alloc.p10", "alloc.p50", "alloc.p99"]
    row = found.change("alloc.p50")
    assert row["p"] <= row["p_corrected"]


def test_parts_are_split_as_asked(sides: Path, compared: Compare) -> None:
    cells = {row["cell"] for row in compared("base", "slow", by="cpu,site").document["tables"]["parts"]}
    assert "site=fentry:alloc" in cells
    nodes = compared("base", "slow").change("alloc.p50[order=0,node=1]")
    assert (nodes["verdict"], nodes["cell"]) == ("worse", "order=0,node=1")


def test_streams_and_aggregates_of_the_same_are_equivalent(folder: Path, compared: Compare) -> None:
    for i in range(4):
        took = [300.0] * 200 + [9_000.0] * (2 + i)
        write_run(folder / "stream" / f"{i}.parquet", rows_of(took), i)
        rows = [aggregated("alloc", 200, 300), aggregated("alloc", 2 + i, 9_000)]
        write_run(folder / "sums" / f"{i}.parquet", rows, 50 + i, events=["alloc"])
    found = compared("stream", "sums")
    assert found.findings == {}
    for metric in ("alloc.total", "alloc.bytes"):
        assert found.change(metric)["change"] == pytest.approx(0), metric
    # Sums do not tell the median as exactly as streams do.
    median = found.change("alloc.p50")
    assert median["change"] == pytest.approx(0, abs=0.001)
    assert median["change_low"] < 0 < median["change_high"]


def test_an_older_schema_is_compared_and_named(folder: Path, compared: Compare) -> None:
    write_side(folder / "new", 4)
    write_side(folder / "old", 4, first=20)
    for path in (folder / "old").iterdir():
        as_schema_1(path)
    found = compared("old", "new")
    assert "1 against 2" in found.findings["schema"]
    assert "withheld" not in found.verdicts
    assert found.change("alloc.total")["change"] == pytest.approx(0)


def as_schema_1(path: Path) -> None:
    """Rewrites a run as a version without cgroup, bytes_requested and phases would have written it."""
    table = pq.read_table(path)
    metadata = dict(pq.read_metadata(path).metadata)
    metadata[KEY_SCHEMA.encode()] = b"1"
    header = json.loads(metadata[b"memtrace:header"])
    for name in ("phases", "sources", "origin"):
        header.pop(name, None)
    metadata[b"memtrace:header"] = json.dumps(header).encode()
    table = table.drop_columns([c for c in ("cgroup", "bytes_requested") if c in table.column_names])
    pq.write_table(table.replace_schema_metadata(metadata), path)


def test_an_imported_side_is_compared_and_named(folder: Path, compared: Compare) -> None:
    write_side(folder / "recorded", 4)
    write_side(folder / "imported", 4, first=20, origin="imported", events=300)
    found = compared("recorded", "imported")
    assert "recorded against imported" in found.findings["origin"]
    assert found.change("alloc.p50")["change_low"] is not None


def test_boot_phases_are_headline_metrics(folder: Path, compared: Compare) -> None:
    for name, length, first in (("a", 100, 0), ("b", 200, 50)):
        for i in range(4):
            phases = (Phase("deferred", 10**9, 10**9 + (length + i) * 10**6, "dmesg"),)
            write_run(folder / name / f"{i}.parquet", rows_of([5.0] * 40), first + i, phases=phases)
    row = compared("a", "b").change("boot.deferred")
    assert row["verdict"] == "worse"
    assert row["change"] == pytest.approx(201.5 / 101.5 - 1, rel=0.001)


def test_a_phase_is_compared_by_its_best_source_as_boot_has_it(folder: Path, compared: Compare) -> None:
    for name, length, first in (("a", 100, 0), ("b", 200, 50)):
        for i in range(4):
            ends = 10**9 + (length + i) * 10**6
            phases = (
                Phase("deferred", 0, 5 * 10**9, "ftrace", 1030 * 10**6, nid=0),
                Phase("deferred", 10**9, ends, "dmesg", 4 * 10**6, nid=0),
                Phase("deferred", 10**9, ends - 5 * 10**6, "dmesg", 4 * 10**6, nid=1),
            )
            write_run(folder / name / f"{i}.parquet", rows_of([5.0] * 40), first + i, phases=phases)
    found = compared("a", "b")
    assert found.change("boot.deferred")["change"] == pytest.approx(201.5 / 101.5 - 1, rel=0.001)
    assert "phases" not in found.findings


def test_phases_by_other_sources_are_told(folder: Path, compared: Compare) -> None:
    for name, source, first in (("a", "dmesg", 0), ("b", "ftrace", 50)):
        for i in range(4):
            phases = (Phase("core", 0, 10**9, source, 1000), Phase("core", 0, 10**9, "systemd", 10**6))
            write_run(folder / name / f"{i}.parquet", rows_of([5.0] * 40), first + i, phases=phases)
    assert "dmesg against ftrace" in compared("a", "b").findings["phases"]


def test_from_no_occurrence_to_some_is_new(folder: Path, compared: Compare) -> None:
    for i in range(4):
        plain = rows_of([5.0] * 40)
        write_run(folder / "a" / f"{i}.parquet", plain, i, events=["alloc", "zero.user"])
        more = plain + rows_of([7.0 + i] * 40, "zero.user")
        write_run(folder / "b" / f"{i}.parquet", more, 50 + i, events=["alloc", "zero.user"])
    found = compared("a", "b")
    row = found.change("zero.total")
    assert (row["before"], row["change"], row["verdict"]) == (0, None, "worse")
    assert "new" in text("a", "b")
