# SPDX-License-Identifier: Apache-2.0
"""Maps of the running kernel are read whole or not at all: a failed read is never a zero."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator

import numpy as np
import pytest

from memtrace.errors import MemtraceError
from memtrace.probes.programs.compiler import compiled
from memtrace.probes.programs.module import Module
from memtrace.probes.programs.tables import (
    clear_hash,
    clear_percpu,
    element,
    hash_batches,
    hash_items,
    percpu,
)
from memtrace.probes.programs.values import variant

pytestmark = [pytest.mark.live, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

CPUS = os.cpu_count() or 1
U32, U64 = np.dtype("<u4"), np.dtype("<u8")
ELEMENTS = 4
MORE_THAN_A_BATCH = 5000


@pytest.fixture(scope="module")
def module() -> Iterator[Module]:
    text = f"BPF_PERCPU_ARRAY(sums, u64, {ELEMENTS}); BPF_HASH(kept, u32, u64, 8192);"
    made = Module(compiled(text, {}, (), "none"), variant({}))
    yield made
    made.close()


def test_each_cpu_has_its_own_value_and_clearing_zeroes_all(module: Module) -> None:
    module.update("sums", ctypes.c_uint32(2), (ctypes.c_uint64 * CPUS)(*range(7, 7 + CPUS)))
    assert list(percpu(module, "sums", 2, U64, CPUS)) == list(range(7, 7 + CPUS))
    clear_percpu(module, "sums", ELEMENTS, U64, CPUS)
    assert not percpu(module, "sums", 2, U64, CPUS).any()


def test_a_hash_is_read_whole_over_several_batches(module: Module) -> None:
    for key in range(MORE_THAN_A_BATCH):
        module.update("kept", ctypes.c_uint32(key), ctypes.c_uint64(3 * key))
    keys, values = hash_items(module, "kept", U32, U64)
    assert sorted(keys.tolist()) == list(range(MORE_THAN_A_BATCH))
    assert (values == 3 * keys.astype(U64)).all()
    assert element(module, "kept", 5, U64) == [15]
    assert element(module, "kept", MORE_THAN_A_BATCH, U64) is None
    clear_hash(module, "kept")
    assert len(hash_items(module, "kept", U32, U64)[0]) == 0


def test_batches_have_each_element_once_and_are_in_memory_one_at_a_time(module: Module) -> None:
    for key in range(MORE_THAN_A_BATCH):
        module.update("kept", ctypes.c_uint32(key), ctypes.c_uint64(3 * key))
    found, places = [], set()
    for keys, values in hash_batches(module, "kept", U32, U64, take=True):
        assert (values == 3 * keys.astype(U64)).all()
        found += keys.tolist()
        places |= {keys.ctypes.data, values.ctypes.data}
    assert sorted(found) == list(range(MORE_THAN_A_BATCH))
    assert len(places) == 2
    assert list(hash_batches(module, "kept", U32, U64)) == []


def test_a_batch_may_be_of_the_last_elements_and_no_other(module: Module) -> None:
    module.update("kept", ctypes.c_uint32(1), ctypes.c_uint64(1))
    ((keys, values),) = hash_batches(module, "kept", U32, U64, take=True)
    assert (keys.tolist(), values.tolist()) == ([1], [1])


def test_what_cannot_be_removed_is_an_error(module: Module) -> None:
    with pytest.raises(MemtraceError, match=r"map sums can't be emptied \("):
        clear_hash(module, "sums")


def test_an_element_that_is_not_there_is_an_error(module: Module) -> None:
    with pytest.raises(MemtraceError, match=r"map sums can't be read \(No such file or directory\)"):
        percpu(module, "sums", ELEMENTS, U64, CPUS)
    with pytest.raises(MemtraceError, match=r"map sums can't be written \(Argument list too long\)"):
        clear_percpu(module, "sums", ELEMENTS + 1, U64, CPUS)
