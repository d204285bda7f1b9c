# SPDX-License-Identifier: Apache-2.0
"""The tables have room for what a machine runs, each kind in a hundredth of its memory."""

from __future__ import annotations

import threading

import pytest

from memtrace.probes.recorder.contexts import contexts, keys, tasks_now

GIB = 1 << 30


@pytest.mark.parametrize(
    ("memory", "tasks", "places"),
    [
        (24 * GIB, 300, 24_576),
        (1024 * GIB, 100_000, 200_000),
        (4 * GIB, 25_000, 26_843),
        (2 * GIB, 100, 13_421),
        (GIB // 4, 100, 4096),
    ],
)
def test_places(memory: int, tasks: int, places: int) -> None:
    assert contexts(memory, tasks) == places


@pytest.mark.parametrize(
    ("memory", "cpus", "places"),
    [
        (24 * GIB, 2, 32_768),
        (1024 * GIB, 256, 262_144),
        (4 * GIB, 256, 167_772),
        (GIB // 2, 2, 20_971),
        (GIB // 32, 1, 4096),
    ],
)
def test_places_for_totals(memory: int, cpus: int, places: int) -> None:
    assert keys(memory, cpus) == places


def test_the_number_of_tasks_counts_a_thread_that_is_started() -> None:
    # The machine's other tasks come and go; a thousand threads stand out.
    before = tasks_now()
    stop = threading.Event()
    threads = [threading.Thread(target=stop.wait) for _ in range(1000)]
    try:
        for thread in threads:
            thread.start()
        assert before + 500 < tasks_now() < before + 1500
    finally:
        stop.set()
        for thread in threads:
            thread.join()
