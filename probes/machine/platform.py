# SPDX-License-Identifier: Apache-2.0
"""What the machine is: bare metal or a guest, and whether its memory must be accepted.

Each fact is yes, no or unknown, with the files that said so.  A signal that is
missing is not a "no" unless its absence proves something; signals that
contradict each other give "unknown" and are all quoted.
"""

from __future__ import annotations

import re
import struct

from memtrace.probes.machine.evidence import Machine, observe
from memtrace.probes.machine.signals import Signal, decide, logged, systemd
from memtrace.probes.machine.sources import KernelLog, Root, counters, exists, option, read_text
from memtrace.traces.run import Fact

_MICROSOFT = "microsoft"
# The signature a hypervisor puts at CPUID leaf 0x40000000, and our name for it.
_SIGNATURES = {
    "KVMKVMKVM": "kvm",
    "TCGTCGTCGTCG": "qemu",
    "Microsoft Hv": _MICROSOFT,
    "VMwareVMware": "vmware",
    "XenVMMXenVMM": "xen",
    "bhyve bhyve": "bhyve",
    "ACRNACRNACRN": "acrn",
}
_LOG_NAMES = {"KVM": "kvm", "Microsoft Hyper-V": _MICROSOFT, "VMware": "vmware", "Xen": "xen", "ACRN": "acrn"}
# Linux 5.15 prints "AMD " in front of this text instead of behind it (arch/x86/mm/mem_encrypt.c).
_ENCRYPTION = "Memory Encryption Features active:"
_ISOLATION = {0: "none", 1: "VBS", 2: "SEV-SNP", 3: "TDX"}


def platform_facts(root: Root = "/", log: KernelLog | None = None) -> tuple[Fact, ...]:
    """Return the facts of this module, in this order.

    They are virtualized, tdx_guest, sev_guest, sev_snp_guest, cca_guest,
    hyperv_paravisor, confidential and lazy_accept.

    ``virtualized`` is "no", a hypervisor's name, "yes" (a guest of an unnamed one)
    or "unknown"; ``confidential`` is "plain", "TDX", "SEV-SNP", "SEV",
    "CCA", "Hyper-V paravisor" or "unknown"; the others are yes, no or unknown.
    """
    return facts_of(observe(root, log))


def facts_of(machine: Machine) -> tuple[Fact, ...]:
    """Return the facts of this module from one observation."""
    virtualized = _virtualized(machine)
    paravisor = _paravisor(machine, virtualized)
    tdx = _tdx(machine, paravisor)
    snp = _snp(machine, paravisor)
    sev = _sev(machine, paravisor, snp)
    cca = _cca(machine)
    summary = confidential(tdx, sev, snp, cca, paravisor)
    return (virtualized, tdx, sev, snp, cca, paravisor, summary, lazy_accept(machine))


def confidential(tdx: Fact, sev: Fact, snp: Fact, cca: Fact, paravisor: Fact) -> Fact:
    """Sum up the kinds: the one that is "yes", "plain" if all are "no", else "unknown"."""
    kinds = {"TDX": tdx, "SEV-SNP": snp, "CCA": cca, "Hyper-V paravisor": paravisor}
    yes = [kind for kind, fact in kinds.items() if fact.value == "yes"]
    if len(yes) == 1:
        return Fact("confidential", yes[0], kinds[yes[0]].evidence)
    if len(yes) > 1:
        return Fact("confidential", "unknown", f"contradiction: {' and '.join(yes)}")
    open_questions = [f.name for f in (*kinds.values(), sev) if f.value == "unknown"]
    if open_questions:
        return Fact("confidential", "unknown", f"undecided: {', '.join(open_questions)}")
    if sev.value == "yes":
        return Fact("confidential", "SEV", sev.evidence)
    return Fact(
        "confidential", "plain", "no sign of TDX, SEV, CCA or a paravisor in sources that would show one"
    )


def _virtualized(m: Machine) -> Fact:
    said = []
    name = None
    for source, found in (("CPUID 0x40000000", _signature(m)), ("kernel log", _logged_name(m.log))):
        if found:
            said.append(f"{source}: {found[1]}")
            name = name or found[0]
    hypervisor_type = read_text(m.root, "/sys/hypervisor/type")
    if hypervisor_type:
        said.append(f"/sys/hypervisor/type: {hypervisor_type}")
        name = name or hypervisor_type
    asked = None if name else m.detect_virt("--vm")
    if asked and asked != "none":
        said.append(f"systemd-detect-virt: {asked}")
        name = name or asked
    dmi = read_text(m.root, "/sys/class/dmi/id/sys_vendor")
    if m.flags is not None:
        flag = "hypervisor" in m.flags
        said.append(f"/proc/cpuinfo {'has' if flag else 'lacks'} the hypervisor flag")
        if not flag and (name or asked not in (None, "none")):
            return Fact("virtualized", "unknown", f"contradiction: {'; '.join(said)}")
        if not flag:
            return Fact("virtualized", "no", "; ".join(said))
        if dmi == "QEMU":
            said.append("/sys/class/dmi/id/sys_vendor: QEMU")
            name = name or "qemu"
        return Fact("virtualized", name or "yes", "; ".join(said))
    if name:
        return Fact("virtualized", name, "; ".join(said))
    if asked == "none":
        return Fact("virtualized", "no", "systemd-detect-virt: none")
    return Fact("virtualized", "unknown", "no x86 flags in /proc/cpuinfo, no systemd-detect-virt")


def _signature(m: Machine) -> tuple[str, str] | None:
    leaf = m.cpuid(0x40000000) if m.flags and "hypervisor" in m.flags else None
    if leaf is None:
        return None
    text = struct.pack("<III", leaf[1], leaf[2], leaf[3]).rstrip(b"\0 ").decode(errors="replace")
    return (_SIGNATURES.get(text, text), text) if text else None


def _logged_name(log: KernelLog) -> tuple[str, str] | None:
    line = log.find("^Hypervisor detected: ")
    if line is None:
        return None
    said = line.partition(": ")[2]
    return next(((n for key, n in _LOG_NAMES.items() if said.startswith(key))), said.lower()), line


def _paravisor(m: Machine, virtualized: Fact) -> Fact:
    name = "hyperv_paravisor"
    signals = []
    signature = _signature(m)
    on_hyperv = signature is not None and signature[0] == _MICROSOFT
    leaf = m.cpuid(0x4000000C) if on_hyperv else None
    if leaf is not None:
        signals.append(_isolation("CPUID 0x4000000C", leaf[0], leaf[1]))
    line = m.log.find("Hyper-V: Isolation Config: Group A")
    groups = re.search(r"Group A 0x([0-9a-f]+), Group B 0x([0-9a-f]+)", line) if line else None
    if groups:
        signals.append(_isolation(f"{m.log.source}: {line}:", int(groups[1], 16), int(groups[2], 16)))
    if virtualized.value not in (_MICROSOFT, "yes", "unknown"):
        signals.append(Signal(False, f"virtualized: {virtualized.value}, which is not Hyper-V"))
    elif virtualized.value == _MICROSOFT and line is None and m.log.complete:
        signals.append(Signal(False, f"{m.log.why_silent()} (Hyper-V: Isolation Config)"))
    return decide(name, signals or [Signal(None, f"no CPUID device; {m.log.why_silent()}")])


def _isolation(source: str, group_a: int, group_b: int) -> Signal:
    kind = _ISOLATION.get(group_b & 0xF, f"type {group_b & 0xF}")
    present = bool(group_a & 1)
    return Signal(present, f"{source} paravisor {'present' if present else 'absent'}, isolation {kind}")


def _tdx(m: Machine, paravisor: Fact) -> Fact:
    signals = [
        Signal(True, path)
        for path in ("/dev/tdx_guest", "/sys/devices/virtual/misc/tdx_guest")
        if exists(m.root, path)
    ]
    if m.other_architecture:
        signals.append(Signal(False, "/proc/cpuinfo: not an x86 CPU"))
    elif m.flags is not None:
        # A TD can only run a kernel that knows it is in one, so a missing flag means no.
        has = "tdx_guest" in m.flags
        signals.append(Signal(has, f"/proc/cpuinfo {'has' if has else 'lacks'} the tdx_guest flag"))
    highest = m.cpuid(0)
    if highest is not None:
        leaf = m.cpuid(0x21) if highest[0] >= 0x21 else None
        vendor = struct.pack("<III", leaf[1], leaf[3], leaf[2]) if leaf else b""
        has = vendor == b"IntelTDX    "
        signals.append(Signal(has, f"CPUID 0x21 {'is' if has else 'is not'} IntelTDX"))
    # Behind a paravisor this line names the hardware, not what the kernel does (arch/x86/hyperv/ivm.c).
    if paravisor.value != "yes":
        pattern = f"^tdx: Guest detected|{_ENCRYPTION}.* TDX"
        signals.append(logged(m.log, pattern, "tdx: Guest detected"))
    return decide("tdx_guest", signals + systemd(m, signals, "tdx"))


def _snp(m: Machine, paravisor: Fact) -> Fact:
    signals = [
        Signal(True, path)
        for path in ("/dev/sev-guest", "/sys/devices/system/cpu/sev/vmpl")
        if exists(m.root, path)
    ]
    signals += _amd(m, 2, "SEV-SNP")
    if m.flags is not None and {"sev_snp", "hypervisor"} <= m.flags:
        signals.append(Signal(True, "/proc/cpuinfo has the sev_snp and hypervisor flags"))
    if paravisor.value != "yes":
        signals.append(logged(m.log, f"{_ENCRYPTION}.* SEV-SNP", f"{_ENCRYPTION} ... SEV-SNP"))
    return decide("sev_snp_guest", signals + systemd(m, signals, "sev-snp"))


def _sev(m: Machine, paravisor: Fact, snp: Fact) -> Fact:
    if snp.value == "yes":
        return Fact("sev_guest", "yes", f"sev_snp_guest: {snp.evidence}")
    signals = _amd(m, 0, "SEV")
    if paravisor.value != "yes":
        signals.append(logged(m.log, rf"{_ENCRYPTION}.* SEV\b", f"{_ENCRYPTION} ... SEV"))
    return decide("sev_guest", signals + systemd(m, signals, "sev"))


def _cca(m: Machine) -> Fact:
    """Return whether this is a Realm of Arm CCA (arch/arm64/kernel/rsi.c).

    The kernel makes the device from 6.14 on; 6.13 has the line in its log alone.
    """
    name = "cca_guest"
    if m.flags is not None:
        return Fact(name, "no", "/proc/cpuinfo: an x86 CPU")
    signals = [
        Signal(True, path)
        for path in ("/sys/devices/platform/arm-cca-dev", "/sys/devices/platform/arm_cca_guest")
        if exists(m.root, path)
    ]
    signals.append(logged(m.log, "RME: Using RSI version ", "RME: Using RSI version"))
    if m.cpuinfo and not re.search(r"^CPU implementer\s*:", m.cpuinfo, re.MULTILINE):
        signals.append(Signal(False, "/proc/cpuinfo: not an Arm CPU"))
    return decide(name, signals + systemd(m, signals, "cca"))


def _amd(m: Machine, bit: int, what: str) -> list[Signal]:
    """Return what the CPU itself says about SEV_STATUS ``bit``, which is never set on a host."""
    if m.other_architecture:
        return [Signal(False, "/proc/cpuinfo: not an x86 CPU")]
    if m.vendor not in (None, "AuthenticAMD", "HygonGenuine"):
        return [Signal(False, f"/proc/cpuinfo: vendor {m.vendor}")]
    if m.flags is not None and "hypervisor" not in m.flags:
        return [Signal(False, "/proc/cpuinfo lacks the hypervisor flag")]
    highest = m.cpuid(0x80000000)
    leaf = m.cpuid(0x8000001F) if highest and highest[0] >= 0x8000001F else None
    if highest and not (leaf and leaf[0] & 2):
        return [Signal(False, "CPUID 0x8000001F offers no SEV")]
    if m.sev_status is not None:
        has = bool(m.sev_status >> bit & 1)
        return [Signal(has, f"MSR 0xC0010131 has {what} {'active' if has else 'off'}")]
    return [Signal(None, "neither /dev/cpu/0/cpuid nor /dev/cpu/0/msr can be read")]


def lazy_accept(m: Machine) -> Fact:
    """Return whether this boot left memory to be accepted on demand: yes, no or unknown.

    The fact stays "yes" after the last block is accepted.  "no" means that firmware, an eager
    boot or a paravisor accepted everything, or that there was nothing to accept.
    """
    name = "lazy_accept"
    vmstat = read_text(m.root, "/proc/vmstat")
    if vmstat is None:
        return Fact(name, "unknown", "/proc/vmstat cannot be read")
    pages = counters(vmstat).get("nr_unaccepted")
    if pages is None:
        return Fact(name, "no", "/proc/vmstat has no nr_unaccepted: this kernel accepts nothing lazily")
    if pages > 0:
        return Fact(name, "yes", f"/proc/vmstat: nr_unaccepted {pages}")
    if option(read_text(m.root, "/proc/cmdline") or "", "accept_memory") == "eager":
        return Fact(name, "no", "/proc/cmdline: accept_memory=eager")
    # The EFI stub leaves this table exactly if it left memory unaccepted (drivers/firmware/efi/efi.c).
    line = m.log.find(r"^efi: .*\bUnaccepted=0x")
    if line is not None:
        return Fact(name, "yes", f"{m.log.source}: {line}; nr_unaccepted is 0, so all is accepted by now")
    evidence = f"nr_unaccepted is 0; {m.log.why_silent()} (efi: ... Unaccepted=)"
    return Fact(name, "no" if m.log.complete else "unknown", evidence)
