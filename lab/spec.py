# SPDX-License-Identifier: Apache-2.0
"""What a guest is asked to be and to do, and what came of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from memtrace.errors import MemtraceError
from memtrace.lab.sizes import GIB

Clock = Literal["host", "instructions"]
NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]*")


@dataclass(frozen=True)
class PlugDimm:
    """Hot-add a DIMM of `size` bytes on NUMA node `nid`; a multiple of 128 MiB."""

    name: str
    nid: int
    size: int


@dataclass(frozen=True)
class UnplugDimm:
    """Ask the guest to give a plugged DIMM back, and wait until it has or refuses."""

    name: str


@dataclass(frozen=True)
class ResizeVirtioMem:
    """Change how many bytes of a virtio-mem device the guest shall have, and wait for it."""

    name: str
    size: int


@dataclass(frozen=True)
class CutPower:
    """End the guest at once, as a power failure would; its result has no exit status."""


Action = PlugDimm | UnplugDimm | ResizeVirtioMem | CutPower


@dataclass(frozen=True)
class Step:
    """What the host does when the guest's script runs `lab-mark MARK`, the first time."""

    mark: str
    action: Action


@dataclass(frozen=True)
class Done:
    """A step that its mark came for, and the answer: "done ..." or "failed ..."."""

    step: Step
    answer: str


@dataclass(frozen=True)
class VirtioMem:
    """A virtio-mem device present from the start: at most `size` bytes on node `nid`.

    `plugged` bytes of it are requested at boot.
    """

    name: str
    nid: int
    size: int
    plugged: int = 0


@dataclass(frozen=True)
class GuestSpec:
    """One boot.

    kernel       a name of `kernels.KERNELS`, or what `own.paths_of` takes: a bzImage, a vmlinux,
                 packages, a folder that they are or were unpacked in, or a build tree
    script       bash text, run as root; $RESULTS is brought out, $FILES holds `files`
    memory       bytes per NUMA node, node 0 first; 0 makes a node without memory
    cpus         spread over the nodes that have memory
    append       added to the kernel command line
    files        copied into $FILES before the boot, under their own names
    modules      loaded before the script (kernels with modules)
    steps        what the host does when the script runs `lab-mark NAME`
    time_limit_s for the whole of it, a second try included
    threads      of QEMU's translator: "multi" is faster, and now and then fails to boot
    clock        what the guest's time is: the host's, or one nanosecond for each instruction
                 that the guest executes, on whichever CPU.  Then the host's load is in no
                 time, and equal work takes equal time; but memory costs nothing, one CPU runs
                 at a time, and another CPU's instructions pass on this one's clock too: for
                 exact times take one CPU.  Waiting jumps to the next timer.
    """

    kernel: str
    script: str
    memory: tuple[int, ...] = (2 * GIB,)
    cpus: int = 2
    append: str = ""
    files: tuple[Path, ...] = ()
    modules: tuple[str, ...] = ()
    virtio_mem: tuple[VirtioMem, ...] = ()
    steps: tuple[Step, ...] = ()
    time_limit_s: float = 120.0
    threads: Literal["single", "multi"] = "single"
    clock: Clock = "host"

    @property
    def hotplug_bytes(self) -> int:
        """Bytes that can be added to the guest after its boot."""
        return sum(device.size for device in self.hotplugged)

    @property
    def hotplugged(self) -> tuple[PlugDimm | VirtioMem, ...]:
        """All devices that can add memory."""
        return (*self.dimms, *self.virtio_mem)

    @property
    def dimms(self) -> tuple[PlugDimm, ...]:
        """The DIMMs that the steps plug."""
        actions = (step.action for step in self.steps)
        return tuple(action for action in actions if isinstance(action, PlugDimm))


@dataclass(frozen=True)
class GuestResult:
    """What one boot gave.

    status   exit status of the script; None only where a CutPower step ended the guest
    results  the folder with what the script put into $RESULTS
    output   what the script printed, stdout and stderr together
    console  the kernel's console from its first line
    dmesg    the kernel log after the script; the console where the guest did not end
    wall_s   seconds from the start of QEMU to its end, the last try only
    boot_s   seconds of these until the script was started
    tries    boots it took, 1 or 2
    done     the steps whose mark came, and how they ended
    marks    all marks that came, in their order
    """

    status: int | None
    results: Path
    output: str
    console: str
    dmesg: str
    wall_s: float
    boot_s: float
    tries: int
    done: tuple[Done, ...] = ()
    marks: tuple[str, ...] = ()


class GuestError(MemtraceError):
    """A guest that could not be run to its end; carries the whole console."""

    def __init__(self, message: str, console: str = "") -> None:
        super().__init__(message, lines=True)
        self.console = console


def check(spec: GuestSpec) -> None:
    """Raise MemtraceError (exit 2) where no guest can be made of the spec."""
    total = sum(spec.memory)
    nodes = len(spec.memory)
    if not 1 <= spec.cpus <= 64:
        raise MemtraceError(f"a guest has 1 to 64 CPUs, not {spec.cpus}", 2)
    if total < GIB // 2 or not spec.memory[0]:
        raise MemtraceError("a guest needs 512M of memory or more, and some of it on node 0", 2)
    if any(size % (1 << 20) for size in spec.memory):
        raise MemtraceError("the memory of each node must be whole MiB", 2)
    if spec.clock == "instructions" and spec.threads == "multi":
        raise MemtraceError("a clock of instructions needs single-threaded emulation: threads='single'", 2)
    if spec.time_limit_s <= 0:
        raise MemtraceError("the time limit of a guest must be above 0 seconds", 2)
    named = [device.name for device in spec.hotplugged]
    if len(set(named)) < len(named) or not all(map(NAME.fullmatch, named)):
        raise MemtraceError("each device needs a name of its own, of letters, digits and dashes", 2)
    for device in spec.hotplugged:
        if not 0 <= device.nid < nodes:
            raise MemtraceError(f"{device.name} is to be on node {device.nid} of {nodes}", 2)
        if device.size <= 0 or device.size % (128 << 20):
            raise MemtraceError(f"{device.name} must be a multiple of 128M (a memory block)", 2)
    if len({path.name for path in spec.files}) < len(spec.files):
        raise MemtraceError("two files to bring into the guest have the same name", 2)
    for path in spec.files:
        if not path.is_file():
            raise MemtraceError(f"there is no file {path} to bring into the guest", 2)
