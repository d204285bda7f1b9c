# SPDX-License-Identifier: Apache-2.0
"""The rings of all CPUs together take at most a hundredth of memory, wherever that leaves them of use."""

import pytest

from memtrace.probes.recorder.buffers import default_ring_bytes, memory_bytes

MIB, GIB = 1 << 20, 1 << 30


@pytest.mark.parametrize(
    ("cpus", "memory", "ring", "summed"),
    [
        (2, 24 * GIB, 16 * MIB, 4 * MIB),
        (2, 2 * GIB, 8 * MIB, 4 * MIB),
        (2, 512 * MIB, 2 * MIB, 2 * MIB),
        (40, 4 * GIB, 1 * MIB, 1 * MIB),
        (128, 16 * GIB, 1 * MIB, 1 * MIB),
        (512, 1024 * GIB, 16 * MIB, 4 * MIB),
        (512, 64 * GIB, 1 * MIB, 1 * MIB),
    ],
)
def test_the_default_ring(cpus: int, memory: int, ring: int, summed: int) -> None:
    assert default_ring_bytes(cpus, memory, every=True) == ring
    assert default_ring_bytes(cpus, memory, every=False) == summed
    assert ring * cpus <= memory // 100


def test_a_ring_holds_a_thousand_records_however_small_the_machine() -> None:
    assert default_ring_bytes(512, GIB, every=True) == 128 << 10


def test_memory_is_what_the_kernel_says() -> None:
    with open("/proc/meminfo") as lines:
        kib = int(next(line for line in lines if line.startswith("MemTotal:")).split()[1])
    assert memory_bytes() == kib << 10
