# SPDX-License-Identifier: Apache-2.0
"""The signals are texts of real kernels: recorded guests, and for TDX, SEV-SNP and Hyper-V the
lines that arch/x86 prints (coco/core.c, kernel/cpu/mshyperv.c, coco/tdx/tdx.c)."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memtrace.probes.machine.evidence import Registers, observe, read_cpuid, read_msr
from memtrace.probes.machine.platform import facts_of, platform_facts
from memtrace.probes.machine.sources import parse_kmsg

Facts = dict[str, str]

FIRST = "5,0,0,-;Linux version 6.14.0\n"
TDX_LOG = FIRST + (
    "6,2,0,-;tdx: Guest detected\n"
    "6,9,0,-;efi: ACPI=0x7fb7e000 ACPI 2.0=0x7fb7e014 Unaccepted=0x7b13a018 \n"
    "6,700,1,-;Memory Encryption Features active: Intel TDX\n"
)
SNP_LOG = FIRST + "6,500,1,-;Memory Encryption Features active: AMD SEV SEV-ES SEV-SNP\n"


def values(root: Path, **observed: Any) -> Facts:
    return {f.name: f.value for f in facts_of(replace(observe(root), **observed))}


def evidence(root: Path, name: str, **observed: Any) -> str:
    return next(f.evidence for f in facts_of(replace(observe(root), **observed)) if f.name == name)


def cpu(vendor: str, flags: str) -> str:
    return f"processor\t: 0\nvendor_id\t: {vendor}\nflags\t\t: fpu {flags}\n"


def leaves(table: Mapping[int, Registers]) -> Any:
    """A CPUID device that knows ``table``; other leaves are zero, as on AMD."""
    return lambda leaf: table.get(leaf, (0, 0, 0, 0))


def signature(text: str) -> Registers:
    return (0x40000010, *struct.unpack("<III", text.encode().ljust(12, b"\0")))


@pytest.mark.parametrize("name", ["debian-6.1", "debian-6.12", "accept-6.12"])
def test_an_emulated_guest_is_plain(machine: Any, name: str) -> None:
    facts = values(machine(name))
    assert facts["virtualized"] == "qemu"
    assert facts["confidential"] == "plain"
    assert {facts[k] for k in ("tdx_guest", "sev_guest", "sev_snp_guest", "hyperv_paravisor")} == {"no"}


def test_unaccepted_pages_say_that_acceptance_is_lazy(machine: Any) -> None:
    assert values(machine("accept-6.12"))["lazy_accept"] == "yes"


def test_a_kernel_without_the_counter_accepts_nothing_lazily(machine: Any) -> None:
    assert values(machine("debian-6.1"))["lazy_accept"] == "no"


def test_all_accepted_by_now_is_still_a_lazy_boot_if_the_firmware_left_a_table(machine: Any) -> None:
    facts = values(machine("debian-6.12", {"/dev/kmsg": TDX_LOG}))
    assert facts["lazy_accept"] == "yes"


def test_nothing_to_accept_is_unknown_once_the_log_has_wrapped(machine: Any) -> None:
    root = machine("debian-6.12", {"/dev/kmsg": "6,4000,9,-;usb 1-1: new device\n"})
    assert values(root)["lazy_accept"] == "unknown"


def test_an_eager_boot_is_not_lazy_though_there_is_a_table(machine: Any) -> None:
    root = machine("debian-6.12", {"/dev/kmsg": TDX_LOG, "/proc/cmdline": "accept_memory=eager\n"})
    assert values(root)["lazy_accept"] == "no"


def test_a_td_is_known_by_flag_device_and_log(machine: Any) -> None:
    changes = {
        "/proc/cpuinfo": cpu("GenuineIntel", "hypervisor tdx_guest"),
        "/dev/tdx_guest": "",
        "/dev/kmsg": TDX_LOG,
    }
    root = machine("debian-6.12", changes)
    facts = values(root)
    assert (facts["tdx_guest"], facts["sev_snp_guest"], facts["confidential"]) == ("yes", "no", "TDX")
    said = evidence(root, "tdx_guest")
    assert "/dev/tdx_guest" in said
    assert "/proc/cpuinfo has the tdx_guest flag" in said
    assert "/dev/kmsg: tdx: Guest detected" in said


def test_a_td_is_known_by_cpuid_alone(machine: Any) -> None:
    table = {0: (0x21, 0, 0, 0), 0x21: (0, *(struct.unpack("<I", b)[0] for b in (b"Inte", b"    ", b"lTDX")))}
    changes = {"/proc/cpuinfo": None, "/dev/kmsg": None}
    facts = values(machine("debian-6.12", changes), cpuid=leaves(table))
    assert facts["tdx_guest"] == "yes"


def test_signals_that_contradict_each_other_are_unknown_and_both_quoted(machine: Any) -> None:
    changes = {"/proc/cpuinfo": cpu("GenuineIntel", "hypervisor"), "/dev/kmsg": TDX_LOG}
    root = machine("debian-6.12", changes)
    facts = values(root)
    assert (facts["tdx_guest"], facts["confidential"]) == ("unknown", "unknown")
    said = evidence(root, "tdx_guest")
    assert "yes by /dev/kmsg: tdx: Guest detected" in said
    assert "no by /proc/cpuinfo lacks the tdx_guest flag" in said


@pytest.mark.parametrize(
    "changes",
    [
        {"/dev/kmsg": SNP_LOG},
        {"/dev/sev-guest": "", "/dev/kmsg": None},
        {"/sys/devices/system/cpu/sev/vmpl": "0\n", "/dev/kmsg": None},
        {"/proc/cpuinfo": cpu("AuthenticAMD", "hypervisor sev_snp"), "/dev/kmsg": None},
    ],
    ids=["log", "device", "vmpl", "flag"],
)
def test_an_snp_guest_is_known_by_any_one_signal(machine: Any, changes: dict[str, str | None]) -> None:
    base = {"/proc/cpuinfo": cpu("AuthenticAMD", "hypervisor")}
    facts = values(machine("debian-6.12", {**base, **changes}))
    assert (facts["sev_snp_guest"], facts["sev_guest"], facts["confidential"]) == ("yes", "yes", "SEV-SNP")


@pytest.mark.parametrize(
    ("status", "kind"), [(0b111, "SEV-SNP"), (0b011, "SEV"), (0b001, "SEV"), (0b000, "plain")]
)
def test_the_status_register_tells_snp_from_sev(machine: Any, status: int, kind: str) -> None:
    table = {0x80000000: (0x80000028, 0, 0, 0), 0x8000001F: (0b1011010, 0, 0, 0)}
    changes = {"/proc/cpuinfo": cpu("AuthenticAMD", "hypervisor"), "/dev/kmsg": None}
    facts = values(machine("debian-6.12", changes), cpuid=leaves(table), sev_status=status)
    assert facts["confidential"] == kind


def test_a_host_that_offers_snp_is_not_an_snp_guest(machine: Any) -> None:
    changes = {
        "/proc/cpuinfo": cpu("AuthenticAMD", "sme sev sev_es sev_snp"),
        "/dev/kmsg": FIRST + "6,500,1,-;Memory Encryption Features active: AMD SME\n",
    }
    facts = values(machine("debian-6.12", changes))
    assert (facts["virtualized"], facts["sev_snp_guest"], facts["confidential"]) == ("no", "no", "plain")


def test_without_log_and_devices_an_amd_guest_is_unknown_not_plain(machine: Any) -> None:
    changes = {"/proc/cpuinfo": cpu("AuthenticAMD", "hypervisor"), "/dev/kmsg": None}
    facts = values(machine("debian-6.12", changes))
    assert (facts["sev_snp_guest"], facts["confidential"]) == ("unknown", "unknown")


def test_systemd_is_asked_where_all_else_is_silent_and_its_none_proves_nothing(machine: Any) -> None:
    changes = {"/proc/cpuinfo": cpu("AuthenticAMD", "hypervisor"), "/dev/kmsg": None}
    root = machine("debian-6.12", changes)
    assert values(root, detect_virt=lambda _: "sev-snp")["confidential"] == "SEV-SNP"
    assert values(root, detect_virt=lambda _: "none")["confidential"] == "unknown"


def test_behind_a_paravisor_acceptance_is_not_this_kernels(machine: Any) -> None:
    """Azure: the log names the hardware, the kernel runs as a plain guest of the paravisor."""
    log = FIRST + (
        "6,3,0,-;Hypervisor detected: Microsoft Hyper-V\n"
        "6,4,0,-;Hyper-V: Isolation Config: Group A 0x1, Group B 0xbe3\n"
        "6,500,1,-;Memory Encryption Features active: Intel TDX\n"
    )
    changes = {"/proc/cpuinfo": cpu("GenuineIntel", "hypervisor"), "/dev/kmsg": log}
    root = machine("debian-6.12", changes)
    facts = values(root)
    assert facts["virtualized"] == "microsoft"
    assert (facts["hyperv_paravisor"], facts["confidential"]) == ("yes", "Hyper-V paravisor")
    assert facts["tdx_guest"] == "no"
    assert "isolation TDX" in evidence(root, "hyperv_paravisor")


def test_a_paravisor_is_known_by_cpuid_alone(machine: Any) -> None:
    table = {0x40000000: signature("Microsoft Hv"), 0x4000000C: (1, 0xBE2, 0, 0)}
    changes = {"/proc/cpuinfo": cpu("AuthenticAMD", "hypervisor"), "/dev/kmsg": None}
    facts = values(machine("debian-6.12", changes), cpuid=leaves(table))
    assert (facts["virtualized"], facts["confidential"]) == ("microsoft", "Hyper-V paravisor")


def test_hyperv_without_isolation_has_no_paravisor(machine: Any) -> None:
    changes = {
        "/proc/cpuinfo": cpu("GenuineIntel", "hypervisor"),
        "/dev/kmsg": FIRST + "6,3,0,-;Hypervisor detected: Microsoft Hyper-V\n",
    }
    facts = values(machine("debian-6.12", changes))
    assert (facts["hyperv_paravisor"], facts["confidential"]) == ("no", "plain")


def test_a_hypervisor_named_without_its_flag_is_a_contradiction(machine: Any) -> None:
    changes = {
        "/proc/cpuinfo": cpu("GenuineIntel", "tsc"),
        "/dev/kmsg": FIRST + "6,3,0,-;Hypervisor detected: KVM\n",
    }
    assert values(machine("debian-6.12", changes))["virtualized"] == "unknown"


def test_an_arm_machine_is_neither_tdx_nor_sev(tree: Any) -> None:
    root = tree({"/proc/cpuinfo": "processor\t: 0\nCPU implementer\t: 0x41\n", "/dev/kmsg": FIRST})
    facts = values(root)
    assert (facts["tdx_guest"], facts["sev_guest"], facts["sev_snp_guest"]) == ("no", "no", "no")


REALM = "6,4,0,-;RME: Using RSI version 1.0\n"
ARM = "processor\t: 0\nCPU implementer\t: 0x41\n"


@pytest.mark.parametrize(
    ("files", "cca", "kind"),
    [
        ({"/dev/kmsg": FIRST + REALM}, "yes", "CCA"),
        ({"/sys/devices/platform/arm-cca-dev/uevent": ""}, "yes", "CCA"),
        ({"/dev/kmsg": FIRST}, "no", "plain"),
        # Neither the device nor the whole of a log: a kernel of 6.13 makes no device.
        ({}, "unknown", "unknown"),
        ({"/proc/cpuinfo": "processor 0: version = 00\n", "/dev/kmsg": FIRST}, "no", "plain"),
        ({"/proc/cpuinfo": cpu("GenuineIntel", "tsc"), "/dev/kmsg": FIRST}, "no", "plain"),
    ],
)
def test_a_realm_of_arm_is_told_by_its_device_or_its_log(
    tree: Any, files: dict[str, str], cca: str, kind: str
) -> None:
    facts = values(tree({"/proc/cpuinfo": ARM, **files}))
    assert facts["cca_guest"] == cca
    if facts["hyperv_paravisor"] == "no" or cca != "no":
        assert facts["confidential"] == kind


def test_an_empty_tree_knows_nothing(tmp_path: Path) -> None:
    facts = values(tmp_path)
    assert set(facts.values()) == {"unknown"}


def test_a_log_read_elsewhere_is_used(machine: Any) -> None:
    root = machine("debian-6.12", {"/dev/kmsg": None})
    facts = {f.name: f.value for f in platform_facts(root, parse_kmsg(SNP_LOG))}
    assert facts["confidential"] == "SEV-SNP"


def test_the_running_machine_agrees_with_its_own_flags() -> None:
    facts = {f.name: f for f in platform_facts()}
    flags = Path("/proc/cpuinfo").read_text()
    assert (facts["virtualized"].value == "no") == (" hypervisor " not in flags)
    assert all(f.evidence for f in facts.values())


def test_cpuid_leaf_0_of_the_running_machine_names_its_vendor() -> None:
    leaf = read_cpuid(Path("/dev/cpu/0/cpuid"), 0)
    if leaf is None:
        pytest.skip("no CPUID device")
    vendor = struct.pack("<III", leaf[1], leaf[3], leaf[2]).decode()
    assert f"vendor_id\t: {vendor}" in Path("/proc/cpuinfo").read_text()


def test_a_register_the_cpu_does_not_have_is_none(tmp_path: Path) -> None:
    device = tmp_path / "msr"
    device.write_bytes(bytes(8) + struct.pack("<Q", 7))
    assert read_msr(device, 8) == 7
    assert read_msr(device, 16) is None
    assert read_msr(tmp_path / "absent", 0) is None
