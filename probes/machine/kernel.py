# SPDX-License-Identifier: Apache-2.0
"""Which kernel this is, how it was built, and what it permits."""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass

from memtrace.probes.machine.kconfig import KernelConfig, kernel_config, release
from memtrace.probes.machine.pidns import pid_namespace
from memtrace.probes.machine.platform import platform_facts
from memtrace.probes.machine.settings import memory_facts, sysctls
from memtrace.probes.machine.sources import (
    KernelLog,
    Root,
    exists,
    kernel_log,
    option,
    read_bytes,
    read_text,
    uname,
)
from memtrace.probes.machine.topology import nodes, online_cpus
from memtrace.traces.derived import preemption
from memtrace.traces.run import Fact, Node

_NT_GNU_BUILD_ID = 3


@dataclass(frozen=True)
class SystemDescription:
    """What a run's header says about the machine; the fields are those of RunHeader."""

    hostname: str
    kernel_release: str
    kernel_version: str
    kernel_cmdline: str
    machine: str
    build_id: str | None
    boot_id: str | None
    page_size: int
    config: dict[str, str]
    facts: tuple[Fact, ...]
    cpus: int
    nodes: tuple[Node, ...]
    sysctls: dict[str, str]


def describe_system(root: Root = "/") -> SystemDescription:
    """Read all that RunHeader records about this machine, once (about 20 ms, no privileges)."""
    log = kernel_log(root)
    cmdline = read_text(root, "/proc/cmdline") or ""
    found = kernel_config(root)
    config = found.chosen()
    page_size = os.sysconf("SC_PAGE_SIZE")
    return SystemDescription(
        hostname=uname(root, "nodename"),
        kernel_release=release(root),
        kernel_version=uname(root, "version"),
        kernel_cmdline=cmdline,
        machine=machine(root),
        build_id=build_id(root),
        boot_id=read_text(root, "/proc/sys/kernel/random/boot_id"),
        page_size=page_size,
        config=config,
        facts=(
            *platform_facts(root, log),
            *memory_facts(root, log, config, cmdline),
            *kernel_facts(root, log, found, cmdline),
        ),
        cpus=len(online_cpus(root)),
        nodes=nodes(root, page_size, log),
        sysctls=sysctls(root),
    )


def machine(root: Root = "/") -> str:
    """Return what ``uname -m`` prints; for a recorded tree, what its /proc says, or "" without it."""
    return uname(root, "machine")


def build_id(root: Root = "/") -> str | None:
    """Return the GNU build id of the running kernel in hexadecimal; None if it has none."""
    data = read_bytes(root, "/sys/kernel/notes") or b""
    wanted = (b"GNU", _NT_GNU_BUILD_ID)
    return next((desc.hex() for name, kind, desc in elf_notes(data) if (name, kind) == wanted), None)


def elf_notes(data: bytes) -> list[tuple[bytes, int, bytes]]:
    """Return (name, type, descriptor) of each ELF note in ``data``, up to the first that is cut short."""
    notes = []
    at = 0
    while at + 12 <= len(data):
        name_size, desc_size, kind = struct.unpack_from("=III", data, at)
        at += 12
        desc_at = at + (name_size + 3 & ~3)
        if desc_at + desc_size > len(data):
            break
        notes.append((data[at : at + name_size].rstrip(b"\0"), kind, data[desc_at : desc_at + desc_size]))
        at = desc_at + (desc_size + 3 & ~3)
    return notes


def kernel_facts(root: Root, log: KernelLog, config: KernelConfig, cmdline: str) -> tuple[Fact, ...]:
    """Return what this kernel offers a tracer, from its config to the PID namespace it is seen from."""
    return (
        Fact("config", "yes" if config.source else "no", config.source or "no kernel config found"),
        kprobes(root, config),
        btf(root, config),
        bpf_jit(root),
        preemption(uname(root, "version"), config.chosen()),
        function_tracing(root, config),
        lockdown(root, log, config, cmdline),
        pid_namespace(root),
    )


def kprobes(root: Root, config: KernelConfig) -> Fact:
    """Return whether kprobes can be used: yes, no or unknown.

    perf has a ``kprobe`` event source exactly if the kernel can make kprobes; debugfs can switch them off.
    """
    path = "/sys/bus/event_source/devices/kprobe"
    built = config.options.get("CONFIG_KPROBES", "n") if config.source else None
    switch = "/sys/kernel/debug/kprobes/enabled"
    if exists(root, path) and read_text(root, switch) == "0":
        return Fact("kprobes", "no", f"{switch} is 0")
    if exists(root, path):
        return Fact("kprobes", "yes", path)
    if exists(root, "/sys/bus/event_source/devices"):
        why = f"; CONFIG_KPROBES={built}" if built else ""
        return Fact("kprobes", "no", f"no {path}{why}")
    if built == "n":
        return Fact("kprobes", "no", "CONFIG_KPROBES=n")
    return Fact("kprobes", "unknown", "no /sys/bus/event_source/devices to look in")


def btf(root: Root, config: KernelConfig) -> Fact:
    """Return whether the kernel carries its own BTF: yes or no."""
    path = "/sys/kernel/btf/vmlinux"
    if exists(root, path):
        return Fact("btf", "yes", path)
    built = config.options.get("CONFIG_DEBUG_INFO_BTF", "n") if config.source else "unknown"
    return Fact("btf", "no", f"no {path}; CONFIG_DEBUG_INFO_BTF={built}")


def bpf_jit(root: Root) -> Fact:
    """Return whether BPF programs run as machine code; interpreted, they cost several times as much."""
    switch = read_text(root, "/proc/sys/net/core/bpf_jit_enable")
    if switch is None:
        return Fact("bpf_jit", "unknown", "net.core.bpf_jit_enable cannot be read")
    return Fact("bpf_jit", "no" if switch == "0" else "yes", f"net.core.bpf_jit_enable={switch}")


def function_tracing(root: Root, config: KernelConfig) -> Fact:
    """Return whether function entries can be patched now: yes, no or unknown.

    Whether BPF may hook a given function shows only when it is tried.
    """
    switch = read_text(root, "/proc/sys/kernel/ftrace_enabled")
    if switch is not None:
        return Fact("ftrace", "yes" if switch == "1" else "no", f"kernel.ftrace_enabled={switch}")
    built = config.options.get("CONFIG_DYNAMIC_FTRACE", "n") if config.source else None
    if built == "n":
        return Fact("ftrace", "no", "CONFIG_DYNAMIC_FTRACE=n")
    return Fact("ftrace", "unknown", "no kernel.ftrace_enabled")


def lockdown(root: Root, log: KernelLog, config: KernelConfig, cmdline: str) -> Fact:
    """Return the lockdown level: none, integrity, confidentiality or unknown.

    securityfs gives the level.  Where it is not mounted, the log says that the kernel is
    locked down and by what, and the configuration or the command line gives the level.
    """
    path = "/sys/kernel/security/lockdown"
    match = re.search(r"\[(\w+)\]", read_text(root, path) or "")
    if match:
        return Fact("lockdown", match[1], path)
    built = config.options.get("CONFIG_SECURITY_LOCKDOWN_LSM", "n") if config.source else None
    if built == "n":
        return Fact("lockdown", "none", "CONFIG_SECURITY_LOCKDOWN_LSM=n")
    line = log.find("^Kernel is locked down from ")
    if line is None:
        if log.complete:
            return Fact("lockdown", "none", f"{log.why_silent()} (Kernel is locked down from ...)")
        return Fact("lockdown", "unknown", f"no {path}; {log.why_silent()}")
    levels = ("integrity", "confidentiality")
    forced = [v for v in levels if config.options.get(f"CONFIG_LOCK_DOWN_KERNEL_FORCE_{v.upper()}") == "y"]
    asked = [v for v in levels if option(cmdline, "lockdown") == v]
    # The level only ever rises (security/lockdown/lockdown.c: lock_kernel_down).
    level = max(forced + asked, key=levels.index, default=None)
    why = f"{log.source}: {line}"
    if level:
        by_config = f"CONFIG_LOCK_DOWN_KERNEL_FORCE_{level.upper()}=y"
        why += f"; {by_config if level in forced else f'lockdown={level}'}"
    return Fact("lockdown", level or "unknown", why)
