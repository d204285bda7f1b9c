# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import os
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from memtrace.probes.machine import sources
from memtrace.probes.machine.kconfig import KernelConfig, parse_config
from memtrace.probes.machine.kernel import (
    build_id,
    describe_system,
    elf_notes,
    kprobes,
    lockdown,
)
from memtrace.probes.machine.sources import KernelLog
from memtrace.traces.run import RunHeader, header_from_json, to_json

NO_CONFIG = KernelConfig(None, {})
SILENT = KernelLog(("Linux version 6.12.0",), complete=True, source="/dev/kmsg", readable=True)
WRAPPED = KernelLog(("usb 1-1: new device",), complete=False, source="/dev/kmsg", readable=True)


def note(name: bytes, kind: int, desc: bytes) -> bytes:
    def padded(data: bytes) -> bytes:
        return data + b"\0" * (-len(data) % 4)

    return struct.pack("=III", len(name) + 1, len(desc), kind) + padded(name + b"\0") + padded(desc)


def test_the_build_id_is_the_gnu_note_of_type_3(tmp_path: Path) -> None:
    notes = note(b"Xen", 3, b"\1\2\3") + note(b"GNU", 1, b"abi") + note(b"GNU", 3, bytes(range(20)))
    path = tmp_path / "sys/kernel/notes"
    path.parent.mkdir(parents=True)
    path.write_bytes(notes)
    assert build_id(tmp_path) == bytes(range(20)).hex()


def test_notes_that_are_cut_short_end_the_list() -> None:
    whole = note(b"GNU", 3, bytes(20))
    assert elf_notes(whole[:-1]) == []
    assert len(elf_notes(whole + whole[:9])) == 1


def test_a_kernel_without_notes_has_no_build_id(tmp_path: Path) -> None:
    assert build_id(tmp_path) is None


def test_kprobes_are_there_exactly_if_perf_has_them(machine: Any) -> None:
    assert kprobes(machine("debian-6.12"), NO_CONFIG).value == "yes"


@pytest.mark.parametrize(
    ("files", "config", "value"),
    [
        ({"/sys/bus/event_source/devices/tracepoint/": ""}, NO_CONFIG, "no"),
        ({}, NO_CONFIG, "unknown"),
        ({}, KernelConfig("/proc/config.gz", {}), "no"),
        (
            {"/sys/bus/event_source/devices/kprobe/": "", "/sys/kernel/debug/kprobes/enabled": "0\n"},
            NO_CONFIG,
            "no",
        ),
    ],
)
def test_kprobes(tree: Any, files: dict[str, str], config: KernelConfig, value: str) -> None:
    assert kprobes(tree(files), config).value == value


FORCED = KernelConfig(
    "x", parse_config("CONFIG_SECURITY_LOCKDOWN_LSM=y\nCONFIG_LOCK_DOWN_KERNEL_FORCE_INTEGRITY=y")
)
BUILT = KernelConfig("x", parse_config("CONFIG_SECURITY_LOCKDOWN_LSM=y"))


def locked_by(what: str) -> KernelLog:
    line = f"Kernel is locked down from {what}; see man kernel_lockdown.7"
    return KernelLog((line,), complete=False, source="/dev/kmsg", readable=True)


@pytest.mark.parametrize(
    ("log", "config", "cmdline", "value"),
    [
        (locked_by("Kernel configuration"), FORCED, "", "integrity"),
        (locked_by("command line"), BUILT, "lockdown=confidentiality", "confidentiality"),
        (locked_by("Kernel configuration"), FORCED, "lockdown=confidentiality", "confidentiality"),
        (locked_by("EFI Secure Boot"), BUILT, "", "unknown"),
        (SILENT, BUILT, "", "none"),
        (WRAPPED, BUILT, "", "unknown"),
        (WRAPPED, KernelConfig("x", {}), "", "none"),
        (KernelLog(), NO_CONFIG, "", "unknown"),
    ],
)
def test_lockdown_without_securityfs(
    tmp_path: Path, log: KernelLog, config: KernelConfig, cmdline: str, value: str
) -> None:
    assert lockdown(tmp_path, log, config, cmdline).value == value


def test_securityfs_says_how_far_the_kernel_is_locked_down(tree: Any) -> None:
    root = tree({"/sys/kernel/security/lockdown": "none integrity [confidentiality]\n"})
    assert lockdown(root, SILENT, FORCED, "").value == "confidentiality"


def test_a_description_is_what_a_run_header_takes(machine: Any) -> None:
    description = describe_system(machine("accept-6.12"))
    header = RunHeader(
        "0",
        ("memtrace",),
        **{field.name: getattr(description, field.name) for field in dataclasses.fields(description)},
    )
    assert header_from_json(to_json(header)) == header
    assert (header.kernel_release, header.cpus, len(header.nodes)) == ("6.12.117-memtrace", 2, 2)
    assert {f.name: f.value for f in header.facts}["lazy_accept"] == "yes"


def test_an_empty_tree_is_described_as_unknown(tmp_path: Path) -> None:
    description = describe_system(tmp_path)
    assert (description.kernel_release, description.build_id, description.config) == ("", None, {})
    assert description.nodes[0].pfn_ranges == ()


def test_a_kernel_without_sysctls_still_has_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    read_bytes = sources.read_bytes

    def without_sysctls(root: Any, path: str) -> bytes | None:
        return None if path.startswith("/proc/sys/") else read_bytes(root, path)

    monkeypatch.setattr(sources, "read_bytes", without_sysctls)
    description, uname = describe_system(), os.uname()
    assert (description.kernel_release, description.kernel_version) == (uname.release, uname.version)
    assert (description.hostname, description.boot_id) == (uname.nodename, None)


def test_the_running_kernel() -> None:
    description = describe_system()
    uname = os.uname()
    assert (description.kernel_release, description.machine) == (uname.release, uname.machine)
    assert description.kernel_version == uname.version
    assert description.cpus == int(subprocess.check_output(["nproc", "--all"]))
    assert len({f.name for f in description.facts}) == len(description.facts)
    assert all(f.value and f.evidence for f in description.facts)
