# SPDX-License-Identifier: Apache-2.0
"""Compiled programs in the kernel: their maps made, the programs loaded as they are attached.

Attaching is done piece by piece, because the kernel may refuse what is tried, and the reason
for the refusal is part of the answer.  Neither BCC nor LLVM is needed here.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from memtrace.errors import MemtraceError
from memtrace.probes.programs import libbpf, perf
from memtrace.probes.programs.compiled import Compiled, MapSpec, linked
from memtrace.probes.programs.refusal import RefusedError, tried
from memtrace.probes.programs.values import Variant

KPROBE, TRACEPOINT, PERF_EVENT, RAW_TRACEPOINT, TRACING = 2, 5, 7, 17, 26
"""BPF_PROG_TYPE_*, include/uapi/linux/bpf.h."""
FENTRY, FEXIT = 24, 25
"""BPF_TRACE_FENTRY and BPF_TRACE_FEXIT."""
_MAP_RINGBUF = 27


@dataclass(frozen=True)
class Hook:
    """A program where it is attached."""

    event: str
    """What it serves; "" if no event."""
    program: str
    """Its name."""
    loaded: int
    """File descriptor of the program, which other hooks may have too."""
    fd: int
    """The one that keeps it attached."""
    kprobe: bool = False


class Module:
    """Maps and programs of one Compiled, and what is attached of them."""

    def __init__(
        self,
        compiled: Compiled,
        variant: Variant,
        entries: Mapping[str, int] | None = None,
    ) -> None:
        """Make the maps; ``entries`` has the number of elements of those that are sized to the machine.

        Raises MemtraceError if a map cannot be made.
        """
        self._compiled, self._variant = compiled, variant
        self._values = tuple(variant.values[name] for name in compiled.values)
        self._specs: dict[str, MapSpec] = {}
        self._map_fds: dict[str, int] = {}
        self._programs: dict[tuple[str, str], int] = {}
        self._attached: list[Hook] = []
        self._event = ""
        self._leaving: list[threading.Thread] = []
        self._more_fds: list[int] = []
        """Of rings and of what another() made."""
        self.hooked: set[str] = set()
        """Names of functions that must not be hooked again."""
        try:
            # A map of maps needs the one that its elements are like.
            for spec in sorted(compiled.sized(entries or {}), key=lambda spec: bool(spec.inner)):
                self._make(spec)
        except BaseException:
            self.close()
            raise

    def number(self, macro: str) -> int:
        """Return the value of ``macro``, a number that was compiled in."""
        return int(self._variant.macros[macro])

    def map_fd(self, name: str) -> int:
        """Return the file descriptor of a map."""
        return self._map_fds[name]

    def map_spec(self, name: str) -> MapSpec:
        """Return what a map was made as."""
        return self._specs[name]

    def another(self, name: str) -> int:
        """Return the file descriptor of one more map like ``name``, which closes with the module.

        Raises MemtraceError if it cannot be made.
        """
        fd = self._made(self._specs[name])
        self._more_fds.append(fd)
        return fd

    @property
    def hooks(self) -> tuple[Hook, ...]:
        """All that is attached."""
        return tuple(self._attached)

    @contextlib.contextmanager
    def serving(self, event: str) -> Iterator[None]:
        """Note of what is attached inside that it serves ``event``."""
        self._event = event
        try:
            yield
        finally:
            self._event = ""

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Detach all that is attached inside if it raises RefusedError, as if it had never been tried."""
        attached, hooked = len(self._attached), set(self.hooked)
        try:
            yield
        except RefusedError:
            while len(self._attached) > attached:
                os.close(self._attached.pop().fd)
            self.hooked = hooked
            raise

    def attach_fentry(self, function: str, *, entry: bool = True, exit_: bool = True) -> None:
        """Attach fentry and fexit to ``function``: both or neither, unless only one is asked for.

        A function that is hooked already is left as it is.  Raises RefusedError.
        """
        if function in self.hooked:
            return
        stem = self._variant.fentry.get(function, "")
        with self.transaction():
            if exit_:
                self._trace(f"{stem}_fexit", function, FEXIT)
            if entry:
                self._trace(f"{stem}_fentry", function, FENTRY)
        self.hooked.add(function)

    def has_fentry(self, function: str) -> bool:
        """Return whether a program for the entry of ``function`` was compiled."""
        return self._compiled.program(f"{self._variant.fentry.get(function, '')}_fentry") is not None

    def attach_kprobe(self, function: str, program: str, offset: int = 0) -> None:
        """Attach a kprobe at ``function + offset``; raises RefusedError."""
        self._attach_kprobe(function, program, offset, returns=False)

    def attach_kretprobe(self, function: str, program: str) -> None:
        """Attach a kretprobe to ``function``; raises RefusedError."""
        self._attach_kprobe(function, program, 0, returns=True)

    def attach_rawtp(self, tracepoint: str, program: str) -> None:
        """Attach to a raw tracepoint; raises RefusedError."""
        self._note(program, self._loaded(program, RAW_TRACEPOINT), self.open_rawtp(tracepoint, program))

    def open_rawtp(self, tracepoint: str, program: str) -> int:
        """Attach to a raw tracepoint until leave() is given what is returned; raises RefusedError."""
        loaded = self._loaded(program, RAW_TRACEPOINT)
        return tried(lambda: libbpf.open_raw_tracepoint(tracepoint, loaded))

    def open_tracepoint(self, number: int, program: str) -> int:
        """Attach to a tracepoint by its number in tracefs until leave(); raises RefusedError."""
        loaded = self._loaded(program, TRACEPOINT)
        return tried(lambda: perf.open_tracepoint(number, loaded))

    def attach_cpu_clock(self, program: str, frequency: int, cpus: Iterable[int]) -> None:
        """Sample the clock of each of ``cpus`` so many times a second: all or none; raises RefusedError."""
        loaded = self._loaded(program, PERF_EVENT)
        with self.transaction():
            for cpu in cpus:
                self._note(program, loaded, tried(partial(perf.open_cpu_clock, cpu, frequency, loaded)))

    def leave(self, *fds: int) -> None:
        """Detach what open_rawtp() and open_tracepoint() attached, in the background.

        The kernel waits for every CPU meanwhile; left() waits for that.
        """

        def close() -> None:
            for fd in fds:
                os.close(fd)

        self.background(close)

    def background(self, work: Callable[[], None]) -> threading.Thread:
        """Run ``work`` in a thread, which left() and close() wait for."""
        thread = threading.Thread(target=work)
        thread.start()
        self._leaving = [*(one for one in self._leaving if one.is_alive()), thread]
        return thread

    def left(self) -> None:
        """Return when all that runs in the background is done, such as detaching what leave() was given."""
        while self._leaving:
            self._leaving.pop().join()

    def add_rings(self, sizes: Mapping[int, int]) -> dict[int, int]:
        """Make a ring buffer for each CPU, of so many bytes; return their file descriptors by CPU.

        A ring that the CPU has already is no longer written, and stays readable.  Raises
        MemtraceError if one cannot be made or installed.
        """
        fds: dict[int, int] = {}
        for cpu, size in sizes.items():
            try:
                fds[cpu] = libbpf.create_map(_MAP_RINGBUF, f"mt_ring{cpu}", 0, 0, size, 0)
            except OSError as error:
                raise MemtraceError(
                    f"could not make a ring of {size >> 10} KiB for CPU {cpu} ({error.strerror}): "
                    "choose a smaller --ring-size"
                ) from error
            self._more_fds.append(fds[cpu])
        numbers = ctypes.c_uint32 * len(fds)
        try:
            # The kernel waits for all running programs once, and not after each element.
            libbpf.update_batch(self.map_fd("mt_rings"), numbers(*fds), numbers(*fds.values()), len(fds))
        except OSError:
            for cpu, fd in fds.items():
                self.update("mt_rings", ctypes.c_uint32(cpu), ctypes.c_uint32(fd))
        return fds

    def run(self, program: str) -> None:
        """Run a program of a raw tracepoint once, as this task; raises RefusedError."""
        loaded = self._loaded(program, RAW_TRACEPOINT)
        tried(lambda: libbpf.run_program(loaded))

    def update(self, name: str, key: Any, value: Any) -> None:
        """Set one element of a map, both as ctypes objects; raises MemtraceError."""
        try:
            libbpf.update(self.map_fd(name), key, value)
        except OSError as error:
            raise MemtraceError(f"map {name}: {error.strerror}") from error

    def detach(self) -> None:
        """Detach every probe; the maps stay readable."""
        self.left()
        for hook in self._attached:
            os.close(hook.fd)
        self._attached.clear()

    def close(self) -> None:
        """Detach, and free the programs and maps."""
        self.detach()
        for fd in (*self._programs.values(), *self._map_fds.values(), *self._more_fds):
            os.close(fd)
        self._programs.clear()
        self._more_fds.clear()
        self._map_fds.clear()

    def _make(self, spec: MapSpec) -> None:
        self._map_fds[spec.name] = self._made(spec)
        self._specs[spec.name] = spec

    def _made(self, spec: MapSpec) -> int:
        inner = self._map_fds[spec.inner] if spec.inner else 0
        try:
            return libbpf.create_map(
                spec.kind, spec.name, spec.key_bytes, spec.value_bytes, spec.entries, spec.flags, inner
            )
        except OSError as error:
            raise MemtraceError(f"map {spec.name} can't be made ({error.strerror})") from error

    def _trace(self, program: str, function: str, attach_type: int) -> None:
        loaded = self._loaded(program, TRACING, attach_type, function)
        self._note(program, loaded, tried(lambda: libbpf.open_raw_tracepoint(None, loaded)))

    def _attach_kprobe(self, function: str, program: str, offset: int, returns: bool) -> None:
        loaded = self._loaded(program, KPROBE)
        fd = tried(lambda: perf.open_kprobe(function, offset, returns, loaded))
        self._note(program, loaded, fd, kprobe=True)

    def _note(self, program: str, loaded: int, fd: int, kprobe: bool = False) -> None:
        self._attached.append(Hook(self._event, program, loaded, fd, kprobe))

    def _loaded(self, name: str, kind: int, attach_type: int = 0, function: str = "") -> int:
        """Return the descriptor of a program, which is loaded once for each function that it is for."""
        known = self._programs.get((name, function))
        if known is not None:
            return known
        program = self._compiled.program(name)
        if program is None:
            raise RefusedError("failed", f"no program {name} was compiled")

        def load() -> int:
            target = libbpf.function_id(function) if function else 0
            maps = tuple(self._map_fds[spec.name] for spec in self._compiled.maps)
            return libbpf.load_program(kind, name, linked(program, maps, self._values), attach_type, target)

        fd = self._programs[name, function] = tried(load)
        return fd
