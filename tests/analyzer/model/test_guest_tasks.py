# SPDX-License-Identifier: Apache-2.0
"""The staged table ``guest_tasks``: which threads are of one VM, where a trace names none."""

from __future__ import annotations

from pathlib import Path

import pytest

from memtrace.tests.analyzer.model.traces import fault, imported, told


@pytest.mark.parametrize(
    ("threads", "tasks"),
    [
        # Thread and its vCPU: one VM, two VMs, and two VMs whose trace was made while one grew.
        ({10: 0, 11: 1}, {10: 10, 11: 10}),
        ({10: 0, 11: 1, 20: 0, 21: 1}, {10: 10, 11: 10, 20: 20, 21: 20}),
        ({10: 3, 20: 3}, {10: 10, 20: 20}),
        # Only some of the vCPUs faulted.
        ({10: 1, 12: 5, 20: 4}, {10: 10, 12: 10, 20: 20}),
        # No vCPU is named.
        ({10: None, 20: None}, {10: 10, 20: 10}),
    ],
)
def test_threads_by_the_numbers_of_their_vcpus(
    tmp_path: Path, threads: dict[int, int | None], tasks: dict[int, int]
) -> None:
    lines = [fault(n, 0x1000, tid=tid, vcpu=vcpu) for n, (tid, vcpu) in enumerate(threads.items(), 1)]
    with imported(tmp_path, lines) as run:
        assert dict(told(run, "guest_tasks", "tid", "task")) == tasks


def test_a_process_is_a_vm(tmp_path: Path) -> None:
    lines = [
        line.replace("  [", f"  ({pid:>7}) [")
        for pid, line in ((9, fault(1, 0, tid=10)), (9, fault(2, 0, tid=30)), (19, fault(3, 0, tid=20)))
    ]
    with imported(tmp_path, lines) as run:
        assert told(run, "guest_tasks", "pid", "tid", "task") == [(9, 10, 9), (9, 30, 9), (19, 20, 19)]
