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


Batch = tuple[npt.NDArray[Any], npt.NDArray[Any]]
"""Keys and values of elements of a hash, each of shape (elements,)."""


def hash_batches(
    module: Module,
    name: str,
    key: np.dtype[Any],
    value: np.dtype[Any],
    fd: int | None = None,
    take: bool = False,
) -> Iterator[Batch]:
    """Yield the elements of a hash in batches (Linux 5.6 on), each valid until the next is asked for.

    ``fd`` is that of another map like ``name`` to read instead (Module.another()); ``take``
    removes what is read.  An element that is added meanwhile may or may not be included, as in
    any walk of a map in use.  Raises MemtraceError if the map cannot be read or written.
    """
    if fd is None:
        fd = module.map_fd(name)
    keys, values = np.zeros(_BATCH, dtype=key), np.zeros(_BATCH, dtype=value)
    position, here, last = ctypes.c_uint32(), None, False
    while not last:
        count = ctypes.c_uint32(_BATCH)
        with _sentence(name, "emptied" if take else "read"):
            try:
                libbpf.lookup_batch(fd, here, position, _place(keys), _place(values), count, take)
            except FileNotFoundError:
                last = True
        if count.value:
            yield keys[: count.value], values[: count.value]
        here = position


def hash_items(module: Module, name: str, key: np.dtype[Any], value: np.dtype[Any]) -> Batch:
    """Return all elements of a hash, read as hash_batches() does; raises MemtraceError likewise."""
    batches = hash_batches(module, name, key, value)
    found = [(np.zeros(0, key), np.zeros(0, value)), *((k.copy(), v.copy()) for k, v in batches)]
    return np.concatenate([k for k, _ in found]), np.concatenate([v for _, v in found])


def clear_percpu(module: Module, name: str, elements: int, dtype: np.dtype[Any], cpus: int) -> None:
    """Zero every element of a per-CPU array on every CPU; raises MemtraceError if it cannot be written."""
    zeros = np.zeros(cpus, dtype=dtype)
    with _sentence(name, "written"):
        for index in range(elements):
            libbpf.update(module.map_fd(name), ctypes.c_uint32(index), _place(zeros))


def clear_hash(module: Module, name: str, fd: int | None = None) -> None:
    """Remove every element of a hash, or of ``fd`` that is like it, that no program writes meanwhile.

    Raises MemtraceError if it cannot be emptied.
    """
    spec = module.map_spec(name)
    key, value = (np.dtype((np.void, size)) for size in (spec.key_bytes, spec.value_bytes))
    for _ in hash_batches(module, name, key, value, fd, take=True):
        pass


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
