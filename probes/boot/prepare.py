# SPDX-License-Identifier: Apache-2.0
"""Plan boot parameters and files for the running kernel and the boot loader, and install the files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memtrace.probes.boot import circumstances as survey
from memtrace.probes.boot import install as files_of
from memtrace.probes.boot import kit, parameters
from memtrace.probes.boot.kit import KitFile
from memtrace.probes.boot.parameters import Kernel, Parameter
from memtrace.probes.machine.kernel import describe_system
from memtrace.probes.machine.sources import Root

remove = files_of.remove


@dataclass(frozen=True)
class Plan:
    """What ``memtrace boot prepare`` proposes."""

    release: str
    kernel: Kernel
    parameters: tuple[Parameter, ...]
    unseen: tuple[str, ...]
    place: kit.Place
    initramfs: kit.Initramfs
    units: tuple[KitFile, ...]
    duration_s: int

    @property
    def line(self) -> str:
        """The parameters as they stand on a command line."""
        return parameters.line(self.parameters)

    @property
    def files(self) -> tuple[KitFile, ...]:
        return (*self.place.files, *self.initramfs.files, *self.units)

    @property
    def apply(self) -> tuple[str, ...]:
        """Commands that make installed files effective."""
        return (*self.initramfs.apply, *self.place.apply)

    @property
    def undo(self) -> tuple[str, ...]:
        """Commands that make a removal effective."""
        return (*self.initramfs.apply, *self.place.undo)

    @property
    def where(self) -> str:
        """Where the parameters go, in words."""
        if self.place.files:
            return f"parameters: {self.place.files[0].path}, read by {self.place.apply[0]}"
        if self.place.apply:
            return f"parameters: by {self.place.name}, with the commands below"
        return "parameters: no boot loader configuration found here; give them to yours by hand"

    @property
    def notes(self) -> tuple[str, ...]:
        """What else is installed, and what cannot be, in words."""
        early = (
            f"early snapshots of the counters: {self.initramfs.name}, at the initramfs' start and end"
            if self.initramfs.files
            else "early snapshots of the counters: neither initramfs-tools nor dracut found here"
        )
        recording = (
            f"recording: {kit.UNIT}, from before sysinit.target until default.target,"
            f" at most {self.duration_s} s, to {kit.RUN}; its compiler allocates some 200 MB,"
            " which a lazy boot has to accept"
            if self.units
            else "recording from early user space: no /etc/systemd/system here"
        )
        return (early, recording)


def plan(root: Root, command: Sequence[str], duration_s: int) -> Plan:
    """Return the parameters for the running kernel, and the files for the system below ``root``."""
    description = describe_system()
    kernel = survey.kernel(description)
    chosen = parameters.parameters(kernel)
    return Plan(
        release=description.kernel_release,
        kernel=kernel,
        parameters=chosen,
        unseen=parameters.unseen(kernel),
        place=kit.place(root, parameters.line(chosen)),
        initramfs=kit.initramfs(root),
        units=kit.units(root, command, duration_s),
        duration_s=duration_s,
    )


def install(what: Plan, root: Root) -> tuple[str, ...]:
    """Write the plan's files below ``root``; return their paths.  Raises MemtraceError."""
    return files_of.install(what.files, root) if what.files else ()
