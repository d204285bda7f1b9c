# SPDX-License-Identifier: Apache-2.0
"""Reading and zeroing a module's BPF maps, as numpy arrays."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from memtrace.errors import MemtraceError
from memtrace.probes.programs import libbpf
from memtrace.probes.programs.module import Module

_BATCH = 4096


def percpu(module: Module, name: str, index: int, dtype: np.dtype[Any], cpus: int) -> npt.NDArray[Any]:
    """Return one element of a per-CPU array, of shape (cpus,).

    Raises MemtraceError if the map cannot be read.
    """
    values = np.zeros(cpus, dtype=dtype)
    with _sentence(name, "read"):
        libbpf.lookup(module.map_fd(name), ctypes.c_uint32(index), _place(values))
    return values


def element(module: Module, name: str, key: int, dtype: np.dtype[Any]) -> npt.NDArray[Any] | None:
    """Return the element of a map with this 32-bit key, of shape (1,); None if there is none."""
    value = np.zeros(1, dtype=dtype)
    with _sentence(name, "read"):
        try:
            libbpf.lookup(module.map_fd(name), ctypes.c_uint32(key), _place(value))
        except FileNotFoundError:
            return None
    return value


def hash_items(
    module: Module, name: str, key: np.dtype[Any], value: np.dtype[Any]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return keys and values of a hash, each of shape (elements,), read in batches (Linux 5.6 on).

    An element that is added meanwhile may or may not be included, as in any walk of a map in use.
    Raises MemtraceError if the map cannot be read.
    """
    keys, values = np.zeros(_BATCH, dtype=key), np.zeros(_BATCH, dtype=value)
    found: list[tuple[npt.NDArray[Any], npt.NDArray[Any]]] = []
    position, here = ctypes.c_uint32(), None
    while True:
        count, last = ctypes.c_uint32(_BATCH), False
        with _sentence(name, "read"):
            try:
                libbpf.lookup_batch(module.map_fd(name), here, position, _place(keys), _place(values), count)
            except FileNotFoundError:
                last = True
        found.append((keys[: count.value].copy(), values[: count.value].copy()))
        if last:
            return np.concatenate([k for k, _ in found]), np.concatenate([v for _, v in found])
        here = position


def clear_percpu(module: Module, name: str, elements: int, dtype: np.dtype[Any], cpus: int) -> None:
    """Zero every element of a per-CPU array on every CPU; raises MemtraceError if it cannot be written."""
    zeros = np.zeros(cpus, dtype=dtype)
    with _sentence(name, "written"):
        for index in range(elements):
            libbpf.update(module.map_fd(name), ctypes.c_uint32(index), _place(zeros))


def clear_hash(module: Module, name: str) -> None:
    """Remove every element of a hash that no program writes meanwhile.

    Raises MemtraceError if it cannot be read or written.
    """
    spec = module.map_spec(name)
    keys, _ = hash_items(
        module, name, np.dtype((np.void, spec.key_bytes)), np.dtype((np.void, spec.value_bytes))
    )
    with _sentence(name, "written"):
        for at in range(len(keys)):
            libbpf.delete(module.map_fd(name), _place(keys[at : at + 1]))


@contextlib.contextmanager
def _sentence(name: str, done: str) -> Iterator[None]:
    """Turn an OSError of a call into a sentence that names the map."""
    try:
        yield
    except OSError as error:
        raise MemtraceError(f"map {name} can't be {done} ({error.strerror})") from error


def _place(array: npt.NDArray[Any]) -> Any:
    """Return the bytes of an array as a ctypes object."""
    return (ctypes.c_uint8 * array.nbytes).from_address(array.ctypes.data)
