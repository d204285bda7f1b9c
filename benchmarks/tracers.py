# SPDX-License-Identifier: Apache-2.0
"""The tracers compared: each runs a command and traces page allocation of the whole machine meanwhile."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from memtrace.errors import MemtraceError

_TRACEPOINT = "kmem:mm_page_alloc"
_COUNT = f"tracepoint:{_TRACEPOINT} {{ @[args->order] = count(); }}"
_PRINT = (
    f"tracepoint:{_TRACEPOINT} "
    r'{ printf("%llu %d %d %s %lu %d %x\n", nsecs, cpu, tid, comm, '
    r"args->pfn, args->order, args->gfp_flags); }"
)
_PACKAGES = {
    "perf": "linux-perf",
    "bpftrace": "bpftrace",
    "gcc": "gcc libc6-dev",
    "zstd": "zstd",
    "unshare": "util-linux",
}
_TIMEOUT_S = 900


@dataclass(frozen=True)
class Tracer:
    """A way to trace a command.  ``argv(command, output)`` is what to run; paths in it are relative."""

    name: str
    argv: Callable[[Sequence[str], str], list[str]]
    needs: tuple[str, ...] = ()


def _memtrace(*options: str) -> Callable[[Sequence[str], str], list[str]]:
    start = [sys.executable, "-m", "memtrace.cli", "record", "-q", "-f", "-a", *options, "-o"]
    return lambda command, output: [*start, output, "--", *command]


def _perf(*options: str) -> Callable[[Sequence[str], str], list[str]]:
    start = ["perf", "record", "-e", _TRACEPOINT, "-a", *options, "-o"]
    return lambda command, output: _with_tracefs([*start, output, "--", *command])


def _bpftrace(program: str) -> Callable[[Sequence[str], str], list[str]]:
    # -c splits at spaces and knows no quotes.
    start = ["bpftrace", "-e", program, "-o"]
    return lambda command, output: _with_tracefs([*start, output, "-c", " ".join(command)])


UNTRACED = Tracer("untraced", lambda command, output: list(command))
MEMTRACE = Tracer("memtrace record", _memtrace())
MEMTRACE_ALL = Tracer("memtrace --stream all", _memtrace("--stream", "all"))
PERF = Tracer("perf record", _perf(), ("perf", "unshare"))
PERF_Z = Tracer("perf record -z", _perf("-z"), ("perf", "unshare"))
BPFTRACE_COUNT = Tracer("bpftrace count by order", _bpftrace(_COUNT), ("bpftrace", "unshare"))
BPFTRACE_PRINT = Tracer("bpftrace printf", _bpftrace(_PRINT), ("bpftrace", "unshare"))


def absent(*programs: str) -> list[str]:
    """A sentence for each program that is not installed, with how to install it."""
    return [
        f"{program} is not installed, so what needs it is left out: apt-get install {_PACKAGES[program]}"
        for program in programs
        if shutil.which(program) is None
    ]


def available(tracers: Sequence[Tracer]) -> list[Tracer]:
    """Those of the tracers whose programs are installed."""
    return [t for t in tracers if not absent(*t.needs)]


def perf_samples(folder: Path, file: str) -> int:
    """How many samples a perf.data holds."""
    found = re.search(r"SAMPLE events:\s+(\d+)", run(["perf", "report", "--stats", "-i", file], folder))
    return int(found[1]) if found else 0


def run(argv: Sequence[str], folder: Path, *, timeout_s: float = _TIMEOUT_S) -> str:
    """Run ``argv`` in ``folder`` and return its stdout; raises MemtraceError with its words if it fails.

    It gets a session of its own, and that whole group is ended if it takes too
    long or if we are interrupted: a tracer that dies alone would leave its command running.
    """
    with subprocess.Popen(
        argv,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=timeout_s)
        except BaseException as error:
            _end_group(process)
            if isinstance(error, subprocess.TimeoutExpired):
                raise MemtraceError(
                    f"{argv[0]} took longer than {timeout_s:.0f} s: give it less work"
                ) from None
            raise
    if process.returncode:
        words = [line for line in err.splitlines() if line.strip()] or ["no message"]
        raise MemtraceError(f"{' '.join(argv[:4])} … failed ({process.returncode}): {words[-1].strip()}")
    return out


def _end_group(process: subprocess.Popen[str]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)


def _with_tracefs(argv: list[str]) -> list[str]:
    """``argv`` with tracefs; where it is not mounted, only ``argv`` sees it, as long as it runs."""
    mount = "mount -t tracefs tracefs /sys/kernel/tracing"
    script = f'[ -e /sys/kernel/tracing/events ] || {mount} && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, "sh", *argv]
