# SPDX-License-Identifier: Apache-2.0
"""One BPF module: compiled with our own stub headers, attached piece by piece.

BCC compiles.  Attaching is done here, because the kernel may refuse a program that is
tried, and the reason for the refusal is part of the answer.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from memtrace.errors import MemtraceError
from memtrace.probes.programs.refusal import RefusedError, tried

_PROBES = Path(__file__).parents[1]
_STUB_HEADERS = _PROBES / "bpf" / "stub"
# BCC optimises clang's output itself (BPFModule::run_pass_manager): doing it twice only takes time.
_FLAGS = ("-w", "-Xclang", "-disable-llvm-passes")
_HEADERS = ("common.h", "aggregate.h", "tasks.h", "emit.h", "nest.h", "call.h")

# These expand once more than BCC's own macros, so that the function's name may be a -D macro.
_BEGINNING = """#include <uapi/linux/ptrace.h>
#define MT_FENTRY(fn, ...) KFUNC_PROBE(fn, __VA_ARGS__)
#define MT_FEXIT(fn, ...) KRETFUNC_PROBE(fn, __VA_ARGS__)
"""

_PERF_TYPE_SOFTWARE, _PERF_COUNT_SW_CPU_CLOCK = 1, 0
_PERF_TYPE_TRACEPOINT = 2
_BPF_MAP_TYPE_RINGBUF = 27
_PERF_ATTR_SIZE_VER5 = 112
_SYS_PERF_EVENT_OPEN = 298  # x86-64
_PERF_EVENT_IOC_ENABLE, _PERF_EVENT_IOC_SET_BPF = 0x2400, 0x40042408


def source(names: tuple[str, ...], declarations: str) -> str:
    """Return the module's C: ``declarations``, the shared headers, each file's programs.

    A name in ``names`` is like ``topics/alloc``.
    """
    files = [*(f"bpf/{name}" for name in _HEADERS), *(f"{name}.bpf.c" for name in names)]
    return "\n".join([_BEGINNING, declarations, *((_PROBES / name).read_text() for name in files)])


class Module:
    """A compiled BPF module, and the probes attached from it."""

    def __init__(self, text: str, macros: dict[str, str]) -> None:
        """Compile ``text``; raises MemtraceError with the compiler's error."""
        from bcc import BPF, lib

        class Quiet(BPF):  # type: ignore[misc]
            def _trace_autoload(self) -> None:
                """Attach nothing by name: the ladder tries the sites in order."""

        flags = [*_FLAGS, *(f"-D{name}={value}" for name, value in sorted(macros.items()))]
        self._macros = macros
        self._lib: Any = lib
        self._kprobe_fds: list[int] = []
        self._owned_fds: list[int] = []
        self.hooked: set[str] = set()
        """Names of functions that must not be hooked again."""
        try:
            with _environment("BCC_KERNEL_SOURCE", str(_STUB_HEADERS)):
                self._bpf: Any = tried(lambda: Quiet(text=text.encode(), cflags=flags))
        except RefusedError as error:
            raise MemtraceError(
                f"the BPF programs did not compile ({error.detail}): "
                "please report this with the output of `memtrace doctor`"
            ) from error

    def number(self, macro: str) -> int:
        """Return the value of ``macro``, a number passed to these programs with -D."""
        return int(self._macros[macro])

    def map_fd(self, name: str) -> int:
        """Return the file descriptor of a map."""
        return int(self._bpf[name.encode()].map_fd)

    def table(self, name: str) -> Any:
        """Return BCC's view of a map."""
        return self._bpf[name.encode()]

    @property
    def program_fds(self) -> tuple[int, ...]:
        """File descriptors of all loaded programs."""
        return tuple(int(f.fd) for f in self._bpf.funcs.values())

    def attach_fentry(self, function: str, *, entry: bool = True, exit_: bool = True) -> None:
        """Attach fentry and fexit to ``function``: both or neither, unless only one is asked for.

        A function that is hooked already is left as it is.  Raises RefusedError.
        """
        bpf = self._bpf
        if function in self.hooked:
            return
        # The prefix depends on BCC's version (kfunc__, kfunc__vmlinux__): go by what it compiled.
        if exit_:
            exit_name = self._program("kretfunc__", function)
        if entry:
            entry_name = self._program("kfunc__", function)
        if exit_:
            tried(lambda: bpf.attach_kretfunc(fn_name=exit_name))
        if entry:
            try:
                tried(lambda: bpf.attach_kfunc(fn_name=entry_name))
            except RefusedError:
                if exit_:
                    bpf.detach_kretfunc(fn_name=exit_name)
                raise
        self.hooked.add(function)

    def has_fentry(self, function: str) -> bool:
        """Return whether a program for the entry of ``function`` was compiled."""
        try:
            self._program("kfunc__", function)
        except RefusedError:
            return False
        return True

    def _program(self, prefix: str, suffix: str) -> bytes:
        names = [
            bytes(self._lib.bpf_function_name(self._bpf.module, i))
            for i in range(self._lib.bpf_num_functions(self._bpf.module))
        ]
        wanted = [n for n in names if n.startswith(prefix.encode()) and n.endswith(b"__" + suffix.encode())]
        if not wanted:
            raise RefusedError("failed", f"BCC compiled no {prefix}{suffix}")
        # The program of a function __f ends in "__f" too, and is longer than that of f.
        return min(wanted, key=len)

    def attach_kprobe(self, function: str, program: str, offset: int = 0) -> None:
        """Attach a kprobe at ``function + offset``; raises RefusedError."""
        self._attach_kprobe(0, function, program, offset)

    def attach_kretprobe(self, function: str, program: str) -> None:
        """Attach a kretprobe to ``function``; raises RefusedError."""
        self._attach_kprobe(1, function, program, 0)

    def attach_rawtp(self, tracepoint: str, program: str) -> None:
        """Attach to a raw tracepoint; raises RefusedError."""
        tried(lambda: self._bpf.attach_raw_tracepoint(tp=tracepoint.encode(), fn_name=program.encode()))

    def detach_rawtp(self, tracepoint: str) -> None:
        """Undo attach_rawtp()."""
        self._bpf.detach_raw_tracepoint(tp=tracepoint.encode())

    def attach_tracepoint_id(self, number: int, program: str) -> int:
        """Attach to a tracepoint by its number in tracefs; raises RefusedError.

        Returns the file descriptor of the perf event, which the caller closes.
        """

        def attach() -> int:
            loaded = self._bpf.load_func(program.encode(), self._bpf.TRACEPOINT)
            fd = _perf_event_open(_PERF_TYPE_TRACEPOINT, number)
            fcntl.ioctl(fd, _PERF_EVENT_IOC_SET_BPF, loaded.fd)
            fcntl.ioctl(fd, _PERF_EVENT_IOC_ENABLE, 0)
            return fd

        return tried(attach)

    def attach_cpu_clock(self, program: str, frequency: int) -> None:
        """Sample every online CPU's clock ``frequency`` times a second; raises RefusedError."""
        tried(
            lambda: self._bpf.attach_perf_event(
                ev_type=_PERF_TYPE_SOFTWARE,
                ev_config=_PERF_COUNT_SW_CPU_CLOCK,
                fn_name=program.encode(),
                sample_freq=frequency,
            )
        )

    def add_ring(self, cpu: int, size: int) -> int:
        """Make a ring buffer of ``size`` bytes for one CPU and return its file descriptor.

        Raises MemtraceError if it cannot be made or installed.
        """
        fd = int(self._lib.bcc_create_map(_BPF_MAP_TYPE_RINGBUF, f"mt_ring{cpu}".encode(), 0, 0, size, 0))
        if fd < 0:
            reason = os.strerror(ctypes.get_errno())
            raise MemtraceError(
                f"could not make a ring of {size >> 10} KiB for CPU {cpu} ({reason}): "
                "choose a smaller --ring-size"
            )
        self._owned_fds.append(fd)
        key, value = ctypes.c_uint32(cpu), ctypes.c_uint32(fd)
        outer = self.map_fd("mt_rings")
        if self._lib.bpf_update_elem(outer, ctypes.byref(key), ctypes.byref(value), 0) != 0:
            raise MemtraceError(f"could not install the ring of CPU {cpu}: {os.strerror(ctypes.get_errno())}")
        return fd

    def update(self, name: str, key: ctypes._SimpleCData[Any], value: Any) -> None:
        """Set one element of a map; raises MemtraceError."""
        fd = self.map_fd(name)
        if self._lib.bpf_update_elem(fd, ctypes.byref(key), ctypes.byref(value), 0) != 0:
            raise MemtraceError(f"map {name}: {os.strerror(ctypes.get_errno())}")

    def detach(self) -> None:
        """Detach every probe; the maps stay readable.

        The perf events of attach_tracepoint_id() are left to the caller.
        """
        bpf = self._bpf
        for fd in self._kprobe_fds:
            self._lib.bpf_close_perf_event_fd(fd)
        self._kprobe_fds.clear()
        for name in list(bpf.raw_tracepoint_fds):
            bpf.detach_raw_tracepoint(name)
        for name in list(bpf.kfunc_entry_fds):
            bpf.detach_kfunc(name)
        for name in list(bpf.kfunc_exit_fds):
            bpf.detach_kretfunc(name)
        for kind, config in list(bpf.open_perf_events):
            bpf.detach_perf_event(kind, config)

    def close(self) -> None:
        """Detach, and free the programs and maps."""
        self.detach()
        for fd in self._owned_fds:
            os.close(fd)
        self._owned_fds.clear()
        self._bpf.cleanup()

    def _attach_kprobe(self, returns: int, function: str, program: str, offset: int) -> None:
        def attach() -> int:
            loaded = self._bpf.load_func(program.encode(), self._bpf.KPROBE)
            name = f"memtrace_{os.getpid()}_{len(self._kprobe_fds)}".encode()
            fd = int(self._lib.bpf_attach_kprobe(loaded.fd, returns, name, function.encode(), offset, 0))
            if fd < 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            return fd

        self._kprobe_fds.append(tried(attach))


def _perf_event_open(kind: int, config: int) -> int:
    """Call perf_event_open(2) for all tasks on CPU 0 and return the file descriptor; raises OSError.

    libbcc's own wrapper refuses tracepoints.
    """
    attribute = struct.pack("<IIQQ", kind, _PERF_ATTR_SIZE_VER5, config, 1).ljust(_PERF_ATTR_SIZE_VER5, b"\0")
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(_SYS_PERF_EVENT_OPEN, attribute, -1, 0, -1, 0)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "perf_event_open")
    return int(fd)


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
