# SPDX-License-Identifier: Apache-2.0
"""Differences of sums to rows: nothing counted twice, nothing dropped."""

from typing import Any

import numpy as np
import pytest

from memtrace.probes.recorder.folding import Folder
from memtrace.probes.recorder.ring import RECORD
from memtrace.traces.histogram import bucket_of, lower_edge
from memtrace.traces.schema import Flag

BUCKETS = 40
NIDS = 2


def cells(**put: tuple[int, int, int, int]) -> Any:
    return np.zeros((2, NIDS, 4, BUCKETS, 4), dtype=np.uint64)


def folder(**given: Any) -> Folder:
    settings: dict[str, Any] = {
        "page_size": 4096,
        "sites": {"alloc": "fentry:a", "zero.alloc": "callsite:z"},
        "infer_zeroing": False,
        "period_ns": None,
        "nids": NIDS,
    }
    return Folder(**(settings | given))


def test_an_aggregate_row_has_the_sums_and_its_bucket() -> None:
    now = cells()
    bucket = int(bucket_of([40])[0])
    now[0, 1, 1, bucket] = (5, 203, 190, 5)
    (row,) = folder().fold(99, now, None, 0)
    assert (row["event"], row["site"], row["nid"], row["order"]) == ("alloc", "fentry:a", 1, 0)
    assert (row["count"], row["total_ns"], row["self_ns"], row["bytes"]) == (5, 203, 190, 5 * 4096)
    assert row["dur_ns"] == lower_edge([bucket])[0]
    assert row["flags"] == int(Flag.AGGREGATED | Flag.ZEROED)
    assert row["ts_ns"] == 99


def test_only_what_came_since_the_last_fold_is_in_a_row() -> None:
    one = folder()
    now = cells()
    now[1, 0, 1, 3] = (10, 30, 30, 10)
    assert one.fold(1, now.copy(), None, 0)[0]["count"] == 10
    assert one.fold(2, now.copy(), None, 0) == []
    now[1, 0, 1, 3] = (12, 36, 36, 12)
    (row,) = one.fold(3, now, None, 0)
    assert (row["count"], row["total_ns"], row["parent"]) == (2, 6, "alloc")


def test_unknown_duration_is_null() -> None:
    now = cells()
    now[0, 0, 0, BUCKETS - 1] = (4, 0, 0, 4)
    (row,) = folder().fold(1, now, None, 0)
    assert (row["count"], row["dur_ns"], row["total_ns"], row["self_ns"]) == (4, None, None, None)


def test_zeroing_inferred_from_sums_and_from_streamed_allocations() -> None:
    one = folder(infer_zeroing=True, sites={"alloc": "rawtp:x", "zero.alloc": "inferred:gfp"})
    records = np.zeros(3, dtype=RECORD)
    records["flags"] = [int(Flag.ZEROED), 0, int(Flag.ZEROED)]
    records["order"] = [9, 9, 9]
    records["nid"] = [1, 1, -1]
    one.note_streamed(records)
    now = cells()
    now[0, 0, 1, BUCKETS - 1] = (7, 0, 0, 7)
    found = {
        (r["order"], r["nid"]): (r["count"], r["bytes"])
        for r in one.fold(1, now, None, 0)
        if r["event"] == "zero.alloc"
    }
    assert found == {(0, 0): (7, 7 * 4096), (9, 1): (1, 2 << 20), (9, None): (1, 2 << 20)}


def test_sampled_time_goes_to_its_order_and_node_once() -> None:
    one = folder(infer_zeroing=True, period_ns=1000.0)
    samples = np.zeros((NIDS, 20, 2, 2), dtype=np.uint64)
    samples[1, 9, 1] = (5, 3)
    rows = one.fold(1, cells(), samples, 4)
    by_event = {r["event"]: r for r in rows}
    assert by_event["alloc"]["total_ns"] == 5000
    assert by_event["alloc"]["self_ns"] == 2000
    assert by_event["alloc"].get("count") is None
    assert (by_event["zero.alloc"]["total_ns"], by_event["zero.alloc"]["order"]) == (3000, 9)
    assert by_event["zero.user"]["total_ns"] == 4000
    assert all(int(str(r["flags"])) & int(Flag.ESTIMATED) for r in rows)
    assert one.fold(2, cells(), samples, 4) == []


@pytest.mark.parametrize(("event", "setting"), [("alloc", "time_alloc"), ("zero.user", "time_user")])
def test_an_event_whose_own_times_are_seen_has_none_of_samples_besides(event: str, setting: str) -> None:
    one = folder(infer_zeroing=True, period_ns=1000.0, **{setting: False})
    samples = np.zeros((NIDS, 20, 2, 2), dtype=np.uint64)
    samples[1, 9, 1] = (5, 3)
    rows = {r["event"] for r in one.fold(1, cells(), samples, 4)}
    assert rows == {"alloc", "zero.alloc", "zero.user"} - {event}
