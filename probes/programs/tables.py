# SPDX-License-Identifier: Apache-2.0
"""Reading and zeroing a module's BPF maps, as numpy arrays."""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Any

import numpy as np
import numpy.typing as npt

from memtrace.errors import MemtraceError
from memtrace.probes.programs.module import Module

_BATCH = 4096


def percpu(module: Module, name: str, index: int, dtype: np.dtype[Any], cpus: int) -> npt.NDArray[Any]:
    """Return one element of a per-CPU array, of shape (cpus,).

    Raises MemtraceError if the map cannot be read.
    """
    from bcc import lib

    values = np.zeros(cpus, dtype=dtype)
    key, place = ctypes.c_uint32(index), values.ctypes.data_as(ctypes.c_void_p)
    ctypes.set_errno(0)
    if lib.bpf_lookup_elem(module.map_fd(name), ctypes.byref(key), place) != 0:
        raise MemtraceError(f"map {name} can't be read ({os.strerror(ctypes.get_errno())})")
    return values


def hash_items(
    module: Module, name: str, key: np.dtype[Any], value: np.dtype[Any]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return keys and values of a hash, each of shape (elements,), read in batches (Linux 5.6 on).

    An element that is added meanwhile may or may not be included, as in any walk of a map in use.
    Raises MemtraceError if the map cannot be read.
    """
    from bcc import lib

    keys, values = np.zeros(_BATCH, dtype=key), np.zeros(_BATCH, dtype=value)
    found: list[tuple[npt.NDArray[Any], npt.NDArray[Any]]] = []
    position, here = ctypes.c_uint32(), None
    while True:
        count = ctypes.c_uint32(_BATCH)
        ctypes.set_errno(0)
        places = (array.ctypes.data_as(ctypes.c_void_p) for array in (keys, values))
        failed = lib.bpf_lookup_batch(
            module.map_fd(name), here, ctypes.byref(position), *places, ctypes.byref(count)
        )
        code = ctypes.get_errno() if failed else 0
        if code not in (0, errno.ENOENT):
            raise MemtraceError(f"map {name} can't be read ({os.strerror(code)})")
        found.append((keys[: count.value].copy(), values[: count.value].copy()))
        if failed:
            return np.concatenate([k for k, _ in found]), np.concatenate([v for _, v in found])
        here = ctypes.byref(position)


def clear_percpu(module: Module, name: str, elements: int, dtype: np.dtype[Any], cpus: int) -> None:
    """Zero every element of a per-CPU array on every CPU; raises MemtraceError if it cannot be written."""
    from bcc import lib

    zeros = np.zeros(cpus, dtype=dtype)
    for index in range(elements):
        key = ctypes.c_uint32(index)
        data = zeros.ctypes.data_as(ctypes.c_void_p)
        if lib.bpf_update_elem(module.map_fd(name), ctypes.byref(key), data, 0) != 0:
            raise MemtraceError(f"map {name} can't be written ({os.strerror(ctypes.get_errno())})")
