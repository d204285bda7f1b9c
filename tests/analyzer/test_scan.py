# SPDX-License-Identifier: Apache-2.0
"""The scan: its sums, its buckets, and what it does about nulls."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest

from memtrace.analyzer import nulls, scan
from memtrace.analyzer.cells import cells
from memtrace.analyzer.keys import DEFAULT, KEYS
from memtrace.analyzer.ledger import Ledger, settle_run
from memtrace.analyzer.partials import NO_BUCKET, Partials, merged
from memtrace.analyzer.zero.accounts import timed_events
from memtrace.errors import MemtraceError
from memtrace.tests.analyzer.recorded import Case, Row, aggregated, counters, header, status, streamed
from memtrace.traces.histogram import BUCKETS, TOP_BIT, bucket_of
from memtrace.traces.partials import Unknown
from memtrace.traces.reader import Run, open_run
from memtrace.traces.schema import Flag

PartialsOf = Callable[..., Partials]
QUANTITIES = {
    "count": Unknown.COUNT,
    "bytes": Unknown.BYTES,
    "total_ns": Unknown.TOTAL,
    "self_ns": Unknown.SELF,
}


def edges() -> list[int]:
    """Durations at and beside every edge of a bucket, and far beyond the last."""
    values = {0, 1, 15, 16, 31, 32, (1 << 62) - 1}
    for bit in range(4, 62):
        for part in range(16):
            edge = (1 << bit) + part * (1 << (bit - 4))
            values |= {edge - 1, edge, edge + 1}
    return sorted(v for v in values if v < 1 << 62)


def any_rows(seed: int, count: int = 3000) -> list[Row]:
    """Rows of all kinds, with every quantity unknown now and then."""
    rng = np.random.default_rng(seed)

    def maybe(value: int) -> int | None:
        return None if rng.random() < 0.15 else value

    rows = []
    for _ in range(count):
        took = int(rng.lognormal(6, 2))
        many = int(rng.integers(1, 1000))
        columns = {
            "count": maybe(many),
            "bytes": maybe(many * 4096),
            "total_ns": maybe(many * took),
            "self_ns": maybe(took),
            "dur_ns": maybe(took),
            "pfn": maybe(int(rng.integers(0, 1 << 40))),
            "order": maybe(int(rng.integers(0, 3))),
            "nid": maybe(int(rng.integers(0, 2))),
            "flags": int(rng.choice([0, 1, int(Flag.AGGREGATED), int(Flag.ESTIMATED)])),
        }
        rows.append(streamed(str(rng.choice(["alloc", "zero.alloc"])), **columns))
    return rows


def expected(rows: list[Row]) -> dict[tuple[Any, ...], list[int]]:
    """The partial aggregates in plain Python: rows, sums, and the sum of pfn."""
    sums: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * 6)
    for row in rows:
        unknown = sum(
            int(Unknown[name.removesuffix("_ns").upper()]) for name in QUANTITIES if row[name] is None
        )
        unknown |= int(Unknown.PFN) if row["pfn"] is None else 0
        bucket = NO_BUCKET if row["dur_ns"] is None else int(bucket_of(row["dur_ns"]))
        key = (row["event"], row["order"], row["nid"], row["flags"], unknown, bucket)
        for i, value in enumerate([1, *(row[name] or 0 for name in QUANTITIES), row["pfn"] or 0]):
            sums[key][i] += value
    return dict(sums)


def found(partials: Partials) -> dict[tuple[Any, ...], list[int]]:
    assert partials.sum_pfn is not None
    keys = zip(
        *(partials.keys[key.output] for key in DEFAULT),
        partials.flags.tolist(),
        partials.unknown.tolist(),
        partials.bucket.tolist(),
        strict=True,
    )
    arrays = (partials.rows, *(getattr(partials, name) for name in QUANTITIES), partials.sum_pfn)
    sums: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * 6)
    for key, *values in zip(keys, *(a.tolist() for a in arrays), strict=True):
        sums[key] = [(a + b) % (1 << 64) for a, b in zip(sums[key], values, strict=True)]
    return dict(sums)


@pytest.mark.parametrize("seed", range(3))
def test_sums_are_exact_whatever_is_unknown(seed: int, partials_of: PartialsOf) -> None:
    rows = any_rows(seed)
    assert found(partials_of(rows, with_pfn=True)) == expected(rows)


def test_sums_are_exact_where_all_is_known(partials_of: PartialsOf) -> None:
    rows = [row for row in any_rows(9) if all(row[name] is not None for name in (*QUANTITIES, "pfn"))]
    assert found(partials_of(rows, with_pfn=True)) == expected(rows)


@pytest.mark.parametrize("last", [1, 2, None])
def test_sums_are_exact_where_each_row_is_one_occurrence_or_all_but_the_last(
    last: int | None, partials_of: PartialsOf
) -> None:
    rows = [row | {"count": 1} for row in any_rows(4)]
    rows[-1]["count"] = last
    assert found(partials_of(rows, with_pfn=True)) == expected(rows)


@pytest.mark.parametrize("careful", [False, True], ids=["quick", "careful"])
def test_buckets_are_those_of_the_histogram(careful: bool, partials_of: PartialsOf) -> None:
    values = edges() + ([-1, -(1 << 62)] if careful else [])
    rows = [streamed(dur=value, total_ns=0, self_ns=0, pid=i) for i, value in enumerate(values)]
    partials = partials_of(rows, [KEYS["pid"]])
    by_pid = dict(zip(partials.keys["pid"], partials.bucket.tolist(), strict=True))
    assert [by_pid[i] for i in range(len(values))] == bucket_of(np.maximum(values, 0)).tolist()


def test_durations_of_few_rows_are_kept_one_by_one_and_of_many_by_bucket(
    partials_of: PartialsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [streamed(dur=1000 + i) for i in range(16)] + [aggregated("alloc", 5, 1000)]
    few = partials_of(rows)
    assert sorted(few.max_ns[few.alike].tolist()) == [1000 + i for i in range(16)]
    assert len(few) == 17, "and one for the sum"
    monkeypatch.setattr("memtrace.traces.partials.EXACT_ROWS", 10)
    many = partials_of(rows)
    assert sorted(many.max_ns.tolist()) == [992, 1015] and not many.alike.any()


def test_rare_events_are_exact_beside_frequent_ones(
    run_of: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [streamed("accept.call", None, 5000 + i) for i in range(9)]
    rows += [streamed("alloc", dur=1000 + i) for i in range(16)]
    told = status(rows=len(rows), counters=counters(rows, "accept.call", "alloc"))
    monkeypatch.setattr("memtrace.traces.partials.EXACT_ROWS", 10)
    run = run_of(Case(rows, header("accept.call", "alloc"), told))
    with scan.connect(run) as connection:
        for found in (
            scan.partials(run, [KEYS["event"]], connection),
            scan.scanned(run, [KEYS["event"]], connection),
        ):
            alike = dict.fromkeys(found.keys["event"], 0)
            for event, one in zip(found.keys["event"], found.alike.tolist(), strict=True):
                alike[event] += one
            assert alike == {"accept.call": 9, "alloc": 0}


def test_what_is_longer_than_the_last_bucket_is_in_it(partials_of: PartialsOf) -> None:
    partials = partials_of([streamed(dur=1 << TOP_BIT), streamed(dur=1 << 61)])
    assert set(partials.bucket.tolist()) == {BUCKETS - 1}
    assert partials.count.sum() == 2


def test_a_sum_of_pfn_beyond_64_bits_wraps(partials_of: PartialsOf) -> None:
    big, rows = 1 << 52, 5000
    partials = partials_of([streamed(dur=1, pfn=big)] * rows, with_pfn=True)
    assert partials.sum_pfn is not None
    assert partials.sum_pfn.tolist() == [rows * big % (1 << 64)]


def test_without_durations_there_are_no_buckets(partials_of: PartialsOf) -> None:
    partials = partials_of("streamed", with_durations=False)
    assert set(partials.bucket.tolist()) == {NO_BUCKET}
    assert partials.count.sum() == 126


@pytest.mark.parametrize("seed", range(3))
def test_parts_merge_to_the_whole(seed: int, partials_of: PartialsOf) -> None:
    rows = any_rows(seed)
    whole = partials_of(rows, with_pfn=True)
    parts = merged([partials_of(rows[i::4], with_pfn=True) for i in range(4)])
    names = ["event", "order", "nid"]
    assert cells(parts, names) == cells(whole, names)
    assert cells(parts, ["event"]) == cells(whole, ["event"])


def test_columns_the_file_does_not_have_are_unknown(tmp_path: Path, run_of: Callable[..., Run]) -> None:
    run = run_of("streamed")
    older = tmp_path / "older.parquet"
    table = pq.read_table(run.path).drop_columns(["self_ns", "parent", "pfn"])
    pq.write_table(table.replace_schema_metadata(pq.read_metadata(run.path).metadata), older)
    with open_run(older) as run, scan.connect(run) as connection:
        partials = scan.partials(run, [KEYS["event"], KEYS["parent"]], connection, with_pfn=True)
    assert set(partials.keys["parent"]) == {None}
    assert not partials.known(Unknown.SELF).any() and not partials.known(Unknown.PFN).any()
    assert partials.known(Unknown.TOTAL).all() and partials.count.sum() == 126


def test_an_empty_run_has_no_partials(partials_of: PartialsOf) -> None:
    assert len(partials_of("empty", with_pfn=True)) == 0


def test_a_damaged_file_is_a_sentence(run_of: Callable[..., Run]) -> None:
    case = Case([streamed(dur=i, pfn=i * i) for i in range(5000)], header("alloc"), status())
    run = run_of(case)
    data = bytearray(run.path.read_bytes())
    data[200 : len(data) // 2] = bytes(len(data) // 2 - 200)
    run.path.write_bytes(data)
    with pytest.raises(MemtraceError, match="is damaged"), scan.connect(run) as connection:
        scan.partials(run, DEFAULT, connection)


def test_too_many_groups_is_a_sentence(run_of: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of("streamed")

    def full(*_: object, **__: object) -> None:
        raise duckdb.OutOfMemoryException("failed to allocate")

    monkeypatch.setattr(scan, "_scan", full)
    with pytest.raises(MemtraceError, match="give --by fewer keys"), scan.connect(run) as connection:
        scan.partials(run, DEFAULT, connection)


def test_nothing_is_left_in_the_temporary_folder(
    run_of: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spill = tmp_path / "spill"
    spill.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(spill))
    run = run_of("streamed")
    with scan.connect(run) as connection:
        assert list(spill.iterdir())
        scan.partials(run, DEFAULT, connection)
    assert not list(spill.iterdir())


@pytest.mark.parametrize("column", ["dur_ns", "self_ns", "pfn"])
def test_a_column_that_only_begins_with_nulls_is_read(column: str, partials_of: PartialsOf) -> None:
    rows = [streamed(dur=5, pfn=i) | {column: None} for i in range(nulls._HEAD + 1)]
    rows += [streamed(dur=5, pfn=i) for i in range(3)]
    assert found(partials_of(rows, with_pfn=True)) == expected(rows)


def test_too_many_groups_are_refused(partials_of: PartialsOf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "MAX_GROUPS", 10)
    rows = [streamed(dur=1, pid=i) for i in range(11)]
    with pytest.raises(scan.TooManyGroupsError, match="grouped by pid there are more than 10 groups"):
        partials_of(rows, [KEYS["pid"]])
    assert len(partials_of(rows[:10], [KEYS["pid"]])) == 10


def test_names_of_events_are_no_sql(run_of: Callable[..., Run]) -> None:
    names = ["alloc", "it's", "x' OR 1=1 THEN 7 --", "\\", "{0}", "é\n"]
    rows = [
        streamed(dur=5, pfn=i) | {"event": name, "ts_ns": 10**9 + 100 * i} for i, name in enumerate(names)
    ]
    run = run_of(Case(rows, header("alloc"), status()))
    with scan.connect(run) as connection:
        found = list(settle_run(run, Ledger([]), sorted(names), connection))
        assert timed_events(run, connection) == sorted(names)
    numbers = [n for settled in found for n in settled.event.tolist()]
    assert sorted(numbers) == list(range(len(names)))
