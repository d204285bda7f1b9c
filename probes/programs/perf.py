# SPDX-License-Identifier: Apache-2.0
"""Perf events that carry a BPF program: kprobes, tracepoints and the CPU clock.

perf_event_open(2) has no wrapper in the C library.  A kprobe of the PMU ``kprobe``
(kernel/events/core.c, Linux 4.17) leaves nothing in tracefs, and ends with its descriptor.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
from pathlib import Path

from memtrace.probes.programs import libbpf

_TYPE_SOFTWARE, _COUNT_SW_CPU_CLOCK = 1, 0
_TYPE_TRACEPOINT = 2
_SYS_PERF_EVENT_OPEN = 298  # x86-64
_IOC_SET_BPF = 0x40042408
_FLAG_FD_CLOEXEC = 8
_FREQ = 1 << 10
"""The bit ``freq`` of perf_event_attr."""
_KPROBE = Path("/sys/bus/event_source/devices/kprobe")


class _Attribute(ctypes.Structure):
    """struct perf_event_attr, version 5 (include/uapi/linux/perf_event.h)."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("config", ctypes.c_uint64),
        ("sample_period", ctypes.c_uint64),
        ("sample_type", ctypes.c_uint64),
        ("read_format", ctypes.c_uint64),
        ("bits", ctypes.c_uint64),
        ("wakeup_events", ctypes.c_uint32),
        ("bp_type", ctypes.c_uint32),
        ("config1", ctypes.c_uint64),
        ("config2", ctypes.c_uint64),
        ("rest", ctypes.c_uint8 * 40),
    )


def open_kprobe(function: str, offset: int, returns: bool, program: int) -> int:
    """Run a program at ``function + offset``, or at the function's return.

    Returns the descriptor of the link between both, by which the kernel tells what it missed; of the
    event where there are no such links (before 5.15).
    """
    name = ctypes.create_string_buffer(function.encode())
    attribute = _Attribute(
        type=int((_KPROBE / "type").read_text()),
        config=1 << _return_bit() if returns else 0,
        sample_period=1,
        config1=ctypes.addressof(name),
        config2=offset,
    )
    event = _opened(attribute, 0)
    try:
        try:
            return libbpf.link_perf_event(event, program)
        except OSError:
            fcntl.ioctl(event, _IOC_SET_BPF, program)
            return os.dup(event)
    finally:
        os.close(event)


def open_tracepoint(number: int, program: int) -> int:
    """Run a program at the tracepoint that has this number in tracefs; return the event's descriptor."""
    return _with_program(_Attribute(type=_TYPE_TRACEPOINT, config=number, sample_period=1), 0, program)


def open_cpu_clock(cpu: int, frequency: int, program: int) -> int:
    """Run a program ``frequency`` times a second of a CPU's time; return the event's descriptor."""
    clock = _Attribute(type=_TYPE_SOFTWARE, config=_COUNT_SW_CPU_CLOCK, sample_period=frequency, bits=_FREQ)
    return _with_program(clock, cpu, program)


def _return_bit() -> int:
    return int((_KPROBE / "format" / "retprobe").read_text().partition(":")[2])


def _with_program(attribute: _Attribute, cpu: int, program: int) -> int:
    """Open an event of all tasks, which runs already, and attach the program to it; raises OSError."""
    fd = _opened(attribute, cpu)
    try:
        fcntl.ioctl(fd, _IOC_SET_BPF, program)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _opened(attribute: _Attribute, cpu: int) -> int:
    """Return the descriptor of an event of all tasks on one CPU; raises OSError."""
    attribute.size = ctypes.sizeof(_Attribute)
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(_SYS_PERF_EVENT_OPEN, ctypes.byref(attribute), -1, cpu, -1, _FLAG_FD_CLOEXEC)
    if fd < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(fd)
