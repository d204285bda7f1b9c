# SPDX-License-Identifier: Apache-2.0
"""One boot of one guest, from the start of QEMU to its certain end."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import memtrace
from memtrace.errors import MemtraceError
from memtrace.lab import autopsy, job, journal
from memtrace.lab.kernels import Kernel
from memtrace.lab.process import qemu_process
from memtrace.lab.qemu import Machine, command_line
from memtrace.lab.qmp import Qmp
from memtrace.lab.spec import GuestError, GuestResult, GuestSpec
from memtrace.lab.tsc import INSTRUCTIONS_KHZ, host_tsc_khz
from memtrace.lab.watch import Echo, Ending, OutputTail, Watch


class BootFailure(GuestError):
    """A guest that ended, or hung, before user space."""


@dataclass(frozen=True)
class Parts:
    """What a guest is booted from, all of it ready."""

    kernel: Kernel
    initramfs: Path
    image: Path


@dataclass(frozen=True)
class Limits:
    """The times (time.monotonic()) at which a guest is killed, and what was asked for."""

    boot_deadline: float
    deadline: float
    limit_s: float


def boot_once(spec: GuestSpec, parts: Parts, results: Path, limits: Limits, echo: Echo | None) -> GuestResult:
    """Boot the guest and follow it to its end.

    Raises BootFailure where it did not reach user space, GuestError where it failed
    later or a hotplug step was refused.  QEMU and the job folder are gone on return.
    """
    with job.job_folder() as folder, _line() as control, _line() as monitor:
        share = job.fill(folder, spec)
        machine = _machine(spec, parts, folder, share, results, control, monitor)
        watch = Watch(control.ours, Qmp(monitor.ours), spec.steps)
        tail = OutputTail(share / "output", echo)
        start = time.monotonic()
        with qemu_process(
            command_line(spec, machine),
            (machine.qmp_fd, machine.control_fd),
            folder / "qemu",
        ) as process:
            control.theirs.close()
            monitor.theirs.close()
            try:
                ending = watch.follow(process, limits.boot_deadline, limits.deadline, tail)
            except MemtraceError as error:
                console = job.read(machine.console)
                sentence = autopsy.panicked(console, started=True) or str(error)
                raise GuestError(autopsy.with_console(sentence, console), console) from error
            finally:
                journal.note(spec.kernel, time.monotonic() - start)
            code = process.poll()
        end = time.monotonic()
        tail()
        console = job.read(machine.console)
        log = job.read(share / "dmesg") or console
        _judge(ending, watch, console, log, _qemu_words(folder, code), limits.limit_s)
        return GuestResult(
            status=watch.status,
            results=results,
            output=job.read(share / "output"),
            console=console,
            dmesg=log,
            wall_s=end - start,
            boot_s=(watch.started_at or end) - start,
            tries=1,
            done=tuple(watch.marks.done),
            marks=tuple(watch.marks.called),
        )


def _qemu_words(folder: Path, code: int | None) -> str:
    """QEMU's complaints; of one killed by somebody else (setpriv is gone by then), that."""
    if code is not None and code < 0:
        return f"it was killed by signal {-code}, as when the host runs out of memory"
    return job.read(folder / "qemu")


@dataclass(frozen=True)
class _Line:
    ours: socket.socket
    theirs: socket.socket


@contextlib.contextmanager
def _line() -> Iterator[_Line]:
    # A connected pair, one end inherited by QEMU: no socket file can be left behind.
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield _Line(ours, theirs)


def _machine(
    spec: GuestSpec, parts: Parts, folder: Path, share: Path, results: Path, control: _Line, monitor: _Line
) -> Machine:
    modules = parts.kernel.modules_dir
    return Machine(
        boot_file=parts.kernel.boot_file.resolve(),
        initramfs=parts.initramfs,
        image=parts.image,
        console=folder / "console",
        job=share,
        results=results.resolve(),
        programs=job.kept_programs(),
        package=Path(memtrace.__file__).resolve().parent,
        modules=modules.resolve().parent if modules else None,
        qmp_fd=monitor.theirs.fileno(),
        control_fd=control.theirs.fileno(),
        tsc_khz=host_tsc_khz() if spec.clock == "host" else INSTRUCTIONS_KHZ,
    )


def _judge(ending: Ending, watch: Watch, console: str, log: str, qemu_said: str, limit_s: float) -> None:
    started = watch.started_at is not None
    sentence = autopsy.verdict(
        autopsy.Remains(
            ending=ending,
            started=started,
            status=watch.status,
            refusal=watch.refusal,
            console=console,
            log=log,
            qemu_said=qemu_said,
            limit_s=limit_s,
        )
    )
    if sentence:
        early = not started and ending in (Ending.DIED, Ending.LATE)
        kind = BootFailure if early else GuestError
        raise kind(autopsy.with_console(sentence, console), console)
