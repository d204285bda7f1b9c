# SPDX-License-Identifier: Apache-2.0
"""What the recorder itself is to the kernel: its process, and its PID namespace if that is its own."""

from __future__ import annotations

import os
from dataclasses import dataclass

from memtrace.errors import MemtraceError
from memtrace.probes.programs.module import Module
from memtrace.probes.programs.refusal import RefusedError
from memtrace.probes.programs.tables import element
from memtrace.probes.recorder.layouts import SELF
from memtrace.probes.sites.system import System


@dataclass(frozen=True)
class Identity:
    """This process as the kernel numbers it."""

    tgid: int
    pidns: int = 0
    """Address of its struct pid_namespace; 0 where it is in the initial one."""
    level: int = 0
    """Number of PID namespaces around that."""

    @property
    def own_pids(self) -> bool:
        """Whether processes have other numbers here than the kernel itself gives them."""
        return self.pidns != 0


def identity(module: Module, system: System) -> Identity:
    """Return this process's identity; raises MemtraceError if the kernel does not tell it."""
    if not system.own_pids:
        return Identity(os.getpid())
    try:
        module.run("mt_who_am_i")
    except RefusedError as error:
        raise MemtraceError(
            f"this process is in a PID namespace, and the kernel does not tell which ({error.detail}): "
            "record outside the container"
        ) from error
    told = element(module, "mt_self", 0, SELF.dtype)
    if told is None or not told["pidns"][0]:
        raise MemtraceError(
            "this process is in a PID namespace, and the kernel does not tell which: "
            "record outside the container"
        )
    return Identity(int(told["tgid"][0]), int(told["pidns"][0]), int(told["level"][0]))
