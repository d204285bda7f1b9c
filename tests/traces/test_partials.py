# SPDX-License-Identifier: Apache-2.0
"""The sums that a run carries: made when it is closed, read back through a gate."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memtrace.errors import MemtraceError
from memtrace.tests.sql import fetched
from memtrace.tests.traces.conftest import CHECKPOINT, MakeRows, MakeRun
from memtrace.traces import compact, partials, summing
from memtrace.traces.gate import Refused
from memtrace.traces.histogram import bucket_of
from memtrace.traces.reader import open_run
from memtrace.traces.run import RunHeader, RunStatus
from memtrace.traces.schema import KEY_PARTIALS, Flag
from memtrace.traces.totals import EventCounters
from memtrace.traces.writer import RunWriter

GOOD: dict[str, Any] = {
    "stacks": 1, "bucket": [3, None], "unknown": [0, 14], "flags": [1, 0], "order": [0, None],
    "nid": [1, None], "parent": [None, "alloc"], "event": ["alloc", "zero.alloc"], "rows": [2, 1],
    "count": [2, 1], "bytes": [8192, 0], "total_ns": [6, 0], "self_ns": [-4, 0], "max_ns": [3, 0],
    "sum_pfn": [2**64 - 1, 0], "exact": [1, 0],
}  # fmt: skip


def rows_by_key(path: Path) -> list[tuple[Any, ...]]:
    """Sums of a file's rows, by an SQL of their own."""
    found = fetched(f"""
        SELECT event, "order", nid, parent, flags,
            (count IS NULL)::INT + 2 * (bytes IS NULL)::INT + 4 * (total_ns IS NULL)::INT
            + 8 * (self_ns IS NULL)::INT + 16 * (pfn IS NULL)::INT AS unknown,
            CASE WHEN dur_ns < 16 THEN dur_ns
                WHEN dur_ns >= 2199023255552 THEN 608
                ELSE (floor(log2(dur_ns)) - 3) * 16 + ((dur_ns >> (floor(log2(dur_ns))::INT - 4)) & 15)
                END::INT AS bucket,
            count(*), coalesce(sum(count), 0)::BIGINT, coalesce(sum(bytes), 0)::BIGINT,
            coalesce(sum(total_ns), 0)::BIGINT, coalesce(sum(self_ns), 0)::BIGINT,
            coalesce(max(dur_ns), 0), (coalesce(sum(pfn), 0) % 18446744073709551616)::UBIGINT
        FROM '{path}' GROUP BY ALL""")
    return sorted(found, key=str)


def kept(path: Path) -> list[tuple[Any, ...]]:
    """Sums of a file's entries, those of one bucket together."""
    document = json.loads(pq.read_metadata(path).metadata[KEY_PARTIALS.encode()])
    names = ("event", "order", "nid", "parent", "flags", "unknown", "bucket", *partials.SUMS)
    found: dict[tuple[Any, ...], list[int]] = {}
    for row in zip(*(document[name] for name in names), strict=True):
        entry = found.setdefault(row[:7], [0] * 7)
        *sums, longest, pfn = row[7:]
        entry[:] = [*(a + b for a, b in zip(entry[:5], sums, strict=True)), max(entry[5], longest),
                    (entry[6] + pfn) % (1 << 64)]  # fmt: skip
    return sorted(((*key, *sums) for key, sums in found.items()), key=str)


def test_they_are_the_sums_of_the_rows(tmp_path: Path, make_run: MakeRun, make_rows: MakeRows) -> None:
    path = tmp_path / "run.parquet"
    texts = {"event": [f"e{i}" for i in range(40)], "parent": ["alloc", "zero.alloc"]}
    # Batches end inside of row groups too; flags have bits up to the highest that is known.
    tables = [make_rows(count, seed, texts) for seed, count in enumerate((1, 500, 7))]
    flags = tables[0].schema.get_field_index("flags")
    field = tables[0].schema.field(flags)
    low = [
        t.set_column(flags, field, [(t.column(flags).to_numpy() % 32768).astype("uint32")]) for t in tables
    ]
    make_run(path, low)
    assert kept(path) == rows_by_key(path)
    (found,) = [open_run(path).partials]
    assert found is not None
    assert found.sums["rows"].sum() == 508
    assert fetched(f"SELECT count(stack) FROM '{path}'") == [(found.stacks,)]


def test_durations_of_events_with_few_rows_are_kept_one_by_one(
    tmp_path: Path, header: RunHeader, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partials, "EXACT_ROWS", 4)
    events = ["rare", "rare", "rare", *["often"] * 6]
    rows = having(make_rows(9), "event", events)
    rows = having(rows, "flags", [0, 0, int(Flag.AGGREGATED), *[0] * 6])
    rows = having(rows, "dur_ns", [500, 505, 505, *[505] * 6])
    counters = tuple(EventCounters(name, n, n, 0, 0, 0, 0) for name, n in (("rare", 3), ("often", 6)))
    with RunWriter(tmp_path / "run.parquet", header) as writer:
        writer.write(rows)
        writer.close(RunStatus(True, 0, 1, counters=counters))
    found = open_run(tmp_path / "run.parquet").partials
    assert found is not None
    took = found.sums["max_ns"][found.exact].tolist()
    assert sorted(took) == [500, 505]
    assert {found.keys["event"][i] for i in found.exact.nonzero()[0]} == {"rare"}


def test_every_flag_and_bucket_has_room_in_a_key() -> None:
    bits = dict(summing.PARTS)
    assert max(Flag) < 1 << bits["flags"]
    assert int(bucket_of([(1 << 63) - 1])[0]) + 1 < 1 << bits["bucket"]
    assert sum(bits.values()) < 64


def test_a_run_that_was_rewritten_carries_them_too(
    tmp_path: Path, make_run: MakeRun, make_rows: MakeRows
) -> None:
    path = tmp_path / "run.parquet"
    make_run(path, [few_kinds(make_rows, seed) for seed in range(65)], compact.compact)
    assert pq.read_metadata(path).num_row_groups == 1
    assert kept(path) == rows_by_key(path)


def few_kinds(make_rows: MakeRows, seed: int) -> pa.Table:
    return having(make_rows(3, seed), "flags", [0, 1, 1 << 14])


def having(table: pa.Table, name: str, values: list[int] | list[str]) -> pa.Table:
    """The rows with other values in one column."""
    field = table.schema.field(name)
    array = pa.array(values).dictionary_encode() if name == "event" else pa.array(values)
    return table.set_column(table.schema.get_field_index(name), field, array.cast(field.type))


def test_a_run_without_rows_has_no_entries(tmp_path: Path, make_run: MakeRun) -> None:
    path = tmp_path / "run.parquet"
    make_run(path, [])
    assert kept(path) == []


def test_a_run_that_was_cut_short_has_none(tmp_path: Path, header: RunHeader, make_rows: MakeRows) -> None:
    path = tmp_path / "run.parquet"
    with RunWriter(path, header) as writer:
        writer.write(make_rows(10))
        writer.checkpoint(CHECKPOINT)
    assert open_run(path).partials is None


def test_with_too_many_kinds_of_rows_it_has_none(
    tmp_path: Path, make_run: MakeRun, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summing, "MAX_ENTRIES", 5)
    make_run(tmp_path / "run.parquet", [few_kinds(make_rows, seed) for seed in range(4)])
    run = open_run(tmp_path / "run.parquet")
    assert (run.partials, run.rows) == (None, 12)


@pytest.mark.parametrize("column", ["flags", "total_ns"])
def test_with_a_number_that_has_no_room_it_has_none(
    column: str, tmp_path: Path, make_run: MakeRun, make_rows: MakeRows
) -> None:
    value = 1 << (15 if column == "flags" else 62)
    make_run(tmp_path / "run.parquet", [having(few_kinds(make_rows, 1), column, [value] * 3)])
    assert open_run(tmp_path / "run.parquet").partials is None


def test_without_room_for_them_the_run_is_whole(
    tmp_path: Path, make_run: MakeRun, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pwrite(fd: int, data: Any, offset: int, write: Any = os.pwrite) -> int:
        if KEY_PARTIALS.encode() in bytes(data):
            raise OSError(28, "No space left on device")
        return int(write(fd, data, offset))

    monkeypatch.setattr(os, "pwrite", pwrite)
    make_run(tmp_path / "run.parquet", [few_kinds(make_rows, 1)])
    run = open_run(tmp_path / "run.parquet")
    assert (run.partials, run.rows, run.cut_short) == (None, 3, False)
    assert run.whole


def test_rows_that_cannot_be_read_back_leave_the_run_without(
    tmp_path: Path, make_run: MakeRun, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(fd: int, exact: frozenset[str]) -> str:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(summing, "of_file", fail)
    make_run(tmp_path / "run.parquet", [make_rows(10)])
    run = open_run(tmp_path / "run.parquet")
    assert (run.partials, run.rows, run.cut_short) == (None, 10, False)


def test_what_was_written_is_read() -> None:
    found = partials.read(json.dumps(GOOD))
    assert found.keys["parent"] == [None, "alloc"]
    assert found.bucket.tolist() == [3, -1]
    assert found.sums["sum_pfn"].tolist() == [2**64 - 1, 0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stacks", None), ("stacks", -1), ("bucket", [1000, 1]), ("unknown", [32, 0]),
        ("flags", [1 << 15, 0]), ("order", [0.5, 1]), ("nid", [True, 1]),
        ("parent", [1, None]), ("event", [None, "alloc"]), ("exact", [2, 0]),
        ("event", ["x" * 300, "alloc"]), ("rows", [1]), ("count", [-1, 1]), ("bytes", ["8192", 1]),
        ("total_ns", [1 << 63, 1]), ("self_ns", [[1], 1]), ("max_ns", {}), ("sum_pfn", [1 << 64, 0]),
        ("rows", [1] * 20_001),
    ],
)  # fmt: skip
def test_what_no_recorder_writes_is_refused(name: str, value: object) -> None:
    with pytest.raises(Refused, match="partial aggregates"):
        partials.read(json.dumps(GOOD | {name: value}))


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, "null", '{"stacks": NaN}'])
def test_what_is_no_document_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="partial aggregates"):
        partials.read(text)


def test_a_run_with_such_a_document_is_refused_in_a_sentence(
    tmp_path: Path, make_run: MakeRun, make_rows: MakeRows
) -> None:
    path = tmp_path / "run.parquet"
    make_run(path, [make_rows(5)])
    about = dict(pq.read_metadata(path).metadata)
    about[KEY_PARTIALS.encode()] = json.dumps(GOOD | {"count": [-5, 1]}).encode()
    table = pq.read_table(path).replace_schema_metadata(about)
    pq.write_table(table, tmp_path / "other.parquet")
    with pytest.raises(MemtraceError, match="count out of its range; memtrace does not write that"):
        _ = open_run(tmp_path / "other.parquet").partials
